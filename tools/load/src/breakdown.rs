//! Where the time of a message goes: a sample of messages with their kernel timestamps. Pure: no I/O, no clock.
//!
//! ```text
//! intended ──▶ issued ──▶ left our stack ──▶ answer in our stack ──▶ answer read
//!         lag      own kernel      network + server           own wake-up
//! ```

use crate::clock::Nanos;
use crate::ledger::Flight;

/// Samples that are kept, 16 bytes each. Beyond them every second one is dropped, again and again: what is left stays
/// spread evenly over the run.
const KEPT_MAX: usize = 1 << 15;

/// How far a stamp may lie outside of the span it belongs to. Converting between the two clocks is off by less than a
/// reading of both, about 100 ns; beyond this the clock of the stamps has been set in between.
const TOLERANCE: Nanos = 5_000;

/// The fewest samples that a band is made of.
const BAND_MIN: usize = 10;

/// The percentiles that are explained, and how far around each the samples are taken.
const BANDS: [(&str, f64, f64); 3] = [("50", 0.50, 0.05), ("90", 0.90, 0.025), ("99", 0.99, 0.005)];

/// The parts of one response time, in nanoseconds; each ends at 4.3 s.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts {
    /// Intended time to system call.
    pub lag: u32,
    /// System call to departure.
    pub own_kernel: u32,
    /// Departure to arrival of the answer.
    pub network_server: u32,
    /// Arrival to the answer in our hands.
    pub wake_up: u32,
}

impl Parts {
    /// The whole response time.
    pub fn sum(self) -> u64 {
        [self.lag, self.own_kernel, self.network_server, self.wake_up].into_iter().map(u64::from).sum()
    }
}

/// The messages around one percentile of the response times, and where their time went on average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// Which.
    pub percentile: &'static str,
    /// Lag, own kernel, network and server, wake-up: means, in nanoseconds.
    pub parts: [f64; 4],
}

impl Band {
    /// What network and server took.
    pub fn network_server(&self) -> Nanos {
        self.parts[2].round() as Nanos
    }

    /// The share of everything else.
    pub fn own_share(&self) -> f64 {
        1.0 - self.parts[2] / self.parts.iter().sum::<f64>().max(1.0)
    }
}

/// The sample of one transport.
#[derive(Debug, Clone)]
pub struct Breakdown {
    kept: Vec<Parts>,
    /// One in so many is kept.
    stride: u64,
    samples: u64,
    rejected: u64,
}

impl Default for Breakdown {
    fn default() -> Self {
        Breakdown { kept: Vec::with_capacity(KEPT_MAX), stride: 1, samples: 0, rejected: 0 }
    }
}

impl Breakdown {
    /// Forgets everything.
    pub fn reset(&mut self) {
        self.kept.clear();
        (self.stride, self.samples, self.rejected) = (1, 0, 0);
    }

    /// Notes a message that was answered at `answered`, and both stamps; all on one clock.
    pub fn stamped(&mut self, flight: Flight, left: Nanos, arrived: Nanos, answered: Nanos) {
        let off = |stamp: Nanos, low: Nanos, high: Nanos| stamp + TOLERANCE < low || stamp > high + TOLERANCE;
        if off(left, flight.issued, answered) || off(arrived, left, answered) {
            self.rejected += 1;
            return;
        }
        let left = left.clamp(flight.issued, answered);
        let arrived = arrived.clamp(left, answered);
        let part = |from: Nanos, to: Nanos| u32::try_from(to.saturating_sub(from)).unwrap_or(u32::MAX);
        if self.samples.is_multiple_of(self.stride) {
            if self.kept.len() == KEPT_MAX {
                let mut index = 0;
                self.kept.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                self.stride *= 2;
            }
            self.kept.push(Parts {
                lag: part(flight.intended, flight.issued),
                own_kernel: part(flight.issued, left),
                network_server: part(left, arrived),
                wake_up: part(arrived, answered),
            });
        }
        self.samples += 1;
    }

    /// A sampled message was answered, and one of its stamps was missing.
    pub fn missed(&mut self) {
        self.rejected += 1;
    }

