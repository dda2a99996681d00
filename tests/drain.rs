//! The end of the server: what it had accepted is answered, every stream ends cleanly, and nobody can hold it up.
#![cfg(unix)]

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::{Signal, WaitOptions, waitpid};

mod common;
mod peers;
use common::{PATIENCE, Program, pattern, ping, ping_udp, retried, server, tcp_client, turn_until, udp, udp_client};
use peers::{press, small};

/// A prime, so that what is at one offset of the stream is nowhere near it again.
const BLOCK_LEN: usize = 65_521;

/// Sends as fast as the server takes it, until the server ends the stream. How many bytes came back.
fn flood_until_the_end(address: SocketAddr, warm: &Sender<()>) -> usize {
    const WARM_BYTES: usize = 1_000_000;
    let mut reader = tcp_client(address);
    let mut writer = reader.try_clone().unwrap();
    let (block, over) = (pattern(BLOCK_LEN), AtomicBool::new(false));
    let wanted = block.to_ascii_uppercase();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                match retried(|| writer.write(&block[sent % BLOCK_LEN..])) {
                    Ok(length) => sent += length,
                    Err(error) => {
                        // Once the server has answered and closed, it owes the rest of a flood nothing.
                        let known = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
                        assert!(known.contains(&error.kind()), "cannot write: {error}");
                        break;
                    }
                }
            }
            sent
        });
        let (mut buffer, mut received) = (vec![0; 256 * 1024], 0);
        loop {
            let offset = received % BLOCK_LEN;
            let length = retried(|| reader.read(&mut buffer[..BLOCK_LEN - offset])).expect("the end must be no reset");
            if length == 0 {
                break;
            }
            assert!(buffer[..length] == wanted[offset..][..length], "a wrong byte behind {received} right ones");
            if received < WARM_BYTES && received + length >= WARM_BYTES {
                warm.send(()).unwrap();
            }
            received += length;
        }
        over.store(true, Ordering::Relaxed);
        reader
            .shutdown(Shutdown::Write)
            .or_else(|error| match error.kind() {
                ErrorKind::NotConnected => Ok(()),
                _ => Err(error),
            })
            .unwrap();
        let sent = writing.join().unwrap();
        assert!(received <= sent, "{received} bytes came back of {sent} that were sent");
        received
    })
}

#[test]
fn under_load_everything_accepted_is_answered_and_every_stream_ends_cleanly() {
    const CLIENTS: usize = 8;
    let program = Program::start(&[]);
    let (warm, warmed) = channel();
    let (received, ended) = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(|| flood_until_the_end(program.address, &warm.clone()))).collect();
        for _ in 0..CLIENTS {
            warmed.recv_timeout(PATIENCE).unwrap();
        }
        program.signal(Signal::TERM);
        let received: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
        (received as u64, program.stderr.skip_to("connections open"))
    });
    assert_eq!(ended, "shout-server: 0 connections open");
    let ended = program.wait();
    assert_eq!(ended.code, Some(0));
    assert_eq!((ended.counter("tcp_received_bytes"), ended.counter("tcp_sent_bytes")), (received, received));
    assert_eq!((ended.counter("tcp_finished"), ended.counter("tcp_cut_off")), (CLIENTS as u64, 0));
}

/// Stops the process as Ctrl-Z does, and waits until it has stopped. What arrives meanwhile stays in its queues.
fn freeze(program: &Program) {
    program.signal(Signal::STOP);
    let (_, status) = waitpid(Some(program.pid()), WaitOptions::UNTRACED).unwrap().unwrap();
    assert!(status.stopped(), "it ended instead: {status:?}");
}

