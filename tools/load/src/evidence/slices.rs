//! What a stream of latencies was like in consecutive stretches of time. Pure: no I/O, no clock.

use hdrhistogram::Histogram;

use crate::clock::Nanos;
use crate::statistics::variance_of_sum;

/// Coarse histograms of consecutive slices of time. When there is no room for one more, neighbours are joined and a
/// slice is twice as long from then on, so any run but the shortest ends with between half of [`Self::MOST`] and all of
/// them.
#[derive(Debug, Clone)]
pub(super) struct Slices {
    length: Nanos,
    counts: Vec<[u32; Self::BUCKETS]>,
}

impl Default for Slices {
    fn default() -> Self {
        Slices { length: Self::FIRST_LENGTH, counts: Vec::with_capacity(Self::MOST) }
    }
}

impl Slices {
    /// Enough for the variance between them to be known to a quarter, and 70 KiB.
    const MOST: usize = 64;

    /// A run of a few milliseconds has them all.
    const FIRST_LENGTH: Nanos = 100_000;

    /// Each doubling of the latency in eight: a value is known to 6 %, against drifts of 25 % and more.
    const STEPS: u32 = 8;

    /// Up to 2^36 ns, which is beyond the longest latency that is recorded.
    const BUCKETS: usize = 34 * Self::STEPS as usize;

    pub(super) fn clear(&mut self) {
        self.counts.clear();
        self.length = Self::FIRST_LENGTH;
    }

    pub(super) fn push(&mut self, elapsed: Nanos, latency: Nanos) {
        while elapsed / self.length >= Self::MOST as u64 {
            for pair in 0..self.counts.len().div_ceil(2) {
                let mut joined = self.counts[2 * pair];
                if let Some(second) = self.counts.get(2 * pair + 1) {
                    joined.iter_mut().zip(second).for_each(|(sum, more)| *sum = sum.saturating_add(*more));
                }
                self.counts[pair] = joined;
            }
            self.counts.truncate(self.counts.len().div_ceil(2));
            self.length *= 2;
        }
        let slice = (elapsed / self.length) as usize;
        while self.counts.len() <= slice {
            self.counts.push([0; Self::BUCKETS]);
        }
        let count = &mut self.counts[slice][Self::bucket(latency)];
        *count = count.saturating_add(1);
    }

    /// The number of doublings, and the three bits behind the first one.
    fn bucket(latency: Nanos) -> usize {
        let latency = latency.max(u64::from(Self::STEPS));
        let doublings = latency.ilog2() - Self::STEPS.ilog2();
        let step = (latency >> doublings) as u32 - Self::STEPS;
        ((doublings * Self::STEPS + step) as usize).min(Self::BUCKETS - 1)
    }

    /// The middle of a bucket.
    fn value(bucket: usize) -> f64 {
        let (doublings, step) = (bucket as u32 / Self::STEPS, bucket as u32 % Self::STEPS);
        (f64::from(Self::STEPS + step) + 0.5) * 2f64.powi(doublings.cast_signed())
    }

    /// The percentile of each slice, of slices that are at least `shortest` long; of those without any answer, none.
    pub(super) fn percentiles(&self, quantile: f64, shortest: Nanos) -> Vec<f64> {
        let each = (shortest.div_ceil(self.length) as usize).next_power_of_two();
        let of_slice = |slices: &[[u32; Self::BUCKETS]]| {
            let counts = (0..Self::BUCKETS).map(|bucket| slices.iter().map(|counts| u64::from(counts[bucket])).sum());
            let counts: Vec<u64> = counts.collect();
            let rank = (quantile * counts.iter().sum::<u64>() as f64).ceil() as u64;
            let mut seen = 0;
            let bucket = counts.iter().position(|&count| {
                seen += count;
                seen >= rank
            })?;
            (rank > 0).then(|| Self::value(bucket))
        };
        self.counts.chunks(each).filter_map(of_slice).collect()
    }
}

/// The counts of a slice of time, by bucket.
type Counts = [u64; Slices::BUCKETS];

/// How many independent values all the latencies of several streams are worth to the quantile `q`. The streams began
/// together.
pub(super) fn effective_size(streams: &[&Slices], q: f64) -> f64 {
    worth(&together(streams), q)
}

