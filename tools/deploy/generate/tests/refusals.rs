//! Wrong values, of every flag of every command of the three programs: each is refused in words that name the flag and the
//! value, and say what would be right.

use clap::error::ErrorKind;

/// What parsers of the standard library say. It names no example of what would be right.
const SAYS_NOTHING: [&str; 5] =
    ["invalid digit", "invalid float", "invalid socket address", "provided string", "cannot parse"];

fn programs() -> [clap::Command; 3] {
    use clap::CommandFactory;
    [shout::config::Config::command(), shout_client::command(), <shout_load::cli::Cli as CommandFactory>::command()]
}

/// Asks a program for a wrong value of each flag of one of its commands; how many refused it. Some take any text, such as
/// the name of a file.
fn refused(program: &clap::Command, command: &clap::Command, words: &[&str]) -> usize {
    let mut refused = 0;
    for flag in command.get_arguments().filter(|flag| flag.get_action().takes_values()) {
        let Some(long) = flag.get_long() else { continue };
        let wrong = format!("--{long}=?");
        let line = [words, &[&wrong]].concat();
        let Err(error) = program.clone().try_get_matches_from(&line) else { continue };
        if !matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
            continue;
        }
        let said = error.to_string();
        let what = said.split("\n\n").next().unwrap_or_default();
        assert!(what.contains(&format!("--{long}")) && what.contains("'?'"), "{line:?}: {what}");
        let (_, right) = what.split_once(&format!("--{long}")).unwrap();
        let right = right.split_once('\'').map_or("", |(_, right)| right.trim_start_matches(':').trim());
        assert!(right.len() > 10, "{line:?} does not say what would be right: {what}");
        assert!(!SAYS_NOTHING.iter().any(|nothing| right.contains(nothing)), "{line:?}: {what}");
        refused += 1;
    }
    refused
}

#[test]
fn every_wrong_value_is_named_with_what_would_be_right() {
    let mut total = 0;
    for program in programs() {
        let name = program.get_name().to_owned();
        total += refused(&program, &program, &[&name]);
        for command in program.get_subcommands() {
            total += refused(&program, command, &[&name, command.get_name()]);
        }
    }
    assert!(total > 50, "{total} flags were asked");
}
