//! `--trace`: what it says agrees with what happened, it can be read at any time, and nothing about it stops the service.

mod common;
mod perfetto;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Program, assert_same, pattern, ping, ping_udp, retried, tcp_client, udp, udp_client};
use rustix::process::Signal;
use serde_json::Value;
use shout::connections::{Connections, Limits, SHARED_TURNS, SHORT_MAX};
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
        while retried(|| stream.peek(&mut there)).unwrap() < there.len() {}
        stream.set_nonblocking(true).unwrap();
        let limits = Limits {
            connections_max: 1,
            drive_bytes_max: BUDGET,
            turn_bytes_max: u64::MAX,
            shared_bytes_max: BUDGET,
            short_max: SHORT_MAX,
            shared_turns: SHARED_TURNS,
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

/// Many connections and datagrams at once, until the ring has been full.
fn load(server: &Program) {
    const EXCHANGES: usize = 3000;
    let address = server.address;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(move || {
                let mut stream = tcp_client(address);
                for _ in 0..EXCHANGES {
                    assert_eq!(ping(&mut stream, b"abc"), b"ABC");
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(move || {
                let client = udp_client(address);
                for _ in 0..EXCHANGES {
                    assert_eq!(ping_udp(&client, address, b"defg"), b"DEFG");
                }
            });
        }
    });
    talk(server);
}

/// Of all slices of a name: how many, and how long they took together, in nanoseconds.
type Totals = BTreeMap<String, (u64, u64)>;

/// The complaints of Perfetto's engine: what it could not read, and what it dropped.
const COMPLAINTS: &str = "select name, value from stats where severity in ('error', 'data_loss') and value > 0";

#[test]
fn the_engine_of_perfettos_viewer_takes_all_of_a_full_ring() {
    let Some(engine) = perfetto::engine() else { return };
    let path = file("perfetto.json");
    let server = Program::start(&["--trace", path.to_str().unwrap()]);
    load(&server);
    // Written once in between, so that the record of it is there.
    server.signal(Signal::USR2);
    server.stderr.skip_to("wrote the trace");
    talk(&server);
    assert_eq!(server.terminate().code, Some(0));

    let whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(whole["otherData"]["records"], trace::RECORDS_MAX);
    assert!(whole["otherData"]["overwritten"].as_u64().unwrap() > 0, "the ring is to be full");
    let entries = whole["traceEvents"].as_array().unwrap();
    let of_kind = |ph: &'static str| entries.iter().filter(move |entry| entry["ph"] == ph);
    let mut written = Totals::new();
    for entry in of_kind("X").chain(of_kind("i")) {
        let total = written.entry(entry["name"].as_str().unwrap().to_owned()).or_default();
        total.0 += 1;
        total.1 += (entry["dur"].as_f64().unwrap_or(0.0) * 1000.0).round() as u64;
    }
    let queue = of_kind("C").map(|entry| entry["args"]["connections"].as_u64().unwrap());
    let tracks = of_kind("M").filter(|entry| entry["name"] == "thread_name");

    let rows = perfetto::ask(
        &engine,
        &path,
        &[
            COMPLAINTS,
            "select name, count(*) as number, sum(dur) as lasted from slice group by name",
            "select sum(extract_arg(arg_set_id, 'args.read')) as read, sum(extract_arg(arg_set_id, 'args.sent')) as sent \
             from slice where name glob 'drive: *'",
            "select count(*) as number, sum(value) as total from counter join counter_track on track_id = \
             counter_track.id where counter_track.name = 'ready queue connections'",
            "select name from thread where tid > 0 order by tid",
            "select name from process where pid = 1",
            // What lies within what: whatever else does would be drawn below something that it is no part of.
            "select distinct outer.name as outer, inner.name as inner from slice as inner join slice as outer \
             on inner.parent_id = outer.id order by 1, 2",
        ],
    );
    assert_eq!(rows[0], Vec::<Value>::new(), "complaints");
    let number = |row: &Value, column: &str| row[column].as_u64().unwrap();
    let read = |row: &Value| (row["name"].as_str().unwrap().to_owned(), (number(row, "number"), number(row, "lasted")));
    assert_eq!(rows[1].iter().map(read).collect::<Totals>(), written);
    for name in ["poll", "turn", "edge", "receive", "send", "drive: wait", "drive: finished", "trace written"] {
        assert!(written.contains_key(name), "{name} does not occur in {:?}", written.keys());
    }
    let moved = (number(&rows[2][0], "read"), number(&rows[2][0], "sent"));
    assert_eq!(moved, (sum(entries, "drive", "read"), sum(entries, "drive", "sent")));
    assert_eq!(
        (number(&rows[3][0], "number"), rows[3][0]["total"].as_f64().unwrap() as u64),
        (queue.clone().count() as u64, queue.sum())
    );
    let names: Vec<&Value> = rows[4].iter().map(|row| &row["name"]).collect();
    assert_eq!(names, tracks.map(|entry| &entry["args"]["name"]).collect::<Vec<_>>());
    assert_eq!(rows[5][0]["name"], "loop 0");
    for row in &rows[6] {
        let (outer, inner) = (row["outer"].as_str().unwrap(), row["inner"].as_str().unwrap());
        let belongs = match inner {
            "receive" | "send" => outer.starts_with("datagrams: "),
            // The loop's own, which are those of the signals, are reported by the poll.
            "edge" => outer == "poll",
            "trace written" => outer == "turn",
            _ => false,
        };
        assert!(belongs, "{inner} lies within {outer}");
    }
}

/// So that silence means something.
#[test]
fn the_engine_of_perfettos_viewer_complains_of_what_overlaps() {
    let Some(engine) = perfetto::engine() else { return };
    let path = file("overlapping.json");
    let slice = |ts, dur| format!(r#"{{"name":"drive","ph":"X","ts":{ts},"dur":{dur},"pid":1,"tid":10,"args":{{}}}}"#);
    fs::write(&path, format!(r#"{{"traceEvents":[{},{}]}}"#, slice(10.0, 10.0), slice(15.0, 10.0))).unwrap();
    let rows = perfetto::ask(&engine, &path, &[COMPLAINTS]);
    assert_eq!(rows[0].len(), 1, "{rows:?}");
}
