//! How often a quantity was how large: fixed arrays of `u64`s, one for each power of two. Pure: no I/O.
//!
//! Recording is two additions at an index that one instruction finds, so the loop records all of the time. A power of
//! two is coarse, and enough to tell a turn of 10 µs from one of 10 ms.

use std::fmt;

/// The largest power of two that has a bucket of its own: 2³⁰, a second in nanoseconds or a gibibyte.
pub const EXPONENT_MAX: usize = 30;

/// The most bytes that one drive reads, as a power of two. `connections`, which bounds them, asserts that it is.
pub const DRIVE_EXPONENT: usize = 20;

/// One for zero, one for each power of two, and one for all that is larger.
const BUCKETS: usize = EXPONENT_MAX + 3;

/// Counts of values, by the power of two that they do not exceed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    sum: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: [0; BUCKETS], sum: 0 }
    }
}

impl Histogram {
    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        let bucket = match value.checked_sub(1) {
            None => 0,
            Some(below) => (u64::BITS - below.leading_zeros() + 1) as usize,
        };
        self.buckets[bucket.min(BUCKETS - 1)] += 1;
        self.sum += value;
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How much they were together.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// How many of them were at most two to the power of `exponent`, which is [`EXPONENT_MAX`] at most.
    pub fn at_most(&self, exponent: usize) -> u64 {
        self.buckets[..=exponent + 1].iter().sum()
    }

    /// Adds another loop's values to these.
    pub fn add(&mut self, other: &Histogram) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(bucket, more)| *bucket += more);
        self.sum += other.sum;
    }
}

impl fmt::Debug for Histogram {
    /// Without its buckets, because tests print it among the counters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} values, {} together", self.count(), self.sum)
    }
}

/// What the values of a histogram are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds; shown in seconds, as `OpenMetrics` wants times.
    Nanoseconds,
    /// Bytes.
    Bytes,
    /// Things that are counted.
    Number,
}

/// A histogram, and how it is shown.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// Its name, which ends with the unit that it is shown in, if it has one.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// What its values are.
    pub unit: Unit,
    /// The smallest and the largest power of two that is shown; what lies beyond is shown with these.
    pub exponents: (usize, usize),
    /// The values.
    pub values: &'a Histogram,
}

/// Declares the histograms once: the struct, and the list that the output walks.
macro_rules! histograms {
    ($($(#[doc = $help:literal])+ $name:ident: $unit:ident, $first:literal, $last:expr;)+) => {
        /// The sizes of what the loop does at a time.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Histograms {
            $($(#[doc = $help])+ pub $name: Histogram,)+
        }

        impl Histograms {
            /// Each histogram, as it is shown.
            pub fn each(&self) -> impl Iterator<Item = Shown<'_>> {
                [$(Shown {
                    name: stringify!($name),
                    help: concat!($($help),+).trim_ascii(),
                    unit: Unit::$unit,
                    exponents: ($first, $last),
                    values: &self.$name,
                }),+]
                .into_iter()
            }

            /// Adds another loop's histograms to these.
            pub fn add(&mut self, other: &Histograms) {
                $(self.$name.add(&other.$name);)+
            }
        }
    };
}

histograms! {
    /// How long a turn took, from the end of the poll to the end of the turn. Recorded with --admin only.
    turn_seconds: Nanoseconds, 10, 30;
    /// Readiness events that one poll returned.
    poll_events: Number, 0, 10;
    /// Datagrams that one receive call brought.
    udp_receive_datagrams: Number, 0, 12;
    /// Datagrams that one send call took.
    udp_send_datagrams: Number, 0, 12;
    /// Bytes that one drive of a connection read.
    tcp_drive_bytes: Bytes, 0, DRIVE_EXPONENT;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_power_of_two_is_the_largest_value_of_its_bucket() {
        let mut histogram = Histogram::default();
        for value in [0, 1, 2, 3, 4, 5, 1 << EXPONENT_MAX, (1 << EXPONENT_MAX) + 1, u64::MAX >> 1] {
            histogram.record(value);
        }
        assert_eq!([0, 1, 2, 3, EXPONENT_MAX].map(|exponent| histogram.at_most(exponent)), [2, 3, 5, 6, 7]);
        assert_eq!(histogram.count(), 9);
    }

    #[test]
    fn what_is_shown_has_buckets_and_ends_with_its_unit() {
        for Shown { name, help, unit, exponents: (first, last), .. } in Histograms::default().each() {
            assert!(first < last && last <= EXPONENT_MAX, "{name}");
            assert!(help.ends_with('.'), "{name}: {help:?}");
            assert!(!help.contains(['\\', '"', '\n']), "{name}: OpenMetrics would have it escaped: {help:?}");
            let ending = match unit {
                Unit::Nanoseconds => "_seconds",
                Unit::Bytes => "_bytes",
                Unit::Number => "s",
            };
            assert!(name.ends_with(ending), "{name}");
        }
    }

    proptest! {
        #[test]
        fn two_loops_together_are_one_that_saw_it_all(
            one in prop::collection::vec(0..1_u64 << 40, 0..50),
            other in prop::collection::vec(0..1_u64 << 40, 0..50),
            exponent in 0..=EXPONENT_MAX,
        ) {
            let histogram = |values: &[u64]| {
                let mut histogram = Histogram::default();
                for &value in values {
                    histogram.record(value);
                }
                histogram
            };
            let mut sum = histogram(&one);
            sum.add(&histogram(&other));
            let all = [one, other].concat();
            prop_assert_eq!(sum, histogram(&all));
            prop_assert_eq!(sum.sum(), all.iter().sum::<u64>());
            let small = all.iter().filter(|&&value| value <= 1 << exponent).count();
            prop_assert_eq!(sum.at_most(exponent), small as u64);
        }
    }
}
