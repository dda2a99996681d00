//! What happens when something runs out: descriptors, places, patience, memory.

use std::net::TcpStream;
use std::time::{Duration, Instant};

mod common;
#[cfg(target_os = "linux")]
#[path = "limits/descriptors.rs"]
mod descriptors;
#[cfg(target_os = "linux")]
mod peers;
use common::{
    End, ask, assert_same, exchange, pattern, raise_descriptors, read_some, rest_of, retried, server, tcp, turn_until,
    turn_until_quiet, udp, write_some,
};
use shout::connections::CHUNK_LEN;
use shout::server::Server;

/// Small buffers, so that little needs to be written until a peer that does not read is stalled.
const SMALL_BUFFERS: [&str; 4] = ["--tcp-recv-buffer", "64KiB", "--tcp-send-buffer", "64KiB"];

fn server_with(flags: &[&str]) -> Server {
    server(&[flags, &SMALL_BUFFERS].concat())
}

/// Turns the server until it owes `client` something that it cannot send, for the client never reads.
fn stall(server: &mut Server, client: &mut TcpStream) {
    let (before, text) = (server.connections().1, pattern(1 << 20));
    loop {
        let length = write_some(client, &text);
        turn_until_quiet(server);
        if length == 0 && server.connections().1 > before {
            return;
        }
    }
}

#[test]
fn an_idle_connection_is_closed_cleanly_and_an_active_one_is_not() {
    let mut server = server(&["--idle-timeout", "400ms"]);
    let (mut idle, mut active) = (tcp(&server), tcp(&server));
    assert_eq!(exchange(&mut server, &mut idle, b"hello", 5), b"HELLO");
    let (mut rest, mut end) = (Vec::new(), None);
    // The active one writes before every turn, so that it has never been quiet when the turn looks who has.
    while end.is_none() {
        assert_eq!(exchange(&mut server, &mut active, b"a", 1), b"A");
        end = read_some(&mut idle, &mut rest).err();
    }
    assert_eq!((rest, end), (Vec::new(), Some(End::Clean)));
    assert_eq!((server.connections().0, server.counters().tcp_closed_idle), (1, 1));
}

#[test]
fn what_an_idle_connection_sent_at_the_last_moment_is_answered() {
    const CLIENTS: usize = 400;
    const TRIES_MAX: usize = 20;
    raise_descriptors();
    let connected = || {
        let mut server = server(&["--idle-timeout", "100ms"]);
        let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| tcp(&server)).collect();
        turn_until(&mut server, "everybody", |server| server.counters().tcp_accepted == CLIENTS as u64);
        // Where the machine is busy with others, the first have been idle for too long before the last are accepted.
        (server.connections().0 == CLIENTS).then_some((server, clients))
    };
    let (mut server, mut clients) = (0..TRIES_MAX).find_map(|_| connected()).expect("this machine has no time for it");
    // The server is kept from its work for longer than anybody may be idle, as a suspended process is, and then finds
    // more to do than fits into one turn. The wait is the cause that is tested here, not a way to be in time.
    let silence = udp(&server);
    silence.set_nonblocking(false).unwrap();
    silence.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    retried(|| silence.recv(&mut [0])).unwrap_err();
    for client in &mut clients {
        assert_eq!(write_some(client, b"not idle"), 8);
    }
    for client in &mut clients {
        let (answer, end) = rest_of(&mut server, client);
        assert_eq!((&answer[..], end), (&b"NOT IDLE"[..], End::Clean));
    }
}

#[test]
fn beyond_max_unsent_the_longest_stalled_is_closed() {
    closes_the_longest_stalled_beyond_128_kib(&["--max-unsent", "128KiB"]);
}

#[test]
fn each_of_two_loops_holds_half_of_max_unsent() {
    closes_the_longest_stalled_beyond_128_kib(&["--max-unsent", "256KiB", "--workers", "2"]);
}

