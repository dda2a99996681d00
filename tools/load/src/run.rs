//! One run from start to end: warm up, drain, measure, drain, observe both processes, sum up. Does I/O.

mod apart;
mod opening;
mod summary;
mod waiting;
mod watcher;

use std::io;
use std::net::SocketAddr;

use crate::clock::{Clock, Nanos};
use crate::companions::Companions;
use crate::engine::{Engine, Totals};
use crate::floor::{self, Floor};
use crate::generator::Wish;
use crate::host::{self, Cpu};
use crate::intervals;
use crate::observer::{Course, Memory, Observer, Usage};
use crate::plan::{Plan, nanos};
use crate::report::crowd::Beside;
use crate::report::document::{Document, Process, Time};
use crate::team::Team;
use crate::until::{Goal, Look, Rule};
use opening::Opened;
pub use opening::enough_files;
use summary::{Parts, document, process};
use watcher::Watcher;

/// Exit codes of a run, from the least to the most important.
pub mod exit {
    /// All is well.
    pub const DONE: u8 = 0;
    /// There was nothing to measure: no connection, or no reply at all.
    pub const FAILED: u8 = 1;
    /// The run did not meet a condition, or was worse than its baseline.
    pub const GATE_FAILED: u8 = 3;
    /// The measurement is not to be believed, and somebody hung a decision on it.
    pub const INVALID: u8 = 4;
    /// The server answered wrong bytes.
    pub const WRONG_PAYLOAD: u8 = 5;
}

/// A run without any reply is given up after this many timeouts: it would only say the same for longer.
const HOPELESS_TIMEOUTS: u32 = 3;

/// Which part of a run is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Connections are being opened.
    Opening {
        /// So many are open.
        open: usize,
        /// Of so many in all.
        of: usize,
    },
    /// It is not yet the time that it was told to begin at.
    Waiting {
        /// How much longer.
        left: Nanos,
    },
    /// Its figures will be thrown away.
    WarmUp,
    /// Its figures count.
    Measurement,
    /// Each transport alone and both together, in turns.
    Apart {
        /// So many parts are over.
        done: usize,
        /// Of so many.
        of: usize,
    },
}

/// How far a run is, for whoever watches it.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// Which part it is in.
    pub part: Part,
    /// Time since this part began.
    pub elapsed: Nanos,
    /// What has happened in it.
    pub totals: Totals,
    /// The last interval of the measurement that has ended, and how many there have been with it.
    pub latest: Option<(u64, &'a intervals::Interval)>,
    /// The goal of a run that goes on until a percentile is known, and what was found last.
    pub look: Option<(Goal, Option<Look>)>,
}

/// Why a run could not be made.
#[derive(Debug)]
pub struct Failure(pub(crate) String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// What is known about a run besides its plan.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The command line, for the record.
    pub command: Vec<String>,
    /// The server's process, where it is known already.
    pub server: Option<u32>,
    /// The processors that the program may use, for the record.
    pub processors: usize,
    /// Those of them that generators are bound to, in turn; none: to none. The first generator is the calling thread.
    pub pinned_to: Vec<Cpu>,
}

/// Makes a run on the calling thread. `watch` is told how it goes, some twenty times a second, and may end it.
///
/// Fails where nothing could be measured: the target has no address, a connection cannot be made, there is no reply to
/// anything, or `watch` ended it before the measurement began. Wrong replies are a result, not a failure.
pub fn measure(plan: &Plan, context: &Context, watch: &mut dyn FnMut(&Progress) -> Wish) -> Result<Document, Failure> {
    let mut session = Session::open(plan, context, watch)?;
    waiting::for_warm_up(plan, watch)?;
    session.warm_up(plan, watch)?;
    waiting::for_measurement(plan, watch)?;
    let mut document = session.measure(plan, watch)?;
    if plan.interference && !document.time.interrupted {
        document.interference = session.interference(plan, watch)?;
    }
    Ok(document)
}

/// Open connections to a target, on which any number of measurements can be made one after the other.
pub struct Session {
    context: Context,
    address: SocketAddr,
    /// A machine without a floor, for want of sockets or threads, is measured all the same.
    floor: Option<Floor>,
    /// The processor that the calling thread is bound to.
    pinned_to: Option<Cpu>,
    team: Team,
    /// They stay for all measurements.
    companions: Option<Companions>,
    memory: Option<Memory>,
    local: bool,
    /// The server's processes, where it runs on this machine and they were found.
    server: Vec<u32>,
    warmup_ns: Nanos,
    /// Whether anything was ever answered.
    was_answered: bool,
}

