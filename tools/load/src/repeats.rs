//! Whole runs, several of them: by how much they differ, and whether that is more than one run knows of itself. Pure: no I/O.
//!
//! A run measures one set of connections, one placement of threads and of memory, one state of the server. Another run may
//! settle on others, and no interval that is computed within a run can know of it. Cochran's Q (1954) says whether the
//! runs differ by more than their own intervals allow for; if they do, the interval to use is that of the mean over the
//! runs, which has both in it.

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::curves::difference::mean_and_error;
use crate::report::repeats::Spread;
use crate::statistics::{Z_95, chi_square_p, median, student_t};

/// Fewer do not differ.
pub const FEWEST: u64 = 2;

/// More would take longer than anybody waits.
pub const MOST: u64 = 100;

/// The level at which all figures together are called to differ by more than chance.
const LEVEL: f64 = 0.05;

/// With two runs an interval of their mean is twelve times as wide as they are apart: no interval at all.
const FEWEST_FOR_INTERVAL: usize = 3;

/// The seeds of so many runs, which follow from the one that was given. Each of them repeats its run alone.
pub fn seeds(given: u64, runs: u64) -> Vec<u64> {
    let mut random = SplitMix64::seed_from_u64(given);
    (0..runs).map(|_| random.next_u64()).collect()
}

/// A figure of each run, and the standard error of its logarithm as that run knows it.
#[derive(Debug, Clone)]
pub struct Figure {
    /// As in the document.
    pub name: &'static str,
    /// A value above 0 for each run, with its error where it is known.
    pub values: Vec<(f64, Option<f64>)>,
}

/// What the runs differ by, figure by figure.
pub fn spread(figures: &[Figure]) -> Vec<Spread> {
    let level = LEVEL / figures.len().max(1) as f64;
    figures.iter().filter(|figure| figure.values.len() >= FEWEST as usize).map(|figure| one(figure, level)).collect()
}

fn one(figure: &Figure, level: f64) -> Spread {
    let values: Vec<f64> = figure.values.iter().map(|(value, _)| *value).collect();
    let logarithms: Vec<f64> = values.iter().map(|value| value.max(f64::MIN_POSITIVE).ln()).collect();
    let (mean, error) = mean_and_error(&logarithms);
    let degrees = (values.len() - 1) as f64;
    let has_interval = values.len() >= FEWEST_FOR_INTERVAL;
    let reach = student_t(Z_95, degrees) * error;
    let errors: Option<Vec<f64>> = figure.values.iter().map(|(_, error)| *error).collect();
    let errors = errors.filter(|errors| errors.iter().all(|error| *error > 0.0));
    let within = errors.as_ref().map(|errors| mean_square(errors).sqrt());
    let p = errors.map(|errors| chi_square_p(cochran(&logarithms, &errors), degrees));
    Spread {
        figure: figure.name.into(),
        median: median(&values),
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        max: values.iter().copied().fold(0.0, f64::max),
        lo: has_interval.then(|| (mean - reach).exp()),
        hi: has_interval.then(|| (mean + reach).exp()),
        within: within.map(|error| Z_95 * error),
        between: Z_95 * error * (values.len() as f64).sqrt(),
        p,
        exceeds: p.map(|p| p < level),
    }
}

fn mean_square(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64
}

/// The squared distances of the values from their weighted mean, each in its own standard errors.
fn cochran(values: &[f64], errors: &[f64]) -> f64 {
    let weights = errors.iter().map(|error| 1.0 / (error * error));
    let weighted = values.iter().zip(weights.clone());
    let mean = weighted.clone().map(|(value, weight)| value * weight).sum::<f64>() / weights.sum::<f64>();
    weighted.map(|(value, weight)| weight * (value - mean).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_xoshiro::Xoshiro256PlusPlus;

    fn normal(random: &mut Xoshiro256PlusPlus) -> f64 {
        let mut unit = || ((random.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        (-2.0 * unit().ln()).sqrt() * (2.0 * std::f64::consts::PI * unit()).cos()
    }

    /// Runs whose true value is 100 up to this much, and that know their own to 2 %.
    fn runs(number: usize, between: f64, seed: u64) -> Spread {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut value = || {
            let truth = 100.0 * (between * normal(&mut random)).exp();
            (truth * (0.02 * normal(&mut random)).exp(), Some(0.02))
        };
        let values = (0..number).map(|_| value()).collect();
        spread(&[Figure { name: "p99", values }]).remove(0)
    }

    #[test]
    fn equal_runs_are_rarely_called_unequal_and_unequal_ones_mostly() {
        for number in [2, 3, 5, 10] {
            let called =
                |between: f64| (0..400).filter(|&seed| runs(number, between, seed).exceeds == Some(true)).count();
            // 20 of 400 are expected, with a deviation of 4.4.
            assert!(called(0.0) <= 33, "{} of 400 with {number} runs", called(0.0));
            assert!(number < 5 || called(0.06) >= 340, "{} of 400 with {number} runs", called(0.06));
        }
    }

    #[test]
    fn the_interval_over_the_runs_holds_the_truth_and_that_of_one_run_does_not() {
        for number in [3, 5, 10] {
            let all: Vec<Spread> = (0..400).map(|seed| runs(number, 0.06, seed)).collect();
            let held = all.iter().filter(|one| one.lo.unwrap() <= 100.0 && 100.0 <= one.hi.unwrap()).count();
            assert!(held >= 368, "{held} of 400 with {number} runs");
            let alone = all.iter().filter(|one| (one.min / 100.0).ln().abs() <= one.within.unwrap()).count();
            assert!(alone < 250, "{alone} of 400: a single run may be believed after all");
        }
    }

    #[test]
    fn two_runs_have_no_interval_and_a_figure_without_an_error_no_judgement() {
        let two = runs(2, 0.0, 1);
        assert!(two.lo.is_none() && two.exceeds.is_some() && two.min <= two.median && two.median <= two.max);
        let values = vec![(1.0, Some(0.1)), (4.0, None), (2.0, Some(0.1))];
        let unknown = spread(&[Figure { name: "p99", values }]).remove(0);
        assert_eq!((unknown.median, unknown.within, unknown.exceeds), (2.0, None, None));
        assert!(spread(&[Figure { name: "p99", values: vec![(1.0, None)] }]).is_empty());
    }

    #[test]
    fn seeds_follow_from_the_one_given_and_differ() {
        assert_eq!(seeds(7, 3), seeds(7, 5)[..3]);
        let mut all = seeds(7, 100);
        all.extend(seeds(8, 100));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 200);
    }
}
