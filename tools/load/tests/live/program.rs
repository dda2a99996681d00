//! The program as a person or a script meets it: arguments, results, files, interrupts, and a server of its own.

use std::process::Stdio;
use std::sync::mpsc;

use crate::servers::{DatagramServer, RealServer, command, measure, run};
use rustix::process::{Pid, Signal, kill_process};
use shout_load::report::document::Document;

#[test]
fn a_wrong_argument_gets_one_line_that_names_it_and_exit_code_2() {
    for (arguments, named) in [
        (&["udp://localhost", "-c", "0"][..], &["'0'", "--connections"][..]),
        (&["localhost:12000"], &["'localhost:12000'", "udp://"]),
        (&["run", "udp://localhost", "-R", "fast"], &["'fast'", "--rate"]),
        (&["udp://localhost", "-d", "soon"], &["'soon'", "--duration"]),
        (&["udp://localhost", "-s", "65508"], &["'65508'", "--size", "65507"]),
        (&["tcp://localhost", "-s", "0"], &["'0'", "--size"]),
        (&["udp://localhost", "-s", "mix:64=1,64=2"], &["'mix:64=1,64=2'", "--size", "twice"]),
        (&["udp://localhost", "-s", "uniform:70-60"], &["'uniform:70-60'", "--size", "uniform:60-70"]),
        (&["udp://localhost", "--late", "shed"], &["--rate"]),
        (&["udp://localhost", "-R", "1k", "--late", "cap:0"], &["'cap:0'", "--late"]),
        (&["udp://localhost", "--pace", "fast"], &["'fast'", "--pace"]),
        (&["udp://localhost", "-n", "0"], &["'0'", "--requests"]),
        (&["udp://localhost", "--arrivals", "const"], &["--rate"]),
        (&["udp://localhost", "-o", "run.xls"], &["'run.xls'", "--output", ".json"]),
        (&["udp://localhost", "--seed", "seven"], &["'seven'", "--seed"]),
        (&["udp://localhost", "--slo", "speed<1ms"], &["'speed'", "--slo"]),
        (&["udp://localhost", "--slo", "p99<fast"], &["'p99<fast'", "--slo"]),
        (&["udp://localhost", "--max-regress", "5%"], &["--baseline"]),
        (&["udp://localhost", "--baseline", "b.json", "--max-regress", "five"], &["'five'", "--max-regress"]),
        (&["udp://localhost", "--until", "p99"], &["'p99'", "--until", "p99±2%"]),
        (&["udp://localhost", "--until", "p100±2%"], &["'p100±2%'", "--until", "below p100"]),
        (&["udp://localhost", "--until", "p99±2%", "-d", "5s"], &["--until", "--duration"]),
        (&["udp://localhost", "--until", "p99±2%", "--max-duration", "1s"], &["'1s'", "--max-duration", "3s"]),
        (&["udp://localhost", "--max-duration", "5s"], &["--until"]),
        (&["udp://localhost", "--repeat", "1"], &["'1'", "--repeat", "2 to 100"]),
        (&["udp://localhost", "--frobnicate"], &["'--frobnicate'"]),
    ] {
        let output = run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
        for name in named {
            assert!(stderr.contains(name), "{arguments:?} gave {stderr:?}, which does not name {name:?}");
        }
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn the_help_begins_with_examples_that_are_command_lines() {
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    let (examples, _) = help.split_once("\n\n").unwrap();
    let mut lines = examples.lines();
    assert_eq!(lines.next(), Some("Examples:"));
    for line in lines {
        let words = line.trim().split("  ").next().unwrap().split(' ').map(Into::into);
        shout_load::cli::read(words).unwrap_or_else(|_| panic!("{line:?} is no command line"));
    }
}

#[test]
fn without_a_target_it_loads_a_server_of_its_own_over_both_transports() {
    let output = run(&["-n", "2000", "-w", "100ms", "--json"]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let runs: Vec<Document> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let schemes: Vec<&str> = runs.iter().map(|run| &run.target.url[..6]).collect();
    assert_eq!(schemes, ["udp://", "tcp://"]);
    for run in &runs {
        assert_eq!((run.counts.sent, run.counts.replied, run.counts.wrong), (2000, 2000, 0));
        assert_eq!(run.latency.response.histogram().unwrap().len(), 2000);
        assert_eq!(run.seed, runs[0].seed);
        if cfg!(target_os = "linux") {
            let server = run.server.as_ref().unwrap();
            assert!(server.cpu_ns > 0 && server.cpu_ns_per_message > 0);
            assert!(!std::path::Path::new(&format!("/proc/{}", server.pid)).exists(), "the server outlived its run");
        }
    }
}

#[test]
fn the_servers_life_hangs_on_its_standard_input() {
    let mut server = RealServer::start();
    drop(server.lifeline.take());
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn echo_loads_both_transports_in_one_run() {
    let server = RealServer::start();
    let target = format!("echo://{}", server.address);
    for load in [&["-R", "5k"][..], &["-p", "2"]] {
        let (run, code) = measure(&[&[&target, "-n", "1500", "-w", "50ms", "-c", "2"], load].concat());
        assert_eq!((run.counts.sent, run.counts.replied, code), (1500, 1500, 0), "{load:?}");
        let [udp, tcp] = ["udp", "tcp"].map(|name| &run.per_transport[name]);
        assert!(udp.counts.replied > 0 && tcp.counts.replied > 0, "{load:?}");
        assert_eq!(udp.counts.replied + tcp.counts.replied, 1500);
        let mut sum = udp.latency.response.histogram().unwrap();
        sum.add(tcp.latency.response.histogram().unwrap()).unwrap();
        assert_eq!(sum, run.latency.response.histogram().unwrap(), "the parts add up to the whole, exactly");
        assert_eq!(run.server.is_some(), cfg!(target_os = "linux"), "found by its socket");
    }
}

#[test]
fn every_size_is_verified() {
    let server = RealServer::start();
    for scheme in ["udp", "tcp"] {
        let target = format!("{scheme}://{}", server.address);
        for size in ["0", "1", "2", "15", "16", "23", "24", "25", "1472", "65507", "300k"] {
            if (scheme == "tcp" && size == "0") || (scheme == "udp" && size == "300k") {
                continue;
            }
            let (run, code) = measure(&[&target, "-s", size, "-n", "40", "-p", "3", "-c", "2", "-w", "0"]);
            assert_eq!((run.counts.replied, run.counts.wrong, code), (40, 0, 0), "{scheme}, {size} bytes");
        }
    }
}

#[test]
fn a_message_longer_than_any_buffer_is_answered_before_it_has_left() {
    let server = RealServer::start();
    let target = format!("tcp://{}", server.address);
    let (run, code) =
        measure(&[&target, "-s", "12MiB", "-n", "4", "-p", "2", "-c", "1", "-w", "0", "--timeout", "60s"]);
    let counts = run.counts;
    assert_eq!((counts.replied, counts.wrong, counts.stray, code), (4, 0, 0, 0), "{counts:?}");
    assert!(counts.send_blocked > 0, "it went into the socket's buffer in one piece");
}

#[test]
fn the_screen_and_the_files_tell_of_the_same_run() {
    let server = DatagramServer::start(|_, request, peer| vec![(peer, request.to_ascii_uppercase())]);
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let [json, hgrm] = ["files.json", "files.hgrm"].map(|name| folder.join(name).to_str().unwrap().to_owned());
    let output = run(&[&server.url(), "-n", "1234", "-w", "0", "--seed", "C0FFEE", "-o", &json, "-o", &hgrm]);
    assert!(output.status.success());
    let screen = String::from_utf8(output.stdout).unwrap();
    for part in ["sent 1,234", "replied 1,234 (100%)", "closed loop", "seed C0FFEE", "every byte", &json, &hgrm] {
        assert!(screen.contains(part), "{part:?} is not in\n{screen}");
    }
    assert!(!screen.contains('\u{1b}'), "colours in a pipe");
    let document: Document = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!((document.schema.as_str(), document.counts.replied), ("shout-load/1", 1234));
    // What is drawn from the file is what was shown, up to the line about the files themselves.
    assert!(screen.starts_with(&shout_load::report::screen::text(&document)), "{screen}");
    let percentiles = std::fs::read_to_string(&hgrm).unwrap();
    assert!(percentiles.contains("Total count    =         1234"), "{percentiles}");
}

#[test]
fn a_seed_repeats_what_is_sent() {
    let requests = |seed: &str| {
        let (sender, receiver) = mpsc::channel();
        let server = DatagramServer::start(move |_, request, peer| {
            let _ = sender.send(request.to_vec());
            vec![(peer, request.to_ascii_uppercase())]
        });
        run(&[&server.url(), "-n", "20", "-w", "0", "--seed", seed]);
        drop(server);
        receiver.iter().collect::<Vec<_>>()
    };
    assert_eq!(requests("1F"), requests("1F"));
    assert_ne!(requests("1F"), requests("20"));
}

#[test]
fn an_interrupt_ends_the_run_with_a_report() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let (sender, under_load) = mpsc::channel();
        let server = DatagramServer::start(move |number, request, peer| {
            if number == 100 {
                let _ = sender.send(());
            }
            vec![(peer, request.to_ascii_uppercase())]
        });
        let arguments = [&server.url(), "-d", "10m", "-w", "0", "--json"];
        let child = command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        under_load.recv().unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code));
        let document: Document = serde_json::from_slice(&output.stdout).unwrap();
        assert!(document.time.interrupted && document.counts.replied > 90);
        assert_eq!(document.counts.sent, document.counts.replied, "what was under way was still waited for");
    }
}

