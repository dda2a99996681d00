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

/// The shortest trial. Its batches are 2 ms long: with shorter ones a single turn of the scheduler is a whole batch, and a
/// trial may end before its first message leaves.
pub const SHORTEST: Nanos = SECOND / 20;

/// How long each interval of a trial must be for a trial of this length; see [`Engine::record_intervals`].
pub fn interval(length: Nanos) -> Nanos {
    (length / (BATCHES + SETTLING) as Nanos).max(1)
}

/// What became of the messages of a stretch of a trial.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Messages without an answer in time.
    pub lost: u64,
    /// Response times of the others.
    pub response: Histogram<u64>,
}

impl Batch {
    /// One without messages.
    pub fn empty() -> Self {
        Batch { lost: 0, response: recorder::histogram() }
    }
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
    /// Messages that left.
    pub sent: u64,
    /// Messages without an answer in time.
    pub lost: u64,
    /// Those of them that our own sockets dropped.
    pub own_losses: u64,
    /// The batches, without those in which the server settled.
    pub batches: Vec<Batch>,
    /// Response times of the whole trial.
    pub response: Histogram<u64>,
    /// The 99th percentile of the generator's own delay.
    pub lag_p99: Nanos,
    /// Whether the generator, by its own verdict, was too slow or too busy.
    pub generator_was_busy: bool,
}

impl Trial {
    /// The stage that `engine` has just ended, whose schedule asked for `offered` messages a second for `length`, and
    /// which was cut into intervals of [`interval`]. A message was given up when it had been under way for `timeout`.
    pub fn of(engine: &Engine, offered: f64, length: Nanos, timeout: Nanos) -> Self {
        let mut counts = recorder::Counts::default();
        let (mut response, mut lag) = (recorder::histogram(), recorder::histogram());
        for (_, recorder) in engine.recorders() {
            counts.add(&recorder.counts);
            response.add(&recorder.response).expect("all histograms have the same bounds");
            lag.add(&recorder.lag).expect("all histograms have the same bounds");
        }
        let sent = counts.sent as f64 / counts.scheduled.max(1) as f64;
        Trial {
            offered,
            achieved: offered * sent.min(1.0),
            answered: counts.replied as f64 * SECOND as f64 / engine.sending_time().max(1) as f64,
            sent: counts.sent,
            lost: counts.lost,
            own_losses: 0,
            batches: batches(engine, interval(length), timeout),
            response,
            lag_p99: lag.value_at_quantile(0.99),
            generator_was_busy: false,
        }
    }
}

/// What happened in each batch after those of settling; what came while the stage drained belongs to the last one.
fn batches(engine: &Engine, length: Nanos, timeout: Nanos) -> Vec<Batch> {
    let mut batches: Vec<Batch> = std::iter::repeat_with(Batch::empty).take(BATCHES).collect();
    let place = |time: Nanos| ((time / length) as usize).checked_sub(SETTLING).map(|index| index.min(BATCHES - 1));
    for interval in engine.intervals().0 {
        // Placed by their times: of a long drain, neighbours have been joined.
        if let Some(index) = place(interval.start) {
            batches[index].response.add(interval.response.histogram()).expect("all histograms have the same bounds");
        }
        // A loss is noticed a timeout after the message was sent, and belongs to the load that it was sent under. What
        // was noticed sooner was no matter of time, such as a connection that broke.
        let noticed = interval.start + interval.length / 2;
        if let Some(index) = place(noticed.checked_sub(timeout).unwrap_or(noticed)) {
            batches[index].lost += interval.flow.lost;
        }
    }
    batches
}
