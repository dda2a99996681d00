//! Runs that stop when a percentile is known, against servers whose percentiles follow from a formula.

use super::*;
use crate::capacity::{Law, Queue, SERVICE_RATE, waits_at_most};
use crate::simulator::simulate_watched;
use shout_load::evidence::{self, Evidence};
use shout_load::ledger::Flight;
use shout_load::payload::Identity;
use shout_load::recorder::histogram;
use shout_load::report::until::{Outcome, Until};
use shout_load::until::{Goal, Looks, Reading, Rule};

/// How long a run may take.
const MOST: Nanos = 120 * SECOND;

/// Runs of each kind: the standard error of a share of 95 % of them is 1.5 %.
const RUNS: u64 = 200;

/// A server as a function from the time of a message to its response time.
type Responses<'a> = dyn FnMut(Nanos) -> Nanos + 'a;

/// A second of load that is forgotten, as a warm-up is.
const WARM_UP: Nanos = SECOND;

/// Poisson arrivals at this rate, and what each stream of messages made of them. Without the engine and its sockets'
/// worth of accounts: the runs of this file have thirty million messages.
struct Load {
    random: Queue,
    rate: f64,
    now: Nanos,
    streams: Vec<(hdrhistogram::Histogram<u64>, Evidence)>,
    sent: usize,
}

impl Load {
    /// A load that has warmed the server up, and whose answers go to so many generators in turn.
    fn new(rate: f64, seed: u64, generators: usize, server: &mut Responses) -> Self {
        let streams = (0..generators).map(|_| (histogram(), Evidence::default())).collect();
        let random = Queue::new(Law::Exponential, !seed);
        let mut load = Load { random, rate, now: 0, streams, sent: 0 };
        while load.now < WARM_UP {
            server(load.arrival());
        }
        load.now = WARM_UP;
        load.streams.iter_mut().for_each(|(_, evidence)| evidence.begin(WARM_UP));
        load
    }

    fn arrival(&mut self) -> Nanos {
        self.now += (1e9 * self.random.exponential() / self.rate) as Nanos;
        self.now
    }

    /// Sends one message. Returns the time since the start of the measurement.
    fn send(&mut self, server: &mut Responses) -> Nanos {
        let now = self.arrival();
        let latency = server(now).max(1);
        let stream = self.sent % self.streams.len();
        let (response, evidence) = &mut self.streams[stream];
        response.saturating_record(latency);
        evidence.replied(Flight { intended: now, issued: now }, Identity { lane: 0, sequence: 0 }, now + latency);
        self.sent += 1;
        now - WARM_UP
    }

    fn reading(&self, goal: Goal) -> Reading {
        Reading::of(goal, self.streams.iter().map(|(response, evidence)| (response, evidence)))
    }
}

/// A run to its end.
fn run(goal: &str, rate: f64, seed: u64, generators: usize, server: &mut Responses) -> Until {
    let mut load = Load::new(rate, seed, generators, server);
    let goal = goal.parse().unwrap();
    let (mut rule, mut looks) = (Rule::new(goal), Looks::default());
    loop {
        let elapsed = load.send(server);
        if elapsed >= MOST || (looks.is_due(elapsed) && rule.look(elapsed, &load.reading(goal))) {
            return rule.finish(elapsed.min(MOST), MOST, &load.reading(goal));
        }
    }
}

/// All runs of a kind, on two threads.
fn runs(one: impl Fn(u64) -> Until + Sync) -> Vec<Until> {
    let half = |seeds: std::ops::Range<u64>| seeds.map(&one).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| half(0..RUNS / 2));
        let second = half(RUNS / 2..RUNS);
        first.join().unwrap().into_iter().chain(second).collect()
    })
}

/// Of those that stopped: in how many the true value lies within the interval.
fn held(runs: &[Until], truth: f64) -> usize {
    let stopped = runs.iter().filter(|run| run.is_reached());
    let holds = |run: &&Until| run.lo_ns.unwrap() as f64 <= truth && truth <= run.hi_ns.unwrap() as f64 * 1.001;
    stopped.filter(holds).count()
}

fn median_time(runs: &[Until]) -> f64 {
    let mut times: Vec<u64> = runs.iter().map(|run| run.after_ns).collect();
    times.sort_unstable();
    times[times.len() / 2] as f64 / 1e9
}

/// A queue that serves at [`SERVICE_RATE`].
fn queue(law: Law, seed: u64) -> impl FnMut(Nanos) -> Nanos {
    let mut queue = Queue::new(law, seed);
    move |now| queue.answers_at(now) - now
}

/// The same law of response times as M/M/1 has at this rate, each message by itself.
fn independent(rate: f64, seed: u64) -> impl FnMut(Nanos) -> Nanos {
    let mut random = Queue::new(Law::Exponential, seed);
    move |_| (1e9 * random.exponential() / (SERVICE_RATE - rate)) as Nanos
}

