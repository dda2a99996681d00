//! The server is stopped and continued under traffic, as a debugger, a freezer or a suspended machine does it.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use shout::idle::TICK;

mod common;
mod peers;

use common::{PATIENCE, Program, assert_same, pattern, retried, server, tcp_client, turn_until, udp_client};
use peers::{press, small};

/// How often the server is stopped.
const STOPS: usize = 10;

#[test]
fn a_server_that_is_stopped_and_continued_goes_on_where_it_was() {
    let server = Program::start(&[]);
    let text = pattern(16 << 20);
    let wanted = text.to_ascii_uppercase();
    let mut reader = tcp_client(server.address);
    let mut writer = reader.try_clone().unwrap();
    let datagrams = udp_client(server.address);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&text).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut answer = vec![0; wanted.len()];
        for part in answer.chunks_mut(wanted.len().div_ceil(STOPS)) {
            server.signal(Signal::STOP);
            wait_until_stopped(&server);
            datagrams.send_to(b"wake up", server.address).unwrap();
            server.signal(Signal::CONT);
            reader.read_exact(part).unwrap();
            let mut reply = [0; 16];
            let length = retried(|| datagrams.recv(&mut reply)).unwrap();
            assert_eq!(&reply[..length], b"WAKE UP");
        }
        assert_same(&answer, &wanted);
        assert_eq!(retried(|| reader.read(&mut [0; 1])).unwrap(), 0, "more than was owed");
    });
    assert_eq!(server.terminate().code, Some(0));
}

#[test]
fn who_has_read_everything_while_the_server_was_stopped_is_not_closed_as_stalled() {
    // More than one turn drives.
    const PEERS: usize = 300;
    // Long enough that a busy machine gets all of them there before the first has stalled for as long.
    const STALL_TIMEOUT: Duration = Duration::from_secs(4);
    let mut server = server(&["--stall-timeout", "4s", "--tcp-send-buffer", "16KiB"]);
    let text = pattern(64 << 10);
    let mut peers: Vec<TcpStream> = (0..PEERS)
        .map(|_| {
            let mut peer = small(server.address(), 4_096, 256 << 10);
            peer.set_nonblocking(true).unwrap();
            press(&mut peer, &text);
            peer
        })
        .collect();
    turn_until(&mut server, "all to be owed something", |server| server.counters().tcp_blocked >= PEERS as u64);
    // The time that the server does not get is what this is about.
    let stopped = Instant::now();
    let mut buffer = vec![0; 1 << 20];
    while stopped.elapsed() < STALL_TIMEOUT + 4 * TICK {
        for peer in &mut peers {
            while peer.read(&mut buffer).is_ok_and(|length| length > 0) {}
        }
        // What has made room in a peer's buffer comes soon. Nothing waits for this: it is the pace of the peers.
        std::thread::sleep(TICK);
    }
    server.turn(Some(Duration::ZERO)).unwrap();
    let counters = server.counters();
    assert_eq!((counters.tcp_closed_stalled, server.connections().0), (0, PEERS), "{counters:?}");
}

/// A stop takes effect some time after the signal was sent.
fn wait_until_stopped(server: &Program) {
    let deadline = Instant::now() + PATIENCE;
    let path = format!("/proc/{}/stat", server.pid().as_raw_nonzero());
    while !std::fs::read_to_string(&path).unwrap().contains(") T ") {
        assert!(Instant::now() < deadline, "the server does not stop");
        std::thread::yield_now();
    }
}
