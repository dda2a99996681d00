//! A run as the contents of a file, in any of the formats. Pure: no I/O.

use super::document::Document;
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

/// The run as one line of JSON.
pub fn json(run: &Document) -> String {
    serde_json::to_string(run).expect("a document has string keys and finite numbers")
}
