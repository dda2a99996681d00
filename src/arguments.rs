//! Command lines, refused in one line. Writes to stdout or stderr and reads the environment; no other I/O.
//!
//! clap alone answers a wrong argument with several lines: the error, a usage, a pointer to the help. The three
//! programs answer with one, so that a log or a script keeps the whole reason, and that line names the flag and
//! the value.
//!
//! The server takes from the environment what its command line leaves out, because it is started by service managers and
//! containers that hand down settings that way. The client and the load tool do not: what they do should be seen in the
//! line that was typed, and a measurement must not change with a variable that its record does not show.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory, Parser};

/// The exit code of a command line that was not understood.
const BAD_ARGUMENTS: u8 = 2;

/// What the names of variables begin with: `SHOUT_IDLE_TIMEOUT` stands for `--idle-timeout`.
const PREFIX: &str = "SHOUT_";

/// Reads a command line, the program's name first.
///
/// `Err` means that the program is done and carries its exit code: 0 after the help or the version went to stdout in
/// full, 2 after one line on stderr said which argument was refused and why.
pub fn parse<T: Parser>(arguments: impl IntoIterator<Item = OsString>) -> Result<T, ExitCode> {
    T::try_parse_from(with_negative_values(&T::command(), arguments)).map_err(|error| refuse::<T>(&error, ""))
}

/// Likewise, and takes from the environment what the command line says nothing about. A variable that contradicts a flag
/// of the line gives way to it.
pub fn parse_with_environment<T: Parser>(arguments: impl IntoIterator<Item = OsString>) -> Result<T, ExitCode> {
    let arguments = with_negative_values(&T::command(), arguments);
    // What is wrong with the line alone is not the environment's fault.
    let line = T::command().try_get_matches_from(&arguments).map_err(|error| refuse::<T>(&error, ""))?;
    let with = with_environment(&T::command(), &line, &arguments, |name| env::var_os(name));
    let with = with.map_err(|wrong| {
        complain::<T>(&wrong);
        ExitCode::from(BAD_ARGUMENTS)
    })?;
    T::try_parse_from(with).map_err(|error| refuse::<T>(&error, &blamed(T::command(), &error)))
}

/// The command line with `--timeout -3s` as `--timeout=-3s`. clap would take `-3` for a flag that nobody knows, and the line
/// that refuses it would not name the one whose value it is.
fn with_negative_values(command: &Command, arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let takes_value = |word: &str| {
        std::iter::once(command).chain(command.get_subcommands()).flat_map(Command::get_arguments).any(|flag| {
            let is_long = flag.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long));
            let is_short =
                flag.get_short().is_some_and(|short| word.strip_prefix('-') == Some(short.encode_utf8(&mut [0; 4])));
            (is_long || is_short) && flag.get_action().takes_values()
        })
    };
    let is_negative = |word: &OsStr| matches!(word.as_encoded_bytes(), [b'-', b'0'..=b'9' | b'.', ..]);
    let mut joined: Vec<OsString> = Vec::new();
    let mut has_flags = true;
    for argument in arguments {
        has_flags &= argument != "--";
        match joined.last_mut().filter(|last| has_flags && last.to_str().is_some_and(takes_value)) {
            Some(flag) if is_negative(&argument) => {
                flag.push("=");
                flag.push(argument);
            }
            _ => joined.push(argument),
        }
    }
    joined
}

/// The command line with what the environment adds to it, as if it had been typed first. `Err` says what is wrong.
fn with_environment(
    command: &Command,
    line: &ArgMatches,
    arguments: &[OsString],
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<OsString>, String> {
    let (program, typed) = arguments.split_at(arguments.len().min(1));
    let mut with = program.to_vec();
    let is_typed = |flag: &Arg| line.value_source(flag.get_id().as_str()) == Some(ValueSource::CommandLine);
    for flag in command.get_arguments() {
        let Some(long) = flag.get_long() else { continue };
        let name = variable_of(long);
        // Empty is how a list of variables says that one is not set.
        let Some(value) = variable(&name).filter(|value| !value.is_empty()) else { continue };
        // Conflicts are declared on one side, and hold for both.
        let contradicts = |other: &Arg| {
            command.get_arg_conflicts_with(flag).iter().any(|against| against.get_id() == other.get_id())
                || command.get_arg_conflicts_with(other).iter().any(|against| against.get_id() == flag.get_id())
        };
        if command
            .get_arguments()
            .any(|other| is_typed(other) && (other.get_id() == flag.get_id() || contradicts(other)))
        {
            continue;
        }
        if flag.get_action().takes_values() {
            let mut argument = OsString::from(format!("--{long}="));
            argument.push(value);
            with.push(argument);
        } else if is_yes(&name, &value)? {
            with.push(format!("--{long}").into());
        }
    }
    with.extend_from_slice(typed);
    Ok(with)
}

/// The variable that stands for a flag.
fn variable_of(long: &str) -> String {
    format!("{PREFIX}{}", long.to_ascii_uppercase().replace('-', "_"))
}

/// Reads the variable of a flag that takes no value.
fn is_yes(name: &str, value: &OsStr) -> Result<bool, String> {
    match value.to_str() {
        Some("1" | "true" | "yes" | "on") => Ok(true),
        Some("0" | "false" | "no" | "off") => Ok(false),
        _ => Err(format!(
            "{name} in the environment: invalid value '{}': 1 sets it, 0 does not",
            value.to_string_lossy()
        )),
    }
}

/// Which variables an error speaks of, where it speaks of flags that were not typed. Of what is not UTF-8 it says nothing.
fn blamed(mut command: Command, error: &clap::Error) -> String {
    // Only then does a flag know how it is shown.
    command.build();
    let contexts = [ContextKind::InvalidArg, ContextKind::PriorArg].map(|kind| error.get(kind));
    let speaks_of = |flag: &Arg| {
        contexts.iter().flatten().any(|context| match context {
            ContextValue::String(argument) => *argument == flag.to_string(),
            ContextValue::Strings(arguments) => arguments.contains(&flag.to_string()),
            _ => false,
        })
    };
    let names = command.get_arguments().filter_map(|flag| {
        let name = variable_of(flag.get_long()?);
        let value = env::var_os(&name)?;
        (speaks_of(flag) || (error.kind() == ErrorKind::InvalidUtf8 && value.to_str().is_none())).then_some(name)
    });
    format!("{} in the environment: ", names.collect::<Vec<_>>().join(" and "))
}

/// Shows help, version or, behind what it is `about`, an error; says how the program ends.
fn refuse<T: CommandFactory>(error: &clap::Error, about: &str) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Whoever closed stdout has read enough of the help.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        _ => {
            complain::<T>(&format!("{about}{}", one_line(&error.render().to_string())));
            ExitCode::from(BAD_ARGUMENTS)
        }
    }
}

