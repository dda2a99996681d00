//! `shout-load merge`: saved runs that several generators or machines made of one load, added up without loss into one
//! run, which can be shown, compared and merged again. This file does I/O; what is below it is pure.
//!
//! ```text
//!  files ──▶ source   a document back into recorders and intervals, if they agree with each other
//!        ──▶ settings the same load, of one server, each run once?
//!        ──▶ sum      recorders and intervals added as those of threads are (team); what cannot be added
//!                     (processes, floors, verdicts) stays with its part
//! ```

mod settings;
mod source;
mod sum;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::{Conditions, Output, output};
use crate::gates;
use crate::program::complain;
use crate::run::exit;
use crate::saved;
use source::Source;

/// What `merge` is asked.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Two or more saved runs of one load: .json, or .html, which has the run inside. Merged runs may be merged again.
    /// Their settings must be the same, but for their shares of the load: rate, -n, connections, threads, and the seed
    #[arg(num_args = 2.., required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,

    /// What the merged run is held against.
    #[command(flatten)]
    pub conditions: Conditions,

    /// Print the merged run as JSON instead of text
    #[arg(long)]
    pub json: bool,

    /// Write the merged run to a file as well: .json, .html, .hgrm for the response times, .hlog, .ndjson or .csv for
    /// the intervals; may be repeated
    #[arg(short, long, value_parser = output, value_name = "FILE")]
    pub output: Vec<Output>,
}

/// Merges, and shows the result. The exit code is that of a run.
pub fn main(options: &Options, command: &[String]) -> ExitCode {
    let failed = |line: &str| complain(line, exit::FAILED);
    let gates = match options.conditions.gates(Clone::clone) {
        Ok(gates) => gates,
        Err(line) => return failed(&line),
    };
    let read = |path: &PathBuf| {
        let name = path.display().to_string();
        let run = saved::read(path)?;
        Source::new(&name, run).map_err(|error| format!("cannot read {name}: {error}"))
    };
    let sources: Vec<Source> = match options.runs.iter().map(read).collect() {
        Ok(sources) => sources,
        Err(line) => return failed(&line),
    };
    if let Err((name, what)) = settings::check(&sources) {
        return complain(&format!("invalid value '{name}' for '<RUN>...': {what}"), 2);
    }
    let mut run = sum::merge(&sources, command);
    gates::apply(&gates, &mut run);
    match saved::deliver(&run, options.json, &options.output) {
        Ok(()) => ExitCode::from(run.exit),
        Err(line) => failed(&line),
    }
}
