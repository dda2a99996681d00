//! The shape of the load over real sockets: sizes, lines of a file, late messages, and how a send is waited for.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::servers::{DatagramServer, RealServer, StreamServer, measure, run, upper_case};

/// A file that ends with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, contents: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("shout-load-{}-{name}", std::process::id()));
        std::fs::write(&path, contents).unwrap();
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_mix_of_sizes_is_verified_and_told_apart_over_both_transports() {
    let server = RealServer::start();
    for scheme in ["udp", "tcp"] {
        for load in [&["-p", "64"][..], &["-p", "16", "-c", "3"], &["-R", "20k"], &["-p", "8", "--gso", "off"]] {
            let target = format!("{scheme}://{}", server.address);
            let mix = "mix:64=70,512=25,1400=5";
            let (run, code) =
                measure(&[&[&target, "-n", "3000", "-w", "50ms", "-s", mix, "--seed", "5"], load].concat());
            assert_eq!((run.counts.replied, run.counts.wrong, code), (3000, 0, 0), "{scheme} {load:?}");
            assert_eq!(run.config.size, mix);
            let sizes: Vec<usize> = run.per_size.iter().map(|row| row.from).collect();
            assert_eq!(sizes, [64, 512, 1400]);
            let sum = |of: fn(&shout_load::report::by_size::BySize) -> u64| run.per_size.iter().map(of).sum::<u64>();
            assert_eq!((sum(|row| row.sent), sum(|row| row.replied), sum(|row| row.response.n)), (3000, 3000, 3000));
            let bytes = sum(|row| row.sent * row.from as u64);
            assert_eq!((run.counts.bytes_sent, run.counts.bytes_received), (bytes, bytes), "{scheme} {load:?}");
            assert!(run.per_size[0].sent > run.per_size[1].sent && run.per_size[1].sent > run.per_size[2].sent);
        }
    }
}

#[test]
fn datagrams_of_every_size_arrive_whole_whatever_train_they_left_in() {
    let lengths: Arc<Mutex<Vec<usize>>> = Arc::default();
    let seen = Arc::clone(&lengths);
    let server = DatagramServer::start(move |_, bytes, peer| {
        seen.lock().unwrap().push(bytes.len());
        vec![(peer, bytes.to_ascii_uppercase())]
    });
    let (run, code) = measure(&[&server.url(), "-n", "4000", "-w", "0", "-p", "64", "-s", "uniform:24-40"]);
    assert_eq!((run.counts.replied, code), (4000, 0));
    let lengths = lengths.lock().unwrap();
    assert_eq!(lengths.len(), 4000);
    assert!((24..=40).all(|size| lengths.contains(&size)), "every size there is");
    assert_eq!(run.counts.bytes_sent, lengths.iter().sum::<usize>() as u64);
}

#[test]
fn a_wrong_answer_among_sizes_is_named_and_ends_with_code_5() {
    let server = DatagramServer::start(|number, bytes, peer| {
        let mut answer = bytes.to_ascii_uppercase();
        match number % 10 {
            3 => answer.truncate(20),
            7 => answer[20] ^= 1,
            _ => {}
        }
        vec![(peer, answer)]
    });
    let (run, code) = measure(&[&server.url(), "-n", "1000", "-w", "0", "-p", "8", "-s", "mix:24=1,300=1"]);
    let counts = &run.counts;
    assert_eq!((counts.truncated, counts.corrupt, counts.replied, counts.lost, code), (100, 100, 800, 0, 5));
}

#[test]
fn the_lines_of_a_file_are_sent_as_they_are() {
    let file = File::new("lines.txt", "one\nstraße\nfour five six\n".as_bytes());
    let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let lines = Arc::clone(&seen);
    let server = DatagramServer::start(move |_, bytes, peer| {
        lines.lock().unwrap().push(bytes.to_vec());
        vec![(peer, bytes.to_ascii_uppercase())]
    });
    let (run, code) = measure(&[&server.url(), "-n", "7", "-w", "0", "--payload", file.path(), "-p", "4"]);
    assert_eq!((run.counts.replied, code), (7, 0));
    assert_eq!((run.config.pipeline, run.config.size.as_str()), (Some(1), "lines:3-13"), "no line says which it is");
    assert_eq!(run.config.payload.as_deref(), Some(file.path()));
    let expected = ["one", "straße", "four five six", "one", "straße", "four five six", "one"].map(str::as_bytes);
    assert_eq!(*seen.lock().unwrap(), expected);

    let server = StreamServer::start(2, upper_case);
    let (run, code) = measure(&[&server.url(), "-n", "500", "-w", "0", "-c", "2", "-p", "8", "--payload", file.path()]);
    assert_eq!((run.counts.replied, run.config.pipeline, code), (500, Some(8), 0));
    assert_eq!(run.per_size.iter().map(|row| (row.from, row.to)).collect::<Vec<_>>(), [(3, 3), (4, 7), (8, 13)]);
}

