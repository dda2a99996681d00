//! The blocks of a live comparison: A, B and A once more are measured in turns, forwards and back. Does I/O.
//!
//! Whatever drifts (temperature, neighbours, the frequency of the processor) meets all three alike in a block, and the
//! differences within it owe nothing to that. By how much A differs from itself, on connections of its own and in the same
//! minutes, is the noise floor.

use hdrhistogram::Histogram;

use super::difference::{FIGURES, Figure, Pair, response_times};
use super::setup::{generator_was_busy, wrong_answers};
use super::side::Side;
use crate::clock::{Nanos, SECOND};
use crate::program::Signals;
use crate::recorder::histogram;
use crate::report::document::Document;
use crate::report::repeats::{Repeats, Run};
use crate::run::Failure;

/// A, B, and A once more.
const SIDES: usize = 3;

/// Forwards and back, so that each has the same place in time on average. Every other block begins at the other end: both
/// turns of A have the same neighbours.
const ORDERS: [[usize; 2 * SIDES]; 2] = [[0, 1, 2, 2, 1, 0], [2, 1, 0, 0, 1, 2]];

/// One of so many blocks is measured again, if need be: one in which the generator had to wait for a processor says nothing.
const BLOCKS_FOR_A_REPEAT: usize = 4;

/// What one side did, in a block or in all of them.
pub(super) struct Part {
    /// Response times, with those of lost messages as long as the timeout.
    pub(super) response: Histogram<u64>,
    pub(super) sent: u64,
    pub(super) lost: u64,
    pub(super) wrong: u64,
    replied: u64,
    time: Nanos,
}

impl Part {
    fn new() -> Self {
        Part { response: histogram(), sent: 0, lost: 0, wrong: 0, replied: 0, time: 0 }
    }

    /// A whole run.
    pub(super) fn of(run: &Document) -> Self {
        let mut part = Part::new();
        part.add_run(run);
        part
    }

    /// Several whole runs of the same load.
    pub(super) fn of_repeats(repeats: &Repeats) -> Self {
        let sum = |of: fn(&Run) -> u64| repeats.runs.iter().map(of).sum();
        Part {
            response: repeats.response.histogram().unwrap_or_else(histogram),
            sent: sum(|run| run.sent),
            lost: sum(|run| run.lost),
            // Each run with a wrong answer has failed by itself.
            wrong: 0,
            replied: sum(|run| run.replied),
            time: sum(|run| run.measured_ns),
        }
    }

    fn add_run(&mut self, run: &Document) {
        self.add(&Part {
            response: response_times(run),
            sent: run.counts.sent,
            lost: run.counts.lost,
            wrong: wrong_answers(run),
            replied: run.counts.replied,
            time: run.rated_ns(),
        });
    }

    fn add(&mut self, other: &Part) {
        self.response.add(&other.response).expect("all histograms have the same bounds");
        self.sent += other.sent;
        self.lost += other.lost;
        self.wrong += other.wrong;
        self.replied += other.replied;
        self.time += other.time;
    }

    pub(super) fn figure(&self, figure: Figure) -> f64 {
        let quantile = |q: f64| if self.response.is_empty() { 0.0 } else { self.response.value_at_quantile(q) as f64 };
        match figure {
            Figure::Median => quantile(0.5),
            Figure::Tail => quantile(0.99),
            Figure::Rate => self.replied as f64 * SECOND as f64 / self.time.max(1) as f64,
        }
    }
}

/// All blocks of a comparison.
pub(super) struct Blocks {
    /// Of each figure, A and B in each block.
    pub(super) pairs: [Vec<Pair>; 3],
    /// Of each figure, A and A once more.
    pub(super) floor: [Vec<Pair>; 3],
    /// How many blocks hold a part in which the generator was too busy.
    pub(super) busy: usize,
    /// What A and B did in all of them.
    pub(super) sums: [Part; 2],
}

/// Measures so many blocks, each part of them for `slice`, and says how it goes.
pub(super) fn measure(
    sides: &mut [&mut Side; SIDES],
    number: usize,
    slice: Nanos,
    signals: &Signals,
    show: &dyn Fn(&str),
) -> Result<Blocks, Failure> {
    let mut blocks =
        Blocks { pairs: Default::default(), floor: Default::default(), busy: 0, sums: [Part::new(), Part::new()] };
    let mut repeats = number / BLOCKS_FOR_A_REPEAT;
    let mut done = 0;
    while done < number {
        show(&format!("A, B and A again: block {} of {number}", done + 1));
        let mut parts = [Part::new(), Part::new(), Part::new()];
        let mut is_busy = false;
        for side in ORDERS[done % ORDERS.len()] {
            let run = sides[side].measure(slice, signals)?;
            if run.time.interrupted {
                return Ok(blocks);
            }
            is_busy |= generator_was_busy(&run);
            parts[side].add_run(&run);
        }
        if is_busy && repeats > 0 {
            repeats -= 1;
            continue;
        }
        done += 1;
        blocks.busy += usize::from(is_busy);
        for (index, figure) in FIGURES.into_iter().enumerate() {
            let [a, b, again] = [0, 1, 2].map(|side: usize| parts[side].figure(figure));
            blocks.pairs[index].push(Pair { a, b });
            blocks.floor[index].push(Pair { a, b: again });
        }
        for (sum, part) in blocks.sums.iter_mut().zip(&parts) {
            sum.add(part);
        }
    }
    Ok(blocks)
}
