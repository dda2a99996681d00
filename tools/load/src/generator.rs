//! The shell around the engine: one thread, one `mio::Poll`, all the sockets. Does I/O.
//!
//! ```text
//! loop {
//!     poll(until the engine wants to wake)
//!     note what the kernel said
//!     receive, up to a budget on each lane that may have something
//!     look at the deadlines
//!     send what is due, up to a budget
//! }
//! ```
//!
//! Readiness is edge-triggered: a lane is read until it has nothing left or owes nothing more, and one that was cut off
//! by its budget stays in the queue, because no edge follows for what is already there.

mod churn;
mod effort;
mod receiving;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};
use shout::batch::Batch;

use crate::clock::{Clock, Nanos};
use crate::engine::{Ending, Engine, LaneGroup, Stage, Transport};
use crate::outbox::Room;
use crate::pace::Pacer;
use crate::payload::Payload;
use crate::plan::Plan;
use crate::sockets::{AfterFlush, DatagramLane, DatagramUse, Dialled, Opening, Sources, StreamLane, open_datagrams};
use crate::stamps::Sampler;
use crate::team::Share;
pub use churn::Churned;
use churn::Replacing;
pub use effort::Effort;
use effort::Meter;

/// Lanes that are read before anything is sent: the larger, the longer a free place in a window waits to be filled.
const LANE_BUDGET: usize = 16;

/// Sends before answers are looked for again, for the same reason.
const SEND_BUDGET: usize = 16;

/// Room for a good stretch of a stream.
const SCRATCH: usize = 256 << 10;

/// How often the caller of [`Generator::run`] is asked whether to go on.
const WATCH_INTERVAL: Nanos = 50_000_000;

const TIMER: Token = Token(usize::MAX - 1);

#[derive(Debug)]
enum Socket {
    Datagrams(DatagramLane),
    Stream(StreamLane),
    /// A connection that is to take the place of one that was retired.
    Opening(Opening),
    /// A connection that ended.
    Gone,
}

/// What the caller wants of a running stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Go on.
    Continue,
    /// Send nothing more, wait for what is under way, and end.
    Stop,
    /// End at once.
    Abort,
}

/// A load generator with open sockets. Several stages can run on them one after the other.
#[derive(Debug)]
pub struct Generator {
    poll: Poll,
    events: Events,
    clock: Clock,
    pacer: Pacer,
    engine: Engine,
    sockets: Vec<Socket>,
    /// Lanes that may have something to read.
    readable: VecDeque<usize>,
    is_queued: Vec<bool>,
    /// Lanes whose peer has announced the end of its stream.
    is_ending: Vec<bool>,
    /// Lanes that were blocked and have room again; kept for its memory.
    writable: Vec<usize>,
    scratch: Vec<u8>,
    batch: Batch,
    sampler: Sampler,
    /// Only where connections are replaced.
    replacing: Option<Replacing>,
    connect_times: Histogram<u64>,
    opened: usize,
    opening_time: Nanos,
    /// Of the last stage, from the end of its sending on.
    effort: Option<Effort>,
    broken_by: Option<io::Error>,
}

impl Generator {
    /// Opens every socket of the plan. It tells the time by `clock`. `tell` is told now and then how many connections are open, and may end it:
    /// [`io::ErrorKind::Interrupted`].
    pub fn open(
        plan: &Plan,
        address: SocketAddr,
        clock: Clock,
        tell: &mut dyn FnMut(usize) -> bool,
    ) -> io::Result<Self> {
        let mut poll = Poll::new()?;
        let mut sockets = Vec::new();
        let mut groups = Vec::new();
        let mut connect_times = crate::recorder::histogram();
        let (mut opened, mut opening_time) = (0, 0);
        let stamps = plan.stamp_one_in > 0;
        let mut dialler = plan.crowd.dialler(address);
        for (transport, lanes, timeout) in plan.transports() {
            let first = sockets.len();
            match transport {
                Transport::Udp => {
                    let purpose = DatagramUse {
                        sources: Sources::new(plan.crowd.source),
                        longest_message: plan.content.longest(),
                        longest_train: plan.longest_train,
                        stamps,
                    };
                    let lanes = open_datagrams(&poll, address, lanes, purpose, first)?;
                    sockets.extend(lanes.into_iter().map(Socket::Datagrams));
                }
                Transport::Tcp => {
                    let Dialled { streams, times, took } = dialler.open(&mut poll, lanes, first, tell)?;
                    opened += streams.len();
                    (connect_times, opening_time) = (times, took);
                    sockets.extend(streams.into_iter().map(|stream| Socket::Stream(StreamLane::new(stream, stamps))));
                }
            }
            groups.push(LaneGroup { transport, lanes, timeout });
        }
        let mut engine = Engine::new(Payload::new(plan.content.clone(), plan.seed), &groups);
        if let Some(lifetime) = plan.crowd.churn {
            engine.churn(lifetime);
        }
        Ok(Generator {
            pacer: Pacer::new(poll.registry(), TIMER, clock, plan.pace)?,
            poll,
            events: Events::with_capacity(1024),
            clock,
            engine,
            replacing: plan.crowd.churn.map(|_| Replacing::new(dialler, sockets.len())),
            readable: VecDeque::with_capacity(sockets.len()),
            is_queued: vec![false; sockets.len()],
            is_ending: vec![false; sockets.len()],
            sockets,
            writable: Vec::new(),
            scratch: vec![0; SCRATCH],
            batch: Batch::new(1),
            sampler: Sampler::new(plan.stamp_one_in),
            connect_times,
            opened,
            opening_time,
            effort: None,
            broken_by: None,
        })
    }

