//! Descriptors that run out. The limits of a process can be changed and its counters read while it runs, on Linux.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, prlimit};

use super::SMALL_BUFFERS;
use crate::common::{PATIENCE, Program, pattern, ping, ping_udp, retried, tcp_client, udp_client};

/// How long a newcomer waits at most for somebody idle to give way, on a machine that has time for the server.
const NEWCOMER_WAIT_MAX: Duration = Duration::from_secs(1);

/// A client that writes until nothing moves any more and never reads. It is not idle, so it keeps its place.
fn stalled(program: &mut Program) -> TcpStream {
    let blocked = program.counter("tcp_blocked");
    let mut client = tcp_client(program.address);
    client.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
    let text = pattern(1 << 20);
    while client.write(&text).is_ok() || program.counter("tcp_blocked") == blocked {}
    client.set_nonblocking(false).unwrap();
    client
}

/// Watches the server for about a second in which a client waits: how many turns and how much processor time it
/// took.
fn observe(program: &mut Program, waiting: &TcpStream) -> (u64, Duration) {
    let (turns, used) = (program.counter("turns"), program.processor_time());
    // Nothing comes: that is what is observed, for as long as this read waits.
    waiting.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    waiting.peek(&mut [0]).expect_err("a client beyond the limit was answered");
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    (program.counter("turns") - turns, program.processor_time().saturating_sub(used))
}

/// Lets the process open no more descriptors than it has.
fn close_the_tap(program: &Program) {
    let path = format!("/proc/{}/fd", program.pid().as_raw_nonzero());
    let open = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
    let open: HashSet<u64> = open.map(|name| name.to_str().unwrap().parse().unwrap()).collect();
    let lowest_free = (0..1 << 20).find(|number| !open.contains(number));
    let limit = Rlimit { current: lowest_free, maximum: lowest_free };
    prlimit(Some(program.pid()), Resource::Nofile, limit).unwrap();
}

#[test]
fn without_descriptors_udp_is_served_nothing_spins_and_the_waiting_are_served_when_others_leave() {
    let mut program = Program::start(&SMALL_BUFFERS);
    let busy: Vec<TcpStream> = (0..3).map(|_| stalled(&mut program)).collect();
    close_the_tap(&program);
    let mut waiting: Vec<TcpStream> = (0..10).map(|_| tcp_client(program.address)).collect();
    for client in &mut waiting {
        client.write_all(b"my turn").unwrap();
        // They will be served in one place, one after the other.
        client.shutdown(Shutdown::Write).unwrap();
    }
    let (turns, used) = observe(&mut program, &waiting[0]);
    assert!(turns < 500 && used < Duration::from_millis(500), "it spins: {turns} turns, {used:?} in about a second");
    assert!(program.counter("tcp_accept_paused") > 0, "the limit was not reached, which proves nothing");
    let datagrams = udp_client(program.address);
    assert_eq!(ping_udp(&datagrams, program.address, b"no descriptor needed"), b"NO DESCRIPTOR NEEDED");
    // From here on nobody connects: the kernel has no reason to report the listener.
    drop(busy);
    for client in &mut waiting {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "MY TURN");
    }
    assert_eq!(program.terminate().code, Some(0));
}

#[test]
fn without_descriptors_an_idle_connection_gives_way() {
    let mut program = Program::start(&[]);
    let mut clients: Vec<TcpStream> = (0..3).map(|_| tcp_client(program.address)).collect();
    for client in &mut clients {
        ping(client, b"and then idle");
    }
    close_the_tap(&program);
    let mut waited = [Duration::MAX; 3];
    for waited in &mut waited {
        let since = Instant::now();
        let mut newcomer = tcp_client(program.address);
        assert_eq!(ping(&mut newcomer, b"me too"), b"ME TOO");
        *waited = since.elapsed();
        clients.push(newcomer);
    }
    // The machine may keep one of them waiting, whatever the server does, but hardly all.
    assert!(*waited.iter().min().unwrap() < NEWCOMER_WAIT_MAX, "{waited:?}");
    println!("newcomers waited {waited:?}");
    assert_eq!(program.counter("tcp_closed_for_room"), 3);
    for client in &mut clients[..3] {
        assert_eq!(retried(|| client.read(&mut [0])).unwrap(), 0, "a clean end");
    }
}

#[test]
fn a_low_limit_on_open_files_limits_connections_and_nothing_else() {
    let mut program = Program::start_after("ulimit -n 40", &SMALL_BUFFERS);
    // 40 less the 32 that are kept back.
    let busy: Vec<TcpStream> = (0..8).map(|_| stalled(&mut program)).collect();
    let mut waiting: Vec<TcpStream> = (0..100).map(|_| tcp_client(program.address)).collect();
    for client in &mut waiting {
        client.write_all(b"my turn").unwrap();
    }
    let (turns, used) = observe(&mut program, &waiting[0]);
    assert!(turns < 500 && used < Duration::from_millis(500), "it spins: {turns} turns, {used:?} in about a second");
    assert_eq!(program.counter("tcp_accepted"), 8);
    let datagrams = udp_client(program.address);
    assert_eq!(ping_udp(&datagrams, program.address, b"no place needed"), b"NO PLACE NEEDED");
    drop(busy);
    // The first 8 get the places, and the others those of whoever then leaves.
    for client in &mut waiting {
        let mut answer = [0; 7];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"MY TURN");
        client.shutdown(Shutdown::Both).unwrap();
    }
    let ended = program.terminate();
    assert_eq!((ended.code, ended.counter("tcp_accepted"), ended.counter("tcp_accept_paused")), (Some(0), 108, 0));
}
