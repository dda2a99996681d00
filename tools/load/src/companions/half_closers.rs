//! Connections that send, end their half, and expect all that they are owed and then the end. Does I/O.

use std::net::Shutdown;

use mio::net::TcpStream;
use mio::{Registry, Token};
use serde::{Deserialize, Serialize};

use super::talk::{Heard, Talk, Text};
use crate::clock::{Nanos, SECOND};
use crate::sockets::{Dialler, Opened, Opening};

/// Sent before the end of our half: more than a server reads at once, so that something is owed when the end comes.
const LENGTH: u64 = 300_000;

/// Without the end of the stream for this long after it began, a connection is given up.
const PATIENCE: Nanos = 10 * SECOND;

/// What became of connections that ended their half. Each that ends is replaced by another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HalfClosers {
    /// Connections that got everything back, and then the end.
    pub completed: u64,
    /// Connections that got the end before they had everything back.
    pub cut_short: u64,
    /// Connections that were sent a wrong byte.
    pub wrong: u64,
    /// Connections that were reset.
    pub reset: u64,
    /// Connections that had not got the end in time.
    pub timed_out: u64,
    /// Connections that could not be opened.
    pub failed: u64,
    /// How many bytes came back, all of them right.
    pub bytes_rx: u64,
}

/// One of them.
#[derive(Debug)]
pub(super) enum Closing {
    /// There is none until the next tick.
    None,
    Opening(Opening),
    Talking {
        talk: Talk,
        since: Nanos,
        has_ended_half: bool,
    },
}

impl Closing {
    pub(super) fn new(stream: TcpStream, now: Nanos) -> Self {
        Closing::Talking { talk: Talk::new(stream), since: now, has_ended_half: false }
    }

    /// Does what can be done after an event.
    pub(super) fn go_on(&mut self, text: &Text, scratch: &mut [u8], tally: &mut HalfClosers, now: Nanos) {
        *self = match std::mem::replace(self, Closing::None) {
            Closing::None => Closing::None,
            Closing::Opening(opening) => match opening.finish() {
                Ok(Opened::NotYet(opening)) => Closing::Opening(opening),
                Ok(Opened::Stream(stream)) => Closing::new(stream, now),
                Err(_) => {
                    tally.failed += 1;
                    Closing::None
                }
            },
            talking @ Closing::Talking { .. } => talking,
        };
        let Closing::Talking { talk, has_ended_half, .. } = self else { return };
        if talk.send(text, LENGTH).is_err() {
            tally.reset += 1;
            *self = Closing::None;
            return;
        }
        if talk.sent == LENGTH && !*has_ended_half {
            *has_ended_half = true;
            // Where it fails the connection is broken, which reading says as well.
            let _ = talk.stream.shutdown(Shutdown::Write);
        }
        loop {
            match talk.hear(text, scratch) {
                Heard::Right(length) => {
                    tally.bytes_rx += length as u64;
                    continue;
                }
                Heard::Nothing => return,
                Heard::Wrong => tally.wrong += 1,
                Heard::Broken => tally.reset += 1,
                Heard::End if talk.heard == LENGTH => tally.completed += 1,
                Heard::End => tally.cut_short += 1,
            }
            *self = Closing::None;
            return;
        }
    }

    /// Gives up one that takes too long, and begins another where there is none.
    pub(super) fn tick(
        &mut self,
        dialler: &mut Dialler,
        registry: &Registry,
        token: Token,
        tally: &mut HalfClosers,
        now: Nanos,
    ) {
        let since = match self {
            Closing::None => None,
            Closing::Opening(opening) => Some(opening.since()),
            Closing::Talking { since, .. } => Some(*since),
        };
        match since {
            Some(since) if now.saturating_sub(since) > PATIENCE => {
                tally.timed_out += 1;
                *self = Closing::None;
            }
            Some(_) => {}
            None => match dialler.dial(registry, token, now) {
                Ok(opening) => *self = Closing::Opening(opening),
                Err(_) => tally.failed += 1,
            },
        }
    }
}
