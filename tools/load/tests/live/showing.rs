//! A run as it is shown and saved: its intervals, and the files made of them.

use crate::servers::{DatagramServer, RealServer, measure, run};
use hdrhistogram::Histogram;
use shout_load::report::document::Document;
use shout_load::report::intervals::Interval;

fn folder() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn sum(intervals: &[Interval]) -> Histogram<u64> {
    intervals.iter().fold(shout_load::recorder::histogram(), |mut sum, interval| {
        sum.add(interval.histogram().unwrap()).unwrap();
        sum
    })
}

#[test]
fn the_intervals_of_a_run_add_up_to_it_exactly() {
    let server = RealServer::start();
    let target = format!("echo://{}", server.address);
    for load in [&["-R", "4k"][..], &["-p", "2"]] {
        let (run, code) = measure(&[&[&target, "-n", "2000", "-w", "20ms", "-i", "50ms"], load].concat());
        assert_eq!(code, 0);
        assert_eq!(sum(&run.intervals), run.latency.response.histogram().unwrap(), "{load:?}");
        let total = |part: fn(&Interval) -> u64| run.intervals.iter().map(part).sum::<u64>();
        assert_eq!((total(|one| one.sent), total(|one| one.replied)), (2000, 2000), "{load:?}");
        assert_eq!(total(|one| one.lost), run.counts.lost);
        let mut end = 0;
        for interval in &run.intervals {
            assert_eq!(interval.t_ns, end, "no gap and no overlap");
            end += interval.len_ns;
        }
        assert!(end >= run.time.measured_ns);
    }
}

#[test]
fn losses_stand_in_the_interval_in_which_they_were_noticed() {
    let server = DatagramServer::start(
        |number, request, peer| {
            if number == 3 { vec![] } else { vec![(peer, request.to_ascii_uppercase())] }
        },
    );
    let arguments = [&server.url(), "-n", "50", "-w", "0", "-R", "500", "-i", "20ms", "--timeout", "150ms"];
    let (run, _) = measure(&arguments);
    let at = run.intervals.iter().position(|interval| interval.lost == 1).unwrap();
    assert_eq!(run.intervals.iter().map(|interval| interval.lost).sum::<u64>(), 1);
    assert!(run.intervals[at].t_ns + run.intervals[at].len_ns >= 150_000_000, "before its deadline");
}

#[test]
fn ndjson_and_csv_hold_the_same_intervals_as_the_json() {
    let server = RealServer::start();
    let target = format!("udp://{}", server.address);
    let [json, ndjson, csv] = ["series.json", "series.ndjson", "series.csv"].map(|name| folder().join(name));
    let [a, b, c] = [&json, &ndjson, &csv].map(|path| path.to_str().unwrap());
    let output = run(&[&target, "-n", "600", "-R", "4k", "-w", "0", "-i", "30ms", "-o", a, "-o", b, "-o", c]);
    assert!(output.status.success());
    let read = |path| std::fs::read_to_string(path).unwrap();
    let document: Document = serde_json::from_str(&read(&json)).unwrap();
    assert!(document.intervals.len() >= 4);
    let lines: Vec<Interval> = read(&ndjson).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, document.intervals);
    let table = read(&csv);
    let mut rows = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = rows.next().unwrap();
    let column = |name| header.iter().position(|field| *field == name).unwrap();
    for (row, interval) in rows.zip(&document.intervals) {
        assert_eq!(row[column("t_ns")], interval.t_ns.to_string());
        assert_eq!(row[column("replied")], interval.replied.to_string());
        assert_eq!(row[column("p99")], interval.p99.map_or_else(String::new, |value| value.to_string()));
    }
    assert_eq!(table.lines().count(), 1 + document.intervals.len());
}

/// A run of two datagrams lost and the rest answered, as JSON and as a page.
fn saved(name: &str) -> [std::path::PathBuf; 2] {
    let server =
        DatagramServer::start(
            |number, request, peer| {
                if number % 100 == 50 { vec![] } else { vec![(peer, request.to_ascii_uppercase())] }
            },
        );
    let files = ["json", "html"].map(|kind| folder().join(format!("{name}.{kind}")));
    let [json, html] = files.each_ref().map(|path| path.to_str().unwrap());
    let url = server.url();
    let load = ["-n", "200", "-R", "2k", "-w", "0", "-i", "20ms", "--timeout", "100ms", "-o", json, "-o", html];
    assert!(run(&[&[url.as_str()], &load[..]].concat()).status.success());
    files
}

