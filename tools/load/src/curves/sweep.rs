//! `shout-load sweep`: the throughput-latency curve on the same connections. Does I/O: makes the trials.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use shout::target::Target;

use super::curve::{self, Point, Reached, knee, steps_to};
use super::setup::{self, Bench};
use crate::cli::rate_steps;
use crate::clock::Nanos;
use crate::plan::nanos;
use crate::program::{Refused, complain};
use crate::report::page::trials;
use crate::report::screen::{count, micros, percent};
use crate::report::table;
use crate::run::{Failure, exit};

/// The name of the shape of a saved sweep.
pub const SCHEMA: &str = "shout-load-sweep/1";

/// How long each of the trials sends that `auto` looks for the greatest rate with.
const PROBE: Nanos = 200_000_000;

/// Rates that are measured a second time because the generator was to blame for the first: most such causes are gone a
/// moment later.
const MOST_REPEATS: usize = 5;

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

    /// Messages a second, from A to B in steps; auto: doubles the rate until it fails, and then goes up to there in ten
    /// steps, and one beyond
    #[arg(long, value_name = "A:B:STEP|auto", value_parser = Rates::read, default_value = "auto")]
    rates: Rates,

    /// How long to measure at each rate, at least 50ms
    #[arg(short, long, value_name = "TIME", value_parser = setup::trial_length, default_value = "2s")]
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

/// A sweep, as it is saved: `shout-load sweep --json`.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Saved {
    /// `shout-load-sweep/1`.
    #[cfg_attr(test, schemars(extend("const" = SCHEMA)))]
    schema: &'static str,
    /// The command line.
    command: Vec<String>,
    /// Whom it loaded.
    target: String,
    /// The seed in hexadecimal, as `--seed` takes it.
    seed: String,
    /// Every rate, in the order in which it was measured.
    points: Vec<Point>,
    /// Which of the points is the knee, a number from 0 on; null where none is.
    knee: Option<usize>,
    /// How many answers had wrong bytes, at all rates.
    wrong: u64,
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
        command: command.to_vec(),
        target: bench.plan.target.to_string(),
        seed: format!("{:X}", bench.plan.seed),
        knee: knee(&points),
        points,
        wrong: bench.wrong,
    };
    let json = serde_json::to_string(&saved).expect("a sweep has string keys and finite numbers");
    let text = text(&saved);
    let code = setup::deliver(&options.setup, &text, &json, &|| page(&saved, &text, &json));
    setup::exit_code(code, if bench.wrong > 0 { exit::WRONG_PAYLOAD } else { exit::DONE })
}

fn sweep(options: &Options, bench: &mut Bench) -> Result<Vec<Point>, Failure> {
    let rates = if options.rates.0.is_empty() {
        let greatest = curve::greatest(&mut |rate| {
            bench.show(&format!("looking for the greatest rate: {} msg/s", count(rate as u64)));
            let (trial, document) = bench.trial(rate, PROBE)?;
            bench.check_presence(&document)?;
            Ok::<_, Failure>(trial)
        })?;
        if greatest <= 0.0 {
            return Err(Failure(format!("{} answered at no rate; name lower ones with --rates", bench.plan.target)));
        }
        steps_to(greatest)
    } else {
        options.rates.0.clone()
    };
    let mut points: Vec<Point> = Vec::with_capacity(rates.len());
    let mut repeats = 0;
    for (index, rate) in rates.iter().enumerate() {
        bench.show(&format!("point {} of {}: {} msg/s", index + 1, rates.len(), count(*rate as u64)));
        let mut measure = || -> Result<Option<Point>, Failure> {
            let (trial, document) = bench.trial(*rate, nanos(options.duration))?;
            Ok((!document.time.interrupted).then(|| Point::of(&trial, &document)))
        };
        let Some(mut point) = measure()? else { break };
        if point.reached.is_generators() && repeats < MOST_REPEATS {
            repeats += 1;
            let Some(again) = measure()? else { break };
            if !again.reached.is_generators() {
                point = again;
            }
        }
        points.push(point);
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
            Reached::GeneratorWasLate => "the generator was late: its latency, not the server's",
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
    text + &setup::on_wrong_answers(saved.wrong)
}

/// A bar on a logarithmic scale from a microsecond on.
fn bar(nanos: u64, most: u64) -> String {
    let log = |nanos: u64| (nanos.max(1000) as f64 / 500.0).ln();
    "▪".repeat((BAR_CELLS * log(nanos) / log(most)).round() as usize)
}

fn sentence(saved: &Saved) -> String {
    let points = &saved.points;
    let number = |is: fn(Reached) -> bool| points.iter().filter(|point| is(point.reached)).count();
    let (late, slow) = (
        number(|reached| reached == Reached::GeneratorWasLate),
        number(|reached| reached == Reached::NotByTheGenerator),
    );
    let mut notes = String::new();
    for (number, what) in [(slow, "was the limit"), (late, "was late: give it a processor of its own")] {
        if number > 0 {
            // Writing to a String cannot fail.
            let _ = write!(notes, "; at {number} of {} rates the generator {what}", points.len());
        }
    }
    let Some(knee) = saved.knee else {
        let why = if number(Reached::is_generators) == points.len() {
            "the generator spoilt every rate"
        } else {
            "no rate was reached with less than 1% loss"
        };
        return format!("no knee: {why}{notes}");
    };
    let rate = count(points[knee].answered as u64);
    // Without a point behind it that says what more load costs, it is only the end of what was measured.
    let is_last = !points[knee + 1..].iter().any(|point| !point.reached.is_generators());
    if is_last {
        format!("no knee up to {rate}/s: so far a part more load costs a smaller part of latency{notes}")
    } else {
        format!("knee at {rate}/s: beyond it a part more load costs a larger part of latency{notes}")
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
            loss: point.loss(),
            is_marked: point.reached.is_generators(),
        }
    });
    let points: Vec<trials::Point> = points.collect();
    let knee: Vec<f64> = saved.knee.map(|index| saved.points[index].achieved).into_iter().collect();
    let figures = [
        ("Latency by rate", trials::latencies(&points, &knee, &[])),
        ("Loss by rate", trials::losses(&points, &[], &[])),
    ];
    trials::page("Sweep", &saved.target, &[sentence(saved)], &figures, text, json)
}
