//! The throughput-latency curve: its points, which of them were reached, and its knee. Pure: no I/O.

use serde::Serialize;

use super::judge::{self};
use super::trial::Trial;
use crate::report::document::{Document, Latency};
use crate::verdict::Verdict;

/// Points with a greater loss are no candidates for the knee: what is lost has no latency that would speak against them.
const MOST_LOSS: f64 = 0.01;

/// What kept a point from its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reached {
    /// Nothing did.
    Yes,
    /// The server took no more.
    ServerHeldUp,
    /// The generator was too slow, or too late: the latency is its own.
    NotByTheGenerator,
}

/// One rate of a sweep.
#[derive(Debug, Clone, Serialize)]
pub struct Point {
    /// Messages a second that were asked for.
    pub offered: f64,
    /// Messages a second that were sent.
    pub achieved: f64,
    /// Right answers a second.
    pub answered: f64,
    /// Messages sent.
    pub sent: u64,
    /// Messages lost.
    pub lost: u64,
    /// Whether the rate was reached.
    pub reached: Reached,
    /// The verdict on the measurement.
    pub verdict: Verdict,
    /// Response times, with their confidence.
    pub response: Latency,
    /// Processor time of the server for each message, where it runs on this machine.
    pub server_cpu_ns_per_message: Option<u64>,
}

impl Point {
    /// The point of a trial and its document.
    pub fn of(trial: &Trial, document: &Document, generator_was_busy: bool) -> Self {
        let kept = trial.achieved >= judge::KEPT * trial.offered;
        let reached = match (kept, document.counts.send_blocked > 0) {
            (true, _) if !generator_was_busy => Reached::Yes,
            (false, true) if !generator_was_busy => Reached::ServerHeldUp,
            (true | false, _) => Reached::NotByTheGenerator,
        };
        Point {
            offered: trial.offered,
            achieved: trial.achieved,
            answered: trial.answered,
            sent: document.counts.sent,
            lost: document.counts.lost,
            reached,
            verdict: document.validity.verdict,
            response: document.latency.response.clone(),
            server_cpu_ns_per_message: document.server.as_ref().map(|server| server.cpu_ns_per_message),
        }
    }

    /// The part that was lost.
    pub fn loss(&self) -> f64 {
        self.lost as f64 / self.sent.max(1) as f64
    }
}

/// The knee: the point with the greatest power, which is answers a second for each second of mean response time
/// (Kleinrock 1979). Before it a part more load costs a smaller part of latency, behind it a larger one. It has no
/// parameter, and for M/M/1 it lies at half the capacity.
pub fn knee(points: &[Point]) -> Option<usize> {
    let power = |point: &Point| point.answered / point.response.mean.max(1) as f64;
    let is_candidate =
        |point: &Point| point.reached == Reached::Yes && point.loss() <= MOST_LOSS && point.response.n > 0;
    let candidates = points.iter().enumerate().filter(|(_, point)| is_candidate(point));
    candidates.max_by(|(_, a), (_, b)| power(a).total_cmp(&power(b))).map(|(index, _)| index)
}

/// The rates of `auto`: ten steps up to the greatest that a closed loop reached, and one beyond.
pub fn steps_to(most: f64) -> Vec<f64> {
    (1..=11).map(|tenth| most * f64::from(tenth) / 10.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::histogram;

    /// A point of M/M/1 with 10,000 served a second.
    fn point(rate: f64) -> Point {
        let mut response = histogram();
        response.record((1e9 / (10_000.0 - rate)) as u64).unwrap();
        Point {
            offered: rate,
            achieved: rate,
            answered: rate,
            sent: 1000,
            lost: 0,
            reached: Reached::Yes,
            verdict: Verdict::Valid,
            response: Latency::of(&response),
            server_cpu_ns_per_message: None,
        }
    }

    #[test]
    fn the_knee_of_mm1_is_at_half_its_capacity() {
        let mut points: Vec<Point> = (1..10).map(|tenth| point(f64::from(tenth) * 1000.0)).collect();
        assert_eq!(knee(&points), Some(4));
        points[4].reached = Reached::NotByTheGenerator;
        assert!(matches!(knee(&points), Some(3 | 5)), "what was not reached is no knee");
        for point in &mut points {
            point.lost = 100;
        }
        assert_eq!(knee(&points), None);
    }
}