/// The quantile of the response time of M/M/1, in nanoseconds.
fn mm1(q: f64, rate: f64) -> f64 {
    -1e9 * (1.0 - q).ln() / (SERVICE_RATE - rate)
}

/// The same of M/D/1. Erlang's series is exact to 2 ms, beyond which its terms cancel each other out.
fn md1(q: f64, rate: f64) -> f64 {
    let (mut low, mut high) = (0.0, 0.002);
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        (low, high) = if waits_at_most(middle, rate) >= q { (low, middle) } else { (middle, high) };
    }
    1e9 * (low + 1.0 / SERVICE_RATE)
}

/// At least 95 % of the runs stop, and of those at least 95 % hold the truth in an interval as narrow as asked.
fn assert_honest(what: &str, runs: &[Until], truth: f64) {
    let stopped = runs.iter().filter(|run| run.is_reached()).count();
    let held = held(runs, truth);
    assert!(stopped as u64 >= RUNS * 95 / 100, "{what}: only {stopped} of {RUNS} stopped");
    assert!(held * 100 >= stopped * 95, "{what}: {held} of {stopped} hold {truth}");
    assert!(runs.iter().all(|run| !run.is_reached() || run.half_width.unwrap() <= run.width), "{what}");
}

#[test]
fn the_truth_lies_within_the_interval_as_often_as_stated_and_likeness_takes_longer() {
    const RATE: f64 = 5000.0;
    let truth = mm1(0.99, RATE);
    let alike = runs(|seed| run("p99±10%", RATE, seed, 1, &mut queue(Law::Exponential, seed)));
    let apart = runs(|seed| run("p99±10%", RATE, seed, 1, &mut independent(RATE, seed)));
    assert_honest("M/M/1", &alike, truth);
    assert_honest("independent", &apart, truth);
    let (long, short) = (median_time(&alike), median_time(&apart));
    assert!(long > 2.0 * short, "{long} s where neighbours are alike, and {short} s where they are not");
}

#[test]
fn a_busy_server_of_constant_service_times_is_measured_honestly_in_the_middle_and_in_the_tail() {
    for (goal, q, rate) in [("p99±15%", 0.99, 6000.0), ("p50±5%", 0.5, 6000.0)] {
        let runs = runs(|seed| run(goal, rate, seed, 1, &mut queue(Law::Constant, seed)));
        assert_honest(goal, &runs, md1(q, rate));
    }
}

#[test]
fn two_generators_on_one_queue_are_not_counted_twice() {
    const RATE: f64 = 6000.0;
    let runs = runs(|seed| run("p99±15%", RATE, seed, 2, &mut queue(Law::Exponential, seed)));
    assert_honest("two generators", &runs, mm1(0.99, RATE));
    // And they take about as long as one does: there is nothing to be had from dividing a stream.
    let one = (0..20).map(|seed| run("p99±15%", RATE, seed, 1, &mut queue(Law::Exponential, seed))).collect::<Vec<_>>();
    let (two, one) = (median_time(&runs), median_time(&one));
    assert!(two > 0.6 * one, "{two} s and {one} s");
}

/// A server that is busy with something else for 20 ms on average, once in half a second on average, both exponentially.
fn stalling(seed: u64) -> impl FnMut(Nanos) -> Nanos {
    let mut random = Queue::new(Law::Exponential, seed);
    let (mut until, mut is_stalled) = (0, false);
    move |now| {
        while now > until {
            is_stalled = !is_stalled;
            until += (if is_stalled { 2e7 } else { 5e8 } * random.exponential()) as Nanos;
        }
        if is_stalled { until - now + 100_000 } else { (1e5 * (0.5 + random.exponential())) as Nanos }
    }
}

/// Its 99th percentile: a message meets a stall with the probability 1/26, and then waits for the rest of it and 100 us.
fn stalling_p99() -> f64 {
    1e5 + 2e7 * (100_f64 / 26.0).ln()
}

