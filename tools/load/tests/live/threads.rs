//! Several generators make one load.

use std::collections::BTreeSet;

use shout_load::report::document::Document;

use crate::servers::{RealServer, measure, run};

/// The response times of all intervals must be those of the whole.
fn assert_adds_up(run: &Document) {
    let mut sum = shout_load::recorder::histogram();
    run.intervals.iter().for_each(|interval| sum.add(interval.histogram().unwrap()).unwrap());
    assert_eq!(sum, run.latency.response.histogram().unwrap());
    assert_eq!(run.latency.response.n, run.counts.replied);
    assert!(run.intervals.windows(2).all(|pair| pair[0].t_ns + pair[0].len_ns == pair[1].t_ns));
}

#[test]
fn three_threads_make_the_load_of_one() {
    let server = RealServer::start();
    for scheme in ["udp", "tcp", "echo"] {
        for load in [&["-p", "4"][..], &["-R", "3k"], &["-R", "3k", "--arrivals", "const", "-s", "mix:64=1,300=1"]] {
            let target = format!("{scheme}://{}", server.address);
            let more = ["-t", "3", "-c", "7", "-n", "700", "-w", "50ms", "-i", "50ms"];
            let (run, code) = measure(&[&[target.as_str()], &more[..], load].concat());
            assert_eq!(
                (run.counts.sent, run.counts.replied, run.counts.lost, code),
                (700, 700, 0, 0),
                "{scheme} {load:?}"
            );
            assert_eq!(run.config.threads, Some(3));
            if scheme != "udp" {
                assert_eq!((run.connections.opened, run.latency.connect.as_ref().unwrap().n), (7, 7));
            }
            let parts: u64 = run.per_transport.values().map(|part| part.counts.replied).sum();
            assert_eq!((parts, run.per_transport.len()), (700, if scheme == "echo" { 2 } else { 1 }));
            assert_adds_up(&run);
        }
    }
}

#[test]
fn a_schedule_is_kept_by_all_threads_together() {
    let server = RealServer::start();
    let target = format!("udp://{}", server.address);
    let load = ["-R", "600", "--arrivals", "const", "-t", "3", "-d", "500ms", "-w", "0"];
    let (run, _) = measure(&[&[target.as_str()], &load[..]].concat());
    assert_eq!((run.counts.scheduled, run.config.udp_sockets), (300, 3));
    assert!(run.validity.checks.iter().any(|check| check.id == "arrivals"), "{:?}", run.validity.checks);
}

#[test]
fn the_slowest_requests_name_every_connection_of_every_thread() {
    let server = RealServer::start();
    let (run, _) = measure(&[&format!("echo://{}", server.address), "-n", "96", "-c", "4", "-t", "2", "-w", "0"]);
    assert_eq!(run.outliers.len(), 96, "all of them");
    let names: BTreeSet<(u16, u64)> = run.outliers.iter().map(|slow| (slow.conn, slow.seq)).collect();
    assert_eq!(names.len(), 96, "no two have the same name");
    let connections: BTreeSet<u16> = names.iter().map(|(connection, _)| *connection).collect();
    assert!(connections.into_iter().eq(0..8));
}

#[test]
fn replaced_connections_of_all_threads_are_counted() {
    let server = RealServer::start();
    let target = format!("tcp://{}", server.address);
    let (run, code) = measure(&[&target, "-n", "400", "-c", "4", "-t", "2", "-w", "0", "--churn", "10"]);
    let churn = run.churn.unwrap();
    assert_eq!((run.counts.replied, code), (400, 0));
    assert!(churn.closed >= 36 && churn.connect.n == churn.opened, "{churn:?}");
}

#[test]
fn more_threads_than_connections_and_unknown_processors_are_wrong_arguments() {
    for (arguments, named) in [
        (&["-t", "3", "-c", "2"][..], ["--threads", "'3'", "-c is 2"]),
        (&["--pin", "0,9999"], ["--pin", "'9999'", "processors"]),
        (&["-t", "0"], ["--threads", "'0'", "at least 1"]),
    ] {
        let output = run(&[&["udp://localhost"], arguments].concat());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(2), 1), "{stderr}");
        assert!(named.iter().all(|part| stderr.contains(part)), "{stderr}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn threads_are_bound_where_they_are_told() {
    let server = RealServer::start();
    let target = format!("udp://{}", server.address);
    let first = shout_load::host::processors()[0];
    let pin = first.to_string();
    let (run, _) = measure(&[&target, "-n", "50", "-w", "0", "--pin", &pin]);
    assert_eq!((run.env.pinned_to, run.env.threads_pinned_to), (Some(first), vec![]));
    let (run, _) = measure(&[&target, "-n", "50", "-w", "0", "-t", "2", "--pin", &pin]);
    assert_eq!((run.env.pinned_to, run.env.threads_pinned_to), (None, vec![first]));
}
