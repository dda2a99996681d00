//! Who takes part, and the flags that the benchmarks share. Starts processes.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use shout::target::Protocol;
use shout::units;
use shout_load::report::page::race::again;

use crate::running::{PORT, Running};

/// The names of the package's own programs, in the order in which they start.
pub const NAMES: [&str; 4] = ["shout", "naive-mio", "tokio", "blocking"];

/// Where the program of each of [`NAMES`] is: what [`programs!`](crate::programs) gives.
pub type Programs = [(&'static str, &'static str); NAMES.len()];

/// Where the package's programs are, as [`contestant::Programs`](crate::contestant::Programs).
///
/// A macro, because cargo tells it only to the package's tests and benchmarks, while they are compiled.
#[macro_export]
macro_rules! programs {
    () => {
        [
            ("shout", env!("CARGO_BIN_EXE_shout")),
            ("naive-mio", env!("CARGO_BIN_EXE_naive-mio")),
            ("tokio", env!("CARGO_BIN_EXE_tokio")),
            ("blocking", env!("CARGO_BIN_EXE_blocking")),
        ]
    };
}

/// A server to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contestant {
    /// What the tables call it.
    pub name: String,
    start: Start,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Start {
    /// One of the package's own, which picks its port and says so.
    Program(PathBuf),
    /// A command of the shell with a place for the port.
    Command(String),
}

impl Contestant {
    /// Starts it on a free port of `127.0.0.1` and waits until it answers over `protocol`.
    pub fn start(&self, protocol: Protocol) -> io::Result<Running> {
        match &self.start {
            Start::Program(path) => Running::start(path),
            Start::Command(command) => Running::start_command(command, protocol),
        }
    }

    /// A server that a command of the shell starts, with [`PORT`] in it.
    pub fn of_command(name: &str, command: String) -> Contestant {
        Contestant { name: name.into(), start: Start::Command(command) }
    }

    /// The same server under another name.
    #[must_use]
    pub fn again(&self) -> Contestant {
        Contestant { name: again(&self.name), start: self.start.clone() }
    }
}

/// The flags that say who takes part and for how long.
#[derive(Debug, Clone, Args)]
pub struct Field {
    /// One more contestant: a shell command in which {port} stands for the port to serve on at 127.0.0.1; may be repeated
    #[arg(long, value_name = "NAME=COMMAND", value_parser = added)]
    add: Vec<Contestant>,

    /// Measurements of each contestant under each load [default: 5 in a race, 3 for curves, 9 for admin and trace]
    #[arg(long, value_parser = rounds, value_name = "N")]
    pub rounds: Option<usize>,

    /// How long each measurement lasts, without warm-up: 0.8 or 800ms [default: 0.5 for curves, else 0.8]
    #[arg(long, value_parser = seconds, value_name = "DURATION")]
    pub seconds: Option<Duration>,

    /// Only see whether everything works, in a few seconds; the figures mean nothing
    #[arg(long)]
    test: bool,

    /// What cargo passes to a benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

impl Field {
    /// Whether this is a trial. `cargo test --benches` asks for one too, by not passing `--bench`.
    pub fn is_trial(&self) -> bool {
        self.test || !self.bench
    }