#[test]
fn what_is_in_the_queues_when_the_end_is_asked_for_is_answered() {
    const EACH: usize = 100;
    let program = Program::start(&[]);
    let mut served = tcp_client(program.address);
    ping(&mut served, b"known already");
    let datagrams = udp_client(program.address);
    freeze(&program);
    for number in 0..EACH {
        datagrams.send_to(format!("datagram {number}").as_bytes(), program.address).unwrap();
    }
    served.write_all(b"in a receive queue").unwrap();
    let mut waiting: Vec<TcpStream> = (0..EACH).map(|_| tcp_client(program.address)).collect();
    for (number, client) in waiting.iter_mut().enumerate() {
        client.write_all(format!("in the accept queue {number}").as_bytes()).unwrap();
    }
    program.signal(Signal::TERM);
    program.signal(Signal::CONT);

    let mut replies: HashSet<Vec<u8>> = HashSet::new();
    let mut buffer = [0; 64];
    for _ in 0..EACH {
        let length = retried(|| datagrams.recv(&mut buffer)).unwrap();
        replies.insert(buffer[..length].to_vec());
    }
    let wanted: HashSet<Vec<u8>> = (0..EACH).map(|number| format!("DATAGRAM {number}").into_bytes()).collect();
    assert!(replies == wanted, "a datagram was not answered, or another twice");
    let mut answer = String::new();
    served.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "IN A RECEIVE QUEUE");
    for (number, mut client) in waiting.drain(..).enumerate() {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, format!("IN THE ACCEPT QUEUE {number}"));
    }
    drop(served);
    let ended = program.wait();
    assert_eq!(ended.code, Some(0));
    assert_eq!((ended.counter("udp_replied"), ended.counter("tcp_accepted")), (EACH as u64, EACH as u64 + 1));
}

#[test]
fn idle_connections_end_cleanly_and_at_once() {
    let program = Program::start(&[]);
    let mut idle: Vec<TcpStream> = (0..50).map(|_| tcp_client(program.address)).collect();
    for client in &mut idle {
        ping(client, b"and then idle");
    }
    program.signal(Signal::INT);
    for mut client in idle {
        assert_eq!(retried(|| client.read(&mut [0])).unwrap(), 0);
    }
    let ended = program.wait();
    assert_eq!((ended.code, ended.counter("tcp_finished"), ended.counter("tcp_cut_off")), (Some(0), 50, 0));
}

#[test]
fn a_client_that_does_not_close_is_not_waited_for_long() {
    // Far longer than the test would wait.
    let program = Program::start(&["--drain-timeout", "1h"]);
    let mut client = tcp_client(program.address);
    ping(&mut client, b"hello");
    let ended = program.terminate();
    assert_eq!((ended.code, ended.counter("tcp_finished"), ended.counter("tcp_cut_off")), (Some(0), 1, 0));
    assert_eq!(retried(|| client.read(&mut [0])).unwrap(), 0, "a clean end");
}

#[test]
fn a_slow_reader_who_goes_on_writing_gets_all_that_counts_as_sent() {
    // Beyond the time for which the server waits for an end of the peer's that does not come.
    const LONGER: Duration = Duration::from_millis(2_500);
    let mut server = server(&["--drain-timeout", "1h", "--tcp-send-buffer", "256KiB"]);
    let mut client = small(server.address(), 4_096, 256 << 10);
    client.set_nonblocking(true).unwrap();
    let (text, mut buffer, mut received) = (pattern(64 << 10), vec![0; 1024], 0);
    turn_until(&mut server, "a full send buffer", |server| {
        press(&mut client, &text);
        server.counters().tcp_blocked > 0
    });
    server.stop();
    turn_until(&mut server, "the last answer to fit into the send buffer", |server| {
        received += client.read(&mut buffer).unwrap_or(0);
        server.connections().1 == 0
    });
    let since = Instant::now();
    turn_until(&mut server, "nothing", |_| {
        press(&mut client, &text);
        since.elapsed() > LONGER
    });
    assert_eq!(server.connections().0, 1, "it has not read everything: {:?}", server.counters());
    let mut end = None;
    turn_until(&mut server, "the end of the stream", |_| {
        match client.read(&mut buffer) {
            Ok(0) => end = Some("a clean end"),
            Ok(length) => received += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => end = Some("a reset"),
        }
        end.is_some()
    });
    assert_eq!((end, received as u64), (Some("a clean end"), server.counters().tcp_sent_bytes));
}

/// A client that the server owes something which it will never take. The stream must be kept to stay unread.
fn never_reading(program: &mut Program) -> TcpStream {
    let mut client = tcp_client(program.address);
    client.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
    let text = pattern(1 << 20);
    while client.write(&text).is_ok() || program.counter("tcp_blocked") == 0 {}
    client
}

#[test]
fn a_peer_that_never_reads_is_cut_off_in_the_end() {
    let mut program = Program::start(&["--drain-timeout", "300ms"]);
    let _client = never_reading(&mut program);
    let ended = program.terminate();
    assert_eq!(ended.code, Some(0), "the server did what it could");
    let said = ended.stderr.iter().filter(|line| line.contains("cut off 1 connections")).count();
    assert_eq!((said, ended.counter("tcp_cut_off")), (1, 1), "{:#?}", ended.stderr);
    assert!(ended.counter("tcp_unsent_lost_bytes") > 0);
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    for (second, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        // Far longer than the test would wait.
        let mut program = Program::start(&["--drain-timeout", "1h", "--stall-timeout", "1h"]);
        let _client = never_reading(&mut program);
        program.signal(Signal::TERM);
        program.stderr.skip_to("stopping");
        program.signal(second);
        assert_eq!(program.wait().code, Some(code));
    }
}

