//! `shout-load sweep`: the throughput-latency curve on the same connections. Does I/O: makes the trials.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use shout::target::Target;

use super::curve::{Point, Reached, knee, steps_to};
use super::setup::{self, Bench, generator_was_busy};
use super::table;
use crate::cli::{positive_duration, rate_steps};
use crate::clock::SECOND;
use crate::engine::Demand;
use crate::plan::nanos;
use crate::program::{Refused, complain};
use crate::report::page::trials;
use crate::report::screen::{count, micros, percent};
use crate::run::{Failure, exit};

/// The name of the shape of a saved sweep.
pub const SCHEMA: &str = "shout-load-sweep/1";

/// What `auto` does first: a closed loop, whose rate is about the greatest there is.
const PROBE_WINDOW: usize = 16;
const PROBE: u64 = SECOND;

/// Cells of the longest bar.
const BAR_CELLS: f64 = 30.0;

/// What `sweep` is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// udp://HOST:PORT, tcp://HOST:PORT, or echo://HOST:PORT for both at once. Without it, a server of our own is
    /// started on the loopback interface and loaded over UDP
    target: Option<Target>,

    #[command(flatten)]
    setup: setup::Common,

    /// Messages a second, from A to B in steps; auto: ten steps up to what a closed loop reaches, and one beyond
    #[arg(long, value_name = "A:B:STEP|auto", value_parser = Rates::read, default_value = "auto")]
    rates: Rates,

    /// How long to measure at each rate
    #[arg(short, long, value_name = "TIME", value_parser = positive_duration, default_value = "2s")]
    duration: Duration,
}

/// The rates of a sweep; none is `auto`.
#[derive(Debug, Clone)]
struct Rates(Vec<f64>);

impl Rates {
    fn read(text: &str) -> Result<Self, String> {
        rate_steps(text).map(Rates)
    }
}

/// A sweep, as it is saved.
#[derive(Debug, Clone, Serialize)]
struct Saved<'a> {
    schema: &'static str,
    command: &'a [String],
    target: String,
    seed: String,
    points: &'a [Point],
    /// Which of them is the knee.
    knee: Option<usize>,
}

/// Sweeps, and shows the curve.
pub fn main(options: &Options, command: &[String]) -> ExitCode {
    if let Err(line) = setup::check_outputs(&options.setup) {
        return complain(&line, 2);
    }
    let mut bench = match Bench::start(options.target.as_ref(), &options.setup, command.to_vec()) {
        Ok(bench) => bench,
        Err(Refused::Arguments(line)) => return complain(&line, 2),
        Err(Refused::System(line)) => return complain(&line, exit::FAILED),
    };
    let outcome = sweep(options, &mut bench);
    bench.show("");
    if let Some(code) = bench.interrupted() {
        return code;
    }
    let points = match outcome {
        Ok(points) => points,
        Err(failure) => return complain(&failure.to_string(), exit::FAILED),
    };
    let saved = Saved {
        schema: SCHEMA,
        command,
        target: bench.plan.target.to_string(),
        seed: format!("{:X}", bench.plan.seed),
        knee: knee(&points),
        points: &points,
    };
    let json = serde_json::to_string(&saved).expect("a sweep has string keys and finite numbers");
    let text = text(&saved);
    setup::deliver(&options.setup, &text, &json, &|| page(&saved, &text, &json))
}

fn sweep(options: &Options, bench: &mut Bench) -> Result<Vec<Point>, Failure> {
    let rates = if options.rates.0.is_empty() {
        bench.show("looking for the greatest rate");
        let probe = bench.stage(Demand::Closed { window: PROBE_WINDOW }, PROBE, PROBE)?;
        steps_to(probe.counts.replied as f64 * SECOND as f64 / probe.time.measured_ns.max(1) as f64)
    } else {
        options.rates.0.clone()
    };
    let mut points = Vec::with_capacity(rates.len());
    for (index, rate) in rates.iter().enumerate() {
        bench.show(&format!("point {} of {}: {} msg/s", index + 1, rates.len(), count(*rate as u64)));
        let (trial, document) = bench.trial(*rate, nanos(options.duration))?;
        if document.time.interrupted {
            break;
        }
        points.push(Point::of(&trial, &document, generator_was_busy(&document)));
    }
    Ok(points)
}

