//! What a stream of latencies was like in consecutive stretches of time. Pure: no I/O, no clock.

use crate::clock::Nanos;

/// Coarse histograms of consecutive slices of time. When there is no room for one more, neighbours are joined and a
/// slice is twice as long from then on, so any run ends with between half of [`Self::MOST`] and all of them.
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
    /// Enough for a test of two halves, and 70 KiB.
    const MOST: usize = 64;

    /// A run of a second has ten of them.
    const FIRST_LENGTH: Nanos = 100_000_000;

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

    /// By how much the sum of each of the first `most` slices of this length is above what the mean of all of them makes.
    fn surpluses(&self, view: fn(f64) -> f64, length: Nanos, most: usize) -> Vec<f64> {
        let sum = |slices: &[[u32; Self::BUCKETS]]| {
            let buckets = slices.iter().flat_map(|counts| counts.iter().enumerate()).filter(|(_, count)| **count > 0);
            buckets.fold((0.0, 0.0), |(number, sum), (bucket, &count)| {
                (number + f64::from(count), sum + f64::from(count) * view(Self::value(bucket)))
            })
        };
        let sums: Vec<(f64, f64)> = self.counts.chunks((length / self.length) as usize).take(most).map(sum).collect();
        let (number, total) = sums.iter().fold((0.0, 0.0), |all, one| (all.0 + one.0, all.1 + one.1));
        let mean = total / f64::max(number, 1.0);
        sums.iter().map(|(number, sum)| sum - number * mean).collect()
    }

    pub(super) fn percentiles(&self, quantile: f64) -> Vec<f64> {
        let of_slice = |counts: &[u32; Self::BUCKETS]| {
            let total: u64 = counts.iter().map(|&count| u64::from(count)).sum();
            let rank = (quantile * total as f64).ceil() as u64;
            let mut seen = 0;
            let bucket = counts.iter().position(|&count| {
                seen += u64::from(count);
                seen >= rank
            })?;
            (total > 0).then(|| Self::value(bucket))
        };
        self.counts.iter().filter_map(of_slice).collect()
    }
}

/// By how much the sums of several streams over a slice vary more than if the streams were independent: 1 if they are,
/// and their number if each is a copy of the first. Like the effective size, the larger of two views: of the latencies,
/// and of their logarithms. 1 for a single stream, or where too few slices have ended to tell.
pub(super) fn likeness(streams: &[&Slices]) -> f64 {
    /// An eighth of a share of chance is left in it, on which no conclusion hangs.
    const FEWEST: usize = 16;
    if streams.len() < 2 {
        return 1.0;
    }
    // All began together, so the ends of the longer slices are ends of the shorter ones too.
    let length = streams.iter().map(|stream| stream.length).max().unwrap_or(0);
    let ended = streams.iter().map(|stream| stream.counts.len() / (length / stream.length) as usize).min().unwrap_or(0);
    if ended.saturating_sub(1) < FEWEST {
        return 1.0;
    }
    let of_view = |view: fn(f64) -> f64| {
        // The last slice may not be over.
        let each: Vec<Vec<f64>> = streams.iter().map(|stream| stream.surpluses(view, length, ended - 1)).collect();
        let apart: f64 = each.iter().flatten().map(|surplus| surplus * surplus).sum();
        let sums = (0..ended - 1).map(|slice| each.iter().map(|stream| stream[slice]).sum::<f64>());
        let together: f64 = sums.map(|sum| sum * sum).sum();
        if apart > 0.0 { together / apart } else { 1.0 }
    };
    of_view(|latency| latency).max(of_view(f64::log2)).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        let percentiles = slices.percentiles(0.99);
        assert!((Slices::MOST / 2..=Slices::MOST).contains(&percentiles.len()), "{}", percentiles.len());
        let (first, last) = (percentiles[0], percentiles[percentiles.len() - 1]);
        assert!((last / first - 2.0).abs() < 0.2, "twice as slow in the second half: {first} and {last}");
        let total: u64 = slices.counts.iter().flatten().map(|&count| u64::from(count)).sum();
        assert_eq!(total, 20_000);
    }

    /// Two minutes of a message each millisecond, slow now and then, after a rule of its own.
    fn stream(seconds: u64, is_slow: impl Fn(u64) -> bool) -> Slices {
        let mut slices = Slices::default();
        for number in 0..seconds * 1000 {
            let latency = if is_slow(number) { 3 * MILLISECOND } else { MILLISECOND };
            slices.push(number * MILLISECOND, latency);
        }
        slices
    }

    #[test]
    fn copies_are_worth_one_of_them_and_independent_streams_all() {
        // The third bit from the top of a hash of the tenth of a second, so that a slice is slow as a whole.
        let hash =
            |seed: u64| move |number: u64| (number / 100 + seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 61 & 1 == 1;
        let (first, long) = (stream(60, hash(1)), stream(120, hash(1)));
        assert!((likeness(&[&first, &first]) - 2.0).abs() < 1e-9);
        assert!((likeness(&[&first]) - 1.0).abs() < 1e-9);
        // One has joined its slices already, and is looked at as far as the other goes.
        let both = likeness(&[&first, &long]);
        assert!((1.7..2.1).contains(&both), "{both}");
        let others = likeness(&[&first, &stream(60, hash(7_001)), &stream(60, hash(90_001))]);
        assert!((1.0..1.6).contains(&others), "{others}");
        assert!((likeness(&[&stream(1, hash(1)), &stream(1, hash(1))]) - 1.0).abs() < 1e-9, "too short to tell");
    }
}
