//! One datagram a system call, by what every platform has.

use std::io;

use mio::net::UdpSocket;

use super::{Batch, DatagramIo, Message, Replies};

/// A UDP socket, one datagram at a time. A reply leaves from whichever address the kernel picks, which on a host
/// with several may not be the one that was asked; and where the socket is bound to every address, a broadcast is
/// answered like any other datagram, for nothing here says where a datagram was sent to. Bound to one address it
/// receives no broadcast.
#[derive(Debug)]
pub struct Portable {
    socket: UdpSocket,
}

impl Portable {
    /// Takes over a bound socket.
    pub fn new(socket: UdpSocket) -> Portable {
        Portable { socket }
    }

    /// The socket, for registration.
    pub fn socket_mut(&mut self) -> &mut UdpSocket {
        &mut self.socket
    }
}

impl DatagramIo for Portable {
    fn messages_max(&self) -> usize {
        1
    }

    fn segments_max(&self) -> usize {
        1
    }

    fn receive(&mut self, batch: &mut Batch, _width: usize) -> io::Result<()> {
        let slot = batch.slots_mut().next().expect("a batch has at least one slot");
        let (length, peer) = self.socket.recv_from(slot)?;
        batch.messages.push(Message { peer, local: None, to_group: false, length, segment: 0, truncated: false });
        Ok(())
    }

    fn send(&mut self, bytes: &[u8], replies: &Replies, from: usize) -> io::Result<usize> {
        let reply = &replies.list[from];
        debug_assert_eq!(reply.parts.len(), 1, "a reply here is one datagram");
        let part = replies.parts[reply.parts.start].clone();
        self.socket.send_to(&bytes[part], reply.peer)?;
        Ok(1)
    }

    fn kernel_drops(&self) -> u64 {
        0
    }
}

/// How many bytes written to a stream its peer has not confirmed: not known here, and taken to be none.
#[cfg(not(target_os = "linux"))]
pub fn undelivered<S>(_stream: &S) -> u64 {
    0
}