fn text(saved: &Saved) -> String {
    let mut text = format!("shout-load sweep  {}  open loop · poisson · seed {}\n\n", saved.target, saved.seed);
    let value = |point: &Point, name: &str| point.response.p.get(name).copied();
    let slowest = saved.points.iter().filter_map(|point| value(point, "99")).map(|p99| p99.v).max().unwrap_or(1);
    let rows = saved.points.iter().enumerate().map(|(index, point)| {
        let time = |name: &str| value(point, name).map_or("-".into(), |quantile| micros(quantile.v));
        let interval = match value(point, "99").map(|p99| (p99.lo, p99.hi)) {
            Some((Some(low), Some(high))) => format!("{}..{}", micros(low), micros(high)),
            Some(_) | None => "unknown".into(),
        };
        let knee = if saved.knee == Some(index) { "knee" } else { "" };
        let reached = match point.reached {
            Reached::Yes => "",
            Reached::ServerHeldUp => "the server took no more",
            Reached::NotByTheGenerator => "the generator was the limit",
        };
        let marks = [bar(value(point, "99").map_or(0, |p99| p99.v), slowest), knee.into(), reached.into()];
        vec![
            count(point.offered as u64),
            count(point.achieved as u64),
            count(point.answered as u64),
            percent(point.lost, point.sent),
            time("50"),
            time("99"),
            interval,
            time("99.9"),
            marks.into_iter().filter(|mark| !mark.is_empty()).collect::<Vec<_>>().join("  "),
        ]
    });
    let head = ["offered/s", "sent/s", "answered/s", "lost", "p50 us", "p99 us", "95% of p99", "p99.9 us", "p99, log"];
    text += &table::text(&head, &rows.collect::<Vec<_>>());
    let _ = writeln!(text, "\n  {}", sentence(saved));
    text
}

/// A bar on a logarithmic scale from a microsecond on.
fn bar(nanos: u64, most: u64) -> String {
    let log = |nanos: u64| (nanos.max(1000) as f64 / 500.0).ln();
    "▪".repeat((BAR_CELLS * log(nanos) / log(most)).round() as usize)
}

fn sentence(saved: &Saved) -> String {
    let unreached = saved.points.iter().filter(|point| point.reached == Reached::NotByTheGenerator).count();
    let note = if unreached == 0 {
        String::new()
    } else {
        format!("; at {unreached} of {} rates the generator was the limit", saved.points.len())
    };
    match saved.knee.map(|index| &saved.points[index]) {
        Some(point) => format!(
            "knee at {}/s: beyond it a part more load costs a larger part of latency{note}",
            count(point.answered as u64)
        ),
        None => format!("no knee: no rate was reached with less than 1% loss{note}"),
    }
}

fn page(saved: &Saved, text: &str, json: &str) -> String {
    let points = saved.points.iter().map(|point| {
        let quantile = |name: &str| point.response.p.get(name).copied();
        trials::Point {
            rate: point.achieved,
            p50: quantile("50").map(|one| one.v),
            p99: quantile("99").map(|one| one.v),
            p99_interval: quantile("99").map_or((None, None), |one| (one.lo, one.hi)),
            is_marked: point.reached == Reached::NotByTheGenerator,
        }
    });
    let knee: Vec<f64> = saved.knee.map(|index| saved.points[index].achieved).into_iter().collect();
    let figure = trials::figure(&points.collect::<Vec<_>>(), &knee, None, None);
    trials::page("Sweep", &saved.target, &sentence(saved), ("Latency by rate", &figure), text, json)
}
