//! A run as JSON: schema `shout-load/1`. Pure: no I/O.
//!
//! Times are integers in nanoseconds. Histograms are whole, in `HdrHistogram`'s V2 format, compressed, in base64, so that
//! any percentile can be had later and runs can be added up without loss.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use super::breakdown::Breakdown;
use super::by_size::BySize;
use super::crowd::Churn;
use super::intervals::Interval;
use super::trust::{GateResult, Loss, Outlier};
use crate::evidence;
use crate::floor::Floor;
use crate::recorder;
use crate::verdict::Validity;

/// Names the shape of [`Document`]. It changes when a reader of the old shape would misunderstand the new one.
pub const SCHEMA: &str = "shout-load/1";

/// The percentiles that are spelt out, as they are written in the document.
pub const PERCENTILES: [(&str, f64); 5] = [("50", 50.0), ("90", 90.0), ("99", 99.0), ("99.9", 99.9), ("99.99", 99.99)];

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: String,
    /// The program that measured.
    pub tool: Tool,
    /// The command line.
    pub command: Vec<String>,
    /// The seed in hexadecimal, as `--seed` takes it.
    pub seed: String,
    /// Whom it loaded.
    pub target: Target,
    /// Every setting, with defaults filled in.
    pub config: Config,
    /// The machine.
    pub env: Environment,
    /// When and how long.
    pub time: Time,
    /// What happened, over all transports.
    pub counts: Counts,
    /// TCP connections.
    pub connections: Connections,
    /// TCP connections that were replaced while the load ran, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub churn: Option<Churn>,
    /// Latencies, over all transports.
    pub latency: Latencies,
    /// The same for each transport.
    pub per_transport: BTreeMap<String, PerTransport>,
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
    /// The exit code that this run asks for.
    pub exit: u8,
}

/// The program that measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// Its version.
    pub version: String,
}

/// Whom the run loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// As it was given.
    pub url: String,
    /// The address that was used.
    pub resolved: Vec<String>,
}

/// Every setting of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// The most datagrams that one system call may send; they share one time of issue.
    pub datagrams_per_send: usize,
    /// UDP sockets.
    pub udp_sockets: usize,
    /// TCP connections.
    pub tcp_connections: usize,
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
    /// How long to send, if that was bounded.
    pub duration_ns: Option<u64>,
    /// How many messages to send, if that was bounded.
    pub messages: Option<u64>,
    /// Warm-up, not measured.
    pub warmup_ns: u64,
    /// After this long a datagram counts as lost.
    pub udp_timeout_ns: u64,
    /// After this long a connection is given up.
    pub tcp_timeout_ns: u64,
    /// How finely the measurement is recorded over time.
    pub interval_ns: u64,
}

/// The machine that measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// The kernel's release.
    pub kernel: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// The processor that the generator was bound to.
    pub pinned_to: Option<usize>,
    /// Whether the target is this machine.
    pub local: bool,
}

/// When and how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Time {
    /// The start of the measurement, since 1970.
    pub start_unix_ns: u64,
    /// The warm-up, with its drain.
    pub warmup_ns: u64,
    /// From the first to the last moment of sending.
    pub measured_ns: u64,
    /// From there until everything was settled.
    pub drain_ns: u64,
    /// Whether somebody stopped the run before its time.
    pub interrupted: bool,
}

/// See [`recorder::Counts`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each field is documented where it is counted")]
pub struct Counts {
    pub scheduled: u64,
    #[serde(default)]
    pub shed: u64,
    pub sent: u64,
    pub send_blocked: u64,
    pub unsent: u64,
    pub replied: u64,
    pub wrong: u64,
    pub lost: u64,
    pub in_flight_at_end: u64,
    pub late: u64,
    pub dup: u64,
    pub reordered: u64,
    pub reorder_extent_max: u64,
    pub corrupt: u64,
    pub truncated: u64,
    pub stray: u64,
    pub bytes_tx: u64,
    pub bytes_rx: u64,
    pub clamped: u64,
}

impl From<&recorder::Counts> for Counts {
    fn from(counts: &recorder::Counts) -> Self {
        Counts {
            scheduled: counts.scheduled,
            shed: counts.shed,
            sent: counts.sent,
            send_blocked: counts.send_blocked,
            unsent: counts.unsent,
            replied: counts.replied,
            wrong: counts.wrong,
            lost: counts.lost,
            in_flight_at_end: counts.in_flight_at_end,
            late: counts.late,
            dup: counts.duplicated,
            reordered: counts.reordered,
            reorder_extent_max: counts.reorder_extent_max,
            corrupt: counts.corrupt,
            truncated: counts.truncated,
            stray: counts.stray,
            bytes_tx: counts.bytes_sent,
            bytes_rx: counts.bytes_received,
            clamped: counts.clamped,
        }
    }
}

/// What became of sockets and connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// TCP connections opened.
    pub opened: u64,
    /// Times that a UDP socket was told that nobody listens.
    pub refused: u64,
    /// Connections that the peer reset.
    pub reset: u64,
    /// Connections that the peer closed.
    pub closed: u64,
    /// Connections that owed an answer for longer than the timeout.
    pub timeouts: u64,
}

/// The three latencies of every run, and how long connections took to open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// From the intended send time to the answer.
    pub response: Latency,
    /// From the actual send to the answer.
    pub service: Latency,
    /// From the intended to the actual send.
    pub lag: Latency,
    /// From the start of a TCP connection to its being open.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub connect: Option<Latency>,
}

/// One transport's share of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PerTransport {
    /// What happened on it.
    pub counts: Counts,
    /// How long it took.
    pub latency: Latencies,
    /// Where the time of a sample of messages went, after the kernel's timestamps.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub breakdown: Option<Breakdown>,
}