    /// The contestants of these names, and those that were added.
    ///
    /// Fails with a line for the user where a name would stand for two.
    pub fn contestants(&self, names: &[String], programs: &Programs) -> Result<Vec<Contestant>, String> {
        let mut contestants: Vec<Contestant> = Vec::new();
        let own = names.iter().map(|name| {
            let (_, path) = programs.iter().find(|(own, _)| own == name).expect("the flag takes these names only");
            Contestant { name: name.clone(), start: Start::Program(path.into()) }
        });
        for contestant in own.chain(self.add.iter().cloned()) {
            if contestants.iter().any(|other| other.name == contestant.name) {
                return Err(format!("two contestants are called '{}': see --contestants and --add", contestant.name));
            }
            contestants.push(contestant);
        }
        Ok(contestants)
    }
}

/// Reads the names of contestants.
pub fn names() -> PossibleValuesParser {
    NAMES.into()
}

/// Reads `NAME=COMMAND`.
fn added(text: &str) -> Result<Contestant, String> {
    let (name, command) = text.split_once('=').ok_or("a contestant looks like mine='./server {port}'")?;
    if name.trim().is_empty() {
        return Err("the contestant has no name in front of '='".into());
    }
    if !command.contains(PORT) {
        return Err(format!("the command has no {PORT} in it, so nobody would know where the server listens"));
    }
    Ok(Contestant { name: name.trim().into(), start: Start::Command(command.into()) })
}

fn rounds(text: &str) -> Result<usize, String> {
    /// More would say nothing new, and keep the machine for hours.
    const MOST_ROUNDS: u64 = 1_000;
    match units::count(text)? {
        number @ 1..=MOST_ROUNDS => Ok(number as usize),
        _ => Err(format!("from 1 to {MOST_ROUNDS} rounds")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(60);
    let duration = units::duration(text)?;
    if Duration::ZERO < duration && duration <= LONGEST { Ok(duration) } else { Err("up to a minute".into()) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Sample {
        #[command(flatten)]
        field: Field,
        #[arg(long, value_delimiter = ',', value_parser = names())]
        contestants: Vec<String>,
    }

    const PROGRAMS: Programs = [("shout", "/s"), ("naive-mio", "/n"), ("tokio", "/t"), ("blocking", "/b")];

    /// A contestant that is never started.
    pub(crate) fn named(name: &str) -> Contestant {
        Contestant { name: name.into(), start: Start::Command(String::new()) }
    }

    fn sample(arguments: &[&str]) -> Result<Sample, String> {
        Sample::try_parse_from([&["sample"], arguments].concat()).map_err(|error| error.to_string())
    }

    fn contestants(arguments: &[&str]) -> Result<Vec<String>, String> {
        let sample = sample(arguments)?;
        let contestants = sample.field.contestants(&sample.contestants, &PROGRAMS)?;
        Ok(contestants.into_iter().map(|contestant| format!("{} {:?}", contestant.name, contestant.start)).collect())
    }

    #[test]
    fn the_field_is_in_the_order_given_and_the_added_come_last() {
        let field = contestants(&["--add", "mine=./my server={port}", "--contestants", "tokio,shout"]).unwrap();
        let expected = ["tokio Program(\"/t\")", "shout Program(\"/s\")", "mine Command(\"./my server={port}\")"];
        assert_eq!(field, expected);
    }

    #[test]
    fn a_name_stands_for_one_contestant() {
        for arguments in [
            &["--contestants", "shout,shout"][..],
            &["--contestants", "shout", "--add", "shout=x {port}"],
            &["--add", "a=x {port}", "--add", "a=y {port}"],
        ] {
            let refusal = contestants(arguments).unwrap_err();
            assert!(refusal.contains("two contestants are called"), "{arguments:?} gave {refusal}");
        }
    }

    #[test]
    fn a_bad_value_is_named_with_its_flag() {
        for (arguments, named) in [
            (["--contestants", "shout,nginx"], ["nginx", "naive-mio"]),
            (["--add", "server {port}"], ["--add", "looks like"]),
            (["--add", "mine=server"], ["--add", "{port}"]),
            (["--add", "=server {port}"], ["--add", "no name"]),
            (["--rounds", "0"], ["--rounds", "from 1"]),
            (["--rounds", "1e3"], ["--rounds", "1e3"]),
            (["--seconds", "0"], ["--seconds", "minute"]),
            (["--seconds", "2h"], ["--seconds", "minute"]),
        ] {
            let refusal = sample(&arguments).unwrap_err();
            for name in named {
                assert!(refusal.contains(name), "{arguments:?} gave {refusal}");
            }
        }
    }

    #[test]
    fn without_the_flag_of_cargo_bench_it_is_a_trial() {
        let is_trial = |arguments: &[&str]| sample(arguments).unwrap().field.is_trial();
        assert!(!is_trial(&["--bench"]));
        assert!(is_trial(&["--bench", "--test"]) && is_trial(&["--test"]) && is_trial(&[]));
    }
}
