//! The rooms of the loop over sockets that are only memory, so that what is measured is the server and not the kernel.
//!
//! Nothing is copied in or out: a receive says how much has arrived and leaves the buffer as it is. The upper-casing
//! of ASCII takes no branch on what the bytes are, so that it costs the same for the zeros that stand there.

use std::hint::black_box;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::Token;
use shout::batch::{Batch, DatagramIo, MESSAGES_MAX, Message, Replies};
use shout::connection::{Connection, Next, Scratch};
use shout::connections::{
    CHUNK_LEN, CloseWrite, Connections, DRIVE_BYTES_MAX, Limits, SHARED_BYTES_MAX, SHARED_TURNS, SHORT_MAX,
    TURN_BYTES_MAX,
};
use shout::counters::Counters;
use shout::datagrams::{Datagrams, Rules};
use shout::uppercase::Case;

/// The payload of a short message, in bytes.
pub(crate) const SHORT: usize = 64;

/// A UDP socket on which the same messages arrive again and again.
struct MemorySocket {
    messages: Vec<Message>,
    received: usize,
}

impl DatagramIo for MemorySocket {
    fn messages_max(&self) -> usize {
        MESSAGES_MAX
    }

    /// As on Linux.
    fn segments_max(&self) -> usize {
        64
    }

    fn receive(&mut self, batch: &mut Batch, width: usize) -> io::Result<()> {
        let waiting = &self.messages[self.received..];
        if waiting.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = width.min(waiting.len());
        batch.messages.extend_from_slice(&waiting[..count]);
        self.received += count;
        Ok(())
    }

    fn send(&mut self, bytes: &[u8], replies: &Replies, from: usize) -> io::Result<usize> {
        black_box(bytes);
        Ok((replies.list.len() - from).min(MESSAGES_MAX))
    }

    fn kernel_drops(&self) -> u64 {
        0
    }
}

/// The UDP side of a loop, and what waits for its next turn.
pub(crate) struct UdpTurn {
    datagrams: Datagrams,
    socket: MemorySocket,
    now: Instant,
    counters: Counters,
}

impl UdpTurn {
    /// `messages` of `datagrams` short datagrams each, dealt out among the peers. One turn has been made, so that the
    /// next allocates nothing.
    pub(crate) fn new(messages: usize, datagrams: usize, peers: usize) -> UdpTurn {
        let message = |index: usize| Message {
            peer: SocketAddr::from(([127, 0, 0, 1], 20_000 + (index % peers) as u16)),
            local: None,
            to_group: false,
            length: datagrams * SHORT,
            segment: if datagrams > 1 { SHORT } else { 0 },
            truncated: false,
        };
        let socket = MemorySocket { messages: (0..messages).map(message).collect(), received: 0 };
        let rules = Rules { case: Case::Ascii, refused_port: Some(12_000), rate_limit: None };
        let now = Instant::now();
        let datagrams_side = Datagrams::new(rules, &socket, now);
        let mut turn = UdpTurn { datagrams: datagrams_side, socket, now, counters: Counters::default() };
        turn.run();
        assert_eq!(turn.counters.udp_replied, (messages * datagrams) as u64, "one turn must answer all");
        turn.arrive();
        turn
    }

    /// The messages arrive once more.
    pub(crate) fn arrive(&mut self) {
        self.socket.received = 0;
    }

    /// What the loop does when the socket is reported.
    pub(crate) fn run(&mut self) {
        self.datagrams.note(true, false);
        self.datagrams.turn(&mut self.socket, self.now, &mut self.counters);
    }
}

/// A TCP stream on which bytes arrive and whose peer takes everything.
#[derive(Default)]
struct MemoryStream {
    unread: usize,
    ended: bool,
}

impl Read for MemoryStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.unread == 0 && !self.ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        let length = self.unread.min(buffer.len());
        self.unread -= length;
        Ok(length)
    }
}

