//! What a stage measured on one transport: counters and histograms. Pure: no I/O, no clock.
//!
//! Constant memory whatever the length of the run, constant time per message, no allocation after the start.

mod counts;

use hdrhistogram::Histogram;

use crate::breakdown::Breakdown;
use crate::by_size::BySize;
use crate::clock::{Nanos, SECOND};
use crate::evidence::Evidence;
use crate::ledger::Flight;
pub use counts::Counts;

/// Latencies above this are recorded as this, and counted in [`Counts::clamped`].
pub const LONGEST: Nanos = 60 * SECOND;

/// Three significant digits: a bucket is at most 0.1 % wide. With [`LONGEST`] it takes about 220 KiB a histogram.
const DIGITS: u8 = 3;

/// An empty histogram from 1 ns to 60 s.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, DIGITS).expect("the bounds are constants in their allowed range")
}

/// Adds a latency to a [`histogram`]: one above [`LONGEST`] as that. Left to itself the histogram would keep what its last
/// bucket has room for, up to 68.7 s, as it is, and take everything longer for 60 s, and so for less.
pub fn record(histogram: &mut Histogram<u64>, latency: Nanos) {
    histogram.saturating_record(latency.min(LONGEST));
}

/// Why a connection ended before the run did, and how often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Endings {
    /// A socket was told that nobody listens at the other end.
    pub refused: u64,
    /// The peer reset the connection.
    pub reset: u64,
    /// The peer closed the connection in good order.
    pub closed: u64,
    /// The peer owed an answer for longer than the timeout.
    pub timed_out: u64,
}

impl Endings {
    /// Adds what another transport or another generator counted.
    pub fn add(&mut self, other: &Endings) {
        self.refused += other.refused;
        self.reset += other.reset;
        self.closed += other.closed;
        self.timed_out += other.timed_out;
    }
}

/// Everything that is measured on one transport.
#[derive(Debug, Clone)]
pub struct Recorder {
    /// What happened.
    pub counts: Counts,
    /// How connections ended.
    pub endings: Endings,
    /// Arrival of the right answer − intended time: what a user of the service waits.
    pub response: Histogram<u64>,
    /// Arrival of the right answer − issue: what a tool that waits for answers sees.
    pub service: Histogram<u64>,
    /// Issue − intended time, of every message sent: the generator's own delay.
    pub lag: Histogram<u64>,
    /// What the verdict on the run is made of.
    pub evidence: Evidence,
    /// The same by the size of the messages, where they differ.
    pub by_size: BySize,
    /// Where the time of a sample of messages went.
    pub breakdown: Breakdown,
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder {
            counts: Counts::default(),
            endings: Endings::default(),
            response: histogram(),
            service: histogram(),
            lag: histogram(),
            evidence: Evidence::default(),
            by_size: BySize::default(),
            breakdown: Breakdown::default(),
        }
    }
}

impl Recorder {
    /// Forgets everything, as at the end of a warm-up.
    pub fn reset(&mut self) {
        self.counts = Counts::default();
        self.endings = Endings::default();
        self.response.reset();
        self.service.reset();
        self.lag.reset();
        self.by_size.reset();
        self.breakdown.reset();
    }

    /// Adds what another generator measured; not its evidence, which does not add up.
    pub fn add(&mut self, other: &Recorder) {
        const SAME: &str = "all histograms have the same bounds";
        self.counts.add(&other.counts);
        self.endings.add(&other.endings);
        self.response.add(&other.response).expect(SAME);
        self.service.add(&other.service).expect(SAME);
        self.lag.add(&other.lag).expect(SAME);
        self.by_size.add(&other.by_size);
        self.breakdown.add(&other.breakdown);
    }

    /// Notes that a message left.
    pub fn sent(&mut self, flight: Flight, bytes: usize) {
        self.counts.sent += 1;
        self.counts.bytes_sent += bytes as u64;
        self.by_size.sent(bytes);
        self.counts.clamped += record_counted(&mut self.lag, flight.issued.saturating_sub(flight.intended));
    }

    /// Notes that a message of so many bytes got the right answer in time.
    pub fn replied(&mut self, flight: Flight, bytes: usize, now: Nanos) {
        self.counts.replied += 1;
        self.by_size.replied(bytes, now.saturating_sub(flight.intended));
        self.counts.clamped += record_counted(&mut self.response, now.saturating_sub(flight.intended));
        self.counts.clamped += record_counted(&mut self.service, now.saturating_sub(flight.issued));
    }

    /// Notes how far behind the youngest answer this one came; 0 is in order.
    pub fn reordered_by(&mut self, extent: u64) {
        self.counts.reordered += u64::from(extent > 0);
        self.counts.reorder_extent_max = self.counts.reorder_extent_max.max(extent);
    }
}

/// Says whether it had to be recorded as less than it was: 1 or 0.
fn record_counted(histogram: &mut Histogram<u64>, latency: Nanos) -> u64 {
    record(histogram, latency);
    u64::from(latency > LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Content;

    #[test]
    fn a_minute_and_more_is_kept_as_a_minute_and_counted() {
        let mut recorder = Recorder {
            by_size: BySize::of(&Content::Template("mix:64=1,65=1".parse().unwrap())),
            ..Recorder::default()
        };
        let latencies = [SECOND, 59 * SECOND, LONGEST, LONGEST + 1, 61 * SECOND, 68 * SECOND, 69 * SECOND, Nanos::MAX];
        for latency in latencies {
            let flight = Flight { intended: 0, issued: latency };
            recorder.sent(flight, 64);
            recorder.replied(Flight { intended: 0, issued: 0 }, 64, latency);
        }
        let same_bucket = |value: u64| recorder.response.equivalent(value, LONGEST);
        for histogram in [&recorder.response, &recorder.service, &recorder.lag, &recorder.by_size.classes()[0].response]
        {
            assert_eq!(histogram.len(), 8, "nothing is left out");
            assert!(same_bucket(histogram.max()), "{} ns", histogram.max());
            assert_eq!(histogram.count_at(LONGEST), 6, "all that is longer is a minute, and nothing else");
        }
        assert_eq!(recorder.counts.clamped, 3 * 5);
    }

    #[test]
    fn a_histogram_holds_what_its_documentation_says() {
        let histogram = histogram();
        assert!(histogram.distinct_values() * size_of::<u64>() < 240 * 1024);
        assert!(histogram.equivalent_range(1_000_000) <= 1_000);
    }
}
