//! Late policies: what is sent, what is shed and what is left, against queues that are modelled one message at a time.

use super::*;

const MESSAGES: u64 = 1500;

const LONGEST_BURST: u64 = 20;

fn processes() -> impl Strategy<Value = Process> {
    prop_oneof![
        Just(Process::Const),
        Just(Process::Poisson),
        Just(Process::Uniform),
        (2..=LONGEST_BURST).prop_map(Process::Burst),
    ]
}

/// The intended times of the first messages of a schedule.
fn intended(process: Process, rate: f64, seed: u64) -> Vec<Nanos> {
    let mut arrivals = Arrivals::new(process, Profile::constant(rate), 1.0, 0.0, seed);
    (0..MESSAGES).map(|_| arrivals.take()).collect()
}

/// After a stage with one worker that takes `work` for each message, of which one at a time is sent to it.
fn busy_engine(stage: &Stage, work: Nanos, interval: Option<Nanos>) -> Engine {
    let groups = [LaneGroup { transport: Transport::Tcp, lanes: 1, timeout: 600 * SECOND }];
    let mut engine = Engine::new(Payload::new(64, 42), &groups);
    if let Some(interval) = interval {
        engine.record_intervals(interval);
    }
    let mut server = |now: Nanos, message: &[u8]| vec![(now + work, message.to_ascii_uppercase())];
    simulate(&mut engine, Transport::Tcp, stage, 0, &mut server);
    engine
}

fn busy(stage: &Stage, work: Nanos) -> Recorder {
    recorder(&busy_engine(stage, work, None)).clone()
}

