//! What it costs to record a message: its send, its answer, and the evidence for the verdict. At most 150 ns are allowed.

use criterion::{Criterion, criterion_group, criterion_main};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use shout_load::ledger::Flight;
use shout_load::payload::Identity;
use shout_load::recorder::Recorder;

/// A power of two of latencies, in nanoseconds, drawn beforehand: drawing them is not what is measured.
const LATENCIES: usize = 1 << 16;

fn recording(criterion: &mut Criterion) {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    let latencies: Vec<u64> = (0..LATENCIES).map(|_| 20_000 + (random.next_u64() >> 32) % 60_000).collect();
    let mut recorder = Recorder::default();
    recorder.evidence.begin(0);
    let (mut now, mut sequence) = (0, 0);
    criterion.bench_function("record a message", |bencher| {
        bencher.iter(|| {
            let latency = latencies[sequence as usize % LATENCIES];
            let flight = Flight { intended: now, issued: now + 500 };
            recorder.sent(flight, 64);
            recorder.evidence.sent(1, now + 500);
            now += 3_000;
            recorder.replied(flight, 64, flight.intended + latency);
            recorder.evidence.replied(flight, Identity { lane: 0, sequence }, flight.intended + latency);
            sequence += 1;
        });
    });
}

criterion_group!(benches, recording);
criterion_main!(benches);
