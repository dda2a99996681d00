//! How the rate of an open loop changes over time. Pure: no I/O, no clock.
//!
//! A profile is a row of segments, in each of which the rate is constant or changes linearly. What arrives until `t` is
//! the integral of the rate, a parabola in each segment; a schedule needs its inverse: when the n-th message is due. Both
//! are closed forms, so nothing drifts and nothing is stepped through. Random arrivals take the same road: a process of
//! rate one, put through the inverse, is that process at the profile's rate (the time change of a Poisson process).

use std::fmt;

use crate::clock::{Nanos, SECOND};

const NANOS: f64 = SECOND as f64;

/// A stretch of time in which the rate goes from one value to another in a straight line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Segment {
    /// How long it lasts.
    pub duration: Nanos,
    /// Messages a second at its start.
    pub from: f64,
    /// Messages a second at its end.
    pub to: f64,
}

impl Segment {
    fn seconds(self) -> f64 {
        self.duration as f64 / NANOS
    }

    /// Messages in the whole segment.
    fn messages(self) -> f64 {
        f64::midpoint(self.from, self.to) * self.seconds()
    }

    /// By how much the rate grows each second.
    fn slope(self) -> f64 {
        (self.to - self.from) / self.seconds()
    }

    /// Messages in the first `time` nanoseconds.
    fn messages_until(self, time: f64) -> f64 {
        let seconds = time / NANOS;
        (self.from + self.slope() * seconds / 2.0) * seconds
    }

    /// The nanoseconds until so many messages have arrived.
    fn time_of(self, messages: f64) -> f64 {
        if self.from.to_bits() == self.to.to_bits() {
            return messages * NANOS / self.from;
        }
        // The root of the parabola in the form that divides, and so loses no digits where the slope is small.
        let discriminant = (self.from * self.from + 2.0 * self.slope() * messages).max(0.0);
        let time = 2.0 * messages * NANOS / (self.from + discriminant.sqrt());
        // 0 / 0 at the start of a ramp from nothing.
        if time.is_nan() { 0.0 } else { time.min(self.duration as f64) }
    }
}

/// The rate of an open loop from the start of a stage on.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    segments: Vec<Segment>,
}

impl Profile {
    /// The same rate for ever.
    pub fn constant(rate: f64) -> Self {
        Profile { segments: vec![Segment { duration: Nanos::MAX, from: rate, to: rate }] }
    }

    /// These segments, one after the other, and nothing after the last.
    ///
    /// `None` where they ask for no message at all.
    pub fn new(segments: Vec<Segment>) -> Option<Self> {
        let profile = Profile { segments };
        (profile.messages() > 0.0).then_some(profile)
    }

    /// Whether the rate is always the same.
    pub fn is_constant(&self) -> bool {
        self.segments.iter().all(|segment| segment.duration == Nanos::MAX)
    }

    /// How long it lasts.
    pub fn duration(&self) -> Nanos {
        self.segments.iter().fold(0, |sum, segment| sum.saturating_add(segment.duration))
    }

    /// Messages in all.
    pub fn messages(&self) -> f64 {
        self.segments.iter().map(|segment| segment.messages()).sum()
    }

    /// Messages a second on average.
    pub fn mean_rate(&self) -> f64 {
        match &self.segments[..] {
            [only] => f64::midpoint(only.from, only.to),
            _ => self.messages() * NANOS / self.duration() as f64,
        }
    }

    /// The first rate that is not nothing.
    pub fn first_rate(&self) -> f64 {
        let mut rates = self.segments.iter().flat_map(|segment| [segment.from, segment.to]);
        rates.find(|&rate| rate > 0.0).unwrap_or(0.0)
    }

    /// The share of it that one of several equal generators takes.
    pub(super) fn scaled(mut self, share: f64) -> Self {
        for segment in &mut self.segments {
            segment.from *= share;
            segment.to *= share;
        }
        self
    }

    /// Messages before `time`, in nanoseconds from the start.
    pub(super) fn messages_until(&self, time: f64) -> f64 {
        let (mut begin, mut messages) = (0.0, 0.0);
        for segment in &self.segments {
            let duration = segment.duration as f64;
            if time < begin + duration {
                return messages + segment.messages_until((time - begin).max(0.0));
            }
            begin += duration;
            messages += segment.messages();
        }
        messages
    }

    /// When so many messages have arrived, in nanoseconds from the start; `None` if that never happens. From one call to
    /// the next `messages` must not fall.
    pub(super) fn time_of(&self, messages: f64, cursor: &mut Cursor) -> Option<f64> {
        loop {
            let segment = self.segments.get(cursor.segment)?;
            let within = messages - cursor.messages;
            if within < segment.messages() {
                return Some(cursor.begin + segment.time_of(within));
            }
            cursor.begin += segment.duration as f64;
            cursor.messages += segment.messages();
            cursor.segment += 1;
        }
    }
}

/// The segment that the last message fell into, and what lies before it.
#[derive(Debug, Clone, Default)]
pub(super) struct Cursor {
    segment: usize,
    begin: f64,
    messages: f64,
}

/// As `--plan` takes it.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.segments.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}s@{}", segment.seconds(), segment.from)?;
            if segment.from.to_bits() != segment.to.to_bits() {
                write!(f, "-{}", segment.to)?;
            }
        }
        Ok(())
    }
}
