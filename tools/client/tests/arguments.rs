//! The command line: what is refused and how, and what the help begins with.

mod common;

use common::{assert_ended, client, text};

#[test]
fn wrong_arguments_end_with_2_and_one_line() {
    for (arguments, named) in [
        (&["--timeout", "soon"][..], &["--timeout", "'soon'", "10ms"][..]),
        (&["--timeout", "0"], &["--timeout", "'0'"]),
        (&["--retries", "-1"], &["-1"]),
        (&["--retries", "many"], &["--retries", "'many'"]),
        (&["--retires", "1"], &["'--retires'", "'--retries'"]),
        (&["--timeout"], &["--timeout", "value"]),
        (&["localhost"], &["TARGET", "'localhost'", "tcp://"]),
        (&["http://localhost"], &["TARGET", "'http://localhost'", "tcp://"]),
        (&["udp://localhost:0"], &["TARGET", "'udp://localhost:0'", "port 0"]),
        (&["echo://localhost"], &["TARGET", "'echo://localhost'", "tcp:// or udp://"]),
        (&["tcp://localhost", "hello"], &["'hello'"]),
    ] {
        let output = client(arguments).output().unwrap();
        let line = text(&output.stderr);
        assert_ended(&output, 2, b"", &line);
        assert_eq!(line.matches('\n').count(), 1, "{arguments:?} gave {line:?}");
        assert!(line.ends_with('\n') && line.starts_with("shout-client: "), "{arguments:?} gave {line:?}");
        for name in named {
            assert!(line.contains(name), "{arguments:?} gave {line:?}, which does not name {name:?}");
        }
    }
}

#[test]
fn help_shows_examples_before_flags() {
    let output = client(&["--help"]).output().unwrap();
    let help = text(&output.stdout);
    assert_ended(&output, 0, help.as_bytes(), "");
    let at = |part: &str| help.find(part).unwrap_or_else(|| panic!("no {part:?} in {help}"));
    assert!(at("Examples:") < at("Usage:") && at("Usage:") < at("--timeout"));
    at("[default: tcp://localhost:12000]");
}

#[test]
fn version_is_the_crate_s() {
    let output = client(&["--version"]).output().unwrap();
    assert_ended(&output, 0, concat!("shout-client ", env!("CARGO_PKG_VERSION"), "\n").as_bytes(), "");
}

#[test]
fn a_name_without_address_is_1() {
    let output = client(&["tcp://shout.invalid", "--", "x"]).output().unwrap();
    let line = text(&output.stderr);
    assert_ended(&output, 1, b"", &line);
    assert!(line.starts_with("shout-client: cannot find shout.invalid: "), "{line:?}");
}
