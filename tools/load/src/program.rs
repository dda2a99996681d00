//! The program: command line, runs, output, exit code. Does I/O.

mod repeat;

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shout::target::{Protocol, Target};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::{self, Command, Options, Output};
use crate::curves;
use crate::gates::{self, Gates};
use crate::generator::Wish;
use crate::host;
use crate::lab;
use crate::merge;
use crate::own_server::{self, OwnServer};
use crate::plan::Plan;
use crate::progress::{Outlet, View};
use crate::report::document::Document;
use crate::report::{files, screen};
use crate::run::{Context, Failure, enough_files, exit, measure};
use crate::saved;
use crate::trace;
use crate::verify;

/// A process ended by a signal says so with this much more than the signal's number.
const SIGNALLED: usize = 128;

/// Runs `shout-load` with these arguments, the program's name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.get(1).is_some_and(|first| first == own_server::ARGUMENT) {
        return own_server::serve(arguments.drain(2..));
    }
    let command: Vec<String> = arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let options = match cli::parse(arguments) {
        Ok(Command::Run(options)) => options,
        Ok(Command::Report(options)) => return saved::report(&options),
        Ok(Command::Verify(options)) => return verify::main(&options),
        Ok(Command::Lab(options)) => return lab::main(&options),
        Ok(Command::Trace(options)) => return trace::main(&options),
        Ok(Command::Search(options)) => return curves::search::main(&options, &command),
        Ok(Command::Sweep(options)) => return curves::sweep::main(&options, &command),
        Ok(Command::Merge(options)) => return merge::main(&options, &command),
        Ok(Command::Compare(options)) => return curves::compare::main(&options, &command),
        Err(code) => return code,
    };
    match Job::new(*options, command) {
        Ok(mut job) => job.run(),
        Err(Refused::Arguments(line)) => complain(&line, 2),
        Err(Refused::System(line)) => complain(&line, exit::FAILED),
    }
}

pub(crate) fn complain(line: &str, code: u8) -> ExitCode {
    // Without a reader on stderr the exit code still tells.
    let _ = writeln!(io::stderr(), "shout-load: {line}");
    ExitCode::from(code)
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", path.display())
}

/// Opens a file as if to write it, and leaves it as it was: what is not there now is not there afterwards.
///
/// Pipes and devices are passed over: to open one may wait for its reader, and to close it may end that.
fn try_to_open(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() || metadata.is_dir() => OpenOptions::new().append(true).open(path).map(drop),
        Ok(_) => Ok(()),
        // A link to a file that is yet to be made.
        Err(_) if fs::symlink_metadata(path).is_ok() => Ok(()),
        Err(_) => {
            OpenOptions::new().write(true).create_new(true).open(path)?;
            fs::remove_file(path)
        }
    }
}

