//! The search for the greatest rate that holds the objectives. Pure: it says what to try, and is told what came of it.
//!
//! ```text
//!  Growing ──first failure──▶ Bisecting ──close enough──▶ confirm the lower end ──▶ confirm the upper end ──▶ Done
//!  (short trials, doubling)   (short trials)              (long trials, stepping    (the same, upwards)
//!      ▲                                                   down until one is sure)        │
//!      └──────────────────────────── it surely holds there after all ─────────────────────┘
//! ```
//!
//! Short trials only find the place; what the answer claims rests on long ones alone. All rates are achieved rates, those
//! at which messages really left: a search on requested rates would go on rising while nothing changes. What a trial is,
//! and how it is judged, is [`super::aim`]'s business.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::judge::Judgement;

/// Long trials for each bound. With more, one of them would sooner or later be sure by chance.
pub const MOST_CONFIRMATIONS: usize = 4;

/// Short trials: seventeen doublings lead from 1,000 to 100 million a second, and ten halvings to a thousandth of a
/// doubling.
const MOST_SHORT_TRIALS: usize = 30;

/// Further short trials at a rate where the generator was to blame: most such causes are gone a moment later, and one that
/// is taken for a limit ends the growth.
const MOST_RETRIES: usize = 2;

/// How often the growth goes on from a rate that seemed to fail in a short trial and surely held in a long one: a machine
/// that stalls for a moment must not end it.
const MOST_RETURNS: usize = 2;

/// What to search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// The rate to begin with, in messages a second.
    pub first: f64,
    /// The lowest rate worth an answer.
    pub least: f64,
    /// The highest.
    pub most: f64,
    /// How close the ends may come, as a share of the rate: above 0.
    pub precision: f64,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// Make a trial and report it with [`Search::note`].
    Try {
        /// Messages a second.
        rate: f64,
        /// Whether the answer will rest on it: a long trial then, otherwise a short one.
        is_long: bool,
    },
    /// The search is over.
    Done(Answer),
}

/// Why a bound is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Limit {
    /// The search found the server's limit.
    Server,
    /// The generator could send no faster, or not on time: the server may be able to take more.
    Generator,
    /// The highest or lowest rate that was allowed.
    Range,
    /// Long trials at rates ever farther away were still undecided.
    Unclear,
}

/// Between what the capacity lies, with 95 % confidence for both ends together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Answer {
    /// The greatest rate that surely held, in messages a second; null where no rate did.
    pub lower: Option<f64>,
    /// The smallest that surely failed, in messages a second; null where `limit` says why there is none.
    pub upper: Option<f64>,
    /// What ended the search upwards.
    pub limit: Limit,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Short,
    Lower { rate: f64, tried: usize },
    Upper { rate: f64, tried: usize },
    Done,
}

/// Long trials that proved nothing.
#[derive(Debug, Clone, Copy, Default)]
struct Unproved {
    all: usize,
    /// Those of which the generator may be the reason.
    generators: usize,
}

impl Unproved {
    fn add(&mut self, judgement: Judgement) {
        self.all += 1;
        self.generators += usize::from(judgement.is_generators);
    }

    /// What they say has ended the search.
    fn limit(self) -> Limit {
        if 2 * self.generators > self.all { Limit::Generator } else { Limit::Unclear }
    }
}

/// The state of a search.
#[derive(Debug, Clone)]
pub struct Search {
    limits: Limits,
    phase: Phase,
    short_trials: usize,
    retries: usize,
    returns: usize,
    rate: f64,
    /// The greatest rate that seemed to hold, and the smallest that seemed not to.
    holds_at: Option<f64>,
    /// The greatest at which a short trial was sure that it holds, with nothing that may be the generator's.
    surely_holds_at: Option<f64>,
    fails_at: Option<f64>,
    /// Whose fault `fails_at` was.
    limit: Limit,
    /// The long trials for a bound that is not found yet.
    unproved: Unproved,
    answer: Answer,
}

impl Search {
    /// A search within `limits`.
    pub fn new(limits: Limits) -> Self {
        let rate = limits.first.clamp(limits.least, limits.most);
        let answer = Answer { lower: None, upper: None, limit: Limit::Range };
        Search {
            limits,
            phase: Phase::Short,
            short_trials: 0,
            retries: 0,
            returns: 0,
            rate,
            holds_at: None,
            surely_holds_at: None,
            fails_at: None,
            limit: Limit::Range,
            unproved: Unproved::default(),
            answer,
        }
    }

    /// What to do next.
    pub fn next(&self) -> Step {
        match self.phase {
            Phase::Short => Step::Try { rate: self.rate, is_long: false },
            Phase::Lower { rate, .. } | Phase::Upper { rate, .. } => Step::Try { rate, is_long: true },
            Phase::Done => Step::Done(self.answer),
        }
    }

    /// Tells what came of the trial that [`next`](Self::next) asked for, in which messages left at `achieved` a second.
    pub fn note(&mut self, achieved: f64, judgement: Judgement) {
        match self.phase {
            Phase::Short => self.note_short(achieved, judgement),
            Phase::Lower { rate, tried } => {
                self.learn(achieved, judgement);
                let is_found = judgement.holds && judgement.is_sure;
                if is_found || tried + 1 == MOST_CONFIRMATIONS || rate <= self.limits.least {
                    self.confirm_upper();
                } else {
                    let rate = self.lower_rate(rate, tried, judgement).max(self.limits.least);
                    self.phase = Phase::Lower { rate, tried: tried + 1 };
                }
            }
            Phase::Upper { rate, tried } => {
                self.learn(achieved, judgement);
                let surely_holds = judgement.holds && judgement.is_sure && !judgement.is_generators;
                if self.answer.upper.is_some() {
                    self.finish(Limit::Server);
                } else if rate >= self.limits.most && judgement.holds {
                    self.finish(Limit::Range);
                } else if surely_holds && self.returns < MOST_RETURNS {
                    self.grow_on_from(achieved);
                } else if tried + 1 == MOST_CONFIRMATIONS {
                    self.finish(self.unproved.limit());
                } else if judgement.is_generators && !judgement.holds {
                    self.phase = Phase::Upper { rate, tried: tried + 1 };
                } else {
                    let rate = (rate * (1.0 + self.step(tried))).min(self.limits.most);
                    self.phase = Phase::Upper { rate, tried: tried + 1 };
                }
            }
            Phase::Done => {}
        }
    }

