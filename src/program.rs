//! From flags to exit code: limits, sockets, the loop, the final counters.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitCode;
use std::time::Instant;

use log::LevelFilter;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::admin::Admin;
use crate::admin::metrics::Facts;
use crate::arguments;
use crate::config::{Config, DESCRIPTORS_RESERVED};
use crate::counters::Counters;
use crate::report::{self, Board, Reading};
use crate::sandbox;
use crate::server::Server;
use crate::service::Ending;
use crate::sockets::{self, Buffer, Sockets};
use crate::systemd::{self, Notifier};
use crate::trace::{self, Trace};

/// Runs `shout-server` with these arguments, the program's name first, and says how it ended.
///
/// 0 after it was asked to stop, 1 if it could not listen or a loop failed, 2 for bad arguments, and 128 plus the signal's number
/// if it was asked twice.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let config: Config = match arguments::parse_with_environment(arguments) {
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
    let connections_max = connections_max(config);
    let mut all = match systemd::passed_sockets()? {
        Some(passed) => {
            log::info!("a service manager has passed the sockets: --listen is not used");
            vec![sockets::adopt(config, passed)?]
        }
        None => {
            warn_of_a_short_backlog(config);
            sockets::bind_all(config)?
        }
    };
    let first = &all[0];
    if !first.address.ip().to_canonical().is_loopback() {
        log::warn!("{} can be reached by strangers, and an echo sends what they ask to whom they name", first.address);
    }
    let buffers = sockets::buffers(first, config)?;
    log::info!("buffers in bytes: {}", buffers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    log::debug!("at most {connections_max} connections");
    let place = place(first);
    let admin = admin(config, connections_max, buffers)?;
    let share = connections_max.div_ceil(config.workers);
    let now = Instant::now();
    // Where the first loop answers for all, the others keep what it shows of them up to date.
    let is_shared = admin.is_some() && config.workers > 1;
    let reporters = Board::reporters(config.workers, config.stats, now).into_iter();
    let reporters = reporters.map(|reporter| if is_shared { reporter.sharing(now) } else { reporter });
    let servers = all.drain(..).zip(reporters).map(|(sockets, reporter)| Server::new(config, sockets, share, reporter));
    let mut servers = servers.collect::<io::Result<Vec<Server>>>()?;
    let mut lines = format!("shout-server listening on {place}\n");
    if let Some((address, admin)) = admin {
        let first = servers.remove(0).answering(admin)?;
        servers.insert(0, first);
        let _ = writeln!(lines, "shout-server answering on http://{address}/metrics");
    }
    let traces = match &config.trace {
        Some(path) => Trace::for_loops(path, config.workers)?,
        None => Vec::new(),
    };
    let notifiers = Notifier::for_loops(config.workers, now);
    // The other loops are told where to run when their threads start, for which the sandbox leaves the means.
    pin_to(&config.pin, 0);
    if config.sandbox {
        // Before the first thread, which inherits it, and before anybody is told that this server can be used.
        sandbox::enter(config.workers > 1, config.trace.is_some())?;
    }
    notifiers[0].ready(&format!("serving {place}"));
    let servers = servers.into_iter().zip(notifiers).map(|(server, notifier)| server.telling(notifier)).collect();
    // Printed only now, when signals are already listened to: who waits for these lines may act on them at once. A
    // server whose standard output is closed serves all the same.
    let _ = io::stdout().lock().write_all(lines.as_bytes());
    Ok(sum_up(config, run_all(servers, traces, &config.pin)))
}

/// The admin endpoint, if there is to be one, and where it listens, with the real port.
fn admin(config: &Config, connections_max: usize, buffers: Vec<Buffer>) -> io::Result<Option<(SocketAddr, Admin)>> {
    let Some(address) = config.admin else { return Ok(None) };
    let socket = sockets::bind_admin(address)?;
    let address = socket.local_addr()?;
    if !address.ip().to_canonical().is_loopback() {
        log::warn!("{address} can be reached by strangers, and --admin shows them what the server counts");
    }
    let facts = Facts { loops: config.workers, connections_max, unsent_max: config.max_unsent, buffers };
    Ok(Some((address, Admin::new(socket, facts))))
}

/// Prints what all loops have counted; says how the program ends.
fn sum_up(config: &Config, endings: Vec<(Ending, Counters)>) -> ExitCode {
    if !config.quiet {
        let mut sum = Reading::default();
        for (_, counters) in &endings {
            sum.counters.add(counters);
        }
        report::counters(&sum);
    }
    let mut cut_off = 0;
    for (ending, _) in endings {
        match ending {
            Ending::Drained => {}
            Ending::CutOff(connections) => cut_off += connections,
            Ending::Forced(signal) => return ExitCode::from(128 + signal as u8),
        }
    }
    if cut_off > 0 {
        log::warn!("cut off {cut_off} connections that had not finished within --drain-timeout");
    }
    ExitCode::SUCCESS
}

