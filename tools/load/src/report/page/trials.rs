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
    /// The share of the messages that was lost.
    pub loss: f64,
    /// Whether the generator did not reach the rate, or was the limit.
    pub is_marked: bool,
}

/// Rates between which an answer lies.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The greatest that surely held.
    pub lower: Option<f64>,
    /// The smallest that surely did not.
    pub upper: Option<f64>,
}

impl Bounds {
    fn ends(self) -> impl Iterator<Item = f64> {
        self.lower.into_iter().chain(self.upper)
    }
}

/// A page: the answer in sentences, figures with their titles, and the same as text. A figure of nothing is left out.
pub fn page(
    what: &str,
    target: &str,
    sentences: &[String],
    figures: &[(&str, String)],
    text: &str,
    json: &str,
) -> String {
    let mut body = format!("<h1>{what}: {}</h1>", escape(target));
    for sentence in sentences {
        // Writing to a String cannot fail.
        let _ = write!(body, "<p class=\"summary\"><strong>{}</strong></p>", escape(sentence));
    }
    for (title, figure) in figures {
        body += &section(title, figure);
    }
    body += &section("All of it", &format!("<div class=\"scroll\"><pre class=\"wide\">{}</pre></div>", escape(text)));
    around(&format!("{what} of {target} · shout-load"), &body, json)
}

/// The latencies of two servers by percentile, one over the other, each with its name.
pub fn spectra(a: (&str, &Histogram<u64>), b: (&str, &Histogram<u64>)) -> String {
    let [name_a, name_b] = [("A", a.0), ("B", b.0)].map(|(letter, name)| format!("{letter}: {}", escape(name)));
    super::spectrum::overlaid(&[("response", &name_a, a.1), ("service", &name_b, b.1)])
}

/// By how much B differs from A in one figure, as shares of A.
#[derive(Debug, Clone, Copy)]
pub struct Bar {
    /// What differs.
    pub name: &'static str,
    /// The lower end of its interval, the difference, and the upper end; `None` where nothing can be said.
    pub difference: Option<[f64; 3]>,
    /// By how much A seems to differ from itself.
    pub floor: Option<f64>,
    /// Whether that is neither chance nor noise.
    pub is_called: bool,
}

/// Differences with their intervals, each above the noise of the machine. Twice as much and half as much are equally far
/// from the middle.
pub fn differences(bars: &[Bar]) -> String {
    /// A hundredth either way can be told apart on any page.
    const NARROWEST: f64 = 0.02;
    let distance = |share: f64| share.max(-0.9999).ln_1p();
    let ends = bars.iter().flat_map(|bar| bar.difference.into_iter().flatten().chain(bar.floor));
    let reach = 1.1 * ends.map(|share| distance(share).abs()).fold(NARROWEST, f64::max);
    let place = |distance: f64| 0.5 + 0.5 * distance / reach;
    let x = |share: f64| UNITS * place(distance(share)).clamp(0.0, 1.0);
    let mut plot = Plot::new("differences", "By how much B differs from A, with the interval that holds it");
    plot.x_tick(0.5, "as A", false);
    let step = round_step(100.0 * (reach / 2.5).exp_m1()) / 100.0;
    for (index, share) in [step, 2.0 * step].into_iter().enumerate() {
        // As far to the other side: a quarter less is a third more the other way round.
        for (sign, distance) in [("+", distance(share)), ("-", -distance(share))] {
            if place(distance) < 1.0 && place(distance) > 0.0 {
                let percent = 100.0 * distance.exp_m1().abs();
                let digits = usize::from(percent < 10.0);
                plot.x_tick(place(distance), &format!("{sign}{percent:.digits$}%"), index == 1);
            }
        }
    }
    for (index, bar) in bars.iter().enumerate() {
        let height = UNITS / bars.len() as f64;
        let (top, middle) = (height * index as f64, height * (index as f64 + 0.5));
        plot.word_left(1.0 - middle / UNITS, bar.name);
        if let Some(floor) = bar.floor {
            let (left, right) = (UNITS * place(-distance(floor)), x(floor));
            let (top, bottom) = (top + 0.12 * height, top + 0.88 * height);
            plot.path("area floor", &format!("M{left:.1} {top:.1}H{right:.1}V{bottom:.1}H{left:.1}Z"));
        }
        if let Some([low, by, high]) = bar.difference {
            let class = if bar.is_called { "line interval called" } else { "line interval" };
            plot.path(class, &format!("M{:.1} {middle:.1}H{:.1}", x(low), x(high)));
            plot.path(if bar.is_called { "mark called" } else { "mark" }, &format!("M{:.1} {middle:.1}h0", x(by)));
        }
    }
    let mut names = vec![("interval", "B against A, with the interval of 95% confidence")];
    if bars.iter().any(|bar| bar.floor.is_some()) {
        names.push(("noise", "by how much A may seem to differ from itself"));
    }
    if bars.iter().any(|bar| bar.is_called) {
        names.push(("called", "a difference"));
    }
    format!("<figure>{}{}</figure>", legend(&names), plot.html())
}