    /// Where the next long trial for the lower end is, after one at `rate` that was no proof.
    ///
    /// A limit of the server is near, and a few steps lead below it. A generator that is behind may be so by any factor, as
    /// what it manages for half a second it need not manage for long: it is given what a short trial was sure of, and then
    /// half of that. So is the last trial, for an answer far below the limit is better than none.
    fn lower_rate(&self, rate: f64, tried: usize, judgement: Judgement) -> f64 {
        let step = rate * (1.0 - self.step(tried));
        let sure = self.surely_holds_at.filter(|sure| *sure < rate);
        if judgement.is_generators {
            sure.unwrap_or(rate / 2.0)
        } else if tried + 2 == MOST_CONFIRMATIONS {
            sure.map_or(step, |sure| sure.min(step))
        } else {
            step
        }
    }

    /// How far the next long trial is from one that was not sure.
    fn step(&self, tried: usize) -> f64 {
        (self.limits.precision * f64::from(1_u32 << tried)).min(0.5)
    }

    fn note_short(&mut self, achieved: f64, judgement: Judgement) {
        self.short_trials += 1;
        if !judgement.holds && judgement.is_generators && self.retries < MOST_RETRIES {
            self.retries += 1;
            return;
        }
        self.retries = 0;
        if judgement.holds {
            self.holds_at = Some(self.holds_at.map_or(achieved, |rate| rate.max(achieved)));
            if judgement.is_generators {
                // It asked for more than leaves: more still would be the same trial again.
                (self.fails_at, self.limit) = (Some(achieved), Limit::Generator);
            } else if judgement.is_sure {
                self.surely_holds_at = Some(self.surely_holds_at.map_or(achieved, |rate| rate.max(achieved)));
            }
        } else {
            let limit = if judgement.is_generators { Limit::Generator } else { Limit::Server };
            if self.fails_at.is_none_or(|rate| achieved < rate) {
                (self.fails_at, self.limit) = (Some(achieved), limit);
            }
        }
        let Limits { least, most, precision, .. } = self.limits;
        let next = match (self.holds_at, self.fails_at) {
            (Some(holds), None) => (holds < most).then(|| (2.0 * holds).min(most)),
            (None, Some(fails)) => (fails > least).then(|| (fails / 2.0).max(least)),
            (Some(holds), Some(fails)) => (fails > holds * (1.0 + precision)).then(|| (holds * fails).sqrt()),
            (None, None) => None,
        };
        match next {
            Some(rate) if self.short_trials < MOST_SHORT_TRIALS => self.rate = rate,
            _ => self.confirm_lower(),
        }
    }

    fn confirm_lower(&mut self) {
        self.unproved = Unproved::default();
        self.phase = match self.holds_at {
            Some(rate) => Phase::Lower { rate, tried: 0 },
            None => Phase::Upper { rate: self.limits.least, tried: 0 },
        };
    }

    fn confirm_upper(&mut self) {
        self.phase = match (self.fails_at, self.limit) {
            (Some(_), Limit::Generator) => return self.finish(Limit::Generator),
            (None, _) if self.answer.lower.is_none() => return self.finish(self.unproved.limit()),
            (None, _) => return self.finish(Limit::Range),
            (Some(_), _) if self.answer.upper.is_some() => return self.finish(Limit::Server),
            (Some(rate), _) => Phase::Upper { rate, tried: 0 },
        };
        if self.answer.lower.is_some() {
            self.unproved = Unproved::default();
        }
    }

    /// Back to short trials, without what they said of rates that are not too high after all.
    fn grow_on_from(&mut self, rate: f64) {
        self.returns += 1;
        (self.short_trials, self.retries) = (0, 0);
        (self.holds_at, self.fails_at) = (Some(rate), None);
        self.rate = (2.0 * rate).min(self.limits.most);
        self.phase = Phase::Short;
    }

    /// What is sure about a rate that was tried for long enough.
    fn learn(&mut self, achieved: f64, judgement: Judgement) {
        let Answer { lower, upper, .. } = &mut self.answer;
        match judgement {
            Judgement { holds: true, is_sure: true, .. } => {
                *lower = Some(lower.map_or(achieved, |rate| rate.max(achieved)));
            }
            Judgement { holds: false, is_sure: true, is_generators: false } => {
                *upper = Some(upper.map_or(achieved, |rate| rate.min(achieved)));
            }
            Judgement { .. } => self.unproved.add(judgement),
        }
    }

    fn finish(&mut self, limit: Limit) {
        let Answer { lower, upper, .. } = &mut self.answer;
        // A server that failed below where it held has changed meanwhile: the answer is then between the two.
        if let (Some(low), Some(high)) = (*lower, *upper) {
            (*lower, *upper) = (Some(low.min(high)), Some(low.max(high)));
        }
        self.answer.limit = limit;
        self.phase = Phase::Done;
    }
}