#[test]
fn an_interrupted_warm_up_is_not_passed_off_as_a_measurement() {
    let (sender, under_load) = mpsc::channel();
    let server = DatagramServer::start(move |number, request, peer| {
        if number == 100 {
            let _ = sender.send(());
        }
        vec![(peer, request.to_ascii_uppercase())]
    });
    let mut command = command(&[&server.url(), "-d", "10m", "-w", "10m"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    under_load.recv().unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len(), stderr.lines().count()), (Some(130), 0, 1), "{stderr}");
    assert!(stderr.contains("warm-up"), "{stderr}");
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let server = DatagramServer::start(|_, request, peer| vec![(peer, request.to_ascii_uppercase())]);
    let mut child =
        command(&[&server.url(), "-n", "50", "-w", "0"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn a_plan_decides_how_much_is_sent_and_for_how_long() {
    let server = RealServer::start();
    let url = format!("echo://{}", server.address);
    let plan = "200ms@500,200ms@0,200ms@500-1500";
    let (document, code) = measure(&[&url, "--plan", plan, "--arrivals", "const", "-w", "50ms", "--timeout", "20s"]);
    // What a busy machine did not get round to within the plan's time stays unsent, and is still scheduled.
    assert_eq!((code, document.counts.scheduled), (0, 300));
    assert_eq!(document.counts.replied, document.counts.sent);
    assert_eq!(document.config.plan.as_deref(), Some("0.2s@500,0.2s@0,0.2s@500-1500"));
    assert_eq!((document.config.duration_ns, document.config.arrivals.as_deref()), (Some(600_000_000), Some("const")));
}

/// A disk that is full shows at the end of a run, when the run has been made.
#[test]
fn a_file_that_cannot_be_written_costs_that_file_alone() {
    let server = DatagramServer::start(|_, request, peer| vec![(peer, request.to_ascii_uppercase())]);
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let [full, good] = ["full.json", "not-full.json"].map(|name| folder.join(name));
    let _ = (std::fs::remove_file(&full), std::fs::remove_file(&good));
    if !std::path::Path::new("/dev/full").exists() {
        println!("skipped: there is no disk that is always full");
        return;
    }
    std::os::unix::fs::symlink("/dev/full", &full).unwrap();
    let [a, b] = [&full, &good].map(|path| path.to_str().unwrap());
    let output = run(&[&server.url(), "-n", "50", "-w", "0", "-o", a, "-o", b]);
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
    assert!(stderr.contains(a), "{stderr}");
    assert!(stdout.contains("replied 50 (100%)") && stdout.contains(&format!("  wrote {b}\n")), "{stdout}");
    let saved: Document = serde_json::from_str(&std::fs::read_to_string(&good).unwrap()).unwrap();
    assert_eq!(saved.counts.replied, 50);
}

#[test]
fn a_place_where_nothing_can_be_written_is_said_before_the_load() {
    let (sender, asked) = mpsc::channel();
    let server = DatagramServer::start(move |_, request, peer| {
        let _ = sender.send(());
        vec![(peer, request.to_ascii_uppercase())]
    });
    let folder = env!("CARGO_TARGET_TMPDIR");
    let directory = std::path::Path::new(folder).join("directory.json");
    std::fs::create_dir_all(&directory).unwrap();
    for place in ["/nonexistent/run.json", directory.to_str().unwrap()] {
        let output = run(&[&server.url(), "-n", "50", "-w", "0", "-o", place]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.lines().count(), output.stdout.len()), (Some(1), 1, 0), "{stderr}");
        assert!(stderr.contains(place), "{stderr}");
    }
    // Nor is a file left behind, or an old one harmed, where the run cannot be made.
    let kept = std::path::Path::new(folder).join("kept.json");
    let fresh = std::path::Path::new(folder).join("fresh.json");
    std::fs::write(&kept, "an earlier run").unwrap();
    let _ = std::fs::remove_file(&fresh);
    let (a, b) = (kept.to_str().unwrap(), fresh.to_str().unwrap());
    assert_eq!(run(&["tcp://127.0.0.1:1", "-n", "1", "-o", a, "-o", b]).status.code(), Some(1));
    assert_eq!((std::fs::read_to_string(&kept).unwrap().as_str(), fresh.exists()), ("an earlier run", false));
    drop(server);
    assert_eq!(asked.iter().count(), 0, "the load was begun");
}
