//! A terminal that is closed: the server finishes what it owes, unless it was told to live on.
#![cfg(target_os = "linux")]

use rustix::process::Signal;

mod common;
mod launcher;

use common::{Program, ping, ping_udp, tcp_client, udp_client};
use launcher::{Server, command, holding, let_go};

#[test]
fn a_hangup_finishes_what_is_owed_however_often_it_comes() {
    let ours = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = ours.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    if u64::from_str_radix(ignored, 16).unwrap() & 1 != 0 {
        println!("skipped: these tests are to ignore hangups, and so is what they start");
        return;
    }
    let server = Server::start(&mut command(&["--listen", "127.0.0.1:0"]));
    let (_, address) = server.listening();
    let held = holding(address);
    server.signal(Signal::HUP);
    server.line_with("stopping: finishing what is owed to 1 connections");
    for _ in 0..2 {
        server.signal(Signal::HUP);
        // Signals that are pending are taken in the order of their numbers.
        server.signal(Signal::USR1);
        server.line_with("1 connections open");
    }
    let_go(held);
    let (code, lines) = server.ended();
    assert_eq!(code, Some(0), "{lines:#?}");
}

#[test]
fn a_server_that_is_to_ignore_hangups_serves_on() {
    let mut program = Program::start_after("trap '' HUP", &[]);
    program.signal(Signal::HUP);
    // It turns for this one, and would have taken the other before.
    assert_eq!(program.counter("tcp_accepted"), 0);
    assert_eq!(ping(&mut tcp_client(program.address), b"still here"), b"STILL HERE");
    assert_eq!(ping_udp(&udp_client(program.address), program.address, b"here too"), b"HERE TOO");
    let ended = program.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}
