//! TCP connections. Does I/O.

use std::io::{ErrorKind, Read, Write};

use mio::net::TcpStream;

use super::{AfterFlush, Flush, Received};
use crate::outbox::{Begun, Outbox, Room};
use crate::stamps::{self, Wall};

/// One TCP connection.
#[derive(Debug)]
pub struct StreamLane {
    stream: TcpStream,
    /// Its first `written` bytes have left.
    outbox: Outbox,
    written: usize,
    begun: Begun,
    /// The kernel reports timestamps.
    is_stamped: bool,
}

impl StreamLane {
    /// What is composed before a write: what a write takes in one go on a default socket buffer.
    pub const ROOM: Room = Room { messages: usize::MAX, bytes: 64 << 10, is_train: false };

    /// Over an open connection, with the kernel's timestamps if they are wanted and to be had.
    pub fn new(stream: TcpStream, stamps: bool) -> Self {
        let is_stamped = stamps && stamps::enable(&stream).is_ok();
        StreamLane { stream, outbox: Outbox::default(), written: 0, begun: Begun::default(), is_stamped }
    }

    /// Whether a message may be sent with a request for a timestamp.
    pub fn is_stamped(&self) -> bool {
        self.is_stamped
    }

    /// Takes the stamps of departures: the last one.
    pub fn take_departure(&mut self) -> Option<Wall> {
        stamps::take_departure(&self.stream)
    }

    /// Where to put messages.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Whether bytes wait to be sent.
    pub fn has_waiting(&self) -> bool {
        self.written < self.outbox.bytes().len()
    }

    /// Writes what waits, until all has left or the socket is full. `with_stamp` asks for a timestamp of the last message.
    pub fn flush(&mut self, with_stamp: bool) -> Flush {
        let mut with_stamp = with_stamp && self.written == 0;
        let next = loop {
            if !self.has_waiting() {
                break AfterFlush::Continue;
            }
            let bytes = &self.outbox.bytes()[self.written..];
            let written = if with_stamp { stamps::send(&self.stream, bytes) } else { self.stream.write(bytes) };
            match written {
                Ok(0) => break AfterFlush::Broken(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    // The stamp is that of the last byte of the call, and must be that of the last message.
                    with_stamp &= written == bytes.len();
                    self.written += written;
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => break AfterFlush::Wait,
                    _ => break AfterFlush::Broken(error),
                },
            }
        };
        let issued = self.begun.advance(&self.outbox, self.written);
        if !self.has_waiting() {
            self.outbox.clear();
            (self.written, self.begun) = (0, Begun::default());
        }
        Flush { issued, unsent: 0, refused: 0, stamped: with_stamp && issued > 0, next }
    }

    /// Reads what has come; `with_stamp` also says when the last of it came.
    pub fn receive(&mut self, buffer: &mut [u8], with_stamp: bool) -> (Received, Option<Wall>) {
        loop {
            let received = if with_stamp {
                stamps::receive(&self.stream, buffer)
            } else {
                self.stream.read(buffer).map(|length| (length, None))
            };
            match received {
                Ok((0, _)) => return (Received::End, None),
                Ok((length, arrived)) => return (Received::Bytes(length), arrived),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => return (Received::Nothing, None),
                    _ => return (Received::Broken, None),
                },
            }
        }
    }
}
