//! VALID, SUSPECT or INVALID: whether a measurement can be believed, why, and what to do. Pure: no I/O.
//!
//! Each check compares one value with named limits. A check whose question does not arise, such as the offered rate of
//! a closed loop, is not made and not listed. The verdict is the worst of all checks.

mod checks;
mod presence;
#[cfg(test)]
pub(crate) mod tests;
mod together;

use serde::{Deserialize, Serialize};

use crate::clock::{Nanos, SECOND};
pub use presence::Presence;
pub use together::{Together, judge_together};

/// How far a measurement can be believed, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every check is good.
    Valid,
    /// The figures may be off in a way that a check names.
    Suspect,
    /// The figures say more about the generator or its machine than about the server.
    Invalid,
}

impl Verdict {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Valid => "VALID",
            Verdict::Suspect => "SUSPECT",
            Verdict::Invalid => "INVALID",
        }
    }
}

/// One question about a measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Check {
    /// Its name, the same in every version.
    pub id: String,
    /// Whether the answer is good.
    pub ok: bool,
    /// How bad it is.
    pub verdict: Verdict,
    /// What was measured: a ratio, a share of one or a number, as the check says.
    pub value: f64,
    /// Up to which number it is good; for `rate_reached`, `effective_size` and `overlap`, from where on.
    pub limit: f64,
    /// The answer in words, and what to do if it is not good.
    pub why: String,
}

/// The verdict with its reasons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Validity {
    /// The worst of all checks.
    pub verdict: Verdict,
    /// Every check that was made.
    pub checks: Vec<Check>,
}

/// What an open loop was to do and did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Offered {
    /// Messages that the schedule had by the end.
    pub scheduled: u64,
    /// Messages sent.
    pub sent: u64,
    /// A window, a full socket or a connection to be opened kept messages back: the server was too slow to take them.
    pub is_held_up: bool,
    /// The distance of the gaps between sends from their law, and how many gaps that is of.
    pub arrivals: Option<(f64, usize)>,
}

/// Everything that the verdict hangs on. What is not known, or has no meaning in this run, is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// What is known of the server's being there, transport by transport.
    pub presence: Vec<Presence>,
    /// Open loop only.
    pub offered: Option<Offered>,
    /// The 99th percentile of the lag.
    pub lag_p99: Nanos,
    /// The median service time.
    pub service_p50: Nanos,
    /// The share of the time of sending that the generator's thread was on a processor and did not only wait for the time
    /// of a send.
    pub own_cpu: Option<f64>,
    /// The same for the server's process, 2.0 being two processors.
    pub server_cpu: Option<f64>,
    /// The share of the time of sending that the generator's thread waited for a processor.
    pub waited: Option<f64>,
    /// The share of all processors' time that was stolen.
    pub steal: Option<f64>,
    /// Involuntary switches of the generator's thread, a second of sending.
    pub switches: Option<f64>,
    /// The 99th percentile of the response time in consecutive slices.
    pub slices: Vec<f64>,
    /// What the latencies are worth in independent measurements.
    pub effective_size: f64,
    /// The 99th percentile of the response time.
    pub p99: Nanos,
    /// Its confidence interval; an end that is not known is `None`.
    pub p99_interval: (Option<Nanos>, Option<Nanos>),
    /// The mean number of messages in flight, and what it is by Little's law.
    pub little: Option<(f64, f64)>,
    /// By the kernel's timestamps: the generator's own share of the response times around the 99th percentile, and how
    /// long network and server took of them.
    pub own_tail: Option<(f64, Nanos)>,
}

/// Whether a generator that used such a share of its processor, and waited for it for such a share of the time, was too
/// busy to be believed.
pub fn is_busy(own_cpu: f64, waited: f64) -> bool {
    checks::is_busy(own_cpu, waited)
}

/// Judges a measurement.
pub fn judge(facts: &Facts) -> Validity {
    let mut made = Vec::new();
    made.extend(presence::server_there(&facts.presence));
    made.extend(facts.offered.map(|offered| checks::rate_reached(&offered, facts)));
    let lag = checks::lag(facts);
    let is_on_time = lag.ok;
    made.push(lag);
    made.extend(checks::headroom(facts));
    made.extend(facts.waited.map(checks::waited));
    made.extend(facts.steal.map(checks::steal));
    made.extend(facts.switches.map(|rate| checks::switches(rate, facts.waited)));
    made.extend(facts.offered.and_then(|offered| offered.arrivals).map(checks::arrivals));
    made.extend(checks::stationary(&facts.slices));
    made.push(checks::effective_size(facts.effective_size));
    made.push(checks::interval(facts));
    made.extend(facts.little.map(checks::little));
    made.extend(facts.own_tail.map(|own| checks::own_tail(own, is_on_time)));
    let verdict = made.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Invalid);
    Validity { verdict, checks: made }
}

/// Whether the tail of one half of a run is that of the other, from its 99th percentile in consecutive slices of time.
/// `None` where there are too few of them to tell.
pub fn stationary(slices: &[f64]) -> Option<Check> {
    checks::stationary(slices)
}

/// The mean number of messages in flight, and rate times mean service time, from times in nanoseconds.
///
/// `area` is message-nanoseconds, summed at every send and every end of a message; `answered` times their mean service
/// time, and the time of those `unanswered`, is the same summed up message by message.
pub fn little_facts(area: u128, answered: u64, mean_service: f64, unanswered: u128, wall: Nanos) -> (f64, f64) {
    let wall = wall.max(1) as f64;
    (area as f64 / wall, (answered as f64 * mean_service + unanswered as f64) / wall)
}

/// Events a second.
pub fn rate(events: u64, wall: Nanos) -> f64 {
    events as f64 * SECOND as f64 / wall.max(1) as f64
}