#[test]
fn a_rule_that_looks_all_the_time_from_the_start_believes_in_no_rare_stall() {
    // The design that does without this file: stop at the first moment at which the interval is narrow.
    let goal: Goal = "p99±10%".parse().unwrap();
    let (mut stopped, mut wrong) = (0, 0);
    for seed in 0..50 {
        let mut server = stalling(seed);
        let mut load = Load::new(5000.0, seed, 1, &mut server);
        loop {
            let elapsed = load.send(&mut server);
            if !load.sent.is_multiple_of(250) {
                continue;
            }
            let Reading { response, size, .. } = load.reading(goal);
            let (low, high) = evidence::interval(&response, 0.99, size);
            let width = evidence::half_width(response.value_at_quantile(0.99), (low, high));
            if width.is_some_and(|width| width <= goal.width) {
                stopped += 1;
                wrong += usize::from(!(low.unwrap() as f64..=high.unwrap() as f64).contains(&stalling_p99()));
                break;
            }
            if elapsed > 3 * SECOND {
                break;
            }
        }
    }
    assert!(stopped >= 10 && wrong * 10 >= stopped * 9, "{wrong} of {stopped} are wrong: it may be good after all");
    // And the rule is not taken in: it goes on to the end and says that it does not know.
    let runs: Vec<Until> = (0..50).map(|seed| run("p99±10%", 5000.0, seed, 1, &mut stalling(seed))).collect();
    let (stopped, held) = (runs.iter().filter(|run| run.is_reached()).count(), held(&runs, stalling_p99()));
    assert!(stopped - held <= 2, "{held} of {stopped}");
    assert!(runs.iter().filter(|run| run.after_ns == MOST).count() >= 45);
}

#[test]
fn the_sample_is_worth_what_it_is_to_the_percentile_that_is_asked_for() {
    // Stalls decide the tail, and hardly touch the median: of one run, the two know very different numbers of answers.
    let mut server = stalling(7);
    let mut load = Load::new(5000.0, 7, 1, &mut server);
    while load.send(&mut server) < 20 * SECOND {}
    let [median, tail] = ["p50±2%", "p99±2%"].map(|goal| load.reading(goal.parse().unwrap()).size);
    assert!(median > 5.0 * tail, "{median} and {tail}");
    // So a goal on the median is reached at once, where that on the tail of the same run takes minutes.
    let median = run("p50±5%", 5000.0, 7, 1, &mut stalling(7));
    assert!(median.is_reached() && median.after_ns < 10 * SECOND, "{median:?}");
}

#[test]
fn a_goal_out_of_reach_says_how_long_it_would_take_and_that_is_about_right() {
    const RATE: f64 = 8000.0;
    let runs: Vec<Until> =
        (0..20).map(|seed| run("p99±2%", RATE, seed, 1, &mut queue(Law::Exponential, seed))).collect();
    // The width goes with the root of the time: 2 % after so long.
    let mut estimates: Vec<f64> = runs.iter().filter_map(|run| run.needed_ns).map(|time| time as f64 / 1e9).collect();
    estimates.sort_by(f64::total_cmp);
    assert!(runs.iter().all(|run| !run.is_reached()) && estimates.len() >= 15, "{runs:#?}");
    let tenth = runs.iter().map(|run| run.half_width.unwrap()).sum::<f64>() / runs.len() as f64;
    let expected = MOST as f64 / 1e9 * (tenth / 0.02).powi(2);
    let middle = estimates[estimates.len() / 2];
    assert!((middle / expected - 1.0).abs() < 0.2, "{middle} s and {expected} s");
}

#[test]
fn a_queue_that_grows_is_not_stationary_and_nothing_is_believed_of_it() {
    for seed in 0..5 {
        let until = run("p99±10%", 1.1 * SERVICE_RATE, seed, 1, &mut queue(Law::Exponential, seed));
        assert_eq!((until.outcome, until.after_ns), (Outcome::Impossible, MOST), "{until:?}");
        assert!(until.sentence().contains("cannot be had: not stationary"), "{}", until.sentence());
    }
}

#[test]
fn the_engine_is_stopped_by_the_same_rule() {
    const RATE: f64 = 3000.0;
    for seed in [1, 2] {
        let mut engine = engine(Transport::Udp, 1, 64);
        let mut server = queue(Law::Exponential, seed);
        let mut world = |now: Nanos, message: &[u8]| vec![(now + server(now), message.to_ascii_uppercase())];
        let demand = open(Profile::constant(RATE), Process::Poisson);
        let stage = Stage { demand, duration: Some(MOST), messages: None, late: Late::Queue, seed };
        let goal = "p99±15%".parse().unwrap();
        let (mut rule, mut looks) = (Rule::new(goal), Looks::default());
        let reading = |engine: &Engine| {
            let streams = engine.recorders().map(|(_, recorder)| (&recorder.response, &recorder.evidence));
            Reading::of(goal, streams)
        };
        simulate_watched(&mut engine, Transport::Udp, &stage, 0, &mut world, &mut |engine, elapsed| {
            looks.is_due(elapsed) && rule.look(elapsed, &reading(engine))
        });
        let sent = engine.sending_time();
        let until = rule.finish(sent, MOST, &reading(&engine));
        assert!(until.is_reached() && (2 * SECOND..10 * SECOND).contains(&sent), "{until:?} after {sent}");
        assert_eq!(until.after_ns, sent, "it stops at once");
        let Recorder { counts, .. } = recorder(&engine);
        assert_eq!(counts.replied, counts.sent);
        assert!(counts.replied as f64 <= RATE * 1.1 * sent as f64 / 1e9);
    }
}
