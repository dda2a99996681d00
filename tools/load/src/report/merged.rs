//! The runs that a merged run was made of: in the document, and as lines of the screen. Pure: no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::breakdown::Breakdown;
use super::document::{Config, Counts, Document, Environment, Process, Time};
use super::screen::{busy, count, micros, plural, seconds};
use super::until::Until;
use super::worst::InFlight;
use crate::clock::SECOND;
use crate::floor::Floor;
use crate::interference::Interference;
use crate::observer::Memory;
use crate::verdict::{Check, Validity};

/// Parts that the screen has room for; the document and its page have all of them.
const SHOWN: usize = 12;

/// What a merged run was made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Merged {
    /// Each run, in the order of their starts.
    pub parts: Vec<Part>,
    /// For how long all of them sent at the same time, by their own clocks, in nanoseconds.
    pub common_ns: u64,
    /// The time over which the counts are a rate, in nanoseconds: as if everything had been sent at the rate of the time in
    /// which all of them sent. Where there is no such time, all the time from the first send to the last.
    pub rated_ns: u64,
}

/// One of the runs. What is not here has been added up, and nothing of it was lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Part {
    /// The file that it was read from.
    pub name: String,
    /// Its command line.
    pub command: Vec<String>,
    /// Its seed in hexadecimal.
    pub seed: String,
    /// Its settings. They differ in the share of the load: rate, number of messages, threads, sockets and connections.
    pub config: Config,
    /// The machine that made it.
    pub env: Environment,
    /// The addresses that it used.
    pub resolved: Vec<String>,
    /// When and how long, by the clock of its machine.
    pub time: Time,
    /// What happened to its messages.
    pub counts: Counts,
    /// Its response times.
    pub response: Summary,
    /// The 99th percentile of its lag, in nanoseconds.
    pub lag_p99: u64,
    /// How many independent values its latencies are worth, by transport and by percentile.
    pub n_eff: BTreeMap<String, BTreeMap<String, u64>>,
    /// What came of going on until a percentile was known closely enough, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<Until>,
    /// How its transports got in each other's way, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interference: Option<Interference>,
    /// What its TCP connections took of the memory of the server, as far as it could tell them from those of others.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub server_memory: Option<Memory>,
    /// Its share of the breakdown, by transport.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub breakdown: BTreeMap<String, Breakdown>,
    /// Its messages in flight.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub in_flight: Option<InFlight>,
    /// The server as it saw it, where the server ran on the same machine.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub server: Option<Process>,
    /// Its own process.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub generator: Option<Process>,
    /// What its machine adds to any latency.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub floor: Option<Floor>,
    /// How many TCP segments were sent again on its machine, by anybody.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retransmits: Option<u64>,
    /// How many TCP connections found a full listen queue on its machine, of anybody.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub listen_overflows: Option<u64>,
    /// Whether to believe it.
    pub validity: Validity,
}

/// The response times of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Summary {
    /// How many values there are.
    pub n: u64,
    /// How many independent values they are worth, by percentile, over all transports.
    pub n_eff: BTreeMap<String, u64>,
    /// The median, in nanoseconds.
    pub p50: u64,
    /// The 99th percentile, in nanoseconds.
    pub p99: u64,
    /// The longest, in nanoseconds.
    pub max: u64,
}

impl Part {
    /// From its first to its last moment of sending, in nanoseconds since 1970.
    pub fn sending(&self) -> (u64, u64) {
        (self.time.start_unix_ns, self.time.start_unix_ns + self.time.measured_ns)
    }

    /// What one of the checks of it said, if that was made.
    pub fn check(&self, id: &str) -> Option<&Check> {
        self.validity.checks.iter().find(|check| check.id == id)
    }

    /// The name of its machine.
    pub(in crate::report) fn host(&self) -> &str {
        if self.env.host.is_empty() { "?" } else { &self.env.host }
    }
}

impl Merged {
    /// By how much the last of them began after the first, in nanoseconds.
    pub fn starts_apart_ns(&self) -> u64 {
        let starts = || self.parts.iter().map(|part| part.time.start_unix_ns);
        starts().max().unwrap_or(0) - starts().min().unwrap_or(0)
    }

    /// The machines that made it; one that is not known counts as one.
    pub fn hosts(&self) -> BTreeSet<&str> {
        self.parts.iter().map(Part::host).collect()
    }

    /// How the runs lie in time, and what is known of the clocks that say so.
    pub(in crate::report) fn in_time(&self) -> String {
        let starts = format!("starts {:.3} s apart", self.starts_apart_ns() as f64 / SECOND as f64);
        let common = match self.common_ns {
            0 => "the runs DO NOT OVERLAP".to_owned(),
            common => format!("all of them sent for {}", seconds(common)),
        };
        let clocks = match self.hosts().len() {
            1 => "by the one clock of their machine".to_owned(),
            clocks => format!("by {clocks} clocks, which may differ"),
        };
        format!("{common}; {starts}, {clocks}")
    }
}

/// A line on all of them and a row for each, if there are several.
pub(super) fn lines(text: &mut String, run: &Document) -> std::fmt::Result {
    let Some(merged) = &run.merged else { return Ok(()) };
    let hosts = plural(merged.hosts().len(), "machine");
    writeln!(text, "  merged   {} of {hosts}: {}", plural(merged.parts.len(), "run"), merged.in_time())?;
    let shown = || merged.parts.iter().take(SHOWN);
    let width = |of: fn(&Part) -> &str| shown().map(|part| of(part).chars().count()).max().unwrap_or(0);
    let (names, hosts) = (width(|part| &part.name), width(Part::host));
    for part in shown() {
        let generator = part.generator.as_ref();
        let cpu = generator.map_or_else(|| "-".into(), |process| busy(process.cpu_ns, process.wall_ns));
        writeln!(
            text,
            "    {:names$}  {:hosts$}  +{:.3} s  seed {}  sent {}  replied {}  p50 {} us, p99 {}, lag p99 {}  cpu {cpu}  {}{}",
            part.name,
            part.host(),
            (part.time.start_unix_ns - run.time.start_unix_ns) as f64 / SECOND as f64,
            part.seed,
            count(part.counts.sent),
            count(part.counts.replied),
            micros(part.response.p50),
            micros(part.response.p99),
            micros(part.lag_p99),
            part.validity.verdict.name(),
            part.until.as_ref().map_or_else(String::new, |until| format!("  {} {}", until.goal, until.brief()))
        )?;
    }
    if merged.parts.len() > SHOWN {
        writeln!(text, "    and {} more", merged.parts.len() - SHOWN)?;
    }
    writeln!(text)
}
