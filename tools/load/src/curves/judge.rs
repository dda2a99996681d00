//! Whether a trial holds its objectives, and how sure that is. Pure: no I/O.
//!
//! Each objective is a bound on a ratio: of messages that took longer than asked to all of them, of those lost to all of
//! them, or of time to messages. By how much the ratio of a trial is known follows from its batches: by how much it would
//! differ without one or another of them. Student's t says whether it is on one side of the bound for more than chance. Batches
//! are long against a server's busy periods, so what makes neighbouring messages alike does not make neighbouring batches so.

use super::trial::{Batch, Trial};
use crate::gates::{Comparison, Metric, Objective};

/// Student's t with 19 degrees of freedom that chance exceeds once in 200 times. A search hangs each of its bounds on at
/// most [`super::capacity::MOST_CONFIRMATIONS`] trials, so both together are right in 95 of 100 searches.
const SURE: f64 = 2.861;

/// The greatest share of a bound that lag may take, and of what was lost that our own sockets may have dropped: beyond it a
/// failure says nothing about the server.
const OWN_SHARE: f64 = 0.5;

/// A schedule that was kept to this part was kept.
pub const KEPT: f64 = 0.99;

/// What came of a trial.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// Whether every objective was held.
    pub holds: bool,
    /// Whether that is more than chance.
    pub is_sure: bool,
    /// Whether the generator, not the server, may be the reason that it does not hold or that the rate was not reached.
    pub is_generators: bool,
}

/// Refuses what is no bound that a rate can be too high for.
pub fn check(objective: &Objective) -> Result<(), String> {
    let is_upper_bound = matches!(objective.comparison, Comparison::Less | Comparison::AtMost);
    let is_ratio = match objective.metric {
        Metric::Percentile(percentile) => percentile < 100.0,
        Metric::Mean | Metric::Loss => true,
        Metric::Lag | Metric::Rate | Metric::Errors => false,
    };
    if is_upper_bound && is_ratio {
        return Ok(());
    }
    Err(format!(
        "invalid value '{}' for '--slo <CONDITION>': a search needs a bound that more load breaks: p50 to p99.99, mean or \
         loss, with < or <=",
        objective.text
    ))
}

/// Judges a trial.
pub fn judge(objectives: &[Objective], trial: &Trial) -> Judgement {
    let mut judgement = Judgement { holds: true, is_sure: true, is_generators: false };
    for objective in objectives {
        let (holds, is_sure) = one(objective, &trial.batches);
        if holds == judgement.holds {
            // All must hold for sure; of failures one sure one will do.
            judgement.is_sure = if holds { judgement.is_sure && is_sure } else { judgement.is_sure || is_sure };
        } else if judgement.holds {
            (judgement.holds, judgement.is_sure) = (false, is_sure);
        }
        judgement.is_generators |= !holds && may_be_our_own(objective, trial);
    }
    // What its own verdict says of the generator counts only where the trial failed: what held in spite of it held.
    judgement.is_generators |= !judgement.holds && trial.generator_was_busy;
    judgement.is_generators |= trial.achieved < KEPT * trial.offered;
    judgement
}

/// Whether the generator's own delay, or its own losses, may be all that is wrong.
fn may_be_our_own(objective: &Objective, trial: &Trial) -> bool {
    let is_late = trial.lag_p99 as f64 > OWN_SHARE * objective.bound;
    let has_dropped = trial.own_losses as f64 > OWN_SHARE * trial.lost as f64;
    match objective.metric {
        Metric::Percentile(_) => is_late || has_dropped,
        Metric::Mean => is_late,
        Metric::Loss => has_dropped,
        Metric::Lag | Metric::Rate | Metric::Errors => false,
    }
}

/// Whether one objective holds, and whether that is sure.
fn one(objective: &Objective, batches: &[Batch]) -> (bool, bool) {
    let terms: Vec<(f64, f64)> = batches.iter().map(|batch| ratio(objective, batch)).collect();
    let bound = match objective.metric {
        Metric::Percentile(percentile) => 1.0 - percentile / 100.0,
        Metric::Mean | Metric::Loss | Metric::Lag | Metric::Rate | Metric::Errors => objective.bound,
    };
    let count = terms.len() as f64;
    let total: f64 = terms.iter().map(|(_, of)| of).sum();
    if total <= 0.0 {
        return (false, true); // not one answer
    }
    let share = terms.iter().map(|(part, _)| part).sum::<f64>() / total;
    let sum = (share - bound) * total;
    if bound <= 0.0 {
        return (sum <= 0.0, true); // nothing at all is allowed: one event says so, and no number of others denies it
    }
    // By how much the ratio of all would differ without one batch or another: the jackknife. On a busy machine batches have very
    // different numbers of messages, which alone say nothing of their ratio; but one that has them all leaves nothing to compare.
    let without =
        |(part, of): &(f64, f64)| if *of < total { (part - share * of) / (1.0 - of / total) } else { f64::INFINITY };
    let squares: f64 = terms.iter().map(|term| without(term).powi(2)).sum();
    let spread = (squares * (count - 1.0).max(0.0) / count).sqrt();
    // Events that the bound allows vary at least as much as independent ones would: a batch without any proves little.
    let least = match objective.metric {
        Metric::Mean => 0.0,
        Metric::Percentile(_) | Metric::Loss | Metric::Lag | Metric::Rate | Metric::Errors => (bound * total).sqrt(),
    };
    let t = sum / spread.max(least).max(f64::MIN_POSITIVE);
    (sum <= 0.0, t.abs() >= SURE)
}

