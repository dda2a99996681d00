//! Replacing connections while the load runs: closing those that the engine has retired, and opening others in their
//! place without waiting for any. Does I/O.

use std::collections::VecDeque;
use std::io;

use hdrhistogram::Histogram;
use mio::Token;

use super::{Generator, Socket};
use crate::clock::{Nanos, SECOND};
use crate::recorder;
use crate::sockets::{CONNECT_TIMEOUT, Dialler, Opened, StreamLane};

/// Between an attempt that failed and the next one in the same place.
const RETRY_PAUSE: Nanos = SECOND / 10;

/// Attempts in a row for one place. A place without a connection after that stays empty: at a server that is gone, a run
/// of so many messages would never end.
const MOST_ATTEMPTS: u32 = 10;

/// What a stage did to its connections.
#[derive(Debug, Clone)]
pub struct Churned {
    /// Connections that were closed because they had carried all that they may.
    pub closed: u64,
    /// Connections opened in their place.
    pub opened: u64,
    /// Attempts that were told that nobody listens.
    pub refused: u64,
    /// Attempts that failed in another way, or had no answer in time.
    pub failed: u64,
    /// How long each took to open.
    pub connect: Histogram<u64>,
}

impl Default for Churned {
    fn default() -> Self {
        Churned { closed: 0, opened: 0, refused: 0, failed: 0, connect: recorder::histogram() }
    }
}

impl Churned {
    /// Adds what another generator did.
    pub fn add(&mut self, other: &Churned) {
        self.closed += other.closed;
        self.opened += other.opened;
        self.refused += other.refused;
        self.failed += other.failed;
        self.connect.add(&other.connect).expect("all histograms have the same bounds");
    }
}

/// What there is to remember about connections that are being replaced.
#[derive(Debug)]
pub(super) struct Replacing {
    dialler: Dialler,
    /// Attempts under way and when each began, the oldest first; those that have ended are passed over.
    attempts: VecDeque<(Nanos, usize)>,
    /// Places whose last attempt failed, and when to try again.
    retries: VecDeque<(Nanos, usize)>,
    /// Failures in a row, for each lane.
    failures: Vec<u32>,
    stage_start: Nanos,
    done: Churned,
}

impl Replacing {
    pub(super) fn new(dialler: Dialler, lanes: usize) -> Self {
        Replacing {
            dialler,
            attempts: VecDeque::with_capacity(lanes),
            retries: VecDeque::with_capacity(lanes),
            failures: vec![0; lanes],
            stage_start: 0,
            done: Churned::default(),
        }
    }

    /// Counts from nothing. What began before is not counted when it ends.
    pub(super) fn begin(&mut self, now: Nanos) {
        self.stage_start = now;
        self.done = Churned::default();
    }

    pub(super) fn done(&self) -> &Churned {
        &self.done
    }
}

impl Generator {
    /// Closes what has been retired, and tries again where it is time to.
    pub(super) fn replace_retired(&mut self, now: Nanos) {
        while let Some(lane) = self.engine.take_retired() {
            // Nothing is under way and nothing unread, so this is an end in good order.
            self.sockets[lane] = Socket::Gone;
            let Some(replacing) = &mut self.replacing else { continue };
            replacing.done.closed += 1;
            self.dial(lane, now);
        }
        while let Some(replacing) = &mut self.replacing
            && let Some(&(_, lane)) = replacing.retries.front().filter(|(at, _)| *at <= now)
        {
            replacing.retries.pop_front();
            self.dial(lane, now);
        }
        while let Some(replacing) = &mut self.replacing
            && let Some(&(since, lane)) = replacing.attempts.front()
        {
            let is_under_way = matches!(&self.sockets[lane], Socket::Opening(opening) if opening.since() == since);
            if is_under_way && now - since < CONNECT_TIMEOUT {
                return;
            }
            replacing.attempts.pop_front();
            if is_under_way {
                self.sockets[lane] = Socket::Gone;
                self.attempt_failed(lane, since, io::ErrorKind::TimedOut.into(), now);
            }
        }
    }

    fn dial(&mut self, lane: usize, now: Nanos) {
        let Some(replacing) = &mut self.replacing else { return };
        match replacing.dialler.dial(self.poll.registry(), Token(lane), now) {
            Ok(opening) => {
                replacing.attempts.push_back((now, lane));
                self.is_ending[lane] = false;
                self.sockets[lane] = Socket::Opening(opening);
            }
            Err(error) => self.attempt_failed(lane, now, error, now),
        }
    }

    /// There is news of a connection that is being opened.
    pub(super) fn attempt_goes_on(&mut self, lane: usize) {
        let Socket::Opening(opening) = std::mem::replace(&mut self.sockets[lane], Socket::Gone) else { return };
        let since = opening.since();
        // Read now and not at the end of the turn: others have been served in between.
        let now = self.clock.now();
        match opening.finish() {
            Ok(Opened::NotYet(opening)) => self.sockets[lane] = Socket::Opening(opening),
            Ok(Opened::Stream(stream)) => {
                self.sockets[lane] = Socket::Stream(StreamLane::new(stream, self.sampler.is_wanted()));
                if let Some(replacing) = &mut self.replacing {
                    replacing.failures[lane] = 0;
                    if since >= replacing.stage_start {
                        replacing.done.opened += 1;
                        crate::recorder::record(&mut replacing.done.connect, now - since);
                    }
                }
                self.engine.replaced(lane, now);
            }
            Err(error) => self.attempt_failed(lane, since, error, now),
        }
    }

    fn attempt_failed(&mut self, lane: usize, since: Nanos, error: io::Error, now: Nanos) {
        let Some(replacing) = &mut self.replacing else { return };
        if since >= replacing.stage_start {
            let is_refused = error.kind() == io::ErrorKind::ConnectionRefused;
            *(if is_refused { &mut replacing.done.refused } else { &mut replacing.done.failed }) += 1;
        }
        self.broken_by.get_or_insert(error);
        replacing.failures[lane] += 1;
        if replacing.failures[lane] < MOST_ATTEMPTS {
            replacing.retries.push_back((now + RETRY_PAUSE, lane));
        } else {
            self.engine.not_replaced(lane, now);
        }
    }
}
