//! The page of several runs: the percentiles of each beside those of the others, and what they come to. Pure: no I/O.

use std::fmt::Write;

use super::plot::{LogScale, Plot, UNITS, latency, legend};
use super::trials;
use crate::clock::Nanos;
use crate::report::document::Quantile;
use crate::report::files;
use crate::report::repeats::{Repeats, Run};

/// The runs whose numbers fit below a figure.
const MOST_NUMBERS: usize = 20;

/// The page of several runs.
pub fn html(repeats: &Repeats) -> String {
    let figures = [("Latency by run", figure(repeats))];
    let (target, text) = (&repeats.target.url, repeats.text());
    trials::page("Repeated runs", target, &repeats.sentences(), &figures, &text, &files::json(repeats))
}

/// The median and the 99th percentile of each run with their intervals, and the interval of the mean over the runs.
fn figure(repeats: &Repeats) -> String {
    let quantile = |run: &Run, name: &str| run.p.get(name).copied();
    let each = || repeats.runs.iter().flat_map(|run| ["50", "99"].into_iter().filter_map(|name| quantile(run, name)));
    let spread = repeats.spread.iter().find(|spread| spread.figure == "p99");
    let mean = spread.and_then(|spread| spread.lo.zip(spread.hi)).map(|(low, high)| (low as Nanos, high as Nanos));
    let ends = |Quantile { v, lo, hi, .. }| [Some(v), lo, hi].into_iter().flatten();
    let times = || each().flat_map(ends).chain(mean.into_iter().flat_map(|(low, high)| [low, high]));
    let (Some(least), Some(most)) = (times().min(), times().max()) else { return String::new() };
    let scale = LogScale::new(least, most);
    let mut plot = Plot::new("curve", "The median and the 99th percentile of the response time of each run");
    for tick in scale.ticks() {
        plot.y_tick(scale.share(tick), &latency(tick));
    }
    if let Some((low, high)) = mean {
        let (low, high) = (scale.y(low), scale.y(high));
        plot.path("area between", &format!("M0 {low:.1}H{UNITS}V{high:.1}H0Z"));
    }
    let number = repeats.runs.len();
    let share = |index: usize| (index as f64 + 0.5) / number as f64;
    for index in (0..number).step_by(number.div_ceil(MOST_NUMBERS)) {
        plot.x_tick(share(index), &(index + 1).to_string(), index % 2 == 1);
    }
    for (class, name) in [("line p50", "50"), ("line response", "99")] {
        let mut data = String::new();
        for (index, run) in repeats.runs.iter().enumerate() {
            let Some(Quantile { v, lo, hi, .. }) = quantile(run, name) else { continue };
            let (x, half) = (UNITS * share(index), UNITS / number as f64 / 4.0);
            // Writing to a String cannot fail.
            let _ = write!(data, "M{:.1} {:.1}H{:.1}", x - half, scale.y(v), x + half);
            if let (Some(low), Some(high)) = (lo, hi) {
                let _ = write!(data, "M{x:.1} {:.1}V{:.1}", scale.y(low), scale.y(high));
            }
        }
        plot.path(class, &data);
    }
    let mut names = vec![("response", "p99 of each run, with its 95% interval"), ("p50", "median")];
    if mean.is_some() {
        names.push(("bound", "95% interval of the mean p99 over the runs"));
    }
    format!("<figure>{}{}</figure>", legend(&names), plot.html())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::document::{Document, Latency};

    #[test]
    fn each_run_has_its_place_in_the_figure() {
        let mut response = crate::recorder::histogram();
        for value in 1..=20_000 {
            response.saturating_record(value * 100);
        }
        let mut run = Document::for_tests();
        run.latency.response = Latency::with_confidence(&response, 20_000.0);
        let mut repeats = Repeats::new(&run, 7, 3);
        (0..3).for_each(|_| repeats.push(&run));
        repeats.finish(&response);
        let text = html(&repeats);
        assert!(text.contains("class=\"area between\"") && text.contains(">3</span>"), "{text}");
        let line = text.split("class=\"line response\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!((line.matches('H').count(), line.matches('V').count()), (3, 3), "{line}");
        assert!(figure(&Repeats::new(&run, 7, 3)).is_empty());
    }
}
