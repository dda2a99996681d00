//! Several trials on the same connections: the commands as a script meets them.

use crate::schema;
use crate::servers::{DatagramServer, RealServer, StreamServer, run, upper_case};
use serde_json::Value;
use std::time::{Duration, Instant};

fn json(arguments: &[&str]) -> Value {
    let output = run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_sweep_has_a_point_for_each_rate_on_the_same_connections() {
    // Three connections are all that it ever accepts.
    let server = StreamServer::start(3, upper_case);
    let url = server.url();
    let sweep = json(&["sweep", &url, "-c", "3", "--rates", "500:1500:500", "-d", "300ms", "--json"]);
    let points = sweep["points"].as_array().unwrap();
    let offered: Vec<f64> = points.iter().map(|point| point["offered"].as_f64().unwrap()).collect();
    assert_eq!(offered, [500.0, 1000.0, 1500.0]);
    schema::assert_fits_sweep(&sweep);
    for point in points {
        assert!(point["response"]["n"].as_u64().unwrap() > 0 && point["reached"].is_string(), "{point}");
    }
}

#[test]
fn a_search_says_between_what_the_capacity_lies_or_why_not() {
    let server = RealServer::start();
    let url = format!("udp://{}", server.address);
    let arguments = ["--slo", "p90<30s,loss<50%", "--bounds", "500:2k", "--trial", "100ms", "--confirm", "400ms"];
    let search = json(&[&["search", &url, "--json"], &arguments[..]].concat());
    let answer = &search["answers"][0];
    // The goal is one that everybody meets: if not the range, then on a busy machine the generator was the limit.
    assert!(answer["lower"].as_f64().unwrap() >= 400.0 && answer["upper"].is_null(), "{answer}");
    assert!(["range", "generator"].contains(&answer["limit"].as_str().unwrap()), "{answer}");
    schema::assert_fits_search(&search);
    let text = String::from_utf8(run(&[&["search", &url], &arguments[..]].concat()).stdout).unwrap();
    assert!(text.contains("not below") && text.contains("95% confidence"), "{text}");
}

#[test]
fn several_goals_have_an_answer_each_and_bursts_of_loss_are_forgiven() {
    // Of each 200 datagrams it loses 10 in a row: at 1,000 a second a fifth of some trials and none of others.
    let server =
        DatagramServer::start(
            |number, request, peer| {
                if number % 200 < 10 { vec![] } else { vec![(peer, request.to_ascii_uppercase())] }
            },
        );
    let url = server.url();
    let goals = ["--goal", "loss=0,trial=50ms,sum=400ms", "--goal", "loss=60%,trial=50ms,sum=400ms"];
    let limits = ["--bounds", "200:1k", "--trial", "50ms", "--precision", "50%", "--seed", "7"];
    let output = run(&[&["search", &url, "--json"], &goals[..], &limits[..]].concat());
    let search: Value = serde_json::from_slice(&output.stdout).unwrap();
    schema::assert_fits_search(&search);
    let [clean, lossy] = [0, 1].map(|index| search["answers"][index].clone());
    let is_undecided = |answer: &Value| answer["lower"].is_null() && answer["upper"].is_null();
    let code = if is_undecided(&clean) || is_undecided(&lossy) { 4 } else { 0 };
    assert_eq!(output.status.code(), Some(code), "{search}");
    assert_eq!((&clean["aim"], &lossy["aim"]), (&goals[1].into(), &goals[3].into()));
    // On a busy machine the generator may be the limit, and then there may be no bound at all.
    if lossy["limit"] == "range" {
        let lower = lossy["lower"].as_f64().unwrap();
        let throughput = lossy["conditional_throughput"].as_f64().unwrap();
        assert!(lower > 190.0 && (0.4 * lower..=lower).contains(&throughput), "{lossy}");
    } else {
        assert!(["generator", "unclear"].contains(&lossy["limit"].as_str().unwrap()), "{lossy}");
    }
    let tried = search["trials"].as_array().unwrap();
    let series: Vec<&Value> = tried.iter().filter(|one| one["bad"].is_u64()).collect();
    assert!(!series.is_empty());
    for one in series {
        let losses = one["losses"].as_array().map_or(&[][..], Vec::as_slice);
        let bad = one["bad"].as_u64().unwrap();
        let allowed = if one["answer"] == 0 { 0.0 } else { 0.6 };
        let counted = losses.iter().filter(|loss| loss.as_f64().unwrap() > allowed).count();
        assert_eq!(counted as u64, bad, "{one}");
    }
}

/// A stage on connections that were served before measures silence as loss: a search must not end at the first burst.
#[test]
fn a_point_without_an_answer_is_lost_and_not_the_end_of_a_sweep() {
    // The warm-up alone takes half a second, and is about 500 messages: some of it is answered, and the last point lies whole
    // in the silence, however slow the machine is.
    let first = std::sync::OnceLock::new();
    let server = DatagramServer::start(move |number, request, peer| {
        let is_silent = first.get_or_init(Instant::now).elapsed() > Duration::from_secs(1) && number >= 400;
        if is_silent { vec![] } else { vec![(peer, request.to_ascii_uppercase())] }
    });
    let sweep = json(&["sweep", &server.url(), "--rates", "100:600:100", "-d", "200ms", "--json"]);
    let points = sweep["points"].as_array().unwrap();
    let last = points.last().unwrap();
    assert!(points.len() == 6 && last["lost"].as_u64() > Some(0) && last["sent"] == last["lost"], "{sweep}");
}

#[test]
fn a_server_that_answers_wrongly_has_no_capacity_and_wins_no_comparison() {
    let wrong = |number: usize, request: &[u8]| {
        if number % 10 == 5 { request.to_ascii_lowercase() } else { request.to_ascii_uppercase() }
    };
    let server = DatagramServer::start(move |number, request, peer| vec![(peer, wrong(number, request))]);
    let url = server.url();
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("wrong.json");
    for arguments in [
        &["search", &url, "--bounds", "500:1k", "--trial", "50ms", "--confirm", "100ms"][..],
        &["sweep", &url, "--rates", "500:1k:500", "-d", "50ms"],
        &["compare", &url, &url, "--blocks", "4", "--slice", "50ms", "--max-regress", "1%"],
    ] {
        let output = run(&[arguments, &["-o", file.to_str().unwrap()]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(5), "{arguments:?}: {text}");
        assert!(text.contains("WRONG BYTES"), "{text}");
        let saved: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        std::fs::remove_file(&file).unwrap();
        let wrong = saved["wrong"].as_u64().unwrap_or_else(|| saved["a"]["wrong"].as_u64().unwrap());
        assert!(wrong > 0, "{saved}");
    }
}

#[test]
fn a_page_of_a_sweep_is_whole_and_holds_the_sweep() {
    let server = RealServer::start();
    let page = std::env::temp_dir().join(format!("shout-load-sweep-{}.html", std::process::id()));
    let url = format!("udp://{}", server.address);
    let output = run(&["sweep", &url, "--rates", "500:1k:500", "-d", "200ms", "-o", page.to_str().unwrap()]);
    assert!(String::from_utf8(output.stdout).unwrap().contains("wrote"));
    let html = std::fs::read_to_string(&page).unwrap();
    std::fs::remove_file(&page).unwrap();
    assert!(html.contains("line response") && html.ends_with("</html>\n"));
    let inside: Value = serde_json::from_str(shout_load::report::page::run_inside(&html).unwrap()).unwrap();
    assert_eq!(inside["schema"], "shout-load-sweep/1");
}

#[test]
fn what_cannot_be_searched_or_swept_is_refused_in_a_line() {
    for (arguments, named) in [
        (&["search", "udp://localhost", "--slo", "rate>5k"][..], "'rate>5k'"),
        (&["search", "udp://localhost", "--bounds", "5k:1k"], "'5k:1k'"),
        (&["search", "udp://localhost", "--precision", "90%"], "'90%'"),
        (&["search", "udp://localhost", "--goal", "loss<1%"], "'loss<1%' for '--goal"),
        (&["search", "udp://localhost", "--goal", "loss=0,sum=2s"], "'loss=0,sum=2s' for '--goal"),
        (&["sweep", "udp://localhost", "--rates", "1k"], "'1k'"),
        (&["sweep", "udp://localhost", "--rates", "1:1m:1"], "'1:1m:1'"),
        (&["sweep", "udp://localhost", "-o", "x.hgrm"], "'x.hgrm'"),
    ] {
        let output = run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(named) && stderr.lines().count() == 1, "{stderr}");
    }
}

#[test]
fn two_live_servers_are_compared_in_turns_with_the_noise_floor_of_the_machine() {
    let compare = json(&["compare", "--blocks", "4", "--slice", "50ms", "--json"]);
    let figures = compare["figures"].as_array().unwrap();
    let names: Vec<&str> = figures.iter().map(|figure| figure["figure"].as_str().unwrap()).collect();
    assert_eq!(names, ["p50", "p99", "rate"]);
    assert!(figures.iter().all(|figure| figure["noise_floor"].as_f64().unwrap() > 0.0), "{compare}");
    schema::assert_fits_compare(&compare);
    let [a, b] = ["a", "b"].map(|side| compare[side]["name"].as_str().unwrap().to_owned());
    assert!(a != b && a.starts_with("udp://127.0.0.1:"), "{a} and {b}");
}

/// A server that was started when the generator was bound to its processor already would share that one, and be much
/// faster or much slower for it.
#[test]
#[cfg(target_os = "linux")]
fn both_servers_of_a_comparison_may_use_the_same_processors_whoever_starts_them() {
    let program = env!("CARGO_BIN_EXE_shout-load");
    let lab = format!("exec {program} lab --listen 127.0.0.1:{{port}}");
    let short = ["--blocks", "4", "--slice", "50ms", "--json"];
    let of = |arguments: &[&str]| {
        let compare = json(&[&["compare"], arguments, &short[..]].concat());
        ["a", "b"].map(|side| serde_json::from_value::<Vec<usize>>(compare[side]["processors"].clone()).unwrap())
    };
    let here = shout_load::host::processors();
    let [a, b] = of(&["--exec-a", &lab, "--exec-b", &lab]);
    assert_eq!((&a, &b), (&here, &here), "commands are bound to nothing");
    let [a, b] = of(&[]);
    // Our own are bound to the first processor, and the generator to the last, where there are two.
    let own = if here.len() > 1 { vec![here[0]] } else { here };
    assert_eq!((&a, &b), (&own, &own));
}

#[test]
fn a_command_can_be_given_instead_of_a_target_and_one_that_fails_is_named() {
    let program = env!("CARGO_BIN_EXE_shout-load");
    let works = format!("exec {program} lab --listen 127.0.0.1:{{port}}");
    let slow = format!("{works} --delay 20ms/100%");
    let arguments = ["compare", "--exec-a", &works, "--exec-b", &slow, "--blocks", "6", "--slice", "100ms", "--json"];
    let output = run(&[&arguments[..], &["--max-regress", "50%"]].concat());
    let compare: Value = serde_json::from_slice(&output.stdout).unwrap();
    // A busy machine may spoil the comparison or drown the difference: then the gate is neither passed nor failed.
    let is_called = compare["figures"].as_array().unwrap().iter().any(|figure| figure["is_called"] == true);
    let code = if compare["is_sound"] == true && is_called { 3 } else { 4 };
    assert_eq!(output.status.code(), Some(code), "{compare}");
    // It is measured all the same, a thousandfold here.
    assert!(compare["figures"][0]["difference"]["by"].as_f64().unwrap() > 10.0, "{compare}");
    schema::assert_fits_compare(&compare);
    let output = run(&["compare", "--exec-a", "exit 7 {port}", "--exec-b", &works]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("'exit 7 {port}'") && stderr.lines().count() == 1, "{stderr}");
}

#[test]
fn two_saved_runs_are_compared_and_must_have_been_made_alike() {
    let server = RealServer::start();
    let url = format!("udp://{}", server.address);
    let directory = std::env::temp_dir().join(format!("shout-load-compare-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    for (name, depth) in [("a.json", "2"), ("b.html", "2"), ("c.json", "3")] {
        let file = path(name);
        let made = run(&["run", &url, "-p", depth, "-d", "300ms", "-i", "20ms", "-w", "50ms", "-o", &file]);
        assert_eq!(made.status.code(), Some(0));
    }
    let page = path("page.html");
    let output = run(&["compare", &path("a.json"), &path("b.html"), "-o", &page]);
    let text = String::from_utf8(output.stdout).unwrap();
    // On a busy machine a fifth of a second may be worth too few independent answers, and then that is said of p50.
    assert!(output.status.success() && text.contains(" p50"), "{text}");
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.contains("line response") && html.contains("line service"), "both spectra");
    let inside: Value = serde_json::from_str(shout_load::report::page::run_inside(&html).unwrap()).unwrap();
    schema::assert_fits_compare(&inside);
    let output = run(&["compare", &path("a.json"), &path("c.json")]);
    std::fs::remove_dir_all(&directory).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && stderr.contains("another pipeline depth: 2 and 3"), "{stderr}");
}
