//! How two servers or two runs differ, and how sure that is. Pure: no I/O.
//!
//! Differences are of logarithms, so that twice as slow and half as slow are equally far from nothing, and are given as a
//! share: 0.041 is 4.1 % more. Every interval is one of several read together, and all of them hold the truth at once with
//! 95 % confidence (Bonferroni): whoever looks at three figures is not three times as likely to be fooled.

use hdrhistogram::Histogram;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use serde::Serialize;

use crate::clock::SECOND;
use crate::gates::achieved_rate;
use crate::recorder::{LONGEST, histogram};
use crate::report::document::{Document, Latency, Quantile};
use crate::report::repeats::Repeats;
use crate::statistics::{Z_95, student_t};

/// The figures that are compared.
pub const FIGURES: [Figure; 3] = [Figure::Median, Figure::Tail, Figure::Rate];

/// Standard deviations of a normal law on both sides that hold 1 − 5 % / 3 of it: one for each of [`FIGURES`].
const Z: f64 = 2.394;

/// Resamples of a bootstrap: the 33rd from either end is the bound, and its place is then known to a sixth.
const RESAMPLES: usize = 4000;

/// What two servers are compared in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Figure {
    /// The median of the response time.
    #[serde(rename = "p50")]
    Median,
    /// Its 99th percentile.
    #[serde(rename = "p99")]
    Tail,
    /// Right answers a second.
    #[serde(rename = "rate")]
    Rate,
}

impl Figure {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Figure::Median => "p50",
            Figure::Tail => "p99",
            Figure::Rate => "rate",
        }
    }

    /// What a server is that has more of it, or less.
    pub fn word(self, is_more: bool) -> &'static str {
        match (self, is_more) {
            (Figure::Median | Figure::Tail, true) => "slower",
            (Figure::Median | Figure::Tail, false) => "faster",
            (Figure::Rate, true) => "higher",
            (Figure::Rate, false) => "lower",
        }
    }
}

/// By how much B differs from A.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Difference {
    /// By how much more B has, as a share of A.
    pub by: f64,
    /// The lower end of its interval, as a share of A.
    pub low: f64,
    /// The upper end, as a share of A.
    pub high: f64,
}

impl Difference {
    fn of_logarithms(by: f64, low: f64, high: f64) -> Self {
        Difference { by: by.exp_m1(), low: low.exp_m1(), high: high.exp_m1() }
    }

    /// Whether there is one at all, for more than chance.
    fn is_sure(self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }

    /// Whether there is one that is neither chance nor this machine's noise, which is none where it is not known.
    pub fn is_called(self, noise: Option<f64>) -> bool {
        self.is_sure() && self.size() > noise.unwrap_or(0.0)
    }

    /// How far from nothing it is, as the share by which the greater of the two exceeds the other: half as much is as far
    /// as twice as much.
    fn size(self) -> f64 {
        size(self.by)
    }

    /// The same of the end that is farther from nothing: what equal servers may seem to differ by.
    pub fn reach(self) -> f64 {
        size(self.low).max(size(self.high))
    }
}

fn size(by: f64) -> f64 {
    by.ln_1p().abs().exp_m1()
}

/// What one block of a comparison measured of A and of B.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    /// Of A.
    pub a: f64,
    /// Of B.
    pub b: f64,
}

/// The difference over blocks, each of which measured both: a studentised bootstrap over the blocks (Efron and
/// Tibshirani 1993, §12.5), which is right for few blocks too. `None` for fewer than four blocks, or without a value.
pub fn over_blocks(blocks: &[Pair], seed: u64) -> Option<Difference> {
    over_blocks_among(blocks, FIGURES.len(), seed)
}

