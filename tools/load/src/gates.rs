//! Conditions that a run must meet, for scripts: `--slo`, `--baseline`, `--strict`. Pure: no I/O.
//!
//! A gate on an invalid measurement is never passed: the exit code then says that nothing was learnt, rather than that
//! all is well or that the server is slow. The same goes for a run that was to go on until a percentile was known (`--until`)
//! and does not know it.

mod repeats;
#[cfg(test)]
mod tests;

pub use repeats::apply_to_all;

use std::time::Duration;

use crate::clock::{Nanos, SECOND};
use crate::loss::all_in;
use crate::recorder::LONGEST;
use crate::report::document::{Config, Counts, Document};
use crate::report::screen::{count, plural};
use crate::report::trust::GateResult;
use crate::run::exit;
use crate::saved::Kept;
use crate::verdict::Verdict;
use shout::units;

/// What a run is held against.
#[derive(Debug, Clone, Default)]
pub struct Gates {
    /// Each of these must hold.
    pub objectives: Vec<Objective>,
    /// A run to compare with, and the part by which this one may be worse.
    pub baseline: Option<(Standing, f64)>,
    /// Nothing but a valid measurement will do.
    pub is_strict: bool,
}

/// One `--slo`: a metric, a comparison and a bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    /// As it was given.
    pub text: String,
    pub(crate) metric: Metric,
    pub(crate) comparison: Comparison,
    pub(crate) bound: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Metric {
    /// Response time, with messages that had no right answer or were never sent as infinitely slow; 100 is the maximum.
    Percentile(f64),
    /// Mean response time of what was answered.
    Mean,
    /// 99th percentile of the lag, with messages that were never sent as infinitely late.
    Lag,
    /// The share of messages lost.
    Loss,
    /// Right answers a second.
    Rate,
    /// Wrong answers, refusals, and connections that ended before the run did.
    Errors,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Less,
    AtMost,
    Greater,
    AtLeast,
    Equal,
}

impl std::str::FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hint = "an objective looks like p99<2ms, loss<0.1%, rate>49k or errors=0";
        let at = text.find(['<', '>', '=']).ok_or(hint)?;
        let (name, rest) = text.split_at(at);
        let comparisons = [
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("==", Comparison::Equal),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
            ("=", Comparison::Equal),
        ];
        let (comparison, bound) = comparisons
            .into_iter()
            .find_map(|(sign, comparison)| Some((comparison, rest.strip_prefix(sign)?)))
            .ok_or(hint)?;
        let bound = bound.trim();
        let metric = match name.trim() {
            "mean" => Metric::Mean,
            "max" => Metric::Percentile(100.0),
            "lag" => Metric::Lag,
            "loss" => Metric::Loss,
            "rate" => Metric::Rate,
            "errors" => Metric::Errors,
            name => {
                let percentile = name.strip_prefix('p').and_then(|number| number.parse().ok());
                let in_range = percentile.filter(|number| (50.0..=99.99).contains(number));
                Metric::Percentile(in_range.ok_or_else(|| {
                    format!("'{name}' is none of p50 to p99.99, mean, max, lag, loss, rate and errors")
                })?)
            }
        };
        let bound = match metric {
            Metric::Percentile(_) | Metric::Mean | Metric::Lag => units::duration(bound)?.as_nanos() as f64,
            Metric::Loss => share(bound)?,
            Metric::Rate => units::count(bound.strip_suffix("/s").unwrap_or(bound))? as f64,
            Metric::Errors => units::count(bound)? as f64,
        };
        Ok(Objective { text: text.into(), metric, comparison, bound })
    }
}

/// Reads `5%` or `0.05`.
pub fn share(text: &str) -> Result<f64, String> {
    let (number, divisor) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let share = number.trim().parse::<f64>().ok().map(|number| number / divisor);
    share.filter(|share| (0.0..f64::INFINITY).contains(share)).ok_or_else(|| "a share looks like 5% or 0.05".into())
}

impl Objective {
    fn evaluate(&self, value: Option<f64>) -> GateResult {
        let ok = value.is_some_and(|value| match self.comparison {
            Comparison::Less => value < self.bound,
            Comparison::AtMost => value <= self.bound,
            Comparison::Greater => value > self.bound,
            Comparison::AtLeast => value >= self.bound,
            Comparison::Equal => value.total_cmp(&self.bound).is_eq(),
        });
        // An unanswered message took longer than any bound: that fails `p99<2ms` and would pass no `p99>2ms` either.
        let why = match value {
            _ if ok => String::new(),
            Some(value) if value.is_infinite() => "it is not known: times above a minute are kept as a minute".into(),
            Some(value) => format!("it is {}", self.metric.written(value)),
            None => "it is LOST: so many messages had no right answer or were never sent".into(),
        };
        let value = value.filter(|value| value.is_finite());
        GateResult { expr: self.text.clone(), ok, value, why }
    }
}

