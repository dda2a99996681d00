//! What the commands on curves and capacities share: options, a target with warm connections, trials on them, and how a
//! result leaves. Does I/O.

use std::io::{self, IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use shout::target::{Protocol, Target};
use shout::units;

use super::trial::{SHORTEST, Trial, interval};
use crate::cli::{self, connections, output, seed};
use crate::clock::Nanos;
use crate::engine::Demand;
use crate::own_server::OwnServer;
use crate::payload::Sizes;
use crate::plan::{Plan, nanos};
use crate::program::{Refused, Signals, complain, random_seed, start_own_server};
use crate::report::document::Document;
use crate::run::{Context, Failure, Session, enough_files, exit};
use crate::schedule::{Process, Profile};
use crate::verdict::Verdict;

/// Between two trials nothing is sent for as long as this, so that what a queue, a frequency governor or a scheduler
/// remembers of one load does not greet the next.
const COOL_DOWN: Duration = Duration::from_millis(100);

/// Load on the fresh connections before the first trial, at a rate that troubles nobody.
const WARM_UP: Duration = Duration::from_millis(500);
const WARM_UP_RATE: f64 = 1000.0;

/// Stages like the warm-up in which a server that has fallen silent may be heard again. With their drains they take longer
/// than any burst of losses that a goal may have to forgive.
const PROBES: usize = 3;

/// The options that every command on several trials has.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Common {
    /// Sockets or connections, for each transport, the same for all trials [default: 1 UDP socket, 16 TCP connections]
    #[arg(short, long, value_parser = connections, value_name = "N")]
    pub connections: Option<usize>,

    /// Bytes a message: 64, uniform:64-1400, or mix:64=70,512=25,1400=5
    #[arg(short, long, default_value = "64")]
    pub size: Sizes,

    /// Repeats payloads and arrival times: up to 16 hexadecimal digits [default: random, and printed]
    #[arg(long, value_parser = seed, value_name = "HEX")]
    pub seed: Option<u64>,

    /// Print the result as JSON instead of text
    #[arg(long)]
    pub json: bool,

    /// Write the result to a file as well: .json or .html; may be repeated
    #[arg(short, long, value_parser = output, value_name = "FILE")]
    pub output: Vec<cli::Output>,

    /// No progress line
    #[arg(short, long)]
    pub quiet: bool,
}

/// Reads how long a trial is, which is at least [`SHORTEST`].
pub(super) fn trial_length(text: &str) -> Result<Duration, String> {
    let length = units::duration(text)?;
    if nanos(length) >= SHORTEST { Ok(length) } else { Err("at least 50ms".into()) }
}

/// A target with open connections, on which trials are made.
pub(super) struct Bench {
    /// The plan of a trial, but for its rate and its length.
    pub(super) plan: Plan,
    session: Session,
    signals: Signals,
    trials: u64,
    /// Answers with wrong bytes so far.
    pub(super) wrong: u64,
    is_quiet: bool,
    /// Kept for its `Drop`.
    _own_server: Option<OwnServer>,
}

impl Bench {
    /// Opens the connections and warms them up.
    pub(super) fn start(target: Option<&Target>, options: &Common, command: Vec<String>) -> Result<Self, Refused> {
        let system = |what: &'static str| move |error: io::Error| Refused::System(format!("{what}: {error}"));
        let processors = crate::host::processors().len();
        let mut context = Context { command, processors, ..Context::default() };
        let is_own = target.is_none();
        let target = target.cloned().unwrap_or_else(own_target);
        let mut plan = plan(options, target, is_own, None)?;
        let signals = Signals::watch().map_err(system("cannot watch for signals"))?;
        let own_server = if is_own {
            let server = start_own_server(&mut context, plan.threads).map_err(system("cannot start a server"))?;
            plan.target.port = server.address().port();
            Some(server)
        } else {
            None
        };
        let failed = |failure: Failure| Refused::System(failure.to_string());
        let mut session = Session::open(&plan, &context, &mut |_| signals.wish()).map_err(failed)?;
        let warm_up = Plan { warmup: WARM_UP, demand: open_at(WARM_UP_RATE), ..plan.clone() };
        session.warm_up(&warm_up, &mut |_| signals.wish()).map_err(failed)?;
        let is_quiet = options.quiet;
        Ok(Bench { plan, session, signals, trials: 0, wrong: 0, is_quiet, _own_server: own_server })
    }

    /// An open loop at this rate for so long, on the connections as they are. `Err` where the server ended meanwhile: what
    /// was lost then says nothing of what it can do.
    pub(super) fn trial(&mut self, rate: f64, length: Nanos) -> Result<(Trial, Document), Failure> {
        let document = self.stage(open_at(rate), length, interval(length))?;
        let gone = |how: &str| Err(Failure(format!("{} did not stay to the end: {how}", self.plan.target)));
        if document.connections.refused > 0 && !document.time.interrupted {
            return gone("nobody listened at its port in the middle of a trial");
        }
        if let Some((transport, ..)) = self.session.engine().lanes().find(|(.., alive)| *alive == 0) {
            return gone(&format!("no {} connection is left", transport.name().to_uppercase()));
        }
        // Of datagrams, where there are any: only they are lost one by one.
        let timeout = self.plan.transports().first().map_or(0, |(.., timeout)| *timeout);
        let cause = &document.loss.attribution;
        let trial = Trial {
            own_losses: cause.client_rcvbuf + cause.never_sent,
            generator_was_busy: generator_was_busy(&document),
            ..Trial::of(self.session.engine(), rate, length, timeout)
        };
        Ok((trial, document))
    }

