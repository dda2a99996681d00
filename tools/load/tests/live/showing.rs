//! A run as it is shown and saved: its intervals, and the files made of them.

use crate::servers::{DatagramServer, RealServer, measure, run};
use hdrhistogram::Histogram;
use shout_load::report::document::Document;
use shout_load::report::intervals::Interval;

pub(crate) fn folder() -> &'static std::path::Path {
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

/// A run of two datagrams lost and the rest answered, as JSON and as a page. The timeout is long: on a busy machine, what
/// is answered would be late.
pub(crate) fn saved(name: &str) -> [std::path::PathBuf; 2] {
    let server =
        DatagramServer::start(
            |number, request, peer| {
                if number % 100 == 50 { vec![] } else { vec![(peer, request.to_ascii_uppercase())] }
            },
        );
    let files = ["json", "html"].map(|kind| folder().join(format!("{name}.{kind}")));
    let [json, html] = files.each_ref().map(|path| path.to_str().unwrap());
    let url = server.url();
    let load = [
        "-n",
        "200",
        "-R",
        "2k",
        "-w",
        "0",
        "-i",
        "20ms",
        "--timeout",
        "1s",
        "--stamps",
        "1/1",
        "-o",
        json,
        "-o",
        html,
    ];
    assert!(run(&[&[url.as_str()], &load[..]].concat()).status.success());
    files
}

