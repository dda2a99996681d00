//! Floods, crowds and storms: whoever is not part of them is served, and timers fire.
//!
//! How much longer the others wait is a matter of speed, and printed, not asserted:
//! `cargo test --release --test floods -- --ignored --nocapture`.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};
use socket2::SockRef;

mod common;
mod peers;
use common::{PATIENCE, Program, pattern, ping, retried, tcp_client, udp_client};
use peers::{Victim, may_open, press, small};

/// What a flood and those who watch it know of each other.
#[derive(Default)]
struct Course {
    /// What has been sent so far, in whatever the flood counts. Not zero once it has begun.
    sent: AtomicU64,
    over: AtomicBool,
}

impl Course {
    fn goes_on(&self, sent: u64) -> bool {
        self.sent.fetch_add(sent, Ordering::Relaxed);
        !self.over.load(Ordering::Relaxed)
    }

    /// Does something while the flood is under way. What that was, and how much was sent.
    fn during<T>(address: SocketAddr, flood: Flood, action: impl FnOnce() -> T) -> (T, u64) {
        let course = Course::default();
        std::thread::scope(|scope| {
            scope.spawn(|| flood(address, &course));
            let during = || {
                let deadline = Instant::now() + PATIENCE;
                while course.sent.load(Ordering::Relaxed) == 0 {
                    assert!(Instant::now() < deadline, "the flood does not begin");
                    std::thread::yield_now();
                }
                action()
            };
            // Whatever becomes of it, the flood ends.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(during));
            course.over.store(true, Ordering::Relaxed);
            let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (done, course.sent.load(Ordering::Relaxed))
        })
    }
}

type Flood = fn(SocketAddr, &Course);

/// Datagrams as fast as one socket sends them, never reading an answer.
fn datagrams(address: SocketAddr, course: &Course) {
    let socket = udp_client(address);
    while course.goes_on(u64::from(socket.send_to(&[b'f'; 64], address).is_ok())) {}
}

/// One stream that always has something to read and takes every answer.
fn pipeliner(address: SocketAddr, course: &Course) {
    let (writer, text) = (tcp_client(address), pattern(64 << 10));
    let mut reader = writer.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut buffer = vec![0; 1 << 20];
            while retried(|| reader.read(&mut buffer)).is_ok_and(|length| length > 0) {}
        });
        while course.goes_on(text.len() as u64) {
            (&writer).write_all(&text).unwrap();
        }
        writer.shutdown(Shutdown::Both).unwrap();
    });
}

