//! What the kernel counted about both sides while a measurement went on. Does I/O: reads `/proc` before and after.
//!
//! Nothing here may fail a run: what cannot be learnt is `None`, as everything is on systems without `/proc`.

mod course;
mod footprint;

use std::net::SocketAddr;

use crate::clock::Nanos;
use crate::engine::Transport;
use crate::host;

pub use course::Course;
pub use footprint::{FEWEST as FEWEST_FOR_MEMORY, Footprint, Memory};

/// Counters of one process or one thread, so far or between two times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on a processor.
    pub cpu: Nanos,
    /// Time that it was ready to run and had no processor.
    pub waited: Nanos,
    /// Times that it gave the processor up to wait for something.
    pub voluntary: u64,
    /// Times that the processor was taken from it.
    pub involuntary: u64,
    /// Resident memory in bytes, not a difference.
    pub resident: u64,
}

/// What happened between two times.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Observation {
    /// The server's processes together.
    pub server: Option<Usage>,
    /// That of them which used the processor for the longest time.
    pub busiest: Option<u32>,
    /// Our process.
    pub own: Option<Usage>,
    /// The share of all processors' time that the hypervisor gave to others.
    pub steal: Option<f64>,
    /// Datagrams dropped by the receive buffers of the server's sockets.
    pub server_drops: Option<u64>,
    /// Datagrams dropped by the receive buffers of our sockets.
    pub client_drops: Option<u64>,
    /// TCP segments sent again, by anybody on this machine.
    pub retransmits: Option<u64>,
    /// Connections that found a full listen queue, of anybody on this machine.
    pub listen_overflows: Option<u64>,
}

/// The counters of [`Observation`] since their beginning.
#[derive(Debug, Clone, Default)]
struct Counters {
    server: Vec<Option<Usage>>,
    own: Option<Usage>,
    stolen: Option<(u64, u64)>,
    server_drops: Option<u64>,
    client_drops: Option<u64>,
    retransmits: Option<u64>,
    listen_overflows: Option<u64>,
}

/// Whom to look at, and what was seen at first.
#[derive(Debug)]
pub struct Observer {
    /// Those that share its socket or its port.
    server: Vec<u32>,
    server_sockets: Vec<u64>,
    own_sockets: Vec<u64>,
    first: Counters,
}

impl Observer {
    /// Starts to observe the calling process, its UDP sockets that are connected to `target`, and, where the
    /// target is on this machine, the processes `server` and the UDP sockets that serve `target`.
    pub fn start(target: SocketAddr, server: &[u32], is_local: bool) -> Self {
        let server_sockets = if is_local { host::serving(target, Transport::Udp) } else { Vec::new() };
        let own_sockets = system::own_sockets_to(target);
        let mut observer =
            Observer { server: server.to_vec(), server_sockets, own_sockets, first: Counters::default() };
        observer.first = observer.counters();
        observer
    }

    /// What happened since the start.
    pub fn so_far(&self) -> Observation {
        let now = self.counters();
        let first = &self.first;
        let share = |(stolen, all): (u64, u64), (stolen_before, all_before): (u64, u64)| {
            let all = all.saturating_sub(all_before).max(1);
            stolen.saturating_sub(stolen_before) as f64 / all as f64
        };
        Observation {
            server: sum(&now.server, &first.server),
            busiest: busiest(&self.server, &now.server, &first.server),
            own: now.own.zip(first.own).map(|(now, first)| now.since(first)),
            steal: now.stolen.zip(first.stolen).map(|(now, before)| share(now, before)),
            server_drops: difference(now.server_drops, first.server_drops),
            client_drops: difference(now.client_drops, first.client_drops),
            retransmits: difference(now.retransmits, first.retransmits),
            listen_overflows: difference(now.listen_overflows, first.listen_overflows),
        }
    }

