//! The loop under test: the server's own turn, over a simulated kernel instead of `Poll`. What is left to this file is
//! what `src/server.rs` does around it: wait, note, take the signals.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use shout::connections::Connections;
use shout::counters::Counters;
use shout::datagrams::Rules;
use shout::service::{Ending, Service};

use crate::calls::{Calls, Handle};
use crate::datagrams::{OWN_PORT, Socket};
use crate::kernel::{Event, Kernel, Key, Patience};
use crate::oracles::{Oracle, Violation};
use crate::wrong::Design;

/// More turns than any run has needed by far: whoever does not come to rest by then never does.
const TURNS_MAX: u64 = 50_000;

/// The most turns that it takes to come to rest once nothing goes wrong any more. Of 20,000 runs none took half as many.
const CALM_TURNS_MAX: u64 = 12_000;

/// The signal that asks once more.
const SIGNAL: i32 = 15;

pub struct Loop<S: Handle> {
    kernel: Rc<RefCell<Kernel>>,
    calls: Calls<S>,
    design: Design,
    service: Service<Calls<S>>,
    counters: Counters,
}

impl<S: Handle> Loop<S> {
    pub fn new(kernel: Kernel, design: Design) -> Loop<S> {
        let (knobs, now) = (kernel.knobs.clone(), kernel.now);
        let connections = Connections::new(knobs.case, knobs.chunk_len, knobs.limits, now);
        let kernel = Rc::new(RefCell::new(kernel));
        let socket = Socket(Rc::clone(&kernel));
        let refused_port = knobs.udp.own_port_refused.then_some(OWN_PORT);
        let rules = Rules { case: knobs.case, refused_port, rate_limit: knobs.udp.rate_limit };
        let service = Service::new(Some((socket, rules)), Some(()), connections, knobs.passed, now);
        Loop { calls: Calls::new(&kernel), kernel, design, service, counters: Counters::default() }
    }

    /// Held no longer than a statement, for every system call needs it.
    fn kernel(&self) -> RefMut<'_, Kernel> {
        self.kernel.borrow_mut()
    }

    /// Turns until the end. The server is told to stop at some turn, or when nothing will ever happen again. In some runs
    /// faults end before that, and from then on it is not enough that nothing goes wrong: all must get done, and soon.
    pub fn run(mut self) -> Result<Counters, Violation> {
        while self.counters.turns < TURNS_MAX {
            self.turn();
            let ending = self.ending();
            if let Some(violation) = self.kernel().violation.take() {
                return Err(violation);
            }
            if let Some(ending) = ending {
                return self.end(ending);
            }
            let calm_for = self.kernel().knobs.calm_at_turn.and_then(|turn| self.counters.turns.checked_sub(turn));
            if calm_for == Some(0) {
                self.kernel().calm();
            }
            if calm_for > Some(CALM_TURNS_MAX) {
                let what = format!("not at rest {CALM_TURNS_MAX} turns after the last fault");
                return Err(Violation { oracle: Oracle::Liveness, what });
            }
        }
        Err(Violation { oracle: Oracle::Spin, what: format!("not at rest after {TURNS_MAX} turns") })
    }

    /// One pass of the loop.
    fn turn(&mut self) {
        let patience = self.patience();
        let (room, is_paused) = (self.service.connections().room(), self.service.listener().is_paused());
        self.kernel().check_listener_rest(room, is_paused, patience);
        self.kernel().check_stopping_rest(patience);
        let events = self.kernel().wait(patience);
        self.counters.turns += 1;
        let nothing_will_happen = events.is_none();
        for event in events.into_iter().flatten() {
            self.note(event);
        }
        self.take_signals(nothing_will_happen);
        let now = self.kernel().begin_turn();
        self.service.turn(now, &self.calls, &mut self.counters);
        let knows = self.design != Design::ReadingWhileUnsent;
        let connections = self.service.connections();
        let (unsent, count) = (knows.then(|| connections.unsent()), connections.len());
        self.kernel().end_turn(unsent, count);
    }

    fn note(&mut self, event: Event) {
        match event.key {
            Key::Udp => self.service.note_datagrams(event.readable, event.writable),
            Key::Listener => self.service.note_listener(),
            Key::Connection(token) => {
                let hint = event.read_closed && self.design != Design::ShortReadWithoutHint;
                // The hoard is flushed before a read, so that one is attempted at every event.
                let readable = event.readable || self.design == Design::ReadingWhileUnsent;
                self.service.note_connection(token, readable, event.writable, hint);
            }
        }
    }

    /// Not at all while work is queued, otherwise until a deadline. The wrong designs forget one kind of work.
    fn patience(&self) -> Patience {
        let service = &self.service;
        let connections = service.connections().has_work();
        let datagrams = service.datagrams().is_some_and(shout::datagrams::Datagrams::has_work);
        let listener = service.listener().has_work() && service.connections().room() > 0;
        let has_work = match self.design {
            Design::Right | Design::ShortReadWithoutHint | Design::ReadingWhileUnsent => service.has_work(),
            Design::BudgetWithoutReadyQueue => datagrams || listener,
            Design::AcceptTrustsEdges => connections || datagrams,
            Design::DatagramsTrustEdges => connections || listener,
        };
        match service.deadline() {
            _ if has_work => Patience::None,
            None => Patience::Forever,
            Some(deadline) => Patience::Until(deadline),
        }
    }

    /// SIGTERM, as the seed has it, and once more; or because there is nothing else to wait for.
    fn take_signals(&mut self, nothing_will_happen: bool) {
        let turn = Some(self.counters.turns);
        let again = self.kernel().knobs.force_at_turn == turn;
        let first = again || nothing_will_happen || self.kernel().knobs.drain_at_turn == turn;
        if first && !self.service.is_stopping() {
            let deadline = self.kernel().told_to_stop();
            self.service.stop(deadline, &self.counters);
        } else if nothing_will_happen {
            self.kernel().violate(Oracle::Liveness, "told to stop, the server waits for ever");
        }
        if again {
            self.kernel().stop.forced = true;
            self.service.force(SIGNAL);
        }
    }

    /// Whether the server has ended, and whether that was right.
    fn ending(&mut self) -> Option<Ending> {
        let left = self.service.connections().len();
        let mut kernel = self.kernel();
        let (now, forced, late) = (kernel.now, kernel.stop.forced, kernel.is_out_of_time());
        kernel.cutting_off = forced || late;
        drop(kernel);
        let ending = self.service.ending(now, &mut self.counters);
        let mut kernel = self.kernel();
        kernel.cutting_off = false;
        let right = match ending {
            None => !forced && !late,
            Some(Ending::Drained) => !forced && kernel.has_closed_all() && left == 0,
            // An hour is enough for everything.
            Some(Ending::CutOff(count)) => !forced && late && count == left && kernel.knobs.drain_ms.is_some(),
            Some(Ending::Forced(signal)) => forced && signal == SIGNAL,
        };
        if !right {
            let what = format!("told again: {forced}, out of time: {late}, {left} connections: {ending:?}");
            kernel.violate(Oracle::Stopping, what);
        }
        ending
    }

    /// Whether all is well that ended.
    fn end(self, ending: Ending) -> Result<Counters, Violation> {
        let mut kernel = self.kernel.borrow_mut();
        kernel.say(format_args!("the server ends: {ending:?}"));
        kernel.outlive_the_server();
        kernel.check_peers();
        kernel.check_counters(&self.counters);
        match kernel.violation.take() {
            Some(violation) => Err(violation),
            None => Ok(self.counters),
        }
    }
}
