//! How the two transports of a run get in each other's way: what each takes beside the other, and what it takes alone. Pure:
//! no I/O; the parts are run by [`crate::run`].
//!
//! ```text
//!  a block    UDP alone   TCP alone   both together   both together   TCP alone   UDP alone
//! ```
//!
//! All parts use the same sockets and connections, and each transport has the same rate, or window, in all of them. Alone
//! comes before and after, so that what drifts steadily meets both alike. How much what was alone before differs from what
//! was alone after is the noise: a smaller effect is not called one.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::clock::{Nanos, SECOND};
use crate::curves::compare::geometric_mean;
use crate::curves::difference::{self, Difference, Pair};
use crate::engine::Transport;
use crate::loss::all_in;
use crate::recorder::{Counts, Recorder, histogram};

/// Blocks of a run: the bootstrap over them needs some, and each is to be long enough for a 99th percentile.
pub const BLOCKS: usize = 10;

/// The parts of a block: which transport has the load, and `None` for both.
pub const ORDER: [Option<Transport>; 6] =
    [Some(Transport::Udp), Some(Transport::Tcp), None, None, Some(Transport::Tcp), Some(Transport::Udp)];

/// Both transports, as they are reported.
const TRANSPORTS: [Transport; 2] = [Transport::Udp, Transport::Tcp];

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Figure {
    /// The median response time.
    #[serde(rename = "response p50")]
    ResponseMedian,
    /// The 99th percentile of the response times.
    #[serde(rename = "response p99")]
    ResponseTail,
    /// The median service time, in which our own delay before the send is not.
    #[serde(rename = "service p50")]
    ServiceMedian,
    /// The 99th percentile of the service times.
    #[serde(rename = "service p99")]
    ServiceTail,
    /// Right answers a second.
    #[serde(rename = "rate")]
    Rate,
}

impl Figure {
    /// Those of an open loop, whose rate is given.
    pub const OPEN: [Figure; 4] =
        [Figure::ResponseMedian, Figure::ResponseTail, Figure::ServiceMedian, Figure::ServiceTail];

    /// Those of a closed loop, which has a message ready whenever there is room for it.
    pub const CLOSED: [Figure; 3] = [Figure::ServiceMedian, Figure::ServiceTail, Figure::Rate];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Figure::ResponseMedian => "response p50",
            Figure::ResponseTail => "response p99",
            Figure::ServiceMedian => "service p50",
            Figure::ServiceTail => "service p99",
            Figure::Rate => "rate",
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Interference {
    /// The number of blocks, each of which had each transport alone, both together twice, and each alone again.
    pub blocks: usize,
    /// How long each of the six parts of a block sent, in nanoseconds.
    pub part_ns: u64,
    /// The number of parts in which the generator was too busy to be believed.
    pub generator_was_busy: usize,
    /// What each transport takes beside the other, figure by figure.
    pub effects: Vec<Effect>,
}

/// What one transport takes beside the other, in one figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Effect {
    /// `udp` or `tcp`.
    pub transport: String,
    /// Which figure.
    pub figure: Figure,
    /// What it is alone, in nanoseconds, or answers a second: the geometric mean over the blocks.
    pub alone: f64,
    /// What it is beside the other transport, in nanoseconds, or answers a second.
    pub together: f64,
    /// By how much; none where messages were lost at the percentile, or in too few blocks to tell.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ratio: Option<Ratio>,
    /// What it seems to differ by from itself, before and after the parts together, as a share.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub noise: Option<f64>,
    /// Whether that is neither chance nor the noise.
    pub is_called: bool,
}

/// What a figure beside the other transport is, divided by what it is alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ratio {
    /// The number itself.
    pub by: f64,
    /// The lower number of its interval: all intervals of a run together hold the truth with 95 % confidence.
    pub low: f64,
    /// The upper number.
    pub high: f64,
}

/// A figure of one transport in one block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Values {
    /// Alone before.
    pub before: f64,
    /// Alone after.
    pub after: f64,
    /// Alone, both times together.
    pub alone: f64,
    /// Beside the other.
    pub together: f64,
}

impl Effect {
    /// From the values of all blocks. It is one of so many effects that are read together.
    pub fn of(transport: Transport, figure: Figure, blocks: &[Values], effects: usize, seed: u64) -> Self {
        let compare = |a: fn(&Values) -> f64, b: fn(&Values) -> f64| {
            let pairs: Vec<Pair> = blocks.iter().map(|values| Pair { a: a(values), b: b(values) }).collect();
            difference::over_blocks_among(&pairs, effects, seed)
        };
        let difference = compare(|values| values.alone, |values| values.together);
        let noise = compare(|values| values.before, |values| values.after).map(Difference::reach);
        let is_called = difference.is_some_and(|one| one.is_called(noise));
        let ratio =
            difference.map(|Difference { by, low, high }| Ratio { by: 1.0 + by, low: 1.0 + low, high: 1.0 + high });
        Effect {
            transport: transport.name().into(),
            figure,
            alone: geometric_mean(blocks.iter().map(|values| values.alone)),
            together: geometric_mean(blocks.iter().map(|values| values.together)),
            ratio,
            noise,
            is_called,
        }
    }
}

