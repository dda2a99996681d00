//! The sockets behind the lanes: opening them, and moving bytes. Does I/O; knows nothing of latency.
//!
//! [`DatagramLane::flush`] and [`DatagramLane::receive`] are the only places that send and receive datagrams, one a
//! system call.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use hdrhistogram::Histogram;
use mio::net::{TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;

use crate::clock::{Clock, SECOND};
use crate::recorder;

/// Asked for on each UDP socket, so that answers are not dropped on our side while we are busy sending.
const UDP_RECEIVE_BUFFER: usize = 8 << 20;

/// Connections being opened at once: well below the listen backlog of any server (128 is the smallest common default).
const OPENING_AT_ONCE: usize = 64;

/// Without an answer to a connection attempt for this long, the run cannot start.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Refusals in one flush. The kernel keeps one for each socket, so a second one in a row is rare and a tenth a fault.
const MOST_REFUSALS: u64 = 10;

/// What became of an attempt to send everything in an outbox.
#[derive(Debug)]
pub struct Flush {
    /// Messages that have begun to leave and had not before.
    pub issued: usize,
    /// Messages among them that the network interface had no room for.
    pub unsent: u64,
    /// Times that an earlier datagram turned out to have been refused.
    pub refused: u64,
    /// What to do next.
    pub next: AfterFlush,
}

/// What to do after a flush.
#[derive(Debug)]
pub enum AfterFlush {
    /// The outbox is empty.
    Continue,
    /// The socket has no room: wait until it is writable.
    Wait,
    /// The connection is broken.
    Broken(io::Error),
}

/// What became of an attempt to receive.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// This many bytes; there may be more.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// An earlier datagram was refused; there may be more.
    Refused,
    /// The peer has closed the stream.
    End,
    /// The connection is broken.
    Broken,
}

/// One connected UDP socket.
#[derive(Debug)]
pub struct DatagramLane {
    socket: UdpSocket,
    /// Messages that wait to be sent, each of the same size, one behind the other.
    outbox: Vec<u8>,
    waiting: usize,
    message: usize,
}

impl DatagramLane {
    /// Messages that one system call sends, and thus the most that may share one time of issue.
    pub const BATCH: usize = 1;

    fn open(address: SocketAddr, message: usize) -> io::Result<Self> {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any.parse().expect("a literal address"))?;
        socket.connect(address)?;
        // The kernel grants what its limit allows; losses on our side for want of more are not hidden, they are lost.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, UDP_RECEIVE_BUFFER);
        #[cfg(target_os = "linux")]
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, UDP_RECEIVE_BUFFER);
        Ok(DatagramLane { socket, outbox: Vec::with_capacity(Self::BATCH * message), waiting: 0, message })
    }

    /// Where to put messages; tell how many with [`added`](Self::added).
    pub fn outbox(&mut self) -> &mut Vec<u8> {
        &mut self.outbox
    }

    /// `messages` have been put into the outbox.
    pub fn added(&mut self, messages: usize) {
        self.waiting += messages;
        debug_assert_eq!(self.outbox.len(), self.waiting * self.message);
    }

    /// Whether messages wait to be sent.
    pub fn has_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Takes back what waits.
    pub fn clear(&mut self) {
        self.outbox.clear();
        self.waiting = 0;
    }

    /// Sends what waits.
    pub fn flush(&mut self) -> Flush {
        let (mut issued, mut unsent, mut refused) = (0, 0, 0);
        let next = loop {
            if issued == self.waiting {
                break AfterFlush::Continue;
            }
            match self.socket.send(&self.outbox[issued * self.message..][..self.message]) {
                Ok(_) => issued += 1,
                // The queue of the network interface was full. Linux drops such a datagram without a word, so here as
                // there it has been sent, and is lost.
                Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {
                    issued += 1;
                    unsent += 1;
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => break AfterFlush::Wait,
                    // The verdict on an earlier datagram; fetching it has cleared the way for this one.
                    ErrorKind::ConnectionRefused if refused < MOST_REFUSALS => refused += 1,
                    _ => break AfterFlush::Broken(error),
                },
            }
        };
        self.waiting -= issued;
        self.outbox.drain(..issued * self.message);
        Flush { issued, unsent, refused, next }
    }

    /// Receives one datagram.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Received {
        loop {
            match self.socket.recv(buffer) {
                Ok(length) => return Received::Bytes(length),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => return Received::Nothing,
                    // Every other error that a connected UDP socket reports is an ICMP message about an earlier send.
                    _ => return Received::Refused,
                },
            }
        }
    }
}

