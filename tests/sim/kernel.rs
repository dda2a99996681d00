//! The simulated kernel: time and readiness. Nothing else tells the server anything.
//!
//! Readiness follows the rules of edge-triggered epoll, as probed on Linux: a change puts a source on the list of
//! pending ones; a wait takes sources off that list and reports what is true of them at that moment, all at once. What
//! is true but has not changed is not reported again, which is why a server that leaves work undone must remember it.

use std::collections::VecDeque;
use std::fmt::Arguments;
use std::io;
use std::time::{Duration, Instant};

use mio::Token;
use rustix::io::Errno;

use crate::datagrams::Udp;
use crate::knobs::Knobs;
use crate::oracles::{Oracle, Violation};
use crate::peer::Peer;
use crate::random::Random;
use crate::stopping::Stop;
use crate::stream::Socket;

/// The most system calls in a turn: far more than any turn of the largest crowd makes.
const CALLS_MAX: usize = 100_000;

/// What can become ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Udp,
    Listener,
    Stream(usize),
}

/// Whom an event is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Udp,
    Listener,
    Connection(Token),
}

#[derive(Debug, Clone, Copy)]
pub struct Event {
    pub key: Key,
    pub readable: bool,
    pub writable: bool,
    pub read_closed: bool,
}

/// How long a wait may sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    None,
    Until(Instant),
    Forever,
}

/// Whether an idle connection may give way to one that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Nobody is known to wait for it.
    Enough,
    /// The server has asked and been told that somebody waits. One connection may be asked to end for him.
    Wanted,
    /// This one has been.
    MadeBy(usize),
}

/// What the counters must say of the streams at the end.
#[derive(Debug, Default)]
pub struct Tally {
    pub read: u64,
    pub discarded: u64,
    pub written: u64,
    pub lost: u64,
    pub accepted: u64,
    pub accept_skipped: u64,
    pub accept_paused: u64,
}

pub struct Kernel {
    pub knobs: Knobs,
    pub random: Random,
    pub now: Instant,
    start: Instant,
    verbose: bool,
    pub violation: Option<Violation>,
    /// The list of epoll: what has changed since it was last reported.
    pub pending: Vec<Source>,
    /// One for each peer, under the same number, from the start.
    pub sockets: Vec<Socket>,
    pub peers: Vec<Peer>,
    pub backlog: VecDeque<usize>,
    pub udp: Udp,
    /// By connections of the server.
    pub descriptors_used: usize,
    /// By somebody else, for a while.
    pub descriptors_taken: usize,
    pub others_wake: Instant,
    /// Whether a connection has been closed since descriptors last ran out.
    pub close_since_exhausted: bool,
    pub listener_open: bool,
    /// What the server has been told of its end.
    pub stop: Stop,
    /// It closes everybody right now.
    pub cutting_off: bool,
    pub room: Room,
    /// Turns for which somebody with little to say is still taken to be about.
    pub shared_turns: u32,
    /// Connections accepted in this turn, and failures to accept that were each some connection's own.
    pub accepts: usize,
    pub skips: usize,
    pub progress: bool,
    pub empty_turns: usize,
    /// System calls in this turn.
    pub calls: usize,
    pub tally: Tally,
}

impl Kernel {
    pub fn new(seed: u64, verbose: bool) -> Kernel {
        let (knobs, random) = (Knobs::draw(seed), Random::named(seed, "run"));
        let now = Instant::now();
        let mut kernel = Kernel {
            udp: Udp::new(&knobs.udp, now),
            knobs,
            random,
            now,
            start: now,
            verbose,
            violation: None,
            pending: Vec::new(),
            sockets: Vec::new(),
            peers: Vec::new(),
            backlog: VecDeque::new(),
            descriptors_used: 0,
            descriptors_taken: 0,
            others_wake: now,
            close_since_exhausted: false,
            listener_open: true,
            stop: Stop::default(),
            cutting_off: false,
            room: Room::Enough,
            shared_turns: 0,
            accepts: 0,
            skips: 0,
            progress: false,
            empty_turns: 0,
            calls: 0,
            tally: Tally::default(),
        };
        for _ in 0..kernel.knobs.peers {
            kernel.add_peer();
        }
        kernel
    }

    /// Ends the faults.
    pub fn calm(&mut self) {
        self.say(format_args!("from here on nothing goes wrong"));
        self.knobs.calm();
        self.descriptors_taken = 0;
    }

    /// Prints one line of a replayed run.
    pub fn say(&self, what: Arguments) {
        if self.verbose {
            eprintln!("{:>10.3} ms  {what}", (self.now - self.start).as_secs_f64() * 1e3);
        }
    }

    /// Notes the first broken promise; what follows from it is of no interest.
    pub fn violate(&mut self, oracle: Oracle, what: impl Into<String>) {
        let what = what.into();
        self.say(format_args!("VIOLATION {oracle:?}: {what}"));
        self.violation.get_or_insert(Violation { oracle, what });
    }

    /// Something happened, so that the loop does not spin.
    pub fn progress(&mut self) {
        self.progress = true;
    }

    /// Something changed: it will be reported once.
    pub fn edge(&mut self, source: Source) {
        let registered = match source {
            Source::Udp => self.udp.open,
            Source::Listener => self.listener_open,
            Source::Stream(id) => self.sockets[id].token.is_some() && self.sockets[id].closed.is_none(),
        };
        if registered && !self.pending.contains(&source) {
            self.pending.push(source);
        }
    }

