//! A load that one generator recorded, and the same load dealt out to several whose runs are merged: the same run.

use proptest::prelude::*;

use super::settings::check;
use super::source::Source;
use super::sum::merge;
use crate::by_size::BySize as Sizes;
use crate::clock::{Nanos, SECOND};
use crate::companions::{HalfClosers, Idle, SlowReaders, Tally};
use crate::evidence::Slow;
use crate::intervals::{Flow, Intervals};
use crate::ledger::Flight;
use crate::loss::{Attribution, Bursts, Drops};
use crate::payload::Content;
use crate::recorder::{Recorder, histogram};
use crate::report::by_size::BySize;
use crate::report::document::{Counts, Document, Latencies, PerTransport, Process};
use crate::report::intervals::Interval;
use crate::report::trust::{Loss, Outlier};
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
            counts: (&recorder.counts).into(),
            latency: Latencies::of(recorder, |_, _| recorder.response.len() as f64, connect),
            breakdown: None,
        };
        document.per_transport.insert((*name).to_owned(), part);
    }
    document.counts = Counts::from(&total.counts);
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

#[test]
fn runs_that_began_together_are_valid_together_and_runs_apart_are_not() {
    for (late, verdict, named) in [
        (0, Verdict::Valid, "the runs overlap"),
        (SECOND / 5, Verdict::Suspect, "0.80 s of 1.00"),
        (SECOND * 3 / 5, Verdict::Invalid, "0.40 s of 1.00"),
        (9 * SECOND, Verdict::Invalid, "do not overlap"),
    ] {
        let run = merged(&dealt(&even(), &[0, late]));
        let overlap = &run.validity.checks[0];
        assert_eq!((overlap.id.as_str(), overlap.verdict), ("overlap", verdict), "{late}");
        assert!(run.validity.verdict >= verdict && overlap.why.contains(named), "{}", overlap.why);
    }
}

#[test]
fn rates_are_those_of_the_time_in_common() {
    // Two of a thousand a second each, with a second, nine tenths and nothing in common.
    for (late, rate) in [(0, 2000.0), (SECOND / 10, 2000.0), (5 * SECOND, 2000.0 / 6.0)] {
        let run = merged(&dealt(&even(), &[0, late]));
        let found = run.counts.sent as f64 * SECOND as f64 / run.rated_ns() as f64;
        assert!((found / rate - 1.0).abs() < 0.03, "{found} instead of {rate} when {late} ns apart");
    }
}

#[test]
fn a_verdict_is_that_of_the_worst_and_names_it() {
    let mut runs = dealt(&even(), &[0, 0]);
    let mut facts = healthy();
    facts.steal = Some(0.4);
    runs[1].validity = judge(&facts);
    let run = merged(&runs);
    let steal = run.validity.checks.iter().find(|check| check.id == "steal").unwrap();
    assert_eq!((run.validity.verdict, steal.verdict), (Verdict::Invalid, Verdict::Invalid));
    assert!(steal.why.starts_with("1.json: the hypervisor took 40.0%"), "{}", steal.why);
    facts.steal = Some(0.05);
    runs[0].validity = judge(&facts);
    let why = merged(&runs).validity.checks.into_iter().find(|check| check.id == "steal").unwrap().why;
    assert!(why.starts_with("1.json (and one more run): the hypervisor took 40.0%"), "{why}");
}

#[test]
fn one_seed_for_two_open_loops_is_suspected() {
    let mut runs = dealt(&even(), &[0, 0]);
    for run in &mut runs {
        (run.config.rate, run.seed) = (Some(1000.0), "7".into());
    }
    let run = merged(&runs);
    let seeds = run.validity.checks.iter().find(|check| check.id == "seeds").unwrap();
    assert!(seeds.verdict == Verdict::Suspect && seeds.why.contains("one seed"), "{seeds:?}");
    assert_eq!(run.config.rate, Some(2000.0));
}

#[test]
fn one_server_is_not_counted_twice() {
    let process = |cpu_ns, wall_ns| Process {
        pid: 7,
        name: "shout-server".into(),
        cpu_ns,
        cpu_ns_per_message: cpu_ns / 1000,
        wall_ns,
        voluntary_switches: 1,
        involuntary_switches: 1,
        resident_bytes: 1,
        spun_ns: None,
    };
    let mut runs = dealt(&even(), &[0, 0]);
    for (run, cpu) in runs.iter_mut().zip([8_000_000, 8_200_000]) {
        run.server = Some(process(cpu, 2 * SECOND + cpu));
        run.env = crate::report::document::Environment { host: "one".into(), local: true, ..run.env.clone() };
        (run.loss.retransmits, run.loss.listen_overflows) = (Some(cpu / 1_000_000), Some(0));
        run.intervals.iter_mut().for_each(|one| one.server_cpu_ns = Some(cpu / 8));
    }
    let run = merged(&runs);
    let server = run.server.unwrap();
    assert_eq!((server.cpu_ns, server.cpu_ns_per_message), (8_200_000, 4_100), "of two thousand messages");
    let cpu: u64 = run.intervals.iter().filter_map(|one| one.server_cpu_ns).sum();
    assert_eq!((cpu, run.loss.retransmits), (8_200_000, Some(8)));
    assert_eq!(run.generator, None, "each generator stands with its part");
}

