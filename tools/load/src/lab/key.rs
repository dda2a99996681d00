//! The answer key: what the misbehaving server really did. Pure: plain counts, written as JSON.

use serde::{Deserialize, Serialize};

use crate::clock::Nanos;

/// The version of the form below, published as `lab.schema.json`; a change that breaks a reader gets another.
pub const SCHEMA: &str = "shout-lab/1";

/// Stalls that are listed one by one; three hours of one a second. Further ones are counted.
const MOST_STALLS: usize = 10_000;

/// Everything the server did wrong, and how much it did in all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AnswerKey {
    /// `shout-lab/1`.
    #[cfg_attr(test, schemars(extend("const" = SCHEMA)))]
    pub schema: String,
    /// The seed, as it is typed.
    pub seed: String,
    /// Where it listened.
    pub listen: String,
    /// Over UDP.
    pub udp: DatagramKey,
    /// Over TCP.
    pub tcp: StreamKey,
    /// The stalls that a message met.
    pub stalls: Stalls,
}

/// Counts of datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DatagramKey {
    /// Requests.
    pub received: u64,
    /// Requests without an answer.
    pub drop: u64,
    /// Requests answered twice.
    pub duplicate: u64,
    /// Answers sent after a younger one to the same client.
    pub reorder: u64,
    /// Answers sent to somebody else as well.
    pub stray: u64,
    /// Answers without their end.
    pub truncate: u64,
    /// Answers with a changed bit.
    pub corrupt: u64,
    /// Answers as the request came, which had a letter to raise.
    pub wrong_case: u64,
    /// Answers sent later.
    pub delay: u64,
    /// Answers that the kernel did not take: a fault that was not asked for.
    pub not_sent: u64,
}

/// Counts of connections and of the messages on them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StreamKey {
    /// Connections accepted.
    pub connections: u64,
    /// Connections that had to wait.
    pub slow_accept: u64,
    /// Connections closed at once, because there were too many.
    pub turned_away: u64,
    /// Messages of which a byte came.
    pub messages: u64,
    /// Answers with a changed bit.
    pub corrupt: u64,
    /// Answers as the request came, which had a letter to raise.
    pub wrong_case: u64,
    /// Answers sent later.
    pub delay: u64,
    /// Connections ended in the middle of an answer.
    pub close_mid_reply: u64,
}

/// The stalls that a message met.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Stalls {
    /// How many.
    pub count: u64,
    /// The first of them, in order.
    pub list: Vec<StallKey>,
}

/// One stall, in nanoseconds since the start of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StallKey {
    /// When a message first met it, in nanoseconds.
    pub met_ns: Nanos,
    /// When it was to end, in nanoseconds.
    pub until_ns: Nanos,
    /// When the first sleeper was awake again, in nanoseconds: later than `until_ns` by what the machine adds.
    pub ended_ns: Nanos,
}

impl Stalls {
    /// Notes a stall, unless it is the one noted last: each thread that meets it says so.
    pub fn note(&mut self, stall: StallKey) {
        if self.list.last().is_some_and(|last| last.until_ns == stall.until_ns) {
            return;
        }
        self.count += 1;
        if self.list.len() < MOST_STALLS {
            self.list.push(stall);
        }
    }
}
