//! The statistics that decide whether a measurement can be believed. Pure: no I/O, no clock.
//!
//! Everything here looks at a stream of any length in bounded memory and in constant amortised time per value.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Standard deviations of a normal distribution on either side that hold 95 % of it.
pub const Z_95: f64 = 1.959_964;

/// Student's t that holds 95 % of its distribution with 31 degrees of freedom: the fewest slices less one from which the
/// variance of a long run is known.
const T_95: f64 = 2.0395;

/// Independent values beyond a quantile, on either side, with fewer of which it has no interval: a single lump of slow
/// answers may then hold all of them, and no variance tells.
const FEWEST_BEYOND: f64 = 4.0;

/// A number in (0, 1]: never 0, whose logarithm is infinite.
fn unit(random: &mut Xoshiro256PlusPlus) -> f64 {
    const TWO_TO_53: f64 = 9_007_199_254_740_992.0;
    ((random.next_u64() >> 11) + 1) as f64 / TWO_TO_53
}

/// A uniform sample of a stream, of bounded size: Li's algorithm L (1994), which draws how many values to skip, so that
/// most of them cost one subtraction.
#[derive(Debug, Clone)]
pub struct Reservoir {
    values: Vec<u64>,
    capacity: usize,
    to_skip: u64,
    weight: f64,
    random: Xoshiro256PlusPlus,
}

impl Reservoir {
    /// Keeps at most `capacity` values; allocates room for them now.
    pub fn new(capacity: usize, seed: u64) -> Self {
        let random = Xoshiro256PlusPlus::seed_from_u64(seed);
        Reservoir { values: Vec::with_capacity(capacity), capacity, to_skip: 0, weight: 1.0, random }
    }

    /// Forgets every value.
    pub fn clear(&mut self) {
        self.values.clear();
        self.weight = 1.0;
        self.to_skip = 0;
    }

    /// Offers a value.
    pub fn push(&mut self, value: u64) {
        if self.values.len() < self.capacity {
            self.values.push(value);
            if self.values.len() == self.capacity {
                self.draw_skip();
            }
        } else if self.to_skip > 0 {
            self.to_skip -= 1;
        } else {
            let place = (self.random.next_u64() % self.capacity as u64) as usize;
            self.values[place] = value;
            self.draw_skip();
        }
    }

    fn draw_skip(&mut self) {
        self.weight *= (unit(&mut self.random).ln() / self.capacity as f64).exp();
        self.to_skip = (unit(&mut self.random).ln() / (-self.weight).ln_1p()).floor() as u64;
    }

    /// The sample, in no order.
    pub fn values(&self) -> &[u64] {
        &self.values
    }
}

/// The Kolmogorov–Smirnov distance between a sample and a law, when each value may be off by `tolerance`: the largest
/// gap between the sample's distribution function and the band that the law sweeps when it is moved by as much.
///
/// With no tolerance it is the textbook statistic. A law with a step, such as that of equal gaps, needs one: against
/// a step any jitter at all is at a distance of a half.
pub fn kolmogorov_smirnov(sample: &[f64], law: impl Fn(f64) -> f64, tolerance: f64) -> f64 {
    let mut sorted = sample.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let mut distance: f64 = 0.0;
    for (index, &value) in sorted.iter().enumerate() {
        let (below, reached) = (index as f64 / count, (index + 1) as f64 / count);
        // Too many values up to here, even if each has come too early; too few before, even if each is late.
        distance = distance.max(reached - law(value + tolerance)).max(law(value - tolerance) - below);
    }
    distance
}