    /// The engine, with what the last stage measured.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What its thread did in the last stage.
    pub fn effort(&self) -> Effort {
        self.effort.unwrap_or_default()
    }

    /// Processor time that it has spent on nothing but waiting for a time, so far.
    pub fn spun(&self) -> Nanos {
        self.pacer.spun()
    }

    /// This generator makes one share of the load: see [`Engine::take_part`].
    pub fn take_part(&mut self, share: Share, first_lane: u16) {
        self.engine.take_part(share, first_lane);
    }

    /// See [`Engine::load_only`].
    pub fn load_only(&mut self, only: Option<Transport>) {
        self.engine.load_only(only);
    }

    /// Cuts every stage from now on into intervals of this length, above 0.
    pub fn record_intervals(&mut self, length: Nanos) {
        self.engine.record_intervals(length);
    }

    /// How long each TCP connection took to open.
    pub fn connect_times(&self) -> &Histogram<u64> {
        &self.connect_times
    }

    /// TCP connections opened.
    pub fn opened(&self) -> usize {
        self.opened
    }

    /// How long that took.
    pub fn opening_time(&self) -> Nanos {
        self.opening_time
    }

    /// What the last stage did to its connections, where they are replaced.
    pub fn churned(&self) -> Option<&Churned> {
        self.replacing.as_ref().map(Replacing::done)
    }

    /// The first error that took a socket out of service.
    pub fn broken_by(&self) -> Option<&io::Error> {
        self.broken_by.as_ref()
    }

    /// Runs a stage that began at `began`, which has passed, to its end. `watch` is asked now and then whether to go on.
    pub fn run(
        &mut self,
        stage: &Stage,
        began: Nanos,
        watch: &mut dyn FnMut(&Engine, Nanos) -> Wish,
    ) -> io::Result<()> {
        for socket in &mut self.sockets {
            if let Socket::Datagrams(lane) = socket {
                lane.clear();
            }
        }
        self.effort = None;
        let meter = Meter::start(began, self.pacer.spun());
        self.engine.begin(stage, began);
        if let Some(replacing) = &mut self.replacing {
            replacing.begin(began);
        }
        let mut watch_at = began;
        loop {
            let now = self.turn()?;
            if self.effort.is_none() && !self.engine.is_sending() {
                self.effort = Some(meter.read(now, self.pacer.spun()));
                watch_at = now;
            }
            if self.engine.is_idle() {
                return Ok(());
            }
            if !self.engine.has_live_lanes() {
                self.engine.stop(now);
            }
            if now >= watch_at {
                watch_at = now + WATCH_INTERVAL;
                match watch(&self.engine, now - began) {
                    Wish::Continue => {}
                    Wish::Stop => self.engine.stop(now),
                    Wish::Abort => {
                        self.engine.cut_off(now);
                        self.effort.get_or_insert_with(|| meter.read(now, self.pacer.spun()));
                        // Another turn would wait for ever: nothing is due any more, and a silent server wakes nobody.
                        return Ok(());
                    }
                }
            }
        }
    }

