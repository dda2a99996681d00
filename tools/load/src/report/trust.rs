//! The part of the document that says how far the rest of it can be trusted. Pure: no I/O.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::document::PERCENTILES;
use crate::evidence::Slow;
use crate::loss::{Attribution, Bursts, all_in};

/// The middle and the tail of a few measurements, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Spread {
    /// The median, in nanoseconds.
    pub p50: u64,
    /// The 99th percentile, in nanoseconds.
    pub p99: u64,
}

impl Spread {
    /// Sorts and sums up; zeroes for nothing.
    pub fn of(values: &mut [u64]) -> Self {
        values.sort_unstable();
        let at = |percent: usize| values.get(values.len() * percent / 100).copied().unwrap_or(0);
        Spread { p50: at(50), p99: at(99) }
    }
}

/// Lost messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Loss {
    /// Where lost datagrams went.
    pub attribution: Attribution,
    /// The most consecutive datagrams of one socket that were all lost.
    pub longest_burst: u64,
    /// How many runs of lost datagrams were 1, 2-3, 4-7, … datagrams long.
    pub bursts: BTreeMap<String, u64>,
    /// Percentiles and the maximum of the response time, in nanoseconds, when a message that had no right answer or was
    /// never sent counts as having taken for ever; null where that is the value.
    pub all_in: BTreeMap<String, Option<u64>>,
    /// How many TCP segments were sent again on this machine during the measurement, by anybody.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retransmits: Option<u64>,
    /// How many TCP connections found a full listen queue on this machine during the measurement, of anybody.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub listen_overflows: Option<u64>,
}

impl Loss {
    /// `unanswered` messages have no place in `response`, the histogram of the others.
    pub fn of(attribution: Attribution, bursts: Bursts, response: &Histogram<u64>, unanswered: u64) -> Self {
        Loss {
            attribution,
            longest_burst: bursts.longest(),
            bursts: bursts.sizes().collect(),
            all_in: Loss::percentiles(response, unanswered),
            retransmits: None,
            listen_overflows: None,
        }
    }

    /// Percentiles and the maximum when `unanswered` messages beside those of the histogram took for ever.
    pub fn percentiles(response: &Histogram<u64>, unanswered: u64) -> BTreeMap<String, Option<u64>> {
        let named = PERCENTILES.iter().map(|(name, percentile)| (name.to_string(), percentile / 100.0));
        named.chain([("100".to_owned(), 1.0)]).map(|(name, q)| (name, all_in(response, unanswered, q))).collect()
    }
}

/// One of the slowest requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Outlier {
    /// When it was to leave, in nanoseconds since the start of the measurement.
    pub t_intended_ns: u64,
    /// Its response time, in nanoseconds.
    pub lat_ns: u64,
    /// How much later than intended it left, in nanoseconds.
    pub lag_ns: u64,
    /// In a merged run, the number of its part, counted from 0 in the order in which they are listed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub part: Option<usize>,
    /// `udp` or `tcp`.
    pub transport: String,
    /// The number of its socket or connection, counted from 0 over both transports.
    pub conn: u16,
    /// Its number on that connection.
    pub seq: u64,
    /// Its size in bytes.
    pub size: usize,
    /// Messages in flight on its transport when its answer came, itself included.
    pub in_flight: u64,
}

impl Outlier {
    /// A slow request of `transport`.
    pub fn of(slow: &Slow, transport: &str, size: usize) -> Self {
        Outlier {
            t_intended_ns: slow.intended,
            lat_ns: slow.latency,
            lag_ns: slow.lag,
            part: None,
            transport: transport.to_owned(),
            conn: slow.lane,
            seq: slow.sequence,
            size,
            in_flight: slow.in_flight,
        }
    }
}

/// A gate and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GateResult {
    /// As it was given.
    pub expr: String,
    /// Whether it was passed. Of an invalid measurement no gate is.
    pub ok: bool,
    /// The value that was compared, in nanoseconds, shares of one, messages a second or a number; null where messages
    /// were lost or never sent in the place of the percentile, or nothing was measured.
    pub value: Option<f64>,
    /// Why not, if not.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub why: String,
}
