//! The rules of edge-triggered readiness, asked of the kernel that runs the tests. The server relies on each of them, and
//! the simulated kernel of `tests/sim` is made of them; `shout::book::edges` explains what follows from each.
//!
//! "No edge" means that everything had arrived before the kernel was asked, and that it said nothing for a while.
#![cfg(target_os = "linux")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::os::fd::AsRawFd;

#[path = "common/retried.rs"]
mod retried;
use retried::retried;

const PATIENCE: Duration = Duration::from_secs(30);

/// How long the kernel may say nothing before that is taken for its last word. What it has to say it says at once, for
/// everything has arrived; a longer wait would make no test fail that passes.
const SILENCE: Duration = Duration::from_millis(50);

const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// What one wait reports of the one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Edge {
    readable: bool,
    writable: bool,
    read_closed: bool,
}

const READABLE: Edge = Edge { readable: true, writable: false, read_closed: false };

/// A poll with one source, non-blocking sockets that both ends of a test read and write.
struct Watched(Poll);

impl Watched {
    fn new(socket: &impl AsRawFd, interest: Interest) -> Watched {
        let poll = Poll::new().unwrap();
        SourceFd(&socket.as_raw_fd()).register(poll.registry(), Token(0), interest).unwrap();
        Watched(poll)
    }

    fn wait(&mut self, patience: Duration) -> Option<Edge> {
        let mut events = Events::with_capacity(8);
        retried(|| self.0.poll(&mut events, Some(patience))).unwrap();
        let event = events.iter().next()?;
        assert_eq!(events.iter().count(), 1, "one source, one event, whatever has changed");
        Some(Edge { readable: event.is_readable(), writable: event.is_writable(), read_closed: event.is_read_closed() })
    }

    #[track_caller]
    fn edge(&mut self) -> Edge {
        self.wait(PATIENCE).expect("an edge")
    }

    #[track_caller]
    fn no_edge(&mut self) {
        assert_eq!(self.wait(SILENCE), None);
    }

    fn register_again(&mut self, socket: &impl AsRawFd, interest: Interest) {
        SourceFd(&socket.as_raw_fd()).reregister(self.0.registry(), Token(0), interest).unwrap();
    }
}

/// A client and what the server has accepted, which never blocks.
fn streams() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let (server, _) = listener.accept().unwrap();
    server.set_nonblocking(true).unwrap();
    (client, server)
}

/// Waits until something is so. What the loopback delivers it delivers within the call that sends, or soon after.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

/// Waits until so many bytes stand in the queue.
fn arrived(stream: &TcpStream, length: usize) {
    let mut buffer = vec![0; length];
    until("all has arrived", || stream.peek(&mut buffer).is_ok_and(|there| there == length));
}

fn read(mut stream: &TcpStream, length: usize) -> usize {
    stream.read(&mut vec![0; length]).unwrap()
}

#[test]
fn no_edge_follows_a_partial_drain_of_a_stream_until_more_arrives() {
    let (mut client, server) = streams();
    let mut watched = Watched::new(&server, Interest::READABLE);
    client.write_all(&[b'x'; 1_000]).unwrap();
    arrived(&server, 1_000);
    assert_eq!(watched.edge(), READABLE);
    assert_eq!(read(&server, 100), 100);
    watched.no_edge();
    client.write_all(b"y").unwrap();
    assert_eq!(watched.edge(), READABLE, "and it covers the 900 bytes from before too");
}

#[test]
fn an_end_that_comes_with_data_is_announced_once_with_it() {
    let (mut client, server) = streams();
    let mut watched = Watched::new(&server, Interest::READABLE);
    client.write_all(b"last words").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    arrived(&server, 10);
    let mut edge = watched.edge();
    // The data may be looked at between its arrival and that of the end, which then has an edge of its own.
    while !edge.read_closed {
        edge = watched.edge();
    }
    assert!(edge.readable);
    assert_eq!(read(&server, 100), 10, "a short read, which does not mean that nothing else is there");
    watched.no_edge();
    assert_eq!(read(&server, 100), 0, "the end was there all the time");
}

