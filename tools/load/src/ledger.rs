//! Which messages are under way, and what becomes of each. Pure: no I/O, no clock.
//!
//! A message is *composed* (it has a number and an intended time), then *issued* (the kernel took it), then *settled*:
//! answered or lost. Datagrams may be lost, late, doubled and reordered, so [`DatagramLedger`] finds a message by its
//! number; a stream keeps its order, so [`StreamLedger`] is a queue that is matched by counting bytes.

use std::collections::VecDeque;

use crate::clock::Nanos;
use crate::loss::Bursts;

/// When a message was to leave, and when it left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flight {
    /// When the schedule said to send it. Closed loop: when its place in the window fell free.
    pub intended: Nanos,
    /// When the system call that sent it was made.
    pub issued: Nanos,
}

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

    /// The runs of lost messages, as far as every message before them is settled.
    pub fn bursts(&self) -> Bursts {
        *self.bursts
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
        let state = self.slots[self.index(self.oldest)].state;
        self.bursts.push(matches!(state, State::Lost | State::TooLate));
        self.oldest += 1;
    }

    fn index(&self, sequence: u64) -> usize {
        sequence as usize & (self.slots.len() - 1)
    }
}

/// The messages of one TCP connection, oldest first, and how much of the oldest one's answer has come.
#[derive(Debug, Default)]
pub struct StreamLedger {
    flights: VecDeque<Flight>,
    /// How many of `flights`, from the front, have been issued.
    in_flight: usize,
    /// The number of the message at the front.
    first: u64,
    answered_bytes: usize,
    is_wrong: bool,
}

/// The answer that a connection owes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owed {
    /// The number of the message.
    pub sequence: u64,
    /// How many bytes of the answer have come.
    pub offset: usize,
}

impl StreamLedger {
    /// Messages composed and not settled yet.
    pub fn outstanding(&self) -> usize {
        self.flights.len()
    }

    /// Messages issued and not settled yet.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Gives the next message its number.
    pub fn compose(&mut self, intended: Nanos) -> u64 {
        self.flights.push_back(Flight { intended, issued: 0 });
        self.first + self.flights.len() as u64 - 1
    }

    /// The number of the next message to compose.
    pub fn next_composed(&self) -> u64 {
        self.first + self.flights.len() as u64
    }

    /// The number of the next message to issue.
    pub fn next_issued(&self) -> u64 {
        self.first + self.in_flight as u64
    }

    /// Notes that the first byte of the oldest composed message has left.
    pub fn issue(&mut self, now: Nanos) -> Flight {
        let flight = &mut self.flights[self.in_flight];
        flight.issued = now;
        self.in_flight += 1;
        *flight
    }

    /// What the next byte of the stream belongs to; `None` if no answer is owed.
    pub fn owed(&self) -> Option<Owed> {
        (self.in_flight > 0).then_some(Owed { sequence: self.first, offset: self.answered_bytes })
    }

    /// Notes a piece of the owed answer. It must not be longer than what is missing of it.
    pub fn piece(&mut self, length: usize, matches: bool) {
        self.answered_bytes += length;
        self.is_wrong |= !matches;
    }

    /// Settles the owed answer, all of which has come, and says whether every byte of it was right.
    pub fn complete(&mut self) -> Option<(Flight, bool)> {
        let flight = self.flights.pop_front()?;
        self.in_flight -= 1;
        self.first += 1;
        self.answered_bytes = 0;
        Some((flight, !std::mem::take(&mut self.is_wrong)))
    }

    /// When the oldest message in flight left.
    pub fn oldest_issued(&self) -> Option<Nanos> {
        self.flights.front().filter(|_| self.in_flight > 0).map(|flight| flight.issued)
    }