/// How many independent values are in consecutive slices of time, to the quantile `q`.
///
/// Where independent values lie on either side of a quantile, their number above it varies from slice to slice as the
/// binomial law says. Where neighbours are alike, because they met the same queue, it varies more, and so does what is
/// known of the quantile: by that factor they are worth less. Streams that rise and fall together are summed up before they
/// are looked at, so what they have in common counts once.
fn worth(slices: &[Counts], q: f64) -> f64 {
    let mut whole = [0; Slices::BUCKETS];
    for slice in slices {
        add(&mut whole, slice);
    }
    let number = whole.iter().sum::<u64>() as f64;
    let share_above =
        |of: &Counts, bucket: usize, part: f64| of[bucket + 1..].iter().sum::<u64>() as f64 + part * of[bucket] as f64;
    // The bucket in which the quantile lies, and the part of that which is above it.
    let above = number * (1.0 - q);
    let Some(bucket) = (0..Slices::BUCKETS).find(|&bucket| share_above(&whole, bucket, 0.0) <= above) else {
        return number;
    };
    let part = (above - share_above(&whole, bucket, 0.0)) / (whole[bucket].max(1) as f64);
    let squares = share_above(&whole, bucket, part * part);
    let independent = squares - above * above / number.max(1.0);
    let surpluses: Vec<f64> = slices
        .iter()
        .map(|slice| share_above(slice, bucket, part) - slice.iter().sum::<u64>() as f64 * above / number.max(1.0))
        .collect();
    let inflation = if independent > 0.0 { variance_of_sum(&surpluses) / independent } else { 1.0 };
    number / inflation.max(1.0)
}

/// The sums of the slices of several streams, as long as the longest of them: the ends of those are ends of the shorter
/// ones too.
fn together(streams: &[&Slices]) -> Vec<Counts> {
    let length = streams.iter().map(|stream| stream.length).max().unwrap_or(1);
    let mut sums = Vec::new();
    for stream in streams {
        for (place, slices) in stream.counts.chunks((length / stream.length) as usize).enumerate() {
            if sums.len() <= place {
                sums.push([0; Slices::BUCKETS]);
            }
            for slice in slices {
                add(&mut sums[place], &slice.map(u64::from));
            }
        }
    }
    sums
}

