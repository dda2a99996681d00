//! Who has been quiet for how long. Pure: no I/O, and time comes in as an argument.
//!
//! Three queues of connections, each ordered by when something last happened, the longest-quiet first. They are
//! linked through one vector beside the connections, so that moving one is O(1), nothing allocates, and the
//! longest-quiet is always at hand. Time counts in ticks of [`TICK`]: a busy connection moves at most once a
//! tick, whatever its rate, so a message costs one comparison and not a walk through three cache lines.

use std::time::{Duration, Instant};

/// The resolution of what is called quiet: a twentieth of the shortest timeout that a person would set.
pub const TICK: Duration = Duration::from_millis(50);

const TICKS_PER_SECOND: u32 = 20;

const _: () = assert!(TICK.as_millis() * TICKS_PER_SECOND as u128 == 1000, "a second is a whole number of ticks");

/// The index that means "none".
const NONE: u32 = u32::MAX;

/// Why a connection waits, which decides how long it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// It is owed nothing and has sent nothing.
    Idle,
    /// It is owed bytes and does not read them.
    Stalled,
    /// All is sent and the write side is closed; what still arrives is read and discarded.
    Lingering,
}

const QUEUES: usize = 3;

/// The place of one connection in its queue.
#[derive(Debug, Clone, Copy)]
struct Link {
    previous: u32,
    next: u32,
    /// When something last happened, in ticks since the start: 6.8 years of them fit.
    tick: u32,
    /// `None` while the connection is in no queue.
    queue: Option<Queue>,
}

const _: () = assert!(size_of::<Link>() <= 16, "an idle connection owns this");

const UNLINKED: Link = Link { previous: NONE, next: NONE, tick: 0, queue: None };

#[derive(Debug, Clone, Copy)]
struct Ends {
    first: u32,
    last: u32,
}

/// The three queues.
#[derive(Debug)]
pub struct Quiet {
    start: Instant,
    links: Vec<Link>,
    ends: [Ends; QUEUES],
}

impl Quiet {
    /// Empty queues; ticks count from `start`.
    pub fn new(start: Instant) -> Quiet {
        Quiet { start, links: Vec::new(), ends: [Ends { first: NONE, last: NONE }; QUEUES] }
    }

    /// Notes that something happened on connection `index` at `now`, and which queue it belongs in from here on.
    pub fn touch(&mut self, index: usize, queue: Queue, now: Instant) {
        let elapsed = now.saturating_duration_since(self.start);
        // In two parts, because this runs at every message and `as_millis` divides 128 bits.
        let tick = elapsed.as_secs() as u32 * TICKS_PER_SECOND + elapsed.subsec_millis() / TICK.as_millis() as u32;
        if index >= self.links.len() {
            self.links.resize(index + 1, UNLINKED);
        }
        let link = self.links[index];
        if link.queue == Some(queue) && link.tick == tick {
            return;
        }
        self.remove(index);
        let last = std::mem::replace(&mut self.ends[queue as usize].last, index as u32);
        self.links[index] = Link { previous: last, next: NONE, tick, queue: Some(queue) };
        match self.links.get_mut(last as usize) {
            Some(before) => before.next = index as u32,
            None => self.ends[queue as usize].first = index as u32,
        }
    }

    /// Takes connection `index` out of its queue, if it is in one.
    pub fn remove(&mut self, index: usize) {
        let Some(link) = self.links.get_mut(index) else { return };
        let Some(queue) = link.queue.take() else { return };
        let Link { previous, next, .. } = *link;
        match self.links.get_mut(previous as usize) {
            Some(before) => before.next = next,
            None => self.ends[queue as usize].first = next,
        }
        match self.links.get_mut(next as usize) {
            Some(after) => after.previous = previous,
            None => self.ends[queue as usize].last = previous,
        }
    }

    /// Which queue connection `index` waits in.
    pub fn queue_of(&self, index: usize) -> Option<Queue> {
        self.links.get(index).and_then(|link| link.queue)
    }

    /// The connection that has been longest in this queue with nothing happening, and since when.
    pub fn longest(&self, queue: Queue) -> Option<(usize, Instant)> {
        let first = self.ends[queue as usize].first;
        let link = self.links.get(first as usize)?;
        Some((first as usize, self.start + TICK * link.tick))
    }

    /// The longest-quiet connection of the queue, where it has been quiet for more than `limit`.
    pub fn expired(&self, queue: Queue, limit: Duration, now: Instant) -> Option<usize> {
        let (index, since) = self.longest(queue)?;
        (now.saturating_duration_since(since) >= limit + TICK).then_some(index)
    }

    /// When [`Quiet::expired`] will next have an answer for this queue, if nothing happens until then.
    pub fn deadline(&self, queue: Queue, limit: Duration) -> Option<Instant> {
        self.longest(queue).map(|(_, since)| since + limit + TICK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against the obvious model: a list kept in order of the last touch.
        #[test]
        fn the_order_is_that_of_the_last_touch(steps in proptest::collection::vec((0usize..8, 0u8..4, 0u32..3), 1..80)) {
            let start = Instant::now();
            let (mut quiet, mut model, mut now) = (Quiet::new(start), Vec::<(usize, Queue, Instant)>::new(), start);
            for (index, action, ticks) in steps {
                now += TICK * ticks;
                let queue = match action {
                    0 => Some(Queue::Idle),
                    1 => Some(Queue::Stalled),
                    2 => Some(Queue::Lingering),
                    _ => None,
                };
                match queue {
                    Some(queue) => {
                        quiet.touch(index, queue, now);
                        if !model.contains(&(index, queue, now)) {
                            model.retain(|entry| entry.0 != index);
                            model.push((index, queue, now));
                        }
                    }
                    None => {
                        quiet.remove(index);
                        model.retain(|entry| entry.0 != index);
                    }
                }
                for queue in [Queue::Idle, Queue::Stalled, Queue::Lingering] {
                    let first = model.iter().find(|entry| entry.1 == queue).map(|entry| (entry.0, entry.2));
                    prop_assert_eq!(quiet.longest(queue), first);
                }
            }
        }
    }

    #[test]
    fn nobody_expires_early_and_everybody_does() {
        let start = Instant::now();
        let mut quiet = Quiet::new(start);
        let limit = Duration::from_secs(1);
        quiet.touch(3, Queue::Idle, start + TICK / 2);
        assert_eq!(quiet.expired(Queue::Idle, limit, start + limit), None);
        let deadline = quiet.deadline(Queue::Idle, limit).unwrap();
        assert!(deadline >= start + TICK / 2 + limit, "a tick rounds down, and must not shorten the limit");
        assert_eq!(quiet.expired(Queue::Idle, limit, deadline), Some(3));
    }
}
