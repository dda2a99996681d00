//! Datagrams in trains: sent in one piece, received merged, and accounted for one by one.
#![cfg(target_os = "linux")]

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};
use shout::batch::{Batch, DatagramIo, Linux, Replies, Reply, datagrams_in};

use super::servers::measure;

const SIZE: usize = 64;

/// A UDP server that receives trains as the kernel merged them, and answers each with a train.
struct TrainServer {
    address: std::net::SocketAddr,
    /// The most datagrams that came in one piece.
    longest: Arc<AtomicUsize>,
    stop: Arc<Mutex<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl TrainServer {
    /// `spoil` gets the number of the train, counted from 0, and its answer, and may change both bytes and length.
    fn start(mut spoil: impl FnMut(usize, &mut Vec<u8>) + Send + 'static) -> Self {
        let socket = mio::net::UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        // The second descriptor is there to wait on: the first belongs to `Linux`.
        let waiting = socket.as_fd().try_clone_to_owned().unwrap();
        let mut io = Linux::new(socket).unwrap();
        let (longest, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(false)));
        let (seen, stopping) = (Arc::clone(&longest), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut batch = Batch::new(1);
            let mut number = 0;
            while !*stopping.lock().unwrap() {
                poll(&mut [PollFd::new(&waiting, PollFlags::IN)], None).unwrap();
                batch.clear();
                match io.receive(&mut batch, 1) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    Err(error) => panic!("{error}"),
                }
                let message = batch.messages[0];
                seen.fetch_max(datagrams_in(message.length, message.segment), Ordering::Relaxed);
                let mut bytes = batch.bytes()[batch.range_of(0)].to_ascii_uppercase();
                spoil(number, &mut bytes);
                number += 1;
                let segment = if bytes.len() > message.segment { message.segment } else { 0 };
                let reply = Reply { peer: message.peer, local: None, parts: 0..1, segment, length: bytes.len() };
                let replies = Replies { list: vec![reply], parts: vec![0..bytes.len(); 1] };
                // A peer that is gone is none of our business.
                let _ = io.send(&bytes, &replies, 0);
            }
        });
        TrainServer { address, longest, stop, thread: Some(thread) }
    }

    fn longest(&self) -> usize {
        self.longest.load(Ordering::Relaxed)
    }
}

impl Drop for TrainServer {
    fn drop(&mut self) {
        *self.stop.lock().unwrap() = true;
        std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"wake up", self.address).unwrap();
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

#[test]
fn a_deep_window_travels_in_trains_and_every_datagram_of_them_is_verified() {
    let server = TrainServer::start(|_, _| {});
    let url = format!("udp://{}", server.address);
    let (document, code) = measure(&[&url, "-p", "100", "-n", "5000", "-w", "0", "--timeout", "20s"]);
    assert_eq!((code, document.counts.sent, document.counts.replied), (0, 5000, 5000));
    assert_eq!(document.latency.response.n, 5000);
    assert_eq!(server.longest(), 64, "a hundred fit into two trains");
}

#[test]
fn a_train_is_as_long_as_asked() {
    for (gso, longest) in [("off", 1), ("1", 1), ("7", 7)] {
        let server = TrainServer::start(|_, _| {});
        let url = format!("udp://{}", server.address);
        let (document, code) = measure(&[&url, "-p", "32", "-n", "500", "-w", "0", "--timeout", "20s", "--gso", gso]);
        assert_eq!((code, document.counts.replied, document.config.datagrams_per_send), (0, 500, longest));
        assert_eq!(server.longest(), longest, "--gso {gso}");
    }
}

#[test]
fn a_datagram_spoilt_within_a_train_spoils_no_other() {
    let server = TrainServer::start(|number, answer| match number {
        // One wrong byte in the third datagram, behind its header; a shorter last one; two missing.
        0 => answer[2 * SIZE + 40] ^= 0x20,
        1 => answer.truncate(answer.len() - 5),
        2 => answer.truncate(answer.len() - 2 * SIZE),
        _ => {}
    });
    let url = format!("udp://{}", server.address);
    let (document, code) = measure(&[&url, "-p", "10", "-n", "200", "-w", "0", "--timeout", "2s", "--stamps", "off"]);
    let counts = document.counts;
    assert_eq!((counts.sent, counts.corrupt, counts.truncated, counts.lost), (200, 1, 1, 2));
    assert_eq!((counts.replied, counts.stray, code), (196, 0, 5));
}

#[test]
fn a_path_without_room_for_a_train_gets_its_datagrams_one_by_one() {
    // A datagram of 4,000 bytes is three fragments here. The kernel gives a datagram up when more than `ipfrag_max_dist`
    // fragments of others (64) come between its own, which 32 in flight each way can bring about: 96 fragments a burst. With
    // ten and that rule off (ip-sysctl.rst: 0), every datagram that goes out has to come back.
    const LINK: &str = "ip link set lo mtu 1500 up && echo 0 > /proc/sys/net/ipv4/ipfrag_max_dist";
    let in_namespace = |script: &str| {
        let program = env!("CARGO_BIN_EXE_shout-load");
        Command::new("unshare").args(["-rn", "sh", "-c", script, program]).output()
    };
    if !in_namespace(LINK).is_ok_and(|output| output.status.success()) {
        println!("skipped: needs unshare, ip, and the right to make a network namespace");
        return;
    }
    let run = format!("{LINK} && exec \"$0\" -s 4000 -p 10 -n 300 -w 0 --timeout 20s --json");
    let output = in_namespace(&run).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let udp: shout_load::report::document::Document = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((udp.counts.sent, udp.counts.replied), (300, 300), "{:?}", udp.loss);
}
