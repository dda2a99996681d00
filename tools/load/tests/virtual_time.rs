//! The engine under a virtual clock, against a simulated server: what it measures is known beforehand. No I/O.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hdrhistogram::Histogram;
use proptest::prelude::*;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use shout_load::clock::{Nanos, SECOND};
use shout_load::engine::{Demand, Engine, LaneGroup, Stage, Transport};
use shout_load::lab::datagrams::Datagrams;
use shout_load::lab::faults::{Faults, Stall};
use shout_load::payload::Payload;
use shout_load::recorder::{Counts, Recorder};
use shout_load::schedule::{Process, Profile, Segment};

const MILLISECOND: Nanos = 1_000_000;
const MICROSECOND: Nanos = 1_000;

/// What the world does with one message: answers, each with the time it arrives.
type Server<'a> = dyn FnMut(Nanos, &[u8]) -> Vec<(Nanos, Vec<u8>)> + 'a;

/// An answer on its way: when it arrives, a tie-breaker, on which lane, and its bytes.
type UnderWay = Reverse<(Nanos, u64, usize, Vec<u8>)>;

/// Runs one stage to its end and returns the engine with its records.
fn simulate(engine: &mut Engine, transport: Transport, stage: &Stage, start: Nanos, server: &mut Server) -> Nanos {
    let mut now = start;
    let mut answers: BinaryHeap<UnderWay> = BinaryHeap::new();
    let mut order = 0;
    let mut message = Vec::new();
    engine.begin(stage, now);
    loop {
        engine.tick(now);
        while answers.peek().is_some_and(|Reverse((time, ..))| *time <= now) {
            let Reverse((_, _, lane, bytes)) = answers.pop().unwrap();
            match transport {
                Transport::Udp => engine.datagram(lane, &bytes, now),
                Transport::Tcp => engine.stream(lane, &bytes, now),
            }
        }
        while let Some(lane) = engine.next_sender(now) {
            message.clear();
            assert_eq!(engine.compose(lane, now, 1, &mut message), 1);
            engine.sent(lane, 1, now);
            for (time, bytes) in server(now, &message) {
                assert!(time > now, "an answer takes time");
                answers.push(Reverse((time, order, lane, bytes)));
                order += 1;
            }
        }
        if engine.is_idle() {
            return now;
        }
        let next_answer = answers.peek().map_or(Nanos::MAX, |Reverse((time, ..))| *time);
        let wake = engine.wake_at().min(next_answer);
        assert!(wake < start + 600 * SECOND, "the stage does not come to an end");
        now = wake.max(now);
    }
}

fn engine(transport: Transport, lanes: usize, size: usize) -> Engine {
    Engine::new(Payload::new(size, 42), &[LaneGroup { transport, lanes, timeout: SECOND }])
}

fn recorder(engine: &Engine) -> &Recorder {
    engine.recorders().next().unwrap().1
}

/// One worker that takes 10 µs a message and sleeps for the middle 100 ms of every second.
fn stalling_server() -> impl FnMut(Nanos, &[u8]) -> Vec<(Nanos, Vec<u8>)> {
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

fn three_seconds(demand: Demand) -> Stage {
    Stage { demand, duration: Some(3 * SECOND), messages: None, seed: 1 }
}

fn stalled(transport: Transport, demand: Demand) -> Recorder {
    let mut engine = engine(transport, 1, 64);
    simulate(&mut engine, transport, &three_seconds(demand), 0, &mut stalling_server());
    let recorder = recorder(&engine).clone();
    assert_eq!(recorder.counts.replied, recorder.counts.sent);
    assert_eq!(recorder.counts.scheduled, recorder.counts.sent);
    recorder
}

fn milliseconds(histogram: &Histogram<u64>, percentile: f64) -> f64 {
    histogram.value_at_percentile(percentile) as f64 / MILLISECOND as f64
}

#[test]
fn a_closed_loop_omits_a_stall() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let closed = stalled(transport, Demand::Closed { window: 1 });
        assert!(milliseconds(&closed.service, 50.0) < 0.011, "a tenth of all time is stalled and half is fast");
        assert!(milliseconds(&closed.response, 99.9) < 0.011, "even the 99.9th percentile knows nothing of it");
        assert!(milliseconds(&closed.response, 100.0) > 99.0);
    }
}

