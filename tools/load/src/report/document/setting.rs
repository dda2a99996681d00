//! What was asked for, and on which machine: the part of a document that is known before the run. Pure: no I/O.

use serde::{Deserialize, Serialize};

/// The program that measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Tool {
    /// Its version.
    pub version: String,
}

/// Whom the run loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Target {
    /// As it was given.
    pub url: String,
    /// The address that was used.
    pub resolved: Vec<String>,
}

/// Every setting of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Config {
    /// `open` or `closed`.
    pub model: String,
    /// Messages a second that were asked for, on average; open loop only.
    pub rate: Option<f64>,
    /// How that changed over time, if it did, as `--plan` takes it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub plan: Option<String>,
    /// How they were spread around that, as `--arrivals` takes it; open loop only.
    pub arrivals: Option<String>,
    /// The most messages in flight on each socket, where there is a bound.
    pub pipeline: Option<u64>,
    /// How many generators made the load together, each on a thread of its own, where there was more than one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub threads: Option<usize>,
    /// The most datagrams that one system call may send; they share one time of issue.
    pub datagrams_per_send: usize,
    /// How many UDP sockets; 0 if the target has no UDP.
    pub udp_sockets: usize,
    /// How many TCP connections; 0 if the target has no TCP.
    pub tcp_connections: usize,
    /// How many messages each TCP connection carried before another took its place, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub churn: Option<u64>,
    /// Bytes a message: a number, or the spread of sizes as `--size` takes it, or `lines:` and the shortest and the
    /// longest line of a file.
    pub size: String,
    /// The file whose lines were sent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub payload: Option<String>,
    /// What became of late messages, as `--late` takes it; open loop only.
    #[serde(default)]
    pub late: Option<String>,
    /// How the generator waited for the time of a send, as `--pace` takes it.
    #[serde(default)]
    pub pace: String,
    /// How long to send, if that was bounded, in nanoseconds.
    pub duration_ns: Option<u64>,
    /// How many messages to send, if that was bounded.
    pub messages: Option<u64>,
    /// Warm-up, not measured, in nanoseconds.
    pub warmup_ns: u64,
    /// After this long a datagram counts as lost, in nanoseconds.
    pub udp_timeout_ns: u64,
    /// After this long a connection is given up, in nanoseconds.
    pub tcp_timeout_ns: u64,
    /// How finely the measurement is recorded over time, in nanoseconds.
    pub interval_ns: u64,
}

/// The machine that measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Environment {
    /// Its name, or that of the container; empty in a merged run, whose parts have each their own.
    #[serde(default)]
    pub host: String,
    /// The kernel's release.
    pub kernel: String,
    /// How many processors this process may use.
    pub cores: usize,
    /// The number of the processor that the generator was bound to, if it was.
    pub pinned_to: Option<usize>,
    /// The processors that several generators were bound to, in turn.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub threads_pinned_to: Vec<usize>,
    /// Whether the target is this machine.
    pub local: bool,
}
