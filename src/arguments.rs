//! Command lines, refused in one line. Writes to stdout or stderr; no other I/O.
//!
//! clap alone answers a wrong argument with several lines: the error, a usage, a pointer to the help. The three
//! programs answer with one, so that a log or a script keeps the whole reason, and that line names the flag and
//! the value.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::error::ErrorKind;

/// The exit code of a command line that was not understood.
const BAD_ARGUMENTS: u8 = 2;

/// Reads a command line, the program's name first.
///
/// `Err` means that the program is done and carries its exit code: 0 after the help or the version went to stdout in
/// full, 2 after one line on stderr said which argument was refused and why.
pub fn parse<T: clap::Parser>(arguments: impl IntoIterator<Item = OsString>) -> Result<T, ExitCode> {
    T::try_parse_from(arguments).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Whoever closed stdout has read enough of the help.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        _ => {
            let line = one_line(&error.render().to_string());
            // Without a reader on stderr the exit code still tells; `eprintln!` would panic and change it.
            let _ = writeln!(io::stderr(), "{}: {line}", T::command().get_name());
            ExitCode::from(BAD_ARGUMENTS)
        }
    })
}

/// The error and its tips out of clap's rendering, in one line.
///
/// Paragraphs are parted by empty lines there; the usage and the pointer to the help come last and are left out.
fn one_line(rendered: &str) -> String {
    let paragraphs: Vec<String> = rendered
        .split("\n\n")
        .take_while(|paragraph| !paragraph.starts_with("Usage:") && !paragraph.starts_with("For more information"))
        .map(|paragraph| paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" "))
        .collect();
    let line = paragraphs.join("; ");
    // The value is quoted as it was typed, and a control character in it would reach the terminal or end the line.
    line.strip_prefix("error: ").unwrap_or(&line).replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    #[command(name = "sample", version = "7.8.9")]
    struct Sample {
        #[arg(long, value_parser = crate::units::duration, default_value = "2s")]
        timeout: std::time::Duration,
        #[arg(long, value_parser = ["ascii", "unicode"])]
        case: Option<String>,
        #[arg(long, conflicts_with = "case")]
        plain: bool,
        #[arg(required = true)]
        target: Option<String>,
    }

    fn refusal(arguments: &[&str]) -> String {
        let error = Sample::try_parse_from([&["sample"], arguments].concat()).unwrap_err();
        one_line(&error.render().to_string())
    }

    #[test]
    fn a_refusal_is_one_line_and_names_flag_and_value() {
        for (arguments, named) in [
            (&["--timeout", "soon", "x"][..], &["'soon'", "--timeout", "10ms"][..]),
            (&["--timeout"], &["--timeout", "value is required"]),
            (&["--case", "title", "x"], &["'title'", "--case", "ascii, unicode"]),
            (&["--timeuot", "1s"], &["'--timeuot'", "'--timeout'"]),
            (&["--plain", "--case", "ascii", "x"], &["--plain", "--case"]),
            (&["x", "y"], &["'y'"]),
            (&[], &["<TARGET>"]),
            (&["--timeout", "1\n\u{1b}[2Jx\ry", "x"], &["'1 x\u{fffd}y'", "--timeout"]),
        ] {
            let line = refusal(arguments);
            assert!(!line.contains(char::is_control), "{arguments:?} gave {line:?}");
            assert!(!line.contains("Usage") && !line.starts_with("error"), "{arguments:?} gave {line:?}");
            for name in named {
                assert!(line.contains(name), "{arguments:?} gave {line:?}, which does not name {name:?}");
            }
        }
    }

    #[test]
    fn a_right_command_line_is_read() {
        let arguments = ["sample", "--timeout", "10ms", "x"].map(OsString::from);
        let sample: Sample = parse(arguments).unwrap();
        assert_eq!((sample.timeout.as_millis(), sample.target.as_deref()), (10, Some("x")));
        assert!(sample.case.is_none() && !sample.plain);
    }

    #[test]
    fn help_and_version_are_no_failure_and_a_wrong_argument_is_2() {
        for (argument, code) in [("--help", 0), ("--version", 0), ("--nonsense", 2)] {
            let ended = parse::<Sample>(["sample", argument].map(OsString::from)).unwrap_err();
            assert_eq!(ended, ExitCode::from(code), "{argument}");
        }
    }
}
