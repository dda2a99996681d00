//! A saved run, or several, shown again: the same screen and the same files as when it was made. Does I/O.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use crate::cli::{Output, Saved};
use crate::program::complain;
use crate::report::document::{Document, SCHEMA};
use crate::report::repeats::{self, Repeats};
use crate::report::{files, page, screen};
use crate::run::exit;

/// What a file holds.
#[derive(Debug)]
pub enum Kept {
    /// One run.
    Run(Box<Document>),
    /// Several of the same load.
    Repeats(Box<Repeats>),
}

/// Shows the result, or says on stderr why it cannot. The exit code tells of this, not of what was measured then.
pub fn report(options: &Saved) -> ExitCode {
    let outcome = read_any(&options.input).and_then(|kept| {
        for Output { path, format } in &options.output {
            let contents = match &kept {
                Kept::Run(run) => files::contents(*format, run),
                Kept::Repeats(repeats) => files::of_repeats(*format, repeats).ok_or_else(|| {
                    let path = path.display();
                    format!(
                        "cannot write {path}: several runs have no intervals in common; .json, .html or .hgrm can be"
                    )
                })?,
            };
            let written = fs::write(path, contents);
            written.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        let text = match (&kept, options.json) {
            (Kept::Run(run), true) => files::json(run) + "\n",
            (Kept::Run(run), false) => screen::text(run),
            (Kept::Repeats(repeats), true) => files::json(repeats) + "\n",
            (Kept::Repeats(repeats), false) => repeats.text(),
        };
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            // Whoever closed the pipe has seen enough.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("cannot write the result: {error}")),
            Ok(()) | Err(_) => Ok(()),
        }
    });
    match outcome {
        Ok(()) => ExitCode::from(exit::DONE),
        Err(line) => complain(&line, exit::FAILED),
    }
}

/// Prints the run, as JSON if that was asked for, and writes the files. `Err` says what could not be done.
pub fn deliver(run: &Document, as_json: bool, outputs: &[Output]) -> Result<(), String> {
    for Output { path, format } in outputs {
        let written = fs::write(path, files::contents(*format, run));
        written.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    let text = if as_json { files::json(run) + "\n" } else { screen::text(run) };
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // Whoever closed the pipe has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("cannot write the result: {error}")),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// One run, from such a file.
pub fn read(path: &Path) -> Result<Document, String> {
    match read_any(path)? {
        Kept::Run(run) => Ok(*run),
        Kept::Repeats(_) => Err(format!("cannot read {}: it is of several runs, and one is wanted", path.display())),
    }
}

/// One run or several, from a file of JSON, or from a page that has it inside.
pub fn read_any(path: &Path) -> Result<Kept, String> {
    let refusal = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| refusal(&error))?;
    let json = page::run_inside(&text).unwrap_or(&text);
    // Asked first: a run of another shape is told by its name, not by the first field that it lacks.
    let schema: Schema = serde_json::from_str(json).map_err(|error| refusal(&format!("not a run: {error}")))?;
    match schema.schema.as_str() {
        SCHEMA => serde_json::from_str(json).map(Kept::Run).map_err(|error| refusal(&error)),
        repeats::SCHEMA => serde_json::from_str(json).map(Kept::Repeats).map_err(|error| refusal(&error)),
        other => Err(refusal(&format!("it is {other:?}, and this program reads {SCHEMA:?} and {:?}", repeats::SCHEMA))),
    }
}

#[derive(serde::Deserialize)]
struct Schema {
    schema: String,
}