/// Connections that come and are reset, one after the other.
fn storm(address: SocketAddr, course: &Course) {
    while course.goes_on(1) {
        let stream = TcpStream::connect(address).unwrap();
        // A reset leaves no port behind in TIME_WAIT.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// A thousand peers that write what is taken and never read.
fn never_readers(address: SocketAddr, course: &Course) {
    crowd(address, course, 1_000, 0);
}

/// Five thousand that read a byte a second each, and write what is taken.
fn slow_readers(address: SocketAddr, course: &Course) {
    crowd(address, course, 5_000, 1);
}

fn crowd(address: SocketAddr, course: &Course, count: usize, reads: usize) {
    let text = pattern(64 << 10);
    let mut peers: Vec<TcpStream> = (0..count)
        .map(|_| {
            let mut peer = small(address, 4_096, 16 << 10);
            peer.set_nonblocking(true).unwrap();
            press(&mut peer, &text);
            peer
        })
        .collect();
    let mut due = Instant::now();
    // The others are watched once everyone's buffers are full: before that, this is a flood like the pipeliner's.
    let mut is_full = false;
    loop {
        let mut pressed = 0;
        for peer in &mut peers {
            // Spread over the second. Nothing waits for this: it is the pace of the crowd.
            due += Duration::from_secs(1) / count as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let _ = peer.read(&mut vec![0; reads]);
            pressed += press(peer, &text);
            if is_full && !course.goes_on(1) {
                return;
            }
        }
        is_full |= pressed == 0;
    }
}

#[test]
fn others_are_served_in_every_flood() {
    for (name, flood, ask) in [
        ("datagrams", datagrams as Flood, Victim::ask_tcp as fn(&mut Victim)),
        ("a pipeliner", pipeliner, Victim::ask_both),
        ("a storm of connections", storm, Victim::ask_both),
    ] {
        let program = Program::start(&[]);
        let mut victim = Victim::of(&program);
        let (times, sent) = Course::during(program.address, flood, || victim.ask_for(Duration::from_millis(200), ask));
        println!("{name}: {sent} sent, {} answered, the slowest in {:?}", times.len(), times[times.len() - 1]);
        assert!(times.len() == 200 && sent > 100, "{name}: {sent} sent, {} answered", times.len());
        assert_eq!(program.terminate().code, Some(0));
    }
}

#[test]
fn timers_fire_in_every_flood() {
    for (name, flood) in [("datagrams", datagrams as Flood), ("a pipeliner", pipeliner), ("a storm", storm)] {
        let program = Program::start(&["--idle-timeout", "300ms"]);
        let (end, sent) = Course::during(program.address, flood, || {
            let mut idle = tcp_client(program.address);
            ping(&mut idle, b"and then idle");
            retried(|| idle.read(&mut [0]))
        });
        assert!(matches!(end, Ok(0)), "{name}: the idle connection was not closed: {end:?}");
        assert!(sent > 100, "{name}: {sent} sent");
        let ended = program.terminate();
        assert!(ended.code == Some(0) && ended.counter("tcp_closed_idle") >= 1, "{name}: {ended:?}");
    }
}

/// Keeps this thread, and those that it starts, on one processor.
fn keep_to(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set).unwrap();
}

/// Has this thread alone go before all others of its processor, by chrt(1); false where that is not to be had.
fn go_first() -> bool {
    let thread = rustix::thread::gettid().to_string();
    let status = std::process::Command::new("chrt").args(["--fifo", "--pid", "1", &thread]).status();
    status.is_ok_and(|status| status.success())
}

/// How many turns of the loop there have been, by their longest time in seconds, as the admin endpoint has it.
fn turns(admin: SocketAddr) -> Vec<(f64, u64)> {
    let mut stream = tcp_client(admin);
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {admin}\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let buckets = page.lines().filter_map(|line| line.strip_prefix("shout_turn_seconds_bucket{le=\""));
    let parts = buckets.map(|bucket| bucket.split_once("\"} ").unwrap());
    parts.map(|(longest, count)| (longest.parse().unwrap(), count.parse().unwrap())).collect()
}

/// What 99 of 100 turns between two readings did not exceed: the server's own share in the waiting of the others.
fn p99_between(before: &[(f64, u64)], after: &[(f64, u64)]) -> Duration {
    let counts: Vec<u64> = before.iter().zip(after).map(|((_, before), (_, after))| after - before).collect();
    let all = counts[counts.len() - 1];
    let enough = all - all / 100;
    let bucket = counts.iter().position(|&count| count >= enough).unwrap_or(counts.len() - 1);
    Duration::from_secs_f64(after[bucket].0.min(PATIENCE.as_secs_f64()))
}

/// How much longer somebody waits in a flood than in quiet: the 99th percentile of round trips, one a millisecond, timed
/// from when each was due. The server has the first processor, and all clients the second, where the victim goes first
/// as far as it is allowed to. What the kernel makes it wait there is in the figures; how long the server's turns take
/// is printed beside them.
#[test]
#[ignore = "it measures and asserts nothing; take a machine that does nothing else, and --release"]
fn how_much_longer_others_wait() {
    const ROUNDS: usize = 3;
    const TIME: Duration = Duration::from_secs(1);
    if std::thread::available_parallelism().unwrap().get() < 2 || !may_open(5_100) {
        return println!("skipped: two processors and 5,100 descriptors are needed");
    }
    keep_to(1);
    let p99 = |program: &Program, ask| {
        let mut victim = Victim::of(program);
        let ask_for = || {
            let _ = go_first();
            let times = victim.ask_for(TIME, ask);
            times[(times.len() - 1) * 99 / 100]
        };
        std::thread::scope(|scope| scope.spawn(ask_for).join().unwrap())
    };
    let goes_first = std::thread::spawn(go_first).join().unwrap();
    println!(
        "the victim {} the flood's turn",
        if goes_first { "does not wait for" } else { "waits, beside all else, for" }
    );
    println!("flood, victim: p99 in quiet, in the flood, ratio; p99 of the server's turns; medians of {ROUNDS} rounds");
    let tcp: (&str, fn(&mut Victim)) = ("TCP", Victim::ask_tcp);
    let udp: (&str, fn(&mut Victim)) = ("UDP", Victim::ask_udp);
    for (name, flood, victims) in [
        ("UDP flood", datagrams as Flood, &[tcp][..]),
        ("TCP pipeliner", pipeliner, &[udp, tcp]),
        ("connect storm", storm, &[udp, tcp]),
        ("1,000 that never read", never_readers, &[udp, tcp]),
        ("5,000 that read 1 B/s", slow_readers, &[udp, tcp]),
    ] {
        for &(victim, ask) in victims {
            let mut rounds: Vec<[Duration; 3]> = (0..ROUNDS)
                .map(|_| {
                    let program = Program::start(&["--pin", "0", "--admin", "127.0.0.1:0"]);
                    let admin = program.admin();
                    let quiet = p99(&program, ask);
                    let in_flood = || (turns(admin), p99(&program, ask), turns(admin));
                    let (before, loud, after) = Course::during(program.address, flood, in_flood).0;
                    [quiet, loud, p99_between(&before, &after)]
                })
                .collect();
            rounds.sort_by(|one, other| ratio(one).total_cmp(&ratio(other)));
            let [quiet, loud, turn] = rounds[ROUNDS / 2];
            let ratio = ratio(&rounds[ROUNDS / 2]);
            println!("{name:<22} {victim}  {quiet:>10.1?} {loud:>10.1?}  {ratio:>6.1}  {turn:>10.1?}");
        }
    }
}

fn ratio([quiet, loud, _]: &[Duration; 3]) -> f64 {
    loud.as_secs_f64() / quiet.as_secs_f64()
}