fn closes_the_longest_stalled_beyond_128_kib(flags: &[&str]) {
    const UNSENT_MAX: usize = 128 * 1024;
    let mut server = server_with(flags);
    let mut stalled = Vec::new();
    while server.counters().tcp_closed_unsent == 0 {
        assert!(stalled.len() < 64, "{stalled:?} are owed {} bytes together", server.connections().1);
        let mut client = tcp(&server);
        let text = pattern(1 << 20);
        let mut before = usize::MAX;
        // Until it neither takes nor sends any more.
        while before != server.connections().1 {
            before = server.connections().1;
            write_some(&mut client, &text);
            turn_until_quiet(&mut server);
            assert!(server.connections().1 <= UNSENT_MAX);
            if server.counters().tcp_closed_unsent > 0 {
                break;
            }
        }
        stalled.push(client);
    }
    let closed = server.counters().tcp_closed_unsent as usize;
    assert!(closed < stalled.len(), "closing one was enough");
    // It was closed with input unread, so that its end may be a reset; those behind it are still owed their answers.
    for client in &mut stalled[..closed] {
        rest_of(&mut server, client);
    }
    assert_eq!(server.connections().0, stalled.len() - closed);
    assert_eq!(server.counters().tcp_closed_unsent as usize, closed, "and nobody else was");
}

#[test]
fn a_unicode_answer_that_is_not_taken_costs_three_chunks_at_most() {
    let mut server = server_with(&["--case", "unicode"]);
    let mut client = tcp(&server);
    let text = "\u{390}".repeat(1 << 19);
    for _ in 0..20 {
        write_some(&mut client, text.as_bytes());
        turn_until_quiet(&mut server);
        assert!(server.connections().1 <= 3 * (CHUNK_LEN + 3));
    }
    assert!(server.connections().1 > 0);
}

#[test]
fn an_idle_connection_gives_way_to_a_new_one_and_the_longest_idle_goes_first() {
    let mut server = server(&["--max-connections", "3"]);
    let mut clients: Vec<TcpStream> = (0..3).map(|_| tcp(&server)).collect();
    for client in &mut clients {
        exchange(&mut server, client, b"in order", 8);
    }
    for round in 0..5 {
        let mut newcomer = tcp(&server);
        assert_eq!(exchange(&mut server, &mut newcomer, b"me too", 6), b"ME TOO");
        let mut longest_idle = clients.remove(0);
        assert_eq!(rest_of(&mut server, &mut longest_idle), (Vec::new(), End::Clean), "round {round}");
        clients.push(newcomer);
        assert_eq!((server.connections().0, server.counters().tcp_closed_for_room), (3, round + 1));
    }
}

#[test]
fn who_gives_way_is_answered_first() {
    let mut server = server(&["--max-connections", "1"]);
    let mut leaving = tcp(&server);
    exchange(&mut server, &mut leaving, b"hello", 5);
    // Long enough to count as idle. The wait is the cause that is tested here, not a way to be in time.
    let silence = udp(&server);
    silence.set_nonblocking(false).unwrap();
    silence.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    retried(|| silence.recv(&mut [0])).unwrap_err();
    // The next turn finds both: the newcomer, and what the longest-idle is now owed an answer to.
    assert_eq!(write_some(&mut leaving, b"my last words"), 13);
    let mut newcomer = tcp(&server);
    assert_eq!(rest_of(&mut server, &mut leaving), (b"MY LAST WORDS".to_vec(), End::Clean));
    drop(leaving);
    assert_eq!(exchange(&mut server, &mut newcomer, b"me too", 6), b"ME TOO");
}

#[test]
fn who_waits_for_a_place_gets_it_when_another_leaves_and_nobody_new_comes() {
    let mut server = server_with(&["--max-connections", "2"]);
    let mut busy = [tcp(&server), tcp(&server)];
    for client in &mut busy {
        stall(&mut server, client);
    }
    let (mut waiting, datagrams) = (tcp(&server), udp(&server));
    write_some(&mut waiting, b"my turn");
    let (turns, mut answer) = (server.counters().turns, Vec::new());
    // Those who are owed something are not idle and do not give way; to wait for them costs no turns.
    server.turn(Some(Duration::from_millis(500))).unwrap();
    server.turn(Some(Duration::from_millis(500))).unwrap();
    turn_until_quiet(&mut server);
    assert!(server.counters().turns - turns < 20, "it spins");
    read_some(&mut waiting, &mut answer).unwrap();
    assert_eq!((&answer[..], server.connections().0), (&b""[..], 2));
    assert_eq!(ask(&mut server, &datagrams, b"no place needed"), b"NO PLACE NEEDED");
    let [leaving, _staying] = busy;
    drop(leaving);
    assert_eq!(exchange(&mut server, &mut waiting, b"", 7), b"MY TURN");
    assert_eq!(server.connections().0, 2);
}

