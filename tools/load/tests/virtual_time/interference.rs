//! Two transports at one server: what each takes beside the other follows from a formula.

use super::*;
use crate::capacity::{Law, Queue, SERVICE_RATE};
use shout_load::interference::{BLOCKS, Blocks, Effect, Figure, ORDER, Values};

/// Messages a second on each transport.
const RATE: f64 = 3000.0;

const PART: Nanos = SECOND / 4;

/// What a response takes beside the other transport, as a multiple of what it takes alone, where both share one worker
/// with exponential service times: the response time of M/M/1 is exponential, with the rate that is left over.
const SHARED: f64 = (SERVICE_RATE - RATE) / (SERVICE_RATE - 2.0 * RATE);

/// The server of each transport: the same worker for both, or one for each.
struct Workers(Vec<Queue>);

impl Workers {
    fn new(number: u64, seed: u64) -> Self {
        Workers((0..number).map(|worker| Queue::new(Law::Exponential, 10 * seed + worker)).collect())
    }

    fn of(&mut self, transport: Transport) -> &mut Queue {
        let index = usize::from(transport == Transport::Tcp) % self.0.len();
        &mut self.0[index]
    }
}

/// The effects that a whole measurement finds, through the engine, and how many messages each part sent on UDP.
fn measured(workers: u64, demand: &Demand, seed: u64) -> (Vec<Effect>, Vec<u64>) {
    let group = |transport, lanes| LaneGroup { transport, lanes, timeout: SECOND };
    let mut engine = Engine::new(Payload::new(64, 42), &[group(Transport::Udp, 1), group(Transport::Tcp, 4)]);
    let mut workers = Workers::new(workers, seed);
    let mut world =
        |transport, now, message: &[u8]| vec![(workers.of(transport).answers_at(now), message.to_ascii_uppercase())];
    let transport_of = |lane: usize| if lane == 0 { Transport::Udp } else { Transport::Tcp };
    let mut blocks = Blocks::new(matches!(demand, Demand::Open { .. }));
    let (mut now, mut sent) = (0, Vec::new());
    for part in 0..BLOCKS * ORDER.len() {
        let place = part % ORDER.len();
        let half = 2 * (part / ORDER.len()) + place / 3;
        let stage = Stage {
            demand: demand.clone(),
            duration: Some(PART),
            messages: None,
            late: Late::Queue,
            seed: 1000 * seed + half as u64,
        };
        engine.load_only(ORDER[place]);
        now = simulate_lanes(&mut engine, &transport_of, &stage, now, &mut world, &mut |_, _| false);
        for (transport, recorder) in engine.recorders() {
            let is_loaded = ORDER[place].is_none_or(|only| only == transport);
            assert_eq!(recorder.counts.sent > 0, is_loaded, "{transport:?} in part {place}");
            assert_eq!(recorder.counts.replied, recorder.counts.scheduled, "all of it");
        }
        sent.push(engine.recorders().next().unwrap().1.counts.sent);
        blocks.note(place, engine.recorders(), PART);
    }
    assert_eq!(blocks.len(), BLOCKS);
    (blocks.effects(seed), sent)
}

#[test]
fn transports_that_share_a_worker_slow_each_other_down_as_theory_says() {
    let demand = open(Profile::constant(2.0 * RATE), Process::Poisson);
    let (effects, sent) = measured(1, &demand, 1);
    assert_eq!(effects.len(), 2 * Figure::OPEN.len());
    for effect in &effects {
        let ratio = effect.ratio.unwrap();
        assert!(effect.is_called && ratio.low <= SHARED && SHARED <= ratio.high, "{effect:?}");
        assert!((ratio.by / SHARED - 1.0).abs() < 0.15, "{effect:?} and {SHARED}");
    }
    // Alone it has the very arrivals that it has beside the other.
    for block in sent.chunks(ORDER.len()) {
        assert_eq!([block[0], block[1], block[2]], [block[2], 0, block[0]]);
        assert_eq!([block[5], block[4], block[3]], [block[3], 0, block[5]]);
    }
}

#[test]
fn transports_with_a_worker_each_do_not_get_in_each_others_way() {
    let demand = open(Profile::constant(2.0 * RATE), Process::Poisson);
    let (effects, _) = measured(2, &demand, 1);
    assert!(effects.iter().all(|effect| !effect.is_called), "{effects:?}");
}

