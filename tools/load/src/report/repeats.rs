//! Several whole runs as JSON, schema `shout-load-repeats/1`, published as `repeats.schema.json`, and as text. Pure: no I/O.
//!
//! Each run has files of its own. What is here of them is what tells them apart, and what they differ by.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::document::{Config, Document, Environment, Latency, PERCENTILES, Quantile, Target, Tool};
use super::screen::{count, micros, percent, plural};
use super::trust::GateResult;
use super::until::{Until, percent as share};
use crate::curves::difference;
use crate::gates::achieved_rate;
use crate::repeats::{self, Figure};
use crate::run::exit;
use crate::verdict::Verdict;

/// Names the shape of [`Repeats`].
pub const SCHEMA: &str = "shout-load-repeats/1";

/// The name of the figure that is no percentile.
const RATE: &str = "rate";

/// Several whole runs of the same load on the same server, each on connections of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Repeats {
    /// `shout-load-repeats/1`.
    #[cfg_attr(test, schemars(extend("const" = SCHEMA)))]
    pub schema: String,
    /// The program that measured.
    pub tool: Tool,
    /// The command line.
    pub command: Vec<String>,
    /// The seed in hexadecimal, as `--seed` takes it, from which those of the runs follow.
    pub seed: String,
    /// Whom they loaded.
    pub target: Target,
    /// Every setting, with defaults filled in.
    pub config: Config,
    /// The machine.
    pub env: Environment,
    /// `udp`, `tcp` or both.
    pub transports: Vec<String>,
    /// How many runs were asked for.
    pub asked: u64,
    /// Those that were made, in their order. One that was interrupted is not among them.
    pub runs: Vec<Run>,
    /// What they differ by.
    pub spread: Vec<Spread>,
    /// The response times of all of them together.
    pub response: Latency,
    /// How far they can be believed: the median of their verdicts, the worse one of two.
    pub verdict: Verdict,
    /// How many there are of each verdict.
    pub verdicts: Verdicts,
    /// The conditions that the runs were to meet in their median.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub gates: Vec<GateResult>,
    /// The exit code that the runs ask for, a number from 0 to 5: the largest of each alone and of the conditions.
    pub exit: u8,
}

/// How many runs there are of each verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Verdicts {
    /// The number of runs to believe.
    pub valid: u64,
    /// The number of runs to doubt.
    pub suspect: u64,
    /// The number of runs whose figures are not those of the server.
    pub invalid: u64,
}

/// One of the runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Run {
    /// Its seed in hexadecimal, which repeats it alone.
    pub seed: String,
    /// The start of its measurement, in nanoseconds since 1970.
    pub start_unix_ns: u64,
    /// How long it was, in nanoseconds.
    pub measured_ns: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages answered rightly and in time.
    pub replied: u64,
    /// Messages without an answer in time.
    pub lost: u64,
    /// Right answers a second: a number.
    pub rate: f64,
    /// The standard error of that as the run itself knows it, as a share, where it has intervals enough.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rate_error: Option<f64>,
    /// Percentiles of the response time.
    pub p: BTreeMap<String, Quantile>,
    /// The same, in nanoseconds, when a message that had no right answer or was never sent counts as having taken for
    /// ever; null where that is the value.
    pub all_in: BTreeMap<String, Option<u64>>,
    /// The number of independent answers that its answers are worth.
    pub n_eff: u64,
    /// Whether to believe it.
    pub verdict: Verdict,
    /// What came of going on until a percentile was known closely enough, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<Until>,
    /// The exit code that it asks for, a number from 0 to 5.
    pub exit: u8,
}

/// What the runs differ by in one figure: a number of answers a second, or a percentile in nanoseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Spread {
    /// `rate`, or a percentile such as `p99`.
    pub figure: String,
    /// The median of the runs: a number, or in nanoseconds, as are the next four.
    pub median: f64,
    /// The smallest: a number, or in nanoseconds.
    pub min: f64,
    /// The largest: a number, or in nanoseconds.
    pub max: f64,
    /// The lower end of the 95 % confidence interval of the mean over runs, a number or in nanoseconds, of three and more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lo: Option<f64>,
    /// The upper end: a number, or in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hi: Option<f64>,
    /// What one run claims to know it to with 95 % confidence, as a share, where every run has an interval.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub within: Option<f64>,
    /// What 95 % of the runs are within of their mean, as a share.
    pub between: f64,
    /// The share of cases in which runs that do not differ would seem to differ by as much, by Cochran's test.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub p: Option<f64>,
    /// Whether the runs differ by more than chance within a run explains.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exceeds: Option<bool>,
}

