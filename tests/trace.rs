//! `--trace`: what it says agrees with what happened, it can be read at any time, and nothing about it stops the service.

mod common;

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Program, assert_same, pattern, ping, ping_udp, tcp_client, udp, udp_client};
use rustix::process::Signal;
use serde_json::Value;
use shout::connections::{Connections, Limits};
use shout::counters::Counters;
use shout::trace::{self, Trace};
use shout::uppercase::Case;

/// A file name that is this test's own, with nothing there yet.
fn file(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("trace-{name}"));
    let _ = fs::remove_file(&path);
    path
}

/// The entries of a trace. What is not one complete JSON object fails here.
#[track_caller]
fn entries(path: &Path) -> Vec<Value> {
    let whole: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    whole["traceEvents"].as_array().unwrap().clone()
}

/// The sum of an argument over all entries whose name begins so.
fn sum(entries: &[Value], name: &str, argument: &str) -> u64 {
    let named = entries.iter().filter(|entry| entry["name"].as_str().unwrap().starts_with(name));
    named.map(|entry| entry["args"][argument].as_u64().unwrap()).sum()
}

fn count(entries: &[Value], name: &str) -> usize {
    entries.iter().filter(|entry| entry["name"] == name).count()
}

/// Sends much over TCP, a little over UDP, and says how many bytes each was.
fn talk(server: &Program) -> (u64, u64) {
    let text = pattern(3_000_000);
    let mut stream = tcp_client(server.address);
    let mut writer = stream.try_clone().unwrap();
    let answer = std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&text).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut answer = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut answer).unwrap();
        answer
    });
    assert_same(&answer, &text.to_ascii_uppercase());
    let client = udp_client(server.address);
    for length in 0..50 {
        assert_eq!(ping_udp(&client, server.address, &vec![b'a'; length]), vec![b'A'; length]);
    }
    (text.len() as u64, (0..50).sum())
}

#[test]
fn every_byte_echoed_is_in_the_trace() {
    let path = file("bytes.json");
    let server = Program::start(&["--trace", path.to_str().unwrap()]);
    let (stream_bytes, datagram_bytes) = talk(&server);
    let ended = server.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let entries = entries(&path);
    assert_eq!((sum(&entries, "drive", "read"), sum(&entries, "drive", "sent")), (stream_bytes, stream_bytes));
    assert_eq!((sum(&entries, "receive", "bytes"), sum(&entries, "send", "bytes")), (datagram_bytes, datagram_bytes));
    assert_eq!((sum(&entries, "receive", "datagrams"), sum(&entries, "send", "datagrams")), (50, 50));
    assert_eq!((count(&entries, "accept"), count(&entries, "drive: finished"), count(&entries, "closed")), (1, 1, 1));
    assert_eq!(count(&entries, "turn") as u64, ended.counter("turns"));
    assert_eq!(count(&entries, "edge") as u64, ended.counter("events"));
    assert_eq!(sum(&entries, "poll", "events"), ended.counter("events"));
    let python = Command::new("python3").args(["-m", "json.tool"]).arg(&path).arg("/dev/null").status().unwrap();
    assert!(python.success(), "another reader of JSON must accept it");
}

/// Runs `act` with a trace of this thread, and returns what it took down.
fn traced(name: &str, act: impl FnOnce()) -> Vec<Value> {
    let path = file(name);
    trace::install(Trace::for_loops(&path, 1).unwrap().remove(0));
    act();
    trace::write();
    entries(&path)
}

#[test]
fn a_budget_that_cuts_a_drive_shows() {
    const BUDGET: usize = 1000;
    let entries = traced("drives.json", || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        peer.write_all(&[b'a'; 3 * BUDGET]).unwrap();
        // All of it has arrived when it can be looked at without being taken.
        let mut there = [0; 3 * BUDGET];
        while stream.peek(&mut there).unwrap() < there.len() {}
        stream.set_nonblocking(true).unwrap();
        let limits = Limits {
            connections_max: 1,
            drive_bytes_max: BUDGET,
            turn_bytes_max: u64::MAX,
            shared_bytes_max: BUDGET,
            idle_timeout: None,
            stall_timeout: Duration::from_secs(60),
            linger_timeout: Duration::from_secs(2),
            unsent_max: 1 << 20,
        };
        let now = Instant::now();
        let (mut connections, mut counters) = (Connections::new(Case::Ascii, 4096, limits, now), Counters::default());
        let token = connections.insert(mio::net::TcpStream::from_std(stream), now);
        connections.note(token, true, true, false);
        // One edge, and as many turns as the budget makes of it.
        for _ in 0..10 {
            connections.turn(now, &mut counters);
        }
        assert_eq!((connections.has_work(), counters.tcp_sent_bytes), (false, 3 * BUDGET as u64));
    });
    let drives: Vec<&str> =
        entries.iter().filter_map(|entry| entry["name"].as_str()?.strip_prefix("drive: ")).collect();
    assert_eq!(drives, ["again", "again", "again", "wait"], "what is cut off is driven again without an edge");
}

