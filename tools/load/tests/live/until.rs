//! Runs that go on until a percentile is known, as a script meets them.

use shout_load::report::until::Outcome;

use crate::servers::{RealServer, measure, run};

#[test]
fn a_run_stops_when_the_percentile_is_known_with_one_thread_and_with_several() {
    let server = RealServer::start();
    let target = format!("echo://{}", server.address);
    for threads in ["1", "2"] {
        let load = [&target, "-R", "2k", "-w", "100ms", "-t", threads, "-c", "2"];
        let (run, code) = measure(&[&load[..], &["--until", "p50+-50%", "--max-duration", "12s"]].concat());
        let until = run.until.as_ref().unwrap();
        assert_eq!((until.goal.as_str(), until.max_duration_ns), ("p50±50%", 12_000_000_000));
        assert_eq!(run.counts.replied, run.counts.sent, "what was under way was waited for");
        assert!(!run.time.interrupted);
        // On a busy machine latencies may drift from one half of the run to the other for long.
        if until.outcome == Outcome::Reached {
            assert_eq!(code, 0, "{until:?}");
            assert!(until.half_width.unwrap() <= 0.5 && until.looks >= 2, "{until:?}");
            assert!(until.after_ns >= 2_500_000_000 && run.time.measured_ns < 12_000_000_000, "{until:?}");
            let p50 = run.latency.response.p["50"].v as f64;
            assert!((until.value_ns as f64 / p50 - 1.0).abs() < 0.2, "{until:?} is of another run than {p50}");
        }
    }
}

#[test]
fn what_cannot_be_known_in_time_is_said_and_has_an_exit_code() {
    let server = RealServer::start();
    let target = format!("udp://{}", server.address);
    let load = [&target, "-R", "200", "-w", "0", "--until", "p99.9±0.5%", "--max-duration", "3s", "--slo", "p50<1h"];
    let (document, code) = measure(&load);
    let until = document.until.as_ref().unwrap();
    assert_ne!(until.outcome, Outcome::Reached);
    assert_eq!((code, document.exit), (4, 4), "no figure was had, whatever the gate says");
    assert!(document.time.measured_ns >= 2_900_000_000);
    // Ten values beyond p99.9 take ten thousand in all: at 200 a second 50 s, or less by what chance and a late start make.
    assert!(until.needed_ns.is_some_and(|time| time > 40_000_000_000) || !until.why.is_empty(), "{until:?}");
    let screen = String::from_utf8(run(&load).stdout).unwrap();
    let said = screen.lines().nth(2).unwrap();
    assert!(said.starts_with("not within ±0.50% after 3.0 s: p99.9") || said.contains("cannot be had: "), "{screen}");
}
