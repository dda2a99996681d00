//! `shout-load compare`: two saved runs, or two live servers measured in turns. Does I/O.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use shout::target::{Protocol, Target};

use super::blocks::{self, Part};
use super::difference::{self, FIGURES, Figure, Measured};
use super::result::{Belief, Comparison, Row, Server};
use super::setup::{self, Common};
use super::side::{Side, Start, Started};
use crate::cli::rate;
use crate::gates::{Standing, share};
use crate::plan::{Plan, nanos};
use crate::program::{Refused, Signals, complain, random_seed};
use crate::run::{Context, Failure, exit};
use crate::saved::{self, Kept};
use crate::verdict::Verdict;

/// Load on fresh connections that is forgotten.
const WARM_UP: Duration = Duration::from_millis(500);

/// What `compare` is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Two saved results (.json or .html), each of one run or of several, or two targets such as udp://HOST:PORT. Without any, two servers of our own,
    /// which should not differ
    #[arg(num_args = 2, value_names = ["A", "B"])]
    sides: Vec<String>,

    /// A command that starts server A; {port} in it becomes a free port
    #[arg(long, value_name = "CMD", conflicts_with = "sides", requires = "exec_b")]
    exec_a: Option<String>,

    /// A command that starts server B
    #[arg(long, value_name = "CMD", requires = "exec_a")]
    exec_b: Option<String>,

    /// How to reach servers that are started here: udp, tcp, or echo for both at once
    #[arg(long, value_name = "SCHEME", value_parser = scheme, default_value = "udp")]
    over: Scheme,

    /// Messages a second: an open loop [default: a closed loop]
    #[arg(short = 'R', long, value_parser = rate)]
    rate: Option<f64>,

    /// Blocks, each of which measures A, B and A once more, for the noise floor, and then all three in reverse
    #[arg(long, value_name = "N", default_value = "20", value_parser = number_of_blocks)]
    blocks: usize,

    /// How long each of the six parts of a block is, at least 50ms
    #[arg(long, value_name = "TIME", value_parser = setup::trial_length, default_value = "250ms")]
    slice: Duration,

    /// Exit code 3 if B is worse than A by more than this in p50, p99 or rate, and that is neither chance nor noise. Exit code
    /// 4 if it is not decided: B seems to be worse by more, but that may be chance or noise; there are too few values; or the
    /// generator was too busy for the comparison to be believed
    #[arg(long, value_name = "SHARE", value_parser = share)]
    max_regress: Option<f64>,

    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Copy)]
struct Scheme(Protocol);

fn scheme(text: &str) -> Result<Scheme, String> {
    [Protocol::Udp, Protocol::Tcp, Protocol::Both]
        .into_iter()
        .find(|protocol| protocol.scheme() == text)
        .map(Scheme)
        .ok_or_else(|| "one of udp, tcp and echo".into())
}

/// Compares, and says by how much B differs.
pub fn main(options: &Options, command: &[String]) -> ExitCode {
    if let Err(line) = setup::check_outputs(&options.common) {
        return complain(&line, 2);
    }
    let is_target = |side: &String| side.contains("://");
    let outcome = match &options.sides[..] {
        [a, b] if !is_target(a) && !is_target(b) => of_files(a, b).map_err(|line| complain(&line, exit::FAILED)),
        [a, b] if is_target(a) != is_target(b) => {
            Err(complain(&format!("invalid value '{b}' for '[B]': either two saved runs or two targets"), 2))
        }
        _ => live(options, command),
    };
    let comparison = match outcome {
        Ok(comparison) => comparison.held_against(options.max_regress),
        Err(code) => return code,
    };
    let json = comparison.json(command);
    let text = comparison.text();
    let code = setup::deliver(&options.common, &text, &json, &|| comparison.page(&text, &json));
    if code == ExitCode::from(exit::DONE) { ExitCode::from(comparison.exit_code()) } else { code }
}

