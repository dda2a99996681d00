//! A run as JSON: schema `shout-load/1`, published as `run.schema.json`. Pure: no I/O.
//!
//! Times are integers in nanoseconds. Histograms are whole, in `HdrHistogram`'s V2 format, compressed, in base64, so that
//! any percentile can be had later and runs can be added up without loss. The descriptions in the schema are the
//! comments here, so each of them says its unit.

#[cfg(test)]
mod example;
mod latency;
#[cfg(test)]
pub(crate) mod schema;
mod setting;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use latency::{Latencies, Latency, PERCENTILES, Quantile};
pub(super) use latency::{decode, encode};
pub use setting::{Config, Environment, Target, Tool};

use super::breakdown::Breakdown;
use super::by_size::BySize;
use super::crowd::{Beside, Churn};
use super::intervals::Interval;
use super::merged::Merged;
use super::trust::{GateResult, Loss, Outlier};
use super::until::Until;
use super::worst::InFlight;
use crate::companions::Tally;
use crate::floor::Floor;
use crate::interference::Interference;
use crate::observer::Memory;
pub use crate::recorder::Counts;
use crate::verdict::Validity;

/// Names the shape of [`Document`]. It changes when a reader of the old shape would misunderstand the new one.
pub const SCHEMA: &str = "shout-load/1";

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Document {
    /// `shout-load/1`.
    #[cfg_attr(test, schemars(extend("const" = SCHEMA)))]
    pub schema: String,
    /// The program that measured.
    pub tool: Tool,
    /// The command line.
    pub command: Vec<String>,
    /// The seed in hexadecimal, as `--seed` takes it; empty in a merged run, whose parts have each their own.
    pub seed: String,
    /// Where several runs were merged into this one: what they were.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub merged: Option<Merged>,
    /// Whom it loaded.
    pub target: Target,
    /// Every setting, with defaults filled in.
    pub config: Config,
    /// The machine.
    pub env: Environment,
    /// When and how long.
    pub time: Time,
    /// What came of going on until a percentile was known closely enough, where that was asked for. A merged run has it with
    /// its parts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<Until>,
    /// What happened, over all transports.
    pub counts: Counts,
    /// TCP connections.
    pub connections: Connections,
    /// TCP connections that were replaced while the load ran, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub churn: Option<Churn>,
    /// The connections beside those that were measured, where there were any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub companions: Option<Tally>,
    /// How those were opened.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub beside: Option<Beside>,
    /// What all TCP connections together took of the memory of a server on this machine. A merged run has it with its parts,
    /// for it is not known what each saw of the others' connections.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub server_memory: Option<Memory>,
    /// Messages in flight, where the time of every message is known to its end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub in_flight: Option<InFlight>,
    /// Latencies, over all transports.
    pub latency: Latencies,
    /// The same for each transport.
    pub per_transport: BTreeMap<String, PerTransport>,
    /// How the transports get in each other's way, where that was asked for. A merged run has it with its parts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interference: Option<Interference>,
    /// The same for each size, or for each range of sizes, where messages differ in size.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub per_size: Vec<BySize>,
    /// The same over time. Their histograms add up to those of the whole, exactly.
    pub intervals: Vec<Interval>,
    /// The server's side, where it runs on this machine.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub server: Option<Process>,
    /// Our side.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub generator: Option<Process>,
    /// What became of what was lost.
    pub loss: Loss,
    /// The slowest requests, at most a hundred, the slowest first.
    pub outliers: Vec<Outlier>,
    /// What this machine adds to any latency.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub floor: Option<Floor>,
    /// Whether to believe all this.
    pub validity: Validity,
    /// The conditions that the run was to meet.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub gates: Vec<GateResult>,
    /// The exit code that this run asks for, a number from 0 to 5.
    pub exit: u8,
}

impl Document {
    /// The time over which its counts are a rate, in nanoseconds.
    pub fn rated_ns(&self) -> u64 {
        self.merged.as_ref().map_or(self.time.measured_ns, |merged| merged.rated_ns)
    }
}

/// When and how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Time {
    /// The start of the measurement, in nanoseconds since 1970.
    pub start_unix_ns: u64,
    /// The warm-up, with its drain, in nanoseconds.
    pub warmup_ns: u64,
    /// From the first to the last moment of sending, in nanoseconds.
    pub measured_ns: u64,
    /// From there until everything was settled, in nanoseconds.
    pub drain_ns: u64,
    /// Whether somebody stopped the run before its time.
    pub interrupted: bool,
}

/// What became of sockets and connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Connections {
    /// How many TCP connections were opened.
    pub opened: u64,
    /// How long that took all of them together, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub opening_ns: Option<u64>,
    /// How many times a UDP socket was told that nobody listens.
    pub refused: u64,
    /// How many connections the peer reset.
    pub reset: u64,
    /// How many connections the peer closed.
    pub closed: u64,
    /// How many connections owed an answer for longer than the timeout.
    pub timeouts: u64,
}

impl Connections {
    /// Those of another run with these.
    #[must_use]
    pub fn plus(self, other: Connections) -> Self {
        Connections {
            opened: self.opened + other.opened,
            opening_ns: self.opening_ns.max(other.opening_ns),
            refused: self.refused + other.refused,
            reset: self.reset + other.reset,
            closed: self.closed + other.closed,
            timeouts: self.timeouts + other.timeouts,
        }
    }
}

/// One transport's share of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PerTransport {
    /// What happened on it.
    pub counts: Counts,
    /// How long it took.
    pub latency: Latencies,
    /// Where the time of a sample of messages went, after the kernel's timestamps.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub breakdown: Option<Breakdown>,
}

/// A process of this machine, or several that serve together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Process {
    /// The number of the process; of several, of the one that used the most CPU time.
    pub pid: u32,
    /// How many processes hold the server's sockets, where there is more than one: what follows is of all of them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub together: Option<usize>,
    /// Its name.
    pub name: String,
    /// CPU time of all its threads while messages were sent and drained, in nanoseconds.
    pub cpu_ns: u64,
    /// The same for each message sent, in nanoseconds.
    pub cpu_ns_per_message: u64,
    /// The wall-clock time that `cpu_ns` was used in, in nanoseconds.
    pub wall_ns: u64,
    /// How many times a thread of it gave up the processor to wait; null where that is not known, because a thread that it had at
    /// first has ended.
    pub voluntary_switches: Option<u64>,
    /// How many times the processor was taken from a thread of it; null where that is not known.
    pub involuntary_switches: Option<u64>,
    /// Its resident memory at the end, in bytes.
    pub resident_bytes: u64,
    /// The generator only: the part of `cpu_ns`, in nanoseconds, in which it did nothing but wait for the time of a send.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub spun_ns: Option<u64>,
}
