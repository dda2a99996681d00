//! Objectives and baselines against runs made up for them.

use super::*;
use crate::report::document::Latency;
use crate::report::repeats::Repeats;

/// A run of 10 s with 990 answers of 1 to 990 µs and 10 losses.
fn run() -> Document {
    let mut response = crate::recorder::histogram();
    for value in 1..=990 {
        response.saturating_record(value * 1000);
    }
    let mut run = Document::for_tests();
    run.latency.response = Latency::of(&response);
    let mut lag = crate::recorder::histogram();
    lag.saturating_record_n(9_000, 1000);
    run.latency.lag = Latency::of(&lag);
    run.counts.scheduled = 1000;
    (run.counts.sent, run.counts.replied, run.counts.lost) = (1000, 990, 10);
    run.time.measured_ns = 10 * SECOND;
    run
}

fn gates(objectives: &[&str]) -> Gates {
    Gates { objectives: objectives.iter().map(|text| text.parse().unwrap()).collect(), ..Gates::default() }
}

fn outcome(gates: &Gates, mut run: Document) -> (u8, Vec<bool>) {
    apply(gates, &mut run);
    (run.exit, run.gates.iter().map(|result| result.ok).collect())
}

#[test]
fn what_was_shed_or_left_behind_is_infinitely_slow_and_late() {
    let mut run = run();
    let evaluate = |text: &str, run: &Document| {
        let objective: Objective = text.parse().unwrap();
        objective.evaluate(objective.metric.of(run))
    };
    assert!(evaluate("p98<2ms", &run).ok && evaluate("lag<10us", &run).ok, "990 of 1000");
    for shed in [0, 90] {
        (run.counts.scheduled, run.counts.shed) = (1090, shed);
        for objective in ["p98<2ms", "lag<10us"] {
            let result = evaluate(objective, &run);
            assert!(
                !result.ok && result.value.is_none(),
                "{objective} of 990 of 1090, {shed} of them shed: {result:?}"
            );
        }
        assert!(evaluate("p90<2ms", &run).ok);
    }
    // 203 of 2511 were sent and answered at once.
    (run.counts.scheduled, run.counts.sent, run.counts.replied, run.counts.lost) = (25_110, 2_030, 2_030, 0);
    assert!(!evaluate("p50<1s", &run).ok);
}

#[test]
fn what_is_kept_as_a_minute_is_within_no_bound() {
    let mut run = run();
    let mut response = crate::recorder::histogram();
    for latency in [1_000, 1_000, 100 * SECOND, 100 * SECOND] {
        crate::recorder::record(&mut response, latency);
    }
    run.latency.response = Latency::of(&response);
    (run.counts.lost, run.counts.clamped) = (0, 4);
    (run.counts.scheduled, run.counts.sent, run.counts.replied) = (4, 4, 4);
    let gates = gates(&["p50<90s", "p99<90s", "max<1h", "mean<1h", "p99<1ms"]);
    assert_eq!(outcome(&gates, run.clone()), (3, vec![true, false, false, false, false]));
    apply(&gates, &mut run);
    assert!(run.gates[1].value.is_none() && run.gates[1].why.contains("above a minute"), "{:?}", run.gates[1]);
}

#[test]
fn objectives_are_read_and_evaluated() {
    for (text, ok) in [
        ("p50<1ms", true),
        ("p50 < 400us", false),
        ("p98.5<=1ms", true),
        ("p99.9<1h", false),
        ("max<1h", false),
        ("mean<500us", true),
        ("loss<=1%", true),
        ("loss<0.01", false),
        ("rate>98/s", true),
        ("rate>=1k", false),
        ("errors=0", true),
        ("errors==1", false),
        ("lag<10us", true),
    ] {
        assert_eq!(outcome(&gates(&[text]), run()), (if ok { 0 } else { 3 }, vec![ok]), "{text}");
    }
}

#[test]
fn what_is_not_an_objective_is_refused() {
    for text in [
        "",
        "p99",
        "p99<",
        "p99<fast",
        "p101<1ms",
        "p42<1ms",
        "p99.999<1ms",
        "p100<1ms",
        "q99<1ms",
        "loss<1ms",
        "rate>-1",
        "errors=no",
        "<1ms",
    ] {
        assert!(text.parse::<Objective>().is_err(), "{text:?}");
    }
}

#[test]
fn a_gate_on_an_invalid_run_is_never_passed() {
    let mut invalid = run();
    invalid.validity.verdict = Verdict::Invalid;
    assert_eq!(outcome(&gates(&["p50<1ms", "p50<1us"]), invalid.clone()), (4, vec![false, false]));
    assert_eq!(outcome(&gates(&[]), invalid).0, 0, "without a gate it is only shown");
}