/// What is counted of a batch, and of how much.
fn ratio(objective: &Objective, batch: &Batch) -> (f64, f64) {
    let answered = batch.response.len();
    match objective.metric {
        Metric::Percentile(_) => {
            let in_time = if answered == 0 { 0 } else { batch.response.count_between(0, objective.bound as u64) };
            ((answered - in_time + batch.lost) as f64, (answered + batch.lost) as f64)
        }
        Metric::Mean => (batch.response.mean() * answered as f64, answered as f64),
        Metric::Loss => (batch.lost as f64, (answered + batch.lost) as f64),
        Metric::Lag | Metric::Rate | Metric::Errors => (0.0, 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::histogram;

    /// Twenty batches of a thousand messages, of which so many took 2 ms and the others 1 ms.
    fn trial(slow: impl Fn(usize) -> u64, lost: u64) -> Trial {
        let batch = |index: usize| {
            let mut response = histogram();
            response.record_n(1_000_000, 1000 - slow(index)).unwrap();
            response.record_n(2_000_000, slow(index)).unwrap();
            Batch { lost, response }
        };
        Trial {
            offered: 1000.0,
            achieved: 1000.0,
            answered: 1000.0,
            sent: 20_000,
            lost: 20 * lost,
            own_losses: 0,
            batches: (0..20).map(batch).collect(),
            response: histogram(),
            lag_p99: 0,
            generator_was_busy: false,
        }
    }

    fn judged(objective: &str, trial: &Trial) -> (bool, bool) {
        let Judgement { holds, is_sure, .. } = judge(&[objective.parse().unwrap()], trial);
        (holds, is_sure)
    }

    #[test]
    fn far_from_the_bound_it_is_sure_and_near_it_is_not() {
        assert_eq!(judged("p99<1.5ms", &trial(|_| 0, 0)), (true, true));
        assert_eq!(judged("p99<1.5ms", &trial(|batch| 15 + batch as u64 % 2, 0)), (false, true));
        assert_eq!(judged("p99<1.5ms", &trial(|batch| batch as u64 % 20, 0)), (true, false), "9.5 of 10 allowed");
        assert_eq!(judged("p99<1.5ms", &trial(|batch| batch as u64 % 20 + 1, 0)), (false, false), "10.5 of 10");
    }

    #[test]
    fn batches_of_very_different_sizes_say_as_much_as_equal_ones_and_one_alone_says_nothing() {
        let of_sizes = |size: fn(usize) -> u64| {
            let mut uneven = trial(|_| 0, 0);
            for (index, batch) in uneven.batches.iter_mut().enumerate() {
                batch.response = histogram();
                batch.response.record_n(1_000_000, size(index)).unwrap();
            }
            uneven
        };
        let bursts = of_sizes(|index| if index % 7 == 3 { 200 } else { 0 });
        assert_eq!(judged("p90<1.5ms", &bursts), (true, true), "not one of 600 was slow");
        let burst = of_sizes(|index| if index == 3 { 600 } else { 0 });
        assert_eq!(judged("p90<1.5ms", &burst), (true, false), "a single burst may have been lucky");
    }

    #[test]
    fn a_lost_message_is_infinitely_slow_and_a_goal_of_none_forgives_none() {
        assert_eq!(judged("p99<1h", &trial(|_| 0, 20)), (false, true));
        assert_eq!(judged("loss<=0%", &trial(|_| 0, 0)), (true, true));
        assert_eq!(judged("loss<=0%", &trial(|_| 0, 1)), (false, true));
        assert_eq!(judged("loss<0.01%", &trial(|_| 0, 0)), (true, false), "20,000 messages are too few to say so");
    }

    #[test]
    fn a_failure_in_which_lag_took_half_the_bound_is_the_generators() {
        let objective = ["p99<1.5ms".parse().unwrap()];
        let mut slow = trial(|_| 30, 0);
        assert!(!judge(&objective, &slow).is_generators);
        slow.lag_p99 = 900_000;
        assert!(judge(&objective, &slow).is_generators);
        assert!(!judge(&objective, &Trial { lag_p99: 900_000, ..trial(|_| 0, 0) }).is_generators);
        assert!(judge(&objective, &Trial { achieved: 900.0, ..trial(|_| 0, 0) }).is_generators);
        assert!(judge(&objective, &Trial { generator_was_busy: true, ..trial(|_| 30, 0) }).is_generators);
        assert!(!judge(&objective, &Trial { generator_was_busy: true, ..trial(|_| 0, 0) }).is_generators);
    }

    #[test]
    fn losses_that_our_own_sockets_dropped_are_the_generators() {
        for objective in ["loss<1%", "p98<1h"] {
            let objective = [objective.parse().unwrap()];
            let lossy = trial(|_| 0, 30);
            assert!(!judge(&objective, &lossy).is_generators);
            assert!(!judge(&objective, &Trial { own_losses: 200, ..lossy.clone() }).is_generators, "200 of 600");
            assert!(judge(&objective, &Trial { own_losses: 400, ..lossy }).is_generators, "400 of 600");
        }
    }

    #[test]
    fn what_more_load_does_not_break_is_refused() {
        for text in ["p99>1ms", "rate>5k", "errors=0", "max<1ms", "lag<1ms"] {
            assert!(check(&text.parse().unwrap()).unwrap_err().contains(text), "{text}");
        }
        for text in ["p99<1ms", "loss<=0.1%", "mean<2ms"] {
            assert!(check(&text.parse().unwrap()).is_ok(), "{text}");
        }
    }
}
