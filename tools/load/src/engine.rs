//! The engine: given the time and what arrived, it says what to send and when to wake. Sans-I/O: clock and sockets are
//! outside, so tests drive it with a virtual clock and a simulated server.
//!
//! ```text
//!            begin(stage)             end of the stage            nothing under way
//!   Idle ─────────────────▶ Sending ─────────────────▶ Draining ─────────────────▶ Idle
//! ```
//!
//! The shell repeats: [`Engine::tick`]; hand over what was received ([`Engine::datagram`], [`Engine::stream`]); while
//! [`Engine::next_sender`] names a lane, [`Engine::compose`] into that lane's buffer, send, and report what the kernel
//! took with [`Engine::sent`]; sleep until [`Engine::wake_at`]. A *lane* is one socket. Lanes of one transport form a
//! group with its own demand and its own recorder, so that neither transport waits for the other.

mod answers;
mod churn;
mod departures;
mod endings;
mod lanes;
mod samples;
mod stage;
mod totals;

use std::collections::VecDeque;

use crate::by_size::BySize;
use crate::clock::Nanos;
use crate::intervals::{Flow, Interval, Intervals};
use crate::late::Due;
use crate::ledger::{DatagramLedger, StreamLedger};
use crate::loss::Bursts;
use crate::payload::{Identity, Payload};
use crate::recorder::Recorder;
use crate::schedule::Arrivals;
use crate::team::Share;
use lanes::{Book, Group, Lane, Sample, Want};

pub use stage::{Demand, Ending, LaneGroup, Stage, Transport};
pub use totals::Totals;

/// How long a deadline may be overdue before somebody looks. An answer that comes in between is judged by the deadline
/// itself, so this bounds only when a loss is noticed. Short against any timeout, long against a walk over all lanes.
const SWEEP: Nanos = 20_000_000;

/// A drain lasts at least this long, so that a second answer to one of the last messages is still seen.
const LINGER: Nanos = 50_000_000;

/// When the time is up, a message that fell due no longer ago than this still leaves, if a lane is free for it: the turn
/// in which it should have left was only just missed, as one always is that falls due between two looks at the clock.
/// Short against any stage, long enough for a scheduler's slice.
const LAST_CALL: Nanos = 10_000_000;

/// Messages that may be under way at once, over all lanes of a transport. Two dozen bytes each: it bounds memory when a
/// server stalls under an open loop, at 24 MiB.
pub const MOST_IN_FLIGHT: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Sending,
    Draining { not_before: Nanos, until: Nanos },
}

/// The state of a load generator without its sockets and its clock.
#[derive(Debug)]
pub struct Engine {
    payload: Payload,
    lanes: Vec<Lane>,
    groups: Vec<Group>,
    phase: Phase,
    /// Streams that have been given up and that the shell has yet to close.
    doomed: Vec<usize>,
    /// Streams that have served their time, and that the shell has yet to replace.
    retired: Vec<usize>,
    /// Which part of the load this engine makes, and the number of its first lane among those of all parts.
    share: Share,
    first_lane: u16,
    /// The only transport that has a load; `None`: all have.
    only: Option<Transport>,
    /// Messages that a stream carries before it is replaced; `u64::MAX`: none is.
    lifetime: u64,
    /// The group whose turn it is to send first.
    first_group: usize,
    started: Nanos,
    ended: Nanos,
    ends: Nanos,
    messages_left: u64,
    next_sweep: Nanos,
    /// `None` unless somebody wants them.
    intervals: Option<Intervals>,
}

impl Engine {
    /// Lanes are numbered through the groups, in the order given.
    pub fn new(payload: Payload, groups: &[LaneGroup]) -> Self {
        let mut engine = Engine {
            payload,
            lanes: Vec::new(),
            groups: Vec::new(),
            phase: Phase::Idle,
            doomed: Vec::new(),
            retired: Vec::new(),
            share: Share::WHOLE,
            first_lane: 0,
            only: None,
            lifetime: u64::MAX,
            first_group: 0,
            started: 0,
            ended: 0,
            ends: 0,
            messages_left: 0,
            next_sweep: 0,
            intervals: None,
        };
        for spec in groups {
            let first = engine.lanes.len();
            for _ in 0..spec.lanes {
                let book = match spec.transport {
                    Transport::Udp => {
                        Book::Datagrams(DatagramLedger::new(spec.timeout, (MOST_IN_FLIGHT / spec.lanes).max(16)))
                    }
                    Transport::Tcp => Book::Stream(StreamLedger::default()),
                };
                engine.lanes.push(Lane {
                    book,
                    group: engine.groups.len(),
                    places: VecDeque::new(),
                    is_alive: true,
                    is_open: true,
                    left: u64::MAX,
                    is_blocked: false,
                    is_queued: false,
                    sample: Sample::None,
                });
            }
            engine.groups.push(Group {
                transport: spec.transport,
                lanes: first..engine.lanes.len(),
                timeout: spec.timeout,
                want: Want::Nothing,
                ready: VecDeque::with_capacity(spec.lanes),
                alive: spec.lanes,
                recorder: Recorder { by_size: BySize::of(engine.payload.content()), ..Recorder::default() },
            });
        }
        engine
    }

