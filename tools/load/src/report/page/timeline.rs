//! The run over time: a heat map of the response times, with rate, loss, lag and the server's CPU under it on the same axis.
//! Pure: no I/O.

use std::fmt::Write;

use hdrhistogram::Histogram;

use super::plot::{LogScale, Plot, UNITS, latency, legend};
use crate::clock::SECOND;
use crate::report::document::Document;
use crate::report::intervals::Interval;
use crate::report::screen::count;

/// Columns of the heat map; with more intervals than that, neighbours share one.
const MOST_COLUMNS: usize = 240;

/// Rows of the heat map.
const ROWS: usize = 36;

/// Shades of the heat map, from few to many replies.
const SHADES: usize = 8;

pub(super) fn figure(run: &Document) -> String {
    let intervals = &run.intervals;
    let whole: u64 = intervals.iter().map(|interval| interval.len_ns).sum();
    if whole == 0 {
        return String::new();
    }
    let time = |nanos: u64| UNITS * nanos as f64 / whole as f64;
    let shades: Vec<String> = (0..SHADES).map(|shade| format!("<i class=\"h{shade}\"></i>")).collect();
    let heat_legend = format!("<figcaption><span>few replies {} many</span></figcaption>", shades.concat());
    let mut strips = vec![
        strip_of("rate", "messages/s", &rates(intervals, time)),
        strip_of("loss", "lost", &losses(intervals, time)),
        strip_of("lag", "longest lag", &lags(intervals, time)),
    ];
    strips.extend(server_cpu(intervals, time).map(|strip| strip_of("cpu", "server's CPU", &strip)));
    format!(
        "<figure class=\"timeline\" tabindex=\"0\">{heat_legend}{}{}<output>Point at a moment, or use the arrow keys, to read it out.</output></figure>\
         <p class=\"note\">Columns are intervals of {} or more; a reply stands where it came in, a loss where it was \
         noticed.</p>",
        heat_map(run, time, whole),
        strips.concat(),
        latency(run.config.interval_ns),
    )
}

fn heat_map(run: &Document, time: impl Fn(u64) -> f64, whole: u64) -> String {
    let Some(total) = run.latency.response.histogram().filter(|histogram| !histogram.is_empty()) else {
        return String::new();
    };
    let scale = LogScale::new(total.min(), total.max());
    let mut cells: Vec<(f64, f64, usize, f64)> = Vec::new(); // left, width, row, replies a second
    let each = run.intervals.len().div_ceil(MOST_COLUMNS);
    for column in run.intervals.chunks(each) {
        let length: u64 = column.iter().map(|interval| interval.len_ns).sum();
        let (left, width) = (time(column[0].t_ns), time(length));
        let mut rows = [0_u64; ROWS];
        for histogram in column.iter().filter_map(Interval::histogram) {
            add_rows(&mut rows, &histogram, scale);
        }
        let occupied = rows.iter().enumerate().filter(|(_, replies)| **replies > 0);
        cells.extend(occupied.map(|(row, replies)| (left, width, row, *replies as f64 / length.max(1) as f64)));
    }
    let most = cells.iter().map(|cell| cell.3).fold(0.0, f64::max);
    let least = cells.iter().map(|cell| cell.3).fold(most, f64::min);
    let mut paths = vec![String::new(); SHADES];
    for (left, width, row, density) in cells {
        // Logarithmic: a single slow reply among thousands of fast ones must be seen.
        let darkness = if most > least { (density / least).ln() / (most / least).ln() } else { 1.0 };
        let shade = ((darkness * SHADES as f64) as usize).min(SHADES - 1);
        let height = UNITS / ROWS as f64;
        let top = UNITS - height * (row + 1) as f64;
        // Writing to a String cannot fail.
        let _ = write!(paths[shade], "M{left:.1} {top:.1}h{width:.1}v{height:.1}h-{width:.1}z");
    }
    let mut plot = Plot::new("heat", "Response times over time");
    for tick in scale.ticks() {
        plot.y_tick(scale.share(tick), &latency(tick));
    }
    for (number, moment) in moments(whole).into_iter().enumerate() {
        plot.x_tick(moment as f64 / whole as f64, &format!("{} s", moment as f64 / SECOND as f64), number % 2 == 1);
    }
    for (shade, path) in paths.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
        plot.path(&format!("h{shade}"), path);
    }
    plot.html()
}

fn add_rows(rows: &mut [u64; ROWS], histogram: &Histogram<u64>, scale: LogScale) {
    for step in histogram.iter_recorded() {
        let row = (scale.share(step.value_iterated_to()) * ROWS as f64) as usize;
        rows[row.min(ROWS - 1)] += step.count_at_value();
    }
}

/// Round moments, four to ten of them.
fn moments(whole: u64) -> Vec<u64> {
    let steps = (0..12).flat_map(|decade| [1, 2, 5].map(|factor| factor * 10_u64.pow(decade) * SECOND / 1000));
    let step = steps.into_iter().find(|step| whole / step < 10).unwrap_or(whole);
    (0..=whole / step).map(|number| number * step).collect()
}

