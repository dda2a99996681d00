//! The rule against readings made up for it.

use super::*;

const GOAL: Goal = Goal { percentile: 99.0, width: 0.02 };

/// A hundred thousand values around a millisecond, worth `size`.
fn reading(size: f64, slices: impl Fn(usize) -> f64) -> Reading {
    let mut response = histogram();
    for value in 0..100_000 {
        response.saturating_record(900_000 + 2 * value);
    }
    Reading { response, size, slices: (0..40).map(slices).collect() }
}

fn steady(size: f64) -> Reading {
    reading(size, |slice| 1e6 + (slice * 7919 % 40) as f64 * 1e3)
}

#[test]
fn goals_are_read_in_both_spellings_and_written_as_they_are_read() {
    for text in ["p99±2%", "p99+-2%", " p99 ± 2% ", "p99±0.02"] {
        assert_eq!(text.parse::<Goal>(), Ok(GOAL), "{text}");
    }
    for text in ["p50±1%", "p99.9±5%", "p99.99±0.7%"] {
        assert_eq!(text.parse::<Goal>().unwrap().to_string(), text);
    }
    for (text, right) in [
        ("p99", "p99±2%"),
        ("99±2%", "p99±2%"),
        ("mean±2%", "p99±2%"),
        ("p99±wide", "p99±2%"),
        ("p100±2%", "below p100"),
        ("p0±2%", "above p0"),
        ("pNaN±2%", "above p0"),
        ("p99±0.1%", "±0.2%"),
        ("p99±60%", "±50%"),
    ] {
        let refused = text.parse::<Goal>().unwrap_err();
        assert!(refused.contains(right), "{text}: {refused}");
    }
}

#[test]
fn looks_are_a_quarter_apart_and_one_that_was_missed_is_not_made_up_for() {
    let mut looks = Looks::default();
    let due: Vec<u64> = (0..100).map(|tenth| tenth * SECOND / 10).filter(|&time| looks.is_due(time)).collect();
    assert_eq!(due.iter().map(|time| time / 100_000_000).collect::<Vec<_>>(), [20, 25, 32, 40, 49, 62, 77, 96]);
    assert!(looks.is_due(100 * SECOND) && !looks.is_due(100 * SECOND));
}

#[test]
fn one_tight_look_is_not_enough_and_two_are() {
    let mut rule = Rule::new(GOAL);
    assert!(!rule.look(2 * SECOND, &steady(900.0)), "too few, however tight");
    assert!(!rule.look(3 * SECOND, &steady(5000.0)));
    assert!(!rule.look(4 * SECOND, &steady(900.0)), "it was lucky");
    assert!(!rule.look(5 * SECOND, &steady(5000.0)));
    assert!(rule.look(6 * SECOND, &steady(6000.0)));
    let until = rule.finish(7 * SECOND, 120 * SECOND, &steady(900.0));
    assert_eq!((until.outcome, until.after_ns, until.looks), (Outcome::Reached, 6 * SECOND, 5));
    assert!(until.half_width.unwrap() < 0.02 && until.lo_ns.unwrap() < until.value_ns, "{until:?}");
}

#[test]
fn what_was_not_reached_would_take_as_long_as_the_square_says() {
    let narrow = Goal { percentile: 50.0, width: 0.002 };
    let mut rule = Rule::new(narrow);
    for (seconds, size) in [(20, 500.0), (40, 1000.0), (60, 1500.0), (80, 2000.0)] {
        rule.look(seconds * SECOND, &steady(size));
    }
    let until = rule.finish(100 * SECOND, 100 * SECOND, &steady(2500.0));
    assert_eq!(until.outcome, Outcome::NotReached);
    let times = (until.half_width.unwrap() / 0.002).powi(2);
    assert!((until.needed_ns.unwrap() as f64 / 1e11 / times - 1.0).abs() < 1e-6 && times > 3.0, "{until:?}");
}

#[test]
fn a_percentile_without_an_interval_takes_as_long_as_it_needs_values() {
    let rule = Rule::new(Goal { percentile: 99.99, width: 0.02 });
    let until = rule.finish(10 * SECOND, 10 * SECOND, &steady(10_000.0));
    assert_eq!((until.outcome, until.half_width), (Outcome::NotReached, None));
    assert!(until.needed_ns.unwrap().abs_diff(100 * SECOND) < SECOND / 100, "ten beyond it take 100,000: {until:?}");
}

#[test]
fn a_run_that_drifts_never_stops_and_says_so() {
    let drifting = reading(1e5, |slice| 1e5 * (1.0 + slice as f64));
    let mut rule = Rule::new(GOAL);
    assert!((2..30).all(|second| !rule.look(second * SECOND, &drifting)));
    let until = rule.finish(30 * SECOND, 30 * SECOND, &drifting);
    assert!(until.outcome == Outcome::Impossible && until.why.starts_with("not stationary"), "{until:?}");
}

#[test]
fn a_sample_that_does_not_grow_is_no_matter_of_time() {
    let mut rule = Rule::new(GOAL);
    for second in 2..30 {
        rule.look(second * SECOND, &steady(40.0));
    }
    let until = rule.finish(30 * SECOND, 30 * SECOND, &steady(42.0));
    assert_eq!(until.outcome, Outcome::Impossible);
    assert!(until.why.contains("worth 40 independent answers after 15.0 s, and 42 after 30.0 s"), "{}", until.why);
}

#[test]
fn a_percentile_at_the_edge_of_a_gap_is_named() {
    let mut reading = steady(5000.0);
    reading.response = histogram();
    reading.response.saturating_record_n(50_000, 9_900);
    for value in 0..100 {
        reading.response.saturating_record(9_000_000 + value * 10_000);
    }
    let until = Rule::new(GOAL).finish(30 * SECOND, 30 * SECOND, &reading);
    assert_eq!(until.outcome, Outcome::Impossible);
    assert!(until.why.starts_with("nothing lies between 50."), "{}", until.why);
}
