//! What a run collects about itself while it goes on, for the verdict on it. Pure: no I/O, no clock.
//!
//! Like the recorder beside it: bounded memory whatever the length of the run, constant amortised time per message, no
//! allocation after the start.

mod signs;
mod slices;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::clock::Nanos;
use crate::ledger::Flight;
use crate::payload::Identity;
use crate::statistics::{Reservoir, quantile_interval};
pub use signs::{Signs, Span};
use slices::Slices;
pub use slices::effective_size_of_parts;

/// Gaps between sends that are kept: enough for a distance of 0.03 to stand out, and 32 KiB.
const GAPS: usize = 4096;

/// The reservoir's choices need not differ between runs: what it is fed does.
const RESERVOIR_SEED: u64 = 1;

/// The slowest requests that are kept one by one.
pub const WORST: usize = 100;

/// A message and how long it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slow {
    /// First, because the order of these is by it.
    pub latency: Nanos,
    /// When it was to leave, since the start of the stage.
    pub intended: Nanos,
    /// How much later it left.
    pub lag: Nanos,
    /// Its socket.
    pub lane: u16,
    /// Its number on that socket.
    pub sequence: u64,
    /// Messages in flight on the same transport when its answer came, itself included.
    pub in_flight: u64,
}

/// What one transport has collected in a stage.
#[derive(Debug, Clone)]
pub struct Evidence {
    started: Nanos,
    last_send: Option<Nanos>,
    gaps: Reservoir,
    slices: Slices,
    worst: BinaryHeap<Reverse<Slow>>,
    in_flight: u64,
    in_flight_since: Nanos,
    /// Messages in flight, integrated over time.
    area: u128,
    /// The same for messages without a right answer, summed up from their own times.
    unanswered_time: u128,
    signs: Signs,
}

impl Default for Evidence {
    fn default() -> Self {
        Evidence {
            started: 0,
            last_send: None,
            gaps: Reservoir::new(GAPS, RESERVOIR_SEED),
            slices: Slices::default(),
            worst: BinaryHeap::with_capacity(WORST),
            in_flight: 0,
            in_flight_since: 0,
            area: 0,
            unanswered_time: 0,
            signs: Signs::default(),
        }
    }
}

impl Evidence {
    /// Forgets everything, and starts again at `now`.
    pub fn begin(&mut self, now: Nanos) {
        self.started = now;
        self.last_send = None;
        self.gaps.clear();
        self.slices.clear();
        self.worst.clear();
        self.in_flight = 0;
        self.in_flight_since = now;
        self.area = 0;
        self.unanswered_time = 0;
        self.signs = Signs::default();
    }

    /// `count` messages left in one system call.
    pub fn sent(&mut self, count: usize, now: Nanos) {
        for _ in 0..count {
            if let Some(last) = self.last_send.replace(now) {
                self.gaps.push(now.saturating_sub(last));
            }
        }
        self.integrate(now);
        self.in_flight += count as u64;
        self.signs.sent(count);
    }

    /// Something came from the server, whatever it was.
    pub fn heard(&mut self, now: Nanos) {
        self.signs.heard(now.saturating_sub(self.started));
    }

    /// Nobody listened at the server's port.
    pub fn refused(&mut self, now: Nanos) {
        self.signs.refused(now.saturating_sub(self.started));
    }

    /// A connection ended that was still wanted.
    pub fn ended(&mut self, now: Nanos) {
        self.signs.ended(now.saturating_sub(self.started));
    }

    /// A message was answered rightly and in time.
    pub fn replied(&mut self, flight: Flight, message: Identity, now: Nanos) {
        let latency = now.saturating_sub(flight.intended);
        self.slices.push(now.saturating_sub(self.started), latency);
        if self.worst.len() < WORST || self.worst.peek().is_some_and(|Reverse(least)| latency > least.latency) {
            if self.worst.len() == WORST {
                self.worst.pop();
            }
            self.worst.push(Reverse(Slow {
                latency,
                intended: flight.intended.saturating_sub(self.started),
                lag: flight.issued.saturating_sub(flight.intended),
                lane: message.lane,
                sequence: message.sequence,
                in_flight: self.in_flight,
            }));
        }
        self.settled(1, now);
    }

    /// `count` messages ended at `now` without a right answer in time, after having been in flight for `held`, all
    /// together.
    pub fn unanswered(&mut self, count: usize, held: Nanos, now: Nanos) {
        self.unanswered_time += u128::from(held);
        self.settled(count, now);
    }

    /// `count` messages went down with their connection. When exactly is not known.
    pub fn abandoned(&mut self, count: usize) {
        self.settled(count, self.in_flight_since);
    }

    fn settled(&mut self, count: usize, now: Nanos) {
        self.integrate(now);
        self.in_flight = self.in_flight.saturating_sub(count as u64);
    }

    fn integrate(&mut self, now: Nanos) {
        self.area += u128::from(self.in_flight) * u128::from(now.saturating_sub(self.in_flight_since));
        self.in_flight_since = self.in_flight_since.max(now);
    }

