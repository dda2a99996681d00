//! What happened to messages, as a document has it. Pure: no I/O.

use serde::{Deserialize, Serialize};

use crate::recorder;

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
    pub dup: u64,
    /// First answers that came after the answer to a younger message of the same socket.
    pub reordered: u64,
    /// The largest distance of a reordered answer from the youngest one before it, in messages.
    pub reorder_extent_max: u64,
    /// Answers with wrong bytes or surplus bytes.
    pub corrupt: u64,
    /// Answers with the right bytes but too few of them.
    pub truncated: u64,
    /// Right answers that this socket never asked for, and bytes on a stream that owes none.
    pub stray: u64,
    /// Payload bytes sent.
    pub bytes_tx: u64,
    /// Payload bytes received.
    pub bytes_rx: u64,
    /// How many latencies were above a minute; they are recorded as one.
    pub clamped: u64,
}

impl Counts {
    /// See [`recorder::Counts::never_sent`].
    pub fn never_sent(&self) -> u64 {
        recorder::Counts::from(self).never_sent()
    }

    /// See [`recorder::Counts::unanswered`].
    pub fn unanswered(&self) -> u64 {
        recorder::Counts::from(self).unanswered()
    }
}

impl From<&Counts> for recorder::Counts {
    fn from(counts: &Counts) -> Self {
        recorder::Counts {
            scheduled: counts.scheduled,
            shed: counts.shed,
            sent: counts.sent,
            send_blocked: counts.send_blocked,
            unsent: counts.unsent,
            replied: counts.replied,
            wrong: counts.wrong,
            lost: counts.lost,
            in_flight_at_end: counts.in_flight_at_end,
            late: counts.late,
            duplicated: counts.dup,
            reordered: counts.reordered,
            reorder_extent_max: counts.reorder_extent_max,
            corrupt: counts.corrupt,
            truncated: counts.truncated,
            stray: counts.stray,
            bytes_sent: counts.bytes_tx,
            bytes_received: counts.bytes_rx,
            clamped: counts.clamped,
        }
    }
}

impl From<&recorder::Counts> for Counts {
    fn from(counts: &recorder::Counts) -> Self {
        Counts {
            scheduled: counts.scheduled,
            shed: counts.shed,
            sent: counts.sent,
            send_blocked: counts.send_blocked,
            unsent: counts.unsent,
            replied: counts.replied,
            wrong: counts.wrong,
            lost: counts.lost,
            in_flight_at_end: counts.in_flight_at_end,
            late: counts.late,
            dup: counts.duplicated,
            reordered: counts.reordered,
            reorder_extent_max: counts.reorder_extent_max,
            corrupt: counts.corrupt,
            truncated: counts.truncated,
            stray: counts.stray,
            bytes_tx: counts.bytes_sent,
            bytes_rx: counts.bytes_received,
            clamped: counts.clamped,
        }
    }
}
