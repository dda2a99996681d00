//! What the budget does to fairness: `cargo run --release --example budget_fairness`.

mod common;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use shout::connections::{CHUNK_LEN, Connections, DRIVE_BYTES_MAX, Limits, SHARED_TURNS, SHORT_MAX};
use shout::counters::Counters;
use shout::uppercase::Case;

/// A ping that is unanswered for so long will not be: that run is over.
const PATIENCE: Duration = Duration::from_secs(1);

/// Connections that send as much as they can, beside the one whose answers are timed.
const FLOODS: usize = 3;

fn main() {
    let experiment = common::ask(
        "Three connections flood one loop; a fourth sends 64 bytes and waits for them. A drive may read so many bytes\n\
         before it is the next one's turn: 4 KiB, 64 KiB, 1 MiB (the server's own budget), or any number.\n\
         Which budget is best for the fourth, and what does it cost the three?",
    );
    let time = experiment.time(Duration::from_millis(1500));
    let (mut waits, mut medians, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for (name, budget) in
        [("4 KiB", 4 << 10), ("64 KiB", 64 << 10), ("1 MiB", DRIVE_BYTES_MAX), ("unbounded", usize::MAX / 2)]
    {
        let (mut pings, rate) = run(budget, time);
        rates.push((name, rate));
        medians.push(common::median(&mut pings));
        waits.push((format!("budget {name}"), common::quantile(&mut pings, 0.99)));
    }
    experiment.show("99 % of the answers to the fourth came within, µs", &waits);
    println!("  {:18} {:>12} {:>22}", "budget", "p50, µs", "the three, MB/s");
    for ((name, rate), median) in rates.iter().zip(medians) {
        println!("  {name:18} {median:12.0} {rate:22.0}");
    }
    common::explain(
        "\nThe budget bounds how long one connection may keep the others waiting; without one a drive lasts as long as its\n\
         peer keeps up, and a ping that has no answer within a second is given up here. Too small a budget costs a turn\n\
         of the loop for every few kilobytes. What is cut off is in the ready queue, so nobody is forgotten.",
    );
}

/// A loop with this budget under the floods. How long each ping took, and how much was echoed to the floods.
fn run(budget: usize, time: Duration) -> (Vec<f64>, f64) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (ended, received) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&listener, budget, &ended));
        for _ in 0..FLOODS {
            scope.spawn(|| flood(address, &ended, &received));
        }
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (start, mut pings, mut buffer) = (Instant::now(), Vec::new(), [0; 64]);
        while start.elapsed() < time {
            let mut is_answered = false;
            pings.push(common::micros(|| {
                stream.write_all(&[b'a'; 64]).unwrap();
                is_answered = stream.read_exact(&mut buffer).is_ok();
            }));
            if !is_answered {
                break;
            }
        }
        let bytes = received.load(Ordering::Relaxed);
        ended.store(true, Ordering::Relaxed);
        (pings, bytes as f64 / 1e6 / start.elapsed().as_secs_f64())
    })
}

/// The loop of the server, as far as it concerns connections.
fn serve(listener: &TcpListener, budget: usize, ended: &AtomicBool) {
    let (mut poll, mut events, mut counters) = (Poll::new().unwrap(), Events::with_capacity(64), Counters::default());
    let limits = Limits {
        connections_max: FLOODS + 1,
        drive_bytes_max: budget,
        turn_bytes_max: u64::MAX / 2,
        shared_bytes_max: budget,
        short_max: SHORT_MAX,
        shared_turns: SHARED_TURNS,
        idle_timeout: None,
        stall_timeout: Duration::from_secs(60),
        linger_timeout: Duration::from_secs(2),
        unsent_max: 64 << 20,
    };
    let mut connections = Connections::new(Case::Ascii, CHUNK_LEN, limits, Instant::now());
    for _ in 0..=FLOODS {
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let token = connections.insert(mio::net::TcpStream::from_std(stream), Instant::now());
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(connections.stream_mut(token).unwrap(), token, interest).unwrap();
    }
    while !ended.load(Ordering::Relaxed) {
        let patience = if connections.has_work() { Duration::ZERO } else { Duration::from_millis(10) };
        common::retried(|| poll.poll(&mut events, Some(patience))).unwrap();
        for event in &events {
            let token: Token = event.token();
            connections.note(token, event.is_readable(), event.is_writable(), event.is_read_closed());
        }
        connections.turn(Instant::now(), &mut counters);
    }
}

/// Sends and receives as much as there is room for.
fn flood(address: SocketAddr, ended: &AtomicBool, received: &AtomicU64) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut buffer = vec![b'a'; 256 << 10];
    while !ended.load(Ordering::Relaxed) {
        let sent = stream.write(&buffer).unwrap_or(0);
        let length = stream.read(&mut buffer).unwrap_or(0);
        received.fetch_add(length as u64, Ordering::Relaxed);
        if sent + length == 0 {
            // Nobody gains from a processor that only asks again.
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}
