//! One stage at one rate, as a search looks at it: consecutive batches of messages and what became of them. Pure: no I/O.

use hdrhistogram::Histogram;

use crate::clock::{Nanos, SECOND};
use crate::engine::Engine;
use crate::recorder;

/// Batches of a trial that count. Nineteen degrees of freedom: fewer make the bounds wide, more make the batches so short
/// that neighbours share a busy period of the server and are no longer independent.
pub const BATCHES: usize = 20;

/// Batches at the start of a trial that do not count: a server that has cooled down is faster at first than it stays.
pub const SETTLING: usize = 5;

/// How long each interval of a trial must be for a trial of this length; see [`Engine::record_intervals`].
pub fn interval(length: Nanos) -> Nanos {
    (length / (BATCHES + SETTLING) as Nanos).max(1)
}

/// What became of the messages of a stretch of a trial.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Messages without a right answer in time.
    pub lost: u64,
    /// Response times of the others.
    pub response: Histogram<u64>,
}

/// A stage of an open loop at a constant rate.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Messages a second that the schedule asked for.
    pub offered: f64,
    /// Messages a second that left: the share of the schedule that was kept, times its rate. It has none of the chance in
    /// how many arrivals a random schedule happened to have.
    pub achieved: f64,
    /// Right answers a second of sending.
    pub answered: f64,
    /// The batches, without those in which the server settled.
    pub batches: Vec<Batch>,
    /// Service times of the whole trial: what was not the generator's own delay.
    pub service: Histogram<u64>,
    /// The 99th percentile of the generator's own delay.
    pub lag_p99: Nanos,
}

impl Trial {
    /// The stage that `engine` has just ended, whose schedule asked for `offered` messages a second, and which was cut
    /// into intervals of [`interval`].
    pub fn of(engine: &Engine, offered: f64) -> Self {
        let mut counts = recorder::Counts::default();
        let (mut service, mut lag) = (recorder::histogram(), recorder::histogram());
        for (_, recorder) in engine.recorders() {
            counts.add(&recorder.counts);
            service.add(&recorder.service).expect("all histograms have the same bounds");
            lag.add(&recorder.lag).expect("all histograms have the same bounds");
        }
        let intervals = engine.intervals().0;
        // What comes after the last whole interval, the drain, belongs to the last batch: losses are noticed there.
        let mut batches: Vec<Batch> = Vec::with_capacity(BATCHES + 1);
        for interval in intervals.iter().skip(SETTLING) {
            let batch = Batch { lost: interval.flow.lost, response: interval.response.histogram() };
            if batches.len() < BATCHES {
                batches.push(batch);
            } else if let Some(last) = batches.last_mut() {
                last.lost += batch.lost;
                last.response.add(batch.response).expect("all histograms have the same bounds");
            }
        }
        let sent = counts.sent as f64 / counts.scheduled.max(1) as f64;
        Trial {
            offered,
            achieved: offered * sent.min(1.0),
            answered: counts.replied as f64 * SECOND as f64 / engine.sending_time().max(1) as f64,
            batches,
            service,
            lag_p99: lag.value_at_quantile(0.99),
        }
    }
}
