//! A saved run, shown again: the same screen and the same files as when it was made. Does I/O.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use crate::cli::{Output, Saved};
use crate::program::complain;
use crate::report::document::{Document, SCHEMA};
use crate::report::{files, page, screen};
use crate::run::exit;

/// Shows the run, or says on stderr why it cannot. The exit code tells of this, not of what was measured then.
pub fn report(options: &Saved) -> ExitCode {
    let outcome = read(&options.input).and_then(|run| {
        for Output { path, format } in &options.output {
            let written = fs::write(path, files::contents(*format, &run));
            written.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        let text = if options.json { files::json(&run) + "\n" } else { screen::text(&run) };
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

/// A run from a file of JSON, or from a page that has it inside.
pub fn read(path: &Path) -> Result<Document, String> {
    let refusal = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| refusal(&error))?;
    let json = page::run_inside(&text).unwrap_or(&text);
    // Asked first: a run of another shape is told by its name, not by the first field that it lacks.
    let schema: Schema = serde_json::from_str(json).map_err(|error| refusal(&format!("not a run: {error}")))?;
    if schema.schema != SCHEMA {
        return Err(refusal(&format!("it is {:?}, and this program reads {SCHEMA:?}", schema.schema)));
    }
    serde_json::from_str(json).map_err(|error| refusal(&error))
}

#[derive(serde::Deserialize)]
struct Schema {
    schema: String,
}