/// More than the receive buffer of a slow peer holds, less than what the kernel takes from the server: it sees no backlog.
#[cfg(target_os = "linux")]
const OWED: usize = 60_000;

/// A client who has been answered as far as the server is concerned, and has taken nothing of it. What the kernel still
/// holds for a peer shows on Linux alone.
#[cfg(target_os = "linux")]
fn slow(server: &mut Server) -> TcpStream {
    let mut client = peers::small(server.address(), 4_096, 1 << 20);
    client.set_nonblocking(true).unwrap();
    let (text, mut sent, sent_before) = (pattern(OWED), 0, server.counters().tcp_sent_bytes);
    turn_until(server, "an answer to leave", |server| {
        sent += write_some(&mut client, &text[sent..]);
        server.counters().tcp_sent_bytes == sent_before + OWED as u64
    });
    client
}

#[cfg(target_os = "linux")]
#[test]
fn who_has_yet_to_take_what_the_kernel_holds_is_not_idle() {
    let mut server = server(&["--idle-timeout", "500ms"]);
    let (mut slow, since) = (slow(&mut server), Instant::now());
    // Twice as long as anybody may be idle. That this takes time is what is tested.
    turn_until(&mut server, "nothing", |_| since.elapsed() > Duration::from_millis(1_100));
    assert_eq!(write_some(&mut slow, b"still here"), 10);
    // Once it has taken all of it, it is idle.
    let (answer, end) = rest_of(&mut server, &mut slow);
    assert_same(&answer, &[&pattern(OWED).to_ascii_uppercase()[..], b"STILL HERE"].concat());
    assert_eq!(end, End::Clean);
    assert_eq!(server.counters().tcp_closed_idle, 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_newcomer_costs_nobody_his_connection_whose_answers_are_on_the_way() {
    let mut server = server(&["--max-connections", "3"]);
    let mut slow: Vec<TcpStream> = (0..3).map(|_| slow(&mut server)).collect();
    let (mut newcomer, since) = (tcp(&server), Instant::now());
    write_some(&mut newcomer, b"me too");
    // Longer than anybody has to be idle before he may be asked to go. That this takes time is what is tested.
    turn_until(&mut server, "nothing", |_| since.elapsed() > Duration::from_millis(700));
    assert_eq!((server.connections().0, server.counters().tcp_closed_for_room), (3, 0));
    // The first takes what it is owed. It is idle from then on, and the only one.
    let (answer, end) = rest_of(&mut server, &mut slow[0]);
    assert_eq!((answer.len(), end), (OWED, End::Clean));
    assert_eq!(exchange(&mut server, &mut newcomer, b"", 6), b"ME TOO");
    assert_eq!(server.counters().tcp_closed_for_room, 1);
    for client in &mut slow[1..] {
        assert_eq!(exchange(&mut server, client, b"still here", OWED + 10)[OWED..], b"STILL HERE"[..]);
    }
}

/// A server turned by hand turns whether it asked for that or not. These sleep until their own deadlines.
#[cfg(unix)]
mod without_an_event {
    use std::io::{ErrorKind, Read, Write};

    use super::SMALL_BUFFERS;
    use crate::common::{Program, pattern, ping, retried, tcp_client};

    #[test]
    fn an_idle_connection_is_closed() {
        let program = Program::start(&["--idle-timeout", "200ms"]);
        let mut client = tcp_client(program.address);
        ping(&mut client, b"and then idle");
        assert_eq!(retried(|| client.read(&mut [0])).unwrap(), 0, "a clean end");
        assert_eq!(program.terminate().counter("tcp_closed_idle"), 1);
    }

    #[test]
    fn a_stalled_connection_is_closed() {
        let program = Program::start(&[&["--stall-timeout", "200ms"], &SMALL_BUFFERS[..]].concat());
        let mut client = tcp_client(program.address);
        let text = pattern(1 << 20);
        let error = loop {
            if let Err(error) = retried(|| client.write(&text)) {
                break error;
            }
        };
        // It had not read what it was owed, and so there is no orderly way to part.
        assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
        assert_eq!(program.terminate().counter("tcp_closed_stalled"), 1);
    }

    #[test]
    fn an_idle_connection_gives_way() {
        let program = Program::start(&["--max-connections", "1"]);
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = tcp_client(program.address);
            assert_eq!(ping(&mut client, b"me too"), b"ME TOO");
            clients.push(client);
        }
        assert_eq!(program.terminate().counter("tcp_closed_for_room"), 2);
    }
}