#[test]
fn strict_wants_a_valid_run() {
    let strict = Gates { is_strict: true, ..gates(&["p50<1ms"]) };
    for (verdict, code) in [(Verdict::Valid, 0), (Verdict::Suspect, 4), (Verdict::Invalid, 4)] {
        let mut run = run();
        run.validity.verdict = verdict;
        assert_eq!(outcome(&strict, run).0, code, "{verdict:?}");
    }
}

#[test]
fn a_run_that_does_not_know_its_percentile_has_learnt_nothing() {
    use crate::report::until::{Outcome, Until};
    for (outcome, code) in [(Outcome::Reached, 0), (Outcome::NotReached, 4), (Outcome::Impossible, 4)] {
        let mut run = run();
        run.until = Some(Until { outcome, ..Until::for_tests() });
        assert_eq!(self::outcome(&gates(&[]), run.clone()).0, code, "{outcome:?}");
        assert_eq!(self::outcome(&gates(&["p50<1us"]), run).0, code.max(3), "{outcome:?}");
    }
}

#[test]
fn wrong_bytes_outrank_gates_and_an_interrupted_run_has_none() {
    let mut wrong = run();
    wrong.exit = exit::WRONG_PAYLOAD;
    assert_eq!(outcome(&gates(&["p50<1us"]), wrong).0, 5);
    let mut interrupted = run();
    interrupted.time.interrupted = true;
    assert_eq!(outcome(&gates(&["p50<1us"]), interrupted), (0, vec![]));
}

#[test]
fn a_run_may_be_a_little_worse_than_its_baseline() {
    let mut slower = run();
    let mut response = crate::recorder::histogram();
    for value in 1..=990 {
        response.saturating_record(value * 1040);
    }
    slower.latency.response = Latency::of(&response);
    let against = |regress| Gates { baseline: Some((Standing::of_run(&run()), regress)), ..Gates::default() };
    assert_eq!(outcome(&against(0.05), slower.clone()), (0, vec![true, true, true]));
    assert_eq!(outcome(&against(0.03), slower.clone()), (3, vec![false, false, true]));
    slower.counts.replied = 500;
    assert_eq!(outcome(&against(0.05), slower.clone()), (3, vec![true, true, false]));
    slower.config.size += "1";
    assert_eq!(outcome(&against(0.05), slower), (3, vec![false]), "another load");
    let mut unbelievable = run();
    unbelievable.validity.verdict = Verdict::Invalid;
    let gates = Gates { baseline: Some((Standing::of_run(&unbelievable), 0.05)), ..Gates::default() };
    assert_eq!(outcome(&gates, run()).0, 4);
}

#[test]
fn runs_are_made_alike_whatever_they_say_of_a_transport_that_they_did_not_use() {
    type Change = fn(&mut Config);
    let over = |transport: &str, change: Change| {
        let mut run = run();
        run.per_transport.insert(transport.into(), Document::part_for_tests());
        change(&mut run.config);
        Standing::of_run(&run)
    };
    let changes: [(&str, Change); 5] = [
        ("udp", |config| config.udp_sockets += 1),
        ("udp", |config| config.datagrams_per_send += 1),
        ("udp", |config| config.udp_timeout_ns += 1),
        ("tcp", |config| config.tcp_connections += 1),
        ("tcp", |config| config.tcp_timeout_ns += 1),
    ];
    for (place, (of, change)) in changes.into_iter().enumerate() {
        for transport in ["udp", "tcp"] {
            let is_another = over(transport, change).difference(&over(transport, |_| ())).is_some();
            assert_eq!(is_another, transport == of, "change {place} of a run over {transport}");
        }
    }
}

#[test]
fn every_setting_that_makes_another_load_is_named_with_both_values() {
    use crate::report::crowd::Churn;
    type Change = fn(&mut Document);
    let changes: [(&str, &str, Change); 14] = [
        ("protocol", "udp and none", |run| run.per_transport.clear()),
        ("model", "closed and open", |run| run.config.model = "open".into()),
        ("rate", "1,000/s and 2,500/s", |run| run.config.rate = Some(2500.0)),
        ("plan", "none and 1s@1k,1s@3k", |run| run.config.plan = Some("1s@1k,1s@3k".into())),
        ("arrival process", "none and const", |run| run.config.arrivals = Some("const".into())),
        ("pipeline depth", "1 and none", |run| run.config.pipeline = None),
        ("number of connections", "1 UDP socket and 2 UDP sockets", |run| run.config.udp_sockets = 2),
        ("size", "64 and 65", |run| run.config.size = "65".into()),
        ("payload", "none and lines.txt", |run| run.config.payload = Some("lines.txt".into())),
        ("late policy", "none and cap:3", |run| run.config.late = Some("cap:3".into())),
        ("pace", "hybrid and spin", |run| run.config.pace = "spin".into()),
        ("churn", "none and 7", |run| {
            let connect = Latency::of(&crate::recorder::histogram());
            run.churn = Some(Churn { messages: 7, closed: 0, opened: 0, refused: 0, failed: 0, connect });
        }),
        ("number of datagrams a system call", "1 and 64", |run| run.config.datagrams_per_send = 64),
        ("timeout", "1s and 250ms", |run| run.config.udp_timeout_ns = 250_000_000),
    ];
    let mut one = run();
    one.per_transport.insert("udp".into(), Document::part_for_tests());
    (one.config.rate, one.config.udp_timeout_ns) = (Some(1000.0), SECOND);
    let before = Standing::of_run(&one);
    assert_eq!(before.difference(&before), None);
    assert_eq!(changes.map(|(what, ..)| what), before.settings().map(|(what, _)| what), "no setting is left out");
    for (what, values, change) in changes {
        let mut other = one.clone();
        change(&mut other);
        assert_eq!(before.difference(&Standing::of_run(&other)), Some(format!("{what}: {values}")));
    }
    let mut other = one.clone();
    other.config.rate = Some(2000.0);
    let gates = Gates { baseline: Some((before, 0.05)), ..Gates::default() };
    apply(&gates, &mut other);
    assert_eq!(other.gates[0].why, "not comparable: this run and the baseline have another rate: 2,000/s and 1,000/s");
}