/// Shows how a run goes. Without a reader on stderr it goes on all the same.
fn say(text: &str) {
    if !text.is_empty() {
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

/// Why a job was not begun.
pub(crate) enum Refused {
    Arguments(String),
    System(String),
}

/// The runs of one invocation: one for a target, two for a server of our own.
struct Job {
    options: Options,
    plans: Vec<Plan>,
    context: Context,
    signals: Signals,
    /// Kept for its `Drop`: the server lives as long as the job.
    _own_server: Option<OwnServer>,
}

impl Job {
    fn new(options: Options, command: Vec<String>) -> Result<Self, Refused> {
        let system = |what: &'static str| move |error: io::Error| Refused::System(format!("{what}: {error}"));
        let seed = random_seed();
        let processors = host::processors();
        let pinned_to = options.threads.pins(&processors);
        let mut context = Context { command, processors: processors.len(), pinned_to, ..Context::default() };
        if let Some(target) = options.target.clone() {
            let plans = vec![options.plan(target, false, seed).map_err(Refused::Arguments)?];
            let signals = Signals::watch().map_err(system("cannot watch for signals"))?;
            plans.iter().try_for_each(enough_files).map_err(Refused::Arguments)?;
            return Ok(Job { options, plans, context, signals, _own_server: None });
        }
        let plans = [Protocol::Udp, Protocol::Tcp].map(|protocol| {
            let target = Target { protocol, host: "127.0.0.1".into(), port: 0 };
            options.plan(target, true, seed).map_err(Refused::Arguments)
        });
        let mut plans: Vec<Plan> = plans.into_iter().collect::<Result<_, _>>()?;
        let signals = Signals::watch().map_err(system("cannot watch for signals"))?;
        plans.iter().try_for_each(enough_files).map_err(Refused::Arguments)?;
        let server =
            start_own_server(&mut context, options.threads.threads).map_err(system("cannot start a server"))?;
        for plan in &mut plans {
            plan.target.port = server.address().port();
        }
        Ok(Job { options, plans, context, signals, _own_server: Some(server) })
    }

    fn run(&mut self) -> ExitCode {
        let mut worst = exit::DONE;
        // Read before the load starts: a baseline that is not there should not cost a run.
        let all_gates = match (0..self.plans.len()).map(|index| self.gates(index)).collect::<Result<Vec<_>, _>>() {
            Ok(gates) => gates,
            Err(line) => return complain(&line, exit::FAILED),
        };
        if let Some(line) = (0..self.plans.len()).find_map(|index| self.unwritable(index)) {
            return complain(&line, exit::FAILED);
        }
        for (index, gates) in all_gates.iter().enumerate() {
            let outcome = match self.options.length.repeat {
                Some(times) => self.repeat(index, gates, times),
                None => self.once(index, gates),
            };
            match outcome {
                Ok(code) => worst = worst.max(code),
                Err(code) => return code,
            }
            if let Some(code) = self.signals.exit_code() {
                return ExitCode::from(code);
            }
        }
        ExitCode::from(worst)
    }

    /// Makes the run of a plan, and shows and writes it. `Err` is the exit code of a program that cannot go on.
    fn once(&self, index: usize, gates: &Gates) -> Result<u8, ExitCode> {
        let plan = &self.plans[index];
        let view = View::new(plan, Outlet::of_stderr(self.options.quiet));
        let mut document = self.measure(plan, view).map_err(|failure| self.failed(&failure))?;
        gates::apply(gates, &mut document);
        // A file that cannot be written costs that file alone: the run has been made, and is shown.
        let (mut written, mut failure) = (Vec::new(), None);
        for Output { path, format } in &self.options.output {
            let path = self.path_of(path, index);
            match write(&path, &files::contents(*format, &document)) {
                Ok(()) => written.push(path.display().to_string()),
                Err(code) => failure = Some(code),
            }
        }
        let text = if self.options.json {
            files::json(&document) + "\n"
        } else {
            screen::text(&document) + &line_of(&written) + self.gap_after(index)
        };
        print(&text, document.exit)?;
        failure.map_or(Ok(document.exit), Err)
    }

    fn measure(&self, plan: &Plan, mut view: View) -> Result<Document, Failure> {
        let signals = &self.signals;
        let outcome = measure(plan, &self.context, &mut |progress| {
            say(&view.update(progress));
            signals.wish()
        });
        say(&view.end());
        outcome
    }

    fn failed(&self, failure: &Failure) -> ExitCode {
        complain(&failure.to_string(), self.signals.exit_code().unwrap_or(exit::FAILED))
    }

    /// The gates of a run. With two runs, each has its own baseline, written as the outputs are.
    fn gates(&self, index: usize) -> Result<Gates, String> {
        self.options.conditions.gates(|path| self.path_of(path, index))
    }

    /// The complaint about the first output of a run that cannot be opened.
    fn unwritable(&self, index: usize) -> Option<String> {
        let mut paths = self.options.output.iter().map(|output| self.path_of(&output.path, index));
        paths.find_map(|path| try_to_open(&path).err().map(|error| cannot_write(&path, &error)))
    }

    /// What stands between the screens of two plans.
    fn gap_after(&self, index: usize) -> &'static str {
        if index + 1 < self.plans.len() { "\n\n" } else { "" }
    }

    /// With several runs each has files of its own: `run.json` becomes `run-udp.json` and `run-tcp.json`.
    fn path_of(&self, path: &Path, index: usize) -> PathBuf {
        if self.plans.len() == 1 {
            return path.to_owned();
        }
        with_suffix(path, self.plans[index].target.protocol.scheme())
    }
}

/// `run.json` with the suffix `udp` is `run-udp.json`.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push("-");
    name.push(suffix);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// The line of the screen that names the files, if there are any.
fn line_of(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("  wrote {}\n", names.join("  ")) }
}

/// Writes a file. `Err` is the exit code of a program that cannot go on.
fn write(path: &Path, contents: &str) -> Result<(), ExitCode> {
    let written = fs::write(path, contents);
    written.map_err(|error| complain(&cannot_write(path, &error), exit::FAILED))
}

/// Prints a part of the result. `Err` is the exit code of a program that need not or cannot go on; `code` is that of one
/// that has done its work.
fn print(text: &str, code: u8) -> Result<(), ExitCode> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // Whoever closed the pipe has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ExitCode::from(code)),
        Err(error) => Err(complain(&format!("cannot write the result: {error}"), exit::FAILED)),
        Ok(()) => Ok(()),
    }
}

/// Starts a server of our own and notes it in the context.
pub(crate) fn start_own_server(context: &mut Context, threads: usize) -> io::Result<OwnServer> {
    // The server gets the first processor and we the last, so that neither is measured waiting for the other.
    let apart = match host::processors()[..] {
        [first, .., last] => Some((first, last)),
        [] | [_] => None,
    };
    let server = OwnServer::start(apart.map(|(first, _)| first))?;
    context.server = Some(server.pid());
    if context.pinned_to.is_empty() && threads == 1 {
        context.pinned_to = apart.map(|(_, last)| last).into_iter().collect();
    }
    Ok(server)
}

/// A seed that no two runs share. The hasher's keys are the operating system's randomness, as std has it.
pub(crate) fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// SIGINT and SIGTERM: the first stops the run, which then reports; the second ends it at once.
pub(crate) struct Signals {
    /// The signal that came, and how often.
    received: Arc<AtomicUsize>,
    times: Arc<AtomicUsize>,
}

impl Signals {
    pub(crate) fn watch() -> io::Result<Self> {
        let signals = Signals { received: Arc::default(), times: Arc::default() };
        let mut delivered = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
        let (received, times) = (Arc::clone(&signals.received), Arc::clone(&signals.times));
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in delivered.forever() {
                received.store(signal as usize, Ordering::Relaxed);
                times.fetch_add(1, Ordering::Relaxed);
            }
        })?;
        Ok(signals)
    }

    pub(crate) fn wish(&self) -> Wish {
        match self.times.load(Ordering::Relaxed) {
            0 => Wish::Continue,
            1 => Wish::Stop,
            _ => Wish::Abort,
        }
    }

    /// How a program ends that was asked to; `None` if nobody asked.
    pub(crate) fn exit_code(&self) -> Option<u8> {
        let signal = self.received.load(Ordering::Relaxed);
        (signal > 0).then_some((SIGNALLED + signal) as u8)
    }
}