    /// Messages whose stamps made sense.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Messages whose stamps did not, or were not there.
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Adds what another generator kept.
    pub fn add(&mut self, other: &Breakdown) {
        // What one of them has thinned out further would weigh less than the other's.
        let stride = self.stride.max(other.stride);
        let mut index = 0;
        let own = stride / self.stride;
        self.kept.retain(|_| {
            index += 1;
            (index - 1) % own == 0
        });
        self.kept.extend(other.kept.iter().step_by((stride / other.stride) as usize));
        self.stride = stride;
        self.samples += other.samples;
        self.rejected += other.rejected;
    }

    /// Where the time goes at the median and in the tail, as far as there are samples.
    pub fn bands(&self) -> Vec<Band> {
        let mut sorted = self.kept.clone();
        sorted.sort_unstable_by_key(|parts| parts.sum());
        let place = |share: f64| (share * sorted.len() as f64).round() as usize;
        let band = |&(percentile, share, width): &(&'static str, f64, f64)| {
            let around = &sorted[place(share - width)..place(share + width).min(sorted.len())];
            let mean = |part: fn(&Parts) -> u32| {
                around.iter().map(|parts| f64::from(part(parts))).sum::<f64>() / around.len() as f64
            };
            let parts = [mean(|p| p.lag), mean(|p| p.own_kernel), mean(|p| p.network_server), mean(|p| p.wake_up)];
            (around.len() >= BAND_MIN).then_some(Band { percentile, parts })
        };
        BANDS.iter().filter_map(band).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLIGHT: Flight = Flight { intended: 1_000_000, issued: 1_001_000 };

    #[test]
    fn the_parts_of_a_message_add_up_to_its_response_time() {
        let mut breakdown = Breakdown::default();
        for _ in 0..100 {
            breakdown.stamped(FLIGHT, 1_003_000, 1_030_000, 1_040_000);
        }
        let bands = breakdown.bands();
        assert_eq!(bands[0].parts.map(|part| part.round() as u64), [1_000, 2_000, 27_000, 10_000]);
        assert_eq!(bands.iter().map(|band| band.percentile).collect::<Vec<_>>(), ["50"], "too few for a tail");
    }

    #[test]
    fn a_stamp_a_little_outside_is_moved_and_one_far_outside_is_rejected() {
        let mut breakdown = Breakdown::default();
        breakdown.stamped(FLIGHT, 1_000_900, 1_040_050, 1_040_000);
        assert_eq!((breakdown.samples(), breakdown.kept[0].sum()), (1, 40_000));
        assert_eq!((breakdown.kept[0].own_kernel, breakdown.kept[0].wake_up), (0, 0));
        for (left, arrived) in [(990_000, 1_030_000), (1_003_000, 1_050_000), (1_030_000, 1_003_000)] {
            breakdown.stamped(FLIGHT, left, arrived, 1_040_000);
        }
        breakdown.missed();
        assert_eq!((breakdown.samples(), breakdown.rejected()), (1, 4));
    }

    #[test]
    fn bands_are_of_the_messages_around_their_percentile() {
        let mut breakdown = Breakdown::default();
        for number in 0..10_000 {
            // The slowest two in a hundred woke up late; for all others the server takes its time.
            let late = if number % 50 == 0 { 3_000_000 } else { 0 };
            breakdown.stamped(FLIGHT, 1_002_000, 1_030_000 + number, 1_040_000 + number + late);
        }
        let bands = breakdown.bands();
        assert!(bands[0].parts[3] < 11_000.0 && bands[2].parts[3] > 3_000_000.0, "{bands:?}");
    }

    #[test]
    fn memory_is_bounded_and_the_run_stays_covered() {
        let mut breakdown = Breakdown::default();
        for number in 0..10 * KEPT_MAX as u64 {
            breakdown.stamped(FLIGHT, 1_002_000, 1_030_000 + number, 1_040_000 + number);
        }
        assert!(breakdown.kept.len() <= KEPT_MAX && breakdown.kept.len() > KEPT_MAX / 4);
        assert_eq!(breakdown.kept.capacity(), KEPT_MAX);
        let gaps = breakdown.kept.windows(2).map(|pair| pair[1].sum() - pair[0].sum());
        assert_eq!((gaps.clone().min(), gaps.max()), (Some(breakdown.stride), Some(breakdown.stride)));
    }
}
