//! What happened to messages, as it is counted and as it is saved. Pure: no I/O.

use serde::{Deserialize, Serialize};

/// What happened to messages and answers, each thing counted apart: every message sent is replied, wrong, lost or in
/// flight at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Counts {
    /// Messages that the schedule, or in a closed loop the window, wanted sent by the end of the stage.
    pub scheduled: u64,
    /// Messages that were not sent because they were late; see `late` in the settings.
    #[serde(default)]
    pub shed: u64,
    /// Messages that the kernel took, on a stream at least in part.
    pub sent: u64,
    /// Times that a socket had no room for a message.
    pub send_blocked: u64,
    /// Messages that count as sent and that the network interface had no room for.
    pub unsent: u64,
    /// Messages answered in time with exactly the right bytes.
    pub replied: u64,
    /// Messages answered in time with wrong bytes: each is also `corrupt` or `truncated`.
    pub wrong: u64,
    /// Messages without an answer in time.
    pub lost: u64,
    /// Messages that are still under way, because the stage was cut off.
    pub in_flight_at_end: u64,
    /// First answers to messages that had been given up.
    pub late: u64,
    /// Further answers to a message that had one.
    #[serde(rename = "dup")]
    pub duplicated: u64,
    /// First answers that came after the answer to a younger message of the same socket.
    pub reordered: u64,
    /// The largest distance of a reordered answer from the youngest one before it, in messages.
    pub reorder_extent_max: u64,
    /// Answers with wrong bytes or surplus bytes.
    pub corrupt: u64,
    /// Of those, answers that are the message as it was sent, although it has a letter to upper-case.
    #[serde(default)]
    pub unchanged: u64,
    /// Answers with the right bytes but too few of them.
    pub truncated: u64,
    /// Right answers that this socket never asked for, and bytes on a stream that owes none.
    pub stray: u64,
    /// Payload bytes sent.
    #[serde(rename = "bytes_tx")]
    pub bytes_sent: u64,
    /// Payload bytes received.
    #[serde(rename = "bytes_rx")]
    pub bytes_received: u64,
    /// How many latencies were above a minute; they are recorded as one.
    pub clamped: u64,
}

impl Counts {
    /// Whether every message sent has exactly one end.
    pub fn is_balanced(&self) -> bool {
        self.sent == self.replied + self.wrong + self.lost + self.in_flight_at_end
    }

    /// Messages that the schedule wanted sent and that nobody sent: shed, or still waiting when the stage ended.
    pub fn never_sent(&self) -> u64 {
        self.scheduled.saturating_sub(self.sent)
    }

    /// Messages without a right answer, whether they were sent or not: all that are infinitely slow when none is left out.
    pub fn unanswered(&self) -> u64 {
        self.wrong + self.lost + self.in_flight_at_end + self.never_sent()
    }

    /// Answers with wrong bytes.
    pub fn wrong_answers(&self) -> u64 {
        self.corrupt + self.truncated
    }

    /// Adds what another transport or another generator counted.
    pub fn add(&mut self, other: &Counts) {
        let Counts { reorder_extent_max, .. } = *self;
        self.scheduled += other.scheduled;
        self.shed += other.shed;
        self.sent += other.sent;
        self.send_blocked += other.send_blocked;
        self.unsent += other.unsent;
        self.replied += other.replied;
        self.wrong += other.wrong;
        self.lost += other.lost;
        self.in_flight_at_end += other.in_flight_at_end;
        self.late += other.late;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.reorder_extent_max = reorder_extent_max.max(other.reorder_extent_max);
        self.corrupt += other.corrupt;
        self.unchanged += other.unchanged;
        self.truncated += other.truncated;
        self.stray += other.stray;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.clamped += other.clamped;
    }
}