/// Two saved results, each of one run or of several, which must have been made alike.
fn of_files(a: &str, b: &str) -> Result<Comparison, String> {
    let (before, after) = (saved::read_any(&PathBuf::from(a))?, saved::read_any(&PathBuf::from(b))?);
    if let Some(what) = Standing::of(&before).difference(&Standing::of(&after)) {
        return Err(format!("not comparable: {a} and {b} have another {what}"));
    }
    let measured = |figure: Figure, kept: &Kept| match kept {
        Kept::Run(run) => Measured::of_run(figure, run),
        Kept::Repeats(repeats) => Measured::of_repeats(figure, repeats),
    };
    let part = |kept: &Kept| match kept {
        Kept::Run(run) => Part::of(run),
        Kept::Repeats(repeats) => Part::of_repeats(repeats),
    };
    let parts = [part(&before), part(&after)];
    // Of several runs their geometric mean.
    let value = |figure: Figure, kept: &Kept, part: &Part| match kept {
        Kept::Run(_) => part.figure(figure),
        Kept::Repeats(repeats) => geometric_mean(repeats.figure(figure.name()).iter().copied()),
    };
    let rows = FIGURES.map(|figure| {
        let (of_a, of_b) = (measured(figure, &before), measured(figure, &after));
        Row {
            figure,
            a: value(figure, &before, &parts[0]),
            b: value(figure, &after, &parts[1]),
            difference: of_a.zip(of_b).map(|(a, b)| difference::of_saved(a, b)),
            noise_floor: None,
        }
    });
    let is_invalid = [&before, &after].iter().any(|kept| match kept {
        Kept::Run(run) => run.validity.verdict == Verdict::Invalid,
        Kept::Repeats(repeats) => repeats.verdict == Verdict::Invalid,
    });
    let belief = if is_invalid { Belief::InvalidRun } else { Belief::Sound };
    let servers = [a, b].map(|name| Server { name: name.into(), processors: None });
    Ok(Comparison::new(servers, rows, parts, belief))
}

/// Two live servers.
fn live(options: &Options, command: &[String]) -> Result<Comparison, ExitCode> {
    let refused = |refused: Refused| match refused {
        Refused::Arguments(line) => complain(&line, 2),
        Refused::System(line) => complain(&line, exit::FAILED),
    };
    let signals =
        Signals::watch().map_err(|error| complain(&format!("cannot watch for signals: {error}"), exit::FAILED))?;
    let failed = |failure: Failure| complain(&failure.to_string(), signals.exit_code().unwrap_or(exit::FAILED));
    let starts = starts(options).map_err(refused)?;
    let processors = crate::host::processors().len();
    let context = Context { command: command.to_vec(), processors, ..Context::default() };
    let seed = options.common.seed.unwrap_or_else(random_seed);
    let plan = |target: Target, is_own: bool| -> Result<Plan, Refused> {
        let plan = setup::plan(&options.common, target, is_own, options.rate)?;
        Ok(Plan { warmup: WARM_UP, duration: Some(options.slice), seed, ..plan })
    };
    let [a, b] = starts.map(|start| Started::new(start, &context));
    let (a, b) = (a.map_err(refused)?, b.map_err(refused)?);
    let mut a = Side::open(a, &plan, &signals).map_err(refused)?;
    let mut b = Side::open(b, &plan, &signals).map_err(refused)?;
    let mut again = a.again(&signals).map_err(failed)?;
    let show = |line: &str| setup::show(options.common.quiet, line);
    let measured =
        blocks::measure(&mut [&mut a, &mut b, &mut again], options.blocks, nanos(options.slice), &signals, &show);
    let blocks = measured.map_err(failed)?;
    show("");
    if let Some(code) = signals.exit_code() {
        return Err(ExitCode::from(code));
    }
    let rows = std::array::from_fn(|index| Row {
        figure: FIGURES[index],
        a: geometric_mean(blocks.pairs[index].iter().map(|pair| pair.a)),
        b: geometric_mean(blocks.pairs[index].iter().map(|pair| pair.b)),
        difference: difference::over_blocks(&blocks.pairs[index], seed),
        noise_floor: difference::over_blocks(&blocks.floor[index], seed).map(difference::Difference::reach),
    });
    let belief = Belief::of_blocks(blocks.busy, options.blocks);
    let servers = [&a, &b].map(|side| Server { name: side.name.clone(), processors: side.processors() });
    Ok(Comparison::new(servers, rows, blocks.sums, belief))
}

/// Enough for an interval, and few enough for an hour at a few seconds each.
fn number_of_blocks(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (4..=1000).contains(number));
    number.ok_or_else(|| "a number from 4 to 1000".into())
}

/// What to start or to reach.
fn starts(options: &Options) -> Result<[Start; 2], Refused> {
    let Scheme(protocol) = options.over;
    if let (Some(a), Some(b)) = (&options.exec_a, &options.exec_b) {
        return Ok([a, b].map(|line| Start::Command { line: line.clone(), protocol }));
    }
    match &options.sides[..] {
        [a, b] => {
            let target = |text: &String| {
                text.parse::<Target>()
                    .map_err(|why| Refused::Arguments(format!("invalid value '{text}' for '[A] [B]': {why}")))
            };
            Ok([Start::Target(target(a)?), Start::Target(target(b)?)])
        }
        _ => Ok([Start::Own(protocol), Start::Own(protocol)]),
    }
}

pub(crate) fn geometric_mean(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = values.clone().count().max(1) as f64;
    (values.map(|value| value.max(f64::MIN_POSITIVE).ln()).sum::<f64>() / count).exp()
}
