//! After the warm-up a run allocates nothing, however many messages it sends. Real sockets on the loopback interface.

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

const MESSAGES: u64 = 3000;

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

fn allocations_of(demand: Demand) -> u64 {
    let address = serve();
    let plan = Plan {
        target: Target { protocol: Protocol::Both, host: address.ip().to_string(), port: address.port() },
        udp_sockets: 1,
        tcp_connections: 1,
        demand,
        duration: None,
        until: None,
        messages: Some(MESSAGES),
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
    let stage = plan.measured_stage();
    let allocations = allocation_counter::measure(|| run(&stage)).count_total;
    let totals = generator.engine().totals();
    assert_eq!((totals.sent, totals.replied), (MESSAGES, MESSAGES));
    allocations
}

#[test]
fn a_closed_loop_allocates_nothing_after_its_warm_up() {
    assert_eq!(allocations_of(Demand::Closed { window: WINDOW }), 0);
}

#[test]
fn an_open_loop_with_a_window_allocates_nothing_for_its_messages() {
    let demand = Demand::Open { profile: Profile::constant(20_000.0), process: Process::Poisson, window: Some(WINDOW) };
    assert_eq!(allocations_of(demand), 2, "each transport's copy of the profile, at the start");
}