#[test]
fn an_open_loop_shows_a_stall_as_its_users_see_it() {
    for (transport, process) in
        [(Transport::Udp, Process::Const), (Transport::Tcp, Process::Const), (Transport::Udp, Process::Poisson)]
    {
        let open = stalled(transport, Demand::Open { profile: Profile::constant(1000.0), process, window: None });
        assert!(milliseconds(&open.response, 50.0) < 0.05, "{process:?}");
        // A tenth of the arrivals meets the stall and waits for the rest of it: evenly spread from 0 to 100 ms.
        for (percentile, expected) in [(92.0, 20.0), (95.0, 50.0), (99.0, 90.0)] {
            let measured = milliseconds(&open.response, percentile);
            assert!((measured - expected).abs() < 8.0, "{process:?}: p{percentile} is {measured} ms, not {expected}");
        }
        assert_eq!(open.lag.max(), 0, "nothing keeps this generator from sending in time");
    }
}

#[test]
fn a_stall_has_exactly_the_distribution_that_theory_gives_it() {
    let stall = Stall::parse("100ms/1s").unwrap();
    let mut server = |now: Nanos, message: &[u8]| {
        vec![(stall.until(now).unwrap_or(now) + MICROSECOND, message.to_ascii_uppercase())]
    };
    let mut engine = engine(Transport::Udp, 1, 64);
    let demand = Demand::Open { profile: Profile::constant(1000.0), process: Process::Const, window: None };
    simulate(&mut engine, Transport::Udp, &three_seconds(demand), 0, &mut server);
    let mut expected = shout_load::recorder::histogram();
    for millisecond in (0..3000).map(|number: u64| number % 1000) {
        let waited = if millisecond < 900 { 0 } else { 1000 - millisecond };
        expected.record(waited * MILLISECOND + MICROSECOND).unwrap();
    }
    assert_eq!(recorder(&engine).response, expected, "the whole histogram, bucket by bucket");
}

#[test]
fn a_generator_that_waits_for_the_server_still_counts_the_waiting() {
    let open = stalled(
        Transport::Udp,
        Demand::Open { profile: Profile::constant(1000.0), process: Process::Const, window: Some(1) },
    );
    // Only one message at a time is sent into the stall, so the time from the actual send hides it ...
    assert!(milliseconds(&open.service, 99.0) < 0.011);
    // ... and the time from the intended one does not.
    assert!((milliseconds(&open.response, 99.0) - 90.0).abs() < 8.0, "{}", milliseconds(&open.response, 99.0));
    assert!((milliseconds(&open.lag, 99.0) - 90.0).abs() < 8.0);
}

#[test]
fn an_overloaded_open_loop_says_how_much_it_left_undone() {
    let mut engine = engine(Transport::Tcp, 4, 64);
    let mut free_at = 0;
    // 1 ms a message is 1,000 a second, of 3,000 that are asked for.
    let mut server = |now: Nanos, message: &[u8]| {
        free_at = free_at.max(now) + MILLISECOND;
        vec![(free_at, message.to_ascii_uppercase())]
    };
    let demand = Demand::Open { profile: Profile::constant(3000.0), process: Process::Const, window: Some(1) };
    let stage = Stage { demand, duration: Some(2 * SECOND), messages: None, seed: 1 };
    simulate(&mut engine, Transport::Tcp, &stage, 0, &mut server);
    let counts = recorder(&engine).counts;
    assert_eq!(counts.scheduled, 6000);
    assert!((2000..2010).contains(&counts.sent), "{}", counts.sent);
    assert!(recorder(&engine).response.max() > SECOND, "the last ones left had waited for two thirds of the time");
}