fn one_at_a_time(process: Process, rate: f64) -> Demand {
    Demand::Open { profile: Profile::constant(rate), process, window: Some(1) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn shed_sends_what_a_queue_of_the_impatient_sends(
        process in processes(), seed: u64, work in 100u64..3000, patience in 0u64..20_000
    ) {
        let (work, patience) = (work * MICROSECOND, patience * MICROSECOND);
        let stage = Stage { late: Late::Shed(Some(patience)), ..so_many(one_at_a_time(process, 1000.0), MESSAGES, seed) };
        let measured = busy(&stage, work);
        let mut response = shout_load::recorder::histogram();
        let mut free_at = 0;
        for time in intended(process, 1000.0, seed) {
            let start = time.max(free_at);
            if start - time <= patience {
                free_at = start + work;
                response.record(free_at - time).unwrap();
            }
        }
        let counts = measured.counts;
        prop_assert_eq!((counts.sent, counts.shed), (response.len(), MESSAGES - response.len()));
        prop_assert_eq!(counts.scheduled, MESSAGES);
        prop_assert!(measured.response == response, "each at its time, to what the histogram keeps of it");
    }

    #[test]
    fn cap_sends_what_a_bounded_queue_sends(process in processes(), seed: u64, work in 100u64..3000, room in 1usize..30) {
        let work = work * MICROSECOND + 1; // no answer comes in the very moment of an arrival
        let stage = Stage { late: Late::Cap(room), ..so_many(one_at_a_time(process, 1000.0), MESSAGES, seed) };
        let measured = busy(&stage, work);
        let mut response = shout_load::recorder::histogram();
        let mut starts: Vec<Nanos> = Vec::new();
        let mut free_at = 0;
        for time in intended(process, 1000.0, seed) {
            // Those of the same moment wait for one another: none has left when the next one comes.
            if starts.iter().rev().take_while(|&&start| start >= time).count() < room {
                let start = time.max(free_at);
                free_at = start + work;
                starts.push(start);
                response.record(free_at - time).unwrap();
            }
        }
        let counts = measured.counts;
        prop_assert_eq!((counts.sent, counts.shed), (response.len(), MESSAGES - response.len()));
        prop_assert_eq!(counts.scheduled, MESSAGES);
        prop_assert!(measured.response == response);
        prop_assert!(measured.lag.max() <= room as u64 * work * 1001 / 1000, "no longer than those before it take");
    }

    #[test]
    fn what_is_scheduled_is_sent_or_shed_or_left(
        process in processes(), seed: u64, work in 100u64..3000, patience in 0u64..50_000, room in 1usize..200
    ) {
        let work = work * MICROSECOND;
        // Counted here message by message, and there from the schedule's closed form.
        let scheduled = intended(process, 1000.0, seed).into_iter().filter(|&time| time < SECOND).count() as u64;
        let tolerance = match process {
            Process::Const | Process::Burst(_) => 0.0,
            Process::Poisson | Process::Uniform | Process::OnOff { .. } => 6.0 * (scheduled as f64).sqrt(),
        };
        let mut sent_by_queue = 0;
        for late in [Late::Queue, Late::Shed(Some(patience * MICROSECOND)), Late::Cap(room)] {
            let demand = one_at_a_time(process, 1000.0);
            let stage = Stage { late, duration: Some(SECOND), seed, ..three_seconds(demand) };
            let Recorder { counts, lag, .. } = busy(&stage, work);
            prop_assert!((counts.scheduled as f64 - scheduled as f64).abs() <= tolerance, "{}: {:?}", late, counts);
            let left = counts.scheduled - counts.sent - counts.shed;
            match late {
                Late::Queue => {
                    prop_assert_eq!(counts.shed, 0);
                    sent_by_queue = counts.sent;
                }
                Late::Shed(_) => prop_assert!(lag.max() <= patience * MICROSECOND * 1001 / 1000, "{}", lag.max()),
                // Besides those that wait, what has fallen due since the last answer: a burst, or one a millisecond.
                Late::Cap(_) => prop_assert!(left <= room as u64 + LONGEST_BURST + 3 || tolerance > 0.0, "{} left", left),
            }
            prop_assert!(counts.sent <= sent_by_queue, "{} sends more than a queue that never turns away", late);
            prop_assert_eq!(counts.replied, counts.sent);
        }
    }

    #[test]
    fn without_delay_no_policy_changes_anything(process in processes(), seed: u64) {
        let mut outcomes = [Late::Queue, Late::Shed(Some(0)), Late::Cap(20)].map(|late| {
            let mut engine = engine(Transport::Udp, 1, 64);
            let mut server = |now: Nanos, message: &[u8]| vec![(now + 1, message.to_ascii_uppercase())];
            let stage = Stage { late, ..so_many(open(Profile::constant(1000.0), process), MESSAGES, seed) };
            simulate(&mut engine, Transport::Udp, &stage, 0, &mut server);
            recorder(&engine).counts
        });
        let first = outcomes[0];
        prop_assert_eq!((first.sent, first.shed), (MESSAGES, 0));
        prop_assert!(outcomes.iter_mut().all(|counts| *counts == first), "{:?}", outcomes);
    }
}

#[test]
fn a_policy_without_a_time_of_its_own_takes_the_timeout() {
    let demand = one_at_a_time(Process::Const, 1000.0);
    let stage = Stage { late: Late::Shed(None), ..so_many(demand, MESSAGES, 1) };
    // A third of the rate: after 1.5 s and 500 messages the next one is a second late. From then on two of three are
    // shed, and after the last arrival a third of the last second's is sent.
    let mut engine = engine(Transport::Tcp, 1, 64);
    let mut server = |now: Nanos, message: &[u8]| vec![(now + 3 * MILLISECOND, message.to_ascii_uppercase())];
    simulate(&mut engine, Transport::Tcp, &stage, 0, &mut server);
    let Recorder { counts, lag, .. } = recorder(&engine);
    assert_eq!((counts.scheduled, counts.sent, counts.shed), (1500, 834, 666));
    assert!((999 * MILLISECOND..=1001 * MILLISECOND).contains(&lag.max()), "{}", lag.max());
}

#[test]
fn what_is_shed_and_what_is_lost_are_infinitely_slow_together() {
    let stage = Stage { late: Late::Cap(1), ..so_many(one_at_a_time(Process::Const, 1000.0), 1000, 1) };
    let measured = busy(&stage, 2 * MILLISECOND - 1);
    let counts = measured.counts;
    assert!(counts.shed.abs_diff(500) <= 2, "every other one: {counts:?}");
    let all_in = |q| shout_load::loss::all_in(&measured.response, counts.unanswered(), q);
    assert!(all_in(0.49).is_some());
    assert_eq!(all_in(0.51), None);
}

#[test]
fn what_a_schedule_left_behind_is_infinitely_slow_under_every_policy() {
    for late in [Late::Queue, Late::Shed(Some(0)), Late::Shed(None), Late::Cap(3)] {
        let demand = one_at_a_time(Process::Const, 1000.0);
        // One message takes as long as ten may: a tenth of the schedule is sent, and all of that is answered.
        let measured = busy(&Stage { late, duration: Some(SECOND), ..three_seconds(demand) }, 10 * MILLISECOND - 1);
        let counts = measured.counts;
        assert_eq!((counts.scheduled, counts.replied), (1000, counts.sent), "{late}");
        assert_eq!((counts.never_sent(), counts.unanswered()), (1000 - counts.sent, 1000 - counts.sent), "{late}");
        let all_in = |q| shout_load::loss::all_in(&measured.response, counts.unanswered(), q);
        assert!(all_in(0.09).is_some() && all_in(0.12).is_none(), "{late}: {counts:?}");
    }
}

/// Sends all that may leave at `now`, and says how much that was.
fn send_all(engine: &mut Engine, now: Nanos) -> usize {
    let mut outbox = Outbox::default();
    let mut sent = 0;
    engine.tick(now);
    while let Some(lane) = engine.next_sender(now) {
        engine.compose(lane, now, Room::ONE, &mut outbox);
        engine.sent(lane, outbox.messages(), now);
        sent += outbox.messages();
        outbox.clear();
    }
    sent
}

/// A generator looks at the clock now and then, and the last message of a schedule falls due between two looks.
#[test]
fn a_turn_that_was_just_missed_at_the_end_is_made_up_for_and_a_longer_delay_is_not() {
    let scheduled = |engine: &Engine| recorder(engine).counts.scheduled;
    for late in [Late::Queue, Late::Shed(None), Late::Cap(100)] {
        let stage = || Stage {
            late,
            duration: Some(20 * MILLISECOND),
            ..three_seconds(open(Profile::constant(1000.0), Process::Const))
        };
        let mut engine = engine(Transport::Udp, 2, 64);
        engine.begin(&stage(), 0);
        assert_eq!(send_all(&mut engine, 17 * MILLISECOND), 18, "{late}: those at 0 to 17 ms");
        assert_eq!(send_all(&mut engine, 21 * MILLISECOND), 2, "{late}: those at 18 and 19 ms, and not the next");
        assert_eq!(engine.sending_time(), 20 * MILLISECOND, "{late}");
        engine.cut_off(21 * MILLISECOND);
        assert_eq!((scheduled(&engine), recorder(&engine).counts.never_sent()), (20, 0), "{late}");

        engine.begin(&stage(), 0);
        assert_eq!(send_all(&mut engine, 9 * MILLISECOND), 10, "{late}");
        assert_eq!(send_all(&mut engine, 21 * MILLISECOND), 0, "{late}: the generator itself was away");
        engine.cut_off(21 * MILLISECOND);
        assert_eq!((scheduled(&engine), recorder(&engine).counts.never_sent()), (20, 10), "{late}");
    }
}

/// Whoever is stopped has a schedule that ends there, and leaves nothing of the rest of it behind.
#[test]
fn what_would_have_come_after_a_stop_is_not_missed() {
    let mut engine = engine(Transport::Udp, 2, 64);
    engine.begin(&three_seconds(open(Profile::constant(1000.0), Process::Const)), 0);
    assert_eq!(send_all(&mut engine, 99 * MILLISECOND), 100);
    engine.stop(100 * MILLISECOND + 1);
    assert_eq!(send_all(&mut engine, 101 * MILLISECOND), 1, "the one at 100 ms");
    engine.cut_off(102 * MILLISECOND);
    let counts = recorder(&engine).counts;
    assert_eq!((counts.scheduled, counts.sent, counts.never_sent()), (101, 101, 0));
    assert_eq!(engine.sending_time(), 100 * MILLISECOND + 1);
}

#[test]
fn intervals_offer_what_is_scheduled_in_all() {
    for process in [Process::Const, Process::Poisson, Process::Uniform, Process::Burst(7)] {
        for late in [Late::Queue, Late::Shed(Some(5 * MILLISECOND)), Late::Cap(5)] {
            let demand = || one_at_a_time(process, 1000.0);
            let by_number = Stage { late, ..so_many(demand(), MESSAGES, 1) };
            let by_time = Stage { late, duration: Some(SECOND), ..three_seconds(demand()) };
            for stage in [by_number, by_time] {
                let engine = busy_engine(&stage, 2 * MILLISECOND, Some(100 * MILLISECOND));
                let offered: u64 = engine.intervals().0.iter().map(|interval| interval.flow.offered).sum();
                assert_eq!(offered, recorder(&engine).counts.scheduled, "{process}, {late}");
            }
        }
    }
}
