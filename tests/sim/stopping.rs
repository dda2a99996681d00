//! How the server stops under the simulated kernel: what it may close and when, and what must hold once it has gone.

use std::time::{Duration, Instant};

use shout::counters::Counters;

use crate::closing::Closing;
use crate::kernel::{Kernel, Patience, Source};
use crate::oracles::Oracle;

/// How long a server may take to stop that has all the time in the world.
const ALL_THE_TIME: Duration = Duration::from_secs(3600);

/// Sends SIGTERM, and perhaps a second one.
#[derive(Debug, Default)]
pub struct Stop {
    /// When the server's time is over, once it has been told to stop.
    pub deadline: Option<Instant>,
    /// It has been told again.
    pub forced: bool,
    /// Nobody has been waiting to be accepted since.
    pub backlog_found_empty: bool,
}

impl Kernel {
    /// The server is told to stop. When it must have stopped.
    pub fn told_to_stop(&mut self) -> Instant {
        self.say(format_args!("the server is told to stop"));
        let given = self.knobs.drain_ms.map_or(ALL_THE_TIME, Duration::from_millis);
        let deadline = self.now + given;
        self.stop = Stop { deadline: Some(deadline), ..Stop::default() };
        self.udp.found_empty = false;
        deadline
    }

    pub fn is_draining(&self) -> bool {
        self.stop.deadline.is_some()
    }

    /// Whether the queues are for the next server by now.
    pub fn has_left_queues(&self) -> bool {
        self.knobs.passed && self.is_draining()
    }

    pub fn is_out_of_time(&self) -> bool {
        self.stop.deadline.is_some_and(|deadline| deadline <= self.now)
    }

    pub fn has_closed_all(&self) -> bool {
        !self.listener_open && !self.udp.open
    }

    /// What must hold when a server that has been told to stop is about to sleep.
    pub fn check_stopping_rest(&mut self, patience: Patience) {
        let Some(end) = self.stop.deadline else { return };
        let late = match patience {
            Patience::None => false,
            Patience::Until(deadline) => deadline > end,
            Patience::Forever => true,
        };
        if late {
            self.violate(Oracle::Stopping, "the server would sleep beyond the time that it has to stop");
        }
    }

    /// Whoever still stands in the queue is reset, or waits for the next server.
    pub fn close_listener(&mut self) {
        self.preempt();
        let dry = self.stop.backlog_found_empty || self.has_left_queues();
        if !self.is_draining() || !dry {
            self.violate(Oracle::Stopping, format!("the listener is closed over a queue of {}", self.backlog.len()));
        }
        self.say(format_args!("close(listener), {} in its queue", self.backlog.len()));
        self.listener_open = false;
        self.pending.retain(|source| *source != Source::Listener);
        self.turn_away();
        self.progress();
    }

    pub fn close_datagrams(&mut self) {
        self.preempt();
        let dry = self.udp.found_empty || self.has_left_queues();
        if !self.is_draining() || !dry || self.udp.owes() {
            let what = format!("closed with {} in its queue, owes {}", self.udp.queued(), self.udp.owes());
            self.violate(Oracle::Stopping, format!("the UDP socket is {what}"));
        }
        self.say(format_args!("close(udp), {} in its queue", self.udp.queued()));
        self.udp.open = false;
        self.pending.retain(|source| *source != Source::Udp);
        self.progress();
    }

    fn turn_away(&mut self) {
        for id in std::mem::take(&mut self.backlog) {
            self.peers[id].is_aborted();
        }
    }

    /// The server has ended, and its process with it. The others go on until they have nothing left to do.
    pub fn outlive_the_server(&mut self) {
        (self.listener_open, self.udp.open) = (false, false);
        self.turn_away();
        while self.violation.is_none() {
            if !self.act() {
                let Some(next) = self.next_wake() else { return };
                self.now = self.now.max(next);
            }
        }
    }

    /// The counters of the server are those of the kernel.
    pub fn check_counters(&mut self, counters: &Counters) {
        let tally = &self.tally;
        let rows = [
            ("tcp_received_bytes", counters.tcp_received_bytes, tally.read),
            ("tcp_discarded_bytes", counters.tcp_discarded_bytes, tally.discarded),
            ("tcp_sent_bytes", counters.tcp_sent_bytes, tally.written),
            ("tcp_unsent_lost_bytes", counters.tcp_unsent_lost_bytes, tally.lost),
            ("tcp_accepted", counters.tcp_accepted, tally.accepted),
            ("tcp_accept_skipped", counters.tcp_accept_skipped, tally.accept_skipped),
            ("tcp_accept_paused", counters.tcp_accept_paused, tally.accept_paused),
            ("tcp_finished", counters.tcp_finished, self.closed(Closing::Finished) + self.closed(Closing::Lingered)),
            ("tcp_broken", counters.tcp_broken, self.closed(Closing::Broken) + self.closed(Closing::Rejected)),
            ("tcp_cut_off", counters.tcp_cut_off, self.closed(Closing::CutOff)),
            // Whoever had been idle for long enough may have gone for the one reason or for the other.
            (
                "tcp_closed_idle and tcp_closed_for_room",
                counters.tcp_closed_idle + counters.tcp_closed_for_room,
                self.closed(Closing::Idle) + self.closed(Closing::Room),
            ),
            ("tcp_closed_stalled", counters.tcp_closed_stalled, self.closed(Closing::Stalled)),
            ("tcp_closed_unsent", counters.tcp_closed_unsent, self.closed(Closing::Unsent)),
        ];
        for (name, counted, truth) in rows {
            if counted != truth {
                self.violate(Oracle::Counters, format!("{name} is {truth}, not {counted}"));
            }
        }
        if counters.tcp_closed_for_room < self.closed(Closing::Room) {
            self.violate(Oracle::Counters, "who gave way, and had not been idle for long, is not counted");
        }
        self.check_udp_counters(counters);
    }

    /// How many connections were closed for this reason.
    fn closed(&self, reason: Closing) -> u64 {
        self.sockets.iter().filter(|socket| socket.closed == Some(reason)).count() as u64
    }
}
