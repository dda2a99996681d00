//! Several generators that make one load: each on its own thread, with its own sockets and its own accounts, and with its
//! share of connections and rate. Does I/O: threads.
//!
//! They share nothing while they run but a clock and the moment at which they begin. What they measured is added up
//! afterwards, and loses nothing by it: histograms and counts are sums, and a process of arrivals that was divided is
//! whole again, Poisson because the sum of Poisson processes is one, constant because the shares are offset.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::clock::{Clock, Nanos};
use crate::engine::{Engine, Stage, Totals, Transport};
use crate::evidence::Evidence;
use crate::generator::{Churned, Effort, Generator, Wish};
use crate::host::{self, Cpu};
use crate::intervals::{self, Interval};
use crate::late::Late;
use crate::loss::Bursts;
use crate::payload::Payload;
use crate::plan::Plan;
use crate::recorder::{self, Recorder};
use crate::until::{Goal, Looks, Reading};

/// Between the decision to begin and the beginning, for the threads to be there by then: some twenty times what it takes
/// to start one.
const START_AHEAD: Nanos = 2_000_000;

/// How often whoever watches is asked when the first generator is done before the others.
const WATCH_INTERVAL: Duration = Duration::from_millis(20);

/// By how much the first generator looks later than the others do: each of them comes round to it within half of that.
const LOOK_BEHIND: Nanos = 100_000_000;

/// One place in a team.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Counted from 0.
    pub index: usize,
    /// How many there are.
    pub of: usize,
}

impl Share {
    /// All of it.
    pub const WHOLE: Share = Share { index: 0, of: 1 };

    /// This one's part of so many things; the shares add up to all of them, and differ by one at most.
    pub fn part(self, whole: u64) -> u64 {
        let (index, of) = (self.index as u64, self.of as u64);
        whole / of + u64::from(index < whole % of)
    }
}

/// How the load goes, over all generators.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// Whether messages are still to be sent. With several generators: by the first one.
    pub is_sending: bool,
    /// What has happened so far.
    pub totals: Totals,
    /// The last interval that has ended, and how many there have been with it. With several generators: of the first one.
    pub latest: Option<(u64, &'a Interval)>,
    /// What has been measured so far, at the moments of [`Looks`] and only where that was asked for.
    pub reading: Option<&'a Reading>,
}

#[derive(Debug)]
struct Member {
    generator: Generator,
    share: Share,
    cpu: Option<Cpu>,
    /// Processor time that it spent in the last stage, with its drain, on nothing but waiting for a time.
    spun: Nanos,
}

/// Generators with open sockets, at least one.
#[derive(Debug)]
pub struct Team {
    members: Vec<Member>,
    clock: Clock,
    /// Whether to look at what has been measured while a stage runs.
    goal: Option<Goal>,
}

impl Team {
    /// Opens every socket of the plan. Each generator is bound to one of the processors `cpus`, in turn; none: to none.
    /// `tell` is told how many connections are open, and may end it.
    pub fn open(
        plan: &Plan,
        address: SocketAddr,
        cpus: &[Cpu],
        tell: &mut dyn FnMut(usize) -> bool,
    ) -> io::Result<Self> {
        let clock = Clock::start();
        let (mut members, mut open, mut first_lane) = (Vec::new(), 0, 0_u16);
        for index in 0..plan.threads {
            let share = Share { index, of: plan.threads };
            let part = plan.part(share);
            let mut generator = Generator::open(&part, address, clock, &mut |more| tell(open + more))?;
            generator.take_part(share, first_lane);
            open += generator.opened();
            first_lane += part.lanes() as u16;
            let cpu = (!cpus.is_empty()).then(|| cpus[index % cpus.len()]);
            members.push(Member { generator, share, cpu, spun: 0 });
        }
        Ok(Team { members, clock, goal: None })
    }

    /// See [`Engine::load_only`].
    pub fn load_only(&mut self, only: Option<Transport>) {
        self.members.iter_mut().for_each(|member| member.generator.load_only(only));
    }

    /// Cuts every stage from now on into intervals of this length, above 0.
    pub fn record_intervals(&mut self, length: Nanos) {
        self.members.iter_mut().for_each(|member| member.generator.record_intervals(length));
    }

    /// From now on whoever watches a stage is told now and then what has been measured for a goal, or no longer.
    pub fn take_looks(&mut self, goal: Option<Goal>) {
        self.goal = goal;
    }

