//! What a search is for, objectives or a goal, and the trials that each step of it takes. Pure but for the trials, which the
//! caller makes: tests make them with simulated servers.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::capacity::{Answer, Limits, Search, Step};
use super::goal::{Goal, Series};
use super::judge::{self, Judgement};
use super::trial::Trial;
use crate::clock::Nanos;
use crate::gates::Objective;
use crate::recorder::histogram;

/// What is to hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Aim {
    /// `--slo`: bounds on what all messages of a trial have in common.
    Objectives(Vec<Objective>),
    /// `--goal`: a bound on the loss of most trials.
    Goal(Goal),
}

/// How long trials send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// Those that find the place. With a goal, no longer than its own.
    pub short: Nanos,
    /// Those that the answer rests on. A goal has its own.
    pub long: Nanos,
}

/// A rate that was tried: one trial, or for a goal several.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Tried {
    /// Which of the answers it was made for, a number from 0 on.
    pub answer: usize,
    /// Messages a second that the schedule asked for.
    pub offered: f64,
    /// Messages a second that left.
    pub achieved: f64,
    /// Answers a second that were right.
    pub answered: f64,
    /// How many trials were made.
    pub trials: u64,
    /// How long each of them sent, in nanoseconds.
    pub length_ns: Nanos,
    /// Messages sent in all of them.
    pub sent: u64,
    /// Messages without an answer in time.
    pub lost: u64,
    /// The median of the response time in nanoseconds; null without an answer.
    pub p50_ns: Option<Nanos>,
    /// Its 99th percentile in nanoseconds.
    pub p99_ns: Option<Nanos>,
    /// Whether what was to hold held.
    pub holds: bool,
    /// Whether that is more than chance.
    pub is_sure: bool,
    /// Whether the generator, and not the server, may be the reason that it did not hold or that the rate was not reached.
    pub generator_was_limit: bool,
    /// For a goal, the share of its messages that each trial lost, without those that the generator spoilt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<f64>,
    /// For a goal, the number of those that lost more than it allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bad: Option<u64>,
}

impl Aim {
    /// As it was given.
    pub fn text(&self) -> String {
        match self {
            Aim::Objectives(objectives) => {
                objectives.iter().map(|objective| objective.text.as_str()).collect::<Vec<_>>().join(", ")
            }
            Aim::Goal(goal) => goal.text.clone(),
        }
    }

    /// Searches, with `make` for each trial, which is given a rate in messages a second and how long to send. What was tried
    /// is added to `tried`; an error of `make` ends it.
    pub fn search<E>(
        &self,
        limits: Limits,
        lengths: Lengths,
        tried: &mut Vec<Tried>,
        make: &mut dyn FnMut(f64, Nanos) -> Result<Trial, E>,
    ) -> Result<Answer, E> {
        let mut search = Search::new(limits);
        let number = tried.last().map_or(0, |last| last.answer + 1);
        loop {
            let (rate, is_long) = match search.next() {
                Step::Try { rate, is_long } => (rate, is_long),
                Step::Done(answer) => return Ok(answer),
            };
            let length = match (self, is_long) {
                (Aim::Objectives(_), false) => lengths.short,
                (Aim::Objectives(_), true) => lengths.long,
                (Aim::Goal(goal), false) => lengths.short.min(goal.trial),
                (Aim::Goal(goal), true) => goal.trial,
            };
            let mut sum = Sum::default();
            let mut next = || make(rate, length).inspect(|trial| sum.add(trial));
            let (judgement, series) = match self {
                Aim::Objectives(objectives) => (judge::judge(objectives, &next()?), None),
                Aim::Goal(goal) if is_long => {
                    let series = goal.series(next)?;
                    (series.judgement, Some(series))
                }
                Aim::Goal(goal) => (goal.glance(next)?, None),
            };
            let one = sum.tried(number, length, judgement, series);
            search.note(one.achieved, judgement);
            tried.push(one);
        }
    }

    /// What the trials at the lower bound of its answer say of the answers that a user may count on; only a goal has that.
    pub fn conditional_throughput(&self, answer: &Answer, tried: &[Tried]) -> Option<f64> {
        let Aim::Goal(goal) = self else { return None };
        let is_the_bound = |one: &&Tried| Some(one.achieved) == answer.lower && one.holds && one.is_sure;
        tried.iter().find(is_the_bound).map(|one| goal.conditional_throughput(one.achieved, &one.losses))
    }
}

/// Trials at one rate, taken together.
struct Sum {
    trials: u64,
    offered: f64,
    achieved: f64,
    answered: f64,
    sent: u64,
    lost: u64,
    response: Histogram<u64>,
}

impl Default for Sum {
    fn default() -> Self {
        Sum { trials: 0, offered: 0.0, achieved: 0.0, answered: 0.0, sent: 0, lost: 0, response: histogram() }
    }
}

impl Sum {
    fn add(&mut self, trial: &Trial) {
        self.trials += 1;
        self.offered += trial.offered;
        self.achieved += trial.achieved;
        self.answered += trial.answered;
        self.sent += trial.sent;
        self.lost += trial.lost;
        self.response.add(&trial.response).expect("all histograms have the same bounds");
    }

    fn tried(self, answer: usize, length_ns: Nanos, judgement: Judgement, series: Option<Series>) -> Tried {
        let mean = |sum: f64| sum / self.trials.max(1) as f64;
        let quantile = |q: f64| (!self.response.is_empty()).then(|| self.response.value_at_quantile(q));
        Tried {
            answer,
            offered: mean(self.offered),
            achieved: mean(self.achieved),
            answered: mean(self.answered),
            trials: self.trials,
            length_ns,
            sent: self.sent,
            lost: self.lost,
            p50_ns: quantile(0.5),
            p99_ns: quantile(0.99),
            holds: judgement.holds,
            is_sure: judgement.is_sure,
            generator_was_limit: judgement.is_generators,
            bad: series.as_ref().map(|series| series.bad),
            losses: series.map_or_else(Vec::new, |series| series.losses),
        }
    }
}
