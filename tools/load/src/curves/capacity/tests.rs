//! Searches of servers whose judgements are made up for them.

use super::*;

const LIMITS: Limits = Limits { first: 1e3, least: 10.0, most: 1e8, precision: 0.05 };

/// Searches a server that is judged so, and returns the answer and the number of trials.
fn search(limits: Limits, server: impl Fn(f64) -> (f64, Judgement)) -> (Answer, usize) {
    search_in_two_ways(limits, |rate, _| server(rate))
}

/// The same where a short trial may say something else than a long one.
fn search_in_two_ways(limits: Limits, server: impl Fn(f64, bool) -> (f64, Judgement)) -> (Answer, usize) {
    let mut search = Search::new(limits);
    for trials in 0..100 {
        match search.next() {
            Step::Done(answer) => return (answer, trials),
            Step::Try { rate, is_long } => {
                let (achieved, judgement) = server(rate, is_long);
                search.note(achieved, judgement);
            }
        }
    }
    panic!("the search does not end");
}

fn sure(holds: bool) -> Judgement {
    Judgement { holds, is_sure: true, is_generators: false }
}

#[test]
fn a_sharp_limit_is_bracketed_as_closely_as_asked_wherever_it_is() {
    for capacity in [11.0, 999.0, 1000.0, 123_456.0, 9e7] {
        let (answer, trials) = search(LIMITS, |rate| (rate, sure(rate <= capacity)));
        let (lower, upper) = (answer.lower.unwrap(), answer.upper.unwrap());
        assert!(lower <= capacity && capacity < upper && upper <= lower * 1.0501, "{capacity}: {answer:?}");
        assert!(trials < 30 && answer.limit == Limit::Server, "{trials} trials for {capacity}");
    }
}

#[test]
fn a_generator_that_can_do_no_more_is_the_limit_and_the_server_has_no_upper_bound() {
    let server = |rate: f64| {
        let achieved = rate.min(50_000.0);
        (achieved, Judgement { is_generators: achieved < rate, ..sure(true) })
    };
    let (answer, trials) = search(LIMITS, server);
    assert_eq!((answer.upper, answer.limit), (None, Limit::Generator));
    assert!((answer.lower.unwrap() - 50_000.0).abs() < 1.0 && trials < 12, "{answer:?} after {trials}");
}

#[test]
fn the_ends_of_the_range_are_said_to_be_that() {
    let most = Limits { most: 64_000.0, ..LIMITS };
    let (answer, _) = search(most, |rate| (rate, sure(true)));
    assert_eq!((answer.lower, answer.upper, answer.limit), (Some(64_000.0), None, Limit::Range));
    let (answer, _) = search(LIMITS, |rate| (rate, sure(false)));
    assert_eq!((answer.lower, answer.upper, answer.limit), (None, Some(10.0), Limit::Server));
}

#[test]
fn a_generator_that_was_slow_once_is_not_taken_for_a_limit() {
    let calls = std::cell::Cell::new(0);
    let server = |rate: f64| {
        calls.set(calls.get() + 1);
        let is_slow = calls.get() % 3 == 0;
        (rate, Judgement { is_generators: is_slow, ..sure(rate <= 5e4 && !is_slow) })
    };
    let (answer, _) = search(LIMITS, server);
    assert!(answer.lower.unwrap() <= 5e4 && answer.upper.unwrap() > 5e4, "{answer:?}");
}

#[test]
fn a_server_that_stalled_once_in_a_short_trial_is_not_taken_to_be_that_slow() {
    let stalled = std::cell::Cell::new(0);
    let server = |rate: f64, is_long: bool| {
        let stalls = !is_long && rate >= 2e3 && stalled.get() < 2;
        stalled.set(stalled.get() + usize::from(stalls));
        (rate, sure(rate <= 5e4 && !stalls))
    };
    let (answer, trials) = search_in_two_ways(LIMITS, server);
    let (lower, upper) = (answer.lower.unwrap(), answer.upper.unwrap());
    assert!(lower <= 5e4 && upper > 5e4 && upper < 1.06 * lower && trials < 60, "{answer:?} after {trials}");
}

