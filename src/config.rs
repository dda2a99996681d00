//! Every flag of the server, with unit, default and reason. Pure, but for the processors that there are.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::batch::UdpIo;
use crate::ratelimit;
use crate::units;
use crate::uppercase::Case;

/// Descriptors that each loop keeps back from connections: both sockets, the poll, signals; and, as far as they are the
/// process's, the admin endpoint, the standard streams and the few that libraries open for a moment.
pub const DESCRIPTORS_RESERVED: u64 = 32;

const EXAMPLES: &str = "\
Examples:
  shout-server                                   serve 127.0.0.1:12000, UDP and TCP
  shout-server --listen '[::]:7' --stats 1s      both families, counters each second
  shout-server --listen 127.0.0.1:0 --no-tcp     UDP only, on a free port
  shout-server --case unicode                    straße becomes STRASSE
  shout-server --admin 9112                      http://127.0.0.1:9112/metrics for Prometheus

Every flag can come from the environment, as SHOUT_IDLE_TIMEOUT=1h or SHOUT_SPIN=1; a flag wins over it.

SIGTERM and SIGINT finish what is owed and end the server; a second one ends it at once. SIGHUP, as when the terminal is \
closed, does the same once, unless nohup has it ignored. SIGUSR1 prints the counters, SIGUSR2 writes the trace.";

/// An upper-case echo service over UDP and TCP: one thread, one event loop.
#[derive(Debug, Clone, Parser)]
#[command(name = "shout-server", version, before_help = EXAMPLES, max_term_width = 110)]
pub struct Config {
    /// Address and port of both protocols. A public address makes an echo that strangers can aim at others, so
    /// it must be asked for. `[::]` serves IPv4 too. Port 0 takes a free one. Not used where a service manager passes
    /// sockets
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen_address, default_value = "127.0.0.1:12000")]
    pub listen: SocketAddr,

    /// Serve TCP only
    #[arg(long, conflicts_with = "no_tcp")]
    pub no_udp: bool,

    /// Serve UDP only
    #[arg(long)]
    pub no_tcp: bool,

    /// Which letters are raised: a to z, byte for byte; or all that Unicode knows, which may change lengths
    #[arg(long, value_name = "CASE", default_value = "ascii")]
    pub case: Case,

    /// The most connections at once [default: the limit on open files, less 32 for each loop]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub max_connections: Option<u64>,

    /// Close a connection on which nothing has happened for this long [default: never; people type slowly]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub idle_timeout: Option<Duration>,

    /// Close a connection whose peer has not read what it is owed, or has vanished, for this long
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "60s")]
    pub stall_timeout: Duration,

    /// The most memory held for what peers are owed and do not read; beyond it the longest-stalled are reset
    #[arg(long, value_name = "SIZE", value_parser = units::size, default_value = "64MiB")]
    pub max_unsent: usize,

    /// How long SIGTERM, SIGINT and SIGHUP wait for peers to take what they are owed
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "10s")]
    pub drain_timeout: Duration,

    /// Receive buffer of the UDP socket: what arrives while the loop is elsewhere waits here or is lost
    #[arg(long, value_name = "SIZE", value_parser = buffer_size, default_value = "8MiB")]
    pub udp_recv_buffer: usize,

    /// Send buffer of the UDP socket
    #[arg(long, value_name = "SIZE", value_parser = buffer_size, default_value = "8MiB")]
    pub udp_send_buffer: usize,

    /// Receive buffer of each connection [default: the kernel's, which grows with need]
    #[arg(long, value_name = "SIZE", value_parser = buffer_size)]
    pub tcp_recv_buffer: Option<usize>,

    /// Send buffer of each connection [default: the kernel's, which grows with need]
    #[arg(long, value_name = "SIZE", value_parser = buffer_size)]
    pub tcp_send_buffer: Option<usize>,

    /// Connections that may wait to be accepted
    #[arg(long, value_name = "N", value_parser = backlog, default_value = "1024")]
    pub backlog: i32,

    /// Answer at most this many datagrams a second from one IPv4 address or IPv6 /64 network. Each of several loops counts
    /// for itself [default: no limit]
    #[arg(long, value_name = "N", value_parser = rate_limit)]
    pub udp_rate_limit: Option<NonZeroU32>,

    /// Let the next server start on the same address while this one ends. Both need this flag; without it a second
    /// start is refused. Connections that the kernel holds for this one at its very end are reset, or handed to the next
    /// one where `net.ipv4.tcp_migrate_req` is 1; datagrams are lost. Sockets from a service manager lose neither
    #[arg(long)]
    pub reuse_port: bool,

    /// Answer datagrams whose source port is this server's own port. Two servers can then echo each other for ever
    #[arg(long)]
    pub allow_source_port_own: bool,

    /// How datagrams move: many a system call, or one by one. auto takes batches where the system has them
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub udp_io: UdpIo,

    /// Run this many independent loops on the same address; the kernel deals peers out among them by their addresses.
    /// They share --max-connections (rounded up) and --max-unsent evenly
    #[arg(long, value_name = "N", value_parser = workers, default_value = "1")]
    pub workers: usize,

    /// Keep each loop on one processor: the first on the first of these, and so on, round again
    #[arg(long, value_name = "CPU,…", value_delimiter = ',', value_parser = processor)]
    pub pin: Vec<usize>,

    /// Never sleep: poll without end, for half the round-trip time and a whole processor for each loop
    #[arg(long)]
    pub spin: bool,

    /// Once listening, give up all files and every system call that the loop does not make. Linux only
    #[arg(long)]
    pub sandbox: bool,

    /// Answer over HTTP what a monitor asks: /metrics, /healthz, /readyz. A port alone is one of 127.0.0.1. Servers that
    /// overlap (--reuse-port) need one each [default: nothing]
    #[arg(long, value_name = "ADDR:PORT", value_parser = admin_address)]
    pub admin: Option<SocketAddr>,

    /// Take down what the loop does, the newest 65,536 records of it, and write them to this file at the end and on
    /// SIGUSR2, as a trace that Perfetto's viewer opens and `shout-load trace FILE` makes a page of. With several loops
    /// run.json becomes run-0.json and so on
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,

    /// Print the counters that changed, at this interval
    #[arg(long, value_name = "TIME", value_parser = interval)]
    pub stats: Option<Duration>,

    /// Say more on standard error
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,

    /// Say nothing on standard error but errors
    #[arg(short, long)]
    pub quiet: bool,
}

