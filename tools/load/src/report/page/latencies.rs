//! Latencies as tables: of the whole, of each transport, and of each size. Pure: no I/O.

use std::fmt::Write;

use super::sheet::{note, table};
use crate::report::document::{Document, Latency, PERCENTILES};
use crate::report::screen::{count, micros, percent, percentile};

pub(super) fn tables(run: &Document) -> String {
    let latency = &run.latency;
    let mut rows = vec![cells("response", &latency.response)];
    rows.extend(all_in(run));
    rows.push(cells("service", &latency.service));
    rows.push(cells("lag", &latency.lag));
    rows.extend(latency.connect.iter().map(|connect| cells("connect", connect)));
    rows.extend(run.beside.iter().map(|beside| cells("connect, beside", &beside.connect)));
    rows.extend(run.churn.iter().map(|churn| cells("reconnect", &churn.connect)));
    if run.per_transport.len() > 1 {
        let each = run.per_transport.iter();
        rows.extend(each.map(|(name, part)| cells(&format!("response, {name}"), &part.latency.response)));
    }
    table("numbers", &head("µs"), rows) + &explanation(run) + &by_size(run)
}

fn head(first: &'static str) -> Vec<&'static str> {
    const NAMES: [&str; PERCENTILES.len() + 2] = ["p50", "p90", "p99", "p99.9", "p99.99", "max", "mean"];
    std::iter::once(first).chain(NAMES).collect()
}

fn cells(name: &str, latency: &Latency) -> Vec<String> {
    let value = |nanos: u64| if latency.n == 0 { "-".into() } else { micros(nanos) };
    let percentiles = PERCENTILES.iter().map(|(percent, _)| percentile(latency, percent));
    std::iter::once(name.to_owned()).chain(percentiles).chain([value(latency.max), value(latency.mean)]).collect()
}

/// The response times when what was lost or never sent took for ever, where anything was.
fn all_in(run: &Document) -> Option<Vec<String>> {
    if run.counts.unanswered() == 0 {
        return None;
    }
    let cell = |name: &str| match run.loss.all_in.get(name) {
        Some(Some(value)) => micros(*value),
        Some(None) => "<b class=\"lost\">LOST</b>".into(),
        None => "-".into(),
    };
    let names = PERCENTILES.iter().map(|(name, _)| *name).chain(["100"]);
    Some(std::iter::once("all-in".to_owned()).chain(names.map(cell)).chain(["-".to_owned()]).collect())
}

fn explanation(run: &Document) -> String {
    let mut text = if run.config.rate.is_some() {
        "Response: from the intended send time to the reply, free of coordinated omission. Service: from the actual \
         send. Lag: from the intended to the actual send."
            .to_owned()
    } else {
        "A closed loop waits for the server, and so omits the waiting of users who would not.".to_owned()
    };
    if all_in(run).is_some() {
        text += " All-in: the response when a message without a right answer, or never sent, took for ever.";
    }
    let response = &run.latency.response;
    let p99 = response.p.get("99").and_then(|p99| Some((p99.lo?, p99.hi?)));
    if let (Some((low, high)), Some(size)) = (p99, response.n_eff) {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            " The p99 lies between {} and {} µs with 95% confidence: {} replies are worth {} independent ones.",
            micros(low),
            micros(high),
            count(response.n),
            count(size)
        );
    }
    note(&text)
}

fn by_size(run: &Document) -> String {
    if run.per_size.is_empty() {
        return String::new();
    }
    let rows = run.per_size.iter().map(|row| {
        let mut cells = cells(&row.name(), &row.response);
        cells.push(format!("{} of {} ({})", count(row.replied), count(row.sent), percent(row.replied, row.sent)));
        cells
    });
    let mut head = head("response, µs");
    head.push("replied");
    table("numbers", &head, rows)
}
