//! A search for the capacity of servers whose capacity follows from a formula.

use std::convert::Infallible;

use super::*;
use shout_load::curves::aim::{Aim, Lengths, Tried};
use shout_load::curves::capacity::{Answer, Limit, Limits};
use shout_load::curves::judge::judge;
use shout_load::curves::trial::{BATCHES, Batch, SETTLING, Trial, interval};
use shout_load::recorder::histogram;

/// Messages a second that the server can serve at all.
pub(crate) const SERVICE_RATE: f64 = 10_000.0;

/// How the time that a message takes to serve is spread around its mean.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Law {
    /// M/M/1.
    Exponential,
    /// M/D/1.
    Constant,
}

/// A worker that serves first come, first served.
pub(crate) struct Queue {
    law: Law,
    random: Xoshiro256PlusPlus,
    pub(crate) free_at: Nanos,
}

impl Queue {
    pub(crate) fn new(law: Law, seed: u64) -> Self {
        Queue { law, random: Xoshiro256PlusPlus::seed_from_u64(seed), free_at: 0 }
    }

    /// An exponential number with the mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -(((self.random.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64).ln()
    }

    /// When a message that comes now is answered.
    pub(crate) fn answers_at(&mut self, now: Nanos) -> Nanos {
        let share = match self.law {
            Law::Exponential => self.exponential(),
            Law::Constant => 1.0,
        };
        self.free_at = self.free_at.max(now) + ((1e9 * share / SERVICE_RATE) as Nanos).max(1);
        self.free_at
    }

    /// A trial as the engine would make it, without its sockets' worth of accounts: a hundred searches have ten million
    /// messages.
    fn trial(&mut self, rate: f64, length: Nanos) -> Trial {
        let interval = interval(length);
        let mut batches: Vec<Batch> = (0..BATCHES).map(|_| Batch::empty()).collect();
        let (mut now, start, mut sent) = (0, self.free_at, 0);
        loop {
            now += (1e9 * self.exponential() / rate) as Nanos;
            if now >= length {
                break;
            }
            sent += 1;
            let response = self.answers_at(start + now) - (start + now);
            if let Some(index) = ((now / interval) as usize).checked_sub(SETTLING) {
                batches[index.min(BATCHES - 1)].response.saturating_record(response);
            }
        }
        trial(rate, sent, 0, batches)
    }
}

/// A trial of a generator without faults.
pub(crate) fn trial(rate: f64, sent: u64, lost: u64, batches: Vec<Batch>) -> Trial {
    Trial {
        offered: rate,
        achieved: rate,
        answered: rate,
        sent,
        lost,
        own_losses: 0,
        batches,
        response: histogram(),
        lag_p99: 0,
        generator_was_busy: false,
    }
}

/// The probability that a message waits at most `wait` seconds for a worker that takes the same time for each, when
/// `rate` a second arrive: Erlang's formula (1909) for M/D/1.
pub(crate) fn waits_at_most(wait: f64, rate: f64) -> f64 {
    let service = 1.0 / SERVICE_RATE;
    let term = |k: i32| {
        let time = rate * (f64::from(k) * service - wait);
        let factorial: f64 = (1..=k).map(f64::from).product();
        time.powi(k) / factorial * (-time).exp()
    };
    (1.0 - rate * service) * (0..=(wait / service) as i32).map(term).sum::<f64>()
}

/// The rate at which 99 % of the messages take at most `bound` seconds.
fn capacity(law: Law, bound: f64) -> f64 {
    match law {
        // The response time of M/M/1 is exponential, with the rate that is left over.
        Law::Exponential => SERVICE_RATE - 100_f64.ln() / bound,
        Law::Constant => {
            let (mut low, mut high) = (0.0, SERVICE_RATE);
            for _ in 0..60 {
                let middle = f64::midpoint(low, high);
                let holds = waits_at_most(bound - 1.0 / SERVICE_RATE, middle) >= 0.99;
                (low, high) = if holds { (middle, high) } else { (low, middle) };
            }
            low
        }
    }
}

pub(crate) const LIMITS: Limits = Limits { first: 1000.0, least: 10.0, most: 1e6, precision: 0.05 };

/// A search in which `make` makes the trials, and what it tried.
pub(crate) fn search_with(
    aim: &Aim,
    lengths: Lengths,
    make: &mut dyn FnMut(f64, Nanos) -> Trial,
) -> (Answer, Vec<Tried>) {
    let mut tried = Vec::new();
    let answer = aim.search(LIMITS, lengths, &mut tried, &mut |rate, length| Ok::<_, Infallible>(make(rate, length)));
    let Ok(answer) = answer;
    (answer, tried)
}

fn search(law: Law, bound: &str, seed: u64) -> Answer {
    let aim = Aim::Objectives(vec![format!("p99<{bound}").parse().unwrap()]);
    let mut server = Queue::new(law, seed);
    let lengths = Lengths { short: SECOND / 2, long: 6 * SECOND };
    search_with(&aim, lengths, &mut |rate, length| server.trial(rate, length)).0
}

/// What `one` says for each of the seeds from 0 to 99, in two threads.
pub(crate) fn hundred<T: Send>(one: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let half = |seeds: std::ops::Range<u64>| seeds.map(&one).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| half(0..50));
        let later = half(50..100);
        let mut all = first.join().unwrap();
        all.extend(later);
        all
    })
}

