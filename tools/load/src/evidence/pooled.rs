//! What the latencies of several generators of one load are worth together. Pure: no I/O, no clock.
//!
//! Each has found out how much alike its own neighbouring messages are. But two that load one server meet the same queue
//! at the same time, so what they are worth need not add up. The slices of time that they share show it: means of slices
//! that vary more than those of independent messages would.

use hdrhistogram::Histogram;

/// Fewer slices than this cannot tell likeness from chance.
const FEWEST: usize = 8;

/// A number of values with their mean, and the sum of their squared distances from it.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn of(histogram: &Histogram<u64>, scale: fn(f64) -> f64) -> Self {
        let each = || {
            let step = histogram.iter_recorded();
            step.map(|step| (scale(step.value_iterated_to().max(1) as f64), step.count_at_value() as f64))
        };
        let count = histogram.len() as f64;
        let mean = each().map(|(value, times)| value * times).sum::<f64>() / count.max(1.0);
        Moments { count, mean, squares: each().map(|(value, times)| (value - mean).powi(2) * times).sum() }
    }
}

/// How many independent values are in `slices` of time, which hold what generators have measured that alone are worth
/// `sizes`: never more than the sum of these, and never fewer than the greatest. Of few slices, the greatest.
///
/// As for one generator, the smaller of two views: of the latencies, and of their logarithms.
pub fn effective_size(sizes: &[f64], slices: impl Iterator<Item = Histogram<u64>>) -> f64 {
    let (sum, greatest) = (sizes.iter().sum::<f64>(), sizes.iter().copied().fold(0.0, f64::max));
    let slices: Vec<Histogram<u64>> = slices.filter(|slice| !slice.is_empty()).collect();
    if sizes.len() < 2 || slices.len() < FEWEST {
        return greatest;
    }
    let scales: [fn(f64) -> f64; 2] = [|value| value, f64::log2];
    let views = scales.map(|scale| worth(&slices.iter().map(|slice| Moments::of(slice, scale)).collect::<Vec<_>>()));
    views.into_iter().fold(sum, f64::min).max(greatest)
}

/// The number of values, divided by how much more the means of the slices vary than those of independent values.
fn worth(slices: &[Moments]) -> f64 {
    let count: f64 = slices.iter().map(|slice| slice.count).sum();
    let mean = slices.iter().map(|slice| slice.mean * slice.count).sum::<f64>() / count;
    let between: f64 = slices.iter().map(|slice| slice.count * (slice.mean - mean).powi(2)).sum();
    let all = slices.iter().map(|slice| slice.squares).sum::<f64>() + between;
    if all <= 0.0 {
        return count;
    }
    let inflation = (between / (slices.len() - 1) as f64) / (all / (count - 1.0).max(1.0));
    count / inflation.max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::histogram;
    use rand_xoshiro::Xoshiro256PlusPlus;
    use rand_xoshiro::rand_core::{Rng, SeedableRng};

    const GENERATORS: usize = 4;
    const SLICES: usize = 60;
    const MESSAGES: usize = 60_000;

    /// Latencies around 100 µs whose logarithms have the correlation `rho` from one message to the next, dealt out to
    /// four generators: what each and all are worth by themselves, after the sum of an autoregressive process, and the slices.
    fn dealt(rho: f64) -> (Vec<f64>, f64, Vec<Histogram<u64>>) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(5);
        let mut unit = || ((random.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        let mut normal = || (-2.0 * unit().ln()).sqrt() * (2.0 * std::f64::consts::PI * unit()).cos();
        let worth = |number: usize, rho: f64| number as f64 * (1.0 - rho) / (1.0 + rho);
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
        assert!(sum > 2.5 * all, "the sum would flatter: {sum} for {all}");
        let together = effective_size(&each, slices.into_iter());
        assert!((0.5..1.8).contains(&(together / all)), "{together} for {all}");
    }

    #[test]
    fn generators_that_met_nothing_together_are_worth_their_sum() {
        let (each, _, slices) = dealt(0.0);
        let (sum, together) = (each.iter().sum::<f64>(), effective_size(&each, slices.into_iter()));
        assert!((0.6..=1.0).contains(&(together / sum)), "{together} of {sum}");
    }

    #[test]
    fn few_slices_prove_nothing_and_never_make_less_of_them_than_of_one() {
        let (each, _, mut slices) = dealt(0.98);
        slices.truncate(FEWEST - 1);
        let greatest = each.iter().copied().fold(0.0, f64::max);
        assert!((effective_size(&each, slices.into_iter()) - greatest).abs() < 1e-9);
        assert!(effective_size(&[], std::iter::empty()) < 1e-9);
    }
}