#[test]
fn an_end_that_comes_later_has_an_edge_of_its_own() {
    let (mut client, server) = streams();
    let mut watched = Watched::new(&server, Interest::READABLE);
    client.write_all(b"hello").unwrap();
    assert_eq!(watched.edge(), READABLE);
    assert_eq!(read(&server, 100), 5);
    client.shutdown(Shutdown::Write).unwrap();
    assert!(watched.edge().read_closed);
}

#[test]
fn room_to_write_is_announced_at_registration_and_after_the_peer_has_read_a_full_queue_empty() {
    let (mut client, mut server) = streams();
    let mut watched = Watched::new(&server, BOTH);
    assert!(watched.edge().writable);
    watched.no_edge();
    let (text, mut filled) = (vec![b'z'; 65_536], 0);
    // Bounded by the buffers of two sockets, which grow to a few MB.
    loop {
        match server.write(&text) {
            Ok(length) => filled += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    client.read_exact(&mut vec![0; filled]).unwrap();
    until("there is room", || watched.wait(PATIENCE).is_some_and(|edge| edge.writable));
}

#[test]
fn a_short_write_is_followed_by_an_edge_although_nothing_has_said_would_block() {
    let (mut client, mut server) = streams();
    let mut watched = Watched::new(&server, BOTH);
    assert!(watched.edge().writable);
    let text = vec![b'q'; 64 << 20];
    let sent = server.write(&text).unwrap();
    assert!(sent < text.len());
    client.read_exact(&mut vec![0; sent]).unwrap();
    assert!(watched.edge().writable);
}

#[test]
fn one_edge_stands_for_all_who_wait_to_be_accepted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut watched = Watched::new(&listener, Interest::READABLE);
    let _clients = [(); 3].map(|()| TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    assert_eq!(watched.edge(), READABLE);
    listener.accept().unwrap();
    watched.no_edge();
    assert!(listener.accept().is_ok() && listener.accept().is_ok(), "two were left");
}

#[test]
fn one_edge_stands_for_all_datagrams_that_wait() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let mut watched = Watched::new(&server, Interest::READABLE);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in 0..3 {
        client.send_to(&[number], server.local_addr().unwrap()).unwrap();
    }
    assert_eq!(watched.edge(), READABLE);
    let mut buffer = [0; 8];
    until("the first is there", || server.recv(&mut buffer).is_ok());
    watched.no_edge();
    assert!(server.recv(&mut buffer).is_ok() && server.recv(&mut buffer).is_ok(), "two were left");
}

/// The remedy that the server does without: it would cost a system call for each drive.
#[test]
fn registering_again_announces_what_is_true_again() {
    let (mut client, server) = streams();
    let mut watched = Watched::new(&server, Interest::READABLE);
    client.write_all(&[b'x'; 1_000]).unwrap();
    arrived(&server, 1_000);
    watched.edge();
    read(&server, 100);
    watched.no_edge();
    watched.register_again(&server, Interest::READABLE);
    assert_eq!(watched.edge(), READABLE);
}

#[test]
fn a_close_with_unread_input_resets_and_a_shutdown_does_not() {
    for shuts_down_first in [false, true] {
        let (mut client, mut server) = streams();
        client.write_all(&[b'u'; 1_000]).unwrap();
        arrived(&server, 1_000);
        server.write_all(b"reply").unwrap();
        if shuts_down_first {
            server.shutdown(Shutdown::Write).unwrap();
            read(&server, 1_000);
        }
        drop(server);
        let mut answer = Vec::new();
        let ended = client.read_to_end(&mut answer);
        if shuts_down_first {
            assert_eq!((ended.unwrap(), &answer[..]), (5, &b"reply"[..]));
        } else {
            assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
    }
}