impl Run {
    /// What is kept of a run here.
    pub fn of(run: &Document) -> Self {
        Run {
            seed: run.seed.clone(),
            start_unix_ns: run.time.start_unix_ns,
            measured_ns: run.time.measured_ns,
            sent: run.counts.sent,
            replied: run.counts.replied,
            lost: run.counts.lost,
            rate: achieved_rate(run),
            rate_error: difference::rate_error(run),
            p: run.latency.response.p.clone(),
            all_in: run.loss.all_in.clone(),
            n_eff: run.latency.response.n_eff.unwrap_or(0),
            verdict: run.validity.verdict,
            until: run.until.clone(),
            exit: run.exit,
        }
    }
}

impl Repeats {
    /// Runs to come, of the load that the first one was of.
    pub fn new(first: &Document, seed: u64, asked: u64) -> Self {
        Repeats {
            schema: SCHEMA.into(),
            tool: first.tool.clone(),
            command: first.command.clone(),
            seed: format!("{seed:X}"),
            target: first.target.clone(),
            config: first.config.clone(),
            env: first.env.clone(),
            transports: first.per_transport.keys().cloned().collect(),
            asked,
            runs: Vec::new(),
            spread: Vec::new(),
            response: Latency::of(&crate::recorder::histogram()),
            verdict: Verdict::Valid,
            verdicts: Verdicts::default(),
            gates: Vec::new(),
            exit: exit::DONE,
        }
    }

    /// One run more.
    pub fn push(&mut self, run: &Document) {
        self.runs.push(Run::of(run));
        let Verdicts { valid, suspect, invalid } = &mut self.verdicts;
        *match run.validity.verdict {
            Verdict::Valid => valid,
            Verdict::Suspect => suspect,
            Verdict::Invalid => invalid,
        } += 1;
        self.exit = self.exit.max(run.exit);
    }

    /// Sums up, when there are no more. `response` has the response times of all of them.
    pub fn finish(&mut self, response: &Histogram<u64>) {
        self.spread = repeats::spread(&self.figures());
        self.response = Latency::of(response);
        let mut verdicts: Vec<Verdict> = self.runs.iter().map(|run| run.verdict).collect();
        verdicts.sort_unstable();
        self.verdict = verdicts.get(verdicts.len() / 2).copied().unwrap_or(Verdict::Invalid);
    }

    /// The rate and the percentiles that every run has.
    fn figures(&self) -> Vec<Figure> {
        const NAMES: [&str; PERCENTILES.len()] = ["p50", "p90", "p99", "p99.9", "p99.99"];
        let rate = self.runs.iter().map(|run| (run.rate, run.rate_error)).collect();
        let percentiles = NAMES.iter().zip(PERCENTILES).filter_map(|(name, (key, _))| {
            let value = |run: &Run| {
                let quantile = run.p.get(key)?;
                Some((quantile.v as f64, difference::quantile_error(quantile).map(|(_, error)| error)))
            };
            let values: Option<Vec<_>> = self.runs.iter().map(value).collect();
            Some(Figure { name, values: values? })
        });
        std::iter::once(Figure { name: RATE, values: rate }).chain(percentiles).collect()
    }

    /// A figure of each run, by its name; none where a run has none.
    pub fn figure(&self, name: &str) -> Vec<f64> {
        let figure = self.figures().into_iter().find(|figure| figure.name == name);
        figure.map(|figure| figure.values.iter().map(|(value, _)| *value).collect()).unwrap_or_default()
    }

    /// The screen: a line for each run, and what they differ by.
    pub fn text(&self) -> String {
        let rows: String = self.runs.iter().enumerate().map(|(index, run)| row(index + 1, run)).collect();
        self.head() + &rows + &self.closing()
    }

    /// What is known before the first run has ended.
    pub fn head(&self) -> String {
        let config = &self.config;
        let load = match (config.rate, &config.arrivals) {
            (Some(rate), Some(arrivals)) => format!("open loop · {arrivals} · {} msg/s", count(rate as u64)),
            _ => "closed loop".into(),
        };
        let runs = plural(self.asked as usize, "run");
        format!(
            "shout-load {}  {}  {load} · {} · {runs}, each on new connections · seed {}\n\n  run  {:<16} {:>11} {:>8} \
             {:>10} {:>10} {:>10}  {:<22} verdict\n",
            self.tool.version,
            self.target.url,
            super::by_size::size(&config.size),
            self.seed,
            "seed",
            "replies/s",
            "lost",
            "p50 us",
            "p99 us",
            "p99.9 us",
            "95% CI of p99, us"
        )
    }

