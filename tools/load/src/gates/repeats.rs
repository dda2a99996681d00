//! Gates that several runs are held against together: in their median. Pure: no I/O.

use super::{Comparison, Gates, Metric, Objective, Standing, results};
use crate::report::repeats::Repeats;
use crate::run::exit;
use crate::statistics::median;
use crate::verdict::Verdict;

/// Evaluates every gate against the median of several runs, and notes the results and the exit code.
///
/// The median, because a gate that every run had to pass would fail the more often the more runs there are. Only errors
/// are counted in the worst of them: none of them is chance. `values` are those of each run.
///
/// Nothing is learnt from runs that are invalid: a gate whose outcome hangs on what those are worth is undecided, and asks for
/// [`exit::INVALID`].
pub fn apply_to_all(gates: &Gates, values: &[Vec<Option<f64>>], repeats: &mut Repeats) {
    let judged = |invalid: Invalid| {
        let objectives = gates.objectives.iter().enumerate();
        let of_all: Vec<Option<f64>> = objectives.map(|one| of_all(one, values, repeats, invalid)).collect();
        results(gates, &of_all, &standing(repeats, invalid))
    };
    let (mut results, code) = judged(Invalid::Counts);
    let ((missed, _), (held, _)) = (judged(Invalid::Missed), judged(Invalid::Held));
    let (invalid, runs) = (repeats.verdicts.invalid, repeats.runs.len());
    let (mut is_failed, mut is_undecided) = (false, false);
    for (result, (missed, held)) in results.iter_mut().zip(missed.iter().zip(&held)) {
        if missed.ok == held.ok {
            is_failed |= !held.ok;
            continue;
        }
        result.ok = false;
        result.why = format!("undecided, for it hangs on the runs that are invalid, {invalid} of {runs}");
        is_undecided = true;
    }
    repeats.gates = results;
    // What most of the runs, or the baseline, cannot be believed in has failed nothing either.
    repeats.exit = repeats.exit.max(match (code, is_failed, is_undecided) {
        (exit::INVALID, ..) | (_, false, true) => exit::INVALID,
        (_, true, _) => exit::GATE_FAILED,
        (_, false, false) => exit::DONE,
    });
}

/// What an invalid run counts as among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Invalid {
    /// As what it measured.
    Counts,
    /// As one that missed every goal.
    Missed,
    /// As one that held every goal.
    Held,
}

impl Invalid {
    /// The median of a value over the runs, each by its place; infinity where there is none. Less is `better`, or more.
    fn median(self, repeats: &Repeats, better: Better, of: impl Fn(usize) -> Option<f64>) -> f64 {
        let each = repeats.runs.iter().enumerate().map(|(place, run)| match (self, better, run.verdict) {
            (Invalid::Missed, Better::Less, Verdict::Invalid) => f64::INFINITY,
            // Great, but a number like any other.
            (Invalid::Held, Better::More, Verdict::Invalid) => f64::MAX,
            (Invalid::Missed | Invalid::Held, _, Verdict::Invalid) => 0.0,
            (Invalid::Counts, ..) | (_, _, Verdict::Valid | Verdict::Suspect) => of(place).unwrap_or(f64::INFINITY),
        });
        median(&each.collect::<Vec<_>>())
    }
}

/// Which of two values holds a goal rather than the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Better {
    Less,
    More,
}

/// What an objective, with its place, is held against.
fn of_all(
    (index, objective): (usize, &Objective),
    values: &[Vec<Option<f64>>],
    repeats: &Repeats,
    invalid: Invalid,
) -> Option<f64> {
    let better = match objective.comparison {
        Comparison::Less | Comparison::AtMost | Comparison::Equal => Better::Less,
        Comparison::Greater | Comparison::AtLeast => Better::More,
    };
    let value = match objective.metric {
        Metric::Errors => values.iter().map(|run| run[index].unwrap_or(f64::INFINITY)).fold(0.0, f64::max),
        Metric::Percentile(_) | Metric::Mean | Metric::Lag | Metric::Loss | Metric::Rate => {
            invalid.median(repeats, better, |place| values[place][index])
        }
    };
    Some(value).filter(|value| value.is_finite())
}

/// Of several runs their medians. Messages without a right answer count as infinitely slow.
pub(super) fn of_repeats(repeats: &Repeats) -> Standing {
    standing(repeats, Invalid::Counts)
}

fn standing(repeats: &Repeats, invalid: Invalid) -> Standing {
    let all_in = |name: &str| {
        let of_run = |place: usize| repeats.runs[place].all_in.get(name).copied().flatten().map(|value| value as f64);
        Some(invalid.median(repeats, Better::Less, of_run)).filter(|value| value.is_finite())
    };
    Standing {
        config: repeats.config.clone(),
        transports: repeats.transports.clone(),
        verdict: if invalid == Invalid::Counts { repeats.verdict } else { Verdict::Valid },
        p50: all_in("50"),
        p99: all_in("99"),
        rate: invalid.median(repeats, Better::More, |place| Some(repeats.runs[place].rate)),
    }
}
