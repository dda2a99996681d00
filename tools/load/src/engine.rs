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
mod stage;

use std::collections::VecDeque;
use std::ops::Range;

use crate::clock::Nanos;
use crate::ledger::{DatagramLedger, StreamLedger};
use crate::payload::{Identity, Payload};
use crate::recorder::Recorder;
use crate::schedule::Arrivals;

pub use stage::{Demand, Ending, LaneGroup, Stage, Transport};

/// How long a deadline may be overdue before somebody looks. An answer that comes in between is judged by the deadline
/// itself, so this bounds only when a loss is noticed. Short against any timeout, long against a walk over all lanes.
const SWEEP: Nanos = 20_000_000;

/// A drain lasts at least this long, so that a second answer to one of the last messages is still seen.
const LINGER: Nanos = 50_000_000;

/// Messages that may be under way at once, over all lanes of a transport. Two dozen bytes each: it bounds memory when a
/// server stalls under an open loop, at 24 MiB.
pub const MOST_IN_FLIGHT: usize = 1 << 20;

#[derive(Debug)]
enum Book {
    Datagrams(DatagramLedger),
    Stream(StreamLedger),
}

#[derive(Debug)]
struct Lane {
    book: Book,
    group: usize,
    /// Closed loop: when each free place in the window fell free, oldest first.
    places: VecDeque<Nanos>,
    is_alive: bool,
    /// The socket has no room; the shell says when it has.
    is_blocked: bool,
    /// The lane is in its group's `ready` queue.
    is_queued: bool,
}

impl Lane {
    fn outstanding(&self) -> usize {
        match &self.book {
            Book::Datagrams(ledger) => ledger.outstanding(),
            Book::Stream(ledger) => ledger.outstanding(),
        }
    }
}

#[derive(Debug)]
enum Want {
    Nothing,
    Answers,
    Arrivals { arrivals: Arrivals, window: usize },
}

#[derive(Debug)]
struct Group {
    transport: Transport,
    lanes: Range<usize>,
    timeout: Nanos,
    want: Want,
    /// Lanes that could take a message now, the longest idle first.
    ready: VecDeque<usize>,
    alive: usize,
    recorder: Recorder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Sending,
    Draining { not_before: Nanos, until: Nanos },
}