    /// What follows the last run.
    pub fn closing(&self) -> String {
        let mut text = String::from("\n");
        // Writing to a String cannot fail.
        let made = self.runs.len() as u64;
        if made < self.asked {
            let _ = writeln!(text, "  {made} of {} runs were made to their end; no other is counted\n", self.asked);
        }
        if self.spread.is_empty() {
            return text;
        }
        let _ = writeln!(
            text,
            "  between runs {:>12} {:>26} {:>26} {:>13} {:>12}",
            "median", "range", "95% CI of the mean", "one claims", "they differ"
        );
        for spread in &self.spread {
            let write = |value: f64| written(&spread.figure, value);
            let interval = spread.lo.zip(spread.hi).map(|(low, high)| format!("{} .. {}", write(low), write(high)));
            let within = spread.within.map_or_else(|| "-".into(), |within| format!("±{}", share(within)));
            let _ = writeln!(
                text,
                "  {:<12} {:>12} {:>26} {:>26} {:>13} {:>12}",
                unit(&spread.figure),
                write(spread.median),
                format!("{} .. {}", write(spread.min), write(spread.max)),
                interval.unwrap_or_else(|| "-".into()),
                within,
                format!("±{}", share(spread.between))
            );
        }
        text.push('\n');
        for line in self.sentences() {
            let _ = writeln!(text, "  {line}");
        }
        for gate in &self.gates {
            let (outcome, colon) =
                (if gate.ok { "passed" } else { "FAILED" }, if gate.why.is_empty() { "" } else { ": " });
            let _ = writeln!(text, "  gate        {} {outcome}{colon}{}  (median of the runs)", gate.expr, gate.why);
        }
        text
    }

    /// Which runs are not to be believed, where there are any: what is summed up rests on them too.
    fn doubt(&self) -> Option<String> {
        let Verdicts { suspect, invalid, .. } = self.verdicts;
        let named =
            [(invalid, Verdict::Invalid), (suspect, Verdict::Suspect)].into_iter().filter(|(number, _)| *number > 0);
        let named: Vec<String> = named.map(|(number, verdict)| format!("{number} {}", verdict.name())).collect();
        let rests = match (invalid, suspect) {
            (0, 0) => return None,
            (0, _) => "what is summed up here is to be doubted as they are",
            (_, _) => "what is summed up here rests on them too, and no gate is passed on them",
        };
        Some(format!("of {} {}: {rests}", plural(self.runs.len(), "run"), named.join(" and ")))
    }

    /// Whether to believe the runs, and whether one would have been enough.
    pub fn sentences(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.doubt().into_iter().collect();
        for spread in self.spread.iter().filter(|spread| spread.exceeds == Some(true)) {
            let write = |value: f64| written(&spread.figure, value);
            let claim = share(spread.within.unwrap_or(0.0));
            let instead = match (spread.lo, spread.hi) {
                (Some(low), Some(high)) => format!("use this one: {} .. {}", write(low), write(high)),
                (None, _) | (_, None) => "make three runs and more for one that does not".into(),
            };
            lines.push(format!(
                "{}: the interval of one run (±{claim}) understates, for the runs differ by ±{}; {instead} {}",
                spread.figure,
                share(spread.between),
                if spread.figure == RATE { "/s" } else { "us" }
            ));
        }
        let named = |exceeds: Option<bool>| {
            let some = self.spread.iter().filter(|spread| spread.exceeds == exceeds);
            some.map(|spread| spread.figure.as_str()).collect::<Vec<_>>().join(", ")
        };
        let (equal, unknown) = (named(Some(false)), named(None));
        if !equal.is_empty() {
            lines.push(format!("{equal}: the runs differ by no more than the interval of one run allows for"));
        }
        if !unknown.is_empty() {
            lines.push(format!("{unknown}: a single run has no interval to compare with"));
        }
        lines
    }
}

/// The line of a run, whose number is counted from 1.
pub fn row(number: usize, run: &Run) -> String {
    let time = |name: &str| run.p.get(name).map_or_else(|| "-".into(), |quantile| micros(quantile.v));
    let end = |end: Option<u64>| end.map_or_else(|| "?".into(), micros);
    let interval = run.p.get("99").map_or_else(String::new, |p99| format!("{} .. {}", end(p99.lo), end(p99.hi)));
    let until = run.until.as_ref().map_or_else(String::new, |until| format!("  {}", until.brief()));
    format!(
        "  {number:>3}  {:<16} {:>11} {:>8} {:>10} {:>10} {:>10}  {interval:<22} {}{until}\n",
        run.seed,
        count(run.rate.round() as u64),
        percent(run.lost, run.sent),
        time("50"),
        time("99"),
        time("99.9"),
        run.verdict.name()
    )
}

fn unit(figure: &str) -> String {
    if figure == RATE { "rate, /s".into() } else { format!("{figure}, us") }
}

/// A value of a figure without its unit.
fn written(figure: &str, value: f64) -> String {
    if figure == RATE { count(value.round() as u64) } else { micros(value.round() as u64) }
}
