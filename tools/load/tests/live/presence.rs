//! Servers that are not there to the end: what the verdict says of each, and where the losses are put.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::thread;

use crate::servers::measure;
use shout_load::report::document::Document;
use shout_load::verdict::{Check, Verdict};

/// So many messages are answered before the server leaves. Those after them are sent one at a time, each after the one
/// before was given up: whatever else the machine does, the server is away for longer than it was there.
const ANSWERED: usize = 200;

fn load(target: &str) -> Document {
    measure(&[target, "-n", "210", "-p", "1", "-w", "0", "--timeout", "500ms", "--slo", "p50<1h"]).0
}

/// The check, which must be bad and say these words.
fn accused(run: &Document, words: &str) -> Check {
    let check = run.validity.checks.iter().find(|check| check.id == "server_there").unwrap();
    assert!(check.verdict != Verdict::Valid && check.why.contains(words), "{check:?}");
    check.clone()
}

/// Answers datagrams, and then no more; the socket is left open.
fn answers_for_a_while(socket: &UdpSocket) {
    let mut buffer = [0; 2048];
    for _ in 0..ANSWERED {
        let (length, peer) = socket.recv_from(&mut buffer).unwrap();
        socket.send_to(&buffer[..length].to_ascii_uppercase(), peer).unwrap();
    }
}

#[test]
fn a_server_that_ends_refuses_what_comes_after_it() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = format!("udp://{}", socket.local_addr().unwrap());
    let server = thread::spawn(move || answers_for_a_while(&socket));
    let run = load(&target);
    server.join().unwrap();
    accused(&run, "nobody listened at the server's port from ");
    let loss = run.loss.attribution;
    // Ten were sent to nobody; one may have come to the socket just before it was closed.
    assert!(loss.refused >= 8 && loss.refused + loss.unknown == 10, "{loss:?}");
    // What a busy machine answered too late is told apart.
    let counts = run.counts;
    assert_eq!((counts.lost, counts.replied + counts.late), (10 + counts.late, ANSWERED as u64));
}

#[test]
fn a_server_that_falls_silent_is_not_taken_for_a_network_that_loses() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = format!("udp://{}", socket.local_addr().unwrap());
    let open = socket.try_clone().unwrap();
    let server = thread::spawn(move || answers_for_a_while(&socket));
    let run = load(&target);
    server.join().unwrap();
    drop(open);
    accused(&run, "the server fell silent on udp: 10 messages were sent after its last answer at ");
    assert_eq!((run.counts.lost - run.counts.late, run.loss.attribution.refused), (10, 0));
}

/// Who reads from a socket that two processes hold, the kernel does not tell: what both of them use is the server's.
#[cfg(target_os = "linux")]
#[test]
fn a_server_of_several_processes_is_observed_as_one() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = format!("udp://{}", socket.local_addr().unwrap());
    let held = std::process::Stdio::from(std::os::fd::OwnedFd::from(socket.try_clone().unwrap()));
    let mut idle = std::process::Command::new("sleep").arg("300").stdin(held).spawn().unwrap();
    let server = thread::spawn(move || answers_for_a_while(&socket));
    let (run, _) = measure(&[&target, "-n", "200", "-p", "1", "-w", "0", "--timeout", "10s"]);
    server.join().unwrap();
    idle.kill().unwrap();
    idle.wait().unwrap();
    let seen = run.server.expect("both of them can be seen");
    // Another test that starts a process at that moment lends it our sockets.
    assert!(seen.together.is_some_and(|number| number >= 2), "{seen:?}");
    assert!(seen.pid == std::process::id() && seen.cpu_ns > 0 && seen.resident_bytes > 0, "{seen:?}");
}

#[test]
fn a_server_that_hangs_up_ends_the_run_and_makes_it_invalid() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("tcp://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut message = [0; 64];
        for _ in 0..ANSWERED {
            stream.read_exact(&mut message).unwrap();
            stream.write_all(&message.to_ascii_uppercase()).unwrap();
        }
    });
    let load = ["-R", "2k", "-d", "1m", "-c", "1", "-w", "0", "--slo", "p50<1h"];
    let (run, code) = measure(&[&[target.as_str()], &load[..]].concat());
    server.join().unwrap();
    let check = accused(&run, "the server ended every tcp connection, the last of 1 at ");
    assert_eq!((check.verdict, code), (Verdict::Invalid, 4), "no gate is passed by the part that was answered");
    assert!(run.time.measured_ns < 60_000_000_000, "there was nobody left to send to");
}
