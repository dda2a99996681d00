//! What `--trace` costs: the server under full load, with a trace and without. Does I/O: runs servers, prints a table.
//!
//! The trace is taken down and never written, for the server writes it when it ends, and here it is killed. What the flag
//! costs where it is not given, which is the test of a flag, is a matter of instructions: `.ci/instructions` counts them.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::contestant::{Field, Programs};
use crate::measurement::{Place, Stop};
use crate::{beside, ending};

const NAME: &str = "trace";

/// Measures what taking down a trace costs a server under full load.
#[derive(Debug, Parser)]
#[command(name = NAME, version)]
struct Options {
    #[command(flatten)]
    field: Field,
}

/// Runs the benchmark with these arguments, the program's name first, and prints its tables to `out`.
///
/// Ends as a [race](crate::race::main) does.
pub fn main(programs: &Programs, arguments: impl IntoIterator<Item = OsString>, out: &mut dyn Write) -> ExitCode {
    ending::of(NAME, arguments, |options: Options| run(&options.field, programs, out))
}

fn run(field: &Field, programs: &Programs, out: &mut dyn Write) -> Result<(), Stop> {
    let traced = beside::with(programs, "traced", "--trace /dev/null");
    let contestants = beside::between(programs, vec![traced]);
    let place = Place::take()?;
    let (_, faults) = beside::compare(&place, field, &contestants, out, |attempt| place.measure(attempt))?;
    writeln!(out, "{}", beside::LEGEND)?;
    faults.verdict()
}
