//! UDP sockets. Does I/O.
//!
//! Datagrams leave in *trains*: what waits on a lane goes to the kernel in one piece, which cuts it into datagrams
//! (`UDP_SEGMENT`), and what it has merged on the way back (`UDP_GRO`) is cut again by [`datagrams`]. Each datagram of a
//! train is still a message of its own, with its own fate. [`DatagramLane::flush`] and [`DatagramLane::receive`] are the
//! only places that send and receive datagrams.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::UdpSocket;
use mio::{Interest, Poll, Token};
use rustix::io::Errno;
use shout::batch::{self, Batch, DatagramIo, Replies, Reply};

use super::{AfterFlush, Flush, Received, Sources};
use crate::outbox::{Filled, Outbox, Room};
use crate::stamps::{self, Wall};

/// Asked for on each UDP socket, so that answers are not dropped on our side while we are busy sending.
const UDP_RECEIVE_BUFFER: usize = 8 << 20;

/// Bytes of the longest train: what the kernel takes in one piece is a datagram to it, headers included.
const TRAIN_BYTES: usize = 65_000;

const _: () = assert!(TRAIN_BYTES <= batch::DATAGRAM_MAX);

/// Messages in the longest train, where nothing else is asked for: the most that every kernel with segmentation cuts.
pub const LONGEST_TRAIN: usize = 64;

/// Refusals in one flush. The kernel keeps one for each socket, so a second one in a row is rare and a tenth a fault.
const MOST_REFUSALS: u64 = 10;

/// One connected UDP socket.
#[derive(Debug)]
pub struct DatagramLane {
    io: batch::Socket,
    /// At most one train.
    outbox: Outbox,
    room: Room,
    /// How a train is described to the kernel; kept for its memory.
    train: Replies,
    /// The kernel reports timestamps.
    is_stamped: bool,
}

