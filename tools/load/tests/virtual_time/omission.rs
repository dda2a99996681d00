//! Coordinated omission: what a stall does to the latencies of each loop is known beforehand.

use super::*;

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
    let stage = Stage { demand, duration: Some(2 * SECOND), messages: None, late: Late::Queue, seed: 1 };
    simulate(&mut engine, Transport::Tcp, &stage, 0, &mut server);
    let counts = recorder(&engine).counts;
    assert_eq!(counts.scheduled, 6000);
    assert!((2000..2010).contains(&counts.sent), "{}", counts.sent);
    assert!(recorder(&engine).response.max() > SECOND, "the last ones left had waited for two thirds of the time");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

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
            let stage = so_many(demand, 2000, seed);
            simulate(&mut engine, Transport::Tcp, &stage, 0, &mut server);
            let recorder = recorder(&engine);
            prop_assert_eq!(recorder.counts.replied, 2000);
            if window.is_none() {
                prop_assert_eq!(recorder.lag.max(), 0);
            }
            Ok(recorder.response.clone())
        };
        let free = response(None)?;
        prop_assert!(free == response(Some(1))? && free == response(Some(7))?);
    }

    #[test]
    fn equal_gaps_meet_a_stall_as_its_closed_form_says(
        // Gaps whose rate is a number without a remainder.
        stalled in 1u64..400, gap in prop::sample::select(vec![1u64, 2, 4, 5, 8, 10, 16, 20]), work in 1u64..1000
    ) {
        // The server sleeps at the end of every second: whoever comes then waits for the second to be over.
        let until = |time: Nanos| {
            let into = time % SECOND;
            if into < SECOND - stalled * MILLISECOND { time } else { time - into + SECOND }
        };
        let mut server = |now: Nanos, message: &[u8]| vec![(until(now) + work, message.to_ascii_uppercase())];
        let mut engine = engine(Transport::Udp, 1, 64);
        let profile = Profile::constant(1000.0 / gap as f64);
        simulate(&mut engine, Transport::Udp, &so_many(open(profile, Process::Const), 3000, 1), 0, &mut server);
        let mut expected = shout_load::recorder::histogram();
        for number in 0..3000 {
            let time = number * gap * MILLISECOND;
            expected.record(until(time) + work - time).unwrap();
        }
        let Recorder { response, service, .. } = recorder(&engine);
        prop_assert!(response == &expected && service == &expected, "the whole histogram, bucket by bucket");
    }

    #[test]
    fn random_arrivals_see_the_average_over_time(seed: u64, stalled in 50u64..500) {
        // Poisson arrivals see time averages (Wolff, 1982): a share s of a second waits, s / 2 on average.
        const MESSAGES: u64 = 20_000;
        let until = |time: Nanos| {
            let into = time % SECOND;
            if into < SECOND - stalled * MILLISECOND { time } else { time - into + SECOND }
        };
        let mut server = |now: Nanos, message: &[u8]| vec![(until(now) + 1, message.to_ascii_uppercase())];
        let mut engine = engine(Transport::Udp, 1, 64);
        // Forty seconds, so that where the last one is cut matters little.
        let profile = Profile::constant(MESSAGES as f64 / 40.0);
        simulate(&mut engine, Transport::Udp, &so_many(open(profile, Process::Poisson), MESSAGES, seed), 0, &mut server);
        let response = &recorder(&engine).response;
        let share = stalled as f64 / 1000.0;
        let waited = MESSAGES - response.count_between(0, 1);
        // Six standard deviations of a binomial share of 20,000, and a fortieth of the share for the cut.
        let tolerance = 6.0 * (share * (1.0 - share) / MESSAGES as f64).sqrt() + share / 40.0;
        prop_assert!((waited as f64 / MESSAGES as f64 - share).abs() < tolerance, "{} waited, share {}", waited, share);
        let mean = response.mean() / SECOND as f64;
        // The variance of the waiting time is s³/3 − s⁴/4.
        let deviation = (share.powi(3) / 3.0 - share.powi(4) / 4.0).sqrt();
        let tolerance = 6.0 * deviation / (MESSAGES as f64).sqrt() + share * share / 40.0;
        prop_assert!((mean - share * share / 2.0).abs() < tolerance, "mean {} s, share {}", mean, share);
    }
}