#[test]
fn a_plan_is_sent_on_the_same_lanes_in_its_own_time() {
    let segment = |milliseconds, from, to| Segment { duration: milliseconds * MILLISECOND, from, to };
    // 100, then a pause, then 100 to 300 a second for a second.
    let profile =
        Profile::new(vec![segment(1000, 100.0, 100.0), segment(500, 0.0, 0.0), segment(1000, 100.0, 300.0)]).unwrap();
    for process in [Process::Const, Process::Burst(10)] {
        let mut engine = engine(Transport::Udp, 3, 64);
        let mut times = Vec::new();
        let mut server = |now: Nanos, message: &[u8]| {
            times.push(now / MILLISECOND);
            vec![(now + MICROSECOND, message.to_ascii_uppercase())]
        };
        let demand = Demand::Open { profile: profile.clone(), process, window: None };
        let stage = Stage { demand, duration: Some(profile.duration()), messages: None, seed: 1 };
        simulate(&mut engine, Transport::Udp, &stage, 0, &mut server);
        let counts = recorder(&engine).counts;
        assert_eq!((counts.scheduled, counts.sent, counts.replied), (300, 300, 300), "{process}");
        assert_eq!(recorder(&engine).lag.max(), 0, "{process}");
        let within = |from, to| times.iter().filter(|&&time| (from..to).contains(&time)).count();
        // Half of the last thousand milliseconds: 100 · ½ + 200 · ½² / 2.
        assert_eq!((within(0, 1000), within(1000, 1500)), (100, 0), "{process}");
        assert!(within(1500, 2000).abs_diff(75) <= 10, "{process}");
    }
}

#[test]
fn a_stage_ends_with_its_number_of_messages() {
    let mut engine = engine(Transport::Udp, 3, 64);
    for demand in [
        Demand::Closed { window: 7 },
        Demand::Open { profile: Profile::constant(5000.0), process: Process::Poisson, window: None },
    ] {
        let stage = Stage { demand: demand.clone(), duration: None, messages: Some(1001), seed: 1 };
        simulate(&mut engine, Transport::Udp, &stage, 5 * SECOND, &mut stalling_server());
        let counts = recorder(&engine).counts;
        assert_eq!((counts.scheduled, counts.sent, counts.replied), (1001, 1001, 1001), "{demand:?}");
    }
}

#[test]
fn what_a_warm_up_left_behind_does_not_touch_the_measurement() {
    let mut engine = engine(Transport::Udp, 1, 64);
    let mut kept = Vec::new();
    let stage =
        |messages| Stage { demand: Demand::Closed { window: 4 }, duration: None, messages: Some(messages), seed: 1 };
    let end = simulate(&mut engine, Transport::Udp, &stage(4), 0, &mut |_, message| {
        kept.push(message.to_ascii_uppercase());
        Vec::new()
    });
    assert_eq!(recorder(&engine).counts.lost, 4);
    let mut server = |now: Nanos, message: &[u8]| {
        let mut answers = vec![(now + MILLISECOND, message.to_ascii_uppercase())];
        // The answers to the warm-up come now, in the middle of the measurement.
        answers.extend(kept.drain(..).map(|answer| (now + MICROSECOND, answer)));
        answers
    };
    simulate(&mut engine, Transport::Udp, &stage(100), end, &mut server);
    let counts = recorder(&engine).counts;
    let expected = Counts { scheduled: 100, sent: 100, replied: 100, ..Counts::default() };
    assert_eq!(Counts { bytes_sent: 0, bytes_received: 0, ..counts }, expected);
}

#[test]
fn a_second_answer_to_the_very_last_message_is_still_seen() {
    let mut engine = engine(Transport::Udp, 1, 64);
    let stage = Stage { demand: Demand::Closed { window: 1 }, duration: None, messages: Some(3), seed: 1 };
    let mut server = |now: Nanos, message: &[u8]| {
        [MICROSECOND, 10 * MILLISECOND].map(|delay| (now + delay, message.to_ascii_uppercase())).to_vec()
    };
    simulate(&mut engine, Transport::Udp, &stage, 0, &mut server);
    let counts = recorder(&engine).counts;
    assert_eq!((counts.replied, counts.duplicated), (3, 3));
}