/// One transport in one or several parts.
#[derive(Debug)]
struct Stretch {
    counts: Counts,
    response: Histogram<u64>,
    service: Histogram<u64>,
    time: Nanos,
}

impl Default for Stretch {
    fn default() -> Self {
        Stretch { counts: Counts::default(), response: histogram(), service: histogram(), time: 0 }
    }
}

impl Stretch {
    fn add(&mut self, recorder: &Recorder, time: Nanos) {
        const SAME: &str = "all histograms have the same bounds";
        self.counts.add(&recorder.counts);
        self.response.add(&recorder.response).expect(SAME);
        self.service.add(&recorder.service).expect(SAME);
        self.time += time;
    }

    fn figure(&self, figure: Figure) -> f64 {
        let Stretch { counts, response, service, time } = self;
        let unanswered = counts.unanswered();
        // What has no value, because it lies among the messages lost, is 0, and has no ratio.
        let quantile = |histogram, q| all_in(histogram, unanswered, q).map_or(0.0, |nanos| nanos as f64);
        match figure {
            Figure::ResponseMedian => quantile(response, 0.5),
            Figure::ResponseTail => quantile(response, 0.99),
            Figure::ServiceMedian => quantile(service, 0.5),
            Figure::ServiceTail => quantile(service, 0.99),
            Figure::Rate => counts.replied as f64 * SECOND as f64 / (*time).max(1) as f64,
        }
    }
}

/// A block that is being measured: for each transport alone before, alone after, alone, and together.
#[derive(Debug, Default)]
struct Block([[Stretch; 4]; 2]);

/// Blocks as they are measured.
#[derive(Debug)]
pub struct Blocks {
    figures: &'static [Figure],
    block: Block,
    /// For each transport, for each figure, the values of the blocks that are over.
    values: [Vec<Vec<Values>>; 2],
}

impl Blocks {
    /// None yet. An open loop is asked for other figures than a closed one.
    pub fn new(is_open: bool) -> Self {
        let figures: &[Figure] = if is_open { &Figure::OPEN } else { &Figure::CLOSED };
        Blocks { figures, block: Block::default(), values: [(); 2].map(|()| vec![Vec::new(); figures.len()]) }
    }

    /// Notes the part with this place in [`ORDER`], which sent for `time`. Recorders of transports that had no load are
    /// passed over.
    pub fn note<'a>(&mut self, place: usize, recorders: impl Iterator<Item = (Transport, &'a Recorder)>, time: Nanos) {
        const BEFORE: usize = 0;
        const AFTER: usize = 1;
        const ALONE: usize = 2;
        const TOGETHER: usize = 3;
        for (transport, recorder) in recorders {
            let index = usize::from(transport != TRANSPORTS[0]);
            let stretches = &mut self.block.0[index];
            match ORDER[place] {
                None => stretches[TOGETHER].add(recorder, time),
                Some(only) if only == transport => {
                    let half = if place < ORDER.len() / 2 { BEFORE } else { AFTER };
                    stretches[half].add(recorder, time);
                    stretches[ALONE].add(recorder, time);
                }
                Some(_) => {}
            }
        }
        if place + 1 < ORDER.len() {
            return;
        }
        let block = std::mem::take(&mut self.block);
        for (stretches, values) in block.0.iter().zip(&mut self.values) {
            for (figure, values) in self.figures.iter().zip(values) {
                let [before, after, alone, together] =
                    [BEFORE, AFTER, ALONE, TOGETHER].map(|one| stretches[one].figure(*figure));
                values.push(Values { before, after, alone, together });
            }
        }
    }

    /// What was found in the blocks that are over.
    pub fn effects(&self, seed: u64) -> Vec<Effect> {
        let number = TRANSPORTS.len() * self.figures.len();
        let of = |transport: Transport, figures: &'_ Vec<Vec<Values>>| {
            let each = self.figures.iter().zip(figures);
            each.map(|(figure, values)| Effect::of(transport, *figure, values, number, seed)).collect::<Vec<_>>()
        };
        TRANSPORTS.into_iter().zip(&self.values).flat_map(|(transport, figures)| of(transport, figures)).collect()
    }

    /// How many blocks are over.
    pub fn len(&self) -> usize {
        self.values[0][0].len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
