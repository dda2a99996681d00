//! Designs that look right and are not. Each is the right one with one decision taken out, and each must be caught.

use std::io::{self, ErrorKind, Read, Write};

use shout::connections::CloseWrite;

use crate::calls::Handle;
use crate::stream::Stream;

/// Which decision is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Design {
    /// None: this is the server.
    Right,
    /// A short read is taken for an empty queue, whether or not the end of file has been announced with the data.
    /// It is not announced again.
    ShortReadWithoutHint,
    /// What the budget cuts off waits for an event. None comes, for nothing has changed.
    BudgetWithoutReadyQueue,
    /// A peer is read although it is owed something: a peer that only writes can make the server hold any amount.
    ReadingWhileUnsent,
    /// Connections that found no room wait for the next event, which is the next connection's, if one comes.
    AcceptTrustsEdges,
    /// Datagrams beyond the bound of a turn wait for the next datagram.
    DatagramsTrustEdges,
}

/// A stream behind an unbounded buffer, so that to the server every write succeeds: the session object of many designs.
pub struct Hoarding {
    stream: Stream,
    hoard: Vec<u8>,
}

impl From<Stream> for Hoarding {
    fn from(stream: Stream) -> Hoarding {
        Hoarding { stream, hoard: Vec::new() }
    }
}

impl Read for Hoarding {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.flush()?;
        self.stream.read(buffer)
    }
}

impl Write for Hoarding {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hoard.extend_from_slice(bytes);
        self.flush()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.hoard.is_empty() {
            match self.stream.write(&self.hoard) {
                Ok(sent) => drop(self.hoard.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl CloseWrite for Hoarding {
    fn close_write(&self) -> io::Result<()> {
        self.stream.close_write()
    }

    fn unread(&self) -> u64 {
        self.stream.unread()
    }

    fn is_quiet(&self) -> bool {
        self.stream.is_quiet()
    }

    fn abandon(&self) {
        self.stream.abandon();
    }
}

impl Handle for Hoarding {
    fn id(&self) -> usize {
        self.stream.id()
    }
}
