//! What the tests with real sockets share: a server to turn by hand, one in a thread, one as a program of its own.
//!
//! Nothing here sleeps. Whoever waits, waits in a read or in a turn of the loop, with a limit far beyond what a busy
//! machine needs.

#![allow(dead_code, reason = "each test file is a crate of its own and uses its part of this")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Parser;
use shout::config::Config;
use shout::counters::Counters;
use shout::report::Board;
use shout::server::Server;
use shout::sockets;

mod process;
mod program;
mod retried;
#[allow(unused_imports, reason = "as above")]
pub(crate) use {
    process::raise_descriptors,
    program::{Ended, Lines, Program, SERVER},
    retried::retried,
};

/// How long anything is waited for before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How long one turn of a server turned by hand may wait for an event, before the test looks around again.
const TURN_PATIENCE: Duration = Duration::from_millis(20);

/// Port 0 on loopback, unless the flags say where.
fn config(flags: &[&str]) -> Config {
    let listen: &[&str] = if flags.contains(&"--listen") { &[] } else { &["--listen", "127.0.0.1:0"] };
    Config::parse_from([&["shout-server"], listen, flags].concat())
}

/// A server in this process that does nothing until it is turned.
pub(crate) fn server(flags: &[&str]) -> Server {
    let config = config(flags);
    let connections_max = config.max_connections.unwrap_or(100_000) as usize;
    let reporter = Board::reporters(1, config.stats, Instant::now()).remove(0);
    Server::new(&config, sockets::bind(&config, config.listen).unwrap(), connections_max, reporter).unwrap()
}

/// Turns a server until `done`.
pub(crate) fn turn_until(server: &mut Server, what: &str, mut done: impl FnMut(&Server) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done(server) {
        assert!(Instant::now() < deadline, "waited in vain for {what}: {:?}", server.counters());
        server.turn(Some(TURN_PATIENCE)).unwrap();
    }
}

/// Turns a server until the kernel has had nothing to report for a while.
pub(crate) fn turn_until_quiet(server: &mut Server) {
    let deadline = Instant::now() + PATIENCE;
    let mut before = None;
    while before != Some(server.counters().events) {
        assert!(Instant::now() < deadline, "the server never came to rest: {:?}", server.counters());
        before = Some(server.counters().events);
        server.turn(Some(Duration::from_millis(200))).unwrap();
    }
}

/// A client for a server that this thread turns: it must never block.
pub(crate) fn tcp(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

/// Likewise over UDP, not connected to anybody.
pub(crate) fn udp(server: &Server) -> UdpSocket {
    let socket = udp_client(server.address());
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Sends what a socket takes at once, turns the server, and collects at least `length` bytes of answer.
pub(crate) fn exchange(server: &mut Server, client: &mut TcpStream, text: &[u8], length: usize) -> Vec<u8> {
    let (mut sent, mut answer) = (0, Vec::new());
    turn_until(server, "an answer", |_| {
        sent += write_some(client, &text[sent..]);
        read_some(client, &mut answer).expect("the server ended the connection");
        sent == text.len() && answer.len() >= length
    });
    answer
}

/// What a non-blocking stream takes now.
pub(crate) fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(length) => sent += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("cannot write to the server: {error}"),
        }
    }
    sent
}

/// What a non-blocking stream has now; `Err` once it has ended. A reset is no end.
pub(crate) fn read_some(stream: &mut TcpStream, into: &mut Vec<u8>) -> Result<(), End> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Err(End::Clean),
            Ok(length) => into.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Err(End::Reset),
            Err(error) => panic!("cannot read from the server: {error}"),
        }
    }
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Clean,
    Reset,
}

/// Turns the server until the client's stream ends. What came before the end, and how it ended.
pub(crate) fn rest_of(server: &mut Server, client: &mut TcpStream) -> (Vec<u8>, End) {
    let (mut rest, mut end) = (Vec::new(), None);
    turn_until(server, "the end of a stream", |_| {
        end = read_some(client, &mut rest).err();
        end.is_some()
    });
    (rest, end.unwrap())
}

/// One datagram there and one back, over a server that this thread turns. Checks who answered.
pub(crate) fn ask(server: &mut Server, client: &UdpSocket, text: &[u8]) -> Vec<u8> {
    let (mut buffer, mut answer) = (vec![0; 65_536], None);
    client.send_to(text, server.address()).unwrap();
    turn_until(server, "a datagram", |server| {
        answer = receive(client, &mut buffer).map(|(length, from)| {
            assert_eq!(from, server.address(), "somebody else answered");
            buffer[..length].to_vec()
        });
        answer.is_some()
    });
    answer.unwrap()
}

/// A datagram, if a non-blocking socket has one.
pub(crate) fn receive(client: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
    match client.recv_from(buffer) {
        Ok(received) => Some(received),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("cannot receive: {error}"),
    }
}

/// A client of a server that runs elsewhere: every call waits, and not for ever.
pub(crate) fn tcp_client(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Likewise over UDP.
pub(crate) fn udp_client(address: SocketAddr) -> UdpSocket {
    let any: SocketAddr =
        if address.is_ipv4() { (Ipv4Addr::LOCALHOST, 0).into() } else { (Ipv6Addr::LOCALHOST, 0).into() };
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends a text that a socket buffer holds and reads an answer of the same length.
pub(crate) fn ping(client: &mut TcpStream, text: &[u8]) -> Vec<u8> {
    client.write_all(text).unwrap();
    let mut answer = vec![0; text.len()];
    client.read_exact(&mut answer).unwrap();
    answer
}

/// Sends a datagram to a server that runs elsewhere and waits for one of its own.
pub(crate) fn ping_udp(client: &UdpSocket, address: SocketAddr, text: &[u8]) -> Vec<u8> {
    client.send_to(text, address).unwrap();
    let mut buffer = vec![0; 65_536];
    let (length, from) = retried(|| client.recv_from(&mut buffer)).unwrap();
    assert_eq!(from, address, "somebody else answered");
    buffer.truncate(length);
    buffer
}

/// Bytes that look random, hold every value, and are the same each time.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Says where two long texts part, instead of printing both.
#[track_caller]
pub(crate) fn assert_same(answer: &[u8], wanted: &[u8]) {
    let parted = answer.iter().zip(wanted).position(|(got, want)| got != want);
    assert_eq!((answer.len(), parted), (wanted.len(), None), "lengths, and the first byte that differs");
}

/// Whether this machine has IPv6 on loopback; says so where it has not.
pub(crate) fn has_ipv6() -> bool {
    let has = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !has {
        println!("skipped: this machine has no IPv6");
    }
    has
}

/// A server that runs in a thread of this process until it is dropped or ended.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    asked_to_end: Arc<AtomicBool>,
    thread: Option<JoinHandle<Counters>>,
}

impl Running {
    pub(crate) fn start(flags: &[&str]) -> Running {
        let mut server = server(flags);
        let address = server.address();
        let asked_to_end = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&asked_to_end);
        let thread = std::thread::spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                server.turn(Some(TURN_PATIENCE)).unwrap();
            }
            *server.counters()
        });
        Running { address, asked_to_end, thread: Some(thread) }
    }

    /// Stops turning the server. What it had counted.
    pub(crate) fn end(mut self) -> Counters {
        self.asked_to_end.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.asked_to_end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