#[test]
fn several_runs_are_held_against_their_median_and_errors_against_the_worst() {
    let held = |objective: &str, change: &dyn Fn(usize, &mut Document)| {
        let gates = gates(&[objective]);
        let mut repeats = Repeats::new(&run(), 1, 5);
        let each = (0..5).map(|index| {
            let mut run = run();
            change(index, &mut run);
            repeats.push(&run);
            values(&gates, &run)
        });
        let each: Vec<_> = each.collect();
        repeats.finish(&crate::recorder::histogram());
        apply_to_all(&gates, &each, &mut repeats);
        (repeats.exit, repeats.gates[0].ok)
    };
    let slow = |most: usize| {
        move |index: usize, run: &mut Document| {
            if index < most {
                run.counts.lost = 1200;
            }
        }
    };
    assert_eq!(held("p50<1ms", &slow(2)), (0, true), "two of five");
    assert_eq!(held("p50<1ms", &slow(3)), (3, false), "three of five");
    assert_eq!(held("errors=0", &|index, run| run.counts.corrupt = u64::from(index == 4)), (3, false));
    let doubtful = |most: usize| {
        move |index: usize, run: &mut Document| {
            run.validity.verdict = if index < most { Verdict::Invalid } else { Verdict::Valid };
        }
    };
    assert_eq!(held("p50<1ms", &doubtful(2)), (0, true));
    assert_eq!(held("p50<1ms", &doubtful(3)), (4, false), "most are not believed");
    let doubtful_and_slow = |index: usize, run: &mut Document| {
        doubtful(2)(index, run);
        slow(if index == 4 { 5 } else { 0 })(index, run);
    };
    assert_eq!(held("p50<1ms", &doubtful_and_slow), (4, false), "two of the three that pass it are not believed");
    assert_eq!(held("rate>1", &doubtful(2)), (0, true), "passed by the three that are");
    let slow_but_doubtful = |index: usize, run: &mut Document| {
        doubtful(2)(index, run);
        slow(3)(index, run);
    };
    assert_eq!(held("p50<1ms", &slow_but_doubtful), (4, false), "two of the three that miss it are not believed");
    assert_eq!(
        held("p50<1ms", &|index, run| {
            doubtful(1)(index, run);
            slow(5)(index, run);
        }),
        (3, false),
        "missed whatever the doubtful one is worth"
    );
    assert_eq!(held("errors=0", &doubtful(2)), (0, true), "an error is one in any run, and there is none");
    assert_eq!(held("p50<1ms", &|index, run| run.exit = 5 * u8::from(index == 1)), (5, true), "wrong bytes in one");
}

#[test]
fn several_runs_may_be_a_little_worse_than_several_others() {
    let repeats = |rate: u64| {
        let mut run = run();
        run.counts.replied = rate;
        run.loss.all_in = [("50".into(), Some(5)), ("99".into(), Some(9))].into();
        let mut repeats = Repeats::new(&run, 1, 3);
        (0..3).for_each(|_| repeats.push(&run));
        repeats.finish(&crate::recorder::histogram());
        repeats
    };
    let before = Standing::of(&Kept::Repeats(Box::new(repeats(1000))));
    for (rate, code) in [(1000, 0), (960, 0), (900, 3)] {
        let mut now = repeats(rate);
        let gates = Gates { baseline: Some((before.clone(), 0.05)), ..Gates::default() };
        apply_to_all(&gates, &[vec![], vec![], vec![]], &mut now);
        assert_eq!((now.exit, now.gates.len()), (code, 3), "{:?}", now.gates);
    }
}