    /// Gives up everything under way: the connection is gone.
    pub fn abandon(&mut self) -> Abandoned {
        let partly_answered = self.answered_bytes > 0;
        let abandoned =
            Abandoned { in_flight: self.in_flight, never_issued: self.flights.len() - self.in_flight, partly_answered };
        self.first += self.flights.len() as u64;
        self.flights.clear();
        self.in_flight = 0;
        self.answered_bytes = 0;
        self.is_wrong = false;
        abandoned
    }
}

/// What a connection took with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abandoned {
    /// Messages that had been issued.
    pub in_flight: usize,
    /// Messages that had not.
    pub never_issued: usize,
    /// Whether the answer to the first of those in flight had begun.
    pub partly_answered: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIMEOUT: Nanos = 100;

    #[derive(Debug, Clone)]
    enum Step {
        Send,
        Answer(prop::sample::Index),
        Pass(Nanos),
        Expire,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Send),
            4 => any::<prop::sample::Index>().prop_map(Step::Answer),
            2 => (0..TIMEOUT).prop_map(Step::Pass),
            1 => Just(Step::Expire),
        ];
        prop::collection::vec(step, 0..400)
    }

    /// The same accounts kept without a ring, without cursors and without hurry.
    #[derive(Default)]
    struct Model {
        issued: Vec<Nanos>,
        answered: Vec<bool>,
        lost: Vec<bool>,
    }

    impl Model {
        fn answer(&mut self, sequence: usize, now: Nanos) -> &'static str {
            let Some(&issued) = self.issued.get(sequence) else { return "unknown" };
            if std::mem::replace(&mut self.answered[sequence], true) {
                return "duplicate";
            }
            if now - issued > TIMEOUT {
                self.lost[sequence] = true;
                return "late";
            }
            "on time"
        }

        fn expire(&mut self, now: Nanos) {
            for (sequence, &issued) in self.issued.iter().enumerate() {
                self.lost[sequence] |= !self.answered[sequence] && now - issued > TIMEOUT;
            }
        }
    }

    proptest! {
        #[test]
        fn the_ring_keeps_the_same_accounts_as_a_model_that_forgets_nothing(steps in steps()) {
            let mut ledger = DatagramLedger::new(TIMEOUT, 1024);
            let mut model = Model::default();
            let (mut now, mut lost, mut replied) = (0, 0, 0);
            for step in steps {
                match step {
                    Step::Send => {
                        prop_assert!(ledger.has_room());
                        prop_assert_eq!(ledger.compose(now), model.issued.len() as u64);
                        prop_assert_eq!(ledger.issue(now), Flight { intended: now, issued: now });
                        model.issued.push(now);
                        model.answered.push(false);
                        model.lost.push(false);
                    }
                    Step::Answer(which) => {
                        // One more than there are, to meet a message that was never sent.
                        let sequence = which.index(model.issued.len() + 1);
                        let arrival = match ledger.answer(sequence as u64, now) {
                            Arrival::OnTime(flight) => {
                                prop_assert_eq!(flight.issued, model.issued[sequence]);
                                replied += 1;
                                "on time"
                            }
                            Arrival::Late { lost_now } => {
                                lost += usize::from(lost_now);
                                "late"
                            }
                            Arrival::Duplicate => "duplicate",
                            Arrival::Unknown => "unknown",
                            Arrival::Stale => "stale",
                        };
                        prop_assert_eq!(arrival, model.answer(sequence, now));
                    }
                    Step::Pass(time) => now += time,
                    Step::Expire => {
                        lost += ledger.expire(now).count;
                        model.expire(now);
                        prop_assert_eq!(lost, model.lost.iter().filter(|lost| **lost).count());
                    }
                }
                prop_assert_eq!(model.issued.len(), replied + lost + ledger.in_flight());
            }
        }

        #[test]
        fn a_short_ring_refuses_rather_than_forgets_what_is_in_flight(steps in steps()) {
            let mut ledger = DatagramLedger::new(TIMEOUT, 16);
            let (mut now, mut sent, mut settled) = (0, 0, 0);
            for step in steps {
                match step {
                    Step::Send if ledger.has_room() => {
                        ledger.compose(now);
                        ledger.issue(now);
                        sent += 1;
                    }
                    Step::Send => {}
                    Step::Answer(which) => match ledger.answer(which.index(sent + 1) as u64, now) {
                        Arrival::OnTime(_) | Arrival::Late { lost_now: true } => settled += 1,
                        Arrival::Late { lost_now: false } | Arrival::Duplicate | Arrival::Unknown | Arrival::Stale => {}
                    },
                    Step::Pass(time) => now += time,
                    Step::Expire => settled += ledger.expire(now).count,
                }
                prop_assert!(ledger.in_flight() <= 16);
                prop_assert_eq!(sent, settled + ledger.in_flight());
            }
        }
    }

    #[test]
    fn a_ring_that_grows_keeps_everything() {
        let first = DatagramLedger::FIRST_SLOTS as u64;
        let mut ledger = DatagramLedger::new(TIMEOUT, 4 * DatagramLedger::FIRST_SLOTS);
        let send = |ledger: &mut DatagramLedger, time| {
            let has_room = ledger.has_room();
            if has_room {
                ledger.compose(time);
                ledger.issue(time);
            }
            has_room
        };
        assert!(send(&mut ledger, 0) && send(&mut ledger, 1) && send(&mut ledger, 2));
        for time in [0, 2] {
            assert_eq!(ledger.answer(time, 2), Arrival::OnTime(Flight { intended: time, issued: time }));
        }
        for time in 3..2 * first {
            assert!(send(&mut ledger, time), "at {time}");
        }
        assert_eq!(ledger.answer(0, 3), Arrival::Late { lost_now: false }, "out of the ring");
        assert_eq!(ledger.answer(2, 3), Arrival::Duplicate, "remembered through one move");
        for time in 2 * first..=4 * first {
            assert!(send(&mut ledger, time), "at {time}");
        }
        assert!(!send(&mut ledger, 0), "message 1 is still in flight, and its slot would be the next");
        assert_eq!(ledger.answer(2, 3), Arrival::Duplicate, "remembered through both moves");
        for time in 3..=4 * first {
            assert_eq!(ledger.answer(time, time + 1), Arrival::OnTime(Flight { intended: time, issued: time }));
        }
        assert_eq!(ledger.in_flight(), 1);
    }

    #[test]
    fn reordering_is_measured_from_the_newest_answer() {
        let mut ledger = DatagramLedger::new(TIMEOUT, 16);
        let extents = [0, 1, 4, 2, 3, 5].map(|sequence| ledger.reordering(sequence));
        assert_eq!(extents, [0, 0, 0, 2, 1, 0]);
    }

    #[test]
    fn a_new_stage_takes_back_what_was_not_issued_and_forgets_the_rest() {
        let mut ledger = DatagramLedger::new(TIMEOUT, 16);
        ledger.compose(0);
        ledger.issue(0);
        ledger.compose(0);
        ledger.begin_stage();
        assert_eq!(ledger.outstanding(), 0);
        assert_eq!(ledger.answer(0, 1), Arrival::Stale);
        assert_eq!(ledger.compose(2), 1, "the number that was not used");
    }

    #[test]
    fn a_stream_that_ends_says_what_it_took_with_it() {
        let mut ledger = StreamLedger::default();
        for time in 0..3 {
            ledger.compose(time);
        }
        ledger.issue(10);
        ledger.issue(11);
        ledger.piece(5, true);
        assert_eq!(ledger.owed(), Some(Owed { sequence: 0, offset: 5 }));
        assert_eq!(ledger.oldest_issued(), Some(10));
        assert_eq!(ledger.abandon(), Abandoned { in_flight: 2, never_issued: 1, partly_answered: true });
        assert_eq!((ledger.outstanding(), ledger.owed()), (0, None));
    }
}
