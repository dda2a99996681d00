//! Which messages are under way, and what becomes of each. Pure: no I/O, no clock.
//!
//! A message is *composed* (it has a number and an intended time), then *issued* (the kernel took it), then *settled*:
//! answered or lost. Datagrams may be lost, late, doubled and reordered, so [`DatagramLedger`] finds a message by its
//! number; a stream keeps its order, so [`StreamLedger`] is a queue that is matched by counting bytes.

mod datagrams;
mod streams;

pub use datagrams::{Arrival, DatagramLedger, Expired};
pub use streams::{Abandoned, Grade, Owed, StreamLedger};

use crate::clock::Nanos;

/// When a message was to leave, and when it left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flight {
    /// When the schedule said to send it. Closed loop: when its place in the window fell free.
    pub intended: Nanos,
    /// When the system call that sent it was made.
    pub issued: Nanos,
}
