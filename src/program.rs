//! From flags to exit code: limits, sockets, the loop, the final counters.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use log::LevelFilter;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Config, DESCRIPTORS_RESERVED};
use crate::server::{Ending, Server};
use crate::sockets::{self, Sockets};
use crate::{arguments, report};

/// Runs `shout-server` with these arguments, the program's name first, and says how it ended.
///
/// 0 after it was asked to stop, 1 if it could not listen, 2 for bad arguments, and 128 plus the signal's number
/// if it was asked twice.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let config: Config = match arguments::parse(arguments) {
        Ok(config) => config,
        Err(code) => return code,
    };
    report::diagnostics(match (config.quiet, config.verbose) {
        (true, _) => LevelFilter::Error,
        (false, true) => LevelFilter::Debug,
        (false, false) => LevelFilter::Info,
    });
    match serve(&config) {
        Ok(code) => code,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(config: &Config) -> io::Result<ExitCode> {
    let connections_max = connections_max(config.max_connections);
    let sockets = sockets::bind(config)?;
    if !config.listen.ip().to_canonical().is_loopback() {
        log::warn!(
            "{} can be reached by strangers, and an echo sends what they ask to whom they name",
            sockets.address
        );
    }
    log::info!("buffers in bytes: {}", sockets::describe_buffers(&sockets, config)?);
    log::debug!("at most {connections_max} connections");
    let line = first_line(&sockets);
    let mut server = Server::new(config, sockets, connections_max)?;
    // Printed only now, when signals are already listened to: who waits for this line may act on it at once. A
    // server whose standard output is closed serves all the same.
    let _ = writeln!(io::stdout().lock(), "{line}");
    let ending = server.run()?;
    if !config.quiet {
        report::counters(server.counters(), server.connections().0);
    }
    Ok(match ending {
        Ending::Drained => ExitCode::SUCCESS,
        Ending::CutOff(connections) => {
            log::warn!("cut off {connections} connections that had not finished within --drain-timeout");
            ExitCode::SUCCESS
        }
        Ending::Forced(signal) => ExitCode::from(128 + signal as u8),
    })
}

/// Where the server listens, for scripts that wait for it.
fn first_line(sockets: &Sockets) -> String {
    let protocols = match (&sockets.udp, &sockets.tcp) {
        (Some(_), Some(_)) => "udp+tcp",
        (Some(_), None) => "udp",
        (None, _) => "tcp",
    };
    format!("shout-server listening on {protocols} {}", sockets.address)
}

/// How many connections the limit on open files allows, after raising it as far as it goes; at most `asked`.
fn connections_max(asked: Option<u64>) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let granted = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let possible = granted.saturating_sub(DESCRIPTORS_RESERVED).max(1);
    if let Some(asked) = asked
        && asked > possible
    {
        log::warn!("--max-connections {asked} is more than the limit of {granted} open files allows: {possible}");
    }
    // Connections are numbered in 32 bits, with some numbers kept for other uses.
    asked.unwrap_or(possible).min(possible).min(u64::from(u32::MAX / 2)) as usize
}
