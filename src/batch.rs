//! Datagrams in and out of a socket, many per system call where the kernel can. The types here are pure; the
//! implementations of [`DatagramIo`] do the I/O: `batch/linux.rs` in batches, `batch/portable.rs` one by one.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use mio::net::UdpSocket;

#[cfg(target_os = "linux")]
pub mod control;
#[cfg(target_os = "linux")]
mod linux;
mod portable;

#[cfg(target_os = "linux")]
pub use linux::{Linux, undelivered};
pub use portable::Portable;
#[cfg(not(target_os = "linux"))]
pub use portable::undelivered;

/// The longest payload of a UDP datagram over IPv4: 65,535 less an IP header of 20 and a UDP header of 8 bytes.
pub const DATAGRAM_MAX: usize = 65_507;

/// Room for one received message: the longest datagram, or as much as the kernel merges.
pub const SLOT_LEN: usize = 65_536;

/// The most messages that one call receives.
pub const MESSAGES_MAX: usize = 64;

const _: () = assert!(SLOT_LEN > DATAGRAM_MAX, "a slot as long as a datagram could not tell a cut one");

/// What a slot is filled with before anything has come. Not zero: zeros are lent by the kernel, which finds the memory
/// behind them only when a datagram comes, 16 page faults for a long one.
const NOTHING_YET: u8 = b'.';

/// One received message: a datagram, or several of one peer and one size that the kernel merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Who sent it.
    pub peer: SocketAddr,
    /// The address it was sent to, where the socket listens on several.
    pub local: Option<IpAddr>,
    /// It was sent to a broadcast or multicast address, as far as that is known.
    pub to_group: bool,
    /// How many bytes of the slot it fills.
    pub length: usize,
    /// The size of the datagrams in it, the last of which may be shorter. Zero where it is a single datagram.
    pub segment: usize,
    /// The datagram was longer than the slot, and its end is lost; or what the kernel says beside it is.
    pub truncated: bool,
}

/// A batch of received messages, and the memory they stand in.
#[derive(Debug)]
pub struct Batch {
    /// Slots of [`SLOT_LEN`], then, behind `slots_end`, replies that did not fit into their own slot.
    bytes: Vec<u8>,
    slots_end: usize,
    /// The messages, one a slot.
    pub messages: Vec<Message>,
}

impl Batch {
    /// Room for `slots` messages, all of it resident: to receive takes no more memory.
    pub fn new(slots: usize) -> Batch {
        let slots_end = slots * SLOT_LEN;
        Batch { bytes: vec![NOTHING_YET; slots_end], slots_end, messages: Vec::with_capacity(slots) }
    }

    /// Forgets the messages and the replies behind the slots.
    pub fn clear(&mut self) {
        self.messages.clear();
        self.bytes.truncate(self.slots_end);
    }

    /// The memory of the slots, to receive into.
    pub fn slots_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.bytes[..self.slots_end].chunks_exact_mut(SLOT_LEN)
    }

    /// Where the bytes of one message stand.
    pub fn range_of(&self, index: usize) -> Range<usize> {
        let start = index * SLOT_LEN;
        start..start + self.messages[index].length
    }

    /// All bytes, which the parts of replies point into.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All bytes, to raise them in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Puts a reply behind the slots; says where it stands. Allocates until the buffer has grown to what is used.
    pub fn append(&mut self, reply: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(reply);
        start..self.bytes.len()
    }
}

/// What one system call sends to one peer: a datagram, or a run of equally long ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Who it is for.
    pub peer: SocketAddr,
    /// The address it leaves from: the one that was asked.
    pub local: Option<IpAddr>,
    /// Which of [`Replies::parts`] it is made of.
    pub parts: Range<usize>,
    /// The size of its datagrams, of which only the last may be shorter. Zero where it is a single datagram.
    pub segment: usize,
    /// How many bytes it has in all.
    pub length: usize,
}

impl Reply {
    /// How many datagrams it is.
    pub fn datagrams(&self) -> usize {
        datagrams_in(self.length, self.segment)
    }
}

/// How many datagrams of size `segment` make up `length` bytes; zero stands for a single one of any length.
pub fn datagrams_in(length: usize, segment: usize) -> usize {
    if segment == 0 { 1 } else { length.div_ceil(segment) }
}