/// Runs each loop in a thread of its own, the first in this one. A signal reaches them all.
fn run_all(servers: Vec<Server>, traces: Vec<Trace>, pin: &[usize]) -> Vec<(Ending, Counters)> {
    let run = |index: usize, mut server: Server, trace: Option<Trace>| {
        if index > 0 {
            pin_to(pin, index);
        }
        if let Some(trace) = trace {
            trace::install(trace);
        }
        let ending = all_or_nothing(|| {
            let ending = server.run();
            trace::write();
            ending
        });
        (ending, *server.counters())
    };
    let mut traces = traces.into_iter();
    let mut numbered = servers.into_iter().enumerate();
    let Some((_, first)) = numbered.next() else { return Vec::new() };
    let first_trace = traces.next();
    std::thread::scope(|scope| {
        let start = |(index, server)| {
            let trace = traces.next();
            scope.spawn(move || run(index, server, trace))
        };
        let threads: Vec<_> = numbered.map(start).collect();
        let mut endings = vec![run(0, first, first_trace)];
        endings.extend(threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))));
        endings
    })
}

/// What a loop returns. One that fails or panics ends the process: the others would serve on, and those peers that the
/// kernel deals to the missing one would wait for ever, while whoever watches the process believes it well.
fn all_or_nothing<T>(run: impl FnOnce() -> io::Result<T>) -> T {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(ending)) => return ending,
        Ok(Err(error)) => log::error!("a loop has failed: {error}"),
        // Where and why has been said.
        Err(_) => log::error!("a loop has panicked"),
    }
    std::process::exit(1)
}

/// Keeps the calling thread on the processor that is its turn, if any were named.
fn pin_to(pin: &[usize], index: usize) {
    if pin.is_empty() {
        return;
    }
    let processor = pin[index % pin.len()];
    #[cfg(target_os = "linux")]
    {
        let mut set = rustix::thread::CpuSet::new();
        if processor < rustix::thread::CpuSet::MAX_CPU {
            set.set(processor);
        }
        if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
            log::warn!("--pin {processor}: {error}");
        }
    }
    #[cfg(not(target_os = "linux"))]
    log::warn!("--pin {processor}: this system does not pin threads");
}

/// Where the server listens, for scripts that wait for it.
fn place(sockets: &Sockets) -> String {
    let protocols = match (&sockets.udp, &sockets.tcp) {
        (Some(_), Some(_)) => "udp+tcp",
        (Some(_), None) => "udp",
        (None, _) => "tcp",
    };
    format!("{protocols} {}", sockets.address)
}

/// How many connections the limit on open files allows, after raising it as far as it goes; at most as many as were
/// asked for.
fn connections_max(config: &Config) -> usize {
    let asked = config.max_connections;
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let granted = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let possible = granted.saturating_sub(DESCRIPTORS_RESERVED * config.workers as u64).max(1);
    if let Some(asked) = asked
        && asked > possible
    {
        log::warn!("--max-connections {asked} is more than the limit of {granted} open files allows: {possible}");
    }
    // Connections are numbered in 32 bits, with some numbers kept for other uses.
    asked.unwrap_or(possible).min(possible).min(u64::from(u32::MAX / 2)) as usize
}

/// Says so where fewer connections may wait to be accepted than were asked for, for listen(2) does not.
fn warn_of_a_short_backlog(config: &Config) {
    if config.no_tcp {
        return;
    }
    // A system that has no such file says nothing, and neither do we.
    let granted = std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
    if let Some(granted) = granted.and_then(|text| text.trim().parse::<i32>().ok())
        && config.backlog > granted
    {
        log::warn!("--backlog {} is more than net.core.somaxconn allows: {granted} may wait", config.backlog);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::all_or_nothing;

    #[test]
    fn a_loop_that_panics_ends_the_process() {
        const CHILD: &str = "SHOUT_A_LOOP_PANICS";
        if std::env::var_os(CHILD).is_some() {
            // A test that fails ends with another code.
            all_or_nothing::<()>(|| panic!("on purpose"));
        }
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "program::tests::a_loop_that_panics_ends_the_process"]).env(CHILD, "1");
        assert_eq!(child.output().unwrap().status.code(), Some(1));
        assert_eq!(all_or_nothing(|| Ok(7)), 7);
    }
}