/// How many of a hundred searches, each with its own seed, hold the truth between their bounds, and how wide they are.
fn searches(law: Law, bound: &str, seconds: f64) -> (usize, f64) {
    let truth = capacity(law, seconds);
    let one = |seed: u64| {
        let answer = search(law, bound, seed);
        let (lower, upper) = (answer.lower.unwrap_or(0.0), answer.upper.unwrap_or(f64::INFINITY));
        assert!(matches!(answer.limit, Limit::Server | Limit::Unclear), "{answer:?}");
        ((lower..=upper).contains(&truth), (upper - lower) / truth)
    };
    let all = hundred(one);
    let mut widths: Vec<f64> = all.iter().map(|(_, width)| *width).collect();
    widths.sort_by(f64::total_cmp);
    (all.iter().filter(|(held, _)| *held).count(), widths[50])
}

#[test]
fn the_formulas_agree_with_what_is_known_of_both_queues() {
    assert!((capacity(Law::Exponential, 0.002) - 7697.4).abs() < 0.1);
    for (law, bound) in [(Law::Exponential, 2 * MILLISECOND), (Law::Constant, MILLISECOND)] {
        let rate = capacity(law, bound as f64 / 1e9);
        let trial = Queue::new(law, 5).trial(rate, 100 * SECOND);
        let (mut slow, mut all) = (0, 0);
        for Batch { response, .. } in &trial.batches {
            all += response.len();
            slow += response.len() - response.count_between(0, bound);
        }
        let share = slow as f64 / all as f64;
        // Busy periods of some 13 ms: worth 6,000 independent messages, of which 60 are slow.
        assert!((0.006..0.014).contains(&share), "{share} of {all} take longer under {law:?} at {rate}");
    }
}

#[test]
fn the_bounds_of_a_search_hold_the_capacity_of_an_mm1_server() {
    let (held, width) = searches(Law::Exponential, "2ms", 0.002);
    assert!(held >= 95, "{held} of 100");
    assert!(width < 0.3, "the median search is {width} wide");
}

#[test]
fn the_bounds_of_a_search_hold_the_capacity_of_an_md1_server() {
    let (held, width) = searches(Law::Constant, "1ms", 0.001);
    assert!(held >= 95, "{held} of 100");
    assert!(width < 0.3, "the median search is {width} wide");
}

#[test]
fn the_engine_makes_the_same_trials() {
    let mut engine = engine(Transport::Udp, 1, 64);
    let mut server = Queue::new(Law::Exponential, 1);
    let objectives = ["p99<2ms".parse().unwrap()];
    for (rate, holds) in [(6000.0, true), (9000.0, false)] {
        engine.record_intervals(interval(SECOND));
        let demand = open(Profile::constant(rate), Process::Poisson);
        let stage = Stage { demand, duration: Some(SECOND), messages: None, late: Late::Queue, seed: 3 };
        let mut world = |now: Nanos, message: &[u8]| vec![(server.answers_at(now), message.to_ascii_uppercase())];
        simulate(&mut engine, Transport::Udp, &stage, 0, &mut world);
        let trial = Trial::of(&engine, rate, SECOND, SECOND);
        let counted: u64 = trial.batches.iter().map(|batch| batch.response.len() + batch.lost).sum();
        let settled = recorder(&engine).counts.sent * BATCHES as u64 / (BATCHES + SETTLING) as u64;
        assert_eq!(trial.batches.len(), BATCHES);
        assert!(counted.abs_diff(settled) < settled / 10, "{counted} of {settled}");
        assert!((trial.achieved - rate).abs() < 1e-6);
        assert_eq!(judge(&objectives, &trial).holds, holds, "{rate}");
        server.free_at = 0;
    }
}

#[test]
fn a_loss_belongs_to_the_load_under_which_its_message_was_sent() {
    const LENGTH: Nanos = 500 * MILLISECOND;
    let mut engine = engine(Transport::Udp, 1, 64);
    engine.record_intervals(interval(LENGTH));
    let demand = open(Profile::constant(5000.0), Process::Poisson);
    let stage = Stage { demand, duration: Some(LENGTH), messages: None, late: Late::Queue, seed: 3 };
    let is_deaf = |now: Nanos| (200 * MILLISECOND..260 * MILLISECOND).contains(&now);
    let mut world = |now: Nanos, message: &[u8]| {
        if is_deaf(now) { Vec::new() } else { vec![(now + MICROSECOND, message.to_ascii_uppercase())] }
    };
    simulate(&mut engine, Transport::Udp, &stage, 0, &mut world);
    let trial = Trial::of(&engine, 5000.0, LENGTH, SECOND);
    let lost: Vec<u64> = trial.batches.iter().map(|batch| batch.lost).collect();
    assert_eq!(lost.iter().sum::<u64>(), trial.lost);
    assert!((240..360).contains(&trial.lost), "60 ms of 5,000 a second: {}", trial.lost);
    // A batch is 20 ms long, the first five do not count, and a loss is noticed up to 20 ms late.
    let elsewhere: u64 =
        lost.iter().enumerate().filter(|(index, _)| !(5..=8).contains(index)).map(|(_, lost)| lost).sum();
    assert_eq!(elsewhere, 0, "{lost:?}");
}
