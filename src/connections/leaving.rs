//! Who must go, and when: the idle, the stalled, those who linger, those who hold too much, and everybody at the end. It
//! does I/O only by driving connections.
//!
//! Nobody goes unheard. Whoever is closed for being quiet has one last drive, for what he said since his last turn may
//! not have been reported yet; and who is owed something is not idle, whether it is owed here or in the kernel.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::{CloseWrite, Connections};
use crate::counters::Counters;
use crate::idle::{Queue, Quiet};
use crate::trace::{self, Event};

/// The most connections that one turn closes for each reason of time, or finds to be owed something. Those who came
/// together expire together, and each takes about as long as accepting one. The rest follow in the next turn, which does
/// not wait: their deadline is over.
const EXPIRIES_MAX: usize = 64;

/// The most connections that are asked in a turn whether they are idle in truth: two system calls each. Whoever is not
/// is not asked again for a while, and so the loop comes round to all of them.
const LOOKS_MAX: usize = 64;

/// How long a connection must have been idle before a new one may take its place.
const ROOM_IDLE_MIN: Duration = Duration::from_millis(200);

impl<S: Read + Write + CloseWrite> Connections<S> {
    /// Lets the longest-idle connection give way to a new one, if it has been idle for a moment. Says whether it did.
    pub fn make_room(&mut self, now: Instant, counters: &mut Counters) -> bool {
        for _ in 0..LOOKS_MAX {
            let Some(index) = self.quiet.expired(Queue::Idle, ROOM_IDLE_MIN, now) else { return false };
            if !self.slots[index].stream.is_quiet() {
                // An answer to it is on its way, or it has just said something. It could not give its place up at once,
                // and to ask it would cost one connection after the other its end for the sake of a single newcomer.
                self.quiet.touch(index, Queue::Idle, now);
                continue;
            }
            let before = self.slots.len();
            if self.dismiss(index, now, counters) {
                counters.tcp_closed_for_room += 1;
            }
            return self.slots.len() < before;
        }
        false
    }

    /// When [`Connections::make_room`] will next be able to.
    pub fn room_deadline(&self) -> Option<Instant> {
        self.quiet.deadline(Queue::Idle, ROOM_IDLE_MIN)
    }

    /// Closes those who have been idle, stalled or lingering for too long, up to a bound.
    pub fn expire(&mut self, now: Instant, counters: &mut Counters) {
        if let Some(limit) = self.limits.idle_timeout {
            for _ in 0..EXPIRIES_MAX {
                let Some(index) = self.quiet.expired(Queue::Idle, limit, now) else { break };
                if self.slots[index].stream.undelivered() > 0 {
                    // It has yet to take what the kernel holds for it. If it takes nothing at all, the kernel gives it up
                    // after `stall_timeout`.
                    self.quiet.touch(index, Queue::Idle, now);
                    continue;
                }
                trace::moment(|| Event::Expired { slot: index as u32, queue: Queue::Idle });
                if !self.dismiss(index, now, counters) {
                    // Not idle after all, or broken. The others' turn comes at once: their deadline is over.
                    break;
                }
                counters.tcp_closed_idle += 1;
            }
        }
        let stall_timeout = self.limits.stall_timeout;
        let longest_stalled = |quiet: &Quiet| quiet.expired(Queue::Stalled, stall_timeout, now);
        for _ in 0..EXPIRIES_MAX {
            let Some(index) = longest_stalled(&self.quiet) else { break };
            // One last try: where the whole process was stopped, room may have been announced before this deadline was
            // noticed, and its turn not have come. It is for what is owed. What more such a peer has to say waits in the
            // queue: a crowd that reads at the last moment would have it read out of turn, a megabyte for each.
            self.slots[index].connection.note(false, true, false);
            self.drive(index, 0, now, counters);
            if longest_stalled(&self.quiet) != Some(index) {
                continue;
            }
            if self.slots[index].queued {
                // A signal cut the try short. The deadline is over, so that the next turn comes at once.
                break;
            }
            trace::moment(|| Event::Expired { slot: index as u32, queue: Queue::Stalled });
            counters.tcp_closed_stalled += 1;
            self.close(index, counters);
        }
        for _ in 0..EXPIRIES_MAX {
            let Some(index) = self.quiet.expired(Queue::Lingering, self.limits.linger_timeout, now) else { break };
            if self.slots[index].stream.undelivered() > 0 {
                // It reads slowly, and a close over what it still sends would destroy what it has not read. If it reads
                // nothing at all, the kernel gives it up after `stall_timeout`.
                self.quiet.touch(index, Queue::Lingering, now);
                continue;
            }
            trace::moment(|| Event::Expired { slot: index as u32, queue: Queue::Lingering });
            counters.tcp_finished += 1;
            self.close(index, counters);
        }
    }

    /// When [`Connections::expire`] will next have something to do, if nothing happens until then.
    pub fn deadline(&self) -> Option<Instant> {
        let idle = self.limits.idle_timeout.and_then(|limit| self.quiet.deadline(Queue::Idle, limit));
        let stalled = self.quiet.deadline(Queue::Stalled, self.limits.stall_timeout);
        let lingering = self.quiet.deadline(Queue::Lingering, self.limits.linger_timeout);
        [idle, stalled, lingering].into_iter().flatten().min()
    }

    /// Closes the longest-stalled until what is held is within its bound. Asked at the end of every drive, so that the
    /// bound is never exceeded by more than one answer.
    pub(super) fn shed(&mut self, counters: &mut Counters) {
        while self.held > self.limits.unsent_max {
            let Some((longest, _)) = self.quiet.longest(Queue::Stalled) else { break };
            counters.tcp_closed_unsent += 1;
            self.close(longest, counters);
        }
    }

    /// Asks every connection to finish: what has already arrived is answered, then the write side is closed.
    /// So is everyone who still comes.
    pub fn retire_all(&mut self) {
        self.retiring = true;
        for index in self.indices() {
            self.retire(index);
            self.queue(index);
        }
    }

    pub(super) fn retire(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.connection.retire(slot.stream.unread());
    }

    /// Closes everybody at once. What was still owed is counted as lost.
    pub fn cut_off(&mut self, counters: &mut Counters) {
        // Nobody is driven any more, and without a queue a close has none to walk through.
        self.ready.clear();
        for index in self.indices() {
            counters.tcp_cut_off += 1;
            self.close(index, counters);
        }
    }

    /// Closes an idle connection, which is owed nothing in the kernel either, after one last drive, so that what has
    /// arrived since its last turn is answered and not reset. Says whether that was possible at once; a connection that is
    /// then owed something keeps it.
    fn dismiss(&mut self, index: usize, now: Instant, counters: &mut Counters) -> bool {
        let sent_before = counters.tcp_sent_bytes;
        self.retire(index);
        // It stands in no queue, and so it gets no more of the turn than a drive beside those who do.
        self.drive(index, self.limits.drive_bytes_max.min(self.limits.shared_bytes_max), now, counters);
        let finished = counters.tcp_sent_bytes == sent_before
            && self.quiet.queue_of(index) == Some(Queue::Lingering)
            && !self.slots[index].connection.is_readable();
        if finished {
            self.close(index, counters);
        }
        finished
    }

    fn indices(&self) -> Vec<usize> {
        self.slots.iter().map(|(index, _)| index).collect()
    }
}
