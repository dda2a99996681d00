//! The pages of several trials in a browser: the curve, the bounds, the comparison, the race.

use std::path::PathBuf;

use crate::page::assert_narrow;
use crate::servers::{DatagramServer, RealServer, run};
use crate::showing::{folder, in_chromium};
use serde_json::Value;
use shout_load::report::document::Document;
use shout_load::report::page::race::{self, Entrant, Heat, Race};
use shout_load::report::page::run_inside;

/// What a browser sees of a page: how many elements of each kind there are and can be seen, whether anything stands out to
/// the right, and the words under the heading.
const LOOK: &str = "
    const seen = document.body.dataset;
    const visible = (kind) => [...document.querySelectorAll(kind)].filter((one) => {
        const box = one.getBoundingClientRect();
        return box.width + box.height > 0 && getComputedStyle(one).visibility === 'visible';
    });
    // A mark is a line of no length with a round end.
    const marks = (kind) => [...document.querySelectorAll(kind)].filter((one) =>
        parseFloat(getComputedStyle(one).strokeWidth) > 3 && getComputedStyle(one).strokeLinecap === 'round');
    for (const kind of ['curve', 'spectrum', 'differences', 'rows']) seen[kind] = visible('.plot.' + kind).length;
    for (const kind of ['response', 'p50', 'knee', 'bound', 'allowed', 'service', 'interval'])
        seen[kind] = visible('.line.' + kind).length;
    for (const kind of ['between', 'floor']) seen[kind] = visible('.area.' + kind).length;
    seen.lost = marks('.mark.lost').length;
    seen.marks = marks('.mark').length;
    seen.ticks = visible('.plot .x').length > 1 && visible('.plot .y').length > 1;
    seen.words = [...document.querySelectorAll('.summary')].map((one) => one.textContent).join(' | ');
    const out = [...document.querySelectorAll('*')].filter((one) => one.getBoundingClientRect().right > innerWidth + 1);
    seen.out = out.filter((one) => !one.closest('.scroll')).length;
    seen.inside = JSON.parse(document.getElementById('run').textContent).schema;";

/// The attributes that the browser gave the body of the page, as text; `None` without a browser.
fn look(html: &std::path::Path, name: &str) -> Option<String> {
    let dom = in_chromium(html, name, LOOK)?;
    let body = dom.split("<body").nth(1).unwrap().split('>').next().unwrap().to_owned();
    assert!(body.contains("data-out=\"0\"") && body.contains("data-ticks=\"true\""), "{body}");
    Some(body)
}

fn assert_sees(body: &str, expected: &[(&str, usize)]) {
    for (kind, number) in expected {
        let attribute = format!("data-{kind}=\"{number}\"");
        assert!(body.contains(&attribute), "{attribute} is not in {body}");
    }
}

/// Runs a command that writes a page, and gives back the page and what is saved in it.
fn page_of(name: &str, arguments: &[&str]) -> (PathBuf, Value) {
    let html = folder().join(format!("{name}.html"));
    let output = run(&[arguments, &["-o", html.to_str().unwrap()]].concat());
    // Where other programs have all the processors, a search may find no bound, and says so in its exit code and its page.
    let is_undecided = name == "search" && output.status.code() == Some(4);
    assert!(output.status.success() || is_undecided, "{}", String::from_utf8_lossy(&output.stderr));
    let page = std::fs::read_to_string(&html).unwrap();
    for reference in ["http:", "https:", " src=", "url(", "@import", "fetch("] {
        assert!(!page.contains(reference), "{reference} asks for something from outside");
    }
    (html, serde_json::from_str(run_inside(&page).unwrap()).unwrap())
}

#[test]
fn the_page_of_a_sweep_shows_its_curve_and_its_knee() {
    let server = RealServer::start();
    let url = format!("udp://{}", server.address);
    let (html, saved) = page_of("sweep", &["sweep", &url, "--rates", "500:1500:500", "-d", "200ms"]);
    let Some(body) = look(&html, "sweep-wide") else { return };
    let knees = usize::from(saved["knee"].is_u64());
    assert_sees(&body, &[("curve", 1), ("response", 1), ("p50", 1), ("knee", knees), ("lost", 0), ("bound", 0)]);
    assert!(body.contains("data-inside=\"shout-load-sweep/1\"") && body.contains("knee"), "{body}");
    assert_narrow(&html, "sweep-narrow");
}