    /// One pass of the loop. Returns the time at its end, or a little before.
    fn turn(&mut self) -> io::Result<Nanos> {
        let began = self.clock.now();
        let has_queued = !self.readable.is_empty();
        let timeout = if has_queued {
            Some(Duration::ZERO)
        } else {
            self.pacer.timeout(began, self.engine.wake_at(), self.engine.send_at())?
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            outcome => outcome?,
        }
        let is_idle = self.events.is_empty() && !has_queued;
        self.note_events();
        // What its budget cuts off goes to the back of the queue, for a later turn.
        for _ in 0..self.readable.len().min(LANE_BUDGET) {
            if let Some(lane) = self.readable.pop_front() {
                self.is_queued[lane] = false;
                self.receive(lane);
            }
        }
        let mut now = self.clock.now();
        if is_idle {
            self.pacer.idle_turn(began, now);
        }
        self.engine.tick(now);
        while let Some(lane) = self.engine.take_doomed() {
            self.sockets[lane] = Socket::Gone;
        }
        if self.replacing.is_some() {
            self.replace_retired(now);
        }
        for _ in 0..SEND_BUDGET {
            let Some(lane) = self.engine.next_sender(now) else { break };
            // The time of this send serves to find the next one: a reading of the clock costs as much as all the rest
            // of the accounts of a message.
            now = self.send(lane, now);
        }
        Ok(now)
    }

    fn note_events(&mut self) {
        for event in &self.events {
            let lane = event.token().0;
            if lane >= self.sockets.len() {
                continue; // The timer: waking up was all.
            }
            // The stamp of a departure is announced as an error, and is no end. A failed connection is closed as well.
            self.is_ending[lane] |= event.is_read_closed();
            let may_read = event.is_readable() || event.is_error() || self.is_ending[lane];
            if may_read && !self.is_queued[lane] {
                self.is_queued[lane] = true;
                self.readable.push_back(lane);
            }
            let has_waiting = match &self.sockets[lane] {
                Socket::Datagrams(lane) => lane.has_waiting(),
                Socket::Stream(lane) => lane.has_waiting(),
                Socket::Opening(_) => true,
                Socket::Gone => false,
            };
            if event.is_writable() && has_waiting {
                self.writable.push(lane);
            }
        }
        while let Some(lane) = self.writable.pop() {
            if matches!(self.sockets[lane], Socket::Opening(_)) {
                self.attempt_goes_on(lane);
            } else {
                self.flush(lane, false, false);
            }
        }
    }

    /// Composes what is due on a lane and sends it. Returns the time at which it was sent.
    fn send(&mut self, lane: usize, now: Nanos) -> Nanos {
        // There is one stamp at a time on a lane. A datagram with one has a call to itself; on a stream it is the last of
        // its call, whose answer is the likeliest to come last.
        let is_due = self.sampler.is_due(now) && !self.engine.awaits_sample(lane);
        match &mut self.sockets[lane] {
            Socket::Datagrams(socket) => {
                let room = if is_due && socket.is_stamped() { Room::ONE } else { socket.room() };
                self.engine.compose(lane, now, room, socket.outbox());
            }
            Socket::Stream(socket) => self.engine.compose(lane, now, StreamLane::ROOM, socket.outbox()),
            Socket::Opening(_) | Socket::Gone => return now,
        }
        self.flush(lane, true, is_due)
    }

    /// Sends what waits on a lane, and returns the time at which it did. `is_new`: the lane was not known to be blocked.
    fn flush(&mut self, lane: usize, is_new: bool, with_stamp: bool) -> Nanos {
        let issued_at = self.clock.now();
        let flush = match &mut self.sockets[lane] {
            Socket::Datagrams(socket) => socket.flush(with_stamp && socket.is_stamped()),
            Socket::Stream(socket) => socket.flush(with_stamp && socket.is_stamped()),
            Socket::Opening(_) | Socket::Gone => return issued_at,
        };
        self.engine.sent(lane, flush.issued, issued_at);
        if flush.stamped {
            self.engine.sampled(lane);
            self.sampler.took(issued_at);
        } else {
            self.sampler.passed(flush.issued);
        }
        self.engine.unsent(lane, flush.unsent);
        self.engine.refused(lane, flush.refused, issued_at);
        match flush.next {
            AfterFlush::Continue if is_new => {}
            AfterFlush::Continue => self.engine.unblocked(lane),
            AfterFlush::Wait if is_new => self.engine.blocked(lane),
            AfterFlush::Wait => {}
            AfterFlush::Broken(error) => {
                self.broken_by.get_or_insert(error);
                self.end(lane, Ending::Reset, issued_at);
            }
        }
        issued_at
    }

    fn end(&mut self, lane: usize, ending: Ending, now: Nanos) {
        self.engine.stream_ended(lane, ending, now);
        self.sockets[lane] = Socket::Gone;
    }
}
