//! Several whole runs in one command: their connections, seeds, files, gates, and what is read from them again.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc;

use rustix::process::{Pid, Signal, kill_process};
use shout_load::report::document::Document;
use shout_load::report::repeats::Repeats;

use crate::servers::{DatagramServer, RealServer, StreamServer, command, run, upper_case};
use crate::showing::{folder, in_chromium};

/// The runs and what they differ by, as `--json` prints them.
fn lines(stdout: &[u8]) -> (Vec<Document>, Repeats) {
    let text = std::str::from_utf8(stdout).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    let last = lines.pop().unwrap();
    let runs = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    (runs, serde_json::from_str(last).unwrap())
}

#[test]
fn each_run_has_new_connections_and_a_seed_that_repeats_it() {
    // Six connections are all that it ever accepts: two for each of three runs.
    let server = StreamServer::start(6, upper_case);
    let url = server.url();
    let load = [url.as_str(), "-c", "2", "-n", "200", "-w", "0", "--json"];
    let output = run(&[&load[..], &["--repeat", "3", "--seed", "C0FFEE"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let (runs, all) = lines(&output.stdout);
    assert_eq!((runs.len(), all.runs.len(), all.asked, all.seed.as_str()), (3, 3, 3, "C0FFEE"));
    let seeds: BTreeSet<&str> = runs.iter().map(|run| run.seed.as_str()).collect();
    assert_eq!(seeds.len(), 3, "each has its own");
    for (run, kept) in runs.iter().zip(&all.runs) {
        assert_eq!((run.counts.replied, run.connections.opened, &run.seed), (200, 2, &kept.seed));
        assert_eq!(run.latency.response.p, kept.p);
    }
    let mut sum = shout_load::recorder::histogram();
    for run in &runs {
        sum.add(run.latency.response.histogram().unwrap()).unwrap();
    }
    assert_eq!(sum, all.response.histogram().unwrap(), "all of them together, exactly");
    let again = StreamServer::start(6, upper_case);
    let output = run_with_seed(&again.url());
    assert!(lines(&output).0.iter().map(|run| run.seed.as_str()).eq(runs.iter().map(|run| run.seed.as_str())));
}

fn run_with_seed(url: &str) -> Vec<u8> {
    run(&[url, "-c", "2", "-n", "20", "-w", "0", "--json", "--repeat", "3", "--seed", "C0FFEE"]).stdout
}

#[test]
fn a_server_of_our_own_is_the_same_for_all_runs_and_files_are_numbered() {
    let path = |name: &str| folder().join(name);
    let (json, hlog) = (path("whole.json"), path("whole.hlog"));
    let [a, b] = [&json, &hlog].map(|path| path.to_str().unwrap());
    let output = run(&["-n", "500", "-w", "0", "--repeat", "2", "-o", a, "-o", b]);
    let screen = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{screen}");
    for transport in ["udp", "tcp"] {
        let read =
            |name: String| std::fs::read_to_string(path(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let all: Repeats = serde_json::from_str(&read(format!("whole-{transport}.json"))).unwrap();
        let runs: Vec<Document> =
            (1..=2).map(|run| serde_json::from_str(&read(format!("whole-{transport}-{run}.json"))).unwrap()).collect();
        assert!(runs.iter().all(|run| run.counts.replied == 500 && run.target.url == all.target.url));
        assert_eq!(runs[0].server.as_ref().map(|one| one.pid), runs[1].server.as_ref().map(|one| one.pid));
        assert!(read(format!("whole-{transport}-2.hlog")).starts_with("#[Histogram log"));
        assert!(!path(&format!("whole-{transport}.hlog")).exists(), "several runs have no intervals in common");
        // What is shown of the file is what was shown of the runs.
        let again = run(&["report", path(&format!("whole-{transport}.json")).to_str().unwrap()]);
        let again = String::from_utf8(again.stdout).unwrap();
        assert!(screen.contains(&again) && again == all.text(), "{again}\nis not in\n{screen}");
    }
    for part in ["2 runs, each on new connections", "between runs", "whole-udp-1.json .. ", "whole-tcp-2.hlog"] {
        assert!(screen.contains(part), "{part:?} is not in\n{screen}");
    }
}

#[test]
fn gates_are_held_against_the_median_and_errors_against_the_worst() {
    // The second run of three is answered late, and one answer of the third run is wrong in the second case.
    let server = |is_wrong: bool| {
        DatagramServer::start(move |number, request, peer| {
            if (100..200).contains(&number) {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            let is_wrong = is_wrong && number == 250;
            vec![(peer, if is_wrong { request.to_vec() } else { request.to_ascii_uppercase() })]
        })
    };
    let repeat = |url: &str, gates: &[&str]| {
        let output = run(&[&[url, "-n", "100", "-w", "0", "--repeat", "3", "--json"], gates].concat());
        (lines(&output.stdout).1, output.status.code().unwrap())
    };
    let slow = server(false);
    let (all, code) = repeat(&slow.url(), &["--slo", "p50<1h", "--slo", "errors=0"]);
    let p50 = |index: usize| all.runs[index].p["50"].v;
    assert!(p50(1) > 2_000_000, "{:?}", all.runs);
    let mut sorted = [p50(0), p50(1), p50(2)];
    sorted.sort_unstable();
    let value = all.gates[0].value.unwrap();
    assert!((value - sorted[1] as f64).abs() < 1.0, "{value} is not the middle of {sorted:?}");
    let is_believed = all.verdict != shout_load::verdict::Verdict::Invalid;
    assert_eq!(code, if is_believed { 0 } else { 4 });
    let wrong = server(true);
    let (all, code) = repeat(&wrong.url(), &["--slo", "errors=0"]);
    assert_eq!((code, all.gates[0].ok, all.gates[0].value), (5, false, Some(1.0)), "one wrong answer in one run");
}

fn saved(name: &str, url: &str, more: &[&str]) -> PathBuf {
    let path = folder().join(name);
    let load = [url, "-d", "200ms", "-w", "0", "-i", "20ms", "--repeat", "3", "-o", path.to_str().unwrap()];
    let output = run(&[&load[..], more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

#[test]
fn several_runs_are_a_baseline_and_are_compared_with_several_and_with_one() {
    let server = RealServer::start();
    let url = format!("udp://{}", server.address);
    let (a, b, other) = (
        saved("several-a.json", &url, &[]),
        saved("several-b.html", &url, &[]),
        saved("several-c.json", &url, &["-p", "2"]),
    );
    let [a, b, other] = [&a, &b, &other].map(|path| path.to_str().unwrap());
    let first = folder().join("several-a-1.json");
    for (left, right) in [(a, b), (first.to_str().unwrap(), b), (b, first.to_str().unwrap())] {
        let output = run(&["compare", left, right]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        // What several runs differ by is known. Of one run on a busy machine a fifth of a second may be worth too little.
        let is_known = text.contains("at p50");
        let is_one = left.ends_with("-1.json") || right.ends_with("-1.json");
        assert!(is_known || (is_one && text.contains("nothing can be said about p50")), "{text}");
    }
    let output = run(&["compare", a, other]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && stderr.contains("pipeline depth"), "{stderr}");
    let load = [url.as_str(), "-d", "100ms", "-w", "0", "--baseline", a, "--max-regress", "100000%", "--json"];
    let several = run(&[&load[..], &["--repeat", "2"]].concat());
    let (_, all) = lines(&several.stdout);
    assert_eq!(all.gates.iter().map(|gate| gate.expr.as_str()).filter(|expr| expr.starts_with("baseline")).count(), 3);
    let one: Document = serde_json::from_slice(&run(&load).stdout).unwrap();
    assert_eq!(one.gates.len(), 3, "{:?}", one.gates);
    let refused = run(&["report", a, "-o", folder().join("several.csv").to_str().unwrap()]);
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && stderr.lines().count() == 1 && stderr.contains(".hgrm"), "{stderr}");
}

#[test]
fn an_interrupted_run_is_not_counted_and_the_others_are_summed_up() {
    let (sender, third) = mpsc::channel();
    let server = DatagramServer::start(move |number, request, peer| {
        if number == 250 {
            let _ = sender.send(());
            // The third run does not go on until it has been interrupted.
            return vec![];
        }
        vec![(peer, request.to_ascii_uppercase())]
    });
    let arguments = [&server.url(), "-n", "100", "-w", "0", "--timeout", "30s", "--repeat", "5", "--json"];
    let child = command(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    third.recv().unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    // The second one does not wait for what is under way, although the server says nothing more.
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!([Some(130), Some(143)].contains(&output.status.code()), "{:?}", output.status);
    let (runs, all) = lines(&output.stdout);
    assert_eq!((runs.len(), all.runs.len(), all.asked), (2, 2, 5));
    assert!(all.text().contains("2 of 5 runs were made to their end"), "{}", all.text());
}

#[test]
fn the_page_of_several_runs_is_whole_and_holds_them() {
    let server = RealServer::start();
    let page = saved("several-page.html", &format!("tcp://{}", server.address), &[]);
    let html = std::fs::read_to_string(&page).unwrap();
    let all: Repeats = serde_json::from_str(shout_load::report::page::run_inside(&html).unwrap()).unwrap();
    assert_eq!(all.runs.len(), 3);
    let script = "
        const seen = document.body.dataset;
        seen.drawn = [...document.querySelectorAll('.line')].every((path) => path.getTotalLength() > 0);
        seen.lines = document.querySelectorAll('.curve .line').length;
        seen.width = document.documentElement.scrollWidth <= innerWidth;";
    let Some(dom) = in_chromium(&page, "several-page", script) else { return };
    let body = dom.split("<body").nth(1).unwrap().split('>').next().unwrap();
    for expected in ["data-drawn=\"true\"", "data-lines=\"2\"", "data-width=\"true\""] {
        assert!(body.contains(expected), "{expected} is not in {body}");
    }
}
