//! What a run says about itself: verdict, floor, losses, worst requests, and the gates that hang on them.

use std::net::UdpSocket;

use crate::servers::{DatagramServer, RealServer, measure, run};
use shout_load::report::document::Document;
use shout_load::verdict::Verdict;

fn echo() -> DatagramServer {
    DatagramServer::start(|_, request, peer| vec![(peer, request.to_ascii_uppercase())])
}

/// What the machine does to a run is not in the hand of a test, so this is what must follow from the verdict that it
/// got.
fn gated_code(run: &Document, is_passed: bool) -> i32 {
    match run.validity.verdict {
        Verdict::Invalid => 4,
        Verdict::Valid | Verdict::Suspect if is_passed => 0,
        Verdict::Valid | Verdict::Suspect => 3,
    }
}

#[test]
fn a_run_judges_itself_and_its_floor() {
    let server = RealServer::start();
    for (scheme, load, checks) in [
        ("udp", &["-R", "500", "-n", "1000"][..], &["rate_reached", "arrivals", "lag", "little", "effective_size"][..]),
        ("tcp", &["-n", "4000", "-c", "2"], &["lag", "little", "p99_interval"]),
    ] {
        let target = format!("{scheme}://{}", server.address);
        let (run, code) = measure(&[&[&target, "-w", "50ms"], load].concat());
        assert_eq!(code, 0, "without a gate a verdict is only told");
        let made: Vec<&str> = run.validity.checks.iter().map(|check| check.id.as_str()).collect();
        assert!(checks.iter().all(|id| made.contains(id)), "{made:?}");
        assert_eq!(made.contains(&"rate_reached"), scheme == "udp", "a closed loop has no rate to reach");
        let worst = run.validity.checks.iter().map(|check| check.verdict).max().unwrap();
        assert_eq!(run.validity.verdict, worst);
        let little = run.validity.checks.iter().find(|check| check.id == "little").unwrap();
        assert!(little.ok, "{little:?}");
        let floor = run.floor.unwrap();
        assert!(floor.clock_ns > 0 && floor.echo.p50 > floor.wake.p50, "{floor:?}");
        let (response, p99) = (&run.latency.response, run.latency.response.p["99"]);
        assert!(response.n_eff.unwrap() <= response.n);
        assert!(p99.lo.is_none_or(|lo| lo <= p99.v) && p99.hi.is_none_or(|hi| hi >= p99.v), "{p99:?}");
        if cfg!(target_os = "linux") {
            let server = run.server.unwrap();
            assert!(server.resident_bytes > 100_000 && server.voluntary_switches != Some(0), "{server:?}");
            assert!(made.contains(&"own_cpu") || scheme == "tcp", "{made:?}");
            assert!(made.contains(&"cpu_wait") && made.contains(&"involuntary_switches"), "{made:?}");
        }
    }
}

#[test]
fn a_rate_that_no_generator_reaches_is_invalid() {
    let server = RealServer::start();
    let (run, code) =
        measure(&[&format!("udp://{}", server.address), "-R", "50m", "-d", "300ms", "-w", "0", "--slo", "errors=0"]);
    assert_eq!((run.validity.verdict, code, run.exit), (Verdict::Invalid, 4, 4), "{:#?}", run.validity);
    let check = run.validity.checks.iter().find(|check| check.id == "rate_reached").unwrap();
    assert!(check.why.contains("generator saturated"), "{check:?}");
    assert!(!run.gates[0].ok, "a gate on an invalid run is never passed");
}

/// A server that answers once: what was sent after that is waited for, for ten times as long as it took to send.
#[test]
fn how_busy_the_generator_was_while_it_sent_is_not_diluted_by_waiting_for_what_was_lost() {
    if !cfg!(target_os = "linux") {
        println!("skipped: only Linux tells what a thread has used");
        return;
    }
    let server = DatagramServer::start(|number, request, peer| match number {
        0 => vec![(peer, request.to_ascii_uppercase())],
        _ => vec![],
    });
    let load = ["-R", "20k", "-d", "200ms", "-w", "0", "--timeout", "2s", "--pace", "sleep"];
    let (run, _) = measure(&[&[server.url().as_str()], &load[..]].concat());
    assert!(run.time.drain_ns >= 9 * run.time.measured_ns, "{:?}", run.time);
    let share = run.validity.checks.iter().find(|check| check.id == "own_cpu").unwrap().value;
    let process = run.generator.unwrap();
    let diluted = process.cpu_ns as f64 / process.wall_ns as f64;
    // However little of the processor it got: nearly all of it went into sending.
    assert!(share > 2.0 * diluted, "{share} while it sent, {diluted} of all the time");
}