fn complain<T: CommandFactory>(line: &str) {
    // Without a reader on stderr the exit code still tells; `eprintln!` would panic and change it. A control character in
    // what somebody set would reach the terminal or end the line.
    let _ = writeln!(io::stderr(), "{}: {}", T::command().get_name(), line.replace(char::is_control, "\u{fffd}"));
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
        let words = [&["sample"], arguments].concat().into_iter().map(OsString::from);
        let error = Sample::try_parse_from(with_negative_values(&Sample::command(), words)).unwrap_err();
        one_line(&error.render().to_string())
    }

    #[test]
    fn a_refusal_is_one_line_and_names_flag_and_value() {
        for (arguments, named) in [
            (&["--timeout", "soon", "x"][..], &["'soon'", "--timeout", "10ms"][..]),
            (&["--timeout"], &["--timeout", "value is required"]),
            (&["--case", "title", "x"], &["'title'", "--case", "ascii, unicode"]),
            (&["--timeout", "-3s", "x"], &["'-3s'", "--timeout", "10ms"]),
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
    fn a_negative_word_is_a_value_only_behind_a_flag_that_takes_one() {
        let joined = |words: &[&str]| with_negative_values(&Sample::command(), words.iter().map(OsString::from));
        assert_eq!(joined(&["sample", "--timeout", "-3s"]), ["sample", "--timeout=-3s"]);
        for words in [
            &["sample", "--plain", "-3"][..],
            &["sample", "--timeout", "--plain"],
            &["sample", "--timeout=1s", "-3"],
            &["sample", "--", "--timeout", "-3"],
        ] {
            assert_eq!(joined(words), words);
        }
    }

    /// The command line after the environment has added to it, without the program's name.
    fn with(variables: &[(&str, &str)], arguments: &[&str]) -> Result<Vec<String>, String> {
        let arguments: Vec<OsString> = [&["sample"], arguments].concat().into_iter().map(Into::into).collect();
        let line = Sample::command().try_get_matches_from(&arguments).unwrap();
        let variable = |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| value.into());
        let with = with_environment(&Sample::command(), &line, &arguments, variable)?;
        Ok(with.into_iter().skip(1).map(|argument| argument.into_string().unwrap()).collect())
    }

    #[test]
    fn a_variable_stands_for_a_flag_that_was_not_typed() {
        let typed = |arguments: &[&str]| Ok(arguments.iter().map(ToString::to_string).collect());
        assert_eq!(with(&[("SHOUT_TIMEOUT", "5s")], &["x"]), typed(&["--timeout=5s", "x"]));
        assert_eq!(with(&[("SHOUT_TIMEOUT", "5s")], &["--timeout", "1s", "x"]), typed(&["--timeout", "1s", "x"]));
        assert_eq!(with(&[("SHOUT_TIMEOUT", "")], &["x"]), typed(&["x"]));
        assert_eq!(with(&[("SHOUT_PLAIN", "1")], &["x"]), typed(&["--plain", "x"]));
        assert_eq!(with(&[("SHOUT_PLAIN", "0")], &["x"]), typed(&["x"]));
        assert_eq!(with(&[("SHOUT_TARGET", "x")], &["y"]), typed(&["y"]), "it is no flag");
        let refusal = with(&[("SHOUT_PLAIN", "maybe")], &["x"]).unwrap_err();
        assert!(refusal.contains("SHOUT_PLAIN") && refusal.contains("'maybe'"), "{refusal}");
    }

    #[test]
    fn a_variable_gives_way_to_a_flag_that_it_contradicts() {
        for (name, typed) in [("SHOUT_PLAIN", ["--case", "ascii", "x"].as_slice()), ("SHOUT_CASE", &["--plain", "x"])] {
            assert_eq!(with(&[(name, "1")], typed).unwrap(), typed, "{name}");
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