/// Latency over the rate. `knees` are rates with a line down, and answers lie between `bounds`.
pub fn latencies(points: &[Point], knees: &[f64], bounds: &[Bounds]) -> String {
    let times = || points.iter().flat_map(|point| [point.p50, point.p99, point.p99_interval.1]).flatten();
    let (Some(least), Some(most)) = (times().min(), times().max()) else { return String::new() };
    let scale = LogScale::new(least, most);
    let mut plot = Plot::new("curve", "Response time by rate: the median and the 99th percentile");
    for tick in scale.ticks() {
        plot.y_tick(scale.share(tick), &latency(tick));
    }
    let x = rates(&mut plot, points, bounds);
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
    let is_known = points.iter().any(|point| matches!(point.p99_interval, (Some(_), Some(_))));
    let mut names = vec![("response", if is_known { "p99, with its 95% interval" } else { "p99" }), ("p50", "median")];
    if points.iter().any(|point| point.is_marked) {
        names.push(("unreached", "the generator was the limit"));
    }
    if !knees.is_empty() {
        names.push(("knee", "knee"));
    }
    if bounds.iter().any(|bounds| bounds.ends().next().is_some()) {
        names.push(("bound", "bounds of the answer"));
    }
    format!("<figure>{}{}</figure>", legend(&names), plot.html())
}

/// Loss over the rate, with the greatest that each goal allows; nothing where nothing was lost and nobody asked.
pub fn losses(points: &[Point], allowed: &[f64], bounds: &[Bounds]) -> String {
    /// The bottom of the logarithmic scale, which stands for none at all.
    const NONE: f64 = 1e-5;
    const TICKS: [(f64, &str); 6] =
        [(NONE, "none"), (1e-4, "0.01%"), (1e-3, "0.1%"), (1e-2, "1%"), (1e-1, "10%"), (1.0, "100%")];
    if allowed.is_empty() && points.iter().all(|point| point.loss <= 0.0) {
        return String::new();
    }
    let share = |loss: f64| 0.04 + 0.93 * (loss.max(NONE) / NONE).log10() / (1.0 / NONE).log10();
    let y = |loss: f64| UNITS * (1.0 - share(loss));
    let mut plot = Plot::new("curve low", "Share of the messages that were lost, by rate");
    for (loss, name) in TICKS {
        plot.y_tick(share(loss), name);
    }
    let x = rates(&mut plot, points, bounds);
    for loss in allowed {
        plot.path("line allowed", &format!("M0 {:.1}H{UNITS}", y(*loss)));
    }
    for point in points {
        plot.path("mark lost", &format!("M{:.1} {:.1}h0", x(point.rate), y(point.loss)));
    }
    let mut names = vec![("lost", "lost, a dot for each rate that was tried")];
    if !allowed.is_empty() {
        names.push(("allowed", "lost at most in a good trial"));
    }
    format!("<figure>{}{}</figure>", legend(&names), plot.html())
}

