//! Distributions of a document: what is spelt out of each, and the whole histogram as text. Pure: no I/O.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use crate::evidence;
use crate::recorder::Recorder;

/// The percentiles that are spelt out, as they are written in the document.
pub const PERCENTILES: [(&str, f64); 5] = [("50", 50.0), ("90", 90.0), ("99", 99.0), ("99.9", 99.9), ("99.99", 99.99)];

/// The three latencies of every run, and how long connections took to open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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

impl Latencies {
    /// Of what was recorded, which is worth `size` independent values to each percentile, of its name and its quantile.
    pub fn of(recorder: &Recorder, size: impl Fn(&str, f64) -> f64, connect: Option<&Histogram<u64>>) -> Self {
        Latencies {
            response: Latency::with_confidence_at(&recorder.response, &size),
            service: Latency::with_confidence_at(&recorder.service, &size),
            lag: Latency::of(&recorder.lag),
            connect: connect.map(Latency::of),
        }
    }
}

/// One distribution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Latency {
    /// The unit of every value below: `ns`, nanoseconds.
    pub unit: String,
    /// How many values there are.
    pub n: u64,
    /// How many independent values they are worth to the 99th percentile, where that was found out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub n_eff: Option<u64>,
    /// The mean, in nanoseconds.
    pub mean: u64,
    /// The standard deviation, in nanoseconds.
    pub stdev: u64,
    /// The smallest value, in nanoseconds.
    pub min: u64,
    /// The largest value, in nanoseconds.
    pub max: u64,
    /// Percentiles by name, such as `99.9`; none of nothing.
    pub p: BTreeMap<String, Quantile>,
    /// The histogram itself, of nanoseconds: `HdrHistogram` V2, compressed, in base64.
    pub hdr_v2: String,
}

/// One percentile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Quantile {
    /// The value in nanoseconds, at the upper end of its bucket: at most 0.1 % too large.
    pub v: u64,
    /// The lower end of its 95 % confidence interval, in nanoseconds, where it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lo: Option<u64>,
    /// The upper end, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hi: Option<u64>,
    /// How many independent values all are worth to this percentile, where that was found out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub n_eff: Option<u64>,
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
                .map(|(name, percentile)| (name.to_string(), Quantile { v: value(*percentile), ..Quantile::default() }))
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
        Self::with_confidence_at(histogram, |_, _| size)
    }

    /// The same, where the values are worth another `size` to each percentile, of its name and its quantile.
    pub fn with_confidence_at(histogram: &Histogram<u64>, size: impl Fn(&str, f64) -> f64) -> Self {
        let mut latency = Latency::of(histogram);
        latency.n_eff = Some(size("99", 0.99) as u64);
        for (name, percentile) in PERCENTILES {
            if let Some(quantile) = latency.p.get_mut(name) {
                let q = percentile / 100.0;
                let worth = size(name, q);
                (quantile.lo, quantile.hi) = evidence::interval(histogram, q, worth);
                quantile.n_eff = Some(worth as u64);
            }
        }
        latency
    }

    /// How many independent values they are worth to each percentile that is spelt out.
    pub fn sizes(&self) -> BTreeMap<String, u64> {
        self.p.iter().filter_map(|(name, quantile)| Some((name.clone(), quantile.n_eff?))).collect()
    }

    /// The histogram itself. `None` if somebody has tampered with the text.
    pub fn histogram(&self) -> Option<Histogram<u64>> {
        decode(&self.hdr_v2)
    }
}

/// A histogram from its text. `None` if somebody has tampered with it.
pub(in crate::report) fn decode(text: &str) -> Option<Histogram<u64>> {
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    Deserializer::new().deserialize(&mut bytes.as_slice()).ok()
}

/// A histogram as text.
pub(in crate::report) fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).expect("writing to memory");
    BASE64_STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder;

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
