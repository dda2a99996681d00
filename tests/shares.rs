//! What a flood gets done before somebody else is answered: that is the server's part in how long the others wait, and it
//! is counted here, in datagrams, bytes and connections. Time would be that of the machine as well.
//!
//! The server is turned by this thread, which also floods. `-- --nocapture` prints the counts, and how much processor time
//! they took: `cargo test --release --test shares -- --nocapture` has the figures of a server as it is shipped.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use shout::batch::DATAGRAM_MAX;
use shout::connections::SHARED_BYTES_MAX;
use shout::counters::Counters;
use shout::datagrams::TURN_WORK_MAX;
use shout::server::Server;
use socket2::SockRef;

mod common;
use common::{PATIENCE, read_some, receive, server, tcp, udp, write_some};

/// How often somebody asks in each flood. The median is asserted: now and then the kernel hands a question over late, and
/// what the flood gets done until then is none of the server's doing.
const QUESTIONS: usize = 51;

/// The most small datagrams of a turn: it receives no more behind 128, and a batch has at most 64.
const TURN_DATAGRAMS: u64 = 127 + 64;

/// The most bytes of a turn's datagrams, whatever their lengths: it receives no more behind 64 KiB, and a batch of the
/// longest has two.
const TURN_DATAGRAM_BYTES: u64 = (TURN_WORK_MAX + 2 * DATAGRAM_MAX) as u64;

/// The most connections that a turn accepts.
const TURN_ACCEPTS: u64 = 16;

/// Makes sure that there is more to do than a turn does.
trait Flood {
    fn go_on(&mut self, address: SocketAddr);
}

/// Nobody.
struct Quiet;

impl Flood for Quiet {
    fn go_on(&mut self, _: SocketAddr) {}
}

/// One socket that sends datagrams of a length, so many before each question, and never reads an answer.
struct Datagrams {
    socket: UdpSocket,
    length: usize,
    count: u64,
}

impl Flood for Datagrams {
    fn go_on(&mut self, address: SocketAddr) {
        for _ in 0..self.count {
            // What finds no room has been sent too much already.
            let _ = self.socket.send_to(&vec![b'f'; self.length], address);
        }
    }
}

/// One socket whose datagrams the kernel merges: trains of 64, each of which is one message to the server.
#[cfg(target_os = "linux")]
struct Trains(shout::batch::Linux);

#[cfg(target_os = "linux")]
impl Flood for Trains {
    fn go_on(&mut self, address: SocketAddr) {
        use shout::batch::{DatagramIo as _, Replies, Reply};
        const SEGMENT: usize = 1_000;
        let train = vec![b'f'; 64 * SEGMENT];
        let parts = std::iter::once(0..train.len()).collect();
        let list = vec![Reply { peer: address, local: None, parts: 0..1, segment: SEGMENT, length: train.len() }];
        let replies = Replies { list, parts };
        for _ in 0..16 {
            let _ = self.0.send(&train, &replies, 0);
        }
    }
}

/// One stream that always has something to read and takes every answer.
struct Pipeliner(TcpStream);

impl Flood for Pipeliner {
    fn go_on(&mut self, _: SocketAddr) {
        read_some(&mut self.0, &mut Vec::new()).unwrap();
        while write_some(&mut self.0, &[b'f'; 4 << 10]) > 0 {}
    }
}

/// Connections that come and are reset.
struct Storm;

