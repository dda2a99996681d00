//! The line client: types a line to the service and reads it back in upper case, pipes files through it, or asks once.
//!
//! This file reads the command line, picks one of six ways to talk (typed, piped or one shot, each over UDP or TCP) and
//! turns the end into an exit code. `stream` speaks TCP and `datagram` UDP; `terminal` is the prompt; `show`
//! prints. Everything blocks: one person or one pipe at a time needs no event loop.

mod datagram;
mod matching;
#[cfg(test)]
#[path = "../../../tests/common/retried.rs"]
mod retried;
mod server;
mod show;
mod signals;
mod stop;
mod stream;
mod terminal;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;
use std::time::Duration;

use shout::target::{Protocol, Target};
use shout::{arguments, units};

use crate::datagram::Datagrams;
use crate::server::Server;
use crate::show::Output;
use crate::stop::{Stop, tell};

const EXAMPLES: &str = "\
Examples:
  shout-client -- hello there                 ask once over TCP; prints HELLO THERE
  shout-client udp://localhost -- hello       ask once over UDP, port 12000
  shout-client tcp://[::1]:9000               type lines, read them back; Ctrl-D ends
  shout-client tcp://localhost < in > out     send a file through the service
  tail -f log | shout-client udp://localhost  each line as one datagram";

const AFTER: &str = "\
Without TEXT the client reads stdin: lines with editing and history if that is a terminal, else a stream (TCP) or one \
datagram a line (UDP).

Exit codes: 0 done, 1 no server or no answer, 2 bad arguments, 130 and 143 ended by SIGINT and SIGTERM.";

/// Sends text to an upper-case echo service and prints the answer
#[derive(clap::Parser)]
#[command(
    name = "shout-client",
    version,
    before_help = EXAMPLES,
    after_help = AFTER
)]
struct Arguments {
    /// Where the server is: tcp://HOST:PORT or udp://HOST:PORT; without a port, 12000
    #[arg(default_value = "tcp://localhost:12000", value_parser = target)]
    target: Target,

    /// What to send: the words, joined by a space; one answer is printed
    #[arg(last = true)]
    text: Vec<OsString>,

    /// How long to wait for a connection and for each answer (250ms, 2s, 1m); a TCP pipe waits for answers without limit
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = timeout)]
    timeout: Duration,

    /// How often a line that had no answer is sent again; UDP only, TCP does so by itself
    #[arg(long, value_name = "COUNT", default_value = "2", value_parser = units::count)]
    retries: u64,
}

/// A target that a client can talk to: one transport, not both.
fn target(text: &str) -> Result<Target, String> {
    let target: Target = text.parse()?;
    match target.protocol {
        Protocol::Tcp | Protocol::Udp => Ok(target),
        Protocol::Both => Err("a client speaks one transport: tcp:// or udp://".into()),
    }
}

/// A wait that is not over before it begins; the sockets refuse a timeout of zero.
fn timeout(text: &str) -> Result<Duration, String> {
    let duration = units::duration(text)?;
    if duration.is_zero() { Err("a timeout is longer than 0, such as 10ms".into()) } else { Ok(duration) }
}

/// The command line, as manuals and completions describe it.
pub fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

/// Runs `shout-client` with these arguments, the program's name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Arguments = match arguments::parse(arguments) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    match run(arguments) {
        Ok(()) | Err(Stop::OutputClosed) => ExitCode::SUCCESS,
        Err(Stop::Interrupted) => ExitCode::from(signals::exit_code(signals::SIGINT)),
        Err(Stop::Failed(why)) => {
            tell(&why);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Stop> {
    signals::end_the_program().map_err(|error| Stop::Failed(format!("cannot wait for signals: {error}")))?;
    let mut output = Output::stdout().map_err(|error| Stop::Failed(format!("cannot open stdout: {error}")))?;
    let server = Server::resolve(arguments.target, arguments.timeout, arguments.retries)?;
    let one_shot = !arguments.text.is_empty();
    let typed = io::stdin().is_terminal();
    let text = arguments.text.join(" ".as_ref()).as_bytes().to_vec();

    match server.target.protocol {
        Protocol::Tcp if one_shot => stream::ask_once(&server, text, &mut output),
        Protocol::Tcp if typed => stream::converse(&server, &mut output),
        Protocol::Tcp => stream::relay(&server, &mut output),
        // `target` has refused both at once.
        Protocol::Udp | Protocol::Both => {
            let mut datagrams = Datagrams::new(&server);
            if one_shot {
                let answer = datagrams.ask(&text).map_err(Stop::Failed)?;
                output.line(answer)
            } else if typed {
                terminal::converse(&server.target, &mut output, |line| datagrams.ask(line))
            } else {
                datagram::relay(&mut datagrams, io::stdin().lock(), &mut output)
            }
        }
    }
}
