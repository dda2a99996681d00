//! `shout-load trace`: what `shout-server --trace` took down, as one page that needs no network. Does I/O.
//!
//! The page draws the loop's turns, UDP, the listener and a row for each connection over one axis of time, and the ready
//! queue beneath; what the pointer is on is explained in a sentence. It holds the whole trace, so that it is all that
//! has to be kept or sent.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Deserialize;
use serde_json::Value;

use crate::program::complain;
use crate::run::exit;

const PAGE: &str = include_str!("trace/page.html");
const STYLE: &str = include_str!("trace/style.css");
const SCRIPT: &str = include_str!("trace/script.js");

/// The options of the command.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// A trace as `shout-server --trace FILE` wrote it
    pub input: PathBuf,

    /// Where to write the page [default: beside the trace, with the extension .html]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What tells a trace of this server from any other: viewers ignore what they do not know.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trace {
    other_data: Origin,
    trace_events: Vec<Value>,
}

#[derive(Deserialize)]
struct Origin {
    program: String,
}

/// Makes the page, and prints where it is.
pub fn main(options: &Options) -> ExitCode {
    let output = options.output.clone().unwrap_or_else(|| options.input.with_extension("html"));
    let written = page_of(options).and_then(|page| {
        fs::write(&output, page).map_err(|error| format!("cannot write {}: {error}", output.display()))
    });
    match written {
        Ok(()) => {
            use std::io::Write as _;
            // Whoever closed stdout knows where the page is.
            let _ = writeln!(std::io::stdout(), "{}", output.display());
            ExitCode::from(exit::DONE)
        }
        Err(line) => complain(&line, exit::FAILED),
    }
}

fn page_of(options: &Options) -> Result<String, String> {
    let input = options.input.display();
    let text = fs::read_to_string(&options.input).map_err(|error| format!("cannot read {input}: {error}"))?;
    let trace: Trace = serde_json::from_str(&text)
        .map_err(|error| format!("cannot read {input}: not a whole trace of shout-server --trace: {error}"))?;
    if !trace.other_data.program.starts_with("shout-server") || trace.trace_events.is_empty() {
        return Err(format!("cannot read {input}: not a trace of shout-server --trace"));
    }
    Ok(html(&text))
}

/// The page around a trace. In a script nothing ends it but its end tag, and JSON may write that sign as a number.
fn html(trace: &str) -> String {
    let parts = [("STYLE", STYLE), ("SCRIPT", SCRIPT), ("TRACE", &trace.replace('<', "\\u003c"))];
    let mut page = String::with_capacity(PAGE.len() + STYLE.len() + SCRIPT.len() + trace.len());
    let mut rest = PAGE;
    // Each part once, in the order of the page, so that nothing inside a part is taken for a place of another.
    for (name, part) in parts {
        let (before, after) = rest.split_once(&format!("/*{name}*/")).expect("the page has a place for each part");
        page += before;
        page += part;
        rest = after;
    }
    page + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_each_part_once_and_asks_for_nothing_from_outside() {
        let page = html(r#"{"a": "</script>"}"#);
        assert!(page.contains(r#"{"a": "\u003c/script>"}"#));
        assert!(page.contains(STYLE) && page.contains(SCRIPT) && !page.contains("/*TRACE*/"));
        for reference in ["http:", "https:", " src=", "url(", "@import", "fetch("] {
            assert!(!page.contains(reference), "{reference}");
        }
    }
}