#[test]
fn a_bound_that_cuts_the_datagrams_of_a_turn_shows() {
    const DATAGRAMS: usize = 300;
    let mut server = common::server(&["--udp-io", "portable"]);
    let client = udp(&server);
    for _ in 0..DATAGRAMS {
        client.send_to(b"a", server.address()).unwrap();
    }
    let entries = traced("datagrams.json", || {
        common::turn_until(&mut server, "all datagrams", |server| {
            server.counters().udp_received == DATAGRAMS as u64 && server.counters().turns > 2
        });
    });
    assert!(count(&entries, "datagrams: bound") >= 1, "300 do not fit into a turn");
    assert_eq!(sum(&entries, "receive", "datagrams"), DATAGRAMS as u64);
}

#[test]
fn a_signal_writes_a_whole_trace_and_the_next_one_writes_it_anew() {
    let path = file("signal.json");
    let server = Program::start(&["--trace", path.to_str().unwrap()]);
    let mut client = tcp_client(server.address);
    let mut before = 0;
    for round in 1..=3 {
        assert_eq!(ping(&mut client, b"abc"), b"ABC");
        server.signal(Signal::USR2);
        server.stderr.skip_to("wrote the trace");
        let entries = entries(&path);
        assert_eq!(sum(&entries, "drive", "read"), 3 * round);
        assert!(entries.len() > before);
        before = entries.len();
    }
    assert_eq!(server.terminate().code, Some(0));
}

#[test]
fn a_full_disk_is_said_once_and_stops_nothing() {
    if !Path::new("/dev/full").exists() {
        println!("skipped: this system has no /dev/full");
        return;
    }
    let server = Program::start(&["--trace", "/dev/full"]);
    let mut client = tcp_client(server.address);
    server.signal(Signal::USR2);
    server.stderr.skip_to("cannot write the trace to /dev/full");
    server.signal(Signal::USR2);
    assert_eq!(ping(&mut client, b"abc"), b"ABC");
    let ended = server.terminate();
    assert_eq!(ended.code, Some(0));
    assert!(!ended.stderr.iter().any(|line| line.contains("cannot write")), "once is enough: {ended:?}");
}

#[test]
fn a_file_that_cannot_be_created_is_refused_at_the_start() {
    let server = assert_cmd::Command::new(common::SERVER)
        .args(["--listen", "127.0.0.1:0", "--trace", "/nowhere/run.json"])
        .timeout(common::PATIENCE)
        .assert()
        .code(1);
    let line = String::from_utf8(server.get_output().stderr.clone()).unwrap();
    assert!(line.contains("--trace /nowhere/run.json"), "{line}");
}

#[test]
fn in_the_sandbox_the_file_is_written_as_ever() {
    let path = file("sandbox.json");
    if !has_sandbox() {
        println!("skipped: this kernel has no Landlock");
        return;
    }
    let server = Program::start(&["--sandbox", "--trace", path.to_str().unwrap()]);
    let mut client = tcp_client(server.address);
    assert_eq!(ping(&mut client, b"abc"), b"ABC");
    server.signal(Signal::USR2);
    server.stderr.skip_to("wrote the trace");
    assert_eq!(sum(&entries(&path), "drive", "read"), 3);
    assert_eq!(ping(&mut client, b"defg"), b"DEFG");
    assert_eq!(server.terminate().code, Some(0));
    assert_eq!(sum(&entries(&path), "drive", "read"), 7);
}

/// Whether a thread of this process can enter the sandbox; it takes what it gives up along to its end.
fn has_sandbox() -> bool {
    std::thread::spawn(|| shout::sandbox::enter(false, false).is_ok()).join().unwrap()
}

#[test]
fn several_loops_have_a_file_each() {
    let path = file("loops.json");
    let server = Program::start(&["--workers", "2", "--trace", path.to_str().unwrap()]);
    let mut clients: Vec<TcpStream> = (0..16).map(|_| tcp_client(server.address)).collect();
    for client in &mut clients {
        assert_eq!(ping(client, b"abc"), b"ABC");
    }
    drop(clients);
    assert_eq!(server.terminate().code, Some(0));
    let loops = ["trace-loops-0.json", "trace-loops-1.json"].map(|name| entries(&path.with_file_name(name)));
    assert_eq!(loops.iter().map(|entries| sum(entries, "drive", "read")).sum::<u64>(), 48);
    assert!(loops[0].iter().all(|entry| entry["pid"] == 1) && loops[1].iter().all(|entry| entry["pid"] == 2));
}
