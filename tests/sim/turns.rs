//! The loop under test: the turn of `src/server.rs`, over a simulated kernel instead of `Poll`.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::rc::Rc;

use shout::connections::{CloseWrite, Connections};
use shout::counters::Counters;
use shout::datagrams::{Datagrams, Rules};
use shout::listener::Listener;

use crate::closing::Closing;
use crate::datagrams::{OWN_PORT, Socket};
use crate::kernel::{Kernel, Key, Patience};
use crate::oracles::{Oracle, Violation};
use crate::stream::Stream;
use crate::wrong::Design;

/// More turns than any run has needed by far: whoever does not come to rest by then never does.
const TURNS_MAX: u64 = 50_000;

/// The most turns that it takes to come to rest once nothing goes wrong any more. Of 20,000 runs none took half as many.
const CALM_TURNS_MAX: u64 = 12_000;

pub struct Loop<S> {
    kernel: Rc<RefCell<Kernel>>,
    design: Design,
    socket: Socket,
    datagrams: Datagrams,
    listener: Listener,
    connections: Connections<S>,
    counters: Counters,
}

impl<S: Read + Write + CloseWrite + From<Stream>> Loop<S> {
    pub fn new(kernel: Kernel, design: Design) -> Loop<S> {
        let knobs = kernel.knobs.clone();
        let connections = Connections::new(knobs.case, knobs.chunk_len, knobs.limits, kernel.now);
        let kernel = Rc::new(RefCell::new(kernel));
        let socket = Socket(Rc::clone(&kernel));
        let refused_port = knobs.udp.own_port_refused.then_some(OWN_PORT);
        let rules = Rules { case: knobs.case, refused_port, rate_limit: knobs.udp.rate_limit };
        let datagrams = Datagrams::new(rules, &socket, kernel.borrow().now);
        let (listener, counters) = (Listener::default(), Counters::default());
        Loop { kernel, design, socket, datagrams, listener, connections, counters }
    }

    /// Turns until nothing will ever happen again; then tells the server to stop, and turns on until the end. In some runs
    /// faults end before that, and from then on it is not enough that nothing goes wrong: all must get done, and soon.
    pub fn run(mut self) -> Result<Counters, Violation> {
        while self.counters.turns < TURNS_MAX {
            let at_rest = !self.turn();
            if let Some(violation) = self.kernel.borrow_mut().violation.take() {
                return Err(violation);
            }
            let calm_for = self.kernel.borrow().calm_at_turn.and_then(|turn| self.counters.turns.checked_sub(turn));
            if calm_for == Some(0) {
                self.kernel.borrow_mut().calm();
            }
            if calm_for > Some(CALM_TURNS_MAX) {
                let what = format!("not at rest {CALM_TURNS_MAX} turns after the last fault");
                return Err(Violation { oracle: Oracle::Liveness, what });
            }
            let draining = self.kernel.borrow().draining;
            if at_rest && draining {
                return self.end();
            }
            let told = self.kernel.borrow().knobs.drain_at_turn.is_some_and(|turn| turn <= self.counters.turns);
            if !draining && (at_rest || told) {
                self.drain();
            }
            if self.kernel.borrow().knobs.cut_off_at_turn == Some(self.counters.turns) {
                self.kernel.borrow_mut().cutting_off = true;
                self.connections.cut_off(&mut self.counters);
                self.listener.resume();
                self.kernel.borrow_mut().cutting_off = false;
            }
        }
        Err(Violation { oracle: Oracle::Spin, what: format!("not at rest after {TURNS_MAX} turns") })
    }

    /// One pass of the loop. False when nothing will ever happen again.
    fn turn(&mut self) -> bool {
        let patience = self.patience();
        let room = self.connections.room();
        self.kernel.borrow_mut().check_listener_rest(room, self.listener.is_paused(), patience);
        let Some(events) = self.kernel.borrow_mut().wait(patience) else { return false };
        let now = self.kernel.borrow().now;
        self.counters.turns += 1;
        for event in events {
            match event.key {
                Key::Udp => self.datagrams.note(event.readable, event.writable),
                Key::Listener => self.listener.note(),
                Key::Connection(token) => {
                    let hint = event.read_closed && self.design != Design::ShortReadWithoutHint;
                    // The hoard is flushed before a read, so that one is attempted at every event.
                    let readable = event.readable || self.design == Design::ReadingWhileUnsent;
                    self.connections.note(token, readable, event.writable, hint);
                }
            }
        }
        let received = self.counters.udp_received;
        self.datagrams.turn(&mut self.socket, now, &mut self.counters);
        if self.counters.udp_received > received {
            self.connections.share();
        }
        self.kernel.borrow_mut().watch_room(self.datagrams.waits_for_room());
        self.accept();
        let before = self.connections.len();
        self.connections.turn(now, &mut self.counters);
        self.kernel.borrow_mut().renew_budgets();
        self.connections.expire(now, &mut self.counters);
        if self.connections.len() < before {
            self.listener.resume();
        }
        let knows = self.design != Design::ReadingWhileUnsent;
        self.kernel.borrow_mut().end_turn(knows.then(|| self.connections.unsent()), self.connections.len());
        true
    }

