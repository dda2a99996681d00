//! Kernel timestamps of single messages: when one left our side of the network stack, and when its answer came back into
//! it. They part the time of the network and the server from the generator's own. The sampler is pure; the platform's
//! module does I/O. Linux only (`SO_TIMESTAMPING`); elsewhere no message is ever sampled.
//!
//! Only what is certain is a sample. A departure is that of the last byte of a system call, so the sampled message is the last
//! of its call. Of an arrival the kernel tells when the last of the bytes came that a read has taken, because it keeps bytes
//! of a stream that came one after the other as one piece, with the stamp of the latest. An answer in several segments is
//! stamped rightly by that: it is complete when its last byte is there. An answer that a read has taken together with the
//! beginning of the next one is not: its own bytes came at some time before. It is counted as rejected. With several messages
//! in flight on a connection the samples are therefore those whose answers came last in a read: nearly all in a closed loop,
//! where a server answers a call's messages together. Where answers gather while the generator sleeps, long wake-ups are rarer
//! among the samples than they are; the response times themselves are of all messages.

use crate::clock::Nanos;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod portable;

#[cfg(target_os = "linux")]
pub use linux::{arrival, enable, receive, send, take_departure};
#[cfg(not(target_os = "linux"))]
pub use portable::{arrival, enable, receive, send, take_departure};

/// Nanoseconds since 1970 on the clock that can be set: the kernel stamps with no other.
pub type Wall = u64;

/// The least time between two samples. Each costs some microseconds: a system call of its own, and one for its stamp.
/// So they take at most 2 % of a processor, and a run of 10 s has up to 50,000 of them.
const PAUSE: Nanos = 200_000;

/// Chooses the messages that are stamped: one in so many, and not too often.
#[derive(Debug, Clone, Copy)]
pub struct Sampler {
    /// Zero is none.
    one_in: u64,
    messages_left: u64,
    not_before: Nanos,
}

impl Sampler {
    /// One message in `one_in`; none for zero.
    pub fn new(one_in: u64) -> Self {
        Sampler { one_in, messages_left: 0, not_before: 0 }
    }

    /// Whether any message is to be stamped.
    pub fn is_wanted(&self) -> bool {
        self.one_in > 0
    }

    /// Whether the next message should be stamped.
    pub fn is_due(&self, now: Nanos) -> bool {
        self.one_in > 0 && self.messages_left == 0 && now >= self.not_before
    }

    /// So many messages left without a stamp.
    pub fn passed(&mut self, messages: usize) {
        self.messages_left = self.messages_left.saturating_sub(messages as u64);
    }

    /// A message left with a stamp.
    pub fn took(&mut self, now: Nanos) {
        (self.messages_left, self.not_before) = (self.one_in - 1, now + PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_so_many_and_not_too_often() {
        let mut sampler = Sampler::new(3);
        assert!(sampler.is_due(0));
        sampler.took(0);
        sampler.passed(1);
        assert!(!sampler.is_due(PAUSE), "only one has passed");
        sampler.passed(5);
        assert!(!sampler.is_due(PAUSE - 1) && sampler.is_due(PAUSE));
        assert!(!Sampler::new(0).is_due(PAUSE));
    }
}
