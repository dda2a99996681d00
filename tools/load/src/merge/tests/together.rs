//! What is known of several runs together that no one of them knows: whether they overlap, what they are worth, and what each
//! keeps to itself.

use super::*;
use crate::gates::{self, Gates};
use crate::report::crowd::Beside;
use crate::report::document::Latency;
use crate::report::until::Outcome;

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
        together: None,
        pid: 7,
        name: "shout-server".into(),
        cpu_ns,
        cpu_ns_per_message: cpu_ns / 1000,
        wall_ns,
        voluntary_switches: Some(1),
        involuntary_switches: Some(1),
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
fn what_was_opened_beside_the_load_is_added_up() {
    let mut runs = dealt(&even(), &[0, 0]);
    for (number, run) in (1..).zip(&mut runs) {
        let mut connect = histogram();
        connect.saturating_record_n(number * 10_000, number);
        run.beside = Some(Beside { opened: number, opening_ns: number * 70_000, connect: Latency::of(&connect) });
    }
    let [all, again] = [merged(&runs), merged(&[merged(&runs[1..]), runs[0].clone()])];
    let beside = all.beside.clone().unwrap();
    assert_eq!((beside.opened, beside.opening_ns), (3, 140_000), "both at the same time");
    let connect = beside.connect.histogram().unwrap();
    assert_eq!((connect.len(), connect.count_at(10_000), connect.count_at(20_000)), (3, 1, 2));
    assert_eq!(again.beside, all.beside);
}

#[test]
fn what_does_not_add_up_stays_with_its_part_however_often_it_is_merged() {
    let mut runs = dealt(&even(), &[0, 0]);
    for run in &mut runs {
        (run.until, run.interference) = (Some(until(Outcome::Reached)), Some(interference()));
        run.server_memory =
            Some(Memory { before_bytes: 1, after_bytes: 9, connections: 2, each_bytes: 4.0, off_bytes: 1.0 });
    }
    let mut third = run(&[], START + 1, 3);
    (third.until, third.interference) = (runs[0].until.clone(), runs[0].interference.clone());
    runs.push(third);
    check(&[source(&merged(&runs[..2])), source(&runs[2])]).unwrap();
    let all = merged(&[merged(&runs[..2]), runs[2].clone()]);
    assert_eq!((all.until, all.interference, all.server_memory), (None, None, None));
    let parts = all.merged.unwrap().parts;
    for (part, run) in parts.iter().zip(&runs) {
        assert_eq!((&part.until, &part.interference), (&run.until, &run.interference));
        assert_eq!(part.server_memory, run.server_memory);
    }
    // One that was asked for another goal does not belong to them.
    let mut other = runs[2].clone();
    other.until.as_mut().unwrap().goal = "p50±1%".into();
    let (_, why) = check(&[source(&merged(&runs[..2])), source(&other)]).unwrap_err();
    assert!(why.contains("its goal of --until is p50±1%, and that of") && why.contains(" is p99±2%"), "{why}");
}

#[test]
fn runs_of_which_one_does_not_know_its_percentile_pass_no_gate_together() {
    for (outcome, code) in [(Outcome::Reached, 0), (Outcome::NotReached, 4), (Outcome::Impossible, 4)] {
        let mut runs = dealt(&even(), &[0, 0]);
        runs[0].until = Some(until(Outcome::Reached));
        runs[1].until = Some(until(outcome));
        let mut all = merged(&runs);
        gates::apply(&Gates::default(), &mut all);
        assert_eq!(all.exit, code, "{outcome:?}");
    }
}

#[test]
fn intervals_lie_where_they_were_on_the_clock() {
    // The second generator begins later: by whole intervals, and by a third of one more or less, which is rounded off.
    for (late, intervals) in [(2 * LENGTH, 2), (2 * LENGTH + LENGTH / 3, 2), (3 * LENGTH - LENGTH / 3, 3)] {
        let runs = dealt(&even(), &[0, late]);
        let all = merged(&runs);
        let sent_at = |run: &Document, at: Nanos| -> u64 {
            run.intervals.iter().filter(|one| one.t_ns == at).map(|one| one.sent).sum()
        };
        assert!(all.intervals.len() >= 8 && sent_at(&runs[0], 0) > 100);
        for one in &all.intervals {
            let of_second = one.t_ns.checked_sub(intervals * LENGTH).map_or(0, |at| sent_at(&runs[1], at));
            assert_eq!(one.sent, sent_at(&runs[0], one.t_ns) + of_second, "{late} ns late, at {} ns", one.t_ns);
        }
    }
}

#[test]
fn the_slowest_requests_are_on_the_clock_of_the_first_to_the_nanosecond() {
    const LATE: Nanos = 123_456_789;
    let runs = dealt(&even(), &[0, LATE]);
    let all = merged(&runs);
    let of_second = all.outliers.iter().filter(|one| one.part == Some(1));
    let known = |slow: &Outlier| {
        runs[1].outliers.iter().any(|one| one.t_intended_ns + LATE == slow.t_intended_ns && one.lat_ns == slow.lat_ns)
    };
    assert!(of_second.clone().count() > 10 && of_second.clone().all(known));
}