fn add(sum: &mut Counts, more: &Counts) {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

/// How many independent values are in what several generators of one load have measured, to the quantile `q`: `alone` says
/// what each of them is worth by itself, and `slices` hold what they measured together, one slice of time after the other.
///
/// Never more than the sum of what each is worth, for within a slice only each of them can tell how much neighbours are
/// alike; and never fewer than the most that one is worth. Of few slices, that.
pub fn effective_size_of_parts(q: f64, alone: &[f64], slices: impl Iterator<Item = Histogram<u64>>) -> f64 {
    /// Fewer slices than this cannot tell likeness from chance.
    const FEWEST: usize = 8;
    let (sum, most) = (alone.iter().sum::<f64>(), alone.iter().copied().fold(0.0, f64::max));
    let slices: Vec<Counts> = slices.filter(|slice| !slice.is_empty()).map(|slice| coarse(&slice)).collect();
    if alone.len() < 2 || slices.len() < FEWEST { most } else { worth(&slices, q).min(sum).max(most) }
}

fn coarse(histogram: &Histogram<u64>) -> Counts {
    let mut counts = [0; Slices::BUCKETS];
    for step in histogram.iter_recorded() {
        counts[Slices::bucket(step.value_iterated_to())] += step.count_at_value();
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::histogram;
    use proptest::prelude::*;
    use rand_xoshiro::Xoshiro256PlusPlus;
    use rand_xoshiro::rand_core::{Rng, SeedableRng};

    const MILLISECOND: Nanos = 1_000_000;

    proptest! {
        #[test]
        fn a_bucket_of_a_slice_holds_what_is_within_its_width(latency in 8u64..60_000_000_000) {
            let value = Slices::value(Slices::bucket(latency));
            prop_assert!((value / latency as f64 - 1.0).abs() <= 0.0626, "{latency} became {value}");
        }
    }

    #[test]
    fn slices_join_when_the_run_grows_long() {
        let mut slices = Slices::default();
        for tenth in 0..1000 {
            for _ in 0..20 {
                slices.push(tenth * 100 * MILLISECOND, (1 + tenth / 500) * MILLISECOND);
            }
        }
        let percentiles = slices.percentiles(0.99, 0);
        assert!((Slices::MOST / 2..=Slices::MOST).contains(&percentiles.len()), "{}", percentiles.len());
        let (first, last) = (percentiles[0], percentiles[percentiles.len() - 1]);
        assert!((last / first - 2.0).abs() < 0.2, "twice as slow in the second half: {first} and {last}");
        let total: u64 = slices.counts.iter().flatten().map(|&count| u64::from(count)).sum();
        assert_eq!(total, 20_000);
    }

    #[test]
    fn slices_too_short_to_be_looked_at_alone_are_looked_at_together() {
        let mut slices = Slices::default();
        (0..1000).for_each(|number| slices.push(number * MILLISECOND, (1 + number / 500) * MILLISECOND));
        let (all, tenths) = (slices.percentiles(0.99, 0), slices.percentiles(0.99, 100 * MILLISECOND));
        assert_eq!((all.len(), tenths.len()), (40, 10), "a second in slices of 25.6 ms, and in fours of them");
        assert!((tenths[9] / tenths[0] - 2.0).abs() < 0.2, "{tenths:?}");
    }

    /// A message each millisecond, slow now and then, after a rule of its own.
    fn stream(seconds: u64, is_slow: impl Fn(u64) -> bool) -> Slices {
        let mut slices = Slices::default();
        for number in 0..seconds * 1000 {
            let latency = if is_slow(number) { 3 * MILLISECOND } else { MILLISECOND };
            slices.push(number * MILLISECOND, latency);
        }
        slices
    }

    /// A coin for each stretch of so many milliseconds, which is slow or not as a whole.
    fn coins(unit: u64, seed: u64) -> impl Fn(u64) -> bool {
        move |number| Xoshiro256PlusPlus::seed_from_u64(number / unit + seed).next_u64().is_multiple_of(2)
    }

    #[test]
    fn what_is_slow_in_lumps_is_worth_the_number_of_lumps() {
        let (single, lumps) = (stream(60, coins(1, 1)), stream(60, coins(500, 1)));
        let size = effective_size(&[&single], 0.5);
        assert!(size > 20_000.0, "{size} of 60,000 that are not alike");
        let size = effective_size(&[&lumps], 0.5);
        assert!((50.0..200.0).contains(&size), "{size} of 120 lumps");
        assert!(effective_size(&[], 0.5) < 0.5);
        assert!((effective_size(&[&stream(60, |_| false)], 0.9) - 60_000.0).abs() < 0.5, "the same again and again");
    }

    #[test]
    fn copies_are_worth_one_of_them_and_independent_streams_all() {
        let (first, long) = (stream(60, coins(500, 1)), stream(120, coins(500, 1)));
        let (one, two) = (effective_size(&[&first], 0.5), effective_size(&[&first, &first], 0.5));
        assert!((two / one - 1.0).abs() < 1e-9, "{one} and {two}");
        let others = effective_size(&[&first, &stream(60, coins(500, 7_001)), &stream(60, coins(500, 90_001))], 0.5);
        assert!((1.5..5.0).contains(&(others / one)), "{one} and {others}");
        // One has joined its slices already.
        let both = effective_size(&[&first, &long], 0.5);
        assert!(both < 2.0 * effective_size(&[&long], 0.5), "{both}");
    }

    const GENERATORS: usize = 4;
    const SLICES: usize = 60;
    const MESSAGES: usize = 60_000;

    /// Latencies around 100 µs whose logarithms have the correlation `rho` from one message to the next, dealt out to
    /// four generators: what each and all are worth by themselves to the median, and the slices. Of two normal values with
    /// the correlation r, the signs have (2/π)·asin r (Sheppard 1898).
    fn dealt(rho: f64) -> (Vec<f64>, f64, Vec<Histogram<u64>>) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(5);
        let mut unit = || ((random.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        let mut normal = || (-2.0 * unit().ln()).sqrt() * (2.0 * std::f64::consts::PI * unit()).cos();
        let worth = |number: usize, rho: f64| {
            let likeness: f64 = (1..2000).map(|lag| rho.powi(lag).asin() / std::f64::consts::FRAC_PI_2).sum();
            number as f64 / (1.0 + 2.0 * likeness)
        };
        let each = worth(MESSAGES / GENERATORS, rho.powf(GENERATORS as f64));
        let mut slices = vec![histogram(); SLICES];
        let mut state = normal();
        for number in 0..MESSAGES {
            state = rho * state + (1.0 - rho * rho).sqrt() * normal();
            let latency = 100_000.0 * (0.3 * state).exp();
            slices[number * SLICES / MESSAGES].saturating_record(latency as u64);
        }
        (vec![each; GENERATORS], worth(MESSAGES, rho), slices)
    }

    #[test]
    fn generators_that_met_the_same_queue_are_worth_what_one_would_be() {
        let (each, all, slices) = dealt(0.98);
        let sum: f64 = each.iter().sum();
        assert!(sum > 2.0 * all, "the sum would flatter: {sum} for {all}");
        let together = effective_size_of_parts(0.5, &each, slices.into_iter());
        assert!((0.5..1.8).contains(&(together / all)), "{together} for {all}");
    }

    #[test]
    fn generators_that_met_nothing_together_are_worth_their_sum() {
        let (each, _, slices) = dealt(0.0);
        let (sum, together) = (each.iter().sum::<f64>(), effective_size_of_parts(0.5, &each, slices.into_iter()));
        assert!((0.6..=1.0).contains(&(together / sum)), "{together} of {sum}");
    }

    #[test]
    fn few_slices_prove_nothing_and_never_make_less_of_them_than_of_one() {
        let (each, _, mut slices) = dealt(0.98);
        slices.truncate(7);
        let most = each.iter().copied().fold(0.0, f64::max);
        assert!((effective_size_of_parts(0.5, &each, slices.into_iter()) - most).abs() < 1e-9);
        assert!(effective_size_of_parts(0.5, &[], std::iter::empty()) < 1e-9);
    }
}
