//! A load that one generator recorded, and the same load dealt out to several whose runs are merged: the same run.

mod settings;
mod together;

use proptest::prelude::*;

use super::settings::check;
use super::source::Source;
use super::sum::merge;
use crate::by_size::BySize as Sizes;
use crate::clock::{Nanos, SECOND};
use crate::companions::{HalfClosers, Idle, SlowReaders, Tally};
use crate::evidence::Slow;
use crate::interference::Interference;
use crate::intervals::{Flow, Intervals};
use crate::ledger::Flight;
use crate::loss::{Attribution, Bursts, Drops};
use crate::observer::Memory;
use crate::payload::Content;
use crate::recorder::{Recorder, histogram};
use crate::report::by_size::BySize;
use crate::report::document::{Document, Latencies, PerTransport, Process};
use crate::report::intervals::Interval;
use crate::report::trust::{Loss, Outlier};
use crate::report::until::{Outcome, Until};
use crate::verdict::{Verdict, judge, tests::healthy};

const LENGTH: Nanos = 250_000_000;
const START: u64 = 1_795_332_662_000_000_000;
const MIX: &str = "mix:64=1,300=1";

/// A message: when it was to leave, how late it left, how long it took from there, whether it was answered, and whose it is.
#[derive(Debug, Clone, Copy)]
struct Message {
    intended: Nanos,
    lag: Nanos,
    service: Nanos,
    is_lost: bool,
    is_tcp: bool,
    bytes: usize,
    of: usize,
}

fn messages(generators: usize) -> impl Strategy<Value = Vec<Message>> {
    let one = (0..SECOND, 0..200_000_u64, 1..900_000_000_u64, 0..10_u8, any::<bool>(), any::<bool>(), 0..generators);
    let one = one.prop_map(|(intended, lag, service, lost, is_tcp, is_long, of)| {
        let bytes = if is_long { 300 } else { 64 };
        Message { intended, lag, service, is_lost: lost == 0, is_tcp, bytes, of }
    });
    prop::collection::vec(one, 1..120)
}

/// What a generator saves that sent these messages in a second, and waited for another.
fn run(messages: &[Message], start: u64, name: usize) -> Document {
    let sizes = || Sizes::of(&Content::Template(MIX.parse().unwrap()));
    let mut recorders = [0, 1].map(|_| Recorder { by_size: sizes(), ..Recorder::default() });
    let mut intervals = Intervals::new(LENGTH);
    let mut outliers = Vec::new();
    // Sends and ends in the order of time.
    let events = messages.iter().flat_map(|one| {
        let sent = one.intended + one.lag;
        [(sent.min(SECOND), true, one), (sent.min(SECOND) + one.service, false, one)]
    });
    let mut events: Vec<_> = events.collect();
    events.sort_by_key(|(time, is_send, _)| (*time, !is_send));
    let flow = |recorders: &[Recorder; 2]| {
        let sum = |of: fn(&crate::recorder::Counts) -> u64| recorders.iter().map(|one| of(&one.counts)).sum();
        let sent = sum(|counts| counts.sent);
        Flow { offered: sent, sent, replied: sum(|counts| counts.replied), lost: sum(|counts| counts.lost) }
    };
    for (time, is_send, message) in events {
        while time >= intervals.next_cut() {
            let now = intervals.next_cut();
            intervals.cut(now, flow(&recorders), recorders.iter());
        }
        let flight = Flight { intended: message.intended, issued: (message.intended + message.lag).min(SECOND) };
        let recorder = &mut recorders[usize::from(message.is_tcp)];
        match (is_send, message.is_lost) {
            (true, _) => {
                recorder.counts.scheduled += 1;
                recorder.sent(flight, message.bytes);
            }
            (false, true) => recorder.counts.lost += 1,
            (false, false) => {
                recorder.replied(flight, message.bytes, time);
                let (latency, intended) = (time - message.intended, message.intended);
                let slow = Slow { latency, intended, lag: message.lag, lane: 0, sequence: 0, in_flight: 1 };
                outliers.push(Outlier::of(&slow, "udp", message.bytes));
            }
        }
    }
    while intervals.next_cut() < 2 * SECOND {
        let now = intervals.next_cut();
        intervals.cut(now, flow(&recorders), recorders.iter());
    }
    intervals.end(2 * SECOND, flow(&recorders), recorders.iter());
    outliers.sort_by_key(|one| (std::cmp::Reverse(one.lat_ns), one.t_intended_ns));
    outliers.truncate(crate::evidence::WORST);

    let mut total = Recorder::default();
    let mut document = Document::for_tests();
    for recorder in &recorders {
        total.add(recorder);
    }
    for (name, recorder) in ["udp", "tcp"].iter().zip(&recorders) {
        // Some histogram stands for the times that connections took to open.
        let connect = Some(&total.lag).filter(|_| *name == "tcp");
        let part = PerTransport {
            counts: recorder.counts,
            latency: Latencies::of(recorder, |_, _| recorder.response.len() as f64, connect),
            breakdown: None,
        };
        document.per_transport.insert((*name).to_owned(), part);
    }
    document.counts = total.counts;
    document.latency = Latencies::of(&total, |_, _| total.response.len() as f64, Some(&total.lag));
    document.per_size = BySize::all(&total.by_size);
    document.intervals = intervals.closed().iter().map(|one| Interval::of(one, None)).collect();
    document.outliers = outliers;
    document.loss = Loss::of(
        Attribution::of(total.counts.lost, Drops::default()),
        Bursts::default(),
        &total.response,
        total.counts.lost,
    );
    document.config.interval_ns = LENGTH;
    document.config.size = MIX.into();
    (document.time.start_unix_ns, document.time.measured_ns, document.time.drain_ns) = (start, SECOND, SECOND);
    document.seed = format!("{name:X}");
    document.env.host = format!("host-{name}");
    document.connections.opened = 1;
    document.validity = judge(&healthy());
    document.exit = u8::from(total.counts.replied == 0);
    document
}

