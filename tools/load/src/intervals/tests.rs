//! Intervals against a list of all that happened.

use super::*;
use crate::ledger::Flight;
use proptest::prelude::*;

fn flow(recorder: &Recorder) -> Flow {
    let counts = &recorder.counts;
    Flow { offered: counts.sent, sent: counts.sent, replied: counts.replied, lost: counts.lost }
}

fn sum(intervals: &Intervals, part: impl Fn(&Interval) -> &Packed) -> Histogram<u64> {
    intervals.closed().iter().fold(histogram(), |mut sum, interval| {
        sum.add(part(interval).histogram()).unwrap();
        sum
    })
}

proptest! {
    // Each case fills and empties dozens of histograms, which takes tens of milliseconds without optimisation.
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_intervals_add_up_to_the_whole_exactly_however_few_are_kept(
        steps in prop::collection::vec((0..3_000_u64, 0..200_000_000_000_u64, 0..3_u8), 0..60),
        most in 1..12_usize,
    ) {
        const LENGTH: Nanos = 1_000;
        let mut intervals = Intervals::with_most(LENGTH, most);
        let (mut udp, mut tcp) = (Recorder::default(), Recorder::default());
        let mut now = 0;
        let all = |udp: &Recorder, tcp: &Recorder| flow(udp).plus(flow(tcp));
        for (pass, latency, what) in steps {
            now += pass;
            if now >= intervals.next_cut() {
                intervals.cut(now, all(&udp, &tcp), [&udp, &tcp].into_iter());
            }
            let recorder = if latency % 2 == 0 { &mut udp } else { &mut tcp };
            let flight = Flight { intended: 0, issued: latency / 3 };
            recorder.sent(flight, 64);
            match what {
                0 => recorder.counts.lost += 1,
                _ => recorder.replied(flight, 64, latency),
            }
        }
        intervals.end(now + 1, all(&udp, &tcp), [&udp, &tcp].into_iter());
        prop_assert!(intervals.closed().len() <= most);
        let mut end = 0;
        for interval in intervals.closed() {
            prop_assert_eq!(interval.start, end, "no gap and no overlap");
            end += interval.length;
        }
        prop_assert_eq!(end, now + 1);
        let flows = intervals.closed().iter().fold(Flow::default(), |sum, interval| sum.plus(interval.flow));
        prop_assert_eq!(flows, all(&udp, &tcp));
        let total = |part: fn(&Recorder) -> &Histogram<u64>| {
            let mut total = part(&udp).clone();
            total.add(part(&tcp)).unwrap();
            total
        };
        prop_assert_eq!(sum(&intervals, |interval| &interval.response), total(|recorder| &recorder.response));
        prop_assert_eq!(sum(&intervals, |interval| &interval.service), total(|recorder| &recorder.service));
        prop_assert_eq!(sum(&intervals, |interval| &interval.lag), total(|recorder| &recorder.lag));
    }
}

#[test]
fn what_nobody_looked_at_for_long_is_one_long_interval() {
    let mut intervals = Intervals::new(1_000);
    let recorder = Recorder::default();
    intervals.cut(3_500, flow(&recorder), [&recorder].into_iter());
    assert_eq!((intervals.closed()[0].start, intervals.closed()[0].length), (0, 3_000));
    assert_eq!(intervals.next_cut(), 4_000);
}

#[test]
fn a_full_list_stays_even() {
    let mut intervals = Intervals::with_most(10, 8);
    let recorder = Recorder::default();
    for end in (10..=1_000).step_by(10) {
        intervals.cut(end, flow(&recorder), [&recorder].into_iter());
    }
    let lengths = || intervals.closed().iter().map(|interval| interval.length);
    assert_eq!((intervals.closed().len(), lengths().sum::<u64>()), (8, 1_000));
    assert!(lengths().max().unwrap() <= 320, "{:?}", lengths().collect::<Vec<_>>());
}

/// Intervals with these ends, and one reply in each, whose latency is its end.
fn with_ends(ends: &[Nanos]) -> Vec<Interval> {
    let mut start = 0;
    let interval = |&end: &Nanos| {
        let mut response = histogram();
        response.record(end).unwrap();
        let packed = Packed::new(&response);
        let flow = Flow { offered: 1, sent: 1, replied: 1, lost: 0 };
        let quantiles = quantiles(&response);
        let length = end - std::mem::replace(&mut start, end);
        Interval {
            start: end - length,
            length,
            flow,
            response: packed.clone(),
            service: packed.clone(),
            lag: packed,
            quantiles,
        }
    };
    ends.iter().map(interval).collect()
}

#[test]
fn intervals_of_several_generators_are_one_where_not_all_of_them_have_an_end() {
    let (even, joined, longer) =
        (with_ends(&[10, 20, 30, 33]), with_ends(&[10, 30, 35]), with_ends(&[10, 20, 30, 40, 47]));
    let all = merged(&[&even, &joined, &longer]);
    let shape: Vec<_> = all.iter().map(|one| (one.start, one.length, one.flow.replied)).collect();
    assert_eq!(shape, [(0, 10, 3), (10, 20, 5), (30, 10, 3), (40, 7, 1)]);
    for one in &all {
        let response = one.response.histogram();
        assert_eq!(response.len(), one.flow.replied);
        assert!(response.min() > one.start && response.max() <= one.start + one.length);
    }
    assert_eq!(merged(&[&even]), even);
    assert_eq!(merged(&[&even, &[]]).len(), 4, "one without intervals adds none");
}

#[test]
fn who_begins_later_shares_no_end_before_and_what_lies_between_two_is_empty() {
    let early = with_ends(&[10, 20, 25]);
    let later = |by: Nanos| -> Vec<Interval> {
        with_ends(&[10, 20]).into_iter().map(|one| Interval { start: one.start + by, ..one }).collect()
    };
    let shape =
        |all: &[Interval]| -> Vec<_> { all.iter().map(|one| (one.start, one.length, one.flow.replied)).collect() };
    assert_eq!(shape(&merged(&[&later(10), &early])), [(0, 10, 1), (10, 10, 2), (20, 10, 2)]);
    let apart = merged(&[&early, &later(40)]);
    assert_eq!(shape(&apart), [(0, 10, 1), (10, 10, 1), (20, 5, 1), (25, 15, 0), (40, 10, 1), (50, 10, 1)]);
    assert!(apart[3].response.histogram().is_empty() && apart[3].quantiles.is_none());
}
