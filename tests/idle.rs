//! What connections cost that do nothing. In a file of its own, because it needs nearly every descriptor there is.
#![cfg(target_os = "linux")]

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

mod common;
use common::{
    PATIENCE, Program, ask, exchange, ping, ping_udp, raise_descriptors, server, tcp, tcp_client, turn_until,
    turn_until_quiet, udp, udp_client,
};

/// Descriptors that a test process needs besides those of its clients.
const DESCRIPTORS_RESERVED: u64 = 64;

/// Whoever holds it may use all descriptors.
static DESCRIPTORS: Mutex<()> = Mutex::new(());

fn all_descriptors() -> MutexGuard<'static, ()> {
    // A test that failed has closed what it had opened.
    DESCRIPTORS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Clients that are all accepted, and that leave no trace in the kernel when they go.
fn idle_clients(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    // So many fit into the accept queue; beyond it the kernel makes clients wait a second.
    const BATCH: usize = 500;
    let mut clients = Vec::with_capacity(count);
    while clients.len() < count {
        let batch = BATCH.min(count - clients.len());
        // From an address of its own: of one address's ports most would soon be in use, and the search for a free one long.
        let source = SocketAddr::from((Ipv4Addr::new(127, 0, 1, (clients.len() / BATCH) as u8 + 1), 0));
        for _ in 0..batch {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            client.set_linger(Some(Duration::ZERO)).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.bind(&source.into()).unwrap();
            client.connect(&address.into()).unwrap();
            clients.push(TcpStream::from(client));
        }
        // They are accepted in order: once the last is answered, all are.
        assert_eq!(ping(clients.last_mut().unwrap(), b"last"), b"LAST");
    }
    clients
}

#[test]
fn nineteen_thousand_idle_connections_take_four_megabytes_and_no_time() {
    const WANTED: u64 = 19_000;
    const MEMORY_MAX_KIB: u64 = 4 * 1024;

    let _all = all_descriptors();
    let mut program = Program::start(&[]);
    let count = WANTED.min(raise_descriptors().saturating_sub(DESCRIPTORS_RESERVED));
    // A smaller number has a smaller bound, over what any number costs: the stack and the heap of a few requests.
    let memory_max_kib = MEMORY_MAX_KIB.min(512 + MEMORY_MAX_KIB * count / WANTED);
    if count < WANTED {
        println!("the limit on open files leaves {count} connections, which may take {memory_max_kib} KiB");
    }
    // Served once before, so that what is measured is connections and not the first use of anything.
    let (datagrams, address) = (udp_client(program.address), program.address);
    let mut first = tcp_client(address);
    ping(&mut first, b"warm");
    ping_udp(&datagrams, address, b"warm");
    let before = program.resident();

    let mut clients = idle_clients(address, count as usize - 1);
    let taken = program.resident().saturating_sub(before) / 1024;
    assert!(taken <= memory_max_kib, "{count} idle connections take {taken} KiB");
    println!("{count} idle connections take {taken} KiB");

    for number in 100..200 {
        let text = format!("datagram {number}");
        assert_eq!(ping_udp(&datagrams, address, text.as_bytes()), text.to_ascii_uppercase().as_bytes());
    }
    for client in clients.iter_mut().step_by(count as usize / 100) {
        assert_eq!(ping(client, b"still here"), b"STILL HERE");
    }
    assert_eq!(program.counter("tcp_closed_for_room") + program.counter("tcp_broken"), 0);

    // For a second nobody does anything, and neither does the server.
    let turns = program.counter("turns");
    first.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    first.peek(&mut [0]).unwrap_err();
    let turns = program.counter("turns") - turns;
    assert!(turns < 100, "{turns} turns in an idle second");

    assert_eq!(ping(&mut first, b"and at last"), b"AND AT LAST");
}

#[test]
fn a_thousand_open_connections_cost_no_turns_while_they_are_idle() {
    const WANTED: u64 = 1000;
    let _all = all_descriptors();
    // Both ends of each are in this process.
    let count = WANTED.min(raise_descriptors().saturating_sub(DESCRIPTORS_RESERVED) / 2) as usize;
    if count < WANTED as usize {
        println!("the limit on open files leaves {count} connections");
    }
    // With both timers running that connections can have.
    let mut server = server(&["--idle-timeout", "1h", "--stall-timeout", "1h"]);
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = tcp(&server);
        assert_eq!(exchange(&mut server, &mut client, b"hello", 5), b"HELLO");
        clients.push(client);
    }
    turn_until_quiet(&mut server);
    assert_eq!(server.connections(), (count, 0));
    let (before, start) = (*server.counters(), Instant::now());
    turn_until(&mut server, "two seconds of nothing", |_| start.elapsed() >= Duration::from_secs(2));
    // Each turn was ended by the 20 ms that a turn waits here, and by no event.
    let turns = server.counters().turns - before.turns;
    assert!(turns <= 101, "{turns} turns in two seconds");
    assert_eq!(server.counters().events, before.events);
    let datagrams = udp(&server);
    assert_eq!(ask(&mut server, &datagrams, b"awake"), b"AWAKE");
}