/// An address of a host, with a port. A socket bound to a group would answer everything that is sent to the group.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "an address looks like 127.0.0.1:12000 or [::1]:12000")?;
    match address.ip().to_canonical() {
        ip if ip.is_multicast() || ip == Ipv4Addr::BROADCAST => {
            Err(format!("{ip} is a group and not an address of this host"))
        }
        _ => Ok(address),
    }
}

/// Likewise, or a port of loopback: what the counters say is nobody else's business unless it is asked for.
fn admin_address(text: &str) -> Result<SocketAddr, String> {
    match text.parse() {
        Ok(port) => Ok((Ipv4Addr::LOCALHOST, port).into()),
        Err(_) => listen_address(text).map_err(|error| format!("{error}, or for a port of this host 9112")),
    }
}

/// A count of at least one.
fn at_least_one(text: &str) -> Result<u64, String> {
    match units::count(text)? {
        0 => Err("at least 1 is needed".into()),
        count => Ok(count),
    }
}

/// Replies a second.
fn rate_limit(text: &str) -> Result<NonZeroU32, String> {
    let count = at_least_one(text)?;
    let rate = u32::try_from(count).ok().and_then(NonZeroU32::new).filter(|&rate| rate <= ratelimit::RATE_MAX);
    rate.ok_or_else(|| format!("at most {} are possible", ratelimit::RATE_MAX))
}

/// A number of loops. More than processors that exist anywhere is a slip of the finger.
fn workers(text: &str) -> Result<usize, String> {
    const WORKERS_MAX: u64 = 1024;
    match at_least_one(text)? {
        count if count > WORKERS_MAX => Err(format!("at most {WORKERS_MAX} are possible")),
        count => Ok(count as usize),
    }
}

/// The number of a processor that this process may use.
fn processor(text: &str) -> Result<usize, String> {
    let processor = text.parse().map_err(|_| "processors are numbers such as 0 or 0,2")?;
    match processors() {
        Some(there) if !there.contains(&processor) => {
            let there = there.iter().map(ToString::to_string).collect::<Vec<_>>();
            Err(format!("this process may use the processors {}", there.join(",")))
        }
        _ => Ok(processor),
    }
}

/// The processors that this process may use, in order, where the system tells. Those that whoever started it keeps to others
/// are among them, for it may leave where it was put. The kernel grants as many as it can of all that a thread asks for.
fn processors() -> Option<Vec<usize>> {
    #[cfg(target_os = "linux")]
    {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

        let granted = std::thread::spawn(|| {
            let mut all = CpuSet::new();
            (0..CpuSet::MAX_CPU).for_each(|processor| all.set(processor));
            let _ = sched_setaffinity(None, &all);
            sched_getaffinity(None)
        });
        let granted = granted.join().ok()?.ok()?;
        Some((0..CpuSet::MAX_CPU).filter(|&processor| granted.is_set(processor)).collect())
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// A socket buffer: the kernel takes the size as a C `int` and doubles it.
fn buffer_size(text: &str) -> Result<usize, String> {
    const BUFFER_MAX: usize = 1 << 30;
    match units::size(text)? {
        0 => Err("at least 1 byte is needed".into()),
        size if size > BUFFER_MAX => Err("at most 1GiB is possible".into()),
        size => Ok(size),
    }
}

/// A backlog: listen(2) takes a C `int`.
fn backlog(text: &str) -> Result<i32, String> {
    let count = at_least_one(text)?;
    i32::try_from(count).map_err(|_| format!("at most {} is possible", i32::MAX))
}

/// An interval that a person could read along with.
fn interval(text: &str) -> Result<Duration, String> {
    const INTERVAL_MIN: Duration = Duration::from_millis(10);
    let interval = units::duration(text)?;
    if interval < INTERVAL_MIN { Err("at least 10ms is needed".into()) } else { Ok(interval) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent_and_the_defaults_safe() {
        Config::command().debug_assert();
        let config = Config::parse_from(["shout-server"]);
        assert!(config.listen.ip().is_loopback(), "an echo on a public address must be asked for");
        assert_eq!((config.listen.port(), config.case), (12000, Case::Ascii));
        assert!(!config.allow_source_port_own);
    }

    #[test]
    fn a_group_is_no_address_to_listen_on() {
        for listen in ["224.0.0.1:7", "255.255.255.255:7", "[ff02::1]:7", "[::ffff:224.0.0.1]:7", "localhost"] {
            assert!(Config::try_parse_from(["shout-server", "--listen", listen]).is_err(), "{listen}");
        }
    }

    #[test]
    fn sizes_that_no_socket_can_have_are_refused() {
        for arguments in [
            ["--udp-recv-buffer", "0"],
            ["--tcp-send-buffer", "2GiB"],
            ["--backlog", "3g"],
            ["--max-connections", "0"],
            ["--udp-rate-limit", "0"],
            ["--udp-rate-limit", "2m"],
        ] {
            assert!(Config::try_parse_from(["shout-server", arguments[0], arguments[1]]).is_err(), "{arguments:?}");
        }
    }
}
