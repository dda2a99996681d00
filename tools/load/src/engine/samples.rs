//! Messages with kernel timestamps: which is under way on each lane, and what its stamps say. Pure: no I/O, no clock.

use super::Engine;
use super::lanes::{Book, Sample};
use crate::clock::Nanos;
use crate::ledger::Flight;

impl Engine {
    /// The youngest message issued on `lane` was sent with a request for a timestamp.
    pub fn sampled(&mut self, lane: usize) {
        let lane = &mut self.lanes[lane];
        let next = match &lane.book {
            Book::Datagrams(ledger) => ledger.next_issued(),
            Book::Stream(ledger) => ledger.next_issued(),
        };
        lane.sample = Sample::Awaited(next - 1);
    }

    /// Whether a message with a timestamp is under way on `lane`, as far as is known.
    pub fn awaits_sample(&self, lane: usize) -> bool {
        let lane = &self.lanes[lane];
        match (lane.sample, &lane.book) {
            // One that was given up, or answered wrongly, is not waited for.
            (Sample::Awaited(sequence), Book::Datagrams(ledger)) => !ledger.is_settled(sequence),
            (Sample::Awaited(sequence), Book::Stream(ledger)) => !ledger.is_settled(sequence),
            (Sample::None | Sample::Answered(_), _) => false,
        }
    }

    /// The message of `lane` with a timestamp, if it has just been answered.
    pub fn take_sample(&mut self, lane: usize) -> Option<Flight> {
        let sample = &mut self.lanes[lane].sample;
        let Sample::Answered(flight) = *sample else { return None };
        *sample = Sample::None;
        Some(flight)
    }

    /// That message left our network stack and its answer came into it at these times, where both are known; the answer
    /// was read at `answered`.
    pub fn stamped(&mut self, lane: usize, flight: Flight, stamps: Option<(Nanos, Nanos)>, answered: Nanos) {
        let breakdown = &mut self.recorder(lane).breakdown;
        match stamps {
            Some((left, arrived)) => breakdown.stamped(flight, left, arrived, answered),
            None => breakdown.missed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SECOND;
    use crate::engine::{Demand, LaneGroup, Stage, Transport};
    use crate::late::Late;
    use crate::outbox::{Outbox, Room};
    use crate::payload::Payload;

    /// A connection on which three messages are under way, the first of them sampled, and their right answers.
    fn three_under_way() -> (Engine, Vec<u8>) {
        let mut engine =
            Engine::new(Payload::new(64, 42), &[LaneGroup { transport: Transport::Tcp, lanes: 1, timeout: SECOND }]);
        let demand = Demand::Closed { window: 3 };
        engine.begin(&Stage { demand, duration: None, messages: None, late: Late::Queue, seed: 1 }, 0);
        let mut answers = Vec::new();
        for index in 0..3 {
            let mut outbox = Outbox::default();
            assert_eq!(engine.next_sender(0), Some(0));
            engine.compose(0, 0, Room::ONE, &mut outbox);
            engine.sent(0, 1, 0);
            if index == 0 {
                engine.sampled(0);
            }
            answers.extend(outbox.bytes().to_ascii_uppercase());
        }
        assert!(engine.awaits_sample(0));
        (engine, answers)
    }

    fn rejected(engine: &Engine) -> u64 {
        engine.recorders().map(|(_, recorder)| recorder.breakdown.rejected()).sum()
    }

    #[test]
    fn an_answer_at_the_end_of_a_read_came_when_the_read_says_and_one_before_others_came_earlier() {
        for (reads, is_sample) in
            [(&[64][..], true), (&[10, 54], true), (&[65], false), (&[192], false), (&[63, 129], false)]
        {
            let (mut engine, answers) = three_under_way();
            let mut answers = &answers[..];
            for &length in reads {
                let (read, rest) = answers.split_at(length);
                engine.stream(0, read, 5);
                answers = rest;
            }
            let flight = engine.take_sample(0);
            assert_eq!((flight.is_some(), rejected(&engine)), (is_sample, u64::from(!is_sample)), "{reads:?}");
            assert!(!engine.awaits_sample(0), "the next one may be sampled");
        }
    }

    #[test]
    fn a_wrong_answer_does_not_end_the_sampling() {
        let (mut engine, mut answers) = three_under_way();
        answers[40] ^= 1;
        engine.stream(0, &answers[..64], 5);
        assert_eq!(engine.take_sample(0), None);
        assert!(!engine.awaits_sample(0));
    }
}