/// A time as far as it is known: what was recorded as [`LONGEST`] may have been anything longer, so it is within no bound.
fn known(time: Nanos, counts: &Counts) -> f64 {
    let is_clamped = counts.clamped > 0 && time >= LONGEST;
    if is_clamped { f64::INFINITY } else { time as f64 }
}

impl Metric {
    fn of(self, run: &Document) -> Option<f64> {
        let counts = &run.counts;
        let connections = &run.connections;
        match self {
            Metric::Percentile(percentile) => {
                let response = run.latency.response.histogram()?;
                Some(known(all_in(&response, counts.unanswered(), percentile / 100.0)?, counts))
            }
            // With times among them that are only known to be longer than a minute, a mean is too short.
            Metric::Mean if counts.clamped > 0 => Some(f64::INFINITY),
            Metric::Mean => (run.latency.response.n > 0).then_some(run.latency.response.mean as f64),
            Metric::Lag => {
                let lag = run.latency.lag.histogram()?;
                Some(known(all_in(&lag, counts.never_sent(), 0.99)?, counts))
            }
            Metric::Loss => Some(counts.lost as f64 / counts.sent.max(1) as f64),
            Metric::Rate => Some(achieved_rate(run)),
            Metric::Errors => {
                let ended = connections.refused + connections.reset + connections.closed + connections.timeouts;
                Some((counts.corrupt + counts.truncated + ended) as f64)
            }
        }
    }

    fn written(self, value: f64) -> String {
        match self {
            Metric::Percentile(_) | Metric::Mean | Metric::Lag => format!("{:.1} us", value / 1000.0),
            Metric::Loss => format!("{:.4}%", 100.0 * value),
            Metric::Rate => format!("{value:.0}/s"),
            Metric::Errors => format!("{value:.0}"),
        }
    }
}

/// Right answers a second of sending.
pub(crate) fn achieved_rate(run: &Document) -> f64 {
    run.counts.replied as f64 * SECOND as f64 / run.rated_ns().max(1) as f64
}

/// Evaluates every gate, and notes the results and the exit code in the document.
///
/// An interrupted run is not evaluated: it is not the run that the gates are about.
pub fn apply(gates: &Gates, run: &mut Document) {
    if run.time.interrupted && run.merged.is_none() {
        return;
    }
    let values = values(gates, run);
    let (results, code) = results(gates, &values, &Standing::of_run(run));
    run.gates = results;
    run.exit = run.exit.max(code).max(alone(gates, run));
}

/// What each objective is held against in this run.
pub fn values(gates: &Gates, run: &Document) -> Vec<Option<f64>> {
    gates.objectives.iter().map(|objective| objective.metric.of(run)).collect()
}

/// What a run must be by itself, whatever the others are like: believed, and as long as it takes.
pub fn alone(gates: &Gates, run: &Document) -> u8 {
    let is_doubtful = gates.is_strict && run.validity.verdict != Verdict::Valid;
    let parts = run.merged.iter().flat_map(|merged| &merged.parts);
    let untils = run.until.iter().chain(parts.filter_map(|part| part.until.as_ref()));
    let is_unknown = untils.into_iter().any(|until| !until.is_reached());
    if is_doubtful || is_unknown { exit::INVALID } else { exit::DONE }
}

/// The result of each gate, and the exit code that they ask for together.
fn results(gates: &Gates, values: &[Option<f64>], now: &Standing) -> (Vec<GateResult>, u8) {
    let objectives = gates.objectives.iter().zip(values);
    let mut results: Vec<GateResult> = objectives.map(|(objective, value)| objective.evaluate(*value)).collect();
    let mut is_believable = now.verdict != Verdict::Invalid;
    if let Some((baseline, regress)) = &gates.baseline {
        is_believable &= baseline.verdict != Verdict::Invalid;
        results.extend(compare(now, baseline, *regress));
    }
    let failed = results.iter().any(|result| !result.ok);
    if !is_believable {
        for result in &mut results {
            result.ok = false;
            if result.why.is_empty() {
                result.why = "the measurement is invalid".into();
            }
        }
    }
    let code = match (results.is_empty(), is_believable, failed) {
        (true, ..) | (false, true, false) => exit::DONE,
        (false, false, _) => exit::INVALID,
        (false, true, true) => exit::GATE_FAILED,
    };
    (results, code)
}

/// What runs are compared by: the settings that must be alike, and the figures that must not become worse.
#[derive(Debug, Clone)]
pub struct Standing {
    config: Config,
    transports: Vec<String>,
    verdict: Verdict,
    /// The median and the 99th percentile of the response time; `None` where a message was lost in their place.
    p50: Option<f64>,
    p99: Option<f64>,
    /// Right answers a second.
    rate: f64,
}

