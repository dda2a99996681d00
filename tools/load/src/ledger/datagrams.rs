//! The messages of a UDP socket, found by their number. Pure: no I/O, no clock.

#[cfg(test)]
mod tests;

use super::Flight;
use crate::clock::Nanos;
use crate::loss::Bursts;

/// What an arriving datagram means for the message that it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The first answer, in time: the message is settled by it.
    OnTime(Flight),
    /// The first answer, but the message has been given up. `lost_now` if that happened in this very moment, because
    /// nobody had looked at its deadline since it passed.
    Late {
        /// Whether the caller has yet to count the message as lost.
        lost_now: bool,
    },
    /// The message had an answer before.
    Duplicate,
    /// No such message has been issued.
    Unknown,
    /// The message belongs to an earlier stage, whose accounts are closed.
    Stale,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Composed,
    InFlight,
    Answered,
    Lost,
    /// Answered, and lost all the same: the answer came too late.
    TooLate,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    flight: Flight,
    state: State,
}

/// The messages of one UDP socket: a ring of the most recent ones, found by number in constant time.
///
/// Settled messages stay in the ring until their slot is needed, so that a second answer is known for what it is. An
/// answer to a message that has left the ring counts as late: at least a whole ring of newer messages overtook it.
#[derive(Debug)]
pub struct DatagramLedger {
    /// A power of two long, so that a number's slot is a mask away.
    slots: Vec<Slot>,
    most_slots: usize,
    timeout: Nanos,
    /// The next number to compose; every number below `issued` has been issued, every one below `oldest` settled.
    composed: u64,
    issued: u64,
    oldest: u64,
    in_flight: usize,
    stage_start: u64,
    /// Nothing is known of messages below this number: the ring was too short for them.
    remembered_from: u64,
    newest_answered: Option<u64>,
    /// Apart, so that a lane stays small.
    bursts: Box<Bursts>,
}

/// Messages that have just been given up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expired {
    /// How many.
    pub count: usize,
    /// How long they were in flight, all together.
    pub held: Nanos,
}

impl DatagramLedger {
    /// The ring starts with this many slots (24 bytes each) and doubles while it is full of messages in flight.
    const FIRST_SLOTS: usize = 1024;

    /// `timeout`: a message without an answer for longer is lost. `most_slots` bounds the messages in flight.
    pub fn new(timeout: Nanos, most_slots: usize) -> Self {
        let most_slots = most_slots.next_power_of_two();
        DatagramLedger {
            slots: vec![Slot::default(); Self::FIRST_SLOTS.min(most_slots)],
            most_slots,
            timeout,
            composed: 0,
            issued: 0,
            oldest: 0,
            in_flight: 0,
            stage_start: 0,
            remembered_from: 0,
            newest_answered: None,
            bursts: Box::default(),
        }
    }

    /// Whether this message and all before it are known to have been answered or lost.
    pub fn is_settled(&self, sequence: u64) -> bool {
        sequence < self.oldest
    }

    /// Messages composed and not settled yet.
    pub fn outstanding(&self) -> usize {
        self.in_flight + (self.composed - self.issued) as usize
    }

    /// Messages issued and not settled yet.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether one more message can be composed; makes room for it if it can.
    pub fn has_room(&mut self) -> bool {
        self.pass_settled();
        if ((self.composed - self.oldest) as usize) < self.slots.len() {
            return true;
        }
        if self.slots.len() == self.most_slots {
            return false;
        }
        // The ring is full, so the oldest one in flight is also the oldest one that it still holds.
        self.remembered_from = self.oldest;
        let mut grown = vec![Slot::default(); 2 * self.slots.len()];
        for sequence in self.remembered_from..self.composed {
            grown[sequence as usize & (2 * self.slots.len() - 1)] = self.slots[self.index(sequence)];
        }
        self.slots = grown;
        true
    }

    /// Gives the next message its number. The caller has asked [`has_room`](Self::has_room).
    pub fn compose(&mut self, intended: Nanos) -> u64 {
        let sequence = self.composed;
        debug_assert!(((sequence - self.oldest) as usize) < self.slots.len());
        let index = self.index(sequence);
        self.slots[index] = Slot { flight: Flight { intended, issued: 0 }, state: State::Composed };
        self.composed += 1;
        sequence
    }

    /// The number of the next message to compose.
    pub fn next_composed(&self) -> u64 {
        self.composed
    }