/// The same, where so many differences are read together.
pub fn over_blocks_among(blocks: &[Pair], differences: usize, seed: u64) -> Option<Difference> {
    const FEWEST: usize = 4;
    let usable = |pair: &&Pair| pair.a > 0.0 && pair.b > 0.0;
    let values: Vec<f64> = blocks.iter().filter(usable).map(|pair| (pair.b / pair.a).ln()).collect();
    if values.len() < FEWEST || values.len() < blocks.len() {
        return None;
    }
    let (mean, error) = mean_and_error(&values);
    if error <= 0.0 {
        return Some(Difference::of_logarithms(mean, mean, mean));
    }
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut resample = vec![0.0; values.len()];
    let mut ts: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            for value in &mut resample {
                *value = values[(random.next_u64() % values.len() as u64) as usize];
            }
            let (its_mean, its_error) = mean_and_error(&resample);
            // A resample of one block again and again has no spread of its own.
            (its_mean - mean) / its_error.max(error * 0.05)
        })
        .collect();
    ts.sort_unstable_by(f64::total_cmp);
    let tail = (RESAMPLES as f64 * 0.05 / 2.0 / differences as f64) as usize;
    let (low, high) = (mean - error * ts[RESAMPLES - 1 - tail], mean - error * ts[tail]);
    Some(Difference::of_logarithms(mean, low, high))
}

pub(crate) fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0) / count).sqrt())
}

/// Response times of a run, in which a message that had no right answer or was never sent counts as one that took as long
/// as the timeout. It took longer, so a server that loses messages comes out too well, but no longer as the faster one for
/// it.
pub fn response_times(run: &Document) -> Histogram<u64> {
    let mut times = run.latency.response.histogram().unwrap_or_else(histogram);
    let timeout =
        if run.per_transport.contains_key("udp") { run.config.udp_timeout_ns } else { run.config.tcp_timeout_ns };
    // The histogram takes even a value that was recorded no times for its greatest.
    if run.counts.unanswered() > 0 {
        times.saturating_record_n(timeout.min(LONGEST), run.counts.unanswered());
    }
    times
}

/// A figure of a saved run or of several, and how far it is from what it would be after many more.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// The figure.
    pub value: f64,
    /// The standard error of its logarithm.
    pub error: f64,
    /// The degrees of freedom of that; infinite where it is known from many messages.
    pub degrees: f64,
}

impl Measured {
    /// Of one run. Its percentiles carry intervals on the number of independent values that they are worth, so what makes
    /// neighbouring messages alike does not make the answer surer than it is. `None` without an interval.
    pub fn of_run(figure: Figure, run: &Document) -> Option<Self> {
        let quantile = |name: &str| {
            let size = run.latency.response.p.get(name)?.n_eff? as f64;
            quantile_error(Latency::with_confidence(&response_times(run), size).p.get(name)?)
        };
        let (value, error) = match figure {
            Figure::Median => quantile("50"),
            Figure::Tail => quantile("99"),
            Figure::Rate => rate_error(run).map(|error| (achieved_rate(run), error)),
        }?;
        Some(Measured { value, error, degrees: f64::INFINITY })
    }

    /// Of several, after what they differ by: that has in it all that one run knows nothing of. `None` for fewer than three.
    pub fn of_repeats(figure: Figure, repeats: &Repeats) -> Option<Self> {
        const FEWEST: usize = 3;
        let logarithms: Vec<f64> = repeats.figure(figure.name()).iter().map(|value| value.max(1.0).ln()).collect();
        (logarithms.len() >= FEWEST).then(|| {
            let (mean, error) = mean_and_error(&logarithms);
            Measured { value: mean.exp(), error, degrees: (logarithms.len() - 1) as f64 }
        })
    }
}

/// The difference between two saved results, each of one run or of several (Welch 1947).
pub fn of_saved(a: Measured, b: Measured) -> Difference {
    let (square_a, square_b) = (a.error * a.error, b.error * b.error);
    let mean = (b.value / a.value).ln();
    let error = (square_a + square_b).sqrt();
    let spread = square_a * square_a / a.degrees + square_b * square_b / b.degrees;
    let t = if spread > 0.0 { student_t(Z, (square_a + square_b).powi(2) / spread) } else { Z };
    Difference::of_logarithms(mean, mean - t * error, mean + t * error)
}

/// A percentile and the standard error of its logarithm, after its confidence interval.
pub(crate) fn quantile_error(quantile: &Quantile) -> Option<(f64, f64)> {
    let (low, high) = (quantile.lo?.max(1) as f64, quantile.hi?.max(1) as f64);
    Some((quantile.v.max(1) as f64, (high / low).ln() / (2.0 * Z_95)))
}