impl Standing {
    /// Of a saved result.
    pub fn of(kept: &Kept) -> Self {
        match kept {
            Kept::Run(run) => Standing::of_run(run),
            Kept::Repeats(repeats) => repeats::of_repeats(repeats),
        }
    }

    fn of_run(run: &Document) -> Self {
        let churn = run.config.churn.or_else(|| Some(run.churn.as_ref()?.messages));
        Standing {
            config: Config { churn, ..run.config.clone() },
            transports: run.per_transport.keys().cloned().collect(),
            // Whoever merges runs of which one was stopped is told so, by an exit code of its own.
            verdict: if run.merged.is_some() && run.time.interrupted { Verdict::Invalid } else { run.validity.verdict },
            p50: Metric::Percentile(50.0).of(run),
            p99: Metric::Percentile(99.0).of(run),
            rate: achieved_rate(run),
        }
    }

    /// Every setting that must be the same, with its value in words.
    fn settings(&self) -> [(&'static str, String); 14] {
        let config = &self.config;
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".into());
        let number = |value: Option<u64>| value.map_or_else(|| "none".into(), count);
        let rate = |rate: f64| if rate.fract() == 0.0 { count(rate as u64) } else { rate.to_string() };
        let time = |nanos: Nanos| format!("{:?}", Duration::from_nanos(nanos));
        let list = |parts: Vec<String>| if parts.is_empty() { "none".into() } else { parts.join(", ") };
        // What a run says of a transport that it did not use is no setting of it.
        let is_udp = |transport: &String| transport == "udp";
        let of_each = |udp: String, tcp: String| {
            let of = |transport| if is_udp(transport) { &udp } else { &tcp }.clone();
            list(self.transports.iter().map(of).collect())
        };
        let train = self.transports.iter().any(is_udp).then_some(config.datagrams_per_send as u64);
        [
            ("protocol", list(self.transports.clone())),
            ("model", config.model.clone()),
            ("rate", config.rate.map_or_else(|| "none".into(), |value| rate(value) + "/s")),
            ("plan", text(&config.plan)),
            ("arrival process", text(&config.arrivals)),
            ("pipeline depth", number(config.pipeline)),
            (
                "number of connections",
                of_each(plural(config.udp_sockets, "UDP socket"), plural(config.tcp_connections, "TCP connection")),
            ),
            ("size", config.size.clone()),
            ("payload", text(&config.payload)),
            ("late policy", text(&config.late)),
            ("pace", config.pace.clone()),
            ("churn", number(config.churn)),
            ("number of datagrams a system call", number(train)),
            // A loss counts as slower than any answer, and the timeout says what is one.
            ("timeout", of_each(time(config.udp_timeout_ns), time(config.tcp_timeout_ns))),
        ]
    }

    /// The first setting in which two differ so that their figures prove nothing about each other, with both values, this
    /// one's first.
    pub(crate) fn difference(&self, other: &Standing) -> Option<String> {
        let pairs = self.settings().into_iter().zip(other.settings());
        let mut differing = pairs.filter(|((_, here), (_, there))| here != there);
        differing.next().map(|((what, here), (_, there))| format!("{what}: {here} and {there}"))
    }
}

/// The figures that must not get worse than those of the baseline.
fn compare(now: &Standing, baseline: &Standing, regress: f64) -> Vec<GateResult> {
    // A different load has different figures, which prove nothing.
    if let Some(what) = now.difference(baseline) {
        let why = format!("not comparable: this run and the baseline have another {what}");
        return vec![GateResult { expr: "baseline".into(), ok: false, value: None, why }];
    }
    let percent = 100.0 * regress;
    let mut results = Vec::new();
    for (percentile, now, before) in [(50.0, now.p50, baseline.p50), (99.0, now.p99, baseline.p99)] {
        let metric = Metric::Percentile(percentile);
        let ok = match (now, before) {
            (Some(now), Some(before)) => now <= before * (1.0 + regress),
            (None, Some(_)) => false,
            (_, None) => true, // it could not have been worse
        };
        let written = |value: Option<f64>| value.map_or_else(|| "LOST".into(), |value| metric.written(value));
        let why = if ok { String::new() } else { format!("{} after {}", written(now), written(before)) };
        results.push(GateResult { expr: format!("baseline p{percentile} +{percent}%"), ok, value: now, why });
    }
    let (now, before) = (now.rate, baseline.rate);
    let ok = now >= before * (1.0 - regress);
    let why = if ok { String::new() } else { format!("{now:.0}/s after {before:.0}/s") };
    results.push(GateResult { expr: format!("baseline rate -{percent}%"), ok, value: Some(now), why });
    results
}