    /// Not at all while work is queued, otherwise until a deadline. The wrong designs forget one kind of work.
    fn patience(&self) -> Patience {
        let connections = self.connections.has_work() && self.design != Design::BudgetWithoutReadyQueue;
        let datagrams = self.datagrams.has_work() && self.design != Design::DatagramsTrustEdges;
        let listener =
            self.listener.has_work() && self.connections.room() > 0 && self.design != Design::AcceptTrustsEdges;
        if connections || datagrams || listener {
            return Patience::None;
        }
        let room = if self.listener.has_work() { self.connections.room_deadline() } else { None };
        let deadlines = [self.datagrams.deadline(), self.listener.deadline(), self.connections.deadline(), room];
        let deadline = deadlines.into_iter().flatten().min();
        deadline.map_or(Patience::Forever, Patience::Until)
    }

    fn accept(&mut self) {
        let (kernel, connections) = (&self.kernel, &mut self.connections);
        let now = kernel.borrow().now;
        if self.listener.is_paused() || (self.listener.has_work() && connections.room() == 0) {
            if kernel.borrow().backlog.is_empty() {
                self.listener.note_empty();
            } else {
                kernel.borrow_mut().making_room = true;
                if self.listener.may_make_room() && connections.make_room(now, &mut self.counters) {
                    self.listener.note_room();
                }
                kernel.borrow_mut().making_room = false;
                kernel.borrow_mut().renew_budgets();
            }
        }
        let accept = || Kernel::accept(kernel);
        self.listener.turn(now, connections.room(), &mut self.counters, accept, |stream, counters| {
            let id = stream.id();
            let token = connections.insert(S::from(stream), now);
            let registered = kernel.borrow_mut().register(id, token);
            if registered.is_err() {
                connections.reject(token, counters);
            }
        });
    }

    /// What SIGTERM does.
    fn drain(&mut self) {
        let mut kernel = self.kernel.borrow_mut();
        kernel.say(format_args!("the server is told to stop"));
        kernel.draining = true;
        drop(kernel);
        self.listener.note();
        self.listener.resume();
        self.datagrams.note(true, false);
        self.connections.retire_all();
    }

    /// Whether all is well that ended.
    fn end(self) -> Result<Counters, Violation> {
        let mut kernel = self.kernel.borrow_mut();
        let left = self.connections.len() + kernel.backlog.len();
        if left > 0 {
            kernel.violate(Oracle::Liveness, format!("{left} connections are left for ever"));
        }
        kernel.check_peers();
        kernel.check_udp_end(&self.counters);
        self.check_counters(&mut kernel);
        match kernel.violation.take() {
            Some(violation) => Err(violation),
            None => Ok(self.counters),
        }
    }

    fn check_counters(&self, kernel: &mut Kernel) {
        let (counters, tally) = (&self.counters, &kernel.tally);
        let rows = [
            ("tcp_received_bytes", counters.tcp_received_bytes, tally.read),
            ("tcp_discarded_bytes", counters.tcp_discarded_bytes, tally.discarded),
            ("tcp_sent_bytes", counters.tcp_sent_bytes, tally.written),
            ("tcp_unsent_lost_bytes", counters.tcp_unsent_lost_bytes, tally.lost),
            ("tcp_accepted", counters.tcp_accepted, tally.accepted),
            ("tcp_accept_skipped", counters.tcp_accept_skipped, tally.accept_skipped),
            ("tcp_accept_paused", counters.tcp_accept_paused, tally.accept_paused),
            (
                "tcp_finished",
                counters.tcp_finished,
                kernel.closed(Closing::Finished) + kernel.closed(Closing::Lingered),
            ),
            ("tcp_broken", counters.tcp_broken, kernel.closed(Closing::Broken) + kernel.closed(Closing::Rejected)),
            ("tcp_cut_off", counters.tcp_cut_off, kernel.closed(Closing::CutOff)),
            ("tcp_closed_idle", counters.tcp_closed_idle, kernel.closed(Closing::Idle)),
            ("tcp_closed_for_room", counters.tcp_closed_for_room, kernel.closed(Closing::Room)),
            ("tcp_closed_stalled", counters.tcp_closed_stalled, kernel.closed(Closing::Stalled)),
            ("tcp_closed_unsent", counters.tcp_closed_unsent, kernel.closed(Closing::Unsent)),
        ];
        for (name, counted, truth) in rows {
            if counted != truth {
                kernel.violate(Oracle::Counters, format!("{name} is {truth}, not {counted}"));
            }
        }
    }
}
