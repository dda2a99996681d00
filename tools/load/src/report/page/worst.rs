//! The slowest requests, one by one. Pure: no I/O.

use super::sheet::{escape, note, table};
use crate::report::document::Document;
use crate::report::screen::{count, micros};
use crate::report::trust::Outlier;

pub(super) fn table_of(run: &Document) -> String {
    if run.outliers.is_empty() {
        return String::new();
    }
    let row = |one: &Outlier| {
        vec![
            format!("{:.6}", one.t_intended_ns as f64 / 1e9),
            micros(one.lat_ns),
            micros(one.lag_ns),
            match one.part.and_then(|part| run.merged.as_ref()?.parts.get(part)) {
                Some(part) => format!("{} {} of {}", one.transport, one.conn, escape(&part.name)),
                None => format!("{} {}", one.transport, one.conn),
            },
            count(one.seq),
            count(one.size as u64),
            count(one.in_flight),
        ]
    };
    let head = ["intended at, s", "response, µs", "of it lag, µs", "connection", "sequence", "bytes", "in flight"];
    let explanation = format!(
        "The {} slowest of {} replies. Those whose times follow one upon the other waited for the same thing; those with \
         a long lag waited for the generator.",
        run.outliers.len(),
        count(run.latency.response.n)
    );
    table("worst", &head, run.outliers.iter().map(row)) + &note(&explanation)
}
