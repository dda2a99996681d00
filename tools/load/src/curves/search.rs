//! `shout-load search`: the greatest rate at which a server holds its objectives, with a lower and an upper bound. Does
//! I/O: makes the trials that [`super::capacity`] asks for.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use shout::target::Target;

use super::capacity::{Answer, Limit, Limits, Search, Step};
use super::judge::{self, Judgement};
use super::setup::{self, Bench, generator_was_busy};
use super::table;
use crate::cli::{positive_duration, rate_range};
use crate::clock::Nanos;
use crate::gates::{Objective, share};
use crate::plan::nanos;
use crate::program::{Refused, complain};
use crate::report::page::trials::{self, Point};
use crate::report::screen::{count, percent};
use crate::run::exit;

/// The name of the shape of a saved search.
pub const SCHEMA: &str = "shout-load-search/1";

/// What `search` is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// udp://HOST:PORT, tcp://HOST:PORT, or echo://HOST:PORT for both at once. Without it, a server of our own is
    /// started on the loopback interface and loaded over UDP
    target: Option<Target>,

    #[command(flatten)]
    setup: setup::Common,

    /// What must hold: bounds on p50 to p99.99, mean or loss, with commas between them, such as "p99<1ms,loss<0.01%"
    #[arg(long, value_name = "CONDITIONS", value_delimiter = ',', default_value = "p99<10ms,loss<0.1%")]
    slo: Vec<Objective>,

    /// The lowest and the highest rate to try
    #[arg(long, value_name = "A:B", value_parser = rate_range, default_value = "100:20m")]
    bounds: (f64, f64),

    /// How close the two bounds may come, as a share of the rate
    #[arg(long, value_name = "SHARE", value_parser = precision, default_value = "5%")]
    precision: f64,

    /// How long each of the trials is that find the place
    #[arg(long, value_name = "TIME", value_parser = positive_duration, default_value = "500ms")]
    trial: Duration,

    /// How long each of the trials is that the answer rests on
    #[arg(long, value_name = "TIME", value_parser = positive_duration, default_value = "4s")]
    confirm: Duration,
}

fn precision(text: &str) -> Result<f64, String> {
    let share = share(text)?;
    if (0.001..=0.5).contains(&share) { Ok(share) } else { Err("between 0.1% and 50%".into()) }
}

/// A rate that was tried.
#[derive(Debug, Clone, Serialize)]
struct Tried {
    offered: f64,
    achieved: f64,
    answered: f64,
    length_ns: Nanos,
    sent: u64,
    lost: u64,
    p50_ns: Option<u64>,
    p99_ns: Option<u64>,
    holds: bool,
    is_sure: bool,
    generator_was_limit: bool,
}

/// A search, as it is saved.
#[derive(Debug, Clone, Serialize)]
struct Saved<'a> {
    schema: &'static str,
    command: &'a [String],
    target: String,
    seed: String,
    objectives: Vec<String>,
    /// Of both bounds together.
    confidence: f64,
    answer: Answer,
    trials: &'a [Tried],
}

/// Searches, and says what it found.
pub fn main(options: &Options, command: &[String]) -> ExitCode {
    let checked = setup::check_outputs(&options.setup);
    if let Err(line) = options.slo.iter().try_for_each(judge::check).and(checked) {
        return complain(&line, 2);
    }
    let mut bench = match Bench::start(options.target.as_ref(), &options.setup, command.to_vec()) {
        Ok(bench) => bench,
        Err(Refused::Arguments(line)) => return complain(&line, 2),
        Err(Refused::System(line)) => return complain(&line, exit::FAILED),
    };
    let mut trials = Vec::new();
    let outcome = search(options, &mut bench, &mut trials);
    bench.show("");
    if let Some(code) = bench.interrupted() {
        return code;
    }
    let answer = match outcome {
        Ok(answer) => answer,
        Err(failure) => return complain(&failure.to_string(), exit::FAILED),
    };
    let saved = Saved {
        schema: SCHEMA,
        command,
        target: bench.plan.target.to_string(),
        seed: format!("{:X}", bench.plan.seed),
        objectives: options.slo.iter().map(|objective| objective.text.clone()).collect(),
        confidence: 0.95,
        answer,
        trials: &trials,
    };
    let json = serde_json::to_string(&saved).expect("a search has string keys and finite numbers");
    let text = text(&saved);
    setup::deliver(&options.setup, &text, &json, &|| page(&saved, &text, &json))
}

