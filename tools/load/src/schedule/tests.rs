//! The statistics of every process and the arithmetic of every profile.

use super::*;
use proptest::prelude::*;

fn schedule(process: Process, rate: f64, seed: u64) -> Arrivals {
    Arrivals::new(process, Profile::constant(rate), 1.0, 0.0, seed)
}

fn first(count: usize, mut arrivals: Arrivals) -> Vec<Nanos> {
    (0..count).map(|_| arrivals.take()).collect()
}

/// Everything that a profile with an end asks for.
fn all(mut arrivals: Arrivals) -> Vec<Nanos> {
    std::iter::from_fn(|| Some(arrivals.take()).filter(|&time| time < Nanos::MAX)).collect()
}

fn plan(segments: &[(f64, f64, f64)]) -> Profile {
    let segment = |&(seconds, from, to): &(f64, f64, f64)| Segment { duration: (seconds * 1e9) as Nanos, from, to };
    Profile::new(segments.iter().map(segment).collect()).unwrap()
}

/// The mean of some gaps and their standard deviation.
fn moments(times: &[Nanos]) -> (f64, f64) {
    let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    (mean, variance.sqrt())
}

fn processes() -> impl Strategy<Value = Process> {
    prop_oneof![
        Just(Process::Poisson),
        Just(Process::Const),
        Just(Process::Uniform),
        (1u64..40).prop_map(Process::Burst),
        (1_000_000u64..50_000_000, 0u64..50_000_000).prop_map(|(on, off)| Process::OnOff { on, off }),
    ]
}

fn profiles() -> impl Strategy<Value = Profile> {
    let rate = || prop_oneof![Just(0.0), 1.0f64..500.0];
    let segment = (1u64..2_000_000_000, rate(), rate());
    prop::collection::vec(segment, 1..5).prop_filter_map("asks for something", |segments| {
        let segment = |(duration, from, to)| Segment { duration, from, to };
        Profile::new(segments.into_iter().map(segment).collect())
    })
}

#[test]
fn equal_gaps_do_not_drift() {
    let mut arrivals = schedule(Process::Const, 3.0, 0);
    assert_eq!(first(4, arrivals.clone()), [0, 333_333_333, 666_666_666, 1_000_000_000]);
    for _ in 0..3_000_000 {
        arrivals.take();
    }
    assert_eq!(arrivals.peek(), 1_000_000_000_000_000, "a million seconds later");
}

#[test]
fn two_interleaved_schedules_make_one_even_one() {
    for process in [Process::Const, Process::Burst(1)] {
        let half = |offset| first(5, Arrivals::new(process, Profile::constant(1000.0), 0.5, offset, 0));
        let mut both = [half(0.0), half(0.5)].concat();
        both.sort_unstable();
        assert_eq!(both, first(10, schedule(process, 1000.0, 0)));
    }
}

#[test]
fn what_was_left_undone_is_counted() {
    let mut arrivals = schedule(Process::Const, 1000.0, 0);
    assert_eq!(arrivals.left_before(1_000_000_000), 1000);
    for _ in 0..400 {
        arrivals.take();
    }
    assert_eq!(arrivals.left_before(1_000_000_000), 600);
    assert_eq!(arrivals.left_before(0), 0);
}

#[test]
fn a_burst_is_at_once_and_its_gap_makes_up_for_it() {
    let times = first(9, schedule(Process::Burst(4), 1000.0, 0));
    assert_eq!(times, [0, 0, 0, 0, 4_000_000, 4_000_000, 4_000_000, 4_000_000, 8_000_000]);
    let mut arrivals = schedule(Process::Burst(4), 1000.0, 0);
    arrivals.take();
    assert_eq!(arrivals.left_before(4_000_000), 3, "the rest of the first burst");
    assert_eq!(arrivals.left_before(4_000_100), 7);
}

#[test]
fn nothing_is_left_undone_in_a_silence() {
    let arrivals = schedule(Process::OnOff { on: 10_000_000, off: 90_000_000 }, 10_000.0, 0);
    // An expectation from the first arrival on, which is a few messages' worth of time after the start.
    for (end, expected) in [(5_000_000, 500), (10_000_000, 1000), (50_000_000, 1000), (105_000_000, 1500)] {
        let left = arrivals.left_before(end);
        assert!((expected - 20..=expected).contains(&left), "{left} and not {expected} before {end}");
    }
}

#[test]
fn an_even_ramp_is_known_by_heart() {
    // From nothing to 200 a second in one second: n(t) = 100 t², so the n-th is due at √(n/100).
    let times = all(Arrivals::new(Process::Const, plan(&[(1.0, 0.0, 200.0)]), 1.0, 0.0, 0));
    assert_eq!(times.len(), 100);
    for (number, &time) in times.iter().enumerate() {
        let expected = (number as f64 / 100.0).sqrt() * 1e9;
        assert!((time as f64 - expected).abs() <= 1.0, "{number}: {time} and not {expected}");
    }
}