/// Replies in the order in which they are to leave.
#[derive(Debug, Default)]
pub struct Replies {
    /// The replies.
    pub list: Vec<Reply>,
    /// Where in [`Batch::bytes`] their bytes stand.
    pub parts: Vec<Range<usize>>,
}

/// How datagrams are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum UdpIo {
    /// In batches where the kernel can, else one by one.
    Auto,
    /// In batches, or not at all.
    Batch,
    /// One by one, as on every platform.
    Portable,
}

/// A UDP socket, moved in one way or the other.
#[derive(Debug)]
pub enum Socket {
    /// In batches.
    #[cfg(target_os = "linux")]
    Linux(Linux),
    /// One by one.
    Portable(Portable),
}

impl Socket {
    /// Takes over a bound socket. Fails where batches were demanded and the system has none.
    pub fn new(socket: UdpSocket, how: UdpIo) -> io::Result<Socket> {
        match how {
            UdpIo::Portable => Ok(Socket::Portable(Portable::new(socket))),
            #[cfg(target_os = "linux")]
            UdpIo::Auto | UdpIo::Batch => Linux::new(socket).map(Socket::Linux),
            #[cfg(not(target_os = "linux"))]
            UdpIo::Auto => Ok(Socket::Portable(Portable::new(socket))),
            #[cfg(not(target_os = "linux"))]
            UdpIo::Batch => Err(io::Error::new(io::ErrorKind::Unsupported, "datagrams move in batches on Linux only")),
        }
    }

    /// The socket, for registration.
    pub fn socket_mut(&mut self) -> &mut UdpSocket {
        match self {
            #[cfg(target_os = "linux")]
            Socket::Linux(io) => io.socket_mut(),
            Socket::Portable(io) => io.socket_mut(),
        }
    }
}

/// Hands a call on to whichever way the socket is moved.
macro_rules! delegate {
    ($self:ident.$method:ident($($argument:ident),*)) => {
        match $self {
            #[cfg(target_os = "linux")]
            Socket::Linux(io) => io.$method($($argument),*),
            Socket::Portable(io) => io.$method($($argument),*),
        }
    };
}

impl DatagramIo for Socket {
    fn messages_max(&self) -> usize {
        delegate!(self.messages_max())
    }

    fn segments_max(&self) -> usize {
        delegate!(self.segments_max())
    }

    fn receive(&mut self, batch: &mut Batch, width: usize) -> io::Result<()> {
        delegate!(self.receive(batch, width))
    }

    fn send(&mut self, bytes: &[u8], replies: &Replies, from: usize) -> io::Result<usize> {
        delegate!(self.send(bytes, replies, from))
    }

    fn kernel_drops(&self) -> u64 {
        delegate!(self.kernel_drops())
    }
}

/// What moves datagrams: a socket, or the simulator of the tests.
pub trait DatagramIo {
    /// The most messages that one call of [`DatagramIo::receive`] takes.
    fn messages_max(&self) -> usize;

    /// The most datagrams that one [`Reply`] may be made of.
    fn segments_max(&self) -> usize;

    /// Receives up to `width` messages into an empty batch, at least one. Fewer than `width` means that the
    /// queue is empty. Fails with `WouldBlock` where it was empty at once.
    fn receive(&mut self, batch: &mut Batch, width: usize) -> io::Result<()>;

    /// Sends replies from index `from` on, in order. Says how many have left, at least one; an error speaks of the
    /// first alone. A reply leaves whole or not at all.
    fn send(&mut self, bytes: &[u8], replies: &Replies, from: usize) -> io::Result<usize>;

    /// How many datagrams the kernel has dropped because the receive buffer was full, where it says so.
    fn kernel_drops(&self) -> u64;
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Times that this thread has touched memory that was not there, and that the kernel found without a disk.
    fn page_faults() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        // The tenth field of proc_pid_stat(5); the second is a name in parentheses.
        status.rsplit_once(") ").unwrap().1.split(' ').nth(7).unwrap().parse().unwrap()
    }

    #[test]
    fn no_slot_is_short_of_memory_when_a_datagram_comes() {
        let mut batch = Batch::new(MESSAGES_MAX);
        let before = page_faults();
        batch.slots_mut().for_each(|slot| slot.fill(1));
        let faults = page_faults() - before;
        assert!(faults < MESSAGES_MAX as u64, "{faults} page faults: one a slot or more");
    }
}