/// A strip: the values and what is drawn of them.
struct Strip {
    most: String,
    paths: Vec<(&'static str, String)>,
    names: Vec<(&'static str, &'static str)>,
}

fn strip_of(class: &'static str, title: &str, strip: &Strip) -> String {
    let mut plot = Plot::new(class, title);
    plot.y_tick(1.0, &strip.most);
    plot.y_tick(0.0, "0");
    for (class, data) in &strip.paths {
        plot.path(class, data);
    }
    let names = if strip.names.is_empty() { String::new() } else { legend(&strip.names) };
    format!("<div class=\"strip\"><h3>{title}</h3>{names}{}</div>", plot.html())
}

fn rates(intervals: &[Interval], time: impl Fn(u64) -> f64) -> Strip {
    let per_second = |number: u64, length: u64| number as f64 * SECOND as f64 / length.max(1) as f64;
    let rate = |part: fn(&Interval) -> u64| move |interval: &Interval| per_second(part(interval), interval.len_ns);
    let [offered, replied] = [rate(|interval| interval.offered), rate(|interval| interval.replied)];
    let most = intervals.iter().map(|one| offered(one).max(replied(one))).fold(1.0, f64::max);
    Strip {
        most: count(most as u64),
        paths: vec![
            ("area replied", steps(intervals, &time, |interval| replied(interval) / most, true)),
            ("line offered", steps(intervals, &time, |interval| offered(interval) / most, false)),
        ],
        names: vec![("replied", "replied"), ("offered", "offered")],
    }
}

fn losses(intervals: &[Interval], time: impl Fn(u64) -> f64) -> Strip {
    let most = intervals.iter().map(|interval| interval.lost).max().unwrap_or(0);
    let share = |interval: &Interval| interval.lost as f64 / most.max(1) as f64;
    Strip {
        most: if most == 0 { "none".into() } else { count(most) },
        paths: vec![("area lost", steps(intervals, time, share, true))],
        names: Vec::new(),
    }
}

fn lags(intervals: &[Interval], time: impl Fn(u64) -> f64) -> Strip {
    let most = intervals.iter().filter_map(|interval| interval.lag_max).max().unwrap_or(0);
    let share = |interval: &Interval| interval.lag_max.unwrap_or(0) as f64 / most.max(1) as f64;
    Strip { most: latency(most), paths: vec![("area lag", steps(intervals, time, share, true))], names: Vec::new() }
}

/// Of one processor, so that 200% are two. `None` where it was not observed.
fn server_cpu(intervals: &[Interval], time: impl Fn(u64) -> f64) -> Option<Strip> {
    intervals.iter().find_map(|interval| interval.server_cpu_ns)?;
    let used = |interval: &Interval| interval.server_cpu_ns.unwrap_or(0) as f64 / interval.len_ns.max(1) as f64;
    let most = intervals.iter().map(used).fold(1.0, f64::max);
    let paths = vec![("area cpu", steps(intervals, time, |interval| used(interval) / most, true))];
    Some(Strip { most: format!("{:.0}%", 100.0 * most), paths, names: Vec::new() })
}

/// A line of steps, or the area under it, of shares from 0 to 1.
fn steps(intervals: &[Interval], time: impl Fn(u64) -> f64, share: impl Fn(&Interval) -> f64, is_area: bool) -> String {
    let mut data = String::new();
    for (number, interval) in intervals.iter().enumerate() {
        let y = UNITS * (1.0 - share(interval));
        let (left, right) = (time(interval.t_ns), time(interval.t_ns + interval.len_ns));
        let _ = match (number, is_area) {
            (0, true) => write!(data, "M{left:.1} {UNITS}V{y:.1}H{right:.1}"),
            (0, false) => write!(data, "M{left:.1} {y:.1}H{right:.1}"),
            _ => write!(data, "V{y:.1}H{right:.1}"),
        };
    }
    if is_area { data + &format!("V{UNITS}z") } else { data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_round_and_not_many() {
        for whole in [50_000_000, SECOND, 10_050_000_000, 600 * SECOND, 86_400 * SECOND] {
            let moments = moments(whole);
            assert!((4..=10).contains(&moments.len()), "{moments:?}");
            assert!(moments.is_sorted() && *moments.last().unwrap() <= whole);
        }
    }

    #[test]
    fn no_reply_is_left_out_of_the_rows() {
        let mut histogram = crate::recorder::histogram();
        for value in [1, 1_000, 59_000_000_000] {
            histogram.saturating_record_n(value, 5);
        }
        let mut rows = [0; ROWS];
        add_rows(&mut rows, &histogram, LogScale::new(histogram.min(), histogram.max()));
        assert_eq!((rows.iter().sum::<u64>(), rows.iter().filter(|row| **row > 0).count()), (15, 3));
    }
}
