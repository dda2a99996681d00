//! The messages of a TCP connection, in their order. Pure: no I/O, no clock.

use std::collections::VecDeque;

use super::Flight;
use crate::clock::Nanos;

/// The messages of one TCP connection, oldest first, and how much of the oldest one's answer has come.
#[derive(Debug, Default)]
pub struct StreamLedger {
    flights: VecDeque<Flight>,
    /// How many of `flights`, from the front, have been issued.
    in_flight: usize,
    /// The number of the message at the front.
    first: u64,
    answered_bytes: usize,
    grade: Grade,
}

/// How an answer is as far as it has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Grade {
    /// As it must be.
    #[default]
    Right,
    /// As the message was sent, with a letter that should have been upper-cased.
    Unchanged,
    /// Wrong in another way.
    Wrong,
}

/// The answer that a connection owes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owed {
    /// The number of the message.
    pub sequence: u64,
    /// How many bytes of the answer have come.
    pub offset: usize,
    /// How they were.
    pub grade: Grade,
}

impl StreamLedger {
    /// Whether this message has been answered or given up.
    pub fn is_settled(&self, sequence: u64) -> bool {
        sequence < self.first
    }

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
        (self.in_flight > 0).then_some(Owed { sequence: self.first, offset: self.answered_bytes, grade: self.grade })
    }

    /// Notes a piece of the owed answer, and how the answer is up to its end. It must not be longer than what is missing of it.
    pub fn piece(&mut self, length: usize, grade: Grade) {
        self.answered_bytes += length;
        self.grade = grade;
    }

    /// Settles the owed answer, all of which has come, and says how it was.
    pub fn complete(&mut self) -> Option<(Flight, Grade)> {
        let flight = self.flights.pop_front()?;
        self.in_flight -= 1;
        self.first += 1;
        self.answered_bytes = 0;
        Some((flight, std::mem::take(&mut self.grade)))
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
        self.grade = Grade::Right;
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

    #[test]
    fn a_stream_that_ends_says_what_it_took_with_it() {
        let mut ledger = StreamLedger::default();
        for time in 0..3 {
            ledger.compose(time);
        }
        ledger.issue(10);
        ledger.issue(11);
        ledger.piece(5, Grade::Right);
        assert_eq!(ledger.owed(), Some(Owed { sequence: 0, offset: 5, grade: Grade::Right }));
        assert_eq!(ledger.oldest_issued(), Some(10));
        assert_eq!(ledger.abandon(), Abandoned { in_flight: 2, never_issued: 1, partly_answered: true });
        assert_eq!((ledger.outstanding(), ledger.owed()), (0, None));
    }
}
