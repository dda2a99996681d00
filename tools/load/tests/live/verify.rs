//! The conformance suite: it passes the real server in both modes, and names what others get wrong.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use shout_load::sockets::retried;
use shout_load::verify::report::{Outcome, Report};

use crate::lab::Lab;
use crate::schema::assert_fits_verify;
use crate::servers::{DatagramServer, RealServer, StreamServer, run};

/// Long enough for a busy machine, short enough for the servers that never answer.
const TIMEOUT: [&str; 2] = ["--timeout", "3s"];

fn verify(arguments: &[&str]) -> (Report, i32) {
    let output = run(&[&["verify", "--json"], arguments, &TIMEOUT].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    let found: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}; it said {stderr:?}"));
    assert_fits_verify(&found);
    let report: Report = serde_json::from_value(found).unwrap();
    assert_eq!(report.checks.len(), report.passed + report.failed + report.not_run);
    assert_eq!(output.status.code(), Some(report.exit.into()));
    (report, output.status.code().unwrap())
}

fn names(report: &Report, wanted: fn(&Outcome) -> bool) -> BTreeSet<&str> {
    report.checks.iter().filter(|check| wanted(&check.outcome)).map(|check| check.name.as_str()).collect()
}

fn failed(report: &Report) -> BTreeSet<&str> {
    names(report, |outcome| matches!(outcome, Outcome::Fail { .. }))
}

fn not_run(report: &Report) -> BTreeSet<&str> {
    names(report, |outcome| matches!(outcome, Outcome::NotRun { .. }))
}

#[test]
fn the_real_server_passes_in_both_modes() {
    for (case, checks) in [("ascii", 23), ("unicode", 28)] {
        let server = RealServer::start_with(&["--case", case]);
        let (report, code) = verify(&[&format!("echo://{}", server.address), "--case", case]);
        assert_eq!((code, report.passed, report.checks.len()), (0, checks, checks), "{}", report.text());
    }
}

#[test]
fn each_mode_fails_the_other_one_where_they_differ() {
    let unicode = RealServer::start_with(&["--case", "unicode"]);
    let (report, _) = verify(&[&format!("echo://{}", unicode.address), "--case", "ascii"]);
    // In bytes that are not UTF-8 there is a letter beside, and it grows.
    let expected = ["tcp-cuts", "tcp-letters", "tcp-not-utf8", "udp-letters", "udp-not-utf8"];
    assert_eq!(failed(&report), expected.into(), "{}", report.text());
    let ascii = RealServer::start();
    let (report, _) = verify(&[&format!("echo://{}", ascii.address), "--case", "unicode"]);
    let expected = [
        "tcp-alphabets",
        "tcp-carry",
        "tcp-cuts",
        "tcp-letters",
        "tcp-not-utf8",
        "udp-alphabets",
        "udp-growth",
        "udp-letters",
        "udp-not-utf8",
        "udp-overgrown",
    ];
    assert_eq!(failed(&report), expected.into(), "{}", report.text());
}

#[test]
fn the_misbehaving_server_passes_while_it_behaves_and_fails_by_name_when_it_does_not() {
    for (faults, expected) in [
        (&[][..], &[][..]),
        (&["--duplicate", "100%"], &["udp-burst", "udp-once"]),
        (&["--stray", "100%"], &["udp-clients"]),
        (
            &["--wrong-case", "100%", "--size", "1"],
            &[
                "tcp-again",
                "tcp-ascii",
                "tcp-bytes-apart",
                "tcp-cuts",
                "tcp-fin",
                "tcp-large",
                "tcp-letters",
                "tcp-many",
                "tcp-not-utf8",
                "tcp-pipeline",
                "tcp-unread",
                "udp-ascii",
                "udp-burst",
                "udp-clients",
                "udp-large",
                "udp-letters",
                "udp-not-utf8",
                "udp-once",
                "udp-small",
            ],
        ),
    ] {
        let lab = Lab::start(faults);
        let (report, _) = verify(&[&format!("echo://{}", lab.address)]);
        let found = failed(&report);
        assert!(expected.iter().all(|name| found.contains(name)), "{faults:?}: {}", report.text());
        assert!(!expected.is_empty() || found.is_empty(), "{faults:?}: {}", report.text());
    }
}

#[test]
fn a_server_that_answers_from_elsewhere_is_found_out() {
    let elsewhere = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = DatagramServer::start(move |_, request, peer| {
        let answer = request.to_ascii_uppercase();
        if request.starts_with(b"number 3") {
            elsewhere.send_to(&answer, peer).unwrap();
            return vec![];
        }
        vec![(peer, answer)]
    });
    let (report, code) = verify(&[&server.url()]);
    assert_eq!((failed(&report), code), (["udp-once"].into(), 5), "{}", report.text());
}