/// Sums over all groups, for a progress line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages sent.
    pub sent: u64,
    /// Messages answered rightly and in time.
    pub replied: u64,
    /// Messages lost.
    pub lost: u64,
    /// Answers with wrong bytes.
    pub wrong_answers: u64,
    /// Times that nobody listened.
    pub refused: u64,
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
    /// The group whose turn it is to send first.
    first_group: usize,
    started: Nanos,
    ended: Nanos,
    ends: Nanos,
    messages_left: u64,
    next_sweep: Nanos,
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
            first_group: 0,
            started: 0,
            ended: 0,
            ends: 0,
            messages_left: 0,
            next_sweep: 0,
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
                    is_blocked: false,
                    is_queued: false,
                });
            }
            engine.groups.push(Group {
                transport: spec.transport,
                lanes: first..engine.lanes.len(),
                timeout: spec.timeout,
                want: Want::Nothing,
                ready: VecDeque::with_capacity(spec.lanes),
                alive: spec.lanes,
                recorder: Recorder::default(),
            });
        }
        engine
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
        let share = 1.0 / self.groups.len() as f64;
        for index in 0..self.groups.len() {
            let group = &mut self.groups[index];
            group.recorder.reset();
            group.ready.clear();
            group.want = match stage.demand {
                Demand::Closed { .. } => Want::Answers,
                Demand::Open { rate, process, window } => {
                    // The sum of independent Poisson processes is one, and evenly offset metronomes make one.
                    let arrivals = Arrivals::new(
                        process,
                        rate * share,
                        index as f64 * share,
                        stage.seed.wrapping_add(index as u64),
                    );
                    let most = (MOST_IN_FLIGHT / group.lanes.len().max(1)).max(16);
                    Want::Arrivals { arrivals, window: window.unwrap_or(most) }
                }
            };
            for lane in group.lanes.clone() {
                self.begin_lane(lane, stage.demand, now);
            }
        }
    }

    fn begin_lane(&mut self, index: usize, demand: Demand, now: Nanos) {
        let lane = &mut self.lanes[index];
        if let Book::Datagrams(ledger) = &mut lane.book {
            ledger.begin_stage();
        }
        lane.is_queued = false;
        lane.is_blocked = false;
        lane.places.clear();
        if let Demand::Closed { window } = demand {
            let window = if self.only_one_fits(index) { 1 } else { window };
            self.lanes[index].places.extend(std::iter::repeat_n(now, window));
        }
        self.queue(index);
    }

    /// Messages without numbers are told apart by there being only one.
    fn only_one_fits(&self, lane: usize) -> bool {
        matches!(self.lanes[lane].book, Book::Datagrams(_)) && !self.payload.is_numbered()
    }

    /// Whether the stage is over: everything sent has been settled.
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// Whether any lane can still be used.
    pub fn has_live_lanes(&self) -> bool {
        self.groups.iter().any(|group| group.alive > 0)
    }

    /// Stops sending and lets what is under way come in.
    pub fn stop(&mut self, now: Nanos) {
        if self.phase == Phase::Sending {
            self.end_sending(now);
        }
    }

    /// Ends the stage at once; what is under way is counted as such.
    pub fn cut_off(&mut self, now: Nanos) {
        self.stop(now);
        self.end_stage();
    }

    /// Looks at the deadlines. Cheap when none is due.
    pub fn tick(&mut self, now: Nanos) {
        match self.phase {
            Phase::Idle => return,
            Phase::Sending if now >= self.ends => self.end_sending(self.ends),
            Phase::Sending | Phase::Draining { .. } => {}
        }
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP;
            for lane in 0..self.lanes.len() {
                self.expire(lane, now);
            }
        }
        if let Phase::Draining { not_before, until } = self.phase {
            let outstanding = self.lanes.iter().any(|lane| lane.outstanding() > 0);
            if now >= until || (now >= not_before && !outstanding) {
                self.end_stage();
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
        if self.phase == Phase::Sending {
            for group in self.groups.iter().filter(|group| !group.ready.is_empty()) {
                wake = wake.min(match &group.want {
                    Want::Nothing => Nanos::MAX,
                    Want::Answers => self.started,
                    Want::Arrivals { arrivals, .. } => self.started + arrivals.peek(),
                });
            }
        }
        wake
    }

    /// The lane that should send next; `None` if no message is due or no lane can take one.
    pub fn next_sender(&mut self, now: Nanos) -> Option<usize> {
        if self.phase != Phase::Sending {
            return None;
        }
        if now >= self.ends || self.messages_left == 0 {
            self.end_sending(now.min(self.ends));
            return None;
        }
        self.first_group = (self.first_group + 1) % self.groups.len();
        for step in 0..self.groups.len() {
            let group = &self.groups[(self.first_group + step) % self.groups.len()];
            let is_due = match &group.want {
                Want::Nothing => false,
                Want::Answers => true,
                Want::Arrivals { arrivals, .. } => self.started + arrivals.peek() <= now,
            };
            if let Some(&lane) = group.ready.front().filter(|_| is_due) {
                return Some(lane);
            }
        }
        None
    }

    /// Appends up to `most` messages that are due on `lane`, which [`next_sender`](Self::next_sender) has just named,
    /// and says how many.
    pub fn compose(&mut self, lane: usize, now: Nanos, most: usize, out: &mut Vec<u8>) -> usize {
        let group = self.lanes[lane].group;
        debug_assert_eq!(self.groups[group].ready.front(), Some(&lane));
        self.groups[group].ready.pop_front();
        self.lanes[lane].is_queued = false;
        let mut composed = 0;
        while composed < most && self.messages_left > 0 && self.has_room(lane) {
            let Some(intended) = self.take_intended(lane, now) else { break };
            let sequence = match &mut self.lanes[lane].book {
                Book::Datagrams(ledger) => ledger.compose(intended),
                Book::Stream(ledger) => ledger.compose(intended),
            };
            self.payload.append(Identity { lane: lane as u16, sequence }, out);
            self.messages_left -= 1;
            composed += 1;
        }
        self.queue(lane);
        composed
    }

    /// The intended time of the next message of this lane, if one is due.
    fn take_intended(&mut self, lane: usize, now: Nanos) -> Option<Nanos> {
        let lane = &mut self.lanes[lane];
        match &mut self.groups[lane.group].want {
            Want::Nothing => None,
            Want::Answers => lane.places.pop_front(),
            Want::Arrivals { arrivals, .. } => {
                (self.started + arrivals.peek() <= now).then(|| self.started + arrivals.take())
            }
        }
    }

    /// The kernel took the `count` oldest messages composed on `lane`, in a system call made at `issued`.
    pub fn sent(&mut self, lane: usize, count: usize, issued: Nanos) {
        let length = self.payload.longest();
        let Lane { book, group, .. } = &mut self.lanes[lane];
        let recorder = &mut self.groups[*group].recorder;
        for _ in 0..count {
            let flight = match book {
                Book::Datagrams(ledger) => ledger.issue(issued),
                Book::Stream(ledger) => ledger.issue(issued),
            };
            recorder.sent(flight, length);
        }
    }

    /// The lane's socket has no room for what was composed.
    pub fn blocked(&mut self, lane: usize) {
        self.lanes[lane].is_blocked = true;
        self.unqueue(lane);
        self.recorder(lane).counts.send_blocked += 1;
    }

    /// The lane's socket has room again.
    pub fn unblocked(&mut self, lane: usize) {
        self.lanes[lane].is_blocked = false;
        self.queue(lane);
    }

    /// How many messages are under way on this lane: while none is, there is nothing to read.
    pub fn in_flight(&self, lane: usize) -> usize {
        match &self.lanes[lane].book {
            Book::Datagrams(ledger) => ledger.in_flight(),
            Book::Stream(ledger) => ledger.in_flight(),
        }
    }

    /// A UDP socket was told so many times that nobody listens at its peer's port.
    pub fn refused(&mut self, lane: usize, times: u64) {
        self.recorder(lane).endings.refused += times;
    }

    /// Bytes of the longest message.
    pub fn message_size(&self) -> usize {
        self.payload.longest()
    }

    /// A TCP lane ended. What was under way on it is lost.
    pub fn stream_ended(&mut self, lane: usize, ending: Ending) {
        if !self.lanes[lane].is_alive {
            return;
        }
        let endings = &mut self.recorder(lane).endings;
        match ending {
            Ending::Closed => endings.closed += 1,
            Ending::Reset => endings.reset += 1,
        }
        self.abandon(lane);
    }

    /// A stream that has been given up, to be closed by the shell.
    pub fn take_doomed(&mut self) -> Option<usize> {
        self.doomed.pop()
    }

    /// Sums over all groups so far.
    pub fn totals(&self) -> Totals {
        self.groups.iter().map(|group| &group.recorder).fold(
            Totals::default(),
            |sum, Recorder { counts, endings, .. }| Totals {
                sent: sum.sent + counts.sent,
                replied: sum.replied + counts.replied,
                lost: sum.lost + counts.lost,
                wrong_answers: sum.wrong_answers + counts.wrong_answers(),
                refused: sum.refused + endings.refused,
            },
        )
    }

    /// How long messages were sent in the last stage.
    pub fn sending_time(&self) -> Nanos {
        self.ended - self.started
    }

    /// What was recorded, by transport. Complete when [`is_idle`](Self::is_idle).
    pub fn recorders(&self) -> impl Iterator<Item = (Transport, &Recorder)> {
        self.groups.iter().map(|group| (group.transport, &group.recorder))
    }

    /// Whether a lane's ledger and window have room for one more message.
    fn has_room(&mut self, index: usize) -> bool {
        let only_one_fits = self.only_one_fits(index);
        let lane = &mut self.lanes[index];
        let window = match &self.groups[lane.group].want {
            Want::Nothing => 0,
            // The places are the window.
            Want::Answers => {
                if lane.places.is_empty() {
                    0
                } else {
                    usize::MAX
                }
            }
            Want::Arrivals { window, .. } => *window,
        };
        let window = if only_one_fits { window.min(1) } else { window };
        lane.outstanding() < window
            && match &mut lane.book {
                Book::Datagrams(ledger) => ledger.has_room(),
                Book::Stream(_) => true,
            }
    }

    /// Puts a lane that could send into its group's queue, once.
    fn queue(&mut self, index: usize) {
        let lane = &self.lanes[index];
        if lane.is_queued || lane.is_blocked || !lane.is_alive || !self.has_room(index) {
            return;
        }
        let lane = &mut self.lanes[index];
        lane.is_queued = true;
        self.groups[lane.group].ready.push_back(index);
    }

    /// Takes a lane out of its group's queue.
    fn unqueue(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        if !std::mem::take(&mut lane.is_queued) {
            return;
        }
        let ready = &mut self.groups[lane.group].ready;
        // Nearly always it has just been put at the end.
        if ready.back() == Some(&index) {
            ready.pop_back();
        } else {
            ready.retain(|&other| other != index);
        }
    }

    /// A message of this lane has been settled at `now`.
    fn free_place(&mut self, index: usize, now: Nanos) {
        let lane = &mut self.lanes[index];
        if matches!(self.groups[lane.group].want, Want::Answers) {
            lane.places.push_back(now);
        }
        self.queue(index);
    }

    fn expire(&mut self, index: usize, now: Nanos) {
        let lane = &mut self.lanes[index];
        let group = &mut self.groups[lane.group];
        match &mut lane.book {
            Book::Datagrams(ledger) => {
                let lost = ledger.expire(now);
                group.recorder.counts.lost += lost as u64;
                for _ in 0..lost {
                    self.free_place(index, now);
                }
            }
            Book::Stream(ledger) => {
                if ledger.oldest_issued().is_some_and(|issued| now.saturating_sub(issued) > group.timeout) {
                    group.recorder.endings.timed_out += 1;
                    self.abandon(index);
                    self.doomed.push(index);
                }
            }
        }
    }

    /// Takes a stream out of service and settles what was under way on it.
    fn abandon(&mut self, index: usize) {
        self.unqueue(index);
        let lane = &mut self.lanes[index];
        let group = &mut self.groups[lane.group];
        lane.is_alive = false;
        group.alive -= 1;
        if let Book::Stream(ledger) = &mut lane.book {
            let abandoned = ledger.abandon();
            let truncated = u64::from(abandoned.partly_answered);
            let counts = &mut group.recorder.counts;
            counts.truncated += truncated;
            counts.wrong += truncated;
            counts.lost += abandoned.in_flight as u64 - truncated;
        }
    }

    fn end_sending(&mut self, now: Nanos) {
        self.ended = now;
        let longest_timeout = self.groups.iter().map(|group| group.timeout).max().unwrap_or(0);
        // One sweep past the last deadline: by then everything has been settled by its own timeout.
        self.phase = Phase::Draining { not_before: now + LINGER, until: now + longest_timeout + 2 * SWEEP };
        for group in &mut self.groups {
            let counts = &mut group.recorder.counts;
            counts.scheduled = match &group.want {
                Want::Nothing | Want::Answers => 0,
                // A run that ends by its number of messages leaves nothing undone.
                Want::Arrivals { .. } if self.messages_left == 0 => 0,
                Want::Arrivals { arrivals, .. } => arrivals.left_before(now - self.started),
            };
            group.want = Want::Nothing;
            group.ready.clear();
        }
        for lane in &mut self.lanes {
            lane.is_queued = false;
        }
    }

    fn end_stage(&mut self) {
        self.phase = Phase::Idle;
        for group in &mut self.groups {
            let lanes = &self.lanes[group.lanes.clone()];
            let (mut in_flight, mut outstanding) = (0, 0);
            for lane in lanes {
                outstanding += lane.outstanding();
                in_flight += match &lane.book {
                    Book::Datagrams(ledger) => ledger.in_flight(),
                    Book::Stream(ledger) => ledger.in_flight(),
                };
            }
            let counts = &mut group.recorder.counts;
            counts.in_flight_at_end = in_flight as u64;
            counts.scheduled += counts.sent + (outstanding - in_flight) as u64;
            debug_assert!(counts.is_balanced(), "{counts:?}");
        }
    }

    fn recorder(&mut self, lane: usize) -> &mut Recorder {
        &mut self.groups[self.lanes[lane].group].recorder
    }
}