/// The standard error of the logarithm of the rate of a run, after how much it varies from interval to interval.
pub(crate) fn rate_error(run: &Document) -> Option<f64> {
    /// A last interval that is much shorter than the others is the drain.
    const WHOLE: f64 = 0.5;
    let longest = run.intervals.iter().map(|interval| interval.len_ns).max()?;
    let whole = run.intervals.iter().filter(|interval| interval.len_ns as f64 > WHOLE * longest as f64);
    let rates: Vec<f64> =
        whole.map(|interval| interval.replied as f64 * SECOND as f64 / interval.len_ns.max(1) as f64).collect();
    let (mean, error) = mean_and_error(&rates);
    (rates.len() > 2 && mean > 0.0).then(|| error / mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(random: &mut Xoshiro256PlusPlus) -> f64 {
        let mut unit = || ((random.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        (-2.0 * unit().ln()).sqrt() * (2.0 * std::f64::consts::PI * unit()).cos()
    }

    /// How many of 200 comparisons call a difference when B is so much slower than A and blocks vary by 5 %.
    fn calls(slower: f64, blocks: usize) -> usize {
        let call = |seed: u64| {
            let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
            let pairs: Vec<Pair> = (0..blocks)
                .map(|_| Pair {
                    a: 100.0 * (0.05 * normal(&mut random)).exp(),
                    b: slower * 100.0 * (0.05 * normal(&mut random)).exp(),
                })
                .collect();
            usize::from(over_blocks(&pairs, seed).unwrap().is_sure())
        };
        (0..200).map(call).sum()
    }

    #[test]
    fn equal_servers_are_rarely_called_different_and_unequal_ones_mostly() {
        // A level of 5 % / 3 each: 3 of 200 are expected.
        for blocks in [6, 12, 24] {
            assert!(calls(1.0, blocks) <= 10, "{} of 200 with {blocks} blocks", calls(1.0, blocks));
        }
        assert!(calls(1.1, 12) >= 150, "{} of 200", calls(1.1, 12));
    }

    #[test]
    fn what_has_no_value_in_some_block_has_no_difference() {
        let pair = Pair { a: 1.0, b: 2.0 };
        assert!(over_blocks(&[pair; 3], 1).is_none(), "three blocks are too few");
        assert!(over_blocks(&[pair, pair, pair, Pair { a: 0.0, b: 1.0 }], 1).is_none());
        let twice = over_blocks(&[pair; 4], 1).unwrap();
        assert!((twice.by - 1.0).abs() < 1e-9 && twice.is_sure());
    }

    #[test]
    fn half_as_much_is_as_far_from_nothing_as_twice_as_much() {
        let halved = Difference { by: -0.5, low: -0.6, high: -0.4 };
        assert!((halved.size() - 1.0).abs() < 1e-9, "{}", halved.size());
        assert!((halved.reach() - 1.5).abs() < 1e-9, "{}", halved.reach());
    }

    /// A run of 10,000 independent messages, of which each took a little more than the one before, and some none.
    fn run(lost: u64) -> Document {
        let mut response = histogram();
        for value in 1..=10_000 - lost {
            response.record(1_000_000 + 100 * value).unwrap();
        }
        let mut run = Document::for_tests();
        run.latency.response = Latency::with_confidence(&response, (10_000 - lost) as f64);
        (run.counts.sent, run.counts.replied, run.counts.lost) = (10_000, 10_000 - lost, lost);
        run.config.tcp_timeout_ns = SECOND;
        run
    }

    #[test]
    fn a_run_that_lost_nothing_has_its_own_response_times_and_no_others() {
        let run = run(0);
        let times = response_times(&run);
        assert_eq!(
            (times.len(), times.max()),
            (10_000, run.latency.response.max),
            "the timeout of 1 s is none of them"
        );
    }

    #[test]
    fn a_run_that_lost_messages_is_not_the_faster_one_for_it() {
        let (whole, lossy) = (run(0), run(300));
        let p99 = |run: &Document| response_times(run).value_at_quantile(0.99);
        assert!(p99(&whole) < 3_000_000 && p99(&lossy) >= SECOND, "3 % are lost");
        let tail = |run| Measured::of_run(Figure::Tail, run).unwrap();
        let difference = of_saved(tail(&whole), tail(&lossy));
        assert!(difference.is_sure() && difference.by > 100.0, "{difference:?}");
        let few = of_saved(tail(&whole), tail(&run(20)));
        assert!(!few.is_sure(), "of 0.2 % the 99th percentile feels nothing: {few:?}");
    }
}
