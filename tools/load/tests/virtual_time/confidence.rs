//! How often a confidence interval holds the truth, for latencies that are alike in the ways in which real ones are.

use super::*;
use hdrhistogram::Histogram;
use shout_load::evidence::{self, Evidence};
use shout_load::ledger::Flight;
use shout_load::payload::Identity;
use shout_load::recorder::histogram;

/// How long each run lasts, and how many messages it has a second.
const LENGTH: f64 = 10.0;
const RATE: f64 = 2_000.0;

const RUNS: u64 = 100;

/// The runs in which the percentile is looked for that all of them have together.
const RUNS_OF_TRUTH: u64 = 100;

/// Where randomness comes from.
struct Chance(Xoshiro256PlusPlus);

impl Chance {
    fn unit(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }

    fn normal(&mut self) -> f64 {
        (2.0 * self.exponential()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// What a latency in microseconds hangs on, at a time in seconds.
type Latency = Box<dyn FnMut(f64, &mut Chance) -> f64>;

/// Each latency has nothing to do with the others.
fn independent() -> Latency {
    Box::new(|_, chance| 50.0 * chance.exponential())
}

/// A queue that is busy for nine tenths of the time: M/M/1, found in its steady state.
fn queue() -> Latency {
    let service = 0.9 / RATE;
    let mut free_at = None;
    Box::new(move |time, chance| {
        let found: f64 = free_at.unwrap_or_else(|| time + 10.0 * service * chance.exponential());
        let done = found.max(time) + service * chance.exponential();
        free_at = Some(done);
        1e6 * (done - time)
    })
}

/// One in fifty messages is six times as slow, and they come in lumps of some 6 ms.
fn lumps() -> Latency {
    const LENGTHS: [f64; 2] = [0.3, 0.006];
    let mut is_slow = None;
    let mut until = 0.0;
    Box::new(move |time, chance| {
        let mut now = is_slow.unwrap_or_else(|| chance.unit() < LENGTHS[1] / (LENGTHS[0] + LENGTHS[1]));
        if is_slow.is_none() {
            until = time + LENGTHS[usize::from(now)] * chance.exponential();
        }
        while time > until {
            now = !now;
            until += LENGTHS[usize::from(now)] * chance.exponential();
        }
        is_slow = Some(now);
        40.0 * (0.35 * chance.normal()).exp() * if now { 6.0 } else { 1.0 }
    })
}

/// The machine wanders between fast and slow, and has forgotten after some 100 ms where it was.
fn wandering() -> Latency {
    const MEMORY: f64 = 0.1;
    let mut place = None;
    let mut last = 0.0;
    Box::new(move |time, chance| {
        let kept = (-(time - last) / MEMORY).exp();
        let fresh = chance.normal();
        let now = place.map_or(fresh, |before: f64| kept * before + (1.0 - kept * kept).sqrt() * fresh);
        (place, last) = (Some(now), time);
        40.0 * (0.3 * now + 0.3 * chance.normal()).exp()
    })
}

/// A run's response times, and what was collected about them.
fn measured(mut latency: Latency, seed: u64) -> (Histogram<u64>, Evidence) {
    let mut chance = Chance(Xoshiro256PlusPlus::seed_from_u64(seed));
    let (mut response, mut evidence) = (histogram(), Evidence::default());
    evidence.begin(0);
    let mut time = 0.0;
    for sequence in 0.. {
        time += chance.exponential() / RATE;
        if time > LENGTH {
            break;
        }
        let (sent, took) = ((time * 1e9) as Nanos, (latency(time, &mut chance) * 1e3) as Nanos);
        evidence.replied(Flight { intended: sent, issued: sent }, Identity { lane: 0, sequence }, sent + took);
        response.saturating_record(took);
    }
    (response, evidence)
}

#[test]
fn an_interval_holds_the_truth_as_often_as_it_promises() {
    for (name, law) in
        [("independent", independent as fn() -> Latency), ("queue", queue), ("lumps", lumps), ("wandering", wandering)]
    {
        let mut whole = histogram();
        for run in 0..RUNS_OF_TRUTH {
            whole.add(measured(law(), 1_000_000 + run).0).unwrap();
        }
        let runs: Vec<_> = (0..RUNS).map(|run| measured(law(), run)).collect();
        for q in [0.5, 0.9, 0.99] {
            let truth = whole.value_at_quantile(q);
            let holds = |(response, evidence): &&(Histogram<u64>, Evidence)| {
                let size = evidence::effective_size_at(q, std::iter::once(evidence));
                let (low, high) = evidence::interval(response, q, size);
                low.is_none_or(|low| low <= truth) && high.is_none_or(|high| truth <= high)
            };
            let held = runs.iter().filter(holds).count();
            // 95 promised, with a standard error of 2.2; and of independent ones an interval must not promise too little.
            assert!(held >= 91, "{name}: p{} held {held} of {RUNS} times", 100.0 * q);
        }
    }
}