#[test]
fn the_worst_requests_are_kept_with_all_that_is_known_of_them() {
    let server = echo();
    let (run, _) = measure(&[&server.url(), "-n", "500", "-c", "2", "-p", "4", "-s", "100", "-w", "0"]);
    let worst = &run.outliers;
    assert_eq!(worst.len(), 100);
    assert!(worst.is_sorted_by(|a, b| a.lat_ns >= b.lat_ns));
    assert!(
        worst[0].lat_ns <= run.latency.response.max && worst[0].lat_ns as f64 >= run.latency.response.max as f64 * 0.99
    );
    for slow in worst {
        assert!(slow.conn < 2 && slow.seq < 500 && slow.size == 100 && (1..=8).contains(&slow.in_flight), "{slow:?}");
        assert!(slow.lag_ns <= slow.lat_ns && slow.t_intended_ns <= run.time.measured_ns, "{slow:?}");
    }
}

/// A server whose receive buffer holds a few datagrams, which answers the first one and never reads again.
#[test]
fn datagrams_dropped_by_the_servers_buffer_are_laid_at_its_door() {
    if !cfg!(target_os = "linux") {
        println!("skipped: only Linux tells what a socket has dropped");
        return;
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&socket).set_recv_buffer_size(1).unwrap();
    let target = format!("udp://{}", socket.local_addr().unwrap());
    let reader = socket.try_clone().unwrap();
    let answering = std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        let (length, peer) = reader.recv_from(&mut buffer).unwrap();
        reader.send_to(&buffer[..length].to_ascii_uppercase(), peer).unwrap();
    });
    let (run, code) = measure(&[&target, "-R", "20k", "-n", "2000", "-w", "0", "--timeout", "500ms", "-s", "1000"]);
    answering.join().unwrap();
    let (counts, loss) = (run.counts, run.loss);
    assert_eq!((counts.sent, counts.replied, counts.lost, code), (2000, 1, 1999, 0), "{counts:?}");
    let parts = loss.attribution;
    // What fits into the buffer stays there unread: nobody dropped it, and nobody answered it.
    assert!(parts.server_rcvbuf > 1900 && parts.unknown < 100, "{parts:?}");
    assert_eq!(parts.server_rcvbuf + parts.unknown + parts.client_rcvbuf, 1999, "{parts:?}");
    assert_eq!((loss.longest_burst, loss.bursts["1024-2047"]), (1999, 1), "{:?}", loss.bursts);
    assert_eq!((loss.all_in["50"], loss.all_in["100"]), (None, None), "what was lost took for ever");
}

#[test]
fn lost_messages_are_counted_in_bursts_and_in_percentiles() {
    let server = DatagramServer::start(|number, request, peer| match number % 100 {
        10 | 20 | 21 | 30 | 31 | 32 => vec![],
        _ => vec![(peer, request.to_ascii_uppercase())],
    });
    let gates = ["--slo", "loss<5%", "--slo", "p90<1m", "--slo", "p99<1m"];
    let target = server.url();
    let load = [&[target.as_str(), "-n", "1000", "-p", "200", "-w", "0", "--timeout", "1s"], &gates[..]].concat();
    // What a busy machine answers too late is lost as well, and makes bursts of its own: that run is not the one.
    let mut attempts = std::iter::repeat_with(|| measure(&load)).take(5);
    let (run, code) = attempts.find(|(run, _)| run.counts.lost == 60).expect("a run that lost what was not answered");
    let loss = &run.loss;
    let expected = [("1".to_owned(), 10), ("2-3".to_owned(), 20)].into();
    assert_eq!((loss.longest_burst, &loss.bursts, loss.attribution.unknown), (3, &expected, 60));
    assert!(loss.all_in["90"].is_some() && loss.all_in["99"].is_none(), "{:?}", loss.all_in);
    let passed: Vec<bool> = run.gates.iter().map(|gate| gate.ok).collect();
    if run.validity.verdict == Verdict::Invalid {
        assert_eq!(passed, [false; 3]);
    } else {
        assert_eq!(passed, [false, true, false], "6 % were lost: the 99th percentile is among them");
    }
    assert_eq!(code, gated_code(&run, false));
}

