//! `cargo bench -p peers --bench curves`: how the cost of a message grows. See [`peers::curves`].

use std::process::ExitCode;

fn main() -> ExitCode {
    peers::benchmark("curves", peers::curves::main, &peers::programs!())
}
