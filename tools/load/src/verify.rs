//! `shout-load verify`: does a server keep the contract? Does I/O.
//!
//! Each check is one promise, with a name that scripts can hold on to. A check that fails says what was expected and
//! what came; what is expected is worked out in [`expected`], never asked of a server.

pub mod datagrams;
pub mod difference;
pub mod expected;
pub mod peer;
pub mod report;
pub mod streams;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use shout::target::{Protocol, Target};

use self::difference::Difference;
use self::expected::Case;
use self::peer::Peer;
use self::report::{Outcome, Report};
use crate::run::exit;
use crate::sockets::retried;

/// The options of the conformance suite.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// udp://HOST:PORT, tcp://HOST:PORT, or echo://HOST:PORT for both
    pub target: Target,

    /// Which contract the server claims: a to z alone, or all of Unicode
    #[arg(long, value_enum, default_value_t = Case::Ascii)]
    pub case: Case,

    /// How long the server may take to answer
    #[arg(long, value_parser = crate::cli::positive_duration, default_value = "2s", value_name = "TIME")]
    pub timeout: Duration,

    /// Print the result as JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// One promise, and how it is tried.
#[derive(Debug)]
pub struct Check {
    name: &'static str,
    promise: &'static str,
    run: fn(&Peer) -> Result<(), Difference>,
}

impl Check {
    fn new(name: &'static str, promise: &'static str, run: fn(&Peer) -> Result<(), Difference>) -> Self {
        Check { name, promise, run }
    }
}

/// Checks the target and prints what was found.
///
/// Exit code 0 if every check passed, 5 if one failed, 1 if the server cannot be reached.
pub fn main(options: &Options) -> ExitCode {
    let report = match check(options) {
        Ok(report) => report,
        Err(line) => {
            let _ = writeln!(io::stderr(), "shout-load: cannot verify {}: {line}", options.target);
            return ExitCode::from(exit::FAILED);
        }
    };
    let text = if options.json { report.json() } else { report.text() };
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // Whoever closed the pipe has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "shout-load: cannot write the result: {error}");
            ExitCode::from(exit::FAILED)
        }
        Ok(()) | Err(_) => ExitCode::from(report.exit),
    }
}

fn check(options: &Options) -> Result<Report, String> {
    let addresses = options.target.addresses().map_err(|error| error.to_string())?;
    let transports = match options.target.protocol {
        Protocol::Udp => vec![Transport::Udp],
        Protocol::Tcp => vec![Transport::Tcp],
        Protocol::Both => vec![Transport::Udp, Transport::Tcp],
    };
    let peer = |address: SocketAddr| Peer { address, case: options.case, timeout: options.timeout };
    // A name may have several addresses, and the server may listen on one of them only.
    let reached = addresses.iter().map(|&address| {
        let peer = peer(address);
        transports.iter().try_for_each(|transport| transport.reach(&peer)).map(|()| peer)
    });
    let mut reason = String::new();
    let mut found = None;
    for attempt in reached {
        match attempt {
            Ok(peer) => {
                found = Some(peer);
                break;
            }
            Err(difference) => reason = difference,
        }
    }
    let peer = found.ok_or(reason)?;
    let mut report = Report::new(&options.target.to_string(), peer.address, options.case);
    for transport in transports {
        run_all(transport, &peer, &mut report);
    }
    Ok(report)
}

/// Runs the checks of one transport; none after one that the server did not survive.
fn run_all(transport: Transport, peer: &Peer, report: &mut Report) {
    let mut broken_by = None;
    for Check { name, promise, run } in transport.checks(peer.case) {
        if let Some(broken_by) = broken_by {
            let why = format!("the server answers nobody any more since {broken_by}");
            report.add(name, promise, Outcome::NotRun { why });
            continue;
        }
        match run(peer) {
            Ok(()) => report.add(name, promise, Outcome::Pass),
            Err(difference) => {
                report.add(name, promise, Outcome::fail(difference));
                if transport.reach(peer).is_err() {
                    broken_by = Some(name);
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    fn checks(self, case: Case) -> Vec<Check> {
        match self {
            Transport::Udp => datagrams::checks(case),
            Transport::Tcp => streams::checks(case),
        }
    }

    /// Whether anybody answers anything at all.
    fn reach(self, peer: &Peer) -> Result<(), String> {
        const WORD: &[u8] = b"HELLO";
        match self {
            Transport::Udp => {
                // A connected socket, which hears that nobody listens.
                let probe = || {
                    let socket = peer.socket().map_err(|difference| difference.came)?;
                    socket.connect(peer.address).map_err(|error| error.to_string())?;
                    for _ in 0..2 {
                        socket.send(WORD).map_err(|error| error.to_string())?;
                        match retried(|| socket.recv(&mut [0; 64])) {
                            Ok(_) => return Ok(()),
                            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                                return Err(error.to_string());
                            }
                            Err(_) => {}
                        }
                    }
                    Err("no answer to a datagram".into())
                };
                probe()
            }
            Transport::Tcp => {
                let connection = peer.connect().map_err(|difference| difference.came)?;
                connection.say(WORD).and_then(|()| connection.hear(WORD)).map_err(|difference| difference.came)
            }
        }
    }
}
