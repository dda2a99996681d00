//! A series of values in one line of text. Pure: no I/O.

use std::fmt::Write;

use super::document::Document;
use super::screen::{count, micros};
use crate::clock::SECOND;

/// Cells of a line on the screen: three of them, with their scales, fit beside each other.
const CELLS: usize = 20;

/// A bar a value, from the lowest for the least of them to the highest for the greatest; a gap where there is none.
pub fn sparkline(values: impl IntoIterator<Item = Option<u64>>) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values: Vec<Option<u64>> = values.into_iter().collect();
    let least = values.iter().flatten().min().copied().unwrap_or(0);
    let span = values.iter().flatten().max().copied().unwrap_or(0) - least;
    let bar = |value: u64| {
        // Without a difference all are low: a flat line is what they are.
        let share = if span == 0 { 0.0 } else { (value - least) as f64 / span as f64 };
        BARS[(share * (BARS.len() - 1) as f64).round() as usize]
    };
    values.into_iter().map(|value| value.map_or(' ', bar)).collect()
}

/// The run over time, in a line of the screen: medians, 99th percentiles and losses. Nothing for a run of few intervals.
pub(super) fn over_time(text: &mut String, run: &Document) -> std::fmt::Result {
    const FEWEST: usize = 3;
    // What came in after the end of sending is no part of the load.
    let sending = run.intervals.iter().filter(|interval| interval.t_ns < run.time.measured_ns);
    let intervals: Vec<_> = sending.collect();
    if intervals.len() < FEWEST {
        return Ok(());
    }
    let each = intervals.len().div_ceil(CELLS);
    // Where several intervals share a cell, the worst of them is shown.
    let p50: Vec<_> = intervals.chunks(each).map(|cell| cell.iter().filter_map(|one| one.p50).max()).collect();
    let p99: Vec<_> = intervals.chunks(each).map(|cell| cell.iter().filter_map(|one| one.p99).max()).collect();
    let lost: Vec<_> = intervals.chunks(each).map(|cell| Some(cell.iter().map(|one| one.lost).sum::<u64>())).collect();
    let range = |values: &[Option<u64>], write: fn(u64) -> String| {
        let known = || values.iter().flatten().copied();
        format!("{}..{}", write(known().min().unwrap_or(0)), write(known().max().unwrap_or(0)))
    };
    let cell = run.config.interval_ns * each as u64;
    writeln!(
        text,
        "  p50 {} {} us   p99 {} {} us   lost {} {}   ({} s each)\n",
        sparkline(p50.iter().copied()),
        range(&p50, micros),
        sparkline(p99.iter().copied()),
        range(&p99, micros),
        sparkline(lost.iter().copied()),
        range(&lost, count),
        cell as f64 / SECOND as f64
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_go_from_the_least_to_the_greatest() {
        assert_eq!(sparkline([10, 45, 80].map(Some)), "▁▅█");
        assert_eq!(sparkline([Some(5), None, Some(5)]), "▁ ▁");
        assert_eq!(sparkline([]), "");
        assert_eq!(sparkline([Some(0), Some(u64::MAX)]), "▁█");
    }
}
