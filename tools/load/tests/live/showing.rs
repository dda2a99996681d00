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
