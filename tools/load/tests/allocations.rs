//! After the warm-up a run allocates nothing for its messages, however many it sends. Real sockets on the loopback interface.
//!
//! What it allocates at its beginning and its end, where it reads from the kernel how busy it is, is the same for a few
//! messages and for many.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use shout::target::{Protocol, Target};
use shout_load::clock::Clock;
use shout_load::engine::{Demand, Stage};
use shout_load::generator::{Generator, Wish};
use shout_load::late::Late;
use shout_load::pace::Pace;
use shout_load::plan::{Crowd, Plan};
use shout_load::schedule::{Process, Profile};

/// Messages of a short stage and of a long one.
const FEW: u64 = 3_000;
const MANY: u64 = 3 * FEW;

/// Messages in flight on each lane.
const WINDOW: usize = 64;

/// A server for one TCP connection and any number of datagrams on one port. Its threads end with the test's process.
fn serve() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(address).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            buffer[..length].make_ascii_uppercase();
            let _ = socket.send_to(&buffer[..length], peer);
        }
    });
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 2048];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            buffer[..length].make_ascii_uppercase();
            stream.write_all(&buffer[..length]).unwrap();
        }
    });
    address
}

/// How often a stage of [`FEW`] messages allocates, and one of [`MANY`].
fn allocations_of(demand: Demand) -> (u64, u64) {
    let address = serve();
    let plan = Plan {
        target: Target { protocol: Protocol::Both, host: address.ip().to_string(), port: address.port() },
        udp_sockets: 1,
        tcp_connections: 1,
        demand,
        duration: None,
        until: None,
        messages: Some(FEW),
        warmup: Duration::ZERO,
        content: 64.into(),
        late: Late::Queue,
        pace: Pace::Hybrid,
        threads: 1,
        longest_train: 64,
        stamp_one_in: 64,
        udp_timeout: Duration::from_secs(5),
        tcp_timeout: Duration::from_secs(5),
        seed: 1,
        at: None,
        interval: Duration::from_secs(1),
        interference: false,
        crowd: Crowd::default(),
    };
    let clock = Clock::start();
    let mut generator = Generator::open(&plan, address, clock, &mut |_| true).unwrap();
    let mut run = |stage: &Stage| generator.run(stage, clock.now(), &mut |_, _| Wish::Continue).unwrap();
    // The whole window at once, whatever the measurement comes to use of it on a busy machine.
    run(&Stage { demand: Demand::Closed { window: WINDOW }, ..plan.measured_stage() });
    let mut allocations = |messages| {
        let stage = Stage { messages: Some(messages), ..plan.measured_stage() };
        allocation_counter::measure(|| run(&stage)).count_total
    };
    let counts = (allocations(FEW), allocations(MANY));
    let totals = generator.engine().totals();
    assert_eq!((totals.sent, totals.replied), (MANY, MANY));
    counts
}

#[test]
fn a_closed_loop_allocates_nothing_for_its_messages() {
    let (few, many) = allocations_of(Demand::Closed { window: WINDOW });
    assert_eq!(few, many);
}

#[test]
fn an_open_loop_with_a_window_allocates_nothing_for_its_messages() {
    let profile = Profile::constant(20_000.0);
    let (few, many) = allocations_of(Demand::Open { profile, process: Process::Poisson, window: Some(WINDOW) });
    assert_eq!(few, many);
}
