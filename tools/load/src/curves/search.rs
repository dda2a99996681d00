//! `shout-load search`: the greatest rate at which a server holds its objectives or reaches its goals, with a lower and an
//! upper bound for each. Does I/O: makes the trials that [`super::aim`] asks for.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use shout::target::Target;

use super::aim::{Aim, Lengths, Tried};
use super::capacity::{Answer, Limit, Limits};
use super::goal::Goal;
use super::judge;
use super::setup::{self, Bench};
use crate::cli::rate_range;
use crate::gates::{Objective, share};
use crate::plan::nanos;
use crate::program::{Refused, complain};
use crate::report::page::trials::{self, Bounds, Point};
use crate::report::screen::{count, percent};
use crate::report::table;
use crate::run::{Failure, exit};

/// The name of the shape of a saved search.
pub const SCHEMA: &str = "shout-load-search/1";

/// What holds where nothing is asked.
const DEFAULT_OBJECTIVES: [&str; 2] = ["p99<10ms", "loss<0.1%"];

/// Where the growth begins: any server manages it, and a few doublings lead to where most end.
const FIRST: f64 = 4000.0;

/// What `search` is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// udp://HOST:PORT, tcp://HOST:PORT, or echo://HOST:PORT for both at once. Without it, a server of our own is
    /// started on the loopback interface and loaded over UDP
    target: Option<Target>,

    #[command(flatten)]
    setup: setup::Common,

    /// What must hold: bounds on p50 to p99.99, mean or loss, with commas between them [default: "p99<10ms,loss<0.1%"
    /// unless there is a goal]. Exit code 4 if no rate was found at which this or a goal surely holds, nor one at which it
    /// surely fails
    #[arg(long, value_name = "CONDITIONS", value_delimiter = ',')]
    slo: Vec<Objective>,

    /// Search for this loss as well; may be repeated, and each goal has an answer of its own. A trial is good that loses at
    /// most this share, and a rate holds where no more than a part of its trials, exceed [50%], are bad for sure: bursts of
    /// loss that come now and then at any load are forgiven. Each rate gets trials of [500ms], sum [10.5s] in all:
    /// loss=0.5%,exceed=50%,trial=500ms,sum=10.5s
    #[arg(long, value_name = "loss=SHARE,…")]
    goal: Vec<Goal>,

    /// The lowest and the highest rate to try
    #[arg(long, value_name = "A:B", value_parser = rate_range, default_value = "100:20m")]
    bounds: (f64, f64),

    /// How close the two bounds may come, as a share of the rate
    #[arg(long, value_name = "SHARE", value_parser = precision, default_value = "5%")]
    precision: f64,

    /// How long each of the trials is that find the place, at least 50ms
    #[arg(long, value_name = "TIME", value_parser = setup::trial_length, default_value = "500ms")]
    trial: Duration,

    /// How long each of the trials is that the answer for --slo rests on, at least 50ms
    #[arg(long, value_name = "TIME", value_parser = setup::trial_length, default_value = "4s")]
    confirm: Duration,
}

fn precision(text: &str) -> Result<f64, String> {
    let share = share(text)?;
    if (0.001..=0.5).contains(&share) { Ok(share) } else { Err("between 0.1% and 50%".into()) }
}

impl Options {
    /// What to search for, the objectives first.
    fn aims(&self) -> Vec<Aim> {
        let objectives = if self.slo.is_empty() && self.goal.is_empty() {
            DEFAULT_OBJECTIVES.map(|text| text.parse().expect("an objective")).to_vec()
        } else {
            self.slo.clone()
        };
        let objectives = (!objectives.is_empty()).then_some(Aim::Objectives(objectives));
        objectives.into_iter().chain(self.goal.iter().cloned().map(Aim::Goal)).collect()
    }
}

