//! What leaves: which lane sends next, what it sends, and what the kernel took of it. Pure: no I/O, no clock.

use super::lanes::{Book, Group, Lane, Want};
use super::{Engine, LAST_CALL, Phase};
use crate::clock::Nanos;
use crate::outbox::{Filled, Outbox, Room};
use crate::payload::Identity;

impl Engine {
    /// When the next message is to leave, if nothing arrives; `Nanos::MAX` if none is.
    pub fn send_at(&self) -> Nanos {
        if self.phase != Phase::Sending {
            return Nanos::MAX;
        }
        let sendable = self.groups.iter().filter(|group| !group.ready.is_empty());
        let times = sendable.map(|group| match &group.want {
            Want::Nothing => Nanos::MAX,
            Want::Answers => self.started, // at once
            Want::Arrivals { due, .. } => self.started.saturating_add(due.next()),
        });
        times.min().unwrap_or(Nanos::MAX)
    }

    /// The lane that should send next; `None` if no message is due or no lane can take one.
    pub fn next_sender(&mut self, now: Nanos) -> Option<usize> {
        if self.phase != Phase::Sending {
            return None;
        }
        let is_over = self.is_over(now);
        if !is_over {
            self.turn_away_late(now);
        }
        if is_over || self.messages_left == 0 {
            self.end_sending(now.min(self.ends));
            return None;
        }
        self.first_group = (self.first_group + 1) % self.groups.len();
        for step in 0..self.groups.len() {
            let group = &self.groups[(self.first_group + step) % self.groups.len()];
            let is_due = match &group.want {
                Want::Nothing => false,
                Want::Answers => true,
                Want::Arrivals { due, .. } => due.is_sendable(self.schedule_time(now)),
            };
            if let Some(&lane) = group.ready.front().filter(|_| is_due) {
                return Some(lane);
            }
        }
        None
    }

    /// Whether the time for sending is up, and nothing that should have left by then is about to; see [`LAST_CALL`].
    pub(super) fn is_over(&self, now: Nanos) -> bool {
        let is_called = |group: &Group| match &group.want {
            Want::Nothing | Want::Answers => false,
            Want::Arrivals { due, .. } => {
                let next = self.started.saturating_add(due.next());
                !group.ready.is_empty() && next < self.ends && now <= next.saturating_add(LAST_CALL)
            }
        };
        now >= self.ends && !self.groups.iter().any(is_called)
    }

    /// The time since the start, by which nothing has fallen due that falls due at the end or after it.
    fn schedule_time(&self, now: Nanos) -> Nanos {
        now.min(self.ends - 1).saturating_sub(self.started)
    }

    /// Sheds what the stage's policy has no place for.
    fn turn_away_late(&mut self, now: Nanos) {
        let now = self.schedule_time(now);
        for group in &mut self.groups {
            if let Want::Arrivals { due, .. } = &mut group.want {
                let shed = due.turn_away(now, self.messages_left);
                group.recorder.counts.shed += shed;
                self.messages_left -= shed;
            }
        }
    }

    /// Adds the messages that are due on `lane`, which [`next_sender`](Self::next_sender) has just named, to its empty
    /// `outbox`, as many as there is `room` for. What has piled up in an open loop is spread over the lanes that are
    /// ready.
    pub fn compose(&mut self, lane: usize, now: Nanos, room: Room, outbox: &mut Outbox) {
        debug_assert_eq!(outbox.messages(), 0);
        let group = self.lanes[lane].group;
        debug_assert_eq!(self.groups[group].ready.front(), Some(&lane));
        self.groups[group].ready.pop_front();
        self.lanes[lane].is_queued = false;
        let is_spread =
            matches!(self.groups[group].want, Want::Arrivals { .. }) && !self.groups[group].ready.is_empty();
        let room = if is_spread { Room::ONE } else { room };
        let mut filled = Filled::default();
        while self.messages_left > 0 && self.has_room(lane) {
            let message = self.identity(lane, self.lanes[lane].next_composed());
            let length = self.payload.length(message);
            if !room.takes(filled, length) {
                break;
            }
            let Some(intended) = self.take_intended(lane, now) else { break };
            match &mut self.lanes[lane].book {
                Book::Datagrams(ledger) => ledger.compose(intended),
                Book::Stream(ledger) => ledger.compose(intended),
            };
            outbox.push_with(|bytes| self.payload.append(message, bytes));
            filled.add(length);
            self.messages_left -= 1;
            self.lanes[lane].left -= 1;
        }
        self.queue(lane);
    }

    /// The intended time of the next message of this lane, if one is due.
    fn take_intended(&mut self, lane: usize, now: Nanos) -> Option<Nanos> {
        let time = self.schedule_time(now);
        let lane = &mut self.lanes[lane];
        match &mut self.groups[lane.group].want {
            Want::Nothing => None,
            Want::Answers => lane.places.pop_front(),
            Want::Arrivals { due, .. } => due.is_sendable(time).then(|| self.started + due.take()),
        }
    }

    /// The kernel took the `count` oldest messages composed on `lane`, in a system call made at `issued`.
    pub fn sent(&mut self, lane: usize, count: usize, issued: Nanos) {
        let own = self.identity(lane, 0).lane;
        let Lane { book, group, .. } = &mut self.lanes[lane];
        let recorder = &mut self.groups[*group].recorder;
        for _ in 0..count {
            let (sequence, flight) = match book {
                Book::Datagrams(ledger) => (ledger.next_issued(), ledger.issue(issued)),
                Book::Stream(ledger) => (ledger.next_issued(), ledger.issue(issued)),
            };
            recorder.sent(flight, self.payload.length(Identity { lane: own, sequence }));
        }
        recorder.evidence.sent(count, issued);
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

    /// So many of the messages of this lane were taken by the kernel and dropped by the network interface.
    pub fn unsent(&mut self, lane: usize, count: u64) {
        self.recorder(lane).counts.unsent += count;
    }
}