#[test]
fn a_report_of_a_saved_run_says_what_the_run_said() {
    let [json, html] = saved("again");
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let original: Document = serde_json::from_str(&read(&json)).unwrap();
    for input in [&json, &html] {
        let kinds = ["json", "html", "ndjson", "csv", "hgrm"];
        let copies = kinds.map(|kind| folder().join(format!("copy.{kind}")).to_str().unwrap().to_owned());
        let mut arguments = vec!["report", input.to_str().unwrap()];
        arguments.extend(copies.iter().flat_map(|copy| ["-o", copy.as_str()]));
        let output = run(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let screen = String::from_utf8(output.stdout).unwrap();
        assert_eq!(screen, shout_load::report::screen::text(&original), "from {}", input.display());
        assert_eq!(serde_json::from_str::<Document>(&read(copies[0].as_ref())).unwrap(), original);
        assert_eq!(read(copies[1].as_ref()), read(&html), "a page of a page is the same page");
        assert!(read(copies[4].as_ref()).contains(&format!("Total count    = {:12}]", original.counts.replied)));
    }
}

#[test]
fn what_is_no_run_is_refused_in_one_line() {
    let [absent, other, newer] = ["absent.json", "other.html", "newer.json"].map(|name| folder().join(name));
    std::fs::write(&other, "<p>hello</p>").unwrap();
    std::fs::write(&newer, r#"{"schema":"shout-load/9"}"#).unwrap();
    for (path, named) in [(absent, "cannot read"), (other, "not a run"), (newer, "shout-load/9")] {
        let output = run(&["report", path.to_str().unwrap()]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len(), stderr.lines().count()), (Some(1), 0, 1), "{stderr}");
        assert!(stderr.contains(named) && stderr.contains(path.to_str().unwrap()), "{stderr}");
    }
}

#[test]
fn the_page_asks_for_nothing_from_outside() {
    let [_, html] = saved("alone");
    let page = std::fs::read_to_string(html).unwrap();
    for reference in ["http:", "https:", " src=", "url(", "@import", "fetch("] {
        assert!(!page.contains(reference), "{reference}");
    }
    assert_eq!(page.matches(" href=").count(), page.matches("href=\"data:,\"").count());
}

/// A browser of this machine, and a reason why not.
fn chromium() -> Option<std::process::Command> {
    let path = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
        .into_iter()
        .find(|path| std::path::Path::new(path).exists());
    let Some(path) = path else {
        eprintln!("skipped: there is no Chromium on this machine");
        return None;
    };
    let mut command = std::process::Command::new(path);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    Some(command)
}

/// The document as the browser has it after loading the page, with `script` run at its end.
fn in_chromium(html: &std::path::Path, name: &str, script: &str) -> Option<String> {
    let mut browser = chromium()?;
    let page = folder().join(format!("{name}-scripted.html"));
    let text = std::fs::read_to_string(html).unwrap();
    std::fs::write(&page, text.replace("</body>", &format!("<script>{script}</script></body>"))).unwrap();
    let profile = folder().join(format!("{name}-profile"));
    let _ = std::fs::remove_dir_all(&profile);
    browser.arg(format!("--user-data-dir={}", profile.display())).args(["--window-size=1280,2000", "--dump-dom"]);
    let output = browser.arg(format!("file://{}", page.display())).output().unwrap();
    let _ = std::fs::remove_dir_all(&profile);
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_page_works_in_a_browser() {
    let [json, html] = saved("browser");
    let run: Document = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    // Faults of the page's own script, and of this one, show up as a missing attribute.
    let script = "
        const seen = document.body.dataset;
        seen.lost = JSON.parse(document.getElementById('run').textContent).counts.lost;
        const heat = document.querySelector('.heat svg').getBoundingClientRect();
        const strip = document.querySelector('.loss svg').getBoundingClientRect();
        seen.aligned = heat.left === strip.left && heat.right === strip.right && heat.width > 600;
        seen.lines = document.querySelectorAll('.spectrum .line').length;
        const drawn = [...document.querySelectorAll('.line, .heat path, .area')];
        seen.drawn = drawn.every((path) => path.getTotalLength() > 0);
        const figure = document.querySelector('.timeline');
        figure.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight' }));
        seen.first = document.querySelector('output').textContent;
        figure.dispatchEvent(new PointerEvent('pointermove', { clientX: heat.right - 1 }));
        seen.last = document.querySelector('output').textContent;
        seen.cursors = document.querySelectorAll('.cursor').length;
        const sheet = [...document.querySelectorAll('*')].filter((one) => one.getBoundingClientRect().right > innerWidth);
        seen.overflow = sheet.length;";
    let Some(dom) = in_chromium(&html, "browser", script) else { return };
    let body = dom.split("<body").nth(1).unwrap().split('>').next().unwrap();
    for expected in
        ["data-lost=\"2\"", "data-aligned=\"true\"", "data-lines=\"3\"", "data-drawn=\"true\"", "data-overflow=\"0\""]
    {
        assert!(body.contains(expected), "{expected} is not in {body}");
    }
    assert!(body.contains("data-first=\"0.00 to 0.02 s: offered "), "{body}");
    let last = run.intervals.last().unwrap();
    let start = format!("data-last=\"{:.2} to ", last.t_ns as f64 / 1e9);
    assert!(body.contains(&start), "{start} is not in {body}");
    assert!(body.contains("data-cursors=\"4\""), "{body}");
}