impl Session {
    /// Opens every connection of the plan.
    pub fn open(plan: &Plan, context: &Context, watch: &mut dyn FnMut(&Progress) -> Wish) -> Result<Self, Failure> {
        let cannot_reach = |error: io::Error| Failure(format!("cannot reach {}: {error}", plan.target));
        let address = opening::choose_address(plan).map_err(cannot_reach)?;
        let pinned_to = context.pinned_to.first().copied().filter(|&cpu| host::pin(None, cpu));
        let floor = floor::measure(pinned_to, plan.pace).ok();
        let local = host::is_local(address);
        let server = match context.server {
            Some(server) => vec![server],
            None if local => opening::servers(plan, address),
            None => Vec::new(),
        };
        let Opened { team, companions, memory } =
            opening::open(plan, address, only(&server).filter(|_| local), &context.pinned_to, watch)?;
        let context = context.clone();
        Ok(Session {
            context,
            address,
            floor,
            pinned_to,
            team,
            companions,
            memory,
            local,
            server,
            warmup_ns: 0,
            was_answered: false,
        })
    }

    /// The server's process, where it runs on this machine, was found and is the only one.
    pub fn server(&self) -> Option<u32> {
        only(&self.server)
    }

    /// The engine of the first generator, with what the last measurement left in it.
    pub fn engine(&self) -> &Engine {
        self.team.first()
    }

    /// Makes the warm-up of the plan, if it has one, and forgets it.
    pub fn warm_up(&mut self, plan: &Plan, watch: &mut dyn FnMut(&Progress) -> Wish) -> Result<(), Failure> {
        let mut watcher = Watcher::new(plan, watch);
        let clock = Clock::start();
        if let Some(stage) = plan.warmup_stage() {
            watcher.run(&mut self.team, &stage, Part::WarmUp)?;
        }
        if watcher.interrupted {
            return Err(Failure("interrupted during the warm-up: nothing was measured".into()));
        }
        self.warmup_ns = clock.now();
        self.was_answered = watcher.was_answered;
        Ok(())
    }

    /// Makes the measurement of the plan, which must have the connections and the payload that this was opened with.
    pub fn measure(&mut self, plan: &Plan, watch: &mut dyn FnMut(&Progress) -> Wish) -> Result<Document, Failure> {
        let mut watcher = Watcher::new(plan, watch);
        watcher.was_answered = self.was_answered;
        let team = &mut self.team;
        let clock = Clock::start();
        let observer = Observer::start(self.address, &self.server, self.local);
        let began = clock.now();
        watcher.course = Course::start(&self.server);
        watcher.rule = plan.until.map(Rule::new);
        team.take_looks(plan.until);
        team.record_intervals(nanos(plan.interval));
        let start_unix_ns = waiting::wall_clock();
        watcher.run(team, &plan.measured_stage(), Part::Measurement)?;
        self.was_answered = watcher.was_answered;
        let wall_ns = clock.now() - began;
        let most = plan.duration.map_or(0, nanos);
        let until = watcher.rule.map(|rule| {
            let reading = team.reading(rule.goal());
            rule.finish(team.sending_time(), most, &reading)
        });
        let companions = self.companions.as_mut().map(Companions::tally).transpose();
        let companions =
            companions.map_err(|error| Failure(format!("the companions of the run broke off: {error}")))?;
        watcher.course.end(wall_ns);
        let spun = team.spun();
        let seen = observer.so_far();
        let time = Time {
            start_unix_ns,
            warmup_ns: self.warmup_ns,
            measured_ns: team.sending_time(),
            drain_ns: wall_ns.saturating_sub(team.sending_time()),
            interrupted: watcher.interrupted,
        };
        let sent = team.totals().sent;
        let process = |pid: u32, usage: Usage| process(pid, usage, sent, wall_ns);
        let own = seen.own.map(|usage| Process { spun_ns: Some(spun), ..process(std::process::id(), usage) });
        let parts = Parts {
            time,
            server: seen.busiest.zip(seen.server).map(|(pid, usage)| {
                let together = (self.server.len() > 1).then_some(self.server.len());
                Process { together, ..process(pid, usage) }
            }),
            generator: own,
            local: self.local,
            address: self.address,
            floor: self.floor,
            seen,
            wall: wall_ns,
            companions,
            beside: self.companions.as_ref().map(Beside::of),
            memory: self.memory,
            pinned_to: self.pinned_to,
            course: watcher.course,
            until,
        };
        Ok(document(plan, &self.context, team, parts))
    }
}

/// The only process, where there is one.
fn only(processes: &[u32]) -> Option<u32> {
    if let [process] = processes { Some(*process) } else { None }
}