/// Makes another run of one.
type Change = fn(&mut Document);

fn source(document: &Document) -> Source {
    Source::new(&format!("{}.json", document.seed), document.clone()).unwrap()
}

fn merged(documents: &[Document]) -> Document {
    merge(&documents.iter().map(source).collect::<Vec<_>>(), &[])
}

/// One for each generator, with the messages that are its own, begun at these times.
fn dealt(messages: &[Message], starts: &[u64]) -> Vec<Document> {
    let of = |number| messages.iter().filter(|one| one.of == number).copied().collect::<Vec<_>>();
    starts.iter().enumerate().map(|(number, start)| run(&of(number), START + start, number)).collect()
}

/// What a merged run has of its own is set aside.
fn without_own(run: &Document, like: &Document) -> Document {
    let mut run = run.clone();
    for outlier in &mut run.outliers {
        outlier.part = None;
    }
    let alike = |latencies: &mut Latencies, like: &Latencies| {
        for (one, other) in [(&mut latencies.response, &like.response), (&mut latencies.service, &like.service)] {
            (one.n_eff, one.p) = (other.n_eff, one.p.clone());
            for (name, quantile) in &mut one.p {
                let other = other.p.get(name).copied().unwrap_or_default();
                (quantile.lo, quantile.hi, quantile.n_eff) = (other.lo, other.hi, other.n_eff);
            }
        }
    };
    alike(&mut run.latency, &like.latency);
    for (name, part) in &mut run.per_transport {
        alike(&mut part.latency, &like.per_transport[name].latency);
    }
    Document {
        merged: None,
        seed: like.seed.clone(),
        env: like.env.clone(),
        validity: like.validity.clone(),
        config: like.config.clone(),
        connections: like.connections,
        ..run
    }
}

/// The first field of two documents that is not the same, with both values.
fn first_difference(one: &Document, other: &Document) -> Option<String> {
    let [one, other] = [one, other].map(|run| serde_json::to_value(run).unwrap());
    let fields = one.as_object().unwrap().iter();
    let differs = fields.into_iter().find(|(name, value)| other.get(name) != Some(value));
    differs.map(|(name, value)| format!("{name}: {value} and {}", other[name]))
}