impl DatagramLane {
    fn open(address: SocketAddr, purpose: &mut DatagramUse) -> io::Result<Self> {
        let DatagramUse { longest_message, longest_train, stamps, .. } = *purpose;
        let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = purpose.sources.open(|source| {
            let bind = || UdpSocket::bind(SocketAddr::new(source.unwrap_or(any), 0));
            let first = bind()?;
            // A server answers nothing that comes from its own port, lest it talk to its like for ever. Another address
            // of the same machine has that port too; while the first socket has it, a second one gets another.
            if first.local_addr()?.port() == address.port() { bind() } else { Ok(first) }
        })?;
        socket.connect(address)?;
        // The kernel grants what its limit allows; losses on our side for want of more are not hidden, they are lost.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, UDP_RECEIVE_BUFFER);
        #[cfg(target_os = "linux")]
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, UDP_RECEIVE_BUFFER);
        // Arrivals are told beside datagrams, which only the batches read.
        let is_stamped = stamps && longest_train > 1 && stamps::enable(&socket).is_ok();
        let io = Self::io(socket, longest_train)?;
        let room = Room { messages: longest_train.min(io.segments_max()), bytes: TRAIN_BYTES, is_train: true };
        let bytes = (room.messages * longest_message).min(TRAIN_BYTES).max(longest_message);
        let reply = Reply { peer: address, local: None, parts: 0..1, segment: 0, length: 0 };
        Ok(DatagramLane {
            io,
            outbox: Outbox::with_capacity(bytes, room.messages),
            room,
            train: Replies { list: vec![reply], parts: vec![0..0; 1] },
            is_stamped,
        })
    }

    #[cfg(target_os = "linux")]
    fn io(socket: UdpSocket, longest_train: usize) -> io::Result<batch::Socket> {
        if longest_train == 1 {
            return batch::Socket::new(socket, batch::UdpIo::Portable);
        }
        // One message a call: a train is already one message, and single datagrams gain next to nothing from more.
        Ok(batch::Socket::Linux(batch::Linux::with_room(socket, 1, 1)?))
    }

    #[cfg(not(target_os = "linux"))]
    fn io(socket: UdpSocket, _longest_train: usize) -> io::Result<batch::Socket> {
        batch::Socket::new(socket, batch::UdpIo::Portable)
    }

    /// What one system call sends, and thus the most that may share one time of issue.
    pub fn room(&self) -> Room {
        self.room
    }

    /// Where to put messages.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Whether messages wait to be sent.
    pub fn has_waiting(&self) -> bool {
        self.outbox.messages() > 0
    }

    /// Takes back what waits.
    pub fn clear(&mut self) {
        self.outbox.clear();
    }

    /// Whether a message may be sent with a request for a timestamp.
    pub fn is_stamped(&self) -> bool {
        self.is_stamped
    }

    /// Takes the stamps of departures: the last one.
    pub fn take_departure(&mut self) -> Option<Wall> {
        stamps::take_departure(self.io.socket_mut())
    }

    /// When the first of the datagrams that were just received arrived, where the kernel has said it.
    pub fn arrival(&self) -> Option<Wall> {
        match &self.io {
            #[cfg(target_os = "linux")]
            batch::Socket::Linux(io) => stamps::arrival(io.control()),
            batch::Socket::Portable(_) => None,
        }
    }

    /// Sends what waits; one message `with_stamp` asks for a timestamp.
    pub fn flush(&mut self, with_stamp: bool) -> Flush {
        let (mut issued, mut bytes, mut unsent, mut refused) = (0, 0, 0, 0);
        let with_stamp = with_stamp && self.outbox.messages() == 1;
        let next = loop {
            let train = self.outbox.next(issued, self.room);
            if train.messages == 0 {
                break AfterFlush::Continue;
            }
            let sent = if with_stamp {
                stamps::send(self.io.socket_mut(), self.outbox.bytes()).map(drop)
            } else {
                self.send(bytes, train)
            };
            match sent {
                Ok(()) => (issued, bytes) = (issued + train.messages, bytes + train.bytes),
                // The queue of the network interface was full. Linux drops such a datagram without a word, so here as
                // there it has been sent, and is lost.
                Err(error) if is(&error, Errno::NOBUFS) => {
                    (issued, bytes) = (issued + train.messages, bytes + train.bytes);
                    unsent += train.messages as u64;
                }
                // The message is longer than the path lets through in one packet, or the interface cannot do the
                // checksums: single datagrams still go, if need be in fragments.
                Err(error) if train.messages > 1 && SEGMENTATION_REFUSED.iter().any(|&errno| is(&error, errno)) => {
                    self.room.messages = 1;
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
        self.outbox.remove(issued, bytes);
        Flush { issued, unsent, refused, stamped: with_stamp && issued == 1, next }
    }

    /// Sends messages that start so many bytes into the outbox, in one system call.
    fn send(&mut self, from: usize, train: Filled) -> io::Result<()> {
        let bytes = from..from + train.bytes;
        if train.messages == 1 {
            return self.io.socket_mut().send(&self.outbox.bytes()[bytes]).map(drop);
        }
        self.train.list[0].segment = train.first;
        self.train.list[0].length = train.bytes;
        self.train.parts[0] = bytes;
        self.io.send(self.outbox.bytes(), &self.train, 0).map(drop)
    }

    /// Receives one datagram, or several that the kernel merged, into a batch of one slot: see [`datagrams`].
    pub fn receive(&mut self, batch: &mut Batch) -> Received {
        loop {
            batch.clear();
            match self.io.receive(batch, 1) {
                Ok(()) => return Received::Datagrams,
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

/// What the kernel says of a train where it would take its datagrams one by one.
const SEGMENTATION_REFUSED: [Errno; 3] = [Errno::INVAL, Errno::IO, Errno::MSGSIZE];

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// The datagrams in a batch, each as its sender cut it.
pub fn datagrams(batch: &Batch) -> impl Iterator<Item = &[u8]> {
    batch.messages.iter().enumerate().flat_map(|(index, message)| {
        let bytes = &batch.bytes()[batch.range_of(index)];
        let size = if message.segment == 0 { bytes.len() } else { message.segment };
        // An empty datagram is one as well, which `chunks` alone would not say.
        let (first, rest) = bytes.split_at(size);
        std::iter::once(first).chain(rest.chunks(size.max(1)))
    })
}

/// What UDP sockets are opened for.
#[derive(Debug, Clone)]
pub struct DatagramUse {
    /// The local addresses that they are bound to.
    pub sources: Sources,
    /// The longest message in bytes, for which there is to be memory.
    pub longest_message: usize,
    /// They send at most so many messages a system call, and fewer where the kernel takes no more.
    pub longest_train: usize,
    /// Whether the kernel is to report timestamps.
    pub stamps: bool,
}

/// Opens and registers UDP sockets; the first gets `first_token`.
pub fn open_datagrams(
    poll: &Poll,
    address: SocketAddr,
    count: usize,
    mut purpose: DatagramUse,
    first_token: usize,
) -> io::Result<Vec<DatagramLane>> {
    (0..count)
        .map(|index| {
            let mut lane = DatagramLane::open(address, &mut purpose)?;
            let token = Token(first_token + index);
            poll.registry().register(lane.io.socket_mut(), token, Interest::READABLE | Interest::WRITABLE)?;
            Ok(lane)
        })
        .collect()
}
