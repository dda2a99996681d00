//! How much a server may lose, and in what part of the time more: `--goal`. Pure: no I/O.
//!
//! A server in software loses a burst now and then for reasons that have nothing to do with the load: a scheduler, a
//! neighbour, an interrupt. One long trial with such a burst in it says nothing, and a goal of no loss at all would never be
//! met. So a load gets many short trials, each of which is good or bad by itself, and it fails where more than a part of
//! them, the exceed ratio, are bad. That, and the conditional throughput of the answer, are ideas of `MLRsearch`
//! (draft-ietf-bmwg-mlrsearch, for RFC 2544), which compares the two parts as they are; here one must exceed the other by
//! more than chance, or the load is a bound of nothing.

use shout::units;

use super::judge::{self, Judgement};
use super::trial::{SHORTEST, Trial};
use crate::clock::Nanos;
use crate::gates::share;
use crate::plan::nanos;

/// How often chance alone may call a load a bound. A search hangs each of its bounds on at most
/// [`super::capacity::MOST_CONFIRMATIONS`] loads, so both together are right in 95 of 100 searches.
const LEVEL: f64 = 0.005;

const DEFAULT_EXCEED: f64 = 0.5;
const DEFAULT_TRIAL: Nanos = 500_000_000;
const DEFAULT_TRIALS: u64 = 21;

/// More would say nothing new, and take a night.
const MOST_TRIALS: u64 = 10_000;

/// Bad trials more than good ones with which a load seems to fail, and how many are made at most to find out.
const SEEMS_TO_FAIL: i32 = 3;
const MOST_GLANCES: usize = 9;

/// A goal of a search: the share that may be lost, and in what part of the trials more.
#[derive(Debug, Clone, PartialEq)]
pub struct Goal {
    /// As it was given.
    pub text: String,
    /// The greatest loss of a good trial, as a share of the messages sent.
    pub loss: f64,
    /// The greatest part of the trials that may be bad.
    pub exceed: f64,
    /// How long a trial sends.
    pub trial: Nanos,
    /// How many trials a load gets at most.
    pub trials: u64,
    /// A load with at most so many bad ones among its trials surely holds.
    few: u64,
    /// One with at least so many surely does not.
    many: u64,
}

impl std::str::FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hint = || "a goal looks like loss=0.5%, or loss=0,exceed=50%,trial=500ms,sum=10.5s".to_owned();
        let (mut loss, mut exceed, mut trial, mut sum) = (None, DEFAULT_EXCEED, DEFAULT_TRIAL, None);
        for part in text.split(',') {
            let (name, value) = part.split_once('=').ok_or_else(hint)?;
            let time = || units::duration(value.trim()).map(nanos);
            match name.trim() {
                "loss" => {
                    let is_share = |loss: &f64| *loss < 1.0;
                    loss = Some(share(value).ok().filter(is_share).ok_or("loss: from 0 to below 100%")?);
                }
                "exceed" => {
                    let is_part = |part: &f64| 0.0 < *part && *part < 1.0;
                    exceed = share(value).ok().filter(is_part).ok_or(
                        "exceed: above 0 and below 100%; where no trial at all may be bad, use --slo 'loss<=0'",
                    )?;
                }
                "trial" => {
                    trial = time()
                        .ok()
                        .filter(|time| *time >= SHORTEST)
                        .ok_or("trial: a time such as 500ms, at least 50ms")?;
                }
                "sum" => sum = Some(time().map_err(|why| format!("sum: {why}"))?),
                _ => return Err(hint()),
            }
        }
        let loss = loss.ok_or_else(hint)?;
        let trials = sum.map_or(DEFAULT_TRIALS, |sum| sum / trial);
        if trials > MOST_TRIALS {
            return Err(format!("sum: {trials} trials are too many: at most {MOST_TRIALS}"));
        }
        let fewest = fewest(exceed);
        let (Some(few), Some(many)) = limits(trials, exceed) else {
            let sum = fewest as f64 * trial as f64 / 1e9;
            return Err(format!("{trials} trials are too few for 95% confidence: at least {fewest}, sum={sum}s"));
        };
        Ok(Goal { text: text.into(), loss, exceed, trial, trials, few, many })
    }
}