fn sum(run: &Document) -> hdrhistogram::Histogram<u64> {
    run.intervals.iter().fold(histogram(), |mut sum, one| {
        sum.add(one.histogram().unwrap()).unwrap();
        sum
    })
}

proptest! {
    // Each case packs and unpacks hundreds of histograms, which takes a second without optimisation.
    #![proptest_config(ProptestConfig { max_shrink_iters: 16, failure_persistence: None, ..ProptestConfig::with_cases(6) })]

    #[test]
    fn runs_that_were_one_load_are_the_run_that_one_generator_would_have_made(messages in messages(3)) {
        let whole = run(&messages, START, 9);
        let all = merged(&dealt(&messages, &[0, 0, 0]));
        prop_assert_eq!(first_difference(&without_own(&all, &whole), &whole), None);
        prop_assert_eq!(all.connections.opened, 3);
        let parts = all.merged.unwrap();
        prop_assert_eq!((parts.parts.len(), parts.common_ns, parts.rated_ns), (3, SECOND, SECOND));
    }

    #[test]
    fn neither_order_nor_grouping_matters(messages in messages(3)) {
        let [a, b, c] = dealt(&messages, &[0, 0, 0]).try_into().unwrap();
        let all = merged(&[a.clone(), b.clone(), c.clone()]);
        let pair = |one: &Document, other: &Document| merged(&[one.clone(), other.clone()]);
        for other in [pair(&pair(&a, &b), &c), pair(&a, &pair(&b, &c)), pair(&c, &pair(&b, &a))] {
            prop_assert_eq!(first_difference(&other, &all), None);
        }
    }

    #[test]
    fn whenever_they_began_nothing_is_lost(messages in messages(3), starts in prop::array::uniform3(0..5 * SECOND)) {
        let [a, b, c] = dealt(&messages, &starts).try_into().unwrap();
        let all = merged(&[a.clone(), b.clone(), c.clone()]);
        prop_assert_eq!(sum(&all), all.latency.response.histogram().unwrap());
        let mut end = 0;
        for (number, interval) in all.intervals.iter().enumerate() {
            prop_assert_eq!(interval.t_ns, if number == 0 { interval.t_ns } else { end }, "no gap and no overlap");
            end = interval.t_ns + interval.len_ns;
        }
        let again = merged(&[merged(&[c, a]), b]);
        prop_assert_eq!(sum(&again), sum(&all));
        prop_assert_eq!(&again.merged.as_ref().unwrap().parts, &all.merged.as_ref().unwrap().parts);
        prop_assert_eq!((&again.counts, &again.outliers, &again.per_size), (&all.counts, &all.outliers, &all.per_size));
        let latest = starts.iter().max().unwrap() - starts.iter().min().unwrap();
        prop_assert_eq!(all.merged.unwrap().common_ns, SECOND.saturating_sub(latest));
        prop_assert_eq!(all.time.measured_ns, SECOND + latest);
    }
}

/// A thousand messages, evenly spread and answered within a millisecond, for each of two generators.
fn even() -> Vec<Message> {
    let one = |number: u64| Message {
        intended: number * 500_000,
        lag: 0,
        service: 100_000 + number % 7 * 90_000,
        is_lost: false,
        is_tcp: number.is_multiple_of(3),
        bytes: 64,
        of: (number % 2) as usize,
    };
    (0..2000).map(one).collect()
}

/// What came of going on until a percentile was known.
fn until(outcome: Outcome) -> Until {
    Until {
        goal: "p99±2%".into(),
        percentile: 99.0,
        width: 0.02,
        max_duration_ns: SECOND,
        outcome,
        after_ns: SECOND,
        value_ns: 5,
        lo_ns: None,
        hi_ns: None,
        half_width: None,
        n_eff: 1,
        looks: 1,
        needed_ns: None,
        why: String::new(),
    }
}

fn interference() -> Interference {
    Interference { blocks: 1, part_ns: 1, generator_was_busy: 0, effects: Vec::new() }
}
