//! The percentile spectrum: latency over 1/(1−p), both logarithmic, so that the tail has as much room as the rest.
//! Pure: no I/O.

use std::fmt::Write;

use hdrhistogram::Histogram;

use super::plot::{LogScale, Plot, UNITS, latency, legend};
use crate::report::document::Document;

/// Points of a line: more than this cannot be told apart on a page.
const POINTS: u32 = 240;

/// What is drawn, the most important last, so that it lies on top.
const LINES: [(&str, &str); 3] = [("lag", "lag"), ("service", "service"), ("response", "response")];

/// The share of values above the two that are known of the floor.
const FLOOR: [f64; 2] = [0.5, 0.01];

pub(super) fn figure(run: &Document) -> String {
    let latencies = [&run.latency.lag, &run.latency.service, &run.latency.response];
    let histograms: Vec<Histogram<u64>> = latencies.iter().filter_map(|one| one.histogram()).collect();
    let most = histograms.iter().map(Histogram::len).max().unwrap_or(0);
    if most == 0 {
        return String::new();
    }
    let drawn = || histograms.iter().filter(|histogram| !histogram.is_empty());
    let floor = run.floor.map(|floor| [floor.echo.p50, floor.echo.p99]);
    let least = drawn().map(|one| one.value_at_quantile(0.01)).chain(floor.map(|floor| floor[0])).min().unwrap_or(1);
    let scale = LogScale::new(least, drawn().map(Histogram::max).max().unwrap_or(1));
    // The last value of n stands at 1/(1−p) = n.
    let decades = (most as f64).log10().max(1.0);
    let mut plot = axes(scale, decades);
    for ((class, _), histogram) in LINES.iter().zip(&histograms) {
        if !histogram.is_empty() {
            plot.path(&format!("line {class}"), &line(histogram, scale, decades));
        }
    }
    let mut names: Vec<(&str, &str)> = LINES.into_iter().rev().collect();
    if let Some(floor) = floor {
        let at = |share: f64| UNITS * (-share.log10() / decades).min(1.0);
        let [(from, low), (to, high)] = [0, 1].map(|end| (at(FLOOR[end]), scale.y(floor[end])));
        plot.path("line floor", &format!("M{from:.1} {low:.1}L{to:.1} {high:.1}"));
        names.push(("floor", "floor: null echo on this machine, p50 to p99"));
    }
    format!("<figure>{}{}</figure>", legend(&names), plot.html())
}

/// Several distributions over each other, each with the class of its line and its name.
pub(super) fn overlaid(lines: &[(&str, &str, &Histogram<u64>)]) -> String {
    let drawn = || lines.iter().filter(|(.., histogram)| !histogram.is_empty());
    let least = drawn().map(|(.., one)| one.value_at_quantile(0.01)).min().unwrap_or(1);
    let most = drawn().map(|(.., one)| one.len()).max().unwrap_or(0);
    let scale = LogScale::new(least, drawn().map(|(.., one)| one.max()).max().unwrap_or(1));
    let decades = (most as f64).log10().max(1.0);
    let mut plot = axes(scale, decades);
    for (class, _, histogram) in drawn() {
        plot.path(&format!("line {class}"), &line(histogram, scale, decades));
    }
    let names: Vec<(&str, &str)> = lines.iter().map(|(class, name, _)| (*class, *name)).collect();
    format!("<figure>{}{}</figure>", legend(&names), plot.html())
}

/// An empty drawing with its scales.
fn axes(scale: LogScale, decades: f64) -> Plot {
    let mut plot = Plot::new("spectrum", "Latency by percentile, from the median to the slowest");
    for tick in scale.ticks() {
        plot.y_tick(scale.share(tick), &latency(tick));
    }
    for decade in 0..=decades.floor() as i32 {
        let name = if decade == 0 { "0%".into() } else { percentile(decade) };
        plot.x_tick(f64::from(decade) / decades, &name, decade % 2 == 1 && decade > 1);
    }
    plot
}

fn line(histogram: &Histogram<u64>, scale: LogScale, decades: f64) -> String {
    let last = (histogram.len() as f64).log10().min(decades);
    let mut data = String::new();
    for point in 0..=POINTS {
        let exponent = last * f64::from(point) / f64::from(POINTS);
        let quantile = 1.0 - 10_f64.powf(-exponent);
        let value = if point == POINTS { histogram.max() } else { histogram.value_at_quantile(quantile) };
        let sign = if point == 0 { 'M' } else { 'L' };
        // Writing to a String cannot fail.
        let _ = write!(data, "{sign}{:.1} {:.1}", UNITS * exponent / decades, scale.y(value));
    }
    data
}

/// The percentile with so many nines: 90%, 99%, 99.9%.
fn percentile(nines: i32) -> String {
    let decimals = (nines - 2).max(0) as usize;
    format!("{:.decimals$}%", 100.0 - 10_f64.powi(2 - nines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nines_are_counted() {
        assert_eq!([1, 2, 3, 5].map(percentile), ["90%", "99%", "99.9%", "99.999%"]);
    }

    #[test]
    fn a_line_goes_up_to_the_slowest() {
        let mut histogram = crate::recorder::histogram();
        for value in 1..=1000 {
            histogram.saturating_record(value * 1_000);
        }
        let data = line(&histogram, LogScale::new(1_000, 1_000_000), 3.0);
        let end: Vec<f64> = data.rsplit('L').next().unwrap().split(' ').map(|one| one.parse().unwrap()).collect();
        assert!((end[0] - UNITS).abs() < 0.1 && end[1] > 0.0 && end[1] < 60.0, "{end:?}");
    }
}
