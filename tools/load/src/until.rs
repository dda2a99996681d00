//! When a run has measured a percentile closely enough: the rule of `--until`. Pure: no I/O, no clock.
//!
//! Whoever looks at an interval again and again and stops when he likes it is wrong more often than the interval says.
//! The rule keeps that in bounds by four conditions, each of which a simulation shows to be needed:
//!
//! - The first look is at [`FIRST_LOOK`], and each is a quarter later than the one before: two dozen looks in five
//!   minutes, and not six thousand. Who looks early stops before the first rare stall, and believes that there is none.
//! - The interval is of the *effective* sample, which neighbours that are alike count less for, and that has at least
//!   1,000 values, and 10 on either side of the percentile.
//! - Two looks in a row must find the interval tight: one may owe it to an estimate that was lucky.
//! - The run must be stationary so far: the tail of one half is that of the other.
//!
//! With these the interval of a run that stopped holds the truth as often as any 95 % interval does, so no further
//! correction for the number of looks is made: `tests/virtual_time/until.rs` counts it over hundreds of runs.

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::clock::{Nanos, SECOND};
use crate::evidence::{self, Evidence};
use crate::gates::share;
use crate::recorder::histogram;
use crate::report::until::{Outcome, Until};
use crate::verdict;

/// The first look: the test for drift has its sixteen slices by then, and some to spare.
pub const FIRST_LOOK: Nanos = 2 * SECOND;

/// From one look to the next: at most a quarter more is measured than was needed for one.
const NEXT_LOOK: f64 = 1.25;

/// Two looks must fit into a run, and the drain between them and its end.
pub const SHORTEST: Duration = Duration::from_secs(3);

/// How long a run goes on that does not reach its goal.
pub const USUAL_MOST: Duration = Duration::from_secs(120);

/// Independent values without which nothing is believed. There are between 128 and 256 batches in the estimate of the
/// effective size, so a thousand means that a batch is four times as long as the likeness of neighbours that it found:
/// with fewer the batches may be too short to see it.
const FEWEST: f64 = 1000.0;

/// Independent values on either side of the percentile without which it is hearsay.
const BEYOND: f64 = 10.0;

/// An effective sample that has grown by less while the time doubled does not grow.
const GROWTH: f64 = 1.2;

/// The widest and the narrowest goal. A bucket of the histogram is up to 0.1 % wide.
const WIDTHS: std::ops::RangeInclusive<f64> = 0.002..=0.5;

/// A percentile of the response time, and how closely to know it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    /// Above 0 and below 100.
    pub percentile: f64,
    /// Half the width of its 95 % confidence interval, as a share of its value.
    pub width: f64,
}

impl Goal {
    fn quantile(self) -> f64 {
        self.percentile / 100.0
    }

    /// Independent values that an interval takes.
    fn fewest(self) -> f64 {
        FEWEST.max(BEYOND / self.quantile().min(1.0 - self.quantile()))
    }
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hint = || "a goal looks like p99±2% or p99+-2%".to_owned();
        let (name, width) = text.split_once('±').or_else(|| text.split_once("+-")).ok_or_else(hint)?;
        let percentile = name.trim().strip_prefix('p').and_then(|number| number.parse::<f64>().ok());
        let percentile = percentile.ok_or_else(hint)?;
        if !(percentile > 0.0 && percentile < 100.0) {
            return Err("a percentile above p0 and below p100, of which neither has a confidence interval".into());
        }
        let width = share(width.trim()).map_err(|_| hint())?;
        if !WIDTHS.contains(&width) {
            return Err("from ±0.2%, below which the histogram is too coarse, to ±50%".into());
        }
        Ok(Goal { percentile, width })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}±{}%", self.percentile, percent(self.width))
    }
}

/// In percent, without the digits that a product of floating-point numbers adds.
fn percent(share: f64) -> f64 {
    (share * 1e6).round() / 1e4
}

/// Says when to look.
#[derive(Debug, Clone, Copy)]
pub struct Looks {
    next: Nanos,
}

impl Default for Looks {
    fn default() -> Self {
        Looks { next: FIRST_LOOK }
    }
}

impl Looks {
    /// Whether it is time for the next look, which is then counted as taken.
    pub fn is_due(&mut self, elapsed: Nanos) -> bool {
        let is_due = elapsed >= self.next;
        while elapsed >= self.next {
            self.next = (self.next as f64 * NEXT_LOOK) as Nanos;
        }
        is_due
    }
}

/// What has been measured so far, over all transports and generators.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The response times.
    pub response: Histogram<u64>,
    /// How many independent measurements they are worth to the percentile of the goal.
    pub size: f64,
    /// The 99th percentile in consecutive slices of time, of the stream with the most answers.
    pub slices: Vec<f64>,
}

impl Reading {
    /// Of the response times of each stream, and what was collected about them, for this goal: bursts of slow answers may
    /// decide one percentile and not reach another.
    pub fn of<'a>(goal: Goal, streams: impl Iterator<Item = (&'a Histogram<u64>, &'a Evidence)> + Clone) -> Self {
        let mut response = histogram();
        for (part, _) in streams.clone() {
            response.add(part).expect("all histograms have the same bounds");
        }
        let size = evidence::effective_size_at(goal.quantile(), streams.clone().map(|(_, evidence)| evidence));
        let busiest = streams.max_by_key(|(part, _)| part.len());
        Reading { response, size, slices: busiest.map(|(_, evidence)| evidence.slices()).unwrap_or_default() }
    }
}

