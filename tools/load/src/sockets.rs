//! The sockets behind the lanes: opening them, and moving bytes. Does I/O; knows nothing of latency.

mod datagrams;
mod opening;
mod source;
mod streams;

use std::io;

pub use datagrams::{DatagramLane, DatagramUse, LONGEST_TRAIN, datagrams, open_datagrams};
pub use opening::{CONNECT_TIMEOUT, Dialled, Dialler, Opened, Opening};
pub use source::{Sources, has_no_port};
pub use streams::StreamLane;

/// Repeats a call that was interrupted. A receive or send with a time limit is, without any handler, whenever the process
/// is stopped and continued, and whenever its machine is frozen for a moment (signal(7)); that is no answer of a peer's.
/// The limit begins anew each time.
pub fn retried<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// What became of an attempt to send everything in an outbox.
#[derive(Debug)]
pub struct Flush {
    /// Messages that have begun to leave and had not before.
    pub issued: usize,
    /// Messages among them that the network interface had no room for.
    pub unsent: u64,
    /// Times that an earlier datagram turned out to have been refused.
    pub refused: u64,
    /// The last of them asked for a kernel timestamp.
    pub stamped: bool,
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
    /// This many bytes of a stream; there may be more.
    Bytes(usize),
    /// At least one datagram; there may be more.
    Datagrams,
    /// Nothing for now.
    Nothing,
    /// An earlier datagram was refused; there may be more.
    Refused,
    /// The peer has closed the stream.
    End,
    /// The connection is broken.
    Broken,
}
