//! A run cut into intervals: what each of them added to the accounts. Pure: no I/O, no clock.
//!
//! A message costs nothing more for it: an interval is the difference between the accounts at its end and at its start.
//! So the intervals add up to the whole exactly, whatever happens. A reply belongs to the interval in which it was read,
//! and a loss to the one in which it was noticed.

#[cfg(test)]
mod tests;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};

use crate::clock::Nanos;
use crate::recorder::{Recorder, histogram};

/// Intervals that are kept. For each one more, the two neighbours that are shortest together become one, so that a run of
/// any length fits: two minutes at one a second stay as they are. An interval takes 5 to 20 KB, the more the wider
/// latencies are spread, and three times that while the document is written; of 360, ten minutes took 8.8 MB more than
/// ten seconds.
pub const MOST_INTERVALS: usize = 120;

/// What happened to messages in an interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// Messages that the schedule wanted sent. While a random schedule is behind, an expectation.
    pub offered: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages answered rightly and in time.
    pub replied: u64,
    /// Messages given up.
    pub lost: u64,
}

impl Flow {
    fn since(self, earlier: Flow) -> Flow {
        Flow {
            offered: self.offered.saturating_sub(earlier.offered),
            sent: self.sent - earlier.sent,
            replied: self.replied - earlier.replied,
            lost: self.lost - earlier.lost,
        }
    }

    fn plus(self, other: Flow) -> Flow {
        Flow {
            offered: self.offered + other.offered,
            sent: self.sent + other.sent,
            replied: self.replied + other.replied,
            lost: self.lost + other.lost,
        }
    }
}

/// A histogram as bytes: a few thousand of them, where the array of its counts takes 220 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed(Vec<u8>);

impl Packed {
    fn new(histogram: &Histogram<u64>) -> Self {
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(histogram, &mut bytes).expect("writing to memory");
        bytes.shrink_to_fit();
        Packed(bytes)
    }

    /// The histogram itself.
    pub fn histogram(&self) -> Histogram<u64> {
        Deserializer::new().deserialize(&mut self.0.as_slice()).expect("it was packed here")
    }
}

/// A stretch of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    /// Since the start of the stage.
    pub start: Nanos,
    /// How long it took.
    pub length: Nanos,
    /// What happened in it.
    pub flow: Flow,
    /// Response times of the replies in it.
    pub response: Packed,
    /// Their service times.
    pub service: Packed,
    /// Lags of the messages sent in it.
    pub lag: Packed,
    /// The median and the 99th percentile of the response times, for whoever watches; `None` without a reply.
    pub quantiles: Option<(Nanos, Nanos)>,
}

impl Interval {
    /// One that was cut elsewhere. All its histograms have the bounds of [`histogram`].
    pub fn cut_elsewhere(
        start: Nanos,
        length: Nanos,
        flow: Flow,
        [response, service, lag]: [&Histogram<u64>; 3],
    ) -> Self {
        let (quantiles, packed) = (quantiles(response), Packed::new);
        let (response, service, lag) = (packed(response), packed(service), packed(lag));
        Interval { start, length, flow, response, service, lag, quantiles }
    }
}

fn quantiles(response: &Histogram<u64>) -> Option<(Nanos, Nanos)> {
    (!response.is_empty()).then(|| (response.value_at_quantile(0.5), response.value_at_quantile(0.99)))
}

/// The intervals of several generators, added up between the ends that all of them share who were at work then. Nothing is
/// lost by that: where one has looked later than another, or has joined two, they are one for all. At most
/// [`MOST_INTERVALS`] are left, as of one generator.
pub fn merged(each: &[&[Interval]]) -> Vec<Interval> {
    if let [only] = each {
        return only.to_vec();
    }
    let end = |interval: &Interval| interval.start + interval.length;
    let starts = each.iter().filter_map(|part| part.first()).map(|first| first.start);
    let mut bounds: Vec<Nanos> = starts.chain(each.iter().flat_map(|part| part.iter().map(end))).collect();
    bounds.sort_unstable();
    bounds.dedup();
    // Whoever has not begun or has ended already adds nothing there.
    bounds.retain(|bound| {
        each.iter().all(|part| {
            part.first().is_none_or(|first| *bound <= first.start)
                || part.last().is_none_or(|last| end(last) <= *bound)
                || part.binary_search_by_key(bound, end).is_ok()
        })
    });
    let mut parts: Vec<_> = each.iter().map(|part| part.iter().peekable()).collect();
    let mut start = bounds.first().copied().unwrap_or(0);
    let mut sums = Vec::new();
    for bound in bounds {
        let within = parts.iter_mut().flat_map(|part| std::iter::from_fn(|| part.next_if(|one| end(one) <= bound)));
        let within: Vec<&Interval> = within.collect();
        let from = std::mem::replace(&mut start, bound);
        // Between two that never met is a time of nothing. Nothing ends where the first begins.
        if !within.is_empty() || bound > from {
            sums.push(sum(&within, from, bound - from));
        }
    }
    while sums.len() > MOST_INTERVALS {
        join_shortest(&mut sums);
    }
    sums
}