#[test]
fn in_a_closed_loop_the_rate_is_shared_as_well() {
    // One message under way on UDP and four on TCP: the worker that they share is at rest for neither of them.
    let (effects, _) = measured(1, &Demand::Closed { window: 1 }, 1);
    for effect in &effects {
        let expected = match (effect.transport.as_str(), effect.figure) {
            ("udp", Figure::Rate) => Some(1.0 / 5.0),
            ("tcp", Figure::Rate) => Some(4.0 / 5.0),
            _ => None,
        };
        let ratio = effect.ratio.unwrap();
        assert!(effect.is_called, "{effect:?}");
        assert!(expected.is_none_or(|expected| (ratio.by / expected - 1.0).abs() < 0.05), "{effect:?}");
    }
    assert_eq!(effects.iter().filter(|effect| effect.figure == Figure::Rate).count(), 2);
}

/// The response times of both transports in one part, those of a transport without a load empty; without the engine's
/// accounts: two hundred measurements have ten million messages.
fn part(workers: &mut Workers, only: Option<Transport>, random: &mut Queue) -> [Vec<f64>; 2] {
    let both = [Transport::Udp, Transport::Tcp];
    let start = workers.0.iter().map(|worker| worker.free_at).max().unwrap();
    let mut next = both.map(|_| (1e9 * random.exponential() / RATE) as Nanos);
    let mut times = [Vec::new(), Vec::new()];
    loop {
        let index = usize::from(next[1] < next[0]);
        if next[index] >= PART {
            return times;
        }
        let at = start + next[index];
        next[index] += (1e9 * random.exponential() / RATE) as Nanos;
        if only.is_none_or(|only| only == both[index]) {
            times[index].push((workers.of(both[index]).answers_at(at) - at) as f64);
        }
    }
}

/// The effects on the response times that one measurement finds.
fn found(number: u64, seed: u64) -> Vec<Effect> {
    const FIGURES: [(Figure, f64); 2] = [(Figure::ResponseMedian, 0.5), (Figure::ResponseTail, 0.99)];
    let mut workers = Workers::new(number, seed);
    let mut random = Queue::new(Law::Exponential, 10 * seed + 7);
    let quantile = |parts: &[&Vec<f64>], q: f64| {
        let mut all: Vec<f64> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        all.sort_unstable_by(f64::total_cmp);
        all[(q * all.len() as f64) as usize]
    };
    let mut values: [[Vec<Values>; 2]; 2] = Default::default();
    for _ in 0..BLOCKS {
        let parts = ORDER.map(|only| part(&mut workers, only, &mut random));
        for (transport, values) in values.iter_mut().enumerate() {
            let alone = [&parts[transport][transport], &parts[5 - transport][transport]];
            let together = [&parts[2][transport], &parts[3][transport]];
            for ((_, q), values) in FIGURES.iter().zip(values) {
                let [before, after] = alone.map(|part| quantile(&[part], *q));
                let (alone, together) = (quantile(&alone, *q), quantile(&together, *q));
                values.push(Values { before, after, alone, together });
            }
        }
    }
    let effects = [Transport::Udp, Transport::Tcp].into_iter().zip(&values).flat_map(|(transport, values)| {
        let each = FIGURES.iter().zip(values);
        each.map(move |((figure, _), values)| Effect::of(transport, *figure, values, 4, seed))
    });
    effects.collect()
}

#[test]
fn independent_transports_are_found_so_in_ninety_five_of_a_hundred_measurements_and_others_are_not() {
    let is_quiet = |seed: &u64| found(2, *seed).iter().all(|effect| !effect.is_called);
    let quiet = (0..100).filter(is_quiet).count();
    assert!(quiet >= 95, "{quiet} of 100");
    let holds = |effect: &Effect| effect.ratio.is_some_and(|ratio| ratio.low <= SHARED && SHARED <= ratio.high);
    let all: Vec<Vec<Effect>> = (0..100).map(|seed| found(1, seed)).collect();
    let held = all.iter().filter(|effects| effects.iter().all(holds)).count();
    let called = all.iter().filter(|effects| effects.iter().all(|effect| effect.is_called)).count();
    assert!(held >= 90 && called >= 90, "the truth is within all intervals of {held}, and {called} call them all");
}