#[test]
fn a_report_of_a_saved_run_says_what_the_run_said() {
    let [json, html] = saved("again");
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let original: Document = serde_json::from_str(&read(&json)).unwrap();
    for input in [&json, &html] {
        let kinds = ["json", "html", "ndjson", "csv", "hgrm", "hlog"];
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
pub(crate) fn in_chromium(html: &std::path::Path, name: &str, script: &str) -> Option<String> {
    in_chromium_with(html, name, script, &["--window-size=1280,2000"])
}

/// The same with further flags of the browser.
pub(crate) fn in_chromium_with(html: &std::path::Path, name: &str, script: &str, flags: &[&str]) -> Option<String> {
    let mut browser = chromium()?;
    let page = folder().join(format!("{name}-scripted.html"));
    let text = std::fs::read_to_string(html).unwrap();
    std::fs::write(&page, text.replace("</body>", &format!("<script>{script}</script></body>"))).unwrap();
    let profile = folder().join(format!("{name}-profile"));
    let _ = std::fs::remove_dir_all(&profile);
    browser.arg(format!("--user-data-dir={}", profile.display())).arg("--dump-dom").args(flags);
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
        // The last interval may be a few microseconds long, and then it is far less than a pixel wide.
        figure.dispatchEvent(new PointerEvent('pointermove', { clientX: heat.right - 0.001 }));
        seen.last = document.querySelector('output').textContent;
        seen.cursors = document.querySelectorAll('.cursor').length;
        const sheet = [...document.querySelectorAll('*')].filter((one) => one.getBoundingClientRect().right > innerWidth);
        // What is wider than its frame on purpose can be scrolled there.
        seen.overflow = sheet.filter((one) => !one.closest('.scroll')).length;
        seen.width = document.documentElement.scrollWidth <= innerWidth;
        const rows = (part) => document.querySelectorAll(part + ' tbody tr').length;
        seen.checks = rows('.checks');
        seen.worst = rows('.worst');
        const widths = [...document.querySelectorAll('.stack')].map((bar) =>
            [...bar.children].reduce((sum, part) => sum + part.getBoundingClientRect().width, 0)
                / bar.getBoundingClientRect().width);
        seen.stacks = widths.length > 0 && widths.every((width) => width > 0.98 && width < 1.02);
        seen.causes = [...document.querySelectorAll('.bars dt')].map((name) => name.textContent).join();";
    let Some(dom) = in_chromium(&html, "browser", script) else { return };
    let body = dom.split("<body").nth(1).unwrap().split('>').next().unwrap();
    for expected in [
        "data-lost=\"2\"",
        "data-aligned=\"true\"",
        "data-drawn=\"true\"",
        "data-overflow=\"0\"",
        "data-width=\"true\"",
    ] {
        assert!(body.contains(expected), "{expected} is not in {body}");
    }
    assert!(body.contains("data-first=\"0.00 to 0.02 s: offered "), "{body}");
    let last = run.intervals.last().unwrap();
    let start = format!("data-last=\"{:.2} to ", last.t_ns as f64 / 1e9);
    assert!(body.contains(&start), "{start} is not in {body}");
    // The heat map and its strips; response, service, lag and the floor under them.
    let strips = 3 + usize::from(run.server.is_some());
    assert!(body.contains(&format!("data-cursors=\"{}\"", 1 + strips)), "{body}");
    assert!(body.contains(&format!("data-lines=\"{}\"", 3 + usize::from(run.floor.is_some()))), "{body}");
    assert!(body.contains(&format!("data-checks=\"{}\"", run.validity.checks.len())), "{body}");
    assert!(body.contains(&format!("data-worst=\"{}\"", run.outliers.len())) && run.outliers.len() == 100, "{body}");
    assert!(body.contains("data-causes=\"no trace on this machine,1 in a row\""), "{body}");
    let has_bars = run.per_transport["udp"].breakdown.as_ref().is_some_and(|one| !one.bands.is_empty());
    assert!(body.contains(&format!("data-stacks=\"{has_bars}\"")), "{body}");
}

/// What a reader found in an interval log: under each tag, how many histograms, how many values, and the largest.
type Found = std::collections::BTreeMap<String, (u64, u64, u64)>;

/// The log of a run, and what any reader should find in it.
fn logged(name: &str) -> (std::path::PathBuf, Found) {
    let [json, _] = saved(name);
    let log = folder().join(format!("{name}.hlog"));
    assert!(run(&["report", json.to_str().unwrap(), "-o", log.to_str().unwrap()]).status.success());
    let run: Document = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    let number = run.intervals.len() as u64;
    let latency = &run.latency;
    let parts = [("response", &latency.response), ("service", &latency.service), ("lag", &latency.lag)];
    (log, parts.map(|(tag, part)| (tag.to_owned(), (number, part.n, part.max))).into())
}

/// Runs a reader in another language, which prints a line of `Found` for each tag. `None` where it is not there.
fn found_by(program: &str, arguments: &[&str], log: &std::path::Path) -> Option<Found> {
    let output = std::process::Command::new(program).args(arguments).arg(log).output();
    let Some(output) = output.ok().filter(|output| output.status.code() != Some(77)) else {
        eprintln!("skipped: {program} or its HdrHistogram is not on this machine");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let found = text.lines().map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [count, values, max] = [1, 2, 3].map(|field| fields[field].parse().unwrap());
        (fields[0].to_owned(), (count, values, max))
    });
    Some(found.collect())
}

#[test]
fn the_log_reads_back_in_rust() {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    let (log, expected) = logged("rust");
    let text = std::fs::read_to_string(log).unwrap();
    assert!(text.starts_with("#[Histogram log format version 1.3]\n#[StartTime: "), "{text}");
    let mut found: std::collections::BTreeMap<String, (u64, Histogram<u64>)> = std::collections::BTreeMap::new();
    for entry in IntervalLogIterator::new(text.as_bytes()) {
        let LogEntry::Interval(interval) = entry.unwrap() else { continue };
        let bytes = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, interval.encoded_histogram()).unwrap();
        let histogram: Histogram<u64> =
            hdrhistogram::serialization::Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
        let tag = interval.tag().unwrap().as_str().to_owned();
        let entry = found.entry(tag).or_insert_with(|| (0, shout_load::recorder::histogram()));
        entry.0 += 1;
        entry.1.add(histogram).unwrap();
    }
    let found: Found = found.into_iter().map(|(tag, (number, sum))| (tag, (number, sum.len(), sum.max()))).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_log_reads_back_in_python() {
    const READER: &str = "
import sys
try:
    from hdrh.histogram import HdrHistogram
except ImportError:
    sys.exit(77)
found = {}
for line in open(sys.argv[1]):
    if line.startswith('#'):
        continue
    tag, _, _, _, encoded = line.strip().split(',')
    count, total = found.setdefault(tag[len('Tag='):], [0, HdrHistogram(1, 60_000_000_000, 3)])
    found[tag[len('Tag='):]][0] = count + 1
    total.add(HdrHistogram.decode(encoded))
for tag, (count, total) in found.items():
    print(tag, count, total.get_total_count(), total.get_max_value())
";
    let (log, expected) = logged("python");
    let Some(found) = found_by("python3", &["-c", READER], &log) else { return };
    assert_eq!(found, expected);
}

#[test]
fn the_log_reads_back_in_javascript() {
    const READER: &str = "
let hdr;
try { hdr = require('hdr-histogram-js'); } catch { process.exit(77); }
const found = {};
for (const line of require('fs').readFileSync(process.argv[1], 'utf8').split('\\n')) {
    if (!line || line.startsWith('#')) continue;
    const [tag, , , , encoded] = line.split(',');
    const one = hdr.decodeFromCompressedBase64(encoded);
    const entry = found[tag.slice('Tag='.length)] ??= [0, null];
    entry[0] += 1;
    if (entry[1]) entry[1].add(one); else entry[1] = one;
}
for (const [tag, [count, total]] of Object.entries(found)) console.log(tag, count, total.totalCount, total.maxValue);
";
    let (log, expected) = logged("javascript");
    let Some(found) = found_by("node", &["-e", READER, "--"], &log) else { return };
    assert_eq!(found, expected);
}

#[test]
fn a_run_of_several_intervals_ends_with_its_course() {
    let server = RealServer::start();
    let target = format!("udp://{}", server.address);
    let output = run(&[&target, "-d", "300ms", "-R", "2k", "-w", "0", "-i", "50ms"]);
    let screen = String::from_utf8(output.stdout).unwrap();
    let line = screen.lines().find(|line| line.contains(" us   lost ")).unwrap_or_else(|| panic!("{screen}"));
    let bars = |name: &str| line.split(name).nth(1).unwrap().split(' ').nth(1).unwrap().chars().count();
    assert!(bars("p50") >= 3 && bars("p50") == bars("p99") && line.contains("(0.05 s each)"), "{line}");
    assert!(output.stderr.is_empty(), "nothing is redrawn where there is no terminal");
}

#[test]
fn a_terminal_shows_how_it_goes_and_is_left_clean() {
    // A pseudo-terminal, whose output is copied to the standard output.
    const TERMINAL: &str = "
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
";
    let server = RealServer::start();
    let target = format!("udp://{}", server.address);
    let load = [target.as_str(), "-d", "1500ms", "-R", "1k", "-w", "0", "-i", "100ms"];
    let shown = |extra: &[&str]| {
        let mut command = std::process::Command::new("python3");
        command.args(["-c", TERMINAL, env!("CARGO_BIN_EXE_shout-load")]).args(load).args(extra);
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // The terminal itself puts a carriage return before each line feed.
        String::from_utf8(output.stdout).unwrap().replace("\r\n", "\n")
    };
    let text = shown(&[]);
    // Each time from the place where the cursor was left: at the end of the line, or of the histogram below it.
    let drawn: Vec<&str> = text.split("\u{1b}[J").collect();
    assert!(drawn.len() >= 4, "{text:?}");
    let last = drawn[drawn.len() - 2];
    assert!(last.starts_with("\u{1b}[?7ludp://") && last.contains(" s left  "), "{last:?}");
    assert!(last.contains("lost 0 (0%)\n  p50 ") && last.contains(" us  p99 ") && last.contains(" .. "), "{last:?}");
    let (rows, up) = last.trim_end_matches('A').rsplit_once("\u{1b}[").unwrap();
    assert!(rows.ends_with("\u{1b}[?7h\r"), "a narrow terminal would wrap {last:?}");
    assert_eq!(rows.matches('\n').count().to_string(), up, "the histogram is drawn over itself");
    assert!(drawn[drawn.len() - 1].starts_with("shout-load "), "the view is gone before the result is printed");
    assert!(!shown(&["--quiet"]).contains('\u{1b}'));
}