impl Flood for Storm {
    fn go_on(&mut self, address: SocketAddr) {
        for _ in 0..TURN_ACCEPTS + 2 {
            let stream = TcpStream::connect(address).unwrap();
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
}

/// Somebody who asks a little and waits for the answer.
enum Victim {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Victim {
    const QUESTION: &[u8] = b"still there?";
    const ANSWER: &[u8] = b"STILL THERE?";

    fn ask(&mut self, address: SocketAddr) {
        match self {
            Victim::Tcp(stream) => assert_eq!(write_some(stream, Victim::QUESTION), Victim::QUESTION.len()),
            Victim::Udp(socket) => {
                socket.send_to(Victim::QUESTION, address).unwrap();
            }
        }
    }

    fn is_answered(&mut self) -> bool {
        let mut answer = Vec::new();
        match self {
            Victim::Tcp(stream) => read_some(stream, &mut answer).unwrap(),
            Victim::Udp(socket) => {
                let mut buffer = [0; 64];
                answer
                    .extend(receive(socket, &mut buffer).into_iter().flat_map(|(length, _)| buffer[..length].to_vec()));
            }
        }
        assert!(answer.is_empty() || answer == Victim::ANSWER, "{answer:?}");
        !answer.is_empty()
    }
}

/// What the server did from a question to its answer, the question's own among it.
#[derive(Debug, Clone, Copy, Default)]
struct Work {
    turns: u64,
    datagrams: u64,
    datagram_bytes: u64,
    bytes: u64,
    accepts: u64,
    processor: Duration,
}

fn processor() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

fn work(server: &mut Server, flood: &mut dyn Flood, victim: &mut Victim) -> Work {
    let address = server.address();
    flood.go_on(address);
    victim.ask(address);
    let (before, mut spent, deadline) = (*server.counters(), Duration::ZERO, Instant::now() + PATIENCE);
    while !victim.is_answered() {
        assert!(Instant::now() < deadline, "no answer: {:?}", server.counters());
        let start = processor();
        server.turn(Some(Duration::from_millis(20))).unwrap();
        spent += processor().saturating_sub(start);
    }
    let after = server.counters();
    let grown = |count: fn(&Counters) -> u64| count(after) - count(&before);
    Work {
        turns: grown(|counters| counters.turns),
        datagrams: grown(|counters| counters.udp_received),
        datagram_bytes: grown(|counters| counters.udp_received_bytes),
        bytes: grown(|counters| counters.tcp_received_bytes),
        accepts: grown(|counters| counters.tcp_accepted + counters.tcp_accept_skipped),
        processor: spent,
    }
}

/// The median of each count over all questions; of the processor time what 9 of 10 did not exceed.
fn usual(server: &mut Server, flood: &mut dyn Flood, victim: &mut Victim) -> Work {
    // From the first question on the server knows that somebody else is there.
    work(server, flood, victim);
    let works: Vec<Work> = (0..QUESTIONS).map(|_| work(server, flood, victim)).collect();
    let median = |count: fn(&Work) -> u64| {
        let mut counts: Vec<u64> = works.iter().map(count).collect();
        counts.sort_unstable();
        counts[QUESTIONS / 2]
    };
    let mut times: Vec<Duration> = works.iter().map(|work| work.processor).collect();
    times.sort_unstable();
    Work {
        turns: median(|work| work.turns),
        datagrams: median(|work| work.datagrams),
        datagram_bytes: median(|work| work.datagram_bytes),
        bytes: median(|work| work.bytes),
        accepts: median(|work| work.accepts),
        processor: times[QUESTIONS * 9 / 10],
    }
}

/// A server, and somebody on it.
fn with(victim: fn(&Server) -> Victim) -> (Server, Victim) {
    let server = server(&[]);
    let victim = victim(&server);
    (server, victim)
}

const TCP: fn(&Server) -> Victim = |server| Victim::Tcp(tcp(server));
const UDP: fn(&Server) -> Victim = |server| Victim::Udp(udp(server));

/// What a question takes when nobody floods, and in this flood; printed, too.
fn compare(what: &str, victim: fn(&Server) -> Victim, flood: impl Fn(&Server) -> Box<dyn Flood>) -> Work {
    let (mut server, mut one) = with(victim);
    let quiet = usual(&mut server, &mut Quiet, &mut one);
    let (mut server, mut one) = with(victim);
    let mut flood = flood(&server);
    let loud = usual(&mut server, &mut *flood, &mut one);
    println!("{what}: {loud:?}; in quiet {quiet:?}");
    assert_eq!(quiet.turns, 1, "{quiet:?}");
    loud
}

#[test]
fn a_stream_is_answered_behind_one_turn_of_a_flood_of_datagrams() {
    let flood = |socket| Datagrams { socket, length: 64, count: 3 * TURN_DATAGRAMS };
    let work = compare("UDP flood, TCP", TCP, |server| Box::new(flood(udp(server))));
    assert_eq!(work.turns, 1, "{work:?}");
    assert!((100..=TURN_DATAGRAMS).contains(&work.datagrams), "{work:?}");
}

#[test]
fn a_stream_is_answered_behind_few_long_datagrams() {
    let flood = |socket| Datagrams { socket, length: DATAGRAM_MAX, count: 8 };
    let work = compare("UDP flood of the longest, TCP", TCP, |server| Box::new(flood(udp(server))));
    assert_eq!(work.turns, 1, "{work:?}");
    assert!((2 * DATAGRAM_MAX as u64..=TURN_DATAGRAM_BYTES).contains(&work.datagram_bytes), "{work:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_stream_is_answered_behind_few_merged_datagrams() {
    let trains =
        || Trains(shout::batch::Linux::new(mio::net::UdpSocket::bind(([127, 0, 0, 1], 0).into()).unwrap()).unwrap());
    let work = compare("UDP flood in trains, TCP", TCP, |_| Box::new(trains()));
    assert_eq!(work.turns, 1, "{work:?}");
    assert!((64_000..=TURN_DATAGRAM_BYTES).contains(&work.datagram_bytes), "{work:?}");
}

#[test]
fn a_datagram_is_answered_before_a_stream_that_floods() {
    let work = compare("TCP pipeliner, UDP", UDP, |server| Box::new(Pipeliner(tcp(server))));
    assert_eq!((work.turns, work.datagrams), (1, 1), "{work:?}");
    assert!((1..=SHARED_BYTES_MAX as u64).contains(&work.bytes), "{work:?}");
}

#[test]
fn a_stream_is_answered_behind_one_drive_of_another_that_floods() {
    let work = compare("TCP pipeliner, TCP", TCP, |server| Box::new(Pipeliner(tcp(server))));
    // The drive of the flood may be all that its turn has, and then the next begins with the other.
    assert!(work.turns <= 2, "{work:?}");
    let most = work.turns * SHARED_BYTES_MAX as u64 + Victim::QUESTION.len() as u64;
    assert!((Victim::QUESTION.len() as u64 + 1..=most).contains(&work.bytes), "{work:?}");
}

#[test]
fn both_are_answered_in_one_turn_of_a_storm_of_connections() {
    for victim in [UDP, TCP] {
        let work = compare("connect storm", victim, |_| Box::new(Storm));
        assert_eq!(work.turns, 1, "{work:?}");
        assert!((1..=TURN_ACCEPTS).contains(&work.accepts), "{work:?}");
    }
}
