//! After the first few messages the loop asks the allocator for nothing. In a file of its own, because it counts every
//! allocation of the process.
#![allow(unsafe_code, reason = "an allocator is unsafe to implement; this one only counts and passes on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::UdpSocket;
use std::time::Duration;

mod common;
use common::{ask, exchange, receive, server, tcp, udp};
use shout::server::Server;

/// The system's allocator, counted for each thread apart, so that tests that run at once do not disturb each other.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has no counter any more, and nobody asks for it.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call is passed on as it came; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, length: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(pointer, layout, length) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How many allocations `work` makes on this thread.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// Turns the server until it has answered `replies` more datagrams; how many allocations the turns made.
fn answer_datagrams(server: &mut Server, client: &UdpSocket, text: &[u8], replies: u64) -> u64 {
    for _ in 0..replies {
        client.send_to(text, server.address()).unwrap();
    }
    let wanted = server.counters().udp_replied + replies;
    let made = allocations(|| {
        while server.counters().udp_replied < wanted {
            server.turn(Some(Duration::from_secs(1))).unwrap();
        }
    });
    let mut buffer = [0; 4096];
    while receive(client, &mut buffer).is_some() {}
    made
}

#[test]
fn the_count_sees_what_the_loop_would_do() {
    let made = allocations(|| drop(std::hint::black_box(vec![0_u8; 100])));
    assert_eq!(made, 1);
}

#[test]
fn a_datagram_costs_no_allocation() {
    for how in ["auto", "portable"] {
        for (case, text) in [("ascii", "plain"), ("unicode", "plain"), ("unicode", "straße ŉ \u{390}")] {
            let mut server = server(&["--case", case, "--udp-io", how]);
            let client = udp(&server);
            assert_eq!(ask(&mut server, &client, text.as_bytes()), text.to_uppercase().as_bytes());
            // The queues inside grow with the depth of the socket's, up to a batch.
            answer_datagrams(&mut server, &client, text.as_bytes(), 100);
            for depth in [1, 10, 100] {
                let made: u64 = (0..10).map(|_| answer_datagrams(&mut server, &client, text.as_bytes(), depth)).sum();
                assert_eq!(made, 0, "{case}, {how}, {text:?}, {depth} at a time");
            }
        }
    }
}

#[test]
fn a_message_on_a_connection_costs_no_allocation() {
    for (case, text) in [("ascii", "plain"), ("unicode", "plain"), ("unicode", "straße ŉ \u{390}")] {
        let mut server = server(&["--case", case]);
        let mut clients = [tcp(&server), tcp(&server), tcp(&server)];
        let wanted = text.to_uppercase();
        for client in &mut clients {
            assert_eq!(exchange(&mut server, client, text.as_bytes(), wanted.len()), wanted.as_bytes());
        }
        for _ in 0..100 {
            for client in &mut clients {
                common::write_some(client, text.as_bytes());
            }
            let wanted_bytes = server.counters().tcp_sent_bytes + 3 * wanted.len() as u64;
            let made = allocations(|| {
                while server.counters().tcp_sent_bytes < wanted_bytes {
                    server.turn(Some(Duration::from_secs(1))).unwrap();
                }
            });
            assert_eq!(made, 0, "{case}, {text:?}");
            for client in &mut clients {
                let mut answer = Vec::new();
                common::read_some(client, &mut answer).unwrap();
                assert_eq!(answer, wanted.as_bytes());
            }
        }
    }
}
