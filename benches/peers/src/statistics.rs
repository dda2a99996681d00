//! What a handful of rounds say together: their median, how far they lie apart, and ratios round by round. Pure: no I/O.

/// The middle of some values and their extremes.
///
/// With five rounds there is no honest standard deviation; the extremes hide nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The smallest value.
    pub min: f64,
    /// The median; of an even number of values, the mean of the middle two.
    pub median: f64,
    /// The largest value.
    pub max: f64,
}

impl Spread {
    /// The spread of finite values; `None` without any.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() {
            0 => return None,
            odd if odd % 2 == 1 => values[middle],
            _ => f64::midpoint(values[middle - 1], values[middle]),
        };
        Some(Spread { min: values[0], median, max: values[values.len() - 1] })
    }

    /// The spread of `values` divided, round by round, by `reference`; rounds in which either is missing do not count.
    ///
    /// Dividing within a round takes out whatever the machine did to both at that time; dividing two medians would not.
    pub fn of_ratios(values: &[Option<f64>], reference: &[Option<f64>]) -> Option<Spread> {
        // A reference of zero gives an infinity or no number at all, which `of` leaves out.
        Spread::of(values.iter().zip(reference).filter_map(|(value, reference)| Some((*value)? / (*reference)?)))
    }

    /// How far ratios that ought to be 1 are from it: 0.05 where the worst is 1.05, or 1 / 1.05.
    pub fn distance_from_one(self) -> f64 {
        self.max.max(1.0 / self.min) - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(Spread::of([3.0, 1.0, 100.0]), Some(Spread { min: 1.0, median: 3.0, max: 100.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 100.0]), Some(Spread { min: 1.0, median: 3.0, max: 100.0 }));
        assert_eq!(Spread::of([7.0]), Some(Spread { min: 7.0, median: 7.0, max: 7.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_ratio_is_taken_within_a_round() {
        // The machine was ten times as fast in the second round, for both.
        let ratios = Spread::of_ratios(&[Some(2.0), Some(30.0), Some(5.0)], &[Some(1.0), Some(10.0), Some(2.0)]);
        assert_eq!(ratios, Some(Spread { min: 2.0, median: 2.5, max: 3.0 }));
    }

    #[test]
    fn a_round_without_both_figures_does_not_count() {
        let reference = [Some(0.0), Some(2.0), None, Some(2.0)];
        let ratios = Spread::of_ratios(&[Some(1.0), Some(4.0), Some(9.0), None], &reference);
        assert_eq!(ratios, Some(Spread { min: 2.0, median: 2.0, max: 2.0 }));
        assert_eq!(Spread::of_ratios(&[None], &[Some(1.0)]), None);
    }

    #[test]
    fn noise_counts_in_both_directions() {
        let distance = |min, max| Spread { min, median: 1.0, max }.distance_from_one();
        assert!((distance(0.99, 1.05) - 0.05).abs() < 1e-12);
        assert!((distance(0.5, 1.05) - 1.0).abs() < 1e-12, "half is as far away as double");
        assert!(distance(1.0, 1.0).abs() < 1e-12);
    }
}
