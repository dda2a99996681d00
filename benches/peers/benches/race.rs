//! `cargo bench -p peers --bench race`: shout beside the same service as others would write it. See [`peers::race`].

use std::process::ExitCode;

fn main() -> ExitCode {
    peers::benchmark("race", peers::race::main, &peers::programs!())
}
