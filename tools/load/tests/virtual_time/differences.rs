//! Curves and comparisons of servers whose latency follows from a formula.

use super::*;
use crate::capacity::{Law, Queue, SERVICE_RATE};
use shout_load::curves::difference::{Difference, FIGURES, Figure, Pair, over_blocks};
use shout_load::curves::result::Row;
use shout_load::report::document::Latency;

#[test]
fn the_points_of_a_curve_lie_where_theory_says_as_often_as_they_promise() {
    let (mut held, mut all) = (0, 0);
    for (tenth, seed) in (1..=8).flat_map(|tenth| (0..8).map(move |seed| (tenth, seed))) {
        let rate = SERVICE_RATE * f64::from(tenth) / 10.0;
        let mut engine = engine(Transport::Udp, 1, 64);
        let mut server = Queue::new(Law::Exponential, 100 * seed + tenth as u64);
        let mut world = |now: Nanos, message: &[u8]| vec![(server.answers_at(now), message.to_ascii_uppercase())];
        let demand = open(Profile::constant(rate), Process::Poisson);
        simulate(&mut engine, Transport::Udp, &Stage { seed, ..three_seconds(demand) }, 0, &mut world);
        let Recorder { response, evidence, .. } = recorder(&engine);
        let latency = Latency::with_confidence(response, evidence.effective_size());
        for (name, nines) in [("50", 2_f64), ("99", 100.0)] {
            // The response time of M/M/1 is exponential, with the rate that is left over.
            let truth = (1e9 * nines.ln() / (SERVICE_RATE - rate)) as Nanos;
            let quantile = latency.p[name];
            let (low, high) = (quantile.lo.unwrap_or(0), quantile.hi.unwrap_or(Nanos::MAX));
            all += 1;
            held += usize::from((low..=high).contains(&truth));
        }
    }
    // 95 % promised; the standard error of 128 is 1.9 %.
    assert!(held * 100 >= all * 90, "{held} of {all}");
}

/// The figures of half a second of load on a queue, as a part of a block has them.
fn part(queue: &mut Queue, slower: f64) -> [f64; 3] {
    const RATE: f64 = 5000.0;
    let (mut now, start) = (0, queue.free_at);
    let mut times = Vec::new();
    while now < SECOND / 2 {
        now += (1e9 * queue.exponential() / RATE) as Nanos;
        times.push((queue.answers_at(start + now) - (start + now)) as f64 * slower);
    }
    times.sort_unstable_by(f64::total_cmp);
    let quantile = |q: f64| times[(q * times.len() as f64) as usize];
    FIGURES.map(|figure| match figure {
        Figure::Median => quantile(0.5),
        Figure::Tail => quantile(0.99),
        Figure::Rate => times.len() as f64,
    })
}

fn blocks(number: usize, a: &mut Queue, b: &mut Queue, slower: f64) -> [Vec<Pair>; 3] {
    let mut pairs: [Vec<Pair>; 3] = Default::default();
    for _ in 0..number {
        let (of_a, of_b) = (part(a, 1.0), part(b, slower));
        for (index, pairs) in pairs.iter_mut().enumerate() {
            pairs.push(Pair { a: of_a[index], b: of_b[index] });
        }
    }
    pairs
}

/// Which figures a live comparison calls different, of two M/M/1 servers of which one takes so much longer.
fn called(slower: f64, seed: u64) -> [bool; 3] {
    let [mut a, mut again, mut b] = [1, 2, 3].map(|number| Queue::new(Law::Exponential, 10 * seed + number));
    let floor = blocks(10, &mut a, &mut again, 1.0);
    let pairs = blocks(20, &mut a, &mut b, slower);
    std::array::from_fn(|index| {
        let noise_floor = over_blocks(&floor[index], seed).map(Difference::reach);
        let difference = over_blocks(&pairs[index], seed);
        Row { figure: FIGURES[index], a: 1.0, b: 1.0, difference, noise_floor }.is_called()
    })
}

#[test]
fn equal_servers_are_called_different_in_at_most_five_of_a_hundred_comparisons() {
    let wrong = (0..100).filter(|&seed| called(1.0, seed).contains(&true)).count();
    assert!(wrong <= 5, "{wrong} of 100");
    // And it has teeth: half as much time again is seen, in what takes time alone.
    let seen = (0..20).filter(|&seed| called(1.5, seed)[..2] == [true; 2]).count();
    assert!(seen >= 15, "{seen} of 20");
}
