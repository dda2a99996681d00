//! Flags from the environment: that all of them can come from there, that the command line wins, and that a wrong
//! variable is named.
#![cfg(unix)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use clap::{CommandFactory as _, Parser as _};
use shout::config::Config;

mod common;
use common::{PATIENCE, Program, SERVER};

/// The server with these variables and no other of ours.
fn command(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(SERVER);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(b"SHOUT_")) {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    command
}

/// The one line with which it refuses to start.
#[track_caller]
fn refusal(command: Command) -> String {
    let output = assert_cmd::Command::from_std(command).timeout(PATIENCE).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len(), said.lines().count()), (Some(2), 0, 1), "{said}");
    said
}

/// The first line of a server that must be told where to listen, so that it does not meet another one.
fn first_line(variables: &[(&str, &str)], flags: &[&str]) -> String {
    let variables = [&[("SHOUT_LISTEN", "127.0.0.1:0")], variables].concat();
    Program::start_with_as_told(&mut command(&variables), flags).first_line.clone()
}

#[test]
fn a_variable_does_what_its_flag_does_and_the_flag_wins() {
    assert!(first_line(&[("SHOUT_NO_TCP", "1")], &[]).contains(" udp 127.0.0.1:"));
    assert!(first_line(&[("SHOUT_NO_TCP", "0")], &[]).contains(" udp+tcp 127.0.0.1:"));
    assert!(
        first_line(&[("SHOUT_LISTEN", "256.0.0.1:0")], &["--listen", "127.0.0.1:0"]).contains(" udp+tcp 127.0.0.1:")
    );
    assert!(
        first_line(&[("SHOUT_NO_UDP", "1")], &["--no-tcp"]).contains(" udp 127.0.0.1:"),
        "the two exclude each other"
    );
}

#[test]
fn every_flag_can_come_from_the_environment_and_a_wrong_value_is_named() {
    for flag in Config::command().get_arguments() {
        let long = flag.get_long().expect("every argument of the server is a flag");
        let name = format!("SHOUT_{}", long.to_uppercase().replace('-', "_"));
        if Config::try_parse_from(["shout-server", &format!("--{long}=?")]).is_ok() {
            continue;
        }
        let said = refusal(command(&[(&name, "?")]));
        assert!(said.contains(&format!("{name} in the environment: ")) && said.contains("'?'"), "{said}");
    }
}

#[test]
fn a_refusal_says_what_would_be_right() {
    for (variables, wanted) in [
        (&[("SHOUT_LISTEN", "localhost")][..], &["SHOUT_LISTEN", "'localhost'", "127.0.0.1:12000"][..]),
        (&[("SHOUT_STALL_TIMEOUT", "soon")], &["SHOUT_STALL_TIMEOUT", "'soon'", "10ms"]),
        (&[("SHOUT_SPIN", "maybe")], &["SHOUT_SPIN", "'maybe'", "1 sets it"]),
        (&[("SHOUT_CASE", "title")], &["SHOUT_CASE", "'title'", "ascii, unicode"]),
        (&[("SHOUT_NO_UDP", "1"), ("SHOUT_NO_TCP", "yes")], &["SHOUT_NO_UDP", "SHOUT_NO_TCP"]),
        (&[("SHOUT_LISTEN", "x\ny\u{1b}[2J")], &["SHOUT_LISTEN"]),
    ] {
        let said = refusal(command(variables));
        for part in wanted {
            assert!(said.contains(part), "{variables:?}: {said}");
        }
    }
    let mut not_text = command(&[]);
    not_text.env("SHOUT_LISTEN", OsStr::from_bytes(b"\xff"));
    assert!(refusal(not_text).contains("SHOUT_LISTEN in the environment"));
    // What is typed wrong is not blamed on a variable.
    let mut typed = command(&[("SHOUT_STATS", "1s")]);
    typed.args(["--listen", "localhost"]);
    assert!(!refusal(typed).contains("environment"));
}