/// One TCP connection.
#[derive(Debug)]
pub struct StreamLane {
    stream: TcpStream,
    /// Whole messages, of which the first `written` bytes have left.
    outbox: Vec<u8>,
    written: usize,
    message: usize,
}

impl StreamLane {
    /// Bytes composed before a write: what a write takes in one go on a default socket buffer.
    pub const BATCH_BYTES: usize = 64 << 10;

    /// Where to put messages.
    pub fn outbox(&mut self) -> &mut Vec<u8> {
        &mut self.outbox
    }

    /// Whether bytes wait to be sent.
    pub fn has_waiting(&self) -> bool {
        self.written < self.outbox.len()
    }

    /// Writes what waits, until all has left or the socket is full.
    pub fn flush(&mut self) -> Flush {
        let begun_before = self.written.div_ceil(self.message);
        let next = loop {
            if self.written == self.outbox.len() {
                break AfterFlush::Continue;
            }
            match self.stream.write(&self.outbox[self.written..]) {
                Ok(0) => break AfterFlush::Broken(ErrorKind::WriteZero.into()),
                Ok(written) => self.written += written,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => break AfterFlush::Wait,
                    _ => break AfterFlush::Broken(error),
                },
            }
        };
        let issued = self.written.div_ceil(self.message) - begun_before;
        if !self.has_waiting() {
            self.outbox.clear();
            self.written = 0;
        }
        Flush { issued, unsent: 0, refused: 0, next }
    }

    /// Reads what has come.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Received {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Received::End,
                Ok(length) => return Received::Bytes(length),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => return Received::Nothing,
                    _ => return Received::Broken,
                },
            }
        }
    }
}

/// Opens and registers UDP sockets; the first gets `first_token`.
pub fn open_datagrams(
    poll: &Poll,
    address: SocketAddr,
    count: usize,
    message: usize,
    first_token: usize,
) -> io::Result<Vec<DatagramLane>> {
    (0..count)
        .map(|index| {
            let mut lane = DatagramLane::open(address, message)?;
            let token = Token(first_token + index);
            poll.registry().register(&mut lane.socket, token, Interest::READABLE | Interest::WRITABLE)?;
            Ok(lane)
        })
        .collect()
}

/// Opens and registers TCP connections, several at a time, and measures how long each took; the first gets
/// `first_token`. Fails when one of them cannot be opened.
pub fn open_streams(
    poll: &mut Poll,
    address: SocketAddr,
    count: usize,
    message: usize,
    first_token: usize,
) -> io::Result<(Vec<StreamLane>, Histogram<u64>)> {
    let clock = Clock::start();
    let mut connect_times = recorder::histogram();
    let mut events = Events::with_capacity(OPENING_AT_ONCE);
    let mut lanes: Vec<StreamLane> = Vec::with_capacity(count);
    let mut started: Vec<Option<u64>> = Vec::with_capacity(count);
    let mut open = 0;
    while open < count {
        while lanes.len() < count && lanes.len() - open < OPENING_AT_ONCE {
            started.push(Some(clock.now()));
            let mut stream = TcpStream::connect(address)?;
            let token = Token(first_token + lanes.len());
            poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            lanes.push(StreamLane { stream, outbox: Vec::new(), written: 0, message });
        }
        match poll.poll(&mut events, Some(CONNECT_TIMEOUT)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => outcome?,
        }
        let now = clock.now();
        for event in &events {
            let index = event.token().0.wrapping_sub(first_token);
            let Some(since) = started.get(index).copied().flatten() else { continue };
            let stream = &lanes[index].stream;
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
            // Writable without a peer means that the connection is still being made.
            if stream.peer_addr().is_ok() {
                stream.set_nodelay(true)?;
                connect_times.saturating_record(now - since);
                started[index] = None;
                open += 1;
            }
        }
        let timeout = CONNECT_TIMEOUT.as_secs() * SECOND;
        if started.iter().flatten().any(|since| now - since >= timeout) {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    Ok((lanes, connect_times))
}