/// The probability that a sample of `count` values of the law itself is at this distance or farther: the asymptotic
/// series of Kolmogorov (1933) with Stephens' correction for small samples (1970).
pub fn kolmogorov_p(distance: f64, count: usize) -> f64 {
    /// The terms fall like exp(−k²): long before this many they are nothing.
    const MOST_TERMS: i32 = 100;
    let root = (count as f64).sqrt();
    let lambda = (root + 0.12 + 0.11 / root) * distance;
    if lambda < 0.2 {
        return 1.0; // to ten decimals, and there the series converges slowly
    }
    let term = |k: i32| {
        let sign = if k % 2 == 1 { 1.0 } else { -1.0 };
        sign * (-2.0 * f64::from(k * k) * lambda * lambda).exp()
    };
    (2.0 * (1..=MOST_TERMS).map(term).sum::<f64>()).clamp(0.0, 1.0)
}

/// The variance of the sum of a long stretch of a process, from the distances of consecutive parts of it from their mean,
/// which add up to nothing.
///
/// For independent parts it is the sum of the squares. Where neighbours are alike it is larger by twice their products, as
/// far as those can be told from chance: Geyer's initial monotone sequence (Practical Markov chain Monte Carlo, 1992, §3.3),
/// which sums products two lags at a time while they are positive and fall. Never less than the sum of the squares.
pub fn variance_of_sum(distances: &[f64]) -> f64 {
    let count = distances.len();
    let products = |lag: usize| distances.iter().zip(&distances[lag..]).map(|(a, b)| a * b).sum::<f64>();
    let squares = products(0);
    let (mut sum, mut least, mut lags) = (-squares, f64::INFINITY, 0);
    for lag in (0..count / 2).step_by(2) {
        let pair = products(lag) + products(lag + 1);
        if pair <= 0.0 {
            break;
        }
        least = least.min(pair);
        sum += 2.0 * least;
        lags = lag + 1;
    }
    // The mean is that of the same parts, which takes a share of each product away.
    let freedom = count.saturating_sub(1 + lags).max(1);
    sum.max(squares) * count as f64 / freedom as f64
}

/// The quantiles of a sample of `size` independent values between which the quantile `q` of what it was drawn from lies
/// with 95 % confidence: binomial order statistics (David and Nagaraja, Order Statistics, §7.1), in the normal
/// approximation with a continuity correction. `None` where that is beyond the smallest or the largest value seen, and
/// where less than four of them lie beyond `q`.
pub fn quantile_interval(q: f64, size: f64) -> (Option<f64>, Option<f64>) {
    if size * q.min(1.0 - q) < FEWEST_BEYOND {
        return (None, None);
    }
    let spread = T_95 * (size * q * (1.0 - q)).sqrt();
    let lower = (size * q - spread).floor();
    let upper = (size * q + spread).ceil() + 1.0;
    ((lower >= 1.0).then(|| lower / size), (upper <= size).then(|| upper / size))
}

/// The two-sided probability of the Mann–Whitney test that two samples which come from one law look so different, in the
/// normal approximation: good from eight values a side on.
pub fn mann_whitney_p(first: &[f64], second: &[f64]) -> f64 {
    let (m, n) = (first.len() as f64, second.len() as f64);
    let wins: f64 = first
        .iter()
        .flat_map(|a| second.iter().map(move |b| if a > b { 1.0 } else { f64::from(u8::from(a >= b)) / 2.0 }))
        .sum();
    let deviation = (m * n * (m + n + 1.0) / 12.0).sqrt();
    if deviation == 0.0 {
        return 1.0;
    }
    let z = ((wins - m * n / 2.0).abs() - 0.5).max(0.0) / deviation;
    2.0 * normal_tail(z)
}

