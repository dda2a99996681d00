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
            // One that was given up is not waited for.
            (Sample::Awaited(sequence), Book::Datagrams(ledger)) => !ledger.is_settled(sequence),
            (Sample::Awaited(_), Book::Stream(_)) => true,
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
