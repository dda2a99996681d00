//! Memory does not grow with the length of a run.

use super::*;

/// Ten minutes may take this much more than ten seconds, in bytes.
const ALLOWANCE: u64 = 5_000_000;

/// What a run takes, in bytes, over what there was when it began: at most at a time, and at its end.
fn memory(length: Nanos, latency: impl Fn(u64) -> f64) -> (u64, u64) {
    let mut engine = engine(Transport::Udp, 4, 64);
    let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
    let mut server =
        |now, message: &[u8]| vec![(now + latency(random.next_u64()) as Nanos, message.to_ascii_uppercase())];
    let demand = open(Profile::constant(100.0), Process::Poisson);
    let stage = Stage { demand, duration: Some(length), messages: None, late: Late::Queue, seed: 3 };
    let memory = allocation_counter::measure(|| {
        engine.record_intervals(SECOND);
        simulate(&mut engine, Transport::Udp, &stage, 0, &mut server);
    });
    let (intervals, cuts) = engine.intervals();
    assert!(cuts >= length / SECOND && intervals.len() <= shout_load::intervals::MOST_INTERVALS);
    assert!(recorder(&engine).counts.replied > 90 * length / SECOND);
    (memory.bytes_max, memory.bytes_current.cast_unsigned())
}

/// From 10 µs to 0.5 s, evenly on a logarithmic scale.
fn between(unit: f64) -> f64 {
    10.0 * MICROSECOND as f64 * 50_000_f64.powf(unit)
}

#[test]
fn ten_minutes_take_little_more_memory_than_ten_seconds() {
    // Next to no two latencies of an interval are alike.
    let wide = |random: u64| between((random >> 11) as f64 / (1_u64 << 53) as f64);
    let ((short, _), (long, _)) = (memory(10 * SECOND, wide), memory(600 * SECOND, wide));
    assert!(long <= short + ALLOWANCE, "{long} is more than {short} and {ALLOWANCE}");
}

#[test]
fn memory_stops_to_grow() {
    // So few latencies that every interval knows all of them, and is not larger for being longer.
    let few = |random: u64| between((random % 8) as f64 / 8.0);
    let ((_, once), (_, twice)) = (memory(600 * SECOND, few), memory(1200 * SECOND, few));
    assert!(twice <= once + once / 10, "{once} bytes at the end of a run, and {twice} of one twice as long");
}
