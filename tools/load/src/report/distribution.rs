//! A histogram as bars of text, on a logarithmic scale. Pure: no I/O.

use std::fmt::Write;

use hdrhistogram::Histogram;

use super::document::Latency;
use super::screen::{count, percent};
use crate::clock::Nanos;

/// Cells of the longest bar.
const BAR_CELLS: usize = 40;

/// Rows of a drawn histogram. More than this and the scale gets coarser.
const MOST_ROWS: usize = 16;

/// Bucket edges within a decade, from fine to coarse.
const SCALES: [&[f64]; 3] = [&[1.0, 1.5, 2.0, 3.0, 5.0, 7.0], &[1.0, 2.0, 5.0], &[1.0]];

/// The response times of a run.
pub(super) fn lines(text: &mut String, latency: &Latency) -> std::fmt::Result {
    let Some(histogram) = latency.histogram().filter(|histogram| !histogram.is_empty()) else { return Ok(()) };
    writeln!(text, "  response (us)                 count")?;
    for row in rows(&histogram, MOST_ROWS, BAR_CELLS) {
        writeln!(text, "{row}")?;
    }
    writeln!(text)
}

/// At most so many rows of a histogram, with bars of at most so many cells. Where the coarsest scale has more rows, the
/// fastest of them are left out.
pub fn rows(histogram: &Histogram<u64>, most_rows: usize, cells: usize) -> Vec<String> {
    let [fine, coarser, coarsest] = SCALES;
    let fits = [fine, coarser].into_iter().map(|scale| buckets(histogram, scale)).find(|rows| rows.len() <= most_rows);
    let mut rows = fits.unwrap_or_else(|| buckets(histogram, coarsest));
    rows.drain(..rows.len().saturating_sub(most_rows));
    let most = rows.iter().map(|row| row.count).max().unwrap_or(1).max(1);
    let row = |Bucket { from, to, count: in_bucket }: &Bucket| {
        let share = percent(*in_bucket, histogram.len());
        let bar = bar(*in_bucket, most, cells);
        let line = format!(
            "  {:>9} .. {:<9} {:>11} {share:>8}  {bar}",
            short_micros(*from),
            short_micros(*to),
            count(*in_bucket)
        );
        line.trim_end().to_owned()
    };
    rows.iter().map(row).collect()
}

/// A row of the drawn histogram, in nanoseconds.
struct Bucket {
    from: Nanos,
    to: Nanos,
    count: u64,
}

/// The counts between the edges of a scale, from the first occupied bucket to the last.
fn buckets(histogram: &Histogram<u64>, scale: &[f64]) -> Vec<Bucket> {
    const DECADES: i32 = 12; // from 1 ns to 100 s and more
    let mut edges: Vec<Nanos> = (0..DECADES)
        .flat_map(|decade| scale.iter().map(move |factor| (factor * 10f64.powi(decade)) as Nanos))
        .collect();
    edges.dedup(); // 1 and 1.5 ns are the same here
    let mut rows: Vec<Bucket> = edges.windows(2).map(|edge| Bucket { from: edge[0], to: edge[1], count: 0 }).collect();
    for step in histogram.iter_recorded() {
        let value = step.value_iterated_to().min(histogram.max());
        // The edge after the value; the first edge is 1, the smallest value there is.
        let row = edges.partition_point(|&edge| edge <= value).clamp(1, rows.len()) - 1;
        rows[row].count += step.count_at_value();
    }
    let first = rows.iter().position(|row| row.count > 0).unwrap_or(0);
    let last = rows.iter().rposition(|row| row.count > 0).unwrap_or(0);
    rows.drain(first..=last).collect()
}

/// A bar in eighths of a cell. Whatever is not zero is visible.
fn bar(value: u64, most: u64, cells: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (value as f64 / most as f64 * cells as f64 * 8.0).round() as usize;
    let eighths = if value > 0 { eighths.max(1) } else { 0 };
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

/// Microseconds as short as they can be: an edge of a bucket.
fn short_micros(nanos: Nanos) -> String {
    if nanos.is_multiple_of(1000) { count(nanos / 1000) } else { format!("{}", nanos as f64 / 1000.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_the_row_that_names_it() {
        let mut histogram = crate::recorder::histogram();
        for (value, times) in [(1, 1), (1_500, 2), (1_999, 3), (2_000, 5), (70_000_000, 7), (60_000_000_000, 11)] {
            histogram.saturating_record_n(value, times);
        }
        for scale in SCALES {
            let rows = buckets(&histogram, scale);
            assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), histogram.len());
            assert!(rows[0].from == 1 && rows.last().unwrap().to > 60_000_000_000);
        }
        let rows = buckets(&histogram, SCALES[0]);
        let row = |value: u64| rows.iter().find(|row| row.from <= value && value < row.to).unwrap();
        assert_eq!((row(1_500).count, row(2_000).count, row(70_000_000).count), (5, 5, 7));
        assert!(buckets(&histogram, SCALES[2]).len() <= MOST_ROWS, "the coarsest scale always fits");
    }

    #[test]
    fn what_is_not_zero_has_a_bar() {
        assert_eq!(bar(1, 1_000_000, 40), "▏");
        assert_eq!(bar(0, 1_000_000, 40), "");
        assert_eq!(bar(7, 7, 40), "█".repeat(40));
    }

    #[test]
    fn where_there_is_little_room_the_slow_end_is_shown() {
        let mut histogram = crate::recorder::histogram();
        for decade in 0..10 {
            histogram.saturating_record(3 * 10_u64.pow(decade));
        }
        let rows = rows(&histogram, 4, 10);
        assert_eq!(rows.len(), 4, "{rows:?}");
        assert!(rows[3].contains("1,000,000 .. 10,000,000"), "{rows:?}");
    }
}