    /// A sample of the times between one send and the next.
    pub fn gaps(&self) -> &[u64] {
        self.gaps.values()
    }

    /// How many independent measurements the latencies are worth to the 99th percentile; see [`effective_size`].
    pub fn effective_size(&self) -> f64 {
        effective_size(std::iter::once(self))
    }

    /// The 99th percentile of the latency in consecutive slices of time, those without any answer left out.
    pub fn slices(&self) -> Vec<f64> {
        /// A run of a second has ten of them.
        const SHORTEST: Nanos = 100_000_000;
        self.slices.percentiles(0.99, SHORTEST)
    }

    /// When the server was heard, and when it was gone.
    pub fn signs(&self) -> Signs {
        self.signs
    }

    /// The slowest requests, the slowest first.
    pub fn worst(&self) -> Vec<Slow> {
        let mut worst: Vec<Slow> = self.worst.iter().map(|Reverse(slow)| *slow).collect();
        worst.sort_unstable_by(|a, b| b.cmp(a));
        worst
    }

    /// Message-nanoseconds in flight, summed up at every send and every end of a message.
    pub fn area(&self) -> u128 {
        self.area
    }

    /// The time in flight of the messages without a right answer, all together.
    pub fn unanswered_time(&self) -> u128 {
        self.unanswered_time
    }
}

/// The 95 % confidence interval of the quantile `q` of a histogram that is worth `size` independent values. An end
/// beyond what was seen is `None`.
pub fn interval(histogram: &hdrhistogram::Histogram<u64>, q: f64, size: f64) -> (Option<u64>, Option<u64>) {
    let (lower, upper) = quantile_interval(q, size);
    let value = |quantile: f64| histogram.value_at_quantile(quantile).min(histogram.max());
    (lower.map(value), upper.map(value))
}

/// Half the width of a confidence interval as a share of the value that it is of; `None` if it has an open end.
pub fn half_width(value: u64, (lower, upper): (Option<u64>, Option<u64>)) -> Option<f64> {
    Some((upper? - lower?) as f64 / 2.0 / value.max(1) as f64)
}

/// How many independent measurements several streams, of several transports or several generators, are worth together to
/// the 99th percentile.
pub fn effective_size<'a>(streams: impl Iterator<Item = &'a Evidence>) -> f64 {
    effective_size_at(0.99, streams)
}

/// The same to the quantile `q`: one that bursts of slow answers decide is worth fewer than one that they do not reach.
///
/// What meets the same queues of the same server rises and falls together, and does not add up: two generators that see
/// the same busy periods know no more than one of them.
pub fn effective_size_at<'a>(q: f64, streams: impl Iterator<Item = &'a Evidence>) -> f64 {
    let slices: Vec<&Slices> = streams.map(|stream| &stream.slices).collect();
    slices::effective_size(&slices, q)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn replied(evidence: &mut Evidence, sequence: u64, intended: Nanos, now: Nanos) {
        let flight = Flight { intended, issued: intended + 1 };
        evidence.replied(flight, Identity { lane: 3, sequence }, now);
    }

    proptest! {
        #[test]
        fn the_worst_are_those_of_a_list_of_all(latencies in prop::collection::vec(0u64..100_000, 0..600)) {
            let mut evidence = Evidence::default();
            evidence.begin(50);
            for (sequence, latency) in latencies.iter().enumerate() {
                replied(&mut evidence, sequence as u64, 100, 100 + latency);
            }
            let mut model = latencies;
            model.sort_unstable_by(|a, b| b.cmp(a));
            model.truncate(WORST);
            let worst = evidence.worst();
            prop_assert_eq!(worst.iter().map(|slow| slow.latency).collect::<Vec<_>>(), model);
            prop_assert!(worst.iter().all(|slow| (slow.intended, slow.lag, slow.lane) == (50, 1, 3)));
        }

        #[test]
        fn the_area_is_the_sum_of_the_times_in_flight(stays in prop::collection::vec((0u64..1000, 1u64..1000), 1..100)) {
            let mut events: Vec<(Nanos, bool)> =
                stays.iter().flat_map(|(at, stay)| [(*at, true), (at + stay, false)]).collect();
            events.sort_unstable_by_key(|&(time, is_send)| (time, !is_send));
            let mut evidence = Evidence::default();
            evidence.begin(0);
            for (time, is_send) in events {
                if is_send { evidence.sent(1, time) } else { evidence.settled(1, time) }
            }
            prop_assert_eq!(evidence.area(), stays.iter().map(|(_, stay)| u128::from(*stay)).sum::<u128>());
        }
    }

    #[test]
    fn sends_in_one_call_have_no_gap_between_them() {
        let mut evidence = Evidence::default();
        evidence.begin(0);
        evidence.sent(1, 10);
        evidence.sent(3, 25);
        assert_eq!(evidence.gaps(), [15, 0, 0]);
    }
}