impl Write for MemoryStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        black_box(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl CloseWrite for MemoryStream {
    fn close_write(&self) -> io::Result<()> {
        Ok(())
    }
}

/// One connection, and how many bytes wait for its next drive.
pub(crate) struct TcpDrive {
    connection: Connection,
    stream: MemoryStream,
    scratch: Scratch,
    counters: Counters,
    length: usize,
}

impl TcpDrive {
    /// One drive has been made, so that the next allocates nothing.
    pub(crate) fn new(length: usize) -> TcpDrive {
        let mut drive = TcpDrive {
            connection: Connection::default(),
            stream: MemoryStream::default(),
            scratch: Scratch::new(Case::Ascii, CHUNK_LEN),
            counters: Counters::default(),
            length,
        };
        drive.arrive();
        drive.run();
        assert_eq!(drive.counters.tcp_sent_bytes, length as u64, "one drive must answer all");
        drive.arrive();
        drive
    }

    /// The bytes arrive once more.
    pub(crate) fn arrive(&mut self) {
        self.stream.unread = self.length;
    }

    /// What the loop does when the stream is reported.
    pub(crate) fn run(&mut self) -> Next {
        self.connection.note(true, false, false);
        self.connection.drive(&mut self.stream, &mut self.scratch, DRIVE_BYTES_MAX, &mut self.counters)
    }
}

/// Many connections, of which some have something to say and the others are idle.
pub(crate) struct Crowd {
    connections: Connections<MemoryStream>,
    active: Vec<Token>,
    now: Instant,
    counters: Counters,
}

impl Crowd {
    /// The active ones stand evenly among the idle ones. Each has been driven once.
    pub(crate) fn new(active: usize, idle: usize) -> Crowd {
        let now = Instant::now();
        let total = active + idle;
        let limits = Limits {
            connections_max: total + 1,
            drive_bytes_max: DRIVE_BYTES_MAX,
            turn_bytes_max: TURN_BYTES_MAX,
            shared_bytes_max: SHARED_BYTES_MAX,
            short_max: SHORT_MAX,
            shared_turns: SHARED_TURNS,
            idle_timeout: Some(Duration::from_secs(3600)),
            stall_timeout: Duration::from_secs(60),
            linger_timeout: Duration::from_secs(2),
            unsent_max: 64 << 20,
        };
        let mut connections = Connections::new(Case::Ascii, CHUNK_LEN, limits, now);
        let tokens: Vec<Token> = (0..total).map(|_| connections.insert(MemoryStream::default(), now)).collect();
        let active: Vec<Token> = tokens.into_iter().step_by(total / active).take(active).collect();
        let mut crowd = Crowd { connections, active, now, counters: Counters::default() };
        crowd.arrive();
        crowd.run();
        assert_eq!(
            crowd.counters.tcp_sent_bytes,
            (crowd.active.len() * SHORT) as u64,
            "every message must be answered"
        );
        crowd.arrive();
        crowd
    }

    /// A short message arrives on every active connection.
    pub(crate) fn arrive(&mut self) {
        for &token in &self.active {
            self.connections.stream_mut(token).expect("nobody has left").unread = SHORT;
        }
    }

    /// What the loop does when the active ones are reported: as many turns as their bound makes of them.
    pub(crate) fn run(&mut self) -> Option<Instant> {
        for &token in &self.active {
            self.connections.note(token, true, false, false);
        }
        while self.connections.has_work() {
            self.connections.turn(self.now, &mut self.counters);
            self.connections.expire(self.now, &mut self.counters);
        }
        self.connections.deadline()
    }

    /// One connection comes, says nothing, and goes: a slot is taken, driven to its end and freed.
    pub(crate) fn come_and_go(&mut self) {
        let token = self.connections.insert(MemoryStream { unread: 0, ended: true }, self.now);
        self.connections.note(token, true, false, true);
        self.connections.turn(self.now, &mut self.counters);
    }
}
