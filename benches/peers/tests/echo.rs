//! Every peer keeps the contract that the races rest on: what is sent comes back whole, in order, in upper case.
//!
//! Real sockets on a port of the kernel's choice; whatever does not come is waited for until [`PATIENCE`] ends.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use peers::running::Running;
use shout_load::sockets::retried;

const PEERS: [&str; 4] = [
    env!("CARGO_BIN_EXE_blocking"),
    env!("CARGO_BIN_EXE_naive-mio"),
    env!("CARGO_BIN_EXE_tokio"),
    env!("CARGO_BIN_EXE_shout"),
];

/// How long a reply may take before the test fails: far more than a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(20);

/// The largest payload of a UDP datagram over IPv4: 65,535 bytes less the headers of IP and UDP.
const LARGEST_DATAGRAM: usize = 65_507;

fn each_peer(check: impl Fn(&str, &Running)) {
    for program in PEERS {
        check(program, &Running::start(Path::new(program)).unwrap());
    }
}

fn stream_to(peer: &Running) -> TcpStream {
    let stream = TcpStream::connect(peer.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A socket that takes replies only from the address it sends to.
fn datagrams_to(peer: &Running) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(peer.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// `length` bytes with the period 251: a prime, so that a lost, doubled or swapped buffer of any usual size shows.
fn text(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

/// Not `to_ascii_uppercase`, which is what the peers use.
fn upper(text: &[u8]) -> Vec<u8> {
    text.iter().map(|&byte| if byte.is_ascii_lowercase() { byte - 32 } else { byte }).collect()
}

#[test]
fn datagrams_of_every_size_come_back_one_for_one() {
    each_peer(|name, peer| {
        let socket = datagrams_to(peer);
        let mut reply = vec![0; 1 << 16];
        let all_bytes: Vec<u8> = (0..=255).collect();
        for request in [vec![], vec![b'z'], all_bytes, text(1_472), text(LARGEST_DATAGRAM)] {
            socket.send(&request).unwrap();
            let length = retried(|| socket.recv(&mut reply)).unwrap();
            assert!(reply[..length] == upper(&request), "{name}: {} bytes in, {length} out", request.len());
        }
    });
}

#[test]
fn datagrams_sent_together_stay_apart() {
    // Few and small, so that any socket's default buffer holds them all.
    const TOGETHER: u8 = 32;
    each_peer(|name, peer| {
        let socket = datagrams_to(peer);
        for index in 0..TOGETHER {
            socket.send(&vec![b'a'; usize::from(index)]).unwrap();
        }
        let mut reply = [0; 64];
        for index in 0..TOGETHER {
            let length = retried(|| socket.recv(&mut reply)).unwrap();
            assert_eq!(reply[..length], vec![b'A'; usize::from(index)], "{name}: reply {index}");
        }
    });
}

/// The client sends without reading until the peer has stopped reading too, so its writes have come up short; only
/// then does it take the answer. All of it must come, and then a clean end of file.
#[test]
fn a_stream_that_was_blocked_and_half_closed_is_answered_in_full() {
    /// More than the kernel's buffers of one connection hold in both directions, at their default limits.
    const MORE_THAN_FITS: usize = 64 << 20;
    /// A write that waits this long has found every buffer full; if it was only a busy machine, less is tested.
    const BLOCKED: Duration = Duration::from_millis(500);

    let request = text(MORE_THAN_FITS);
    each_peer(|name, peer| {
        let mut stream = stream_to(peer);
        stream.set_write_timeout(Some(BLOCKED)).unwrap();
        let mut sent = 0;
        let blocked = loop {
            match retried(|| stream.write(&request[sent..])) {
                Ok(length) => sent += length,
                Err(error) => break error.kind(),
            }
            assert!(sent < request.len(), "{name} reads on without an end while nobody takes its replies");
        };
        assert!(matches!(blocked, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{name}: {blocked}");

        // A little more, so that the end of the stream comes after the peer has found its way again.
        let total = request.len().min(sent + (1 << 20));
        let mut sender = stream.try_clone().unwrap();
        let rest = request[sent..total].to_vec();
        let sender = thread::spawn(move || {
            sender.set_write_timeout(Some(PATIENCE)).unwrap();
            sender.write_all(&rest).unwrap();
            sender.shutdown(Shutdown::Write).unwrap();
        });
        let mut reply = Vec::with_capacity(total);
        stream.read_to_end(&mut reply).unwrap();
        sender.join().unwrap();
        assert_eq!(reply.len(), total, "{name}");
        assert!(reply == upper(&request[..total]), "{name}: the right length, the wrong bytes");
    });
}

#[test]
fn data_and_its_end_may_arrive_together() {
    each_peer(|name, peer| {
        let mut stream = stream_to(peer);
        stream.write_all(b"all there is").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert_eq!(reply, "ALL THERE IS", "{name}");
    });
}

#[test]
fn connections_do_not_mix_and_outlive_each_other() {
    const CONNECTIONS: usize = 40;
    each_peer(|name, peer| {
        let mut streams: Vec<_> = (0..CONNECTIONS).map(|_| stream_to(peer)).collect();
        while !streams.is_empty() {
            for (index, stream) in streams.iter_mut().enumerate() {
                write!(stream, "line {index:03} of many").unwrap();
            }
            for (index, stream) in streams.iter_mut().enumerate() {
                let expected = format!("LINE {index:03} OF MANY");
                let mut reply = vec![0; expected.len()];
                stream.read_exact(&mut reply).unwrap();
                assert_eq!(String::from_utf8_lossy(&reply), expected, "{name}");
            }
            // Half of them go, with a request on its way: the peer may find them reset.
            for mut leaving in streams.drain(streams.len() / 2..) {
                leaving.write_all(b"never mind").unwrap();
            }
        }
    });
}

#[test]
fn a_bad_address_is_named_and_ends_with_code_2() {
    for program in PEERS {
        let outcome = Command::new(program).arg("localhorse").output().unwrap();
        assert_eq!(outcome.status.code(), Some(2), "{program}");
        assert!(outcome.stdout.is_empty(), "{program}");
        let said = String::from_utf8_lossy(&outcome.stderr);
        assert!(said.lines().next().unwrap().contains("localhorse"), "{program}: {said}");
    }
}

#[test]
fn an_address_in_use_is_named_and_ends_with_code_1() {
    each_peer(|name, peer| {
        let address = peer.address().to_string();
        let outcome = Command::new(name).arg(&address).output().unwrap();
        assert_eq!(outcome.status.code(), Some(1), "{name}");
        assert!(String::from_utf8_lossy(&outcome.stderr).contains(&address), "{name}");
    });
}