#[test]
fn short_messages_wait_for_one_another_in_an_open_loop_too() {
    let mut engine = engine(Transport::Udp, 1, 8);
    let demand = Demand::Open { profile: Profile::constant(1000.0), process: Process::Const, window: None };
    let stage = Stage { demand, duration: None, messages: Some(50), seed: 1 };
    // Five are due while one is under way, and none could be told from the others.
    let mut server = |now: Nanos, message: &[u8]| vec![(now + 5 * MILLISECOND, message.to_ascii_uppercase())];
    simulate(&mut engine, Transport::Udp, &stage, 0, &mut server);
    let Recorder { counts, service, response, .. } = recorder(&engine);
    assert_eq!((counts.replied, counts.wrong_answers(), counts.stray), (50, 0, 0));
    assert!(service.max() < 6 * MILLISECOND && response.max() > 190 * MILLISECOND);
}

#[test]
fn sockets_without_room_delay_messages_and_lose_none() {
    let mut engine = engine(Transport::Udp, 1, 64);
    let demand = Demand::Open { profile: Profile::constant(1000.0), process: Process::Const, window: None };
    engine.begin(&Stage { demand, duration: None, messages: Some(2), seed: 1 }, 0);
    let mut message = Vec::new();
    let lane = engine.next_sender(0).unwrap();
    assert_eq!(engine.compose(lane, 0, 1, &mut message), 1);
    engine.blocked(lane);
    assert_eq!(engine.next_sender(5 * MILLISECOND), None, "the lane is asked again only when it has room");
    engine.sent(lane, 1, 7 * MILLISECOND);
    engine.unblocked(lane);
    assert_eq!(engine.next_sender(7 * MILLISECOND), Some(lane));
    engine.compose(lane, 7 * MILLISECOND, 1, &mut message);
    engine.sent(lane, 1, 7 * MILLISECOND);
    engine.cut_off(8 * MILLISECOND);
    let Recorder { counts, lag, .. } = recorder(&engine);
    assert_eq!((counts.sent, counts.send_blocked, counts.in_flight_at_end), (2, 1, 2));
    assert_eq!(lag.min() / MILLISECOND, 5, "the second was to leave at 1 ms");
    assert!(lag.max() >= 7 * MILLISECOND, "the first at 0");
}

/// What becomes of one message on a bad network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Fine,
    Dropped,
    Doubled,
    Corrupted,
    Truncated,
    TooLate,
    TooLateTwice,
}