#[test]
fn littles_law_holds_for_answers_losses_and_wrong_bytes_alike() {
    let server = DatagramServer::start(|number, request, peer| match number % 100 {
        10 => vec![],
        20 | 40 | 60 => vec![(peer, request.to_vec())],
        _ => vec![(peer, request.to_ascii_uppercase())],
    });
    let (run, code) = measure(&[&server.url(), "-n", "1000", "-p", "20", "-w", "0", "--timeout", "1s"]);
    assert_eq!((run.counts.lost, run.counts.wrong, code), (10, 30, 5), "{:?}", run.counts);
    let little = run.validity.checks.iter().find(|check| check.id == "little").unwrap();
    assert!(little.ok, "{little:?}");
}

#[test]
fn gates_decide_the_exit_code() {
    let server = echo();
    let target = server.url();
    let load = [target.as_str(), "-n", "300", "-w", "0"];
    for (gate, is_passed) in [("p99<1h", true), ("errors=0", true), ("p50<1ns", false), ("rate>1g", false)] {
        let (run, code) = measure(&[&load[..], &["--slo", gate]].concat());
        assert_eq!(code, gated_code(&run, is_passed), "{gate}: {:?}", run.gates);
        assert_eq!(i32::from(run.exit), code);
    }
    // Three hundred answers are too few for a p99: that is never beyond doubt.
    let (run, code) = measure(&[&load[..], &["--strict"]].concat());
    assert_eq!((code, run.validity.verdict > Verdict::Valid), (4, true), "{:?}", run.validity);
    let screen = run_to_text(&[&load[..], &["--slo", "p50<1ns"]].concat());
    assert!(screen.contains("gate        p50<1ns FAILED"), "{screen}");
    assert!(screen.contains("SUSPECT") || screen.contains("INVALID"), "{screen}");
    assert!(screen.contains("floor       null echo p50"), "{screen}");
}

#[test]
fn wrong_bytes_outrank_a_gate() {
    let server = DatagramServer::start(|_, request, peer| vec![(peer, request.to_vec())]);
    let (_, code) = measure(&[&server.url(), "-n", "50", "-w", "0", "--slo", "p50<1ns", "--strict"]);
    assert_eq!(code, 5);
}

#[test]
fn a_run_is_held_against_its_baseline() {
    let server = echo();
    let target = server.url();
    let baseline = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("baseline.json");
    let path = baseline.to_str().unwrap();
    let load = [target.as_str(), "-n", "300", "-w", "0"];
    let (first, _) = measure(&[&load[..], &["-o", path]].concat());
    let (second, code) = measure(&[&load[..], &["--baseline", path, "--max-regress", "100000%"]].concat());
    let is_invalid = [&first, &second].iter().any(|run| run.validity.verdict == Verdict::Invalid);
    assert_eq!((code, second.gates.len()), (if is_invalid { 4 } else { 0 }, 3), "{:?}", second.gates);
    let (other, code) = measure(&[&load[..], &["-s", "65", "--baseline", path]].concat());
    assert!(code >= 3 && other.gates[0].why.contains("another size: 65 and 64"), "{:?}", other.gates);
    let output = run(&[&load[..], &["--baseline", "/nonexistent/run.json"]].concat());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
    assert!(stderr.contains("/nonexistent/run.json"), "{stderr}");
}

fn run_to_text(arguments: &[&str]) -> String {
    String::from_utf8(run(arguments).stdout).unwrap()
}