#[test]
fn a_server_that_stalls_in_every_short_trial_has_an_end_all_the_same() {
    let server = |rate: f64, is_long: bool| (rate, sure(is_long || rate < 2e3));
    let (answer, trials) = search_in_two_ways(LIMITS, server);
    assert!(answer.lower.unwrap() > 2e3 && answer.limit == Limit::Unclear && trials < 100, "{answer:?} after {trials}");
}

#[test]
fn where_nothing_was_proved_the_range_is_not_to_blame() {
    for (is_generators, limit) in [(true, Limit::Generator), (false, Limit::Unclear)] {
        let server = |rate: f64, is_long: bool| {
            (rate, Judgement { is_sure: false, is_generators: is_long && is_generators, ..sure(true) })
        };
        let (answer, _) = search_in_two_ways(Limits { most: 8e3, ..LIMITS }, server);
        assert_eq!((answer.lower, answer.limit), (None, limit));
    }
}

#[test]
fn what_is_never_sure_gets_no_bound_at_all() {
    let (answer, trials) = search(LIMITS, |rate| (rate, Judgement { is_sure: false, ..sure(rate < 5e4) }));
    assert_eq!((answer.lower, answer.upper, answer.limit), (None, None, Limit::Unclear));
    assert!(trials < 40, "{trials}");
}

/// How the long trials went that are asked for after short ones which held surely up to 2m a second.
fn long_trials(judge: impl Fn(f64) -> Judgement) -> (Vec<f64>, Answer) {
    let mut search = Search::new(Limits { first: 1_000_000.0, ..LIMITS });
    let mut rates = Vec::new();
    loop {
        match search.next() {
            Step::Done(answer) => return (rates, answer),
            Step::Try { rate, is_long: false } => {
                let is_near = rate > 2e6;
                let judgement = Judgement { holds: rate <= 4e6, is_sure: !is_near, is_generators: rate > 4e6 };
                search.note(rate, judgement);
            }
            Step::Try { rate, is_long: true } => {
                rates.push(rate);
                search.note(rate, judge(rate));
            }
        }
    }
}

#[test]
fn where_the_generator_is_behind_the_next_long_trial_is_where_a_short_one_was_sure_and_then_half_of_that() {
    let behind = Judgement { holds: false, is_sure: true, is_generators: true };
    let (rates, answer) = long_trials(|rate| if rate > 6e5 { behind } else { sure(true) });
    assert_eq!(rates[1..], [2e6, 1e6, 5e5], "{rates:?}");
    assert_eq!((answer.lower, answer.limit), (Some(5e5), Limit::Generator));
}

#[test]
fn what_is_near_the_limit_is_approached_in_steps_and_the_last_trial_goes_where_a_short_one_was_sure() {
    let (rates, answer) = long_trials(|rate| Judgement { is_sure: rate <= 2e6, ..sure(true) });
    let (steps, last) = rates.split_at(3);
    assert!(steps.iter().all(|rate| *rate > 3e6) && last == [2e6], "{rates:?}");
    assert_eq!(answer.lower, Some(2e6));
}

#[test]
fn a_generator_that_spoilt_the_most_of_the_trials_is_blamed_whichever_of_them_was_the_last() {
    let limit = |clean: &[usize]| {
        let number = std::cell::Cell::new(0);
        let server = |rate: f64, is_long: bool| {
            let upper = is_long && rate > 5e4;
            number.set(number.get() + usize::from(upper));
            let is_generators = upper && !clean.contains(&number.get());
            let is_sure = !upper;
            (rate, Judgement { holds: rate <= 5e4, is_sure, is_generators })
        };
        let (answer, _) = search_in_two_ways(LIMITS, server);
        assert!(answer.lower.is_some() && answer.upper.is_none(), "{answer:?}");
        answer.limit
    };
    assert_eq!(limit(&[4]), Limit::Generator, "three of four");
    assert_eq!(limit(&[1, 2, 3]), Limit::Unclear, "one of four");
}