#[test]
fn a_server_that_resets_instead_of_ending_is_found_out() {
    let server = StreamServer::start(1000, |number, stream| {
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        crate::servers::upper_case(number, stream);
    });
    let (report, code) = verify(&[&server.url()]);
    let found = failed(&report);
    for name in ["tcp-ascii", "tcp-empty", "tcp-fin", "tcp-again", "tcp-large"] {
        assert!(found.contains(name), "{}", report.text());
    }
    assert_eq!(code, 5);
}

/// A server of a textbook, ended with the test.
struct Script {
    process: Child,
    port: String,
    /// It leads a group of processes, which must not outlive it.
    has_children: bool,
}

impl Script {
    /// `None`, and a line that says why, where there is no Python.
    fn start(name: &str) -> Option<Self> {
        let path = format!("{}/../../tests/textbook/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new("python3");
        // It ends with a traceback, as is expected.
        command.args([&path, "0"]).env("PYTHONUTF8", "1").stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut process) = command.spawn() else {
            eprintln!("skipped: there is no python3");
            return None;
        };
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().rsplit(' ').next().unwrap().to_owned();
        Some(Script { process, port, has_children: false })
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if self.has_children {
            let _ = kill_process_group(Pid::from_child(&self.process), Signal::KILL);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_textbook_datagram_server_cuts_raises_too_much_and_dies_of_bytes() {
    let Some(server) = Script::start("udp_server.py") else { return };
    let (report, code) = verify(&[&format!("udp://127.0.0.1:{}", server.port)]);
    assert_eq!(failed(&report), ["udp-large", "udp-letters", "udp-not-utf8"].into(), "{}", report.text());
    assert_eq!((not_run(&report), code), (["udp-bytes"].into(), 5));
    let large = report.checks.iter().find(|check| check.name == "udp-large").unwrap();
    let Outcome::Fail { expected, came, dump: Some(_) } = &large.outcome else { panic!("{large:?}") };
    assert!(expected.contains("2049 bytes") && came.contains("2048 bytes"), "{large:?}");
}

#[test]
fn the_textbook_stream_server_answers_once_and_dies_of_bytes() {
    let Some(server) = Script::start("tcp_server.py") else { return };
    let (report, code) = verify(&[&format!("tcp://127.0.0.1:{}", server.port)]);
    // It dies of the first character that a segment cuts; where it is lucky and both parts arrive together, later.
    let found = failed(&report);
    for name in [
        "tcp-again",
        "tcp-bytes-apart",
        "tcp-pipeline",
        "tcp-large",
        "tcp-unread",
        "tcp-many",
        "tcp-letters",
        "tcp-cuts",
    ] {
        assert!(found.contains(name), "{name}: {}", report.text());
    }
    assert!(not_run(&report).contains("tcp-bytes"), "{}", report.text());
    for name in ["tcp-ascii", "tcp-empty", "tcp-fin"] {
        assert!(!found.contains(name), "{name}: {}", report.text());
    }
    assert_eq!(code, 5);
}

#[test]
fn socat_with_tr_knows_no_empty_and_no_long_datagram() {
    // Free a moment ago: socat does not say which port it got.
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("UDP-RECVFROM:{port},bind=127.0.0.1,fork");
    let mut command = Command::new("socat");
    command.args([&listen, "EXEC:tr a-z A-Z"]).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let Ok(process) = command.spawn() else {
        eprintln!("skipped: there is no socat");
        return;
    };
    let server = Script { process, port: port.to_string(), has_children: true };
    // Until it listens, the kernel answers that nobody does.
    let probe = UdpSocket::bind("127.0.0.1:0").unwrap();
    probe.connect(("127.0.0.1", port)).unwrap();
    probe.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let answered = (0..1_000_000).any(|_| {
        std::thread::yield_now();
        probe.send(b"x").is_ok() && retried(|| probe.recv(&mut [0; 8])).is_ok()
    });
    assert!(answered, "socat does not come up");
    let (report, code) = verify(&[&format!("udp://127.0.0.1:{}", server.port)]);
    let found = failed(&report);
    assert!(found.contains("udp-large") && found.contains("udp-empty"), "{}", report.text());
    assert!(!found.contains("udp-ascii") && !found.contains("udp-small"), "{}", report.text());
    assert_eq!(code, 5);
}

#[test]
fn what_cannot_be_reached_is_no_verdict() {
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for scheme in ["udp", "tcp", "echo"] {
        let target = format!("{scheme}://{free}");
        let output = run(&["verify", &target]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len(), stderr.lines().count()), (Some(1), 0, 1), "{stderr}");
        assert!(stderr.contains(&target) && stderr.contains("refused"), "{stderr}");
    }
    for arguments in [&["verify"][..], &["verify", "localhost"], &["verify", "udp://h", "--case", "upper"]] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn the_text_names_each_check_and_shows_what_came() {
    let lab = Lab::start(&["--wrong-case", "100%"]);
    let output = run(&["verify", &format!("udp://{}", lab.address)]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(5));
    for part in
        ["FAIL  udp-ascii", "PASS  udp-empty", "expected the answer", "0000005d  5d 5e 5f 60 61 62", "checks passed, "]
    {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "colours in a pipe");
}
