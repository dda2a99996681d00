//! `cargo bench -p peers --bench trace`: what a trace costs the server. See [`peers::trace`].

use std::process::ExitCode;

fn main() -> ExitCode {
    // Cargo starts benchmarks in their package, but paths are typed where cargo is: at the root of the workspace.
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    if let Err(error) = std::env::set_current_dir(root) {
        eprintln!("trace: cannot go to {root}: {error}");
        return ExitCode::FAILURE;
    }
    peers::trace::main(&peers::programs!(), std::env::args_os(), &mut std::io::stdout())
}