fn search(options: &Options, bench: &mut Bench, trials: &mut Vec<Tried>) -> Result<Answer, crate::run::Failure> {
    let (least, most) = options.bounds;
    let mut search = Search::new(Limits {
        first: FIRST,
        least,
        most,
        precision: options.precision,
        trial: nanos(options.trial),
        confirm: nanos(options.confirm),
    });
    loop {
        let (rate, length) = match search.next() {
            Step::Try { rate, length } => (rate, length),
            Step::Done(answer) => return Ok(answer),
        };
        bench.show(&format!("trial {}: {} msg/s", trials.len() + 1, count(rate as u64)));
        let (trial, document) = bench.trial(rate, length)?;
        let mut judgement = judge::judge(&options.slo, &trial);
        // What its own verdict says of the generator counts only where the trial failed: what held in spite of it held.
        judgement.is_generators |= !judgement.holds && generator_was_busy(&document);
        trials.push(tried(&trial, &document, length, judgement));
        search.note(trial.achieved, judgement);
        if document.time.interrupted {
            // Whoever asked for the end is answered by the exit code.
            return Ok(Answer { lower: None, upper: None, limit: Limit::Unclear });
        }
    }
}

/// Where the growth begins: any server manages it, and a few doublings lead to where most end.
const FIRST: f64 = 4000.0;

fn tried(
    trial: &super::trial::Trial,
    document: &crate::report::document::Document,
    length_ns: Nanos,
    judgement: Judgement,
) -> Tried {
    let quantile = |name: &str| document.latency.response.p.get(name).map(|quantile| quantile.v);
    Tried {
        offered: trial.offered,
        achieved: trial.achieved,
        answered: trial.answered,
        length_ns,
        sent: document.counts.sent,
        lost: document.counts.lost,
        p50_ns: quantile("50"),
        p99_ns: quantile("99"),
        holds: judgement.holds,
        is_sure: judgement.is_sure,
        generator_was_limit: judgement.is_generators,
    }
}

fn page(saved: &Saved, text: &str, json: &str) -> String {
    let points = saved.trials.iter().map(|one| Point {
        rate: one.achieved,
        p50: one.p50_ns,
        p99: one.p99_ns,
        p99_interval: (None, None),
        is_marked: one.generator_was_limit,
    });
    let figure = trials::figure(&points.collect::<Vec<_>>(), &[], saved.answer.lower, saved.answer.upper);
    trials::page("Search", &saved.target, &sentence(saved), ("Latency by rate", &figure), text, json)
}

fn text(saved: &Saved) -> String {
    let mut text = format!(
        "shout-load search  {}  {}  open loop · poisson · seed {}\n\n",
        saved.target,
        saved.objectives.join(", "),
        saved.seed
    );
    let rows = saved.trials.iter().map(|one| {
        let time = |nanos: Option<u64>| nanos.map_or("-".into(), |nanos| format!("{:.1}", nanos as f64 / 1000.0));
        let verdict = match (one.holds, one.is_sure, one.generator_was_limit) {
            (false, _, true) => "the generator's limit",
            (true, _, true) => "holds, at the generator's limit",
            (true, true, false) => "holds",
            (true, false, false) => "holds perhaps",
            (false, true, false) => "fails",
            (false, false, false) => "fails perhaps",
        };
        vec![
            format!("{:.1}", one.length_ns as f64 / 1e9),
            count(one.offered as u64),
            count(one.achieved as u64),
            count(one.answered as u64),
            time(one.p50_ns),
            time(one.p99_ns),
            percent(one.lost, one.sent),
            verdict.into(),
        ]
    });
    text += &table::text(
        &["s", "offered/s", "sent/s", "answered/s", "p50 us", "p99 us", "lost", ""],
        &rows.collect::<Vec<_>>(),
    );
    let _ = writeln!(text, "\n  {}", sentence(saved));
    text
}

/// The answer in a sentence.
fn sentence(saved: &Saved) -> String {
    let goal = saved.objectives.join(", ");
    let rate = |rate: f64| format!("{}/s", count(rate.round() as u64));
    let sure = "95% confidence";
    match (saved.answer.lower, saved.answer.upper, saved.answer.limit) {
        (Some(lower), Some(upper), _) => {
            format!("holds {goal} up to a rate between {} and {} ({sure})", rate(lower), rate(upper))
        }
        (Some(lower), None, Limit::Generator) => {
            format!("not below {} for {goal}: the generator was the limit ({sure})", rate(lower))
        }
        (Some(lower), None, Limit::Range) => {
            format!("not below {} for {goal}: the highest rate that was allowed ({sure})", rate(lower))
        }
        (Some(lower), None, Limit::Server | Limit::Unclear) => {
            format!("not below {} for {goal}; where it ends is not clear: raise --confirm ({sure})", rate(lower))
        }
        (None, Some(upper), _) => format!("does not hold {goal} at {} and above ({sure})", rate(upper)),
        (None, None, Limit::Generator) => {
            format!(
                "no answer: the generator was the limit before {goal} could be judged; ask for less, or free a processor"
            )
        }
        (None, None, Limit::Server | Limit::Range | Limit::Unclear) => {
            format!("no answer: no trial was clearly on one side of {goal}; raise --confirm")
        }
    }
}
