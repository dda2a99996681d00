//! The tool against the misbehaving server: what it reports is what the answer key says. Both are the real program.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use hdrhistogram::Histogram;
use rustix::process::{Pid, Signal, kill_process};
use shout_load::lab::key::AnswerKey;
use shout_load::report::document::Document;

use crate::schema::assert_fits_lab;
use crate::servers::{command, measure, run};

const MILLISECOND: u64 = 1_000_000;

/// A misbehaving server. Ends with the test.
pub(crate) struct Lab {
    pub(crate) address: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Lab {
    pub(crate) fn start(faults: &[&str]) -> Self {
        Self::start_with(faults, Stdio::piped())
    }

    fn start_with(faults: &[&str], input: Stdio) -> Self {
        let mut command = command(&[&["lab"], faults].concat());
        let mut child = command.stdin(input).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("shout-lab listening on udp+tcp ").unwrap_or_else(|| panic!("{line:?}"));
        Lab { address: address.to_owned(), input: child.stdin.take(), child, output }
    }

    /// Ends it, by the end of its input, and reads the answer key.
    fn key(mut self) -> AnswerKey {
        drop(self.input.take());
        self.read_key()
    }

    fn read_key(&mut self) -> AnswerKey {
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        let key: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"));
        assert_fits_lab(&key);
        let key: AnswerKey = serde_json::from_value(key).unwrap();
        assert_eq!(key.udp.not_sent, 0, "a fault that nobody asked for");
        key
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the tool against a misbehaving server: its result, its exit code, and the truth.
fn examine(faults: &[&str], scheme: &str, load: &[&str]) -> (Document, i32, AnswerKey) {
    let lab = Lab::start(faults);
    let target = format!("{scheme}://{}", lab.address);
    let (document, code) = measure(&[&[&target, "-w", "0", "--seed", "5"], load].concat());
    (document, code, lab.key())
}

#[test]
fn without_a_fault_there_is_nothing_to_report() {
    for scheme in ["udp", "tcp"] {
        let (run, code, key) = examine(&[], scheme, &["-n", "1000", "-p", "8", "-c", "2"]);
        let counts = run.counts;
        assert_eq!(
            (counts.replied, counts.lost, counts.wrong, counts.duplicated, code),
            (1000, 0, 0, 0, 0),
            "{counts:?}"
        );
        assert_eq!(key.udp.received + key.tcp.messages, 1000, "{key:?}");
    }
}

#[test]
fn every_fault_of_datagrams_is_counted_as_the_key_has_it() {
    let faults = ["--drop", "1%", "--duplicate", "1%", "--reorder", "1%", "--truncate", "1%", "--corrupt", "1%"];
    let faults = [&faults[..], &["--wrong-case", "1%", "--seed", "B0B"]].concat();
    for load in [&["-p", "64"][..], &["-R", "2k"], &["-R", "2k", "--arrivals", "const", "-p", "200"]] {
        let (run, code, key) = examine(&faults, "udp", &[load, &["-n", "2000", "--timeout", "4s"]].concat());
        let (counts, key) = (run.counts, key.udp);
        assert_eq!((key.received, counts.sent, counts.late, counts.stray), (2000, 2000, 0, 0), "{load:?}: {counts:?}");
        assert_eq!((counts.lost, key.drop), (20, 20), "1 % is 1 %: {load:?}: {counts:?}");
        assert_eq!(counts.duplicated, key.duplicate, "{load:?}: {counts:?}, {key:?}");
        assert_eq!(counts.reordered, key.reorder, "{load:?}: {counts:?}, {key:?}");
        assert_eq!(counts.truncated, key.truncate, "{load:?}: {counts:?}, {key:?}");
        assert_eq!(counts.corrupt, key.corrupt + key.wrong_case, "{load:?}: {counts:?}, {key:?}");
        assert_eq!(counts.unchanged, key.wrong_case, "{load:?}: {counts:?}, {key:?}");
        let wrong = key.truncate + key.corrupt + key.wrong_case;
        assert_eq!((counts.wrong, counts.replied), (wrong, 2000 - 20 - wrong), "{load:?}: {counts:?}, {key:?}");
        // Of each fault's 20 places a few may belong to another fault as well, which then has them.
        for made in [key.duplicate, key.reorder, key.truncate, key.corrupt, key.wrong_case] {
            assert!((15..=20).contains(&made), "{key:?}");
        }
        assert_eq!(code, 5);
    }
}

#[test]
fn answers_to_somebody_else_are_stray() {
    let (run, code, key) = examine(&["--stray", "5%"], "udp", &["-c", "2", "-n", "1000", "-p", "4"]);
    assert_eq!((run.counts.stray, run.counts.replied, run.counts.wrong, code), (key.udp.stray, 1000, 0, 0));
    assert!((49..=50).contains(&key.udp.stray), "{key:?}: all but one that came before the other client");
}

#[test]
fn a_delay_is_measured_and_beyond_the_timeout_a_loss() {
    let (run, _, key) = examine(&["--delay", "50ms/10%"], "udp", &["-n", "300", "-p", "4", "--timeout", "30s"]);
    assert_eq!((run.counts.replied, key.udp.delay), (300, 30));
    let response = run.latency.response.histogram().unwrap();
    let slow = response.count_between(50 * MILLISECOND - MILLISECOND / 10, u64::MAX);
    assert!(slow >= 30, "{slow} answers took 50 ms or more; a busy machine can only add some");

    let (run, _, key) = examine(&["--delay", "6s/2%"], "udp", &["-n", "1000", "-p", "64", "--timeout", "3s"]);
    let counts = run.counts;
    assert_eq!((counts.lost, counts.replied, key.udp.delay), (20, 980, 20), "{counts:?}");
    // The last ones arrive when the run is over.
    assert!(counts.late <= 20, "{counts:?}");
}

#[test]
fn every_fault_of_a_stream_is_counted_as_the_key_has_it() {
    let faults = ["--corrupt", "2%", "--wrong-case", "1%"];
    let (run, code, key) = examine(&faults, "tcp", &["-c", "3", "-p", "4", "-n", "1000"]);
    let (counts, key) = (run.counts, key.tcp);
    assert_eq!((key.connections, key.messages, key.corrupt), (3, 1000, 20), "{key:?}");
    assert_eq!(counts.corrupt, key.corrupt + key.wrong_case, "{counts:?}, {key:?}");
    // Of a message that comes in two pieces one of them is right.
    assert!((1..=key.wrong_case).contains(&counts.unchanged), "{counts:?}, {key:?}");
    assert_eq!((counts.replied + counts.corrupt, counts.lost, counts.stray, code), (1000, 0, 0, 5), "{counts:?}");

    let (run, code, key) = examine(&["--close-mid-reply", "0.2%"], "tcp", &["-c", "8", "-n", "2000"]);
    let counts = run.counts;
    assert_eq!((run.connections.closed, key.tcp.close_mid_reply), (4, 4), "{counts:?}");
    assert_eq!((counts.truncated, counts.lost, counts.replied, code), (4, 0, 1996, 5), "{counts:?}");
    assert_eq!(run.connections.reset, 0, "half an answer, then a clean end");
}

#[test]
fn a_slow_accept_is_seen_as_what_the_first_answers_cost() {
    let (run, code, key) = examine(&["--slow-accept", "300ms"], "tcp", &["-c", "4", "-n", "400"]);
    assert_eq!((run.counts.replied, key.tcp.slow_accept, code), (400, 4, 0));
    let response = run.latency.response.histogram().unwrap();
    // The last of four waits for 1.2 s after the first connection was made; the run begins a little after that.
    assert!(response.max() >= 900 * MILLISECOND, "{}", response.max());
    assert!(response.count_between(250 * MILLISECOND, u64::MAX) >= 3);
}

/// The share of answers within `time`.
fn within(times: &Histogram<u64>, time: u64) -> f64 {
    times.count_between(0, time) as f64 / times.len() as f64
}

/// The same in theory: nine tenths of the questions find the server working, and the others wait for what is left of
/// the 100 ms, evenly spread.
fn within_in_theory(time: u64) -> f64 {
    0.9 + 0.1 * (time as f64 / (100 * MILLISECOND) as f64).min(1.0)
}

/// The largest amount by which `left` exceeds `right`, at times from 0 to 400 ms: half of Kolmogorov's distance.
fn largest_excess(left: impl Fn(u64) -> f64, right: impl Fn(u64) -> f64) -> f64 {
    (0..400).map(|step| step * MILLISECOND).map(|time| left(time) - right(time)).fold(f64::NEG_INFINITY, f64::max)
}

/// A busy machine may keep the server from its processor outside of its stalls, which shows in no account. That is chance, and
/// a tool that measures too long times does so each time.
#[test]
fn a_stall_has_the_distribution_that_theory_gives_it() {
    const ATTEMPTS: usize = 5;
    let excesses: Vec<f64> =
        std::iter::repeat_with(too_few_in_time).take(ATTEMPTS).take_while(|&few| few > 0.05).collect();
    assert!(excesses.len() < ATTEMPTS, "each time too few were answered in time: {excesses:?}");
}

/// The share of answers that came too late for a stall of 100 ms each second; that none came too soon is asserted.
fn too_few_in_time() -> f64 {
    // Three periods, so that three tenths of a second are stalled wherever the periods begin. All of them are sent, however
    // late a busy machine is.
    let load = ["-R", "1k", "--arrivals", "const", "-n", "3000", "--timeout", "30s"];
    let (run, code, key) = examine(&["--stall", "100ms/1s"], "udp", &load);
    assert_eq!((run.counts.replied, code), (3000, 0), "{:?}", run.counts);
    assert!(key.stalls.count >= 3, "{key:?}");
    for stall in &key.stalls.list {
        let into = stall.met_ns % (1000 * MILLISECOND);
        assert!(into >= 900 * MILLISECOND && stall.until_ns % (1000 * MILLISECOND) == 0, "{stall:?}");
        assert!(stall.ended_ns >= stall.until_ns && stall.until_ns - stall.met_ns <= 100 * MILLISECOND, "{stall:?}");
    }
    let response = run.latency.response.histogram().unwrap();
    // A busy machine makes answers later and never earlier, so this side holds on any: a tool that left questions out
    // of its statistics would claim that more of them were answered soon. The questions are 1 ms apart, which is a
    // thousandth of them; the second is for both ends of the run.
    let excess = largest_excess(|time| within(&response, time), within_in_theory);
    assert!(excess <= 0.002, "up to {excess} too many were answered in time");
    // For the other side it is known by how much the machine was late: our own lag, and what the server slept too long.
    // Nearly all of it must be explained by that.
    let lag = run.latency.lag.histogram().unwrap().max();
    let overslept = key.stalls.list.iter().map(|stall| stall.ended_ns - stall.until_ns).max().unwrap();
    let late = 20 * MILLISECOND + 3 * (lag + overslept);
    largest_excess(within_in_theory, |time| within(&response, time + late))
}

#[test]
fn a_closed_loop_fails_the_comparison_that_an_open_one_passes() {
    let (run, _, _) = examine(&["--stall", "100ms/1s"], "udp", &["-d", "3s", "--timeout", "30s"]);
    let response = run.latency.response.histogram().unwrap();
    let excess = largest_excess(|time| within(&response, time), within_in_theory);
    assert!(excess > 0.02, "it met {} answers, and claims too few of them in time", response.len());
}

#[test]
fn the_demonstration_shows_one_stall_twice() {
    let output = run(&["lab", "--demo"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let row = |name: &str| -> Vec<f64> {
        let line = text.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_else(|| panic!("{text}"));
        let words = line[name.len() + 2..].split(|letter: char| !letter.is_ascii_digit() && letter != '.');
        words.filter_map(|word| word.parse().ok()).collect()
    };
    assert!(row("questions answered")[1] > 2999.0, "{text}");
    assert_eq!((row("p50").len(), row("p99").len(), row("max").len()), (2, 2, 2), "{text}");
    let slow = row("waited 10 ms or more");
    let [_, closed, _, open] = slow[..] else { panic!("{slow:?} in {text}") };
    // In theory 9 %, and a busy machine can only add to it.
    assert!(open >= 8.8 && closed < open / 2.0, "{text}");
    assert!(row("p99")[1] >= 89.0 && row("max")[0] >= 90.0, "{text}");
}

#[test]
fn the_lab_ends_with_its_key_when_asked_to() {
    for signal in [Signal::INT, Signal::TERM] {
        // Without an input to read, as a script's background job has it: that alone must not end it.
        let mut lab = Lab::start_with(&["--drop", "50%", "--seed", "C0FFEE"], Stdio::null());
        let target = format!("udp://{}", lab.address);
        let (run, _) = measure(&[&target, "-n", "20", "-p", "20", "-w", "0", "--timeout", "1s"]);
        kill_process(Pid::from_child(&lab.child), signal).unwrap();
        let key = lab.read_key();
        assert_eq!((key.udp.received, key.udp.drop, run.counts.lost), (20, 10, 10));
        assert_eq!(
            (key.seed.as_str(), key.schema.as_str(), key.listen.as_str()),
            ("C0FFEE", "shout-lab/1", &*lab.address)
        );
    }
}

#[test]
fn a_wrong_fault_gets_one_line_that_names_it() {
    for (arguments, named) in [
        (&["lab", "--drop", "200%"][..], &["'200%'", "--drop"][..]),
        (&["lab", "--stall", "2s/1s"], &["'2s/1s'", "--stall"]),
        (&["lab", "--delay", "1s/x"], &["'1s/x'", "--delay"]),
        (&["lab", "--size", "0"], &["'0'", "--size"]),
        (&["lab", "--listen", "nowhere"], &["'nowhere'", "--listen"]),
        (&["lab", "--demo", "--drop", "1%"], &["--demo"]),
    ] {
        let output = run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(2), 1), "{arguments:?}: {stderr}");
        assert!(named.iter().all(|name| stderr.contains(name)), "{arguments:?}: {stderr}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&["lab", "--listen", &address]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.lines().count() == 1 && stderr.contains(&address), "{stderr}");
}
