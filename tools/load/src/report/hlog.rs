//! The `.hlog` file: the histograms of the intervals, as `HdrHistogram`'s own tools keep and read them. Pure: no I/O.
//!
//! Three histograms an interval, tagged `response`, `service` and `lag`, all in nanoseconds; the longest value of each,
//! which the format has apart, in milliseconds, as those tools write it.

use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::document::{Document, decode};

/// Nanoseconds in the unit of the longest values.
const NANOS_PER_UNIT: f64 = 1e6;

/// The intervals of a run. Times are relative to its start, which stands at the top.
pub fn text(run: &Document) -> String {
    const MEMORY: &str = "writing to memory";
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .with_start_time(UNIX_EPOCH + Duration::from_nanos(run.time.start_unix_ns))
        .with_max_value_divisor(NANOS_PER_UNIT)
        .begin_log_with(&mut bytes, &mut serializer)
        .expect(MEMORY);
    for interval in &run.intervals {
        let (start, length) = (Duration::from_nanos(interval.t_ns), Duration::from_nanos(interval.len_ns));
        let parts =
            [("response", &interval.hdr_v2), ("service", &interval.service_hdr_v2), ("lag", &interval.lag_hdr_v2)];
        for (tag, histogram) in parts {
            if let Some(histogram) = decode(histogram) {
                log.write_histogram(&histogram, start, length, Tag::new(tag)).expect(MEMORY);
            }
        }
    }
    String::from_utf8(bytes).expect("the format is ASCII")
}
