//! The lanes, and which of them could send. Pure: no I/O, no clock.

use std::collections::VecDeque;
use std::ops::Range;

use super::{Engine, Transport};
use crate::clock::Nanos;
use crate::late::Due;
use crate::ledger::{DatagramLedger, Flight, StreamLedger};
use crate::recorder::Recorder;

#[derive(Debug)]
pub(super) enum Book {
    Datagrams(DatagramLedger),
    Stream(StreamLedger),
}

/// The message of a lane that carries kernel timestamps. There is at most one at a time, so that each stamp is known to
/// be its.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sample {
    None,
    /// It is under way.
    Awaited(u64),
    /// It was answered rightly just now.
    Answered(Flight),
}

impl Sample {
    /// The message with this number was answered rightly.
    pub(super) fn answered(&mut self, sequence: u64, flight: Flight) {
        if *self == Sample::Awaited(sequence) {
            *self = Sample::Answered(flight);
        }
    }

    /// The message with this number was answered rightly, in one read with answers to younger ones. Says whether it was this
    /// one, of which it is now unknown when its answer came.
    pub(super) fn answered_among_others(&mut self, sequence: u64) -> bool {
        let is_this = *self == Sample::Awaited(sequence);
        if is_this {
            *self = Sample::None;
        }
        is_this
    }
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) book: Book,
    pub(super) group: usize,
    /// Closed loop: when each free place in the window fell free, oldest first.
    pub(super) places: VecDeque<Nanos>,
    pub(super) is_alive: bool,
    /// Not while the shell replaces its connection by another.
    pub(super) is_open: bool,
    /// Messages that may still be composed before the connection is replaced.
    pub(super) left: u64,
    /// The socket has no room; the shell says when it has.
    pub(super) is_blocked: bool,
    /// The lane is in its group's `ready` queue.
    pub(super) is_queued: bool,
    pub(super) sample: Sample,
}

impl Lane {
    pub(super) fn outstanding(&self) -> usize {
        match &self.book {
            Book::Datagrams(ledger) => ledger.outstanding(),
            Book::Stream(ledger) => ledger.outstanding(),
        }
    }

    /// The number of the next message to compose.
    pub(super) fn next_composed(&self) -> u64 {
        match &self.book {
            Book::Datagrams(ledger) => ledger.next_composed(),
            Book::Stream(ledger) => ledger.next_composed(),
        }
    }

    /// Messages composed that the kernel has not taken yet.
    pub(super) fn unsent(&self) -> usize {
        match &self.book {
            Book::Datagrams(ledger) => ledger.outstanding() - ledger.in_flight(),
            Book::Stream(ledger) => ledger.outstanding() - ledger.in_flight(),
        }
    }
}

#[derive(Debug)]
pub(super) enum Want {
    Nothing,
    Answers,
    Arrivals { due: Due, window: usize },
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) transport: Transport,
    pub(super) lanes: Range<usize>,
    pub(super) timeout: Nanos,
    pub(super) want: Want,
    /// Lanes that could take a message now, the longest idle first.
    pub(super) ready: VecDeque<usize>,
    pub(super) alive: usize,
    pub(super) recorder: Recorder,
}

impl Engine {
    /// Messages without numbers are told apart by there being only one.
    pub(super) fn only_one_fits(&self, lane: usize) -> bool {
        matches!(self.lanes[lane].book, Book::Datagrams(_)) && !self.payload.is_numbered()
    }

    /// Whether a lane's ledger and window have room for one more message.
    pub(super) fn has_room(&mut self, index: usize) -> bool {
        let only_one_fits = self.only_one_fits(index);
        let lane = &mut self.lanes[index];
        let window = match &self.groups[lane.group].want {
            Want::Nothing => 0,
            // The places are the window.
            Want::Answers => {
                if lane.places.is_empty() {
                    0
                } else {
                    usize::MAX
                }
            }
            Want::Arrivals { window, .. } => *window,
        };
        let window = if only_one_fits { window.min(1) } else { window };
        lane.left > 0
            && lane.outstanding() < window
            && match &mut lane.book {
                Book::Datagrams(ledger) => ledger.has_room(),
                Book::Stream(_) => true,
            }
    }

    /// Puts a lane that could send into its group's queue, once.
    pub(super) fn queue(&mut self, index: usize) {
        let lane = &self.lanes[index];
        if lane.is_queued || lane.is_blocked || !lane.is_alive || !lane.is_open || !self.has_room(index) {
            return;
        }
        let lane = &mut self.lanes[index];
        lane.is_queued = true;
        self.groups[lane.group].ready.push_back(index);
    }

    /// Takes a lane out of its group's queue.
    pub(super) fn unqueue(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        if !std::mem::take(&mut lane.is_queued) {
            return;
        }
        let ready = &mut self.groups[lane.group].ready;
        // Nearly always it has just been put at the end.
        if ready.back() == Some(&index) {
            ready.pop_back();
        } else {
            ready.retain(|&other| other != index);
        }
    }

    /// A message of this lane has been settled at `now`.
    pub(super) fn free_place(&mut self, index: usize, now: Nanos) {
        let lane = &mut self.lanes[index];
        if matches!(self.groups[lane.group].want, Want::Answers) {
            lane.places.push_back(now);
        }
        self.queue(index);
    }
}
