//! What came of `--until`, as a document has it and in a sentence. Pure: no I/O.

use serde::{Deserialize, Serialize};

use super::screen::micros;
use crate::clock::{Nanos, SECOND};

/// How a run ended that was to go on until a percentile was known closely enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It stopped because it is.
    Reached,
    /// It is not yet, and a longer run would get there.
    NotReached,
    /// It is not, and a longer run would not get there either.
    Impossible,
}

/// A run that was to go on until a percentile of the response time was known closely enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Until {
    /// The goal, as `--until` takes it.
    pub goal: String,
    /// The number of the percentile.
    pub percentile: f64,
    /// Half the width of its confidence interval that was asked for, as a share of its value.
    pub width: f64,
    /// How long the run could go on, in nanoseconds.
    pub max_duration_ns: u64,
    /// Whether the goal was reached.
    pub outcome: Outcome,
    /// When that was found out, in nanoseconds since the start of the measurement. What follows is as of then; answers
    /// that were still under way are in the rest of the document.
    pub after_ns: u64,
    /// The percentile of what was answered, in nanoseconds.
    pub value_ns: u64,
    /// The lower end of its 95 % confidence interval, in nanoseconds, where it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lo_ns: Option<u64>,
    /// The upper end, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hi_ns: Option<u64>,
    /// Half the width of the interval, as a share of the percentile, where both ends are known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub half_width: Option<f64>,
    /// The number of independent answers that those so far were worth.
    pub n_eff: u64,
    /// How many times the interval was looked at.
    pub looks: u64,
    /// About how long the run would have to be, in nanoseconds, where a longer one would do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub needed_ns: Option<u64>,
    /// Why a longer one would not.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub why: String,
}

impl Until {
    /// Whether the percentile is as close as asked for.
    pub fn is_reached(&self) -> bool {
        self.outcome == Outcome::Reached
    }

    /// The outcome in a few words.
    pub fn brief(&self) -> String {
        let width = self.half_width.map_or_else(|| "?".into(), percent);
        match self.outcome {
            Outcome::Reached => format!("±{width} after {}", span(self.after_ns)),
            Outcome::NotReached => format!("NOT REACHED: ±{width} after {}", span(self.after_ns)),
            Outcome::Impossible => format!("CANNOT BE HAD: ±{width} after {}", span(self.after_ns)),
        }
    }

    /// The outcome in a sentence.
    pub fn sentence(&self) -> String {
        let after = span(self.after_ns);
        let name = format!("p{}", self.percentile);
        let known = match (self.half_width, self.lo_ns, self.hi_ns) {
            (Some(width), Some(low), Some(high)) => {
                let interval = format!("95% CI [{} .. {}] us", micros(low), micros(high));
                format!("{name} is {} us ±{}, {interval}", micros(self.value_ns), percent(width))
            }
            _ => format!("{name} has no interval yet, worth {} independent answers", self.n_eff),
        };
        let wanted = percent(self.width);
        match self.outcome {
            Outcome::Reached => format!("stopped after {after}: {known}"),
            Outcome::NotReached => {
                let needed =
                    self.needed_ns.map_or_else(String::new, |time| format!("; it would take about {}", span(time)));
                format!("not within ±{wanted} after {after}: {known}{needed}")
            }
            Outcome::Impossible => format!("±{wanted} cannot be had: {}; after {after} {known}", self.why),
        }
    }
}

/// A share in percent, with a digit of a percent and two below one.
pub(crate) fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent < 0.995 { format!("{percent:.2}%") } else { format!("{percent:.1}%").replace(".0%", "%") }
}

/// A time in the unit that people would say it in.
pub(crate) fn span(time: Nanos) -> String {
    /// Up to this in seconds.
    const MINUTES: f64 = 120.0;
    /// Up to this in minutes.
    const HOURS: f64 = 120.0 * 60.0;
    let seconds = time as f64 / SECOND as f64;
    if seconds < MINUTES {
        format!("{seconds:.1} s")
    } else if seconds < HOURS {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.0} h", seconds / 3600.0)
    }
}

#[cfg(test)]
impl Until {
    /// One that stopped after 14.2 s.
    pub(crate) fn for_tests() -> Self {
        Until {
            goal: "p99±2%".into(),
            percentile: 99.0,
            width: 0.02,
            max_duration_ns: 120 * SECOND,
            outcome: Outcome::Reached,
            after_ns: 14_200_000_000,
            value_ns: 812_300,
            lo_ns: Some(797_000),
            hi_ns: Some(828_100),
            half_width: Some(0.0191),
            n_eff: 46_000,
            looks: 10,
            needed_ns: None,
            why: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(outcome: Outcome) -> Until {
        Until { outcome, ..Until::for_tests() }
    }

    #[test]
    fn each_outcome_is_said_with_what_is_known() {
        let known = "p99 is 812.3 us ±1.9%, 95% CI [797.0 .. 828.1] us";
        assert_eq!(until(Outcome::Reached).sentence(), format!("stopped after 14.2 s: {known}"));
        let slow = Until { after_ns: 120 * SECOND, needed_ns: Some(480 * SECOND), ..until(Outcome::NotReached) };
        assert_eq!(slow.sentence(), format!("not within ±2% after 2 min: {known}; it would take about 8 min"));
        let none = Until { half_width: None, lo_ns: None, n_eff: 300, ..slow };
        let sentence = none.sentence();
        assert!(sentence.contains("p99 has no interval yet, worth 300 independent answers; it would"), "{sentence}");
        let never = Until { why: "not stationary: it grows".into(), ..until(Outcome::Impossible) };
        assert!(never.sentence().starts_with("±2% cannot be had: not stationary: it grows; after 14.2 s p99 is 812.3"));
    }

    #[test]
    fn times_and_shares_are_short() {
        assert_eq!(
            [5, 119, 120, 7000, 36_000].map(|seconds| span(seconds * SECOND)),
            ["5.0 s", "119.0 s", "2 min", "117 min", "10 h"]
        );
        assert_eq!([0.002, 0.00999, 0.02, 0.041, 0.5].map(percent), ["0.20%", "1%", "2%", "4.1%", "50%"]);
    }
}