/// A network whose every fault is drawn from a seed, and what must be counted after it.
fn bad_network(seed: u64, size: usize, demand: Demand) -> (Counts, Counts) {
    const MESSAGES: u64 = 400;
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut expected = Counts { scheduled: MESSAGES, sent: MESSAGES, ..Counts::default() };
    let mut server = |now: Nanos, message: &[u8]| {
        let fates = [
            Fate::Fine,
            Fate::Fine,
            Fate::Dropped,
            Fate::Doubled,
            Fate::Corrupted,
            Fate::Truncated,
            Fate::TooLate,
            Fate::TooLateTwice,
        ];
        let fate = fates[random.next_u64() as usize % fates.len()];
        let mut answer = message.to_ascii_uppercase();
        let soon = now + MICROSECOND;
        let too_late = now + 3 * SECOND / 2;
        let times = match fate {
            Fate::Fine | Fate::Corrupted | Fate::Truncated => vec![soon],
            Fate::Dropped => vec![],
            Fate::Doubled => vec![soon, soon + MICROSECOND],
            Fate::TooLate => vec![too_late],
            Fate::TooLateTwice => vec![too_late, too_late + MICROSECOND],
        };
        match fate {
            Fate::Fine | Fate::Dropped | Fate::Doubled | Fate::TooLate | Fate::TooLateTwice => {}
            // Behind the header, so that it is still known which message this was.
            Fate::Corrupted => answer[16 + random.next_u64() as usize % (size - 16)] ^= 0x20,
            Fate::Truncated => answer.truncate(16 + random.next_u64() as usize % (size - 16)),
        }
        expected.replied += u64::from(matches!(fate, Fate::Fine | Fate::Doubled));
        expected.lost += u64::from(matches!(fate, Fate::Dropped | Fate::TooLate | Fate::TooLateTwice));
        expected.wrong += u64::from(matches!(fate, Fate::Corrupted | Fate::Truncated));
        expected.corrupt += u64::from(fate == Fate::Corrupted);
        expected.truncated += u64::from(fate == Fate::Truncated);
        expected.duplicated += u64::from(matches!(fate, Fate::Doubled | Fate::TooLateTwice));
        expected.late += u64::from(matches!(fate, Fate::TooLate | Fate::TooLateTwice));
        times.into_iter().map(|time| (time, answer.clone())).collect()
    };
    let mut engine = engine(Transport::Udp, 2, size);
    // Messages that come to be answered after their loss need somebody to wait for: the last ones are always fine.
    let stage = Stage { demand, duration: None, messages: Some(MESSAGES), seed };
    let end = simulate(&mut engine, Transport::Udp, &stage, 0, &mut server);
    let measured = recorder(&engine).counts;
    assert!(measured.is_balanced(), "{measured:?}");
    assert!(end > 0);
    (measured, expected)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_fault_of_a_network_is_counted_for_what_it_is(seed: u64, size in 24usize..200, window in 1usize..20) {
        let (measured, expected) = bad_network(seed, size, Demand::Closed { window });
        prop_assert_eq!(
            (measured.sent, measured.replied, measured.lost, measured.wrong, measured.corrupt, measured.truncated),
            (expected.sent, expected.replied, expected.lost, expected.wrong, expected.corrupt, expected.truncated)
        );
        prop_assert_eq!(measured.stray, 0);
        // Late answers to the last messages come after the end, when nobody listens any more.
        prop_assert!(measured.late <= expected.late && measured.late + 2 * window as u64 >= expected.late);
        prop_assert!(measured.duplicated <= expected.duplicated);
    }

    #[test]
    fn every_fault_is_counted_as_the_answer_key_has_it(
        seed: u64, shares in prop::array::uniform6(0.0f64..0.2), rate in prop::option::of(100.0f64..1e5), window in 2usize..20
    ) {
        const MESSAGES: u64 = 500;
        let [drop, duplicate, reorder, truncate, corrupt, wrong_case] = shares;
        let faults = Faults { drop, duplicate, reorder, truncate, corrupt, wrong_case, seed, ..Faults::default() };
        let mut lab = Datagrams::new(&faults);
        let mut server = |now: Nanos, message: &[u8]| {
            let replies = lab.receive(now, message, ());
            // What is sent later arrives later; equal times are kept in order.
            replies.into_iter().map(|reply| (reply.at.max(now) + MICROSECOND, reply.bytes)).collect()
        };
        let mut engine = engine(Transport::Udp, 1, 64);
        let demand = match rate {
            Some(rate) => Demand::Open { profile: Profile::constant(rate), process: Process::Poisson, window: None },
            None => Demand::Closed { window },
        };
        let stage = Stage { demand, duration: None, messages: Some(MESSAGES), seed };
        simulate(&mut engine, Transport::Udp, &stage, 0, &mut server);
        // An answer that is held when nothing follows would leave by itself; nobody sends it here, so it is lost.
        let never_sent = u64::from(lab.held_until().is_some());
        let (counts, key) = (recorder(&engine).counts, lab.key);
        prop_assert!(counts.is_balanced() && key.received == MESSAGES);
        // What is held while nothing comes within the timeout is lost too, and late when it comes.
        prop_assert_eq!(counts.lost, key.drop + never_sent + counts.late);
        prop_assert_eq!((counts.duplicated, counts.truncated), (key.duplicate, key.truncate));
        prop_assert_eq!(counts.reordered, key.reorder);
        prop_assert_eq!((counts.corrupt, counts.stray), (key.corrupt + key.wrong_case, 0));
        prop_assert_eq!(counts.wrong, key.truncate + key.corrupt + key.wrong_case);
    }

    #[test]
    fn waiting_for_the_server_moves_time_into_lag_and_omits_none(
        seed: u64, rate in 100.0f64..5000.0, stalled in 1u64..400, work in 1u64..300
    ) {
        // One worker, first come, first served, that sleeps in every second: how many questions may be under way decides
        // where they wait, not how long.
        let response = |window| {
            let mut free_at = 0;
            let mut server = |now: Nanos, message: &[u8]| {
                let begin = free_at.max(now);
                let into = begin % SECOND;
                free_at = begin + (stalled * MILLISECOND).saturating_sub(into) + work * MICROSECOND;
                vec![(free_at, message.to_ascii_uppercase())]
            };
            let mut engine = Engine::new(
                Payload::new(64, 42),
                &[LaneGroup { transport: Transport::Tcp, lanes: 1, timeout: 600 * SECOND }],
            );
            let demand = Demand::Open { profile: Profile::constant(rate), process: Process::Poisson, window };
            let stage = Stage { demand, duration: None, messages: Some(2000), seed };
            simulate(&mut engine, Transport::Tcp, &stage, 0, &mut server);
            let recorder = recorder(&engine);
            prop_assert_eq!(recorder.counts.replied, 2000);
            if window.is_none() {
                prop_assert_eq!(recorder.lag.max(), 0);
            }
            Ok(recorder.response.clone())
        };
        let free = response(None)?;
        prop_assert_eq!(&free, &response(Some(1))?);
        prop_assert_eq!(&free, &response(Some(7))?);
    }

    #[test]
    fn random_arrivals_follow_the_exponential_law_and_are_sent_when_drawn(seed: u64, rate in 100.0f64..1e5) {
        const MESSAGES: u64 = 4000;
        let mut engine = engine(Transport::Udp, 1, 64);
        let mut sent_at = Vec::new();
        let mut server = |now: Nanos, message: &[u8]| {
            sent_at.push(now);
            vec![(now + 1, message.to_ascii_uppercase())]
        };
        let demand = Demand::Open { profile: Profile::constant(rate), process: Process::Poisson, window: None };
        let stage = Stage { demand, duration: None, messages: Some(MESSAGES), seed };
        simulate(&mut engine, Transport::Udp, &stage, 0, &mut server);
        let mut gaps: Vec<f64> = sent_at.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e9 * rate).collect();
        gaps.sort_by(f64::total_cmp);
        let count = gaps.len() as f64;
        let distance = gaps.iter().enumerate().map(|(rank, gap)| {
            let law = 1.0 - (-gap).exp();
            (law - rank as f64 / count).abs().max((law - (rank + 1) as f64 / count).abs())
        });
        // Kolmogorov's distance exceeds 3.5 / √n in one of 20 thousand million samples.
        let distance = distance.fold(0.0, f64::max);
        prop_assert!(distance < 3.5 / count.sqrt(), "{}", distance);
    }

    #[test]
    fn a_stream_may_be_cut_anywhere(seed: u64, size in 1usize..100) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut engine = engine(Transport::Tcp, 2, size);
        let stage = Stage { demand: Demand::Closed { window: 5 }, duration: None, messages: Some(300), seed };
        let mut busy = [0; 2];
        let mut next = 0;
        let mut server = |now: Nanos, message: &[u8]| {
            // The order within a lane must hold; both lanes share one clock here, so it holds for all.
            let mut answer = message.to_ascii_uppercase();
            let mut pieces = Vec::new();
            while !answer.is_empty() {
                let rest = answer.split_off(1 + random.next_u64() as usize % answer.len());
                busy[0] = (busy[0]).max(now) + 1 + random.next_u64() % MICROSECOND;
                pieces.push((busy[0], std::mem::replace(&mut answer, rest)));
                next += 1;
            }
            pieces
        };
        simulate(&mut engine, Transport::Tcp, &stage, 0, &mut server);
        let counts = recorder(&engine).counts;
        prop_assert_eq!((counts.sent, counts.replied, counts.wrong_answers(), counts.stray), (300, 300, 0, 0));
    }
}