#[test]
fn a_flood_of_datagrams_does_not_keep_the_server_alive() {
    let program = Program::start(&[]);
    let (address, over) = (program.address, AtomicBool::new(false));
    let ended = std::thread::scope(|scope| {
        let (started, start) = channel();
        let (socket, text, over) = (udp_client(address), pattern(64), &over);
        scope.spawn(move || {
            // Its answers are not read, and once the server has gone its port refuses.
            for number in 0_u64.. {
                let _ = socket.send_to(&text, address);
                if number == 1000 {
                    started.send(()).unwrap();
                }
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        start.recv_timeout(PATIENCE).unwrap();
        program.signal(Signal::TERM);
        // Whatever it says, the flood must stop, or the scope would wait for it.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| program.wait()));
        over.store(true, Ordering::Relaxed);
        ended
    });
    assert_eq!(ended.unwrap().code, Some(0));
}

#[test]
fn a_queue_of_datagrams_that_never_empties_is_left_in_the_end() {
    // More than a turn receives, so that the queue is never found empty.
    const EACH_TURN: u64 = 300;
    // Far beyond what a receive buffer holds.
    const SENT_MAX: u64 = 200_000;
    let mut server = server(&[]);
    let client = udp(&server);
    server.stop();
    let (mut sent, mut received) = (0, None);
    while received != Some(server.counters().udp_received) {
        assert!(sent < SENT_MAX, "the server still answers");
        received = Some(server.counters().udp_received);
        for _ in 0..EACH_TURN {
            // Once the server has closed its socket, the port refuses.
            let _ = client.send_to(b"x", server.address());
        }
        sent += EACH_TURN;
        server.turn(Some(Duration::ZERO)).unwrap();
    }
    assert!(received >= Some(60_000), "what had arrived might have been more than {received:?}");
}

#[test]
fn the_counters_are_printed_when_asked_for_and_at_the_end() {
    let mut program = Program::start(&[]);
    let mut client = tcp_client(program.address);
    ping(&mut client, b"twelve bytes");
    ping_udp(&udp_client(program.address), program.address, b"five!");
    let report = program.report();
    for wanted in
        ["tcp_accepted 1", "tcp_received_bytes 12", "tcp_sent_bytes 12", "udp_replied 1", "udp_replied_bytes 5"]
    {
        assert!(report.contains(&format!("  {wanted}")), "no {wanted:?} in {report:#?}");
    }
    assert_eq!(ping(&mut client, b"and goes on"), b"AND GOES ON");
    drop(client);
    let ended = program.terminate();
    assert_eq!((ended.code, ended.counter("tcp_received_bytes"), ended.counter("tcp_finished")), (Some(0), 23, 1));
}

#[test]
fn a_loop_that_has_ended_does_not_keep_the_counters_of_the_others_to_itself() {
    let mut program = Program::start(&["--workers", "2", "--drain-timeout", "1h", "--stall-timeout", "1h"]);
    let _client = never_reading(&mut program);
    program.signal(Signal::TERM);
    // The loop without a client has nothing to finish, and is at its end when it has said this.
    for _ in 0..2 {
        program.stderr.skip_to("stopping");
    }
    for _ in 0..3 {
        assert_eq!(program.counter("tcp_accepted"), 1);
    }
    program.signal(Signal::TERM);
    assert_eq!(program.wait().code, Some(143));
}

/// A character that the end of the server cuts off will never be whole; what there is of it is owed all the same.
#[test]
fn a_cut_character_goes_out_as_it_is() {
    let server = Program::start(&["--case", "unicode"]);
    let mut client = tcp_client(server.address);
    client.write_all(b"a\xe2\x82").unwrap();
    // The answer to what precedes it shows that it has been read.
    let mut answer = [0; 1];
    client.read_exact(&mut answer).unwrap();
    server.signal(Signal::TERM);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!((answer, rest.as_slice()), (*b"A", &b"\xe2\x82"[..]));
    assert_eq!(server.wait().code, Some(0));
}