/// What was searched for, and between what the rate lies up to which it holds, with the confidence of the search for both
/// bounds together.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Found {
    /// What was to hold, as it was given.
    aim: String,
    #[serde(flatten)]
    answer: Answer,
    /// How to get a clearer one.
    #[serde(skip)]
    remedy: &'static str,
    /// For a goal, right answers a second at the lower bound: of the loss that no more than the part of the trials that may
    /// be bad exceed.
    #[serde(skip_serializing_if = "Option::is_none")]
    conditional_throughput: Option<f64>,
}

/// A search, as it is saved: `shout-load search --json`.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Saved {
    /// `shout-load-search/1`.
    #[cfg_attr(test, schemars(extend("const" = SCHEMA)))]
    schema: &'static str,
    /// The command line.
    command: Vec<String>,
    /// Whom it loaded.
    target: String,
    /// The seed in hexadecimal, as `--seed` takes it.
    seed: String,
    /// The probability that both bounds of an answer are right, a share from 0 to 1.
    confidence: f64,
    /// What was found, in the order in which it was searched for.
    answers: Vec<Found>,
    /// Every rate that was tried, in order.
    trials: Vec<Tried>,
    /// How many answers had wrong bytes, in all trials.
    wrong: u64,
}

/// Why a search has no result.
enum Stop {
    Failure(Failure),
    /// Whoever asked for the end is answered by the exit code.
    Interrupted,
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
    let outcome = search(options, &mut bench);
    bench.show("");
    if let Some(code) = bench.interrupted() {
        return code;
    }
    let (answers, trials) = match outcome {
        Ok(found) => found,
        Err(Stop::Interrupted) => return ExitCode::from(exit::FAILED),
        Err(Stop::Failure(failure)) => return complain(&failure.to_string(), exit::FAILED),
    };
    let saved = Saved {
        schema: SCHEMA,
        command: command.to_vec(),
        target: bench.plan.target.to_string(),
        seed: format!("{:X}", bench.plan.seed),
        confidence: 0.95,
        answers,
        trials,
        wrong: bench.wrong,
    };
    let json = serde_json::to_string(&saved).expect("a search has string keys and finite numbers");
    let text = text(&saved);
    let code = setup::deliver(&options.setup, &text, &json, &|| page(options, &saved, &text, &json));
    setup::exit_code(code, exit_code(&saved))
}

/// What the program ends with: wrong bytes outrank everything, and a script must see that there is not one bound.
fn exit_code(saved: &Saved) -> u8 {
    let is_undecided = |found: &Found| found.answer.lower.or(found.answer.upper).is_none();
    match saved.wrong {
        1.. => exit::WRONG_PAYLOAD,
        0 if saved.answers.iter().any(is_undecided) => exit::INVALID,
        0 => exit::DONE,
    }
}

fn search(options: &Options, bench: &mut Bench) -> Result<(Vec<Found>, Vec<Tried>), Stop> {
    let (least, most) = options.bounds;
    let lengths = Lengths { short: nanos(options.trial), long: nanos(options.confirm) };
    let (mut answers, mut trials, mut first) = (Vec::new(), Vec::new(), FIRST);
    for aim in options.aims() {
        let limits = Limits { first, least, most, precision: options.precision };
        let answer = aim.search(limits, lengths, &mut trials, &mut |rate, length| {
            bench.show(&format!("{}: {} msg/s", aim.text(), count(rate as u64)));
            let (trial, document) = bench.trial(rate, length).map_err(Stop::Failure)?;
            if document.time.interrupted {
                return Err(Stop::Interrupted);
            }
            bench.check_presence(&document).map_err(Stop::Failure)?;
            Ok(trial)
        })?;
        // What one aim has found is not far from where the next one ends.
        first = answer.lower.or(answer.upper).unwrap_or(first);
        let conditional_throughput = aim.conditional_throughput(&answer, &trials);
        let remedy = match aim {
            Aim::Objectives(_) => "raise --confirm",
            Aim::Goal(_) => "raise the sum of the goal",
        };
        answers.push(Found { aim: aim.text(), answer, remedy, conditional_throughput });
    }
    Ok((answers, trials))
}