fn sum(parts: &[&Interval], start: Nanos, length: Nanos) -> Interval {
    if let [only] = parts {
        return Interval { start, length, ..(*only).clone() };
    }
    let packed = |of: fn(&Interval) -> &Packed| {
        let mut sum = histogram();
        for part in parts {
            sum.add(of(part).histogram()).expect("all histograms have the same bounds");
        }
        sum
    };
    let response = packed(|one| &one.response);
    Interval {
        start,
        length,
        flow: parts.iter().fold(Flow::default(), |sum, part| sum.plus(part.flow)),
        quantiles: quantiles(&response),
        response: Packed::new(&response),
        service: Packed::new(&packed(|one| &one.service)),
        lag: Packed::new(&packed(|one| &one.lag)),
    }
}

/// Makes one of the two neighbours that are shortest together, the oldest of several.
fn join_shortest(intervals: &mut Vec<Interval>) {
    let pairs = intervals.windows(2).enumerate();
    let Some((first, _)) = pairs.min_by_key(|(_, pair)| pair[0].length + pair[1].length) else { return };
    let second = intervals.remove(first + 1);
    let joined = &mut intervals[first];
    *joined = sum(&[joined, &second], joined.start, joined.length + second.length);
}

/// One of the three histograms: what was in it when the current interval began.
#[derive(Debug)]
struct Seen {
    total: Histogram<u64>,
    /// Kept for its memory.
    added: Histogram<u64>,
}

impl Seen {
    fn new() -> Self {
        Seen { total: histogram(), added: histogram() }
    }

    /// What has been added to `parts` since this was last asked.
    fn take<'a>(&mut self, parts: impl Iterator<Item = &'a Histogram<u64>>) -> &Histogram<u64> {
        const SAME: &str = "all histograms have the same bounds, and nothing is ever taken out of them";
        self.added.reset();
        for part in parts {
            self.added.add(part).expect(SAME);
        }
        self.added.subtract(&self.total).expect(SAME);
        self.total.add(&self.added).expect(SAME);
        &self.added
    }
}

/// Cuts a stage into intervals while it runs.
#[derive(Debug)]
pub struct Intervals {
    length: Nanos,
    most: usize,
    /// The start of the current interval, since the start of the stage.
    start: Nanos,
    flow: Flow,
    response: Seen,
    service: Seen,
    lag: Seen,
    closed: Vec<Interval>,
    cuts: u64,
}

impl Intervals {
    /// Intervals of this length, above 0, of which [`MOST_INTERVALS`] are kept.
    pub fn new(length: Nanos) -> Self {
        Intervals::with_most(length, MOST_INTERVALS)
    }

    fn with_most(length: Nanos, most: usize) -> Self {
        Intervals {
            length,
            most,
            start: 0,
            flow: Flow::default(),
            response: Seen::new(),
            service: Seen::new(),
            lag: Seen::new(),
            closed: Vec::new(),
            cuts: 0,
        }
    }

    /// How long each is meant to be.
    pub fn length(&self) -> Nanos {
        self.length
    }

    /// When the current interval ends, since the start of the stage.
    pub fn next_cut(&self) -> Nanos {
        self.start + self.length
    }

    /// The intervals that have ended.
    pub fn closed(&self) -> &[Interval] {
        &self.closed
    }

    /// How many intervals have ended, those included that have since become one with a neighbour.
    pub fn cuts(&self) -> u64 {
        self.cuts
    }

    /// Ends the current interval at its own end, or at a later one if nobody looked for so long. `flow` and `recorders`
    /// are the accounts of the whole stage up to now.
    pub fn cut<'a>(&mut self, now: Nanos, flow: Flow, recorders: impl Iterator<Item = &'a Recorder> + Clone) {
        self.close(now - now % self.length, flow, recorders);
    }

    /// Ends the last interval.
    pub fn end<'a>(&mut self, now: Nanos, flow: Flow, recorders: impl Iterator<Item = &'a Recorder> + Clone) {
        if now > self.start || flow != self.flow {
            self.close(now, flow, recorders);
        }
    }

    fn close<'a>(&mut self, end: Nanos, flow: Flow, recorders: impl Iterator<Item = &'a Recorder> + Clone) {
        let response = self.response.take(recorders.clone().map(|recorder| &recorder.response));
        let service = self.service.take(recorders.clone().map(|recorder| &recorder.service));
        let lag = self.lag.take(recorders.map(|recorder| &recorder.lag));
        self.closed.push(Interval {
            start: self.start,
            length: end - self.start,
            flow: flow.since(self.flow),
            quantiles: quantiles(response),
            response: Packed::new(response),
            service: Packed::new(service),
            lag: Packed::new(lag),
        });
        self.cuts += 1;
        self.start = end;
        self.flow = Flow { offered: flow.offered.max(self.flow.offered), ..flow };
        // One pair at a time, so that no moment of the run pays for all of it.
        if self.closed.len() > self.most {
            join_shortest(&mut self.closed);
        }
    }
}
