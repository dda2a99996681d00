//! Why the client ends before its work is done. Writes one line to stderr; no other I/O.

use std::io::{self, Write as _};

/// What ends the program early; each has its own exit code.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Whoever read our stdout has read enough: nothing went wrong, and nothing is said.
    OutputClosed,
    /// Ctrl-C at the prompt.
    Interrupted,
    /// It could not be done, and this line says why.
    Failed(String),
}

/// Tells the person at the terminal one thing.
pub(crate) fn tell(line: &str) {
    // With stderr closed nobody can be told, and that is no reason to panic as `eprintln!` would.
    let _ = writeln!(io::stderr(), "shout-client: {line}");
}
