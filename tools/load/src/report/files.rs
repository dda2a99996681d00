//! A run as the contents of a file, in any of the formats. Pure: no I/O.

use super::document::Document;
use super::repeats::Repeats;
use super::{hgrm, hlog, intervals, page};
use crate::cli::Format;

/// The whole file.
pub fn contents(format: Format, run: &Document) -> String {
    match format {
        Format::Json => json(run) + "\n",
        Format::Html => page::html(run),
        Format::Hgrm => {
            let response = run.latency.response.histogram();
            hgrm::text(&response.unwrap_or_else(crate::recorder::histogram))
        }
        Format::Hlog => hlog::text(run),
        Format::Ndjson => intervals::ndjson(&run.intervals),
        Format::Csv => intervals::csv(&run.intervals),
    }
}

/// The whole file of several runs; `None` for a format of intervals, which they have not in common.
pub fn of_repeats(format: Format, repeats: &Repeats) -> Option<String> {
    match format {
        Format::Json => Some(json(repeats) + "\n"),
        Format::Html => Some(page::repeats::html(repeats)),
        Format::Hgrm => Some(hgrm::text(&repeats.response.histogram().unwrap_or_else(crate::recorder::histogram))),
        Format::Hlog | Format::Ndjson | Format::Csv => None,
    }
}

/// A result as one line of JSON.
pub fn json(result: &impl serde::Serialize) -> String {
    serde_json::to_string(result).expect("a result has string keys and finite numbers")
}
