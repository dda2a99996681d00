//! What may be merged, and what not.

use std::collections::BTreeSet;

use super::*;
use crate::report::crowd::Churn;
use crate::report::document::Latency;
use crate::report::until::Outcome;

#[test]
fn every_setting_that_makes_another_load_is_named_with_both_values() {
    let changes: [(&str, &str, Change); 24] = [
        ("version", "9.9", |run| run.tool.version = "9.9".into()),
        ("target", "udp://elsewhere:1", |run| run.target.url = "udp://elsewhere:1".into()),
        ("protocol", "udp", |run| drop(run.per_transport.remove("tcp"))),
        ("loop", "open", |run| run.config.model = "open".into()),
        ("plan", "1s@5", |run| run.config.plan = Some("1s@5".into())),
        ("arrival process", "const", |run| run.config.arrivals = Some("const".into())),
        ("pipeline depth", "none", |run| run.config.pipeline = None),
        ("number of datagrams a system call", "64", |run| run.config.datagrams_per_send = 64),
        ("size", "128", |run| run.config.size = "128".into()),
        ("payload", "lines.txt", |run| run.config.payload = Some("lines.txt".into())),
        ("late policy", "cap:3", |run| run.config.late = Some("cap:3".into())),
        ("pace", "spin", |run| run.config.pace = "spin".into()),
        ("duration", "2 s", |run| run.config.duration_ns = Some(2 * SECOND)),
        ("number of messages", "given", |run| run.config.messages = Some(9)),
        ("churn", "7", |run| {
            let connect = Latency::of(&histogram());
            run.churn = Some(Churn { messages: 7, closed: 0, opened: 0, refused: 0, failed: 0, connect });
        }),
        ("goal of --until", "p99±2%", |run| run.until = Some(until(Outcome::Reached))),
        ("interference", "given", |run| run.interference = Some(interference())),
        ("warm-up", "3 s", |run| run.config.warmup_ns = 3 * SECOND),
        ("timeout over UDP", "4 s", |run| run.config.udp_timeout_ns = 4 * SECOND),
        ("timeout over TCP", "4 s", |run| run.config.tcp_timeout_ns = 4 * SECOND),
        ("interval", "5 s", |run| run.config.interval_ns = 5 * SECOND),
        ("number of idle connections", "given", |run| {
            run.companions = Some(Tally { idle: Some(Idle::default()), ..Tally::default() });
        }),
        ("number of slow readers", "given", |run| {
            run.companions = Some(Tally { slow_readers: Some(SlowReaders::default()), ..Tally::default() });
        }),
        ("number of half-closers", "given", |run| {
            run.companions = Some(Tally { half_closers: Some(HalfClosers::default()), ..Tally::default() });
        }),
    ];
    let runs = dealt(&[], &[0, 0]);
    let tried: BTreeSet<&str> = changes.iter().map(|(what, ..)| *what).collect();
    let held: BTreeSet<&str> = super::super::settings::settings(&runs[0]).into_iter().map(|(what, _)| what).collect();
    assert_eq!(tried, held, "no setting is left out");
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
fn the_timeout_of_a_transport_that_is_not_used_is_no_setting() {
    let mut runs = dealt(&[], &[0, 0]);
    for run in &mut runs {
        run.per_transport.remove("tcp");
    }
    runs[1].config.tcp_timeout_ns = 4 * SECOND;
    check(&[source(&runs[0]), source(&runs[1])]).unwrap();
    runs[1].config.udp_timeout_ns = 4 * SECOND;
    check(&[source(&runs[0]), source(&runs[1])]).unwrap_err();
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
