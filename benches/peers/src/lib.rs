//! The same service as others would write it, to race against.
//!
//! | program | written as | TCP buffer |
//! |---|---|---|
//! | `blocking` | std alone: a thread for UDP, a thread per connection | 8 KiB a connection |
//! | `naive-mio` | mio's own examples: one loop that takes each socket until `WouldBlock` | 64 KiB for all |
//! | `tokio` | the current-thread runtime: a task for UDP, a task per connection | 8 KiB a connection |
//!
//! They are yardsticks, so they are what a competent user of each would write first: correct, neither crippled nor
//! tuned. All keep the kernel's default socket options, and upper-case with std. What only a server for the open
//! network needs is missing on purpose: limits, deadlines, counters, signals, a guard against echo loops.
//!
//! Each takes `ADDRESS:PORT` as its one argument and prints where it listens as its first line, so that a program
//! can start it on port 0 and wait until it is there: see [`running`]. A fourth program, `shout`, is the project's own
//! server with that command line. This file does the I/O that the three share.
//!
//! Two benchmarks put them side by side, and two more the server beside itself:
//!
//! | command | answers |
//! |---|---|
//! | `cargo bench -p peers --bench race` | who answers how many messages, and at what cost: see [`race`] |
//! | `cargo bench -p peers --bench curves` | how the cost grows with connections, sources and sizes: see [`curves`] |
//! | `cargo bench -p peers --bench admin` | what it costs the server to be scraped, alone and under full load: see [`admin`] |
//! | `cargo bench -p peers --bench trace` | what it costs the server to take down a trace under full load: see [`trace`] |
//!
//! All take flags behind `--`, and `--help` lists them. They are made of [`measurement`] (start a server afresh, load
//! it), [`contestant`] (who takes part), `beside` (one flag of the server), [`statistics`], [`table`] and [`plot`].

pub mod admin;
mod beside;
pub mod contestant;
pub mod curves;
pub mod ending;
pub mod idle;
pub mod measurement;
pub mod plot;
pub mod race;
pub mod running;
pub mod statistics;
pub mod table;
pub mod trace;

use std::env::ArgsOs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use contestant::Programs;

/// Room for any datagram, in bytes: UDP's length field has 16 bits (RFC 768).
pub const DATAGRAM_ROOM: usize = 1 << 16;

/// How long a server that accepts in a loop of its own waits after a failed accept.
///
/// With no descriptors left, `accept` fails again at once; without a pause the loop would spin until one is freed.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Upper-case echo over UDP and TCP on one port.
#[derive(Parser)]
struct Arguments {
    /// Where to listen, for example 127.0.0.1:12000; port 0 takes a free one
    #[arg(value_name = "ADDRESS:PORT")]
    address: SocketAddr,
}

/// The `main` of every peer: reads the argument, serves there until killed, and says why when it could not.
pub fn run(serve: impl FnOnce(SocketAddr) -> io::Result<()>) -> ExitCode {
    let Arguments { address } = Arguments::parse();
    match serve(address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot serve on {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The `main` of every benchmark: runs it with this process's arguments and standard output.
///
/// Cargo starts benchmarks in their package, but paths are typed where cargo is: at the root of the workspace. So it goes
/// there first; where it cannot, it says so and ends with 1.
pub fn benchmark(name: &str, main: fn(&Programs, ArgsOs, &mut dyn Write) -> ExitCode, programs: &Programs) -> ExitCode {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    if let Err(error) = std::env::set_current_dir(root) {
        eprintln!("{name}: cannot go to {root}: {error}");
        return ExitCode::FAILURE;
    }
    main(programs, std::env::args_os(), &mut io::stdout())
}

/// Prints `NAME listening on udp+tcp ADDRESS:PORT`, the line that a starting program waits for.
pub fn announce(name: &str, address: SocketAddr) -> io::Result<()> {
    match writeln!(io::stdout(), "{name} listening on udp+tcp {address}") {
        // Nobody reads the line, which is no reason not to serve.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}