/// The greatest and the smallest number of bad ones among `trials` that chance leaves below, or above, in one case of 200
/// when their part is `exceed`: the tails of the binomial law.
fn limits(trials: u64, exceed: f64) -> (Option<u64>, Option<u64>) {
    let odds = (exceed / (1.0 - exceed)).ln();
    let mut log_term = trials as f64 * (1.0 - exceed).ln();
    let mut terms = Vec::with_capacity(trials as usize + 1);
    for bad in 0..=trials {
        terms.push(log_term.exp());
        log_term += ((trials - bad) as f64 / (bad + 1) as f64).ln() + odds;
    }
    let within = |terms: &mut dyn Iterator<Item = &f64>| {
        let mut sum = 0.0;
        let count = terms.take_while(|term| {
            sum += **term;
            sum <= LEVEL
        });
        count.count() as u64
    };
    let (below, above) = (within(&mut terms.iter()), within(&mut terms.iter().rev()));
    (below.checked_sub(1), (above > 0).then(|| trials + 1 - above))
}

/// With so many trials that are all alike there is an answer.
fn fewest(exceed: f64) -> u64 {
    let part = exceed.max(1.0 - exceed);
    (LEVEL.ln() / part.ln()).ceil() as u64
}

/// What one trial says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    Bad,
    /// The generator did not make the load, or lost what is missing.
    Generators,
}

impl Goal {
    fn kind(&self, trial: &Trial) -> Kind {
        let loss = |lost: u64| lost as f64 / trial.sent.max(1) as f64;
        if trial.achieved < judge::KEPT * trial.offered || trial.sent == 0 {
            Kind::Generators
        } else if loss(trial.lost) <= self.loss {
            Kind::Good
        } else if trial.generator_was_busy || loss(trial.lost - trial.own_losses) <= self.loss {
            Kind::Generators
        } else {
            Kind::Bad
        }
    }

    /// A first impression of a load, from as few trials as it takes: a single good one will do, and a bad one is made sure
    /// of. It says where to look, and nothing is claimed on it.
    pub fn glance<E>(&self, mut make: impl FnMut() -> Result<Trial, E>) -> Result<Judgement, E> {
        let mut surplus = 0;
        for _ in 0..MOST_GLANCES {
            let trial = make()?;
            surplus += match self.kind(&trial) {
                Kind::Good => -1,
                Kind::Bad => 1,
                Kind::Generators => {
                    let holds = trial.lost as f64 <= self.loss * trial.sent as f64;
                    return Ok(Judgement { holds, is_sure: false, is_generators: true });
                }
            };
            if !(0..SEEMS_TO_FAIL).contains(&surplus) {
                break;
            }
        }
        Ok(Judgement { holds: surplus < 0, is_sure: false, is_generators: false })
    }

    /// Trials at one load until it is clear on which side of the goal it is, or that it will not be.
    pub fn series<E>(&self, mut make: impl FnMut() -> Result<Trial, E>) -> Result<Series, E> {
        /// Of the trials, how many may be the generator's before it is the limit.
        const MOST_DISTURBED: u64 = 4;
        let (mut good, mut bad, mut disturbed) = (0, 0, 0);
        let mut losses = Vec::new();
        let judgement = loop {
            let trial = make()?;
            match self.kind(&trial) {
                Kind::Good => good += 1,
                Kind::Bad => bad += 1,
                Kind::Generators => {
                    disturbed += 1;
                    if disturbed > self.trials / MOST_DISTURBED {
                        break Judgement { holds: false, is_sure: false, is_generators: true };
                    }
                    continue;
                }
            }
            losses.push(trial.lost as f64 / trial.sent as f64);
            let judgement = |holds: bool, is_sure: bool| Judgement { holds, is_sure, is_generators: false };
            if bad >= self.many {
                break judgement(false, true);
            }
            if self.trials - good <= self.few {
                break judgement(true, true);
            }
            // Neither can come any more.
            if bad > self.few && self.trials - good < self.many {
                break judgement(bad as f64 <= self.exceed * losses.len() as f64, false);
            }
        };
        Ok(Series { judgement, bad, losses })
    }