fn page(options: &Options, saved: &Saved, text: &str, json: &str) -> String {
    let points: Vec<Point> = saved
        .trials
        .iter()
        .map(|one| Point {
            rate: one.achieved,
            p50: one.p50_ns,
            p99: one.p99_ns,
            p99_interval: (None, None),
            loss: one.lost as f64 / one.sent.max(1) as f64,
            is_marked: one.generator_was_limit,
        })
        .collect();
    let bounds: Vec<Bounds> =
        saved.answers.iter().map(|found| Bounds { lower: found.answer.lower, upper: found.answer.upper }).collect();
    let allowed: Vec<f64> = options.goal.iter().map(|goal| goal.loss).collect();
    let figures = [
        ("Latency by rate", trials::latencies(&points, &[], &bounds)),
        ("Loss by rate", trials::losses(&points, &allowed, &bounds)),
    ];
    let sentences: Vec<String> = saved.answers.iter().map(sentence).collect();
    trials::page("Search", &saved.target, &sentences, &figures, text, json)
}

fn text(saved: &Saved) -> String {
    let mut text = format!("shout-load search  {}  open loop · poisson · seed {}\n", saved.target, saved.seed);
    for (index, found) in saved.answers.iter().enumerate() {
        let head = ["s", "offered/s", "sent/s", "answered/s", "p50 us", "p99 us", "lost", &format!("  {}", found.aim)];
        let rows = saved.trials.iter().filter(|one| one.answer == index).map(row);
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{}", table::text(&head, &rows.collect::<Vec<_>>()));
    }
    text.push('\n');
    for found in &saved.answers {
        let _ = writeln!(text, "  {}", sentence(found));
    }
    text + &setup::on_wrong_answers(saved.wrong)
}

fn row(one: &Tried) -> Vec<String> {
    let time = |nanos: Option<u64>| nanos.map_or("-".into(), |nanos| format!("{:.1}", nanos as f64 / 1000.0));
    let verdict = match (one.holds, one.is_sure, one.generator_was_limit) {
        (false, _, true) => "the generator's limit",
        (true, _, true) => "holds, at the generator's limit",
        (true, true, false) => "holds",
        (true, false, false) => "holds perhaps",
        (false, true, false) => "fails",
        (false, false, false) => "fails perhaps",
    };
    let verdict = match one.bad {
        Some(bad) => format!("{verdict}: {bad} of {} trials were bad", one.losses.len()),
        None => verdict.into(),
    };
    let seconds = format!("{:.1}", one.length_ns as f64 / 1e9);
    vec![
        if one.trials > 1 { format!("{}×{seconds}", one.trials) } else { seconds },
        count(one.offered as u64),
        count(one.achieved as u64),
        count(one.answered as u64),
        time(one.p50_ns),
        time(one.p99_ns),
        percent(one.lost, one.sent),
        format!("  {verdict}"),
    ]
}

/// An answer in a sentence.
fn sentence(found: &Found) -> String {
    let Found { aim: goal, remedy, .. } = found;
    let rate = |rate: f64| format!("{}/s", count(rate.round() as u64));
    let sure = "95% confidence";
    let answer = match (found.answer.lower, found.answer.upper, found.answer.limit) {
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
            format!("not below {} for {goal}; where it ends is not clear: {remedy} ({sure})", rate(lower))
        }
        (None, Some(upper), _) => format!("does not hold {goal} at {} and above ({sure})", rate(upper)),
        (None, None, Limit::Generator) => {
            format!(
                "no answer: the generator was the limit before {goal} could be judged; ask for less, or free a processor"
            )
        }
        (None, None, Limit::Server | Limit::Range | Limit::Unclear) => {
            format!("no answer: no trial was clearly on one side of {goal}; {remedy}")
        }
    };
    match found.conditional_throughput {
        Some(throughput) => format!("{answer}, conditional throughput {}", rate(throughput)),
        None => answer,
    }
}