    fn counters(&self) -> Counters {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let [udp, udp6] = [read("/proc/net/udp"), read("/proc/net/udp6")];
        let drops = |sockets: &[u64]| (!sockets.is_empty()).then(|| dropped(&udp, sockets) + dropped(&udp6, sockets));
        Counters {
            server: self.server.iter().map(|pid| system::process(*pid)).collect(),
            own: system::process(std::process::id()),
            stolen: stolen(&read("/proc/stat")),
            server_drops: drops(&self.server_sockets),
            client_drops: drops(&self.own_sockets),
            retransmits: counter(&read("/proc/net/snmp"), "Tcp:", "RetransSegs"),
            listen_overflows: counter(&read("/proc/net/netstat"), "TcpExt:", "ListenOverflows"),
        }
    }
}

/// What several processes have used together. One that has ended takes what it used with it; `None` where all have.
fn sum(now: &[Option<Usage>], first: &[Option<Usage>]) -> Option<Usage> {
    let each = now.iter().zip(first).filter_map(|(now, first)| Some((*now)?.since((*first)?)));
    each.reduce(Usage::plus)
}

fn busiest(pids: &[u32], now: &[Option<Usage>], first: &[Option<Usage>]) -> Option<u32> {
    let used = |(now, first): (&Option<Usage>, &Option<Usage>)| Some((*now)?.since((*first)?).cpu);
    let each = pids.iter().zip(now.iter().zip(first)).filter_map(|(pid, usage)| Some((used(usage)?, *pid)));
    each.max().map(|(_, pid)| pid)
}

fn difference(now: Option<u64>, before: Option<u64>) -> Option<u64> {
    Some(now?.saturating_sub(before?))
}

/// What the calling thread has used so far.
pub fn thread() -> Option<Usage> {
    system::thread()
}

impl Usage {
    /// That of another process with this.
    #[must_use]
    pub fn plus(self, other: Usage) -> Usage {
        Usage {
            cpu: self.cpu + other.cpu,
            waited: self.waited + other.waited,
            voluntary: self.voluntary + other.voluntary,
            involuntary: self.involuntary + other.involuntary,
            resident: self.resident + other.resident,
        }
    }

    /// What came on top of `before`.
    #[must_use]
    pub fn since(self, before: Usage) -> Usage {
        Usage {
            cpu: self.cpu.saturating_sub(before.cpu),
            waited: self.waited.saturating_sub(before.waited),
            voluntary: self.voluntary.saturating_sub(before.voluntary),
            involuntary: self.involuntary.saturating_sub(before.involuntary),
            resident: self.resident,
        }
    }
}

/// The sum of the last column of `/proc/net/udp`, the drops, over the sockets with these inodes. No crate reads it.
fn dropped(table: &str, sockets: &[u64]) -> u64 {
    const INODE: usize = 9;
    const DROPS: usize = 12;
    let of_line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let inode = fields.get(INODE)?.parse().ok()?;
        sockets.contains(&inode).then(|| fields.get(DROPS)?.parse::<u64>().ok()).flatten()
    };
    table.lines().skip(1).filter_map(of_line).sum()
}

/// A counter from `/proc/net/snmp` or `/proc/net/netstat`: a line of names and below it one of values, both with the
/// same first word.
fn counter(table: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = table.lines().filter(|line| line.split_whitespace().next() == Some(group));
    let (names, values) = (lines.next()?, lines.next()?);
    let place = names.split_whitespace().position(|candidate| candidate == name)?;
    values.split_whitespace().nth(place)?.parse().ok()
}

/// Ticks stolen by the hypervisor, and all ticks, over all processors: the first line of `/proc/stat`, see `proc_stat(5)`.
fn stolen(stat: &str) -> Option<(u64, u64)> {
    const STEAL: usize = 7;
    /// Guest time, which follows, is in the user time already.
    const COUNTED: usize = 8;
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().take(COUNTED).map_while(|field| field.parse().ok()).collect();
    Some((*ticks.get(STEAL)?, ticks.iter().sum()))
}

