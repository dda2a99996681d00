//! `cargo bench -p peers --bench admin`: what being scraped costs the server. See [`peers::admin`].

use std::process::ExitCode;

fn main() -> ExitCode {
    peers::benchmark("admin", peers::admin::main, &peers::programs!())
}
