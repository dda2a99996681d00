//! The runs that a merged run was made of, as a table with bars over time. Pure: no I/O.

use super::plot::latency;
use super::sheet::{escape, note, table};
use crate::clock::SECOND;
use crate::report::document::Document;
use crate::report::merged::Part;
use crate::report::screen::{busy, count, micros};
use crate::verdict::Verdict;

/// Nothing for a run of one generator.
pub(super) fn part(run: &Document) -> String {
    let Some(merged) = &run.merged else { return String::new() };
    let head = ["run", "", "sending", "seed", "sent", "replied", "lost", "p50, µs", "p99, µs", "lag p99, µs", "cpu"];
    let text = format!(
        "In time: {}. Counts and histograms are sums, of which nothing was lost; intervals are put together where they \
         are closest to each other. Rates are those of the time in which all of them sent. {}",
        merged.in_time(),
        server(run)
    );
    table("merged", &head, merged.parts.iter().map(|part| row(run, part))) + &note(&escape(&text))
}

fn server(run: &Document) -> &'static str {
    if run.server.is_some() { "The server is the same for all, and its processor time is counted once." } else { "" }
}

fn row(run: &Document, part: &Part) -> Vec<String> {
    let (class, word) = match part.validity.verdict {
        Verdict::Valid => ("good", "valid"),
        Verdict::Suspect => ("doubt", "suspect"),
        Verdict::Invalid => ("bad", "invalid"),
    };
    let bad: Vec<&str> =
        part.validity.checks.iter().filter(|check| !check.ok).map(|check| check.why.as_str()).collect();
    let generator = part.generator.as_ref();
    let offered = part.config.rate.map_or_else(String::new, |rate| format!(", {} msg/s", count(rate as u64)));
    let late = part.time.start_unix_ns.saturating_sub(run.time.start_unix_ns);
    let whole = run.time.measured_ns.max(1) as f64;
    let [left, width] = [late, part.time.measured_ns].map(|nanos| 100.0 * nanos as f64 / whole);
    let interrupted = if part.time.interrupted { ", stopped before its time" } else { "" };
    vec![
        format!("{}<small>{}{offered}</small>", escape(&part.name), escape(part.host())),
        format!("<span class=\"badge {class}\" title=\"{}\">{word}</span>", escape(&bad.join("; "))),
        format!(
            "+{:.3} s for {}{interrupted}<i class=\"span\" style=\"margin-left:{left:.2}%;width:{width:.2}%\"></i>",
            late as f64 / SECOND as f64,
            latency(part.time.measured_ns)
        ),
        escape(&part.seed),
        count(part.counts.sent),
        count(part.counts.replied),
        count(part.counts.lost),
        micros(part.response.p50),
        micros(part.response.p99),
        micros(part.lag_p99),
        generator.map_or_else(|| "-".into(), |process| busy(process.cpu_ns, process.wall_ns)),
    ]
}