#[cfg(target_os = "linux")]
mod system {
    use super::{SocketAddr, Usage, host};
    use procfs::process::{FDTarget, Process, Task};

    /// Bytes in the kibibytes of `/proc`.
    const KIBI: u64 = 1024;

    fn add(task: &Task, usage: &mut Usage) -> Option<()> {
        let (times, status) = (task.schedstat().ok()?, task.status().ok()?);
        usage.cpu += times.sum_exec_runtime;
        usage.waited += times.run_delay;
        usage.voluntary += status.voluntary_ctxt_switches?;
        usage.involuntary += status.nonvoluntary_ctxt_switches?;
        usage.resident = status.vmrss? * KIBI; // of the whole process
        Some(())
    }

    /// All threads of a process together. Of those that have ended only the processor time is known.
    pub(super) fn process(pid: u32) -> Option<Usage> {
        let mut usage = Usage::default();
        for task in Process::new(pid.cast_signed()).ok()?.tasks().ok()?.flatten() {
            let _ = add(&task, &mut usage);
        }
        Some(Usage { cpu: host::cpu_time(pid)?, ..usage })
    }

    /// The calling thread.
    pub(super) fn thread() -> Option<Usage> {
        let task = rustix::thread::gettid().as_raw_nonzero().get();
        let mut usage = Usage::default();
        add(&Process::myself().ok()?.task_from_tid(task).ok()?, &mut usage)?;
        Some(usage)
    }

    /// Our UDP sockets that are connected to an address.
    pub(super) fn own_sockets_to(target: SocketAddr) -> Vec<u64> {
        let inode = |descriptor: procfs::process::FDInfo| match descriptor.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        };
        let descriptors = Process::myself().and_then(|own| own.fd()).into_iter().flatten().flatten();
        let own: std::collections::HashSet<u64> = descriptors.filter_map(inode).collect();
        let sockets = procfs::net::udp().into_iter().chain(procfs::net::udp6()).flatten();
        sockets
            .filter(|socket| socket.remote_address == target && own.contains(&socket.inode))
            .map(|socket| socket.inode)
            .collect()
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::{SocketAddr, Usage};

    pub(super) fn process(_pid: u32) -> Option<Usage> {
        None
    }

    pub(super) fn thread() -> Option<Usage> {
        None
    }

    pub(super) fn own_sockets_to(_target: SocketAddr) -> Vec<u64> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_the_kernel_are_read_as_they_are() {
        let udp = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode \
                   ref pointer drops\n\
                   10: 0100007F:2EE0 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 4711 2 \
                   ffff8880 469\n\
                   11: 0100007F:2EE1 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 4712 2 \
                   ffff8881 7\n";
        assert_eq!(dropped(udp, &[4711]), 469);
        assert_eq!(dropped(udp, &[4711, 4712]), 476);
        assert_eq!(dropped(udp, &[1]), 0);
        let netstat =
            "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 22 3\nIpExt: InNoRoutes\nIpExt: 4\n";
        assert_eq!(counter(netstat, "TcpExt:", "ListenOverflows"), Some(22));
        assert_eq!(counter(netstat, "TcpExt:", "NoSuchThing"), None);
        assert_eq!(counter("", "Tcp:", "RetransSegs"), None);
        assert_eq!(stolen("cpu  10 1 5 80 0 0 1 3 50 0\ncpu0 1 2 3\n"), Some((3, 100)));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_kernel_has_every_counter() {
        let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = server.local_addr().unwrap();
        client.connect(target).unwrap();
        let observer = Observer::start(target, &[std::process::id()], true);
        let seen = observer.so_far();
        assert!(seen.server.unwrap().resident > 100_000 && thread().is_some() && seen.steal.is_some(), "{seen:?}");
        assert_eq!((seen.server_drops, seen.client_drops), (Some(0), Some(0)));
        assert!(seen.retransmits.is_some() && seen.listen_overflows.is_some(), "{seen:?}");
    }
}