#[test]
fn a_plan_is_followed_segment_by_segment() {
    let profile = plan(&[(1.0, 100.0, 100.0), (2.0, 0.0, 0.0), (1.0, 50.0, 150.0)]);
    let times = all(Arrivals::new(Process::Const, profile.clone(), 1.0, 0.0, 0));
    let within = |from: u64, to: u64| times.iter().filter(|&&time| (from..to).contains(&(time / SECOND))).count();
    assert_eq!((within(0, 1), within(1, 3), within(3, 4)), (100, 0, 100));
    assert_eq!((profile.duration(), profile.mean_rate()), (4 * SECOND, 50.0));
    assert_eq!(profile.to_string(), "1s@100,2s@0,1s@50-150");
}

proptest! {
    // Each case draws thousands of arrivals.
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_seed_repeats_its_arrivals_and_another_does_not(seed: u64, rate in 1.0f64..1e6) {
        for process in [Process::Poisson, Process::Uniform, Process::OnOff { on: 1_000_000, off: 1_000_000 }] {
            let draw = |seed| first(50, schedule(process, rate, seed));
            prop_assert_eq!(draw(seed), draw(seed));
            prop_assert_ne!(draw(seed), draw(seed.wrapping_add(1)));
        }
    }

    #[test]
    fn random_gaps_have_the_mean_and_the_deviation_of_their_law(seed: u64, rate in 100.0f64..1e6) {
        // The deviation of an exponential gap is its mean; of an even one from 0 to twice the mean, mean / √3.
        for (process, deviation) in [(Process::Poisson, 1.0), (Process::Uniform, 1.0 / 3f64.sqrt())] {
            let times = first(20_000, schedule(process, rate, seed));
            prop_assert!(times.is_sorted());
            let (mean, measured) = moments(&times);
            // Six standard errors of the mean of 20,000 exponential gaps are 4.2 %; of the deviation, 8.5 %.
            let expected = 1e9 / rate;
            prop_assert!((mean / expected - 1.0).abs() < 0.045, "{process} mean {mean} against {expected}");
            prop_assert!((measured / expected / deviation - 1.0).abs() < 0.09, "{process} deviation {measured}");
        }
    }

    #[test]
    fn silence_is_silent_and_the_mean_is_kept(seed: u64, on in 1u64..20, off in 0u64..20) {
        let (on, off) = (on * 1_000_000, off * 1_000_000);
        let period = on + off;
        // A thousand a period on average, over forty periods: six standard errors are 3 %.
        let rate = 1000.0 * 1e9 / period as f64;
        let mut arrivals = schedule(Process::OnOff { on, off }, rate, seed);
        let times: Vec<Nanos> =
            std::iter::from_fn(|| Some(arrivals.take()).filter(|&time| time < 40 * period)).collect();
        prop_assert!(times.is_sorted());
        prop_assert!(times.iter().all(|time| time % period <= on));
        prop_assert!((times.len() as f64 / 40_000.0 - 1.0).abs() < 0.03, "{}", times.len());
    }

    #[test]
    fn a_profile_sends_as_many_as_its_integral_in_every_part(
        profile in profiles(), process in processes(), seed: u64, cut in 0.0f64..1.0
    ) {
        let times = all(Arrivals::new(process, profile.clone(), 1.0, 0.0, seed));
        prop_assert!(times.is_sorted());
        prop_assert!(times.iter().all(|&time| time < profile.duration() + 50_000_000));
        let cut = (profile.duration() as f64 * cut) as Nanos;
        let fresh = Arrivals::new(process, profile.clone(), 1.0, 0.0, seed);
        let before = times.iter().filter(|&&time| time < cut).count() as f64;
        let expected = fresh.left_before(cut) as f64;
        // Exact where nothing is random, but for an arrival within a rounding error of the cut.
        let tolerance = match process {
            Process::Const => 1.0,
            Process::Burst(length) => length as f64,
            // Six standard deviations of a Poisson count, and what the first gap takes away.
            Process::Poisson | Process::Uniform | Process::OnOff { .. } => 6.0 * expected.sqrt() + 20.0,
        };
        prop_assert!((before - expected).abs() <= tolerance, "{process}: {before} and not {expected} before {cut}");
    }

    #[test]
    fn when_and_how_many_are_inverse_to_each_other(profile in profiles(), share in 0.0f64..1.0) {
        let messages = profile.messages() * share;
        let time = profile.time_of(messages, &mut Cursor::default());
        let time = time.expect("less than all of them");
        let back = profile.messages_until(time);
        prop_assert!((back - messages).abs() <= 1e-6 * profile.messages().max(1.0), "{messages} came back as {back}");
    }
}