    /// Runs a stage to its end: the first generator on the calling thread. `watch` is asked now and then whether to go on.
    pub fn run(&mut self, stage: &Stage, watch: &mut dyn FnMut(&Sight, Nanos) -> Wish) -> io::Result<()> {
        let [first, others @ ..] = &mut self.members[..] else { return Ok(()) };
        let board = Board::new(others.len());
        let (clock, goal) = (self.clock, self.goal);
        let looks = goal.map(|_| Looks::default());
        let mut own_looks = looks;
        let began = if others.is_empty() { clock.now() } else { clock.now() + START_AHEAD };
        let mut relay = |engine: &Engine, elapsed: Nanos| {
            let (intervals, number) = engine.intervals();
            let latest = intervals.last().map(|interval| (number, interval));
            let totals = board.totals(engine.totals());
            // A little after the others, so that what they left is of this moment.
            let since = elapsed.saturating_sub(if board.is_empty() { 0 } else { LOOK_BEHIND });
            let is_due = own_looks.as_mut().is_some_and(|looks| looks.is_due(since));
            let reading = goal.filter(|_| is_due).map(|goal| board.reading(goal, engine));
            board.say(watch(
                &Sight { is_sending: engine.is_sending(), totals, latest, reading: reading.as_ref() },
                elapsed,
            ))
        };
        thread::scope(|scope| {
            let threads: Vec<_> = others
                .iter_mut()
                .enumerate()
                .map(|(place, member)| {
                    let board = &board;
                    let mut looks = looks;
                    let run = move || {
                        member.run(stage, clock, began, &mut |engine, elapsed| {
                            if looks.as_mut().is_some_and(|looks| looks.is_due(elapsed)) {
                                board.leave(place, engine);
                            }
                            board.note(place, engine.totals())
                        })
                    };
                    thread::Builder::new().name(format!("generator {}", place + 1)).spawn_scoped(scope, run)
                })
                .collect();
            let mut outcome = first.run(stage, clock, began, &mut relay);
            // The first may be done before the others are, and whoever watches may want to stop them.
            while threads.iter().flatten().any(|thread| !thread.is_finished()) {
                thread::sleep(WATCH_INTERVAL);
                relay(first.generator.engine(), clock.now().saturating_sub(began));
            }
            for thread in threads {
                // A generator that could not begin or broke off ends the run, when the others have come to their end.
                let ended = thread
                    .and_then(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a generator panicked"))));
                outcome = outcome.and(ended);
            }
            outcome
        })
    }

    /// What was recorded, by transport, for each generator apart.
    pub fn recorders(&self) -> impl Iterator<Item = (Transport, &Recorder)> + Clone {
        self.engines().flat_map(Engine::recorders)
    }

    /// What was recorded, by transport, over all generators; without the evidence, which does not add up.
    pub fn merged(&self) -> Vec<(Transport, Recorder)> {
        let mut merged: Vec<(Transport, Recorder)> = Vec::new();
        for (transport, recorder) in self.recorders() {
            match merged.iter_mut().find(|(of, _)| *of == transport) {
                Some((_, sum)) => sum.add(recorder),
                None => merged.push((transport, recorder.clone())),
            }
        }
        merged
    }

    /// The intervals of the last stage. Those of several generators are added up between the ends that they share.
    pub fn intervals(&self) -> Vec<Interval> {
        let each: Vec<&[Interval]> = self.engines().map(|engine| engine.intervals().0).collect();
        intervals::merged(&each)
    }

    /// What has been measured in the last stage, for a goal.
    pub fn reading(&self, goal: Goal) -> Reading {
        Reading::of(goal, self.recorders().map(|(_, recorder)| (&recorder.response, &recorder.evidence)))
    }

    /// The runs of consecutive messages lost, over all UDP sockets.
    pub fn bursts(&self) -> Bursts {
        let mut sum = Bursts::default();
        self.engines().for_each(|engine| sum.add(engine.bursts()));
        sum
    }

    /// How long messages were sent in the last stage: until the last generator stopped.
    pub fn sending_time(&self) -> Nanos {
        self.engines().map(Engine::sending_time).max().unwrap_or(0)
    }

    /// What is sent; the same for all.
    pub fn payload(&self) -> &Payload {
        self.first().payload()
    }

    /// The engine of the first.
    pub fn first(&self) -> &Engine {
        self.members[0].generator.engine()
    }

    /// What each thread did in the last stage while it sent.
    pub fn efforts(&self) -> impl Iterator<Item = Effort> {
        self.members.iter().map(|member| member.generator.effort())
    }

    /// Processor time that all of them together spent in the last stage, with its drain, on nothing but waiting for a time.
    pub fn spun(&self) -> Nanos {
        self.members.iter().map(|member| member.spun).sum()
    }

    /// How many sockets or connections each transport of each generator has, and how many of them can still be used.
    pub fn lanes(&self) -> impl Iterator<Item = (Transport, usize, usize)> {
        self.engines().flat_map(Engine::lanes)
    }

    /// Whether any connection or socket can still be used.
    pub fn has_live_lanes(&self) -> bool {
        self.engines().any(Engine::has_live_lanes)
    }

    /// What has happened in the last stage.
    pub fn totals(&self) -> Totals {
        self.engines().fold(Totals::default(), |sum, engine| sum.plus(engine.totals()))
    }

    /// How long each TCP connection took to open before the load began.
    pub fn connect_times(&self) -> Histogram<u64> {
        let mut sum = recorder::histogram();
        for member in &self.members {
            sum.add(member.generator.connect_times()).expect("all histograms have the same bounds");
        }
        sum
    }

    /// TCP connections opened before the load began.
    pub fn opened(&self) -> usize {
        self.members.iter().map(|member| member.generator.opened()).sum()
    }

    /// How long that took: one generator after the other.
    pub fn opening_time(&self) -> Nanos {
        self.members.iter().map(|member| member.generator.opening_time()).sum()
    }

    /// What the last stage did to its connections, where they are replaced.
    pub fn churned(&self) -> Option<Churned> {
        let each = self.members.iter().filter_map(|member| member.generator.churned());
        each.cloned().reduce(|mut sum, other| {
            sum.add(&other);
            sum
        })
    }

    /// The first error that took a socket out of service.
    pub fn broken_by(&self) -> Option<&io::Error> {
        self.members.iter().find_map(|member| member.generator.broken_by())
    }

    fn engines(&self) -> impl Iterator<Item = &Engine> + Clone {
        self.members.iter().map(|member| member.generator.engine())
    }
}

impl Member {
    /// Runs its share of a stage on the calling thread, from `began` on.
    fn run(
        &mut self,
        stage: &Stage,
        clock: Clock,
        began: Nanos,
        watch: &mut dyn FnMut(&Engine, Nanos) -> Wish,
    ) -> io::Result<()> {
        if let Some(cpu) = self.cpu {
            // Where it is refused the thread runs where it may.
            host::pin(None, cpu);
        }
        let share = self.share;
        let late = match stage.late {
            Late::Cap(most) => Late::Cap(share.part(most as u64).max(1) as usize),
            late @ (Late::Queue | Late::Shed(_)) => late,
        };
        let stage = Stage { messages: stage.messages.map(|whole| share.part(whole)), late, ..stage.clone() };
        let spun = self.generator.spun();
        thread::sleep(Duration::from_nanos(began.saturating_sub(clock.now())));
        let outcome = self.generator.run(&stage, began, watch);
        self.spun = self.generator.spun() - spun;
        outcome
    }
}

/// What a transport of a generator has measured.
type Stream = (Histogram<u64>, Evidence);

/// Where the threads of a stage leave word for each other.
struct Board {
    /// What each but the first has counted so far.
    totals: Vec<Mutex<Totals>>,
    /// The response times of each but the first, as they were at its last look, and what it had collected about them.
    streams: Vec<Mutex<Vec<Stream>>>,
    /// What `watch` wished last, as its number.
    wish: AtomicU8,
}

impl Board {
    fn new(others: usize) -> Self {
        let totals = (0..others).map(|_| Mutex::default()).collect();
        let streams = (0..others).map(|_| Mutex::default()).collect();
        Board { totals, streams, wish: AtomicU8::new(Wish::Continue as u8) }
    }

