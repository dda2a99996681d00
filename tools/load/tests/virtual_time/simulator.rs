//! A server and a network that are two functions of the time, and the loop around the engine.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use hdrhistogram::Histogram;
use shout_load::clock::{Nanos, SECOND};
use shout_load::engine::{Demand, Engine, LaneGroup, Stage, Transport};
use shout_load::late::Late;
use shout_load::outbox::{Outbox, Room};
use shout_load::payload::{Content, Payload};
use shout_load::recorder::Recorder;
use shout_load::schedule::{Process, Profile};

pub(crate) const MILLISECOND: Nanos = 1_000_000;
pub(crate) const MICROSECOND: Nanos = 1_000;

/// How long it takes to replace a connection.
pub(crate) const REOPENING: Nanos = 2 * MILLISECOND;

/// What the world does with one message: answers, each with the time it arrives.
pub(crate) type Server<'a> = dyn FnMut(Nanos, &[u8]) -> Vec<(Nanos, Vec<u8>)> + 'a;

/// An answer on its way: when it arrives, a tie-breaker, on which lane, and its bytes.
type UnderWay = Reverse<(Nanos, u64, usize, Vec<u8>)>;

/// Runs one stage to its end and returns the engine with its records.
pub(crate) fn simulate(
    engine: &mut Engine,
    transport: Transport,
    stage: &Stage,
    start: Nanos,
    server: &mut Server,
) -> Nanos {
    simulate_watched(engine, transport, stage, start, server, &mut |_, _| false)
}

/// The same. `is_enough` is asked at every step with the time since the start, and may end the sending.
pub(crate) fn simulate_watched(
    engine: &mut Engine,
    transport: Transport,
    stage: &Stage,
    start: Nanos,
    server: &mut Server,
    is_enough: &mut dyn FnMut(&Engine, Nanos) -> bool,
) -> Nanos {
    let mut server = |_, now, message: &[u8]| server(now, message);
    simulate_lanes(engine, &|_| transport, stage, start, &mut server, is_enough)
}

/// What answers a message of this transport at this time: the answers, each with the time at which it arrives.
type LanesServer<'a> = dyn FnMut(Transport, Nanos, &[u8]) -> Vec<(Nanos, Vec<u8>)> + 'a;

/// The same with lanes of several transports, which the server is told.
pub(crate) fn simulate_lanes(
    engine: &mut Engine,
    transport_of: &dyn Fn(usize) -> Transport,
    stage: &Stage,
    start: Nanos,
    server: &mut LanesServer<'_>,
    is_enough: &mut dyn FnMut(&Engine, Nanos) -> bool,
) -> Nanos {
    let mut now = start;
    let mut answers: BinaryHeap<UnderWay> = BinaryHeap::new();
    let mut order = 0;
    let mut reopened: VecDeque<(Nanos, usize)> = VecDeque::new();
    let mut outbox = Outbox::default();
    engine.begin(stage, now);
    loop {
        engine.tick(now);
        if is_enough(engine, now - start) {
            engine.stop(now);
        }
        while answers.peek().is_some_and(|Reverse((time, ..))| *time <= now) {
            let Reverse((_, _, lane, bytes)) = answers.pop().unwrap();
            match transport_of(lane) {
                Transport::Udp => engine.datagram(lane, &bytes, now),
                Transport::Tcp => engine.stream(lane, &bytes, now),
            }
        }
        while let Some(lane) = engine.take_retired() {
            assert_eq!(engine.in_flight(lane), 0, "a connection was to be closed with messages under way");
            reopened.push_back((now + REOPENING, lane));
        }
        while let Some(&(_, lane)) = reopened.front().filter(|(time, _)| *time <= now) {
            reopened.pop_front();
            engine.replaced(lane, now);
        }
        while let Some(lane) = engine.next_sender(now) {
            engine.compose(lane, now, Room::ONE, &mut outbox);
            assert_eq!(outbox.messages(), 1);
            engine.sent(lane, 1, now);
            for (time, bytes) in server(transport_of(lane), now, outbox.bytes()) {
                assert!(time > now, "an answer takes time");
                answers.push(Reverse((time, order, lane, bytes)));
                order += 1;
            }
            outbox.clear();
        }
        if engine.is_idle() {
            return now;
        }
        let next_answer = answers.peek().map_or(Nanos::MAX, |Reverse((time, ..))| *time);
        let next_opened = reopened.front().map_or(Nanos::MAX, |(time, _)| *time);
        let wake = engine.wake_at().min(next_answer).min(next_opened);
        assert!(wake < start + 3600 * SECOND, "the stage does not come to an end");
        now = wake.max(now);
    }
}

pub(crate) fn engine(transport: Transport, lanes: usize, content: impl Into<Content>) -> Engine {
    Engine::new(Payload::new(content, 42), &[LaneGroup { transport, lanes, timeout: SECOND }])
}

pub(crate) fn recorder(engine: &Engine) -> &Recorder {
    engine.recorders().next().unwrap().1
}

/// One worker that takes 10 µs a message and sleeps for the middle 100 ms of every second.
pub(crate) fn stalling_server() -> impl FnMut(Nanos, &[u8]) -> Vec<(Nanos, Vec<u8>)> {
    let mut free_at = 0;
    move |now, message| {
        let mut begin = free_at.max(now);
        let in_second = begin % SECOND;
        if (450 * MILLISECOND..550 * MILLISECOND).contains(&in_second) {
            begin += 550 * MILLISECOND - in_second;
        }
        free_at = begin + 10 * MICROSECOND;
        vec![(free_at, message.to_ascii_uppercase())]
    }
}

pub(crate) fn three_seconds(demand: Demand) -> Stage {
    Stage { demand, duration: Some(3 * SECOND), messages: None, late: Late::Queue, seed: 1 }
}

/// So many messages, none of them shed.
pub(crate) fn so_many(demand: Demand, messages: u64, seed: u64) -> Stage {
    Stage { demand, duration: None, messages: Some(messages), late: Late::Queue, seed }
}

/// An open loop without a window.
pub(crate) fn open(profile: Profile, process: Process) -> Demand {
    Demand::Open { profile, process, window: None }
}

pub(crate) fn stalled(transport: Transport, demand: Demand) -> Recorder {
    let mut engine = engine(transport, 1, 64);
    simulate(&mut engine, transport, &three_seconds(demand), 0, &mut stalling_server());
    let recorder = recorder(&engine).clone();
    assert_eq!(recorder.counts.replied, recorder.counts.sent);
    assert_eq!(recorder.counts.scheduled, recorder.counts.sent);
    recorder
}

pub(crate) fn milliseconds(histogram: &Histogram<u64>, percentile: f64) -> f64 {
    histogram.value_at_percentile(percentile) as f64 / MILLISECOND as f64
}