/// One distribution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// `ns`.
    pub unit: String,
    /// How many values.
    pub n: u64,
    /// How many independent values they are worth, where that was found out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub n_eff: Option<u64>,
    /// The mean.
    pub mean: u64,
    /// The standard deviation.
    pub stdev: u64,
    /// The smallest value.
    pub min: u64,
    /// The largest value.
    pub max: u64,
    /// Percentiles by name.
    pub p: BTreeMap<String, Quantile>,
    /// The histogram itself.
    pub hdr_v2: String,
}

/// One percentile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantile {
    /// The value, at the upper end of its bucket: at most 0.1 % too large.
    pub v: u64,
    /// The lower end of its 95 % confidence interval, where it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lo: Option<u64>,
    /// The upper end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hi: Option<u64>,
}

impl Latency {
    /// Sums a histogram up.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let value = |percentile: f64| histogram.value_at_percentile(percentile).min(histogram.max());
        let p = if histogram.is_empty() {
            BTreeMap::new()
        } else {
            PERCENTILES
                .iter()
                .map(|(name, percentile)| (name.to_string(), Quantile { v: value(*percentile), lo: None, hi: None }))
                .collect()
        };
        Latency {
            unit: "ns".into(),
            n: histogram.len(),
            n_eff: None,
            mean: histogram.mean().round() as u64,
            stdev: histogram.stdev().round() as u64,
            min: if histogram.is_empty() { 0 } else { histogram.min() },
            max: histogram.max(),
            p,
            hdr_v2: encode(histogram),
        }
    }

    /// Sums a histogram up that is worth `size` independent values, with the confidence intervals that it is good for.
    pub fn with_confidence(histogram: &Histogram<u64>, size: f64) -> Self {
        let mut latency = Latency::of(histogram);
        latency.n_eff = Some(size as u64);
        for (name, percentile) in PERCENTILES {
            if let Some(quantile) = latency.p.get_mut(name) {
                (quantile.lo, quantile.hi) = evidence::interval(histogram, percentile / 100.0, size);
            }
        }
        latency
    }

    /// The histogram itself. `None` if somebody has tampered with the text.
    pub fn histogram(&self) -> Option<Histogram<u64>> {
        decode(&self.hdr_v2)
    }
}

/// A histogram from its text. `None` if somebody has tampered with it.
pub(super) fn decode(text: &str) -> Option<Histogram<u64>> {
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    Deserializer::new().deserialize(&mut bytes.as_slice()).ok()
}

/// A histogram as text.
pub(super) fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).expect("writing to memory");
    BASE64_STANDARD.encode(bytes)
}

/// A process of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// CPU time of all its threads while messages were sent and drained.
    pub cpu_ns: u64,
    /// The same for each message sent.
    pub cpu_ns_per_message: u64,
    /// The wall-clock time that `cpu_ns` was used in.
    pub wall_ns: u64,
    /// Times that a thread of it gave up the processor to wait.
    pub voluntary_switches: u64,
    /// Times that the processor was taken from a thread of it.
    pub involuntary_switches: u64,
    /// Its resident memory at the end, in bytes.
    pub resident_bytes: u64,
    /// The generator only: the part of `cpu_ns` in which it did nothing but wait for the time of a send.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub spun_ns: Option<u64>,
}

#[cfg(test)]
impl Document {
    /// A run in which nothing happened, and which is believed.
    pub(crate) fn for_tests() -> Self {
        let latency = || Latency::of(&recorder::histogram());
        let latencies = Latencies { response: latency(), service: latency(), lag: latency(), connect: None };
        Document {
            schema: SCHEMA.into(),
            tool: Tool { version: String::new() },
            command: Vec::new(),
            seed: String::new(),
            target: Target { url: "udp://127.0.0.1:1".into(), resolved: Vec::new() },
            config: Config {
                model: "closed".into(),
                rate: None,
                plan: None,
                arrivals: None,
                datagrams_per_send: 1,
                pipeline: Some(1),
                udp_sockets: 1,
                tcp_connections: 0,
                size: "64".into(),
                payload: None,
                late: None,
                pace: "hybrid".into(),
                duration_ns: None,
                messages: None,
                warmup_ns: 0,
                udp_timeout_ns: 0,
                tcp_timeout_ns: 0,
                interval_ns: 1_000_000_000,
            },
            env: Environment::default(),
            time: Time { start_unix_ns: 0, warmup_ns: 0, measured_ns: 0, drain_ns: 0, interrupted: false },
            counts: Counts::default(),
            connections: Connections::default(),
            churn: None,
            latency: latencies,
            per_transport: BTreeMap::new(),
            per_size: Vec::new(),
            intervals: Vec::new(),
            server: None,
            generator: None,
            loss: Loss::default(),
            outliers: Vec::new(),
            floor: None,
            validity: Validity { verdict: crate::verdict::Verdict::Valid, checks: Vec::new() },
            gates: Vec::new(),
            exit: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_survives_its_way_through_the_document() {
        let mut histogram = recorder::histogram();
        for value in [1, 999, 1_000_000, 59_000_000_000] {
            histogram.saturating_record_n(value, 3);
        }
        let latency = Latency::of(&histogram);
        assert!(latency.hdr_v2.starts_with("HISTFAAAA"), "{}", latency.hdr_v2);
        let back = latency.histogram().unwrap();
        assert_eq!(back.len(), 12);
        for (_, percentile) in PERCENTILES {
            assert_eq!(back.value_at_percentile(percentile), histogram.value_at_percentile(percentile));
        }
    }

    #[test]
    fn an_empty_histogram_has_no_percentiles() {
        let latency = Latency::of(&recorder::histogram());
        assert_eq!((latency.n, latency.min, latency.max), (0, 0, 0));
        assert!(latency.p.is_empty());
    }
}