    /// Asks a server that was not there for all of this trial whether it is there at all, at a rate that troubles nobody.
    /// `Err` if it is not: a server that is gone fails at any rate, and that would be taken for its bound.
    pub(super) fn check_presence(&mut self, trial: &Document) -> Result<(), Failure> {
        if trial.validity.checks.iter().any(|check| check.id == "server_there" && check.ok) {
            return Ok(());
        }
        for _ in 0..PROBES {
            let length = nanos(WARM_UP);
            let probe = self.stage(open_at(WARM_UP_RATE), length, length)?;
            if probe.time.interrupted || !is_silent(&probe) {
                return Ok(());
            }
        }
        Err(Failure(format!("{} did not stay to the end: it fell silent in the middle of a trial", self.plan.target)))
    }

    /// Any demand for so long, cut into intervals.
    pub(super) fn stage(&mut self, demand: Demand, length: Nanos, interval: Nanos) -> Result<Document, Failure> {
        std::thread::sleep(COOL_DOWN);
        self.trials += 1;
        let plan = Plan {
            demand,
            duration: Some(Duration::from_nanos(length)),
            interval: Duration::from_nanos(interval),
            seed: self.plan.seed.wrapping_add(self.trials),
            ..self.plan.clone()
        };
        let signals = &self.signals;
        let document = self.session.measure(&plan, &mut |_| signals.wish())?;
        self.wrong += wrong_answers(&document);
        Ok(document)
    }

    /// How the program ends that was told to by a signal.
    pub(super) fn interrupted(&self) -> Option<ExitCode> {
        self.signals.exit_code().map(ExitCode::from)
    }

    /// Redraws the line that says how it goes, on a terminal.
    pub(super) fn show(&self, line: &str) {
        show(self.is_quiet, line);
    }
}

/// Redraws the line that says how it goes, where somebody sees it.
pub(super) fn show(is_quiet: bool, line: &str) {
    if !is_quiet && io::stderr().is_terminal() {
        let _ = write!(io::stderr(), "\r\x1b[K{line}");
    }
}

fn own_target() -> Target {
    Target { protocol: Protocol::Udp, host: "127.0.0.1".into(), port: 0 }
}

/// The plan of a run without options, but for these.
pub(super) fn plan(options: &Common, target: Target, is_own: bool, rate: Option<f64>) -> Result<Plan, Refused> {
    let mut run = cli::default_run();
    (run.connections, run.size, run.seed) = (options.connections, options.size.clone(), options.seed);
    run.rate = rate;
    let plan = run.plan(target, is_own, random_seed()).map_err(Refused::Arguments)?;
    enough_files(&plan).map_err(Refused::Arguments)?;
    Ok(plan)
}

/// Poisson arrivals at a constant rate.
pub(super) fn open_at(rate: f64) -> Demand {
    Demand::Open { profile: Profile::constant(rate), process: Process::Poisson, window: None }
}

/// Whether the generator, by its own verdict, was too slow or too busy for what a trial says to be the server's doing.
pub(super) fn generator_was_busy(document: &Document) -> bool {
    let own = ["rate_reached", "lag", "own_cpu", "cpu_wait"];
    let failed = |check: &crate::verdict::Check| own.contains(&check.id.as_str()) && check.verdict == Verdict::Invalid;
    document.validity.checks.iter().any(failed)
}

/// Whether a transport was asked and never answered, rightly or wrongly.
fn is_silent(document: &Document) -> bool {
    document.per_transport.values().any(|part| part.counts.sent > 0 && part.counts.replied + part.counts.wrong == 0)
}

/// Answers with wrong bytes.
pub(super) fn wrong_answers(document: &Document) -> u64 {
    document.counts.wrong_answers()
}

/// What a result says of them: a server that answers quickly and wrongly has no capacity.
pub(super) fn on_wrong_answers(number: u64) -> String {
    match number {
        0 => String::new(),
        _ => format!(
            "  WRONG BYTES: {} replies were corrupted or cut short; see shout-load verify\n",
            crate::report::screen::count(number)
        ),
    }
}

/// The exit code of a result that asks for `code`, where nothing went wrong with its `delivery`.
pub(super) fn exit_code(delivery: ExitCode, code: u8) -> ExitCode {
    if delivery == ExitCode::from(exit::DONE) { ExitCode::from(code) } else { delivery }
}

/// Prints `text`, or `json` if that was asked for, and writes the files.
pub(super) fn deliver(options: &Common, text: &str, json: &str, html: &dyn Fn() -> String) -> ExitCode {
    let mut text = if options.json { format!("{json}\n") } else { text.to_owned() };
    let mut written: Vec<PathBuf> = Vec::new();
    for cli::Output { path, format } in &options.output {
        let contents = match format {
            cli::Format::Json => json.to_owned(),
            cli::Format::Html => html(),
            // Refused before the start: see `check_outputs`.
            cli::Format::Hgrm | cli::Format::Hlog | cli::Format::Ndjson | cli::Format::Csv => continue,
        };
        if let Err(error) = std::fs::write(path, contents) {
            return complain(&format!("cannot write {}: {error}", path.display()), exit::FAILED);
        }
        written.push(path.clone());
    }
    if !options.json && !written.is_empty() {
        let names: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
        text = format!("{text}  wrote {}\n", names.join("  "));
    }
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // Whoever closed the pipe has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("cannot write the result: {error}"), exit::FAILED)
        }
        Ok(()) | Err(_) => ExitCode::from(exit::DONE),
    }
}

/// Refuses files of a kind that only a single run has.
pub(super) fn check_outputs(options: &Common) -> Result<(), String> {
    let one_run = |output: &&cli::Output| !matches!(output.format, cli::Format::Json | cli::Format::Html);
    match options.output.iter().find(one_run) {
        None => Ok(()),
        Some(output) => Err(format!(
            "invalid value '{}' for '--output <FILE>': several trials are written as .json or .html",
            output.path.display()
        )),
    }
}