    /// This engine makes one share of the load, on lanes that are numbered from here on. Of the schedule of an open loop
    /// it plays its part; a number of messages is not divided.
    pub fn take_part(&mut self, share: Share, first_lane: u16) {
        (self.share, self.first_lane) = (share, first_lane);
    }

    /// From now on only this transport has a load in each stage, the same as it has beside the others; `None`: all have.
    pub fn load_only(&mut self, only: Option<Transport>) {
        self.only = only;
    }

    /// The name of a message, unlike any other's of any engine.
    fn identity(&self, lane: usize, sequence: u64) -> Identity {
        Identity { lane: self.first_lane + lane as u16, sequence }
    }

    /// Cuts every stage from now on into intervals of this length, above 0.
    pub fn record_intervals(&mut self, length: Nanos) {
        self.intervals = Some(Intervals::new(length));
    }

    /// The intervals of the last stage that have ended, and how many there were before neighbours became one.
    pub fn intervals(&self) -> (&[Interval], u64) {
        self.intervals.as_ref().map_or((&[], 0), |intervals| (intervals.closed(), intervals.cuts()))
    }

    /// Starts a stage with empty recorders, on the lanes as they are.
    pub fn begin(&mut self, stage: &Stage, now: Nanos) {
        debug_assert_eq!(self.phase, Phase::Idle);
        self.phase = Phase::Sending;
        self.started = now;
        self.ended = now;
        self.ends = stage.duration.map_or(Nanos::MAX, |duration| now + duration);
        self.messages_left = stage.messages.unwrap_or(u64::MAX);
        self.next_sweep = now + SWEEP;
        if let Some(intervals) = &mut self.intervals {
            *intervals = Intervals::new(intervals.length());
        }
        let parts = self.groups.len() * self.share.of;
        let share = 1.0 / parts as f64;
        for index in 0..self.groups.len() {
            let place = self.share.index * self.groups.len() + index;
            let group = &mut self.groups[index];
            group.recorder.reset();
            group.recorder.evidence.begin(now);
            group.ready.clear();
            group.want = match &stage.demand {
                _ if self.only.is_some_and(|only| only != group.transport) => Want::Nothing,
                Demand::Closed { .. } => Want::Answers,
                Demand::Open { profile, process, window } => {
                    // The sum of independent Poisson processes is one, and evenly offset metronomes make one.
                    let arrivals = Arrivals::new(
                        *process,
                        profile.clone(),
                        share,
                        place as f64 * share,
                        stage.seed.wrapping_add(place as u64),
                    );
                    let most = (MOST_IN_FLIGHT / group.lanes.len().max(1)).max(16);
                    Want::Arrivals {
                        due: Due::new(arrivals, stage.late, group.timeout),
                        window: window.unwrap_or(most),
                    }
                }
            };
            for lane in group.lanes.clone() {
                self.begin_lane(lane, &stage.demand, now);
            }
        }
    }

    fn begin_lane(&mut self, index: usize, demand: &Demand, now: Nanos) {
        self.lanes[index].sample = Sample::None;
        let lane = &mut self.lanes[index];
        if let Book::Datagrams(ledger) = &mut lane.book {
            ledger.begin_stage();
        }
        lane.is_queued = false;
        lane.is_blocked = false;
        lane.places.clear();
        if let (Demand::Closed { window }, Want::Answers) = (demand, &self.groups[self.lanes[index].group].want) {
            let window = if self.only_one_fits(index) { 1 } else { *window };
            self.lanes[index].places.extend(std::iter::repeat_n(now, window));
        }
        self.retire_if_due(index);
        self.queue(index);
    }

    /// Whether the stage is over: everything sent has been settled.
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// Whether messages are still to be sent.
    pub fn is_sending(&self) -> bool {
        self.phase == Phase::Sending
    }

    /// Whether any lane can still be used.
    pub fn has_live_lanes(&self) -> bool {
        self.groups.iter().any(|group| group.alive > 0)
    }

