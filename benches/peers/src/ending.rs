//! How the benchmarks end: one line on stderr where something is wrong, and the exit code. Writes to stderr.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::measurement::Stop;

/// The exit code of a command line that was not understood.
const BAD_ARGUMENTS: u8 = 2;

/// A process ended by a signal says so with this much more than the signal's number.
const SIGNALLED: usize = 128;

/// The exit code for how it went, after saying what went wrong.
pub fn code(program: &str, outcome: Result<(), Stop>) -> ExitCode {
    match outcome {
        // Whoever has stopped reading has seen enough.
        Ok(()) | Err(Stop::Unread) => ExitCode::SUCCESS,
        Err(Stop::Signal(signal)) => ExitCode::from((SIGNALLED + signal) as u8),
        Err(Stop::Failure(reason)) => {
            complain(program, &reason);
            ExitCode::FAILURE
        }
    }
}

/// The exit code of a program that reads its flags from `arguments`, the program's name first, and then does `run`.
pub fn of<O: Parser>(
    program: &str,
    arguments: impl IntoIterator<Item = OsString>,
    run: impl FnOnce(O) -> Result<(), Stop>,
) -> ExitCode {
    match shout::arguments::parse(arguments) {
        Ok(options) => code(program, run(options)),
        Err(code) => code,
    }
}

/// The exit code for arguments that do not go together.
pub fn bad_arguments(program: &str, line: &str) -> ExitCode {
    complain(program, line);
    ExitCode::from(BAD_ARGUMENTS)
}

fn complain(program: &str, line: &str) {
    // Without a reader on stderr the exit code still tells.
    let _ = writeln!(io::stderr(), "{program}: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_end_has_its_code() {
        let code = |outcome| code("test", outcome);
        assert_eq!(code(Ok(())), ExitCode::SUCCESS);
        assert_eq!(code(Err(Stop::Failure("as expected by a test".into()))), ExitCode::FAILURE);
        assert_eq!(code(Err(Stop::Signal(2))), ExitCode::from(130));
        assert_eq!(code(Err(Stop::Signal(15))), ExitCode::from(143));
        assert_eq!(code(Err(io::Error::from(io::ErrorKind::BrokenPipe).into())), ExitCode::SUCCESS);
        assert_eq!(code(Err(io::Error::from(io::ErrorKind::StorageFull).into())), ExitCode::FAILURE);
    }
}