/// What one look found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// Since the start of the measurement.
    pub elapsed: Nanos,
    /// The percentile.
    pub value: Nanos,
    /// Its 95 % confidence interval; an end that is not known is `None`.
    pub interval: (Option<Nanos>, Option<Nanos>),
    /// Half the width of that, as a share of the value.
    pub width: Option<f64>,
    /// How many independent measurements it is of.
    pub size: f64,
    /// Whether the interval is as narrow as asked, of enough values of a stationary run.
    pub is_tight: bool,
}

/// The rule, and what it has seen.
#[derive(Debug, Clone)]
pub struct Rule {
    goal: Goal,
    /// At most one for each quarter more of time: of a year, eighty.
    looks: Vec<Look>,
}

impl Rule {
    /// A rule that has seen nothing.
    pub fn new(goal: Goal) -> Self {
        Rule { goal, looks: Vec::new() }
    }

    /// The goal.
    pub fn goal(&self) -> Goal {
        self.goal
    }

    /// What was found last.
    pub fn latest(&self) -> Option<Look> {
        self.looks.last().copied()
    }

    /// Whether the last two looks found what was asked for.
    pub fn is_reached(&self) -> bool {
        matches!(self.looks[..], [.., before, last] if before.is_tight && last.is_tight)
    }

    /// Looks, and says whether the run may stop.
    pub fn look(&mut self, elapsed: Nanos, reading: &Reading) -> bool {
        let Goal { width: wanted, .. } = self.goal;
        let q = self.goal.quantile();
        let response = &reading.response;
        let value = response.value_at_quantile(q).min(response.max());
        let interval = evidence::interval(response, q, reading.size);
        let width = evidence::half_width(value, interval);
        let is_enough = reading.size >= self.goal.fewest();
        let is_tight = is_enough && width.is_some_and(|width| width <= wanted) && unsteady(reading).is_none();
        self.looks.push(Look { elapsed, value, interval, width, size: reading.size, is_tight });
        self.is_reached()
    }

    /// What came of it, after a run of at most `most`. A run that has not stopped by itself has a last look, at all of it.
    pub fn finish(mut self, elapsed: Nanos, most: Nanos, reading: &Reading) -> Until {
        if !self.is_reached() {
            self.look(elapsed, reading);
        }
        let Goal { percentile, width } = self.goal;
        let look = self.looks[self.looks.len() - 1];
        let (outcome, needed_ns, why) = self.outcome(&look, reading);
        Until {
            goal: self.goal.to_string(),
            percentile,
            width,
            max_duration_ns: most,
            outcome,
            after_ns: look.elapsed,
            value_ns: look.value,
            lo_ns: look.interval.0,
            hi_ns: look.interval.1,
            half_width: look.width,
            n_eff: look.size as u64,
            looks: self.looks.len() as u64,
            needed_ns,
            why,
        }
    }

    fn outcome(&self, look: &Look, reading: &Reading) -> (Outcome, Option<Nanos>, String) {
        if self.is_reached() {
            return (Outcome::Reached, None, String::new());
        }
        let obstacle = unsteady(reading).or_else(|| self.stagnation(look)).or_else(|| cliff(look, reading));
        if let Some(why) = obstacle {
            return (Outcome::Impossible, None, why);
        }
        // The width goes with the root of the number of independent values, and that with the time.
        let by_width = look.width.map_or(1.0, |width| (width / self.goal.width).powi(2));
        let by_number = self.goal.fewest() / look.size.max(1.0);
        let times = by_width.max(by_number).max(NEXT_LOOK);
        (Outcome::NotReached, Some((look.elapsed as f64 * times) as Nanos), String::new())
    }

    /// Why more time would not help: the effective sample does not grow with it.
    fn stagnation(&self, look: &Look) -> Option<String> {
        let half = self.looks.iter().rev().find(|earlier| 2 * earlier.elapsed <= look.elapsed)?;
        (look.size < GROWTH * half.size).then(|| {
            format!(
                "the effective sample does not grow: worth {:.0} independent answers after {:.1} s, and {:.0} after \
                 {:.1} s; what it measures changes more slowly than that",
                half.size,
                half.elapsed as f64 / SECOND as f64,
                look.size,
                look.elapsed as f64 / SECOND as f64
            )
        })
    }
}

/// What the tail of the run has become since its beginning, if that is more than chance.
fn unsteady(reading: &Reading) -> Option<String> {
    verdict::stationary(&reading.slices).filter(|check| !check.ok).map(|check| check.why)
}

/// Why the interval does not narrow although there is more and more: the percentile stands where the distribution jumps,
/// and nothing lies between its two sides.
fn cliff(look: &Look, reading: &Reading) -> Option<String> {
    /// So many values leave no such gap by chance.
    const ENOUGH: u64 = 20;
    let (low, high) = (look.interval.0?, look.interval.1?);
    let within = |value: &u64| (low..=high).contains(value);
    let values: Vec<(u64, u64)> = reading
        .response
        .iter_recorded()
        .map(|step| (step.value_iterated_to(), step.count_at_value()))
        .filter(|(value, _)| within(value))
        .collect();
    let number: u64 = values.iter().map(|(_, count)| count).sum();
    let (below, above) =
        values.windows(2).map(|pair| (pair[0].0, pair[1].0)).max_by_key(|(below, above)| above - below)?;
    (number >= ENOUGH && above - below > (high - low) / 2).then(|| {
        format!(
            "nothing lies between {:.1} and {:.1} us, and the percentile is now on this side and now on that; ask for \
             another one",
            below as f64 / 1000.0,
            above as f64 / 1000.0
        )
    })
}
