//! Several trials on the same connections: the commands as a script meets them.

use crate::servers::{RealServer, StreamServer, run, upper_case};
use serde_json::Value;

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
    let answer = &search["answer"];
    // The goal is one that everybody meets: if not the range, then on a busy machine the generator was the limit.
    assert!(answer["lower"].as_f64().unwrap() >= 400.0 && answer["upper"].is_null(), "{answer}");
    assert!(["range", "generator"].contains(&answer["limit"].as_str().unwrap()), "{answer}");
    let text = String::from_utf8(run(&[&["search", &url], &arguments[..]].concat()).stdout).unwrap();
    assert!(text.contains("not below") && text.contains("95% confidence"), "{text}");
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
