//! The prompt: line editing, history, one answer after each line. Reads and writes the terminal.
//!
//! The history is kept between runs, as shells keep theirs, in `$XDG_STATE_HOME/shout/client-history` or
//! `~/.local/state/shout/client-history`: the XDG Base Directory Specification names histories as what belongs there.
//! Only its owner can read it, it has at most [`HISTORY_LINES`] lines, and a line that begins with a space is left out.
//! Without a home directory it lasts as long as the program.

use std::env;
use std::path::{Path, PathBuf};

use rustyline::config::{Behavior, Config};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{DefaultEditor, Editor};
use shout::target::Target;

use crate::show::Output;
use crate::stop::{Stop, tell};

/// As many lines as a person may search through, and a file of tens of kilobytes.
const HISTORY_LINES: usize = 1_000;

const PROMPT: &str = "> ";

/// Reads lines until Ctrl-D, passes each to `ask` and prints its answer.
///
/// A line without an answer costs only itself: its reason is told, and the person decides whether to go on.
pub(crate) fn converse(
    target: &Target,
    output: &mut Output,
    mut ask: impl FnMut(&[u8]) -> Result<Vec<u8>, String>,
) -> Result<(), Stop> {
    let mut editor = editor().map_err(|error| failed(&error))?;
    let mut history = history_file();
    if let Some(path) = &history {
        // Fails where there is none yet; the first line makes one.
        let _ = editor.load_history(path);
    }
    tell(&format!("each line goes to {target}; Ctrl-D ends"));
    loop {
        let line = match editor.readline(PROMPT) {
            Ok(line) => line,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(ReadlineError::Interrupted) => return Err(Stop::Interrupted),
            Err(error) => return Err(failed(&error)),
        };
        let added = editor.add_history_entry(&line).map_err(|error| failed(&error))?;
        if added
            && let Some(path) = &history
            && let Err(error) = keep(&mut editor, path)
        {
            tell(&format!("the history is not kept, for {} cannot be written: {error}", path.display()));
            history = None; // once is enough
        }
        match ask(line.as_bytes()) {
            Ok(answer) => output.line(answer)?,
            Err(why) => tell(&why),
        }
    }
}

fn failed(error: &ReadlineError) -> Stop {
    Stop::Failed(format!("cannot read the terminal: {error}"))
}

fn editor() -> rustyline::Result<DefaultEditor> {
    let config = Config::builder()
        .max_history_size(HISTORY_LINES)?
        .history_ignore_space(true)
        // The prompt goes to the terminal even when stdout is a file, which then holds answers only.
        .behavior(Behavior::PreferTerm)
        // Text that is pasted is lines like those typed: each is sent by itself.
        .bracketed_paste(false)
        .build();
    Editor::with_config(config)
}

/// Where the history is kept; nowhere if no directory is known to be the person's own.
fn history_file() -> Option<PathBuf> {
    // The specification has relative paths ignored.
    let directory = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = directory("XDG_STATE_HOME").or_else(|| Some(directory("HOME")?.join(".local/state")))?;
    Some(state.join("shout/client-history"))
}

/// Adds the newest line to the file, at once: a signal may end the program, and other clients add theirs.
fn keep(editor: &mut Editor<(), FileHistory>, path: &Path) -> rustyline::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    editor.append_history(path)
}
