//! Rates that change: every message leaves at the time that the integral of the rate gives it.

use super::*;

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
        let stage = Stage { demand, duration: Some(profile.duration()), messages: None, late: Late::Queue, seed: 1 };
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

fn profiles() -> impl Strategy<Value = Profile> {
    let rate = || prop_oneof![Just(0.0), 1.0f64..2000.0];
    let segment = (100u64..2000, rate(), rate());
    prop::collection::vec(segment, 1..5).prop_filter_map("asks for something", |segments| {
        let segment = |(time, from, to)| Segment { duration: time * MILLISECOND, from, to };
        Profile::new(segments.into_iter().map(segment).collect()).filter(|profile| profile.messages() >= 2.0)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_ramp_sends_each_message_at_the_root_of_its_parabola(
        from in 0.0f64..2000.0, to in 0.0f64..2000.0, milliseconds in 500u64..3000
    ) {
        prop_assume!(from + to > 20.0);
        let segment = Segment { duration: milliseconds * MILLISECOND, from, to };
        let profile = Profile::new(vec![segment]).unwrap();
        let mut engine = engine(Transport::Udp, 2, 64);
        let mut sent_at = Vec::new();
        let mut server = |now: Nanos, message: &[u8]| {
            sent_at.push(now);
            vec![(now + MICROSECOND, message.to_ascii_uppercase())]
        };
        let stage = Stage { duration: Some(profile.duration()), ..three_seconds(open(profile.clone(), Process::Const)) };
        simulate(&mut engine, Transport::Udp, &stage, 0, &mut server);
        // Messages by time t: from · t + (to − from) · t² / 2T. The n-th leaves when that is n.
        let seconds = milliseconds as f64 / 1000.0;
        for (number, &time) in sent_at.iter().enumerate() {
            let time = time as f64 / 1e9;
            let by_then = from * time + (to - from) * time * time / (2.0 * seconds);
            prop_assert!((by_then - number as f64).abs() < 1e-3, "message {} left when {} were due", number, by_then);
        }
        let whole = f64::midpoint(from, to) * seconds;
        prop_assert!((sent_at.len() as f64 - whole).abs() <= 1.0, "{} of {}", sent_at.len(), whole);
    }

    #[test]
    fn a_plan_leaves_nothing_undone_when_nothing_holds_it_up(profile in profiles(), seed: u64) {
        for process in [Process::Const, Process::Poisson, Process::Uniform, Process::Burst(7)] {
            let mut engine = engine(Transport::Udp, 1, 64);
            let mut server = |now: Nanos, message: &[u8]| vec![(now + 1, message.to_ascii_uppercase())];
            let demand = open(profile.clone(), process);
            let stage = Stage { duration: Some(profile.duration()), seed, ..three_seconds(demand) };
            simulate(&mut engine, Transport::Udp, &stage, 0, &mut server);
            let Recorder { counts, lag, .. } = recorder(&engine);
            prop_assert_eq!((counts.scheduled, counts.replied, lag.max()), (counts.sent, counts.sent, 0), "{}", process);
            // Six standard deviations of a Poisson count; a burst that begins is sent whole.
            let expected = profile.messages();
            prop_assert!((counts.sent as f64 - expected).abs() <= 6.0 * expected.sqrt() + 8.0, "{}", process);
        }
    }
}