    /// Looks at the deadlines. Cheap when none is due.
    pub fn tick(&mut self, now: Nanos) {
        match self.phase {
            Phase::Idle => return,
            Phase::Sending if self.is_over(now) => self.end_sending(self.ends),
            Phase::Sending | Phase::Draining { .. } => {}
        }
        if self.intervals.as_ref().is_some_and(|intervals| now >= self.started + intervals.next_cut()) {
            self.cut_interval(now, false);
        }
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP;
            for lane in 0..self.lanes.len() {
                self.expire(lane, now);
            }
        }
        if let Phase::Draining { not_before, until } = self.phase {
            let is_settled = || self.lanes.iter().all(|lane| lane.outstanding() == 0);
            if now >= until || (now >= not_before && is_settled()) {
                self.end_stage(now);
            }
        }
    }

    /// When [`tick`](Self::tick) or [`next_sender`](Self::next_sender) has something to do next, if nothing arrives.
    pub fn wake_at(&self) -> Nanos {
        let mut wake = match self.phase {
            Phase::Idle => return Nanos::MAX,
            Phase::Sending => self.next_sweep.min(self.ends),
            Phase::Draining { until, .. } => self.next_sweep.min(until),
        };
        if let Some(intervals) = &self.intervals {
            wake = wake.min(self.started + intervals.next_cut());
        }
        wake.min(self.send_at())
    }

    /// How many messages are under way on this lane: while none is, there is nothing to read.
    pub fn in_flight(&self, lane: usize) -> usize {
        match &self.lanes[lane].book {
            Book::Datagrams(ledger) => ledger.in_flight(),
            Book::Stream(ledger) => ledger.in_flight(),
        }
    }

    /// A UDP socket was told so many times that nobody listens at its peer's port.
    pub fn refused(&mut self, lane: usize, times: u64, now: Nanos) {
        let recorder = self.recorder(lane);
        recorder.endings.refused += times;
        if times > 0 {
            recorder.evidence.refused(now);
        }
    }

    /// How many lanes each transport has, and how many of them can still be used.
    pub fn lanes(&self) -> impl Iterator<Item = (Transport, usize, usize)> {
        self.groups.iter().map(|group| (group.transport, group.lanes.len(), group.alive))
    }

    /// What is sent.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// How long messages were sent in the last stage.
    pub fn sending_time(&self) -> Nanos {
        self.ended - self.started
    }

    /// What was recorded, by transport. Complete when [`is_idle`](Self::is_idle).
    pub fn recorders(&self) -> impl Iterator<Item = (Transport, &Recorder)> + Clone {
        self.groups.iter().map(|group| (group.transport, &group.recorder))
    }

    /// Ends the current interval, if there are any: at its own end, or at `now` if it is the last one.
    fn cut_interval(&mut self, now: Nanos, is_last: bool) {
        let flow = self.flow(now);
        let Some(intervals) = &mut self.intervals else { return };
        let recorders = self.groups.iter().map(|group| &group.recorder);
        let elapsed = now - self.started;
        if is_last {
            intervals.end(elapsed, flow, recorders);
        } else {
            intervals.cut(elapsed, flow, recorders);
        }
    }

    /// What has happened in this stage so far, and what the schedule has asked for.
    fn flow(&self, now: Nanos) -> Flow {
        let mut flow = Flow::default();
        let mut not_taken = 0;
        for group in &self.groups {
            let counts = &group.recorder.counts;
            let lanes = &self.lanes[group.lanes.clone()];
            let unsent: usize = lanes.iter().map(Lane::unsent).sum();
            match &group.want {
                Want::Arrivals { due, .. } => not_taken += due.left_before(now.min(self.ends) - self.started),
                // After the end of sending this is what was left then.
                Want::Nothing | Want::Answers => flow.offered += counts.scheduled,
            }
            flow.offered += counts.sent + counts.shed + unsent as u64;
            flow.sent += counts.sent;
            flow.replied += counts.replied;
            flow.lost += counts.lost;
        }
        // What falls due after the last message that is asked for is not asked for.
        flow.offered += not_taken.min(self.messages_left);
        flow
    }

    /// The runs of consecutive messages lost, over all UDP lanes.
    pub fn bursts(&self) -> Bursts {
        let mut sum = Bursts::default();
        for lane in &self.lanes {
            if let Book::Datagrams(ledger) = &lane.book {
                sum.add(ledger.bursts());
            }
        }
        sum
    }

    fn recorder(&mut self, lane: usize) -> &mut Recorder {
        &mut self.groups[self.lanes[lane].group].recorder
    }
}