/// The probability that a standard normal value exceeds `z`, at least 0: Abramowitz and Stegun 26.2.17, to 10⁻⁷.
fn normal_tail(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let series =
        t * (0.319_381_530 + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * series
}

/// How many standard errors a mean of normal values lies from the truth at most, where `z` would be right if the error were
/// known and not estimated with so many degrees of freedom: Student's t (Abramowitz and Stegun 26.7.5), to 3 % from 2
/// degrees on, and closer the more there are.
pub fn student_t(z: f64, degrees: f64) -> f64 {
    let power = |exponent: i32| z.powi(exponent);
    let terms = [
        (power(3) + z) / 4.0,
        (5.0 * power(5) + 16.0 * power(3) + 3.0 * z) / 96.0,
        (3.0 * power(7) + 19.0 * power(5) + 17.0 * power(3) - 15.0 * z) / 384.0,
        (79.0 * power(9) + 776.0 * power(7) + 1482.0 * power(5) - 1920.0 * power(3) - 945.0 * z) / 92_160.0,
    ];
    // From the smallest term on, each a degree of freedom deeper.
    z + terms.iter().rev().fold(0.0, |sum, term| (sum + term) / degrees)
}

/// The probability that the sum of the squares of so many standard normal values exceeds this: the cube root of it is
/// nearly normal (Wilson and Hilferty 1931).
pub fn chi_square_p(sum: f64, degrees: f64) -> f64 {
    let ninth = 2.0 / (9.0 * degrees);
    let z = ((sum / degrees).cbrt() - (1.0 - ninth)) / ninth.sqrt();
    if z >= 0.0 { normal_tail(z) } else { 1.0 - normal_tail(-z) }
}

/// The middle of a sample, or between the two that share it; 0 of an empty one.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => 0.0,
        (odd, middle) if odd % 2 == 1 => sorted[middle],
        (_, middle) => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 0x5EED;

    fn exponential(value: f64) -> f64 {
        if value <= 0.0 { 0.0 } else { 1.0 - (-value).exp() }
    }

    fn normal(random: &mut Xoshiro256PlusPlus) -> f64 {
        (-2.0 * unit(random).ln()).sqrt() * (2.0 * std::f64::consts::PI * unit(random)).cos()
    }

    /// Values with the variance 1 and the correlation `rho` between neighbours.
    fn autoregressive(count: usize, rho: f64, random: &mut Xoshiro256PlusPlus) -> Vec<f64> {
        let mut value = normal(random);
        let mut next = || {
            value = rho * value + (1.0 - rho * rho).sqrt() * normal(random);
            value
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn a_reservoir_keeps_every_part_of_a_stream_alike() {
        let mut reservoir = Reservoir::new(1000, SEED);
        for value in 0..100_000 {
            reservoir.push(value);
        }
        assert_eq!(reservoir.values().len(), 1000);
        for tenth in 0..10 {
            let kept = reservoir.values().iter().filter(|&&value| value / 10_000 == tenth).count();
            // 100 expected, with a deviation of 9.5.
            assert!((55..145).contains(&kept), "{kept} of tenth {tenth}");
        }
    }

    #[test]
    fn the_law_itself_is_rejected_as_often_as_the_level_says() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(SEED);
        let mut rejected = 0;
        for _ in 0..2000 {
            let sample: Vec<f64> = (0..200).map(|_| -unit(&mut random).ln()).collect();
            let distance = kolmogorov_smirnov(&sample, exponential, 0.0);
            rejected += usize::from(kolmogorov_p(distance, sample.len()) < 0.05);
        }
        // 100 expected at 5 %, with a deviation of 9.7.
        assert!((60..140).contains(&rejected), "{rejected} of 2000");
    }

    #[test]
    fn another_law_is_rejected_and_a_tolerance_forgives_no_more_than_itself() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(SEED);
        let sample: Vec<f64> = (0..2000).map(|_| 2.0 * unit(&mut random)).collect();
        let distance = kolmogorov_smirnov(&sample, exponential, 0.0);
        assert!(kolmogorov_p(distance, sample.len()) < 1e-6, "uniform gaps are not exponential");
        let step = |value: f64| if value < 1.0 { 0.0 } else { 1.0 };
        let jittered: Vec<f64> = (0..1000).map(|_| 0.95 + 0.1 * unit(&mut random)).collect();
        assert!(kolmogorov_smirnov(&jittered, step, 0.0) > 0.4);
        assert!(kolmogorov_smirnov(&jittered, step, 0.06) < 1e-9, "all within the tolerance");
        assert!(kolmogorov_smirnov(&jittered, step, 0.02) > 0.25, "three tenths of them are early by more than that");
    }

    #[test]
    fn known_values_of_student_and_of_chi_square() {
        for (degrees, t) in [(2.0, 4.303), (3.0, 3.182), (4.0, 2.776), (9.0, 2.262), (30.0, 2.042), (1e9, 1.960)] {
            assert!((student_t(Z_95, degrees) / t - 1.0).abs() < 0.01, "{degrees}: {}", student_t(Z_95, degrees));
        }
        assert!((student_t(2.394, 2.0) / 7.649 - 1.0).abs() < 0.03, "{}", student_t(2.394, 2.0));
        for (degrees, sum, p) in [(1.0, 3.841, 0.05), (2.0, 9.210, 0.01), (4.0, 9.488, 0.05), (9.0, 2.088, 0.99)] {
            assert!((chi_square_p(sum, degrees) / p - 1.0).abs() < 0.1, "{}", chi_square_p(sum, degrees));
        }
    }

    #[test]
    fn known_values_of_kolmogorovs_distribution() {
        // The asymptotic critical values: 1.3581 at 5 %, 1.9495 at 0.1 %.
        for (lambda, p) in [(1.3581, 0.05), (1.9495, 0.001)] {
            let count = 1_000_000;
            let computed = kolmogorov_p(lambda / (count as f64).sqrt(), count);
            assert!((computed / p - 1.0).abs() < 0.01, "{computed} at {lambda}");
        }
    }

    #[test]
    fn the_sum_of_a_process_varies_as_its_correlations_say() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(SEED);
        for rho in [0.0, 0.5, 0.8] {
            let count = 64;
            let trials = 400;
            let estimates = (0..trials).map(|_| {
                let values = autoregressive(count, rho, &mut random);
                let mean = values.iter().sum::<f64>() / count as f64;
                variance_of_sum(&values.iter().map(|value| value - mean).collect::<Vec<_>>())
            });
            // The variance of a sum of n values of an autoregressive process of order 1 is n (1 + ρ) / (1 − ρ), for large n.
            let ratio = estimates.sum::<f64>() / f64::from(trials) / (count as f64 * (1.0 + rho) / (1.0 - rho));
            assert!((0.75..1.35).contains(&ratio), "{ratio} at a correlation of {rho}");
        }
        assert!(variance_of_sum(&[]) == 0.0 && variance_of_sum(&[0.0; 9]) == 0.0);
    }

    #[test]
    fn a_quantile_beyond_what_was_seen_has_an_open_end() {
        assert_eq!(quantile_interval(0.999, 500.0), (None, None));
        assert_eq!(quantile_interval(0.5, 2.0), (None, None));
        assert_eq!((quantile_interval(0.99, 410.0).0.is_some(), quantile_interval(0.99, 410.0).1), (true, None));
        let (lower, upper) = quantile_interval(0.99, 10_000.0);
        assert!((lower.unwrap() - 0.988).abs() < 2e-4 && (upper.unwrap() - 0.992).abs() < 3e-4);
    }

    #[test]
    fn two_samples_of_one_law_look_alike_and_two_laws_do_not() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(SEED);
        let mut rejected = 0;
        for _ in 0..1000 {
            let mut draw = || (0..30).map(|_| unit(&mut random)).collect::<Vec<_>>();
            rejected += usize::from(mann_whitney_p(&draw(), &draw()) < 0.05);
        }
        assert!((20..80).contains(&rejected), "{rejected} of 1000 at 5 %");
        let first: Vec<f64> = (0..30).map(|_| unit(&mut random)).collect();
        let later: Vec<f64> = first.iter().map(|value| value + 0.5).collect();
        assert!(mann_whitney_p(&first, &later) < 1e-4);
        assert!((mann_whitney_p(&first, &first) - 1.0).abs() < 0.05);
    }
}