    /// One of the others says how far it is, and is told whether to go on.
    fn note(&self, place: usize, totals: Totals) -> Wish {
        const ALL: [Wish; 3] = [Wish::Continue, Wish::Stop, Wish::Abort];
        *lock(&self.totals[place]) = totals;
        ALL[usize::from(self.wish.load(Ordering::Relaxed))]
    }

    fn is_empty(&self) -> bool {
        self.totals.is_empty()
    }

    /// One of the others leaves a copy of what it has measured.
    fn leave(&self, place: usize, engine: &Engine) {
        let copy = |(_, recorder): (Transport, &Recorder)| (recorder.response.clone(), recorder.evidence.clone());
        *lock(&self.streams[place]) = engine.recorders().map(copy).collect();
    }

    /// What the first has measured, with what the others left last.
    fn reading(&self, goal: Goal, first: &Engine) -> Reading {
        let others: Vec<_> = self.streams.iter().map(lock).collect();
        let others = others.iter().flat_map(|streams| streams.iter());
        let others = others.map(|(response, evidence)| (response, evidence));
        let own = first.recorders().map(|(_, recorder)| (&recorder.response, &recorder.evidence));
        Reading::of(goal, own.chain(others))
    }

    fn say(&self, wish: Wish) -> Wish {
        self.wish.fetch_max(wish as u8, Ordering::Relaxed);
        wish
    }

    fn totals(&self, own: Totals) -> Totals {
        self.totals.iter().fold(own, |sum, totals| sum.plus(*lock(totals)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        for whole in [0, 1, 7, 8, 1000] {
            let parts: Vec<u64> = (0..3).map(|index| Share { index, of: 3 }.part(whole)).collect();
            assert_eq!(parts.iter().sum::<u64>(), whole);
            assert!(parts[0] - parts[2] <= 1);
        }
        assert_eq!(Share::WHOLE.part(9), 9);
    }
}
