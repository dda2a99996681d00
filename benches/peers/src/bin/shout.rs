//! The project's own server with the command line of its peers, so that a race needs nothing else to be built.
//!
//! Arguments behind the address are `shout-server`'s own.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Quiet, because the diagnostics of a server that is started a hundred times would bury the tables.
    let own = ["shout-server", "--quiet", "--listen"].map(Into::into);
    shout::run(own.into_iter().chain(std::env::args_os().skip(1)))
}