    /// Answers a second at a load that holds: of the loss that is exceeded in no more than the part of the trials that may
    /// be bad. Trials that were not needed any more are taken for the worst.
    pub fn conditional_throughput(&self, rate: f64, losses: &[f64]) -> f64 {
        let mut worst_first = losses.to_vec();
        worst_first.sort_by(|a, b| b.total_cmp(a));
        let unmade = (self.trials as usize).saturating_sub(losses.len());
        let place = ((self.exceed * self.trials as f64) as usize).checked_sub(unmade);
        let loss = place.map_or(1.0, |place| worst_first.get(place).copied().unwrap_or(0.0));
        rate * (1.0 - loss)
    }
}

/// What came of the trials at one load.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// On which side the load is.
    pub judgement: Judgement,
    /// How many of the trials lost more than the goal allows.
    pub bad: u64,
    /// The share that each of them lost, without those that were the generator's.
    pub losses: Vec<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::histogram;

    fn goal(text: &str) -> Goal {
        text.parse().unwrap()
    }

    /// A trial of a thousand messages, of which so many were lost.
    fn trial(lost: u64) -> Trial {
        Trial {
            offered: 1000.0,
            achieved: 1000.0,
            answered: 1000.0,
            sent: 1000,
            lost,
            own_losses: 0,
            batches: Vec::new(),
            response: histogram(),
            lag_p99: 0,
            generator_was_busy: false,
        }
    }

    /// The series of trials that lost so many messages, in turn.
    fn series(goal: &Goal, lost: impl Fn(usize) -> u64) -> Series {
        let mut number = 0..;
        goal.series::<()>(|| Ok(trial(lost(number.next().unwrap())))).unwrap()
    }

    #[test]
    fn the_limits_are_those_of_the_binomial_law() {
        // P(X ≤ 4) = 0.0036 and P(X ≤ 5) = 0.0133 of 21 at one half; of 104 at 5 %, P(X = 0) = 0.0048.
        assert_eq!(limits(21, 0.5), (Some(4), Some(17)));
        assert_eq!(limits(104, 0.05).0, Some(0));
        assert_eq!(limits(103, 0.05).0, None);
        assert_eq!(limits(7, 0.5), (None, None));
        assert_eq!([0.5, 0.05, 0.95].map(fewest), [8, 104, 104]);
        let (few, many) = limits(MOST_TRIALS, 0.5);
        // 5,000 ± 2.576 deviations of 50.
        assert!((4868..=4872).contains(&few.unwrap()) && (5128..=5132).contains(&many.unwrap()), "{few:?} {many:?}");
    }

    #[test]
    fn what_is_given_is_read_and_the_rest_has_defaults() {
        let ndr = goal("loss=0");
        assert_eq!((ndr.loss, ndr.exceed, ndr.trial, ndr.trials), (0.0, 0.5, 500_000_000, 21));
        let pdr = goal("loss=0.5%,exceed=10%,trial=1s,sum=100s");
        assert_eq!((pdr.loss, pdr.exceed, pdr.trial, pdr.trials), (0.005, 0.1, 1_000_000_000, 100));
    }

    #[test]
    fn what_is_no_goal_is_refused_with_what_would_be_one() {
        for (text, named) in [
            ("", "looks like"),
            ("exceed=10%", "looks like"),
            ("loss<1%", "looks like"),
            ("loss=1%,size=4", "looks like"),
            ("loss=100%", "below 100%"),
            ("loss=few", "below 100%"),
            ("loss=0,exceed=0", "--slo"),
            ("loss=0,trial=0s", "500ms"),
            ("loss=0,trial=49ms", "at least 50ms"),
            ("loss=0,sum=2s", "at least 8, sum=4s"),
            ("loss=0,exceed=5%", "at least 104, sum=52s"),
            ("loss=0,exceed=0.0000000001%", "too few"),
            ("loss=0,trial=50ms,sum=1h", "at most 10000"),
        ] {
            let refusal = text.parse::<Goal>().unwrap_err();
            assert!(refusal.contains(named), "{text:?}: {refusal}");
        }
    }

    #[test]
    fn a_series_ends_as_soon_as_its_end_is_certain() {
        let goal = goal("loss=1%");
        let all_good = series(&goal, |_| 10);
        assert_eq!((all_good.losses.len(), all_good.bad), (17, 0));
        assert!(all_good.judgement.holds && all_good.judgement.is_sure);
        let all_bad = series(&goal, |_| 11);
        assert_eq!((all_bad.losses.len(), all_bad.bad), (17, 17));
        assert!(!all_bad.judgement.holds && all_bad.judgement.is_sure);
        let unclear = series(&goal, |number| if number % 2 == 0 { 11 } else { 0 });
        assert_eq!((unclear.losses.len(), unclear.bad), (10, 5));
        assert!(!unclear.judgement.is_sure);
        let noisy = series(&goal, |number| if number % 6 == 5 { 1000 } else { 0 });
        assert!(
            noisy.judgement.holds && noisy.judgement.is_sure && noisy.bad == 3,
            "bursts in every sixth are forgiven"
        );
    }

    #[test]
    fn a_trial_that_the_generator_spoilt_says_nothing_and_many_say_that_it_is_the_limit() {
        let goal = goal("loss=0");
        let with = |spoil: fn(&mut Trial), each: usize| {
            let mut number = 0;
            let make = || {
                let mut trial = trial(5);
                number += 1;
                if number % each == 0 {
                    spoil(&mut trial);
                }
                Ok::<_, ()>(trial)
            };
            goal.series(make).unwrap()
        };
        for spoil in [
            (|trial| trial.generator_was_busy = true) as fn(&mut Trial),
            |trial| trial.own_losses = 5,
            |trial| trial.achieved = 900.0,
        ] {
            let judgement = with(spoil, 1).judgement;
            assert!(judgement.is_generators && !judgement.is_sure);
            let series = with(spoil, 6);
            assert!(series.judgement.is_sure && !series.judgement.holds, "{series:?}");
            assert_eq!(series.losses.len(), 17);
        }
        assert!(!with(|trial| trial.own_losses = 4, 1).judgement.is_generators, "one was the server's");
    }

    #[test]
    fn a_glance_believes_one_good_trial_and_no_single_bad_one() {
        let glance = |lost: &[u64]| {
            let mut lost = lost.iter();
            let judgement = goal("loss=0").glance::<()>(|| Ok(trial(*lost.next().unwrap()))).unwrap();
            (judgement.holds, lost.len())
        };
        assert_eq!(glance(&[0]), (true, 0));
        assert_eq!(glance(&[1, 1, 1]), (false, 0));
        assert_eq!(glance(&[1, 0, 0]), (true, 0));
        assert_eq!(glance(&[1, 0, 1, 0, 1, 0, 1, 0, 1]), (false, 0), "in the end it seems to fail");
    }

    #[test]
    fn the_conditional_throughput_is_that_of_the_worst_trial_that_is_not_forgiven() {
        let goal = goal("loss=10%,sum=5s");
        assert_eq!(goal.trials, 10);
        // Five of ten may be worse, and the tenth was not made.
        let losses = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.5, 0.9];
        assert!((goal.conditional_throughput(1000.0, &losses) - 950.0).abs() < 1e-9);
        assert!(goal.conditional_throughput(1000.0, &losses[..4]).abs() < 1e-9, "six not made: nothing is known");
        assert!((goal.conditional_throughput(1000.0, &[0.0; 10]) - 1000.0).abs() < 1e-9);
    }
}
