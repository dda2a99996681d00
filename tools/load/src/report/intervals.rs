//! A run over time: its intervals as JSON and as a table. Pure: no I/O.

use std::fmt::Write;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::document::{decode, encode};
use crate::clock::Nanos;
use crate::intervals;

/// One interval of a run. See [`intervals::Interval`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Interval {
    /// Its start, in nanoseconds since the start of the measurement.
    pub t_ns: u64,
    /// Its length, in nanoseconds. The last one ends when the last message is settled.
    pub len_ns: u64,
    /// Messages that the schedule wanted sent.
    pub offered: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages answered rightly and in time.
    pub replied: u64,
    /// Messages given up.
    pub lost: u64,
    /// The longest lag of a message sent, in nanoseconds; null if none was.
    pub lag_max: Option<u64>,
    /// The median response time, in nanoseconds; null without a reply, as are the next two.
    pub p50: Option<u64>,
    /// The 99th percentile, in nanoseconds.
    pub p99: Option<u64>,
    /// The longest response time, in nanoseconds.
    pub max: Option<u64>,
    /// CPU time of the server's process in the interval, in nanoseconds, where it runs on this machine and is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub server_cpu_ns: Option<u64>,
    /// The response times: `HdrHistogram` V2, compressed, in base64.
    pub hdr_v2: String,
    /// The service times, in the same form.
    pub service_hdr_v2: String,
    /// The lags, in the same form.
    pub lag_hdr_v2: String,
}

impl Interval {
    /// An interval in which the server used so much CPU time, where that is known.
    pub fn of(interval: &intervals::Interval, server_cpu_ns: Option<Nanos>) -> Self {
        let response = interval.response.histogram();
        let lag = interval.lag.histogram();
        let max = |histogram: &Histogram<u64>| (!histogram.is_empty()).then(|| histogram.max());
        Interval {
            t_ns: interval.start,
            len_ns: interval.length,
            offered: interval.flow.offered,
            sent: interval.flow.sent,
            replied: interval.flow.replied,
            lost: interval.flow.lost,
            lag_max: max(&lag),
            p50: interval.quantiles.map(|(p50, _)| p50),
            p99: interval.quantiles.map(|(_, p99)| p99),
            max: max(&response),
            server_cpu_ns,
            hdr_v2: encode(&response),
            service_hdr_v2: encode(&interval.service.histogram()),
            lag_hdr_v2: encode(&lag),
        }
    }

    /// The response times, the service times and the lags; `None` where somebody has tampered with the text.
    pub fn histograms(&self) -> [Option<Histogram<u64>>; 3] {
        [&self.hdr_v2, &self.service_hdr_v2, &self.lag_hdr_v2].map(|text| decode(text))
    }

    /// The response times. `None` if somebody has tampered with the text.
    pub fn histogram(&self) -> Option<Histogram<u64>> {
        decode(&self.hdr_v2)
    }
}

/// One interval a line, each a JSON object.
pub fn ndjson(intervals: &[Interval]) -> String {
    intervals
        .iter()
        .map(|interval| serde_json::to_string(interval).expect("an interval has string keys and whole numbers") + "\n")
        .collect()
}

/// A table with a header, under the names of the JSON; an empty field is a value that there is none of.
pub fn csv(intervals: &[Interval]) -> String {
    let mut text = "t_ns,len_ns,offered,sent,replied,lost,lag_max,p50,p99,max,server_cpu_ns\n".to_owned();
    let maybe = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
    for interval in intervals {
        let Interval { t_ns, len_ns, offered, sent, replied, lost, .. } = interval;
        let [lag_max, p50, p99, max, cpu] =
            [interval.lag_max, interval.p50, interval.p99, interval.max, interval.server_cpu_ns].map(maybe);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{t_ns},{len_ns},{offered},{sent},{replied},{lost},{lag_max},{p50},{p99},{max},{cpu}");
    }
    text
}