#[test]
fn every_setting_that_makes_another_load_is_named_with_both_values() {
    let changes: [(&str, &str, Change); 21] = [
        ("version", "9.9", |run| run.tool.version = "9.9".into()),
        ("target", "udp://elsewhere:1", |run| run.target.url = "udp://elsewhere:1".into()),
        ("protocol", "udp", |run| drop(run.per_transport.remove("tcp"))),
        ("loop", "open", |run| run.config.model = "open".into()),
        ("plan", "1s@5", |run| run.config.plan = Some("1s@5".into())),
        ("arrival process", "const", |run| run.config.arrivals = Some("const".into())),
        ("pipeline depth", "none", |run| run.config.pipeline = None),
        ("datagrams a system call", "64", |run| run.config.datagrams_per_send = 64),
        ("size", "128", |run| run.config.size = "128".into()),
        ("payload", "lines.txt", |run| run.config.payload = Some("lines.txt".into())),
        ("late policy", "cap:3", |run| run.config.late = Some("cap:3".into())),
        ("pace", "spin", |run| run.config.pace = "spin".into()),
        ("duration", "2 s", |run| run.config.duration_ns = Some(2 * SECOND)),
        ("number of messages", "given", |run| run.config.messages = Some(9)),
        ("warm-up", "3 s", |run| run.config.warmup_ns = 3 * SECOND),
        ("timeout over UDP", "4 s", |run| run.config.udp_timeout_ns = 4 * SECOND),
        ("timeout over TCP", "4 s", |run| run.config.tcp_timeout_ns = 4 * SECOND),
        ("interval", "5 s", |run| run.config.interval_ns = 5 * SECOND),
        ("idle connections", "given", |run| {
            run.companions = Some(Tally { idle: Some(Idle::default()), ..Tally::default() });
        }),
        ("slow readers", "given", |run| {
            run.companions = Some(Tally { slow_readers: Some(SlowReaders::default()), ..Tally::default() });
        }),
        ("half-closers", "given", |run| {
            run.companions = Some(Tally { half_closers: Some(HalfClosers::default()), ..Tally::default() });
        }),
    ];
    let runs = dealt(&[], &[0, 0]);
    check(&[source(&runs[0]), source(&runs[1])]).unwrap();
    for (what, value, change) in changes {
        let mut other = source(&runs[1]);
        change(&mut other.run);
        let (name, why) = check(&[source(&runs[0]), other]).unwrap_err();
        assert_eq!(name, "1.json", "{what}");
        for part in [what, &format!(" is {value}"), "of 0.json is "] {
            assert!(why.contains(part), "{part:?} is not in {why:?}");
        }
    }
    // These are shares of the load, and sums in the whole.
    let mut other = runs[1].clone();
    (other.config.udp_sockets, other.config.tcp_connections, other.config.threads) = (3, 5, Some(2));
    check(&[source(&runs[0]), source(&other)]).unwrap();
    let config = merged(&[runs[0].clone(), other]).config;
    assert_eq!((config.udp_sockets, config.tcp_connections, config.threads), (4, 5, Some(3)));
}

#[test]
fn the_same_run_twice_and_another_server_are_refused() {
    let runs = dealt(&even(), &[0, 0]);
    let refusal = |sources: &[Source]| check(sources).unwrap_err().1;
    let why = refusal(&[source(&runs[0]), source(&runs[1]), source(&runs[0])]);
    assert!(why.contains("the same run"), "{why}");
    let why = refusal(&[source(&merged(&runs)), source(&runs[1])]);
    assert!(why.contains("the same run"), "{why}");
    let mut apart = runs.clone();
    for run in &mut apart {
        run.env.local = true;
    }
    let why = refusal(&[source(&apart[0]), source(&apart[1])]);
    assert!(why.contains("host-1") && why.contains("host-0"), "{why}");
}

#[test]
fn a_run_that_contradicts_itself_is_not_read() {
    let whole = run(&even(), START, 0);
    let changes: [(&str, Change); 4] = [
        ("counts of udp", |run| run.per_transport.get_mut("udp").unwrap().counts.replied += 1),
        ("damaged", |run| run.per_transport.get_mut("tcp").unwrap().latency.lag.hdr_v2 = "HISTFAAAA".into()),
        ("damaged", |run| run.intervals[1].service_hdr_v2.clear()),
        ("add up", |run| drop(run.intervals.remove(0))),
    ];
    for (named, change) in changes {
        let mut run = whole.clone();
        change(&mut run);
        let error = Source::new("x", run).err().unwrap();
        assert!(error.contains(named), "{error}");
    }
}