#[test]
fn the_page_of_a_search_shows_the_bounds_of_every_answer_and_what_was_lost() {
    // A server that is deaf to most of what comes faster than a message in 2 ms.
    let mut last = std::time::Instant::now();
    let server = DatagramServer::start(move |_, request, peer| {
        let now = std::time::Instant::now();
        let is_deaf = now.duration_since(last) < std::time::Duration::from_micros(300);
        last = now;
        if is_deaf { vec![] } else { vec![(peer, request.to_ascii_uppercase())] }
    });
    let url = server.url();
    let goals = ["--goal", "loss=20%,trial=50ms,sum=400ms", "--goal", "loss=99%,trial=50ms,sum=400ms"];
    let limits = ["--bounds", "500:8k", "--trial", "50ms", "--precision", "50%"];
    let (html, saved) = page_of("search", &[&["search", &url], &goals[..], &limits[..]].concat());
    let answers = saved["answers"].as_array().unwrap();
    let ends = |answer: &Value| ["lower", "upper"].iter().filter(|end| answer[**end].is_f64()).count();
    let Some(body) = look(&html, "search-wide") else { return };
    let bounds: usize = answers.iter().map(ends).sum();
    let between = answers.iter().filter(|answer| ends(answer) == 2 && answer["lower"] != answer["upper"]).count();
    let tried = saved["trials"].as_array().unwrap().len();
    // In the figure of latencies and in that of losses.
    assert_sees(
        &body,
        &[("curve", 2), ("bound", 2 * bounds), ("between", 2 * between), ("allowed", 2), ("lost", tried)],
    );
    assert!(answers.iter().all(|answer| body.contains(answer["aim"].as_str().unwrap())), "{body}");
    assert_narrow(&html, "search-narrow");
}

#[test]
fn the_page_of_a_comparison_shows_both_spectra_and_every_difference_above_the_noise() {
    let server = RealServer::start();
    let url = format!("udp://{}", server.address);
    let (html, saved) = page_of("compare", &["compare", &url, &url, "--blocks", "4", "--slice", "50ms"]);
    assert_eq!(saved["schema"], "shout-load-compare/1");
    let Some(body) = look(&html, "compare-wide") else { return };
    assert_sees(&body, &[("differences", 1), ("spectrum", 1), ("response", 1), ("service", 1)]);
    // On a busy machine there may be a part without an answer, and then nothing can be said, and nothing drawn.
    let known = |what: &str| saved["figures"].as_array().unwrap().iter().filter(|row| !row[what].is_null()).count();
    let (differences, floors) = (known("difference"), known("noise_floor"));
    assert_sees(&body, &[("interval", differences), ("marks", differences), ("floor", floors)]);
    for figure in ["p50", "p99", "rate"] {
        assert!(body.contains(&format!(" {figure}")), "{body}");
    }
    assert_narrow(&html, "compare-narrow");
}

#[test]
fn the_page_of_a_race_shows_everybody_under_every_load() {
    let server = RealServer::start();
    let run = run(&[&format!("udp://{}", server.address), "-n", "300", "-R", "3k", "-w", "0", "--json"]);
    let document: Document = serde_json::from_slice(&run.stdout).unwrap();
    let heat = |title: &str, fastest: f64| {
        let mut entrants = vec![
            Entrant::new("shout", Some([0.9 * fastest, fastest, 1.1 * fastest]), Some([0.2, 0.3, 0.4])),
            Entrant::new("naive-mio", Some([1.0; 3]), Some([1.0; 3])),
            Entrant::new("shout again", Some([fastest; 3]), Some([0.3; 3])),
        ];
        for entrant in &mut entrants {
            entrant.add(&document);
        }
        Heat { title: title.into(), table: "shout  1".into(), entrants }
    };
    let heats = [heat("UDP, 64 B, one source, 64 in flight", 4.0), heat("TCP, 64 B, one connection", 1.0)];
    let html = folder().join("race.html");
    let race = Race {
        title: "The race",
        setting: "3 rounds",
        legend: "p99: response time",
        reference: "naive-mio",
        favourite: "shout",
        heats: &heats,
    };
    let page = race::page(&race, "{\"schema\":\"shout-race/1\"}");
    std::fs::write(&html, page).unwrap();
    let Some(body) = look(&html, "race-wide") else { return };
    assert_sees(&body, &[("rows", 4), ("marks", 2 * 6), ("spectrum", 2), ("response", 2)]);
    assert_narrow(&html, "race-narrow");
}
