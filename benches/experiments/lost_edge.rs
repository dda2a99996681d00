//! What a lost edge looks like: five designs that look right, on the real kernel, each beside the right one.
//!
//! `cargo run --example lost_edge`. The same mistakes against a simulated kernel, which finds them by itself:
//! `cargo test --test sim caught -- --nocapture`.

mod common;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use shout::connection::{Connection, Next, Scratch};
use shout::counters::Counters;
use shout::uppercase::Case;

/// No event for so long: none will come.
const PATIENCE: Duration = Duration::from_millis(100);

/// What is sent, in budgets.
const BUDGETS: usize = 4;
const BUDGET: usize = 1000;

/// The most that a design which reads while it owes may gather before it is stopped.
const HOARD_MAX: usize = 64 << 20;

fn main() {
    let experiment = common::ask(
        "The kernel reports each change once (an edge). Five servers each forget one thing:\n\
         1. a short read means that the queue is empty, also when the end of the stream came along with the data\n\
         2. what a budget of 1,000 bytes cuts off waits for the next edge; 4,000 bytes have been sent\n\
         3. one accept for each edge; four clients have connected\n\
         4. one receive for each edge; four datagrams have been sent\n\
         5. it reads although the peer does not take its answers\n\
         How much of what was asked for does each get done before it waits for ever?",
    );
    let mut bars = Vec::new();
    for (name, run) in [
        ("end of file with the data", end_with_data as fn(bool) -> f64),
        ("budget", budget),
        ("accept", accept),
        ("datagrams", datagrams),
    ] {
        for (design, is_right) in [("right", true), ("wrong", false)] {
            bars.push((format!("{name}, {design}"), 100.0 * run(is_right)));
        }
    }
    experiment.show("done before it waits for ever, %", &bars);
    let held = [true, false].map(|is_right| hoard(is_right) as f64 / 1024.0);
    println!("memory for a peer that sends and does not read: right {:.0} KiB, wrong {:.0} KiB", held[0], held[1]);
    common::explain(
        "and growing when it was stopped.\n\n\
         Nothing crashes and nothing is logged: the process sleeps in poll, and its peers wait. Each wrong design works\n\
         as long as something else happens to cause the next edge, which is why tests on a quiet network pass.",
    );
}

/// A connected pair, of which the first end is registered. `poll` has reported nothing yet.
fn pair(poll: &Poll) -> (TcpStream, std::net::TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut stream = TcpStream::from_std(stream);
    poll.registry().register(&mut stream, Token(0), Interest::READABLE | Interest::WRITABLE).unwrap();
    (stream, peer)
}

/// Drives one connection until it is finished or no event comes any more.
fn serve(poll: &mut Poll, stream: &mut TcpStream, sees_hint: bool, has_ready_queue: bool) -> (bool, Counters) {
    let (mut connection, mut scratch) = (Connection::default(), Scratch::new(Case::Ascii, 64 * 1024));
    let (mut events, mut counters) = (Events::with_capacity(8), Counters::default());
    let mut next = Next::Wait;
    loop {
        // What the budget cut off is remembered by us, and by nobody else.
        let is_queued = next == Next::Again && has_ready_queue;
        let patience = if is_queued { Duration::ZERO } else { PATIENCE };
        common::retried(|| poll.poll(&mut events, Some(patience))).unwrap();
        if events.is_empty() && !is_queued {
            return (false, counters);
        }
        for event in &events {
            let hint = event.is_read_closed() && sees_hint;
            connection.note(event.is_readable(), event.is_writable(), hint);
        }
        next = connection.drive(stream, &mut scratch, BUDGET, &mut counters);
        if next == Next::Finished {
            return (true, counters);
        }
    }
}

/// Ten bytes and the end arrive together. The share of the two that is noticed.
fn end_with_data(is_right: bool) -> f64 {
    let mut poll = Poll::new().unwrap();
    let (mut stream, mut peer) = pair(&poll);
    peer.write_all(b"ten bytes.").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let (has_finished, counters) = serve(&mut poll, &mut stream, is_right, true);
    assert_eq!(counters.tcp_sent_bytes, 10);
    if has_finished { 1.0 } else { 0.5 }
}

/// The share of the bytes that is answered.
fn budget(is_right: bool) -> f64 {
    let mut poll = Poll::new().unwrap();
    let (mut stream, mut peer) = pair(&poll);
    peer.write_all(&[b'a'; BUDGETS * BUDGET]).unwrap();
    let (_, counters) = serve(&mut poll, &mut stream, true, is_right);
    counters.tcp_sent_bytes as f64 / (BUDGETS * BUDGET) as f64
}

/// Takes one thing for each edge, or all there are. How many of four.
fn for_each_edge(poll: &mut Poll, is_right: bool, mut take: impl FnMut() -> std::io::Result<()>) -> f64 {
    let (mut events, mut taken) = (Events::with_capacity(8), 0);
    loop {
        common::retried(|| poll.poll(&mut events, Some(PATIENCE))).unwrap();
        if events.is_empty() {
            return f64::from(taken) / 4.0;
        }
        while take().is_ok() {
            taken += 1;
            if !is_right {
                break;
            }
        }
    }
}

fn accept(is_right: bool) -> f64 {
    let mut poll = Poll::new().unwrap();
    let mut listener = mio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let _clients: Vec<_> =
        (0..4).map(|_| std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap()).collect();
    poll.registry().register(&mut listener, Token(0), Interest::READABLE).unwrap();
    for_each_edge(&mut poll, is_right, || listener.accept().map(drop))
}

fn datagrams(is_right: bool) -> f64 {
    let mut poll = Poll::new().unwrap();
    let mut socket = mio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for _ in 0..4 {
        client.send_to(b"a", socket.local_addr().unwrap()).unwrap();
    }
    poll.registry().register(&mut socket, Token(0), Interest::READABLE).unwrap();
    for_each_edge(&mut poll, is_right, || socket.recv(&mut [0; 16]).map(drop))
}

/// How many bytes a server holds for a peer that sends for a while and never reads.
fn hoard(is_right: bool) -> usize {
    let poll = Poll::new().unwrap();
    let (mut stream, mut peer) = pair(&poll);
    peer.set_nonblocking(true).unwrap();
    let (mut chunk, mut owed) = (vec![b'a'; 64 * 1024], Vec::new());
    let start = Instant::now();
    while start.elapsed() < PATIENCE * 3 && owed.len() < HOARD_MAX {
        let _ = peer.write(&chunk);
        if is_right && !owed.is_empty() {
            continue;
        }
        match stream.read(&mut chunk) {
            Ok(length) => owed.extend_from_slice(&chunk[..length]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        if let Ok(sent) = stream.write(&owed) {
            owed.drain(..sent);
        }
    }
    owed.len()
}