    /// What is true of a source now; `None` if nothing is.
    fn level(&mut self, source: Source) -> Option<Event> {
        let event = match source {
            Source::Udp => {
                let (readable, has_room) = (self.udp.is_readable(), self.udp.is_writable(&self.knobs.udp));
                self.udp.no_space |= !has_room;
                let writable = has_room && self.udp.room_watched;
                Event { key: Key::Udp, readable, writable, read_closed: false }
            }
            Source::Listener => {
                let readable = !self.backlog.is_empty();
                Event { key: Key::Listener, readable, writable: false, read_closed: false }
            }
            Source::Stream(id) => {
                let socket = &mut self.sockets[id];
                let readable = socket.arrived > socket.read || socket.end_arrived || socket.reset;
                let writable = socket.is_writable(self.knobs.send_buffer);
                // As `tcp_poll` does: who has been told that there is no room is told when there is.
                socket.no_space |= !writable;
                let key = Key::Connection(socket.token?);
                Event { key, readable, writable, read_closed: socket.end_arrived || socket.reset }
            }
        };
        (event.readable || event.writable).then_some(event)
    }

    /// Registers a stream, once, for both directions.
    pub fn register(&mut self, id: usize, token: Token) -> io::Result<()> {
        if self.random.one_in(self.knobs.faults.registration) {
            return Err(Errno::NOSPC.into());
        }
        self.sockets[id].token = Some(token);
        self.edge(Source::Stream(id));
        Ok(())
    }

    /// The wait of the loop. `None` when nothing will ever happen again.
    pub fn wait(&mut self, patience: Patience) -> Option<Vec<Event>> {
        self.now += Duration::from_millis(self.random.between(0, self.knobs.turn_ms_max) as u64);
        self.give_up_on_the_deaf();
        while self.random.one_in(2) && self.act() {}
        if self.random.one_in(self.knobs.faults.interrupted) {
            self.progress();
            return Some(Vec::new());
        }
        if patience != Patience::None && self.pending.is_empty() {
            self.check_rest(patience);
        }
        let mut slept = false;
        while self.pending.is_empty() && patience != Patience::None && self.violation.is_none() {
            if self.act() {
                slept = true;
                continue;
            }
            let deadline = if let Patience::Until(deadline) = patience { Some(deadline) } else { None };
            let next = [deadline, self.next_wake()].into_iter().flatten().min()?;
            slept |= next > self.now;
            self.now = self.now.max(next);
            if deadline == Some(next) {
                break;
            }
        }
        // What happens while the waking loop has not asked yet is part of the same report.
        while self.random.one_in(2) && self.act() {}
        let count = self.pending.len().min(self.knobs.events_max);
        let sources: Vec<Source> = self.pending.drain(..count).collect();
        let mut events: Vec<Event> = sources.into_iter().filter_map(|source| self.level(source)).collect();
        if self.random.one_in(self.knobs.faults.spurious) {
            let keys = [Key::Udp, Key::Listener, Key::Connection(Token(self.random.below(8)))];
            let key = self.random.pick(&keys);
            let [readable, writable] = [self.random.one_in(2), self.random.one_in(2)];
            events.push(Event { key, readable, writable, read_closed: self.random.one_in(4) });
        }
        self.progress |= slept || !events.is_empty();
        self.say(format_args!("wait({patience:?}) = {events:?}"));
        Some(events)
    }

    /// Lets somebody outside the server do one thing, if anyone can. Says whether.
    pub fn act(&mut self) -> bool {
        let actors = self.peers.len() + 2;
        let first = self.random.below(actors);
        for actor in (first..actors).chain(0..first) {
            if self.wake_of(actor).is_some_and(|wake| wake <= self.now) {
                match actor.checked_sub(self.peers.len()) {
                    None => self.peer_acts(actor),
                    Some(0) => self.udp_acts(),
                    Some(_) => self.others_act(),
                }
                return true;
            }
        }
        false
    }

    /// A system call takes time, in which the world goes on.
    pub fn preempt(&mut self) {
        self.calls += 1;
        if self.calls > CALLS_MAX {
            self.violate(Oracle::Spin, "a turn does not end");
        }
        if self.random.one_in(self.knobs.faults.preempted) {
            self.act();
        }
    }

    fn wake_of(&self, actor: usize) -> Option<Instant> {
        match self.peers.get(actor) {
            Some(peer) => peer.wake,
            None if actor == self.peers.len() => self.udp.wake,
            None => (self.knobs.descriptors_of_others + self.descriptors_taken > 0).then_some(self.others_wake),
        }
    }

    pub fn next_wake(&self) -> Option<Instant> {
        (0..self.peers.len() + 2).filter_map(|actor| self.wake_of(actor)).min()
    }

    /// The loop is about to sleep, and nothing will wake it that has happened already.
    fn check_rest(&mut self, patience: Patience) {
        if let Patience::Until(deadline) = patience
            && deadline <= self.now
        {
            return;
        }
        let movable =
            self.sockets.iter().position(|socket| socket.is_movable(self.knobs.send_buffer, self.is_draining()));
        if let Some(id) = movable {
            let what = format!("the loop sleeps, and connection {id} could move: {:?}", self.sockets[id]);
            self.violate(Oracle::Liveness, what);
        }
        self.check_udp_rest();
    }
}
