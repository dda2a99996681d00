//! Pages of several trials: latency over the rate, with what was found marked in it. Pure: no I/O.

use std::fmt::Write;

use hdrhistogram::Histogram;

use super::around;
use super::plot::{LogScale, Plot, UNITS, latency, legend};
use super::sheet::{escape, section};
use crate::clock::Nanos;
use crate::report::screen::count;

/// A trial as a point of a curve.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// Messages a second.
    pub rate: f64,
    /// The median of the response time; `None` without a reply.
    pub p50: Option<Nanos>,
    /// Its 99th percentile.
    pub p99: Option<Nanos>,
    /// The 95 % confidence interval of that, where it is known.
    pub p99_interval: (Option<Nanos>, Option<Nanos>),
    /// Whether the generator did not reach the rate, or was the limit.
    pub is_marked: bool,
}

/// A page: the answer in a sentence, a figure, and the same as text.
pub fn page(what: &str, target: &str, sentence: &str, figure: (&str, &str), text: &str, json: &str) -> String {
    let heading = format!("<h1>{what}: {}</h1>", escape(target));
    let answer = format!("<p class=\"summary\"><strong>{}</strong></p>", escape(sentence));
    let text = format!("<div class=\"scroll\"><pre class=\"wide\">{}</pre></div>", escape(text));
    let body = heading + &answer + &section(figure.0, figure.1) + &section("All of it", &text);
    around(&format!("{what} of {target} · shout-load"), &body, json)
}

/// The latencies of two servers by percentile, one over the other.
pub fn spectra(a: &Histogram<u64>, b: &Histogram<u64>) -> String {
    super::spectrum::overlaid(&[("response", "A", a), ("service", "B", b)])
}

/// Latency over the rate. `knees` are rates with a line down, and between `lower` and `upper` lies an answer.
pub fn figure(points: &[Point], knees: &[f64], lower: Option<f64>, upper: Option<f64>) -> String {
    let times = || points.iter().flat_map(|point| [point.p50, point.p99, point.p99_interval.1]).flatten();
    let (Some(least), Some(most)) = (times().min(), times().max()) else { return String::new() };
    let scale = LogScale::new(least, most);
    let widest = points.iter().map(|point| point.rate).chain(lower).chain(upper).fold(1.0, f64::max) * 1.04;
    let mut plot = Plot::new("curve", "Response time by rate: the median and the 99th percentile");
    for tick in scale.ticks() {
        plot.y_tick(scale.share(tick), &latency(tick));
    }
    let step = round_step(widest / 5.0);
    for index in 0..=(widest / step) as u64 {
        let rate = step * index as f64;
        plot.x_tick(rate / widest, &format!("{}/s", short(rate)), index % 2 == 1);
    }
    let x = |rate: f64| UNITS * rate / widest;
    if let (Some(low), Some(high)) = (lower, upper) {
        plot.path("area between", &format!("M{:.1} 0H{:.1}V{UNITS}H{:.1}Z", x(low), x(high), x(low)));
    }
    for bound in lower.into_iter().chain(upper) {
        plot.path("line bound", &format!("M{:.1} 0V{UNITS}", x(bound)));
    }
    for knee in knees {
        plot.path("line knee", &format!("M{:.1} 0V{UNITS}", x(*knee)));
    }
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    for (class, time) in
        [("line p50", (|point| point.p50) as fn(&Point) -> Option<Nanos>), ("line response", |point| point.p99)]
    {
        let mut data = String::new();
        for (rate, time) in sorted.iter().filter_map(|point| Some((point.rate, time(point)?))) {
            let sign = if data.is_empty() { 'M' } else { 'L' };
            // Writing to a String cannot fail.
            let _ = write!(data, "{sign}{:.1} {:.1}", x(rate), scale.y(time));
        }
        plot.path(class, &data);
    }
    for point in &sorted {
        if let (Some(low), Some(high)) = point.p99_interval {
            plot.path("line error", &format!("M{:.1} {:.1}V{:.1}", x(point.rate), scale.y(low), scale.y(high)));
        }
        if point.is_marked {
            plot.path("line unreached", &format!("M{:.1} 0V{UNITS}", x(point.rate)));
        }
    }
    let mut names = vec![("response", "p99, with its 95% interval"), ("p50", "median")];
    if points.iter().any(|point| point.is_marked) {
        names.push(("unreached", "the generator was the limit"));
    }
    if !knees.is_empty() {
        names.push(("knee", "knee"));
    }
    if lower.or(upper).is_some() {
        names.push(("bound", "bounds of the answer"));
    }
    format!("<figure>{}{}</figure>", legend(&names), plot.html())
}

/// The next of 1, 2 and 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let decade = 10_f64.powf(least.max(1e-9).log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * decade >= least).unwrap_or(10.0);
    factor * decade
}

/// A rate in few letters.
fn short(rate: f64) -> String {
    let trimmed = |number: f64, unit: &str| format!("{number:.1}").trim_end_matches(".0").to_owned() + unit;
    match rate {
        1e6.. => trimmed(rate / 1e6, "m"),
        1e4..1e6 => trimmed(rate / 1e3, "k"),
        _ => count(rate as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_rates_short() {
        assert_eq!([37.0, 0.9, 1.0, 5.1e4].map(|least| round_step(least) as u64), [50, 1, 1, 100_000]);
        assert_eq!([0.0, 2500.0, 25e3, 1.5e6].map(short), ["0", "2,500", "25k", "1.5m"]);
    }

    #[test]
    fn a_figure_marks_what_was_found() {
        let point = |rate: f64, is_marked| Point {
            rate,
            p50: Some(10_000),
            p99: Some(20_000),
            p99_interval: (Some(19_000), Some(22_000)),
            is_marked,
        };
        let figure = figure(&[point(1000.0, false), point(2000.0, true)], &[1000.0], Some(900.0), Some(1100.0));
        for class in ["line knee", "line unreached", "area between", "line error", "line bound"] {
            assert!(figure.contains(&format!("class=\"{class}\"")), "{class}");
        }
        assert!(super::figure(&[], &[], None, None).is_empty());
    }
}
