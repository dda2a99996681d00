//! The throughput-latency curve: its points, which of them were reached, and its knee. Pure: no I/O.

use serde::Serialize;

use super::judge::{self};
use super::trial::Trial;
use crate::report::document::{Document, Latency};
use crate::verdict::Verdict;

/// Points with a greater loss are no candidates for the knee: what is lost has no latency that would speak against them.
const MOST_LOSS: f64 = 0.01;

/// What kept a point from its rate, or spoilt its latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Reached {
    /// Nothing did.
    Yes,
    /// The server took no more.
    ServerHeldUp,
    /// The generator was too slow.
    NotByTheGenerator,
    /// The rate was reached, but the generator was late, or waited for a processor: the latency is its own.
    GeneratorWasLate,
}

impl Reached {
    /// Whether the generator, and not the server, made the point what it is.
    pub fn is_generators(self) -> bool {
        match self {
            Reached::Yes | Reached::ServerHeldUp => false,
            Reached::NotByTheGenerator | Reached::GeneratorWasLate => true,
        }
    }
}

/// One rate of a sweep.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Point {
    /// Messages a second that were asked for.
    pub offered: f64,
    /// Messages a second that were sent.
    pub achieved: f64,
    /// Answers a second that were right.
    pub answered: f64,
    /// Messages sent.
    pub sent: u64,
    /// Messages lost.
    pub lost: u64,
    /// Whether the rate was reached, and by whose fault not.
    pub reached: Reached,
    /// The verdict on the measurement.
    pub verdict: Verdict,
    /// Response times, with the confidence of their percentiles.
    pub response: Latency,
    /// Processor time of the server for each message, in nanoseconds; null where it does not run on this machine.
    pub server_cpu_ns_per_message: Option<u64>,
}

impl Point {
    /// The point of a trial and its document.
    pub fn of(trial: &Trial, document: &Document) -> Self {
        let was_held_up = document.counts.send_blocked > 0;
        let reached = match (is_kept(trial), trial.generator_was_busy) {
            (true, false) => Reached::Yes,
            (true, true) => Reached::GeneratorWasLate,
            (false, false) if was_held_up => Reached::ServerHeldUp,
            (false, true | false) => Reached::NotByTheGenerator,
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

/// Whether messages left at the rate that was asked for.
fn is_kept(trial: &Trial) -> bool {
    trial.achieved >= judge::KEPT * trial.offered
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

/// Where [`greatest`] begins, and how often it doubles at most: to 65 million a second.
const FIRST: f64 = 4000.0;
const MOST_DOUBLINGS: usize = 14;

/// About the greatest rate that is answered: of trials whose rates double until one fails, and fails once more. It fails
/// where messages do not leave, are lost, or take ten times as long as at first and more than 10 ms.
pub fn greatest<E>(make: &mut dyn FnMut(f64) -> Result<Trial, E>) -> Result<f64, E> {
    const SLOW: u64 = 10_000_000;
    let (mut rate, mut most, mut limit) = (FIRST, 0.0_f64, None);
    for _ in 0..=MOST_DOUBLINGS {
        for is_last_chance in [false, true] {
            let trial = make(rate)?;
            let p99 = trial.response.value_at_quantile(0.99);
            let limit = *limit.get_or_insert(SLOW.max(10 * p99));
            let is_lossy = trial.lost as f64 > MOST_LOSS * trial.sent as f64;
            most = most.max(trial.answered.min(trial.achieved));
            if is_kept(&trial) && !is_lossy && p99 <= limit {
                break;
            }
            if is_last_chance {
                return Ok(most);
            }
        }
        rate *= 2.0;
    }
    Ok(most)
}

/// The rates of `auto`: ten steps up to the greatest that was answered, and one beyond.
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
        points[4].reached = Reached::GeneratorWasLate;
        assert!(matches!(knee(&points), Some(3 | 5)), "nor what is the generator's own latency");
        for point in &mut points {
            point.lost = 100;
        }
        assert_eq!(knee(&points), None);
    }

    /// A trial of half a second on a server that takes so many a second and lets the others go.
    fn trial(rate: f64, capacity: f64) -> Trial {
        let sent = (rate / 2.0) as u64;
        let lost = ((rate - capacity).max(0.0) / 2.0) as u64;
        let mut response = histogram();
        response.record_n(100_000, sent - lost).unwrap();
        Trial {
            offered: rate,
            achieved: rate,
            answered: rate.min(capacity),
            sent,
            lost,
            own_losses: 0,
            batches: Vec::new(),
            response,
            lag_p99: 0,
            generator_was_busy: false,
        }
    }

    #[test]
    fn the_greatest_rate_is_found_and_no_single_stall_taken_for_it() {
        for capacity in [1000.0, 90_000.0, 1.7e6] {
            let mut number = 0;
            let mut make = |rate: f64| {
                number += 1;
                let mut one = trial(rate, capacity);
                if number == 3 {
                    one.response.record_n(1_000_000_000, one.sent / 20).unwrap();
                }
                Ok::<_, ()>(one)
            };
            assert_eq!(greatest(&mut make), Ok(capacity), "after {number} trials");
        }
        let mut endless = |rate: f64| Ok::<_, ()>(trial(rate, f64::INFINITY));
        assert_eq!(greatest(&mut endless), Ok(FIRST * f64::from(1 << MOST_DOUBLINGS)));
    }
}
