//! Connections that are replaced while the load runs. Pure: no I/O, no clock.
//!
//! A connection carries so many messages and no more. When the last of them is answered there is nothing under way on
//! it, and only then is it given to the shell to be closed, so that no message is lost by it.

use super::lanes::Book;
use super::{Engine, Phase};
use crate::clock::Nanos;

impl Engine {
    /// From now on each stream is replaced after so many messages, at least 1. The first ones are given shorter lives,
    /// each another, so that they do not end together for ever after.
    pub fn churn(&mut self, lifetime: u64) {
        self.lifetime = lifetime;
        for group in &self.groups {
            let lanes = group.lanes.clone();
            let count = lanes.len() as u128;
            for (place, lane) in lanes.enumerate() {
                let lane = &mut self.lanes[lane];
                if matches!(lane.book, Book::Stream(_)) {
                    lane.left = (u128::from(lifetime) * (place as u128 + 1) / count).max(1) as u64;
                }
            }
        }
    }

    /// A stream with nothing under way that is to be closed, and to be replaced by another.
    pub fn take_retired(&mut self) -> Option<usize> {
        self.retired.pop()
    }

    /// The connection of a retired stream has been replaced.
    pub fn replaced(&mut self, index: usize, now: Nanos) {
        let lane = &mut self.lanes[index];
        lane.is_open = true;
        lane.left = self.lifetime;
        // In a closed loop the next message is due when there is something to send it on.
        lane.places.iter_mut().for_each(|free_since| *free_since = now);
        self.queue(index);
    }

    /// The connection of a retired stream could not be replaced, and is not going to be.
    pub fn not_replaced(&mut self, lane: usize, now: Nanos) {
        self.recorder(lane).evidence.ended(now);
        self.abandon(lane);
    }

    /// Whether a stream has carried all that it may, so that its end, whoever makes it, is as it should be.
    pub(super) fn has_served(&self, index: usize) -> bool {
        let lane = &self.lanes[index];
        lane.left == 0 && lane.outstanding() == 0
    }

    /// Takes a stream out of service that has carried all that it may. After the end of sending none is, so that what
    /// a stage begins is done by its end.
    pub(super) fn retire_if_due(&mut self, index: usize) {
        let is_due = self.has_served(index);
        let lane = &mut self.lanes[index];
        if is_due && lane.is_alive && lane.is_open && self.phase == Phase::Sending {
            lane.is_open = false;
            self.retired.push(index);
        }
    }
}
