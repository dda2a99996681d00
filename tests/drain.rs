//! The end of the server: what it had accepted is answered, every stream ends cleanly, and nobody can hold it up.
#![cfg(unix)]

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use rustix::process::{Signal, WaitOptions, waitpid};

mod common;
use common::{PATIENCE, Program, pattern, ping, ping_udp, tcp_client, udp_client};

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
                match writer.write(&block[sent % BLOCK_LEN..]) {
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
            let length = reader.read(&mut buffer[..BLOCK_LEN - offset]).expect("the end must be no reset");
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
        reader.shutdown(Shutdown::Write).or_else(|error| match error.kind() {
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
