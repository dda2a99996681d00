//! How messages, connections and stages end without an answer. Pure: no I/O, no clock.

use super::lanes::{Book, Lane, Want};
use super::{Ending, Engine, LINGER, Phase, SWEEP};
use crate::clock::Nanos;

impl Engine {
    /// Ends the schedule, and lets what is under way come in.
    pub fn stop(&mut self, now: Nanos) {
        self.ends = self.ends.min(now);
        if self.phase == Phase::Sending && self.is_over(now) {
            self.end_sending(self.ends);
        }
    }

    /// Ends the stage at once; what is under way is counted as such.
    pub fn cut_off(&mut self, now: Nanos) {
        if self.phase == Phase::Sending {
            self.end_sending(now);
        }
        self.end_stage(now);
    }

    /// A TCP lane ended. What was under way on it is lost.
    pub fn stream_ended(&mut self, lane: usize, ending: Ending, now: Nanos) {
        if !self.lanes[lane].is_alive || self.has_served(lane) {
            return;
        }
        self.note_end(lane, now);
        let endings = &mut self.recorder(lane).endings;
        match ending {
            Ending::Closed => endings.closed += 1,
            Ending::Reset => endings.reset += 1,
        }
        self.abandon(lane);
    }

    /// An idle connection in a drain is nobody's any more, and may be closed.
    fn note_end(&mut self, lane: usize, now: Nanos) {
        if self.is_sending() || self.in_flight(lane) > 0 {
            self.recorder(lane).evidence.ended(now);
        }
    }

    /// A stream that has been given up, to be closed by the shell.
    pub fn take_doomed(&mut self) -> Option<usize> {
        self.doomed.pop()
    }

    pub(super) fn expire(&mut self, index: usize, now: Nanos) {
        if self.is_overdue(index, now) {
            self.note_end(index, now);
            self.recorder(index).endings.timed_out += 1;
            self.abandon(index);
            self.doomed.push(index);
        }
        let Lane { book: Book::Datagrams(ledger), group, .. } = &mut self.lanes[index] else { return };
        let lost = ledger.expire(now);
        let recorder = &mut self.groups[*group].recorder;
        recorder.counts.lost += lost.count as u64;
        recorder.evidence.unanswered(lost.count, lost.held, now);
        for _ in 0..lost.count {
            self.free_place(index, now);
        }
    }

    /// Whether a stream has owed an answer for too long.
    fn is_overdue(&self, index: usize, now: Nanos) -> bool {
        let lane = &self.lanes[index];
        let timeout = self.groups[lane.group].timeout;
        match &lane.book {
            Book::Datagrams(_) => false,
            Book::Stream(ledger) => ledger.oldest_issued().is_some_and(|issued| now.saturating_sub(issued) > timeout),
        }
    }

    /// Takes a stream out of service and settles what was under way on it.
    pub(super) fn abandon(&mut self, index: usize) {
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
            group.recorder.evidence.abandoned(abandoned.in_flight);
        }
    }

    pub(super) fn end_sending(&mut self, now: Nanos) {
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
                Want::Arrivals { due, .. } => due.left_before(now - self.started),
            };
            group.want = Want::Nothing;
            group.ready.clear();
        }
        for lane in &mut self.lanes {
            lane.is_queued = false;
        }
    }

    pub(super) fn end_stage(&mut self, now: Nanos) {
        self.cut_interval(now, true);
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
            counts.scheduled += counts.sent + counts.shed + (outstanding - in_flight) as u64;
            debug_assert!(counts.is_balanced(), "{counts:?}");
        }
    }
}
