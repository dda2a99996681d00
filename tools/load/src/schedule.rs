//! When an open loop sends: arrival times that owe nothing to the answers. Pure: no I/O, no clock.
//!
//! Times are nanoseconds since the start of the stage. Arrivals are drawn one at a time and only when they are used, so
//! a generator that falls behind stores nothing: the schedule waits, and every late message keeps its intended time.
//!
//! A [`Process`] says how arrivals lie around their mean, a [`Profile`] how the mean changes: the process counts
//! messages, and the profile says when that many are due.

mod profile;

use std::fmt;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::clock::{Nanos, SECOND};
use profile::Cursor;
pub use profile::{Profile, Segment};

/// How arrivals are spread around their mean rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// Exponential gaps: many users who know nothing of each other.
    Poisson,
    /// Equal gaps: a metronome.
    Const,
    /// Gaps anywhere between nothing and twice the mean, all equally likely.
    Uniform,
    /// So many at once, then nothing until the mean has caught up. At least 1.
    Burst(u64),
    /// Exponential gaps for a while, at a rate so much higher that silence for another while keeps the mean.
    OnOff {
        /// The while with arrivals, longer than nothing.
        on: Nanos,
        /// The while without.
        off: Nanos,
    },
}

/// As `--arrivals` takes it.
impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Nanos| time as f64 / SECOND as f64;
        match *self {
            Process::Poisson => f.write_str("poisson"),
            Process::Const => f.write_str("const"),
            Process::Uniform => f.write_str("uniform"),
            Process::Burst(length) => write!(f, "burst:{length}"),
            Process::OnOff { on, off } => write!(f, "onoff:{}s,{}s", seconds(on), seconds(off)),
        }
    }
}

/// A seeded sequence of arrival times.
#[derive(Debug, Clone)]
pub struct Arrivals {
    process: Process,
    profile: Profile,
    cursor: Cursor,
    /// Added to the count of every arrival whose place is not random, so that two interleaved schedules make one even
    /// one.
    offset: f64,
    drawn: u64,
    /// The next arrival: how many messages the mean has brought by then, and when that is.
    count: f64,
    next: Nanos,
    random: Xoshiro256PlusPlus,
}

impl Arrivals {
    /// The `share` of a profile that is this schedule's, above 0. `offset`, in shares, moves equal gaps against those of
    /// other schedules and does nothing to random ones.
    pub fn new(process: Process, profile: Profile, share: f64, offset: f64, seed: u64) -> Self {
        let profile = profile.scaled(share);
        let mut arrivals = Arrivals {
            process,
            cursor: Cursor::default(),
            profile,
            offset,
            drawn: 0,
            count: 0.0,
            next: 0,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
        };
        arrivals.draw();
        arrivals
    }

    /// The next arrival, without taking it; `Nanos::MAX` after the last.
    pub fn peek(&self) -> Nanos {
        self.next
    }

    /// Takes the next arrival.
    pub fn take(&mut self) -> Nanos {
        let taken = self.peek();
        self.draw();
        taken
    }

    /// How many arrivals fall before `end` and have not been taken: what a generator left undone.
    ///
    /// An expectation for random gaps: nothing hangs on the very number, and drawing them would take as long as the
    /// overload that left them.
    pub fn left_before(&self, end: Nanos) -> u64 {
        // One that falls on `end` does not count, not even when rounding has moved it a little before.
        const ROUNDING: f64 = 1e-6;
        let whole = |count: f64| (count - ROUNDING).ceil().max(0.0) as u64;
        let by_then = self.profile.messages_until(self.without_silence(end as f64));
        let taken = self.drawn - 1;
        match self.process {
            Process::Const => whole(by_then - self.offset).saturating_sub(taken),
            Process::Burst(length) => {
                let bursts = whole(by_then / length as f64 - self.offset);
                (bursts * length).saturating_sub(taken)
            }
            Process::Poisson | Process::Uniform | Process::OnOff { .. } => whole(by_then - self.count),
        }
    }

    fn draw(&mut self) {
        self.count = match self.process {
            // From the number and not from the last arrival, so that rounding errors do not add up.
            Process::Const => self.offset + self.drawn as f64,
            Process::Burst(length) => (self.offset + (self.drawn / length) as f64) * length as f64,
            Process::Poisson | Process::OnOff { .. } => self.count - self.unit().ln(),
            Process::Uniform => self.count + 2.0 * self.unit(),
        };
        self.drawn += 1;
        let time = self.profile.time_of(self.count, &mut self.cursor);
        self.next = time.map_or(Nanos::MAX, |time| self.with_silence(time) as Nanos);
    }

    /// Presses what falls into each period of an on-off process into the on part of that period.
    fn with_silence(&self, time: f64) -> f64 {
        let Process::OnOff { on, off } = self.process else { return time };
        let period = (on + off) as f64;
        let within = time % period;
        time - within + within * on as f64 / period
    }

    /// The inverse: what falls into the off part is the end of the period.
    fn without_silence(&self, time: f64) -> f64 {
        let Process::OnOff { on, off } = self.process else { return time };
        let period = (on + off) as f64;
        let within = time % period;
        time - within + within.min(on as f64) * period / on as f64
    }

    /// A number in (0, 1]: never 0, whose logarithm is infinite.
    fn unit(&mut self) -> f64 {
        const TWO_TO_53: f64 = 9_007_199_254_740_992.0;
        ((self.random.next_u64() >> 11) + 1) as f64 / TWO_TO_53
    }
}

#[cfg(test)]
mod tests;