    /// The number of the next message to issue.
    pub fn next_issued(&self) -> u64 {
        self.issued
    }

    /// Notes that the oldest composed message has left.
    pub fn issue(&mut self, now: Nanos) -> Flight {
        debug_assert!(self.issued < self.composed);
        let index = self.index(self.issued);
        let slot = &mut self.slots[index];
        slot.flight.issued = now;
        slot.state = State::InFlight;
        self.issued += 1;
        self.in_flight += 1;
        slot.flight
    }

    /// Notes an answer to the message with this number.
    pub fn answer(&mut self, sequence: u64, now: Nanos) -> Arrival {
        if sequence >= self.issued {
            return Arrival::Unknown;
        }
        if sequence < self.stage_start {
            return Arrival::Stale;
        }
        if sequence < self.remembered_from || self.composed - sequence > self.slots.len() as u64 {
            return Arrival::Late { lost_now: false };
        }
        let index = self.index(sequence);
        let slot = &mut self.slots[index];
        match std::mem::replace(&mut slot.state, State::Answered) {
            State::Answered => Arrival::Duplicate,
            State::TooLate => {
                slot.state = State::TooLate;
                Arrival::Duplicate
            }
            State::Lost => Arrival::Late { lost_now: false },
            State::Composed | State::InFlight => {
                self.in_flight -= 1;
                if now.saturating_sub(slot.flight.issued) > self.timeout {
                    slot.state = State::TooLate;
                    Arrival::Late { lost_now: true }
                } else {
                    Arrival::OnTime(slot.flight)
                }
            }
        }
    }

    /// How many numbers behind the newest answered message this one is: 0 for the newest itself.
    ///
    /// RFC 4737 §4.2 calls a packet reordered when a later one has arrived before it; its extent is counted here in
    /// sequence numbers, which takes constant memory.
    pub fn reordering(&mut self, sequence: u64) -> u64 {
        let newest = self.newest_answered.map_or(sequence, |newest| newest.max(sequence));
        self.newest_answered = Some(newest);
        newest - sequence
    }

    /// Gives up the messages whose deadline has passed. Amortised constant per message.
    pub fn expire(&mut self, now: Nanos) -> Expired {
        let mut expired = Expired::default();
        while self.oldest < self.issued {
            let index = self.index(self.oldest);
            let slot = &mut self.slots[index];
            if slot.state == State::InFlight {
                let held = now.saturating_sub(slot.flight.issued);
                if held <= self.timeout {
                    break;
                }
                slot.state = State::Lost;
                expired.count += 1;
                expired.held += held;
            }
            self.pass_oldest();
        }
        self.in_flight -= expired.count;
        expired
    }

    /// The runs of lost messages. Those at the end are in them, though nobody may have looked since they were given up; one
    /// that is still in flight is not lost.
    pub fn bursts(&self) -> Bursts {
        let mut bursts = *self.bursts;
        (self.oldest..self.issued).for_each(|sequence| bursts.push(self.is_lost(sequence)));
        bursts
    }

    /// The only message in flight, where there is exactly one.
    pub fn only_one(&mut self) -> Option<u64> {
        self.pass_settled();
        (self.in_flight == 1).then_some(self.oldest)
    }

    /// The last message issued before this one, or the last of all.
    pub fn last_before(&self, sequence: Option<u64>) -> Option<u64> {
        sequence.unwrap_or(self.issued).checked_sub(1)
    }

    /// Closes the accounts of a stage: answers to its messages are [`Arrival::Stale`] from now on, and messages that
    /// were composed and never issued are taken back.
    pub fn begin_stage(&mut self) {
        self.composed = self.issued;
        self.in_flight = 0;
        self.stage_start = self.composed;
        self.oldest = self.composed;
        self.newest_answered = None;
        *self.bursts = Bursts::default();
    }

    fn pass_settled(&mut self) {
        while self.oldest < self.issued && self.slots[self.index(self.oldest)].state != State::InFlight {
            self.pass_oldest();
        }
    }

    /// Each message is passed once, in the order of their numbers, when it is settled.
    fn pass_oldest(&mut self) {
        self.bursts.push(self.is_lost(self.oldest));
        self.oldest += 1;
    }

    fn is_lost(&self, sequence: u64) -> bool {
        matches!(self.slots[self.index(sequence)].state, State::Lost | State::TooLate)
    }

    fn index(&self, sequence: u64) -> usize {
        sequence as usize & (self.slots.len() - 1)
    }
}