/// Draws the scale of rates and the bounds, and says how far to the right a rate is.
fn rates(plot: &mut Plot, points: &[Point], bounds: &[Bounds]) -> impl Fn(f64) -> f64 + use<> {
    let ends = bounds.iter().flat_map(|bounds| bounds.ends());
    let widest = points.iter().map(|point| point.rate).chain(ends).fold(1.0, f64::max) * 1.04;
    let step = round_step(widest / 5.0);
    for index in 0..=(widest / step) as u64 {
        let rate = step * index as f64;
        plot.x_tick(rate / widest, &format!("{}/s", short(rate)), index % 2 == 1);
    }
    let x = move |rate: f64| UNITS * rate / widest;
    for bounds in bounds {
        if let (Some(low), Some(high)) = (bounds.lower, bounds.upper) {
            plot.path("area between", &format!("M{:.1} 0H{:.1}V{UNITS}H{:.1}Z", x(low), x(high), x(low)));
        }
        for bound in bounds.ends() {
            plot.path("line bound", &format!("M{:.1} 0V{UNITS}", x(bound)));
        }
    }
    x
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

    fn point(rate: f64, loss: f64, is_marked: bool) -> Point {
        let p99_interval = (Some(19_000), Some(22_000));
        Point { rate, p50: Some(10_000), p99: Some(20_000), p99_interval, loss, is_marked }
    }

    #[test]
    fn a_figure_marks_what_was_found() {
        let points = [point(1000.0, 0.0, false), point(2000.0, 0.0, true)];
        let figure = latencies(&points, &[1000.0], &[Bounds { lower: Some(900.0), upper: Some(1100.0) }]);
        for class in ["line knee", "line unreached", "area between", "line error", "line bound"] {
            assert!(figure.contains(&format!("class=\"{class}\"")), "{class}");
        }
        assert!(latencies(&[], &[], &[]).is_empty());
    }

    #[test]
    fn losses_are_drawn_where_there_are_any_or_a_goal_speaks_of_them() {
        let (clean, lossy) = (point(1000.0, 0.0, false), point(2000.0, 0.1, false));
        assert!(losses(&[clean], &[], &[]).is_empty());
        assert_eq!(losses(&[clean, lossy], &[], &[]).matches("mark lost").count(), 2);
        assert!(losses(&[clean], &[0.0], &[]).contains("line allowed"));
        // 10 % stands a fifth of the scale below the top, and none at its bottom.
        let figure = losses(&[lossy], &[], &[]);
        assert!(figure.contains("M961.5 216.0h0"), "{figure}");
    }

    #[test]
    fn what_is_called_stands_out_and_twice_is_as_far_as_half() {
        let bar = |by: f64, is_called| Bar {
            name: "p99",
            difference: Some([by - 0.01, by, by + 0.01]),
            floor: Some(0.02),
            is_called,
        };
        let figure = differences(&[bar(1.0, true), bar(-0.5, true), bar(0.0, false)]);
        let marks: Vec<f64> = figure
            .split("class=\"mark")
            .skip(1)
            .map(|mark| mark.split('M').nth(1).unwrap().split(' ').next().unwrap().parse().unwrap())
            .collect();
        assert!((marks[0] + marks[1] - UNITS).abs() < 0.2 && (marks[2] - UNITS / 2.0).abs() < 0.1, "{marks:?}");
        assert_eq!(figure.matches("mark called").count(), 2);
        assert_eq!(figure.matches("area floor").count(), 3);
        let unknown = Bar { name: "rate", difference: None, floor: None, is_called: false };
        assert!(!differences(&[unknown]).contains("mark"));
    }
}
