//! `cargo bench -p peers --bench trace`: what a trace costs the server. See [`peers::trace`].

use std::process::ExitCode;

fn main() -> ExitCode {
    peers::benchmark("trace", peers::trace::main, &peers::programs!())
}