#[test]
fn a_server_that_knows_more_than_ascii_is_found_out_by_a_line() {
    let file = File::new("unicode.txt", "straße\n".as_bytes());
    let server = DatagramServer::start(|_, bytes, peer| {
        vec![(peer, String::from_utf8_lossy(bytes).to_uppercase().into_bytes())]
    });
    let (run, code) = measure(&[&server.url(), "-n", "5", "-w", "0", "--payload", file.path()]);
    assert_eq!((run.counts.wrong, run.counts.replied, code), (5, 0, 5));
}

#[test]
fn a_file_that_cannot_be_sent_is_a_wrong_argument() {
    let (empty, gap) = (File::new("empty.txt", b""), File::new("gap.txt", b"one\n\ntwo\n"));
    let long = File::new("long.txt", &[&b"short\n"[..], &"x".repeat(65_508).into_bytes()].concat());
    for (target, path, named) in [
        ("udp://localhost", "/no/such/file", "cannot read it"),
        ("udp://localhost", empty.path(), "empty"),
        ("tcp://localhost", gap.path(), "line 2 has 0 bytes"),
        ("udp://localhost", long.path(), "line 2 has 65508 bytes"),
    ] {
        let output = run(&[target, "--payload", path]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(2), 1), "{stderr}");
        for part in [path, "--payload", named] {
            assert!(stderr.contains(part), "{stderr:?} does not name {part:?}");
        }
    }
}

#[test]
fn late_messages_are_shed_as_told_and_every_one_is_accounted_for() {
    // One answer in flight, each after 2 ms: 500 a second at most, of 2,000 that are asked for.
    let taken = Arc::new(AtomicU64::new(0));
    for late in ["queue", "shed:20ms", "cap:10"] {
        let counter = Arc::clone(&taken);
        counter.store(0, Ordering::Relaxed);
        let server = DatagramServer::start(move |_, bytes, peer| {
            counter.fetch_add(1, Ordering::Relaxed);
            // The load must exceed the server, so the server takes its time.
            std::thread::sleep(std::time::Duration::from_millis(2));
            vec![(peer, bytes.to_ascii_uppercase())]
        });
        let (run, _) = measure(&[
            &server.url(),
            "-R",
            "2k",
            "--arrivals",
            "const",
            "-d",
            "1s",
            "-w",
            "0",
            "-p",
            "1",
            "--late",
            late,
        ]);
        let counts = &run.counts;
        assert_eq!(
            (counts.scheduled, run.config.late.as_deref()),
            (2000, Some(late.replace("20ms", "0.02s").as_str()))
        );
        assert_eq!(counts.sent, taken.load(Ordering::Relaxed), "{late}");
        let left = counts.scheduled - counts.sent - counts.shed;
        match late {
            "queue" => assert!(counts.shed == 0 && left >= 1490, "{counts:?}"),
            // Some 40 and 10 are left; the rest is for a generator that had no processor when the end came.
            _ => assert!(left < counts.shed, "{late}: {counts:?}"),
        }
        if late != "queue" {
            assert_eq!(run.loss.all_in["99.9"], None, "{late}: most of the schedule has no answer");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn on_a_single_processor_nobody_spins() {
    let server = RealServer::start();
    let target = format!("udp://{}", server.address);
    // A process may run where the thread that started it may.
    assert!(shout_load::host::pin(None, shout_load::host::processors()[0]));
    for pace in ["hybrid", "spin"] {
        let (run, code) = measure(&[&target, "-R", "500", "-d", "200ms", "-w", "0", "--pace", pace]);
        let spun = run.generator.and_then(|generator| generator.spun_ns);
        assert_eq!((run.config.pace.as_str(), run.env.cores, spun, code), ("sleep", 1, Some(0), 0));
    }
}

#[test]
fn a_run_says_how_it_waited_and_what_that_cost() {
    let server = RealServer::start();
    let target = format!("echo://{}", server.address);
    let processors = std::thread::available_parallelism().unwrap().get();
    for pace in ["hybrid", "sleep", "spin"] {
        let (run, code) = measure(&[&target, "-R", "500", "-d", "500ms", "-w", "0", "--pace", pace]);
        assert_eq!(code, 0);
        let expected = if processors > 1 { pace } else { "sleep" };
        assert_eq!(run.config.pace, expected);
        let Some(generator) = run.generator else { continue }; // a system that does not tell
        let spun = generator.spun_ns.unwrap();
        let share = |time: u64| time as f64 / generator.wall_ns as f64;
        if let Some(check) = run.validity.checks.iter().find(|check| check.id == "own_cpu") {
            let busy = share(generator.cpu_ns.saturating_sub(spun));
            assert!(check.value <= busy + 0.01, "{pace}: waiting is headroom, so {} is at most {busy}", check.value);
        }
        match expected {
            "sleep" => assert_eq!(spun, 0),
            "spin" => assert!(spun > 0 && spun <= generator.wall_ns),
            // On a crowded machine it may be late for every send, and then never spins.
            _ => assert!(spun <= generator.wall_ns),
        }
    }
}
