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
    /// How its turns on a processor ended, where that is known.
    pub switches: Option<Switches>,
    /// Resident memory in bytes, not a difference.
    pub resident: u64,
}

/// How turns on a processor ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Switches {
    /// Times that it was given up to wait for something.
    pub voluntary: u64,
    /// Times that it was taken away.
    pub involuntary: u64,
}

/// A process as it is at a time.
#[derive(Debug, Clone, Default)]
struct Seen {
    /// What all its threads have used, but for the switches and the waiting of those that have ended: the kernel forgets them.
    usage: Usage,
    /// The threads that it has.
    threads: Vec<i32>,
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
    server: Vec<Option<Seen>>,
    own: Option<Seen>,
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
            own: since(now.own.as_ref(), first.own.as_ref()),
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

/// What a process has used between two times; `None` where it was not there at both. Of a thread that has ended in between, the
/// switches before are in the first sum and not in the second: then nobody knows how many there were.
fn since(now: Option<&Seen>, first: Option<&Seen>) -> Option<Usage> {
    let (now, first) = (now?, first?);
    let has_all = first.threads.iter().all(|thread| now.threads.contains(thread));
    let used = now.usage.since(first.usage);
    Some(Usage { switches: used.switches.filter(|_| has_all), ..used })
}

/// What several processes have used together. One that has ended takes what it used with it; `None` where all have.
fn sum(now: &[Option<Seen>], first: &[Option<Seen>]) -> Option<Usage> {
    let each = now.iter().zip(first).filter_map(|(now, first)| since(now.as_ref(), first.as_ref()));
    each.reduce(Usage::plus)
}

fn busiest(pids: &[u32], now: &[Option<Seen>], first: &[Option<Seen>]) -> Option<u32> {
    let used = |(now, first): (&Option<Seen>, &Option<Seen>)| Some(since(now.as_ref(), first.as_ref())?.cpu);
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
            switches: self.switches.zip(other.switches).map(|(one, other)| Switches {
                voluntary: one.voluntary + other.voluntary,
                involuntary: one.involuntary + other.involuntary,
            }),
            resident: self.resident + other.resident,
        }
    }

    /// What came on top of `before`.
    #[must_use]
    pub fn since(self, before: Usage) -> Usage {
        Usage {
            cpu: self.cpu.saturating_sub(before.cpu),
            waited: self.waited.saturating_sub(before.waited),
            switches: self.switches.zip(before.switches).map(|(now, before)| Switches {
                voluntary: now.voluntary.saturating_sub(before.voluntary),
                involuntary: now.involuntary.saturating_sub(before.involuntary),
            }),
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
    use super::{Seen, SocketAddr, Switches, Usage, host};
    use procfs::process::{FDTarget, Process, Task};

    /// Bytes in the kibibytes of `/proc`.
    const KIBI: u64 = 1024;

    /// What a thread has used so far.
    fn of_thread(task: &Task) -> Option<Usage> {
        let (times, status) = (task.schedstat().ok()?, task.status().ok()?);
        let switches = status.voluntary_ctxt_switches.zip(status.nonvoluntary_ctxt_switches);
        Some(Usage {
            cpu: times.sum_exec_runtime,
            waited: times.run_delay,
            switches: switches.map(|(voluntary, involuntary)| Switches { voluntary, involuntary }),
            resident: status.vmrss? * KIBI, // of the whole process
        })
    }

    /// All threads of a process together. Of those that have ended only the processor time is known.
    pub(super) fn process(pid: u32) -> Option<Seen> {
        let mut seen = Seen::default();
        let mut sum: Option<Usage> = None;
        for task in Process::new(pid.cast_signed()).ok()?.tasks().ok()?.flatten() {
            if let Some(usage) = of_thread(&task) {
                seen.threads.push(task.tid);
                let resident = usage.resident;
                sum = Some(Usage { resident, ..sum.map_or(usage, |sum| sum.plus(usage)) });
            }
        }
        seen.usage = Usage { cpu: host::cpu_time(pid)?, ..sum.unwrap_or_default() };
        Some(seen)
    }

    /// The calling thread.
    pub(super) fn thread() -> Option<Usage> {
        let task = rustix::thread::gettid().as_raw_nonzero().get();
        of_thread(&Process::myself().ok()?.task_from_tid(task).ok()?)
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
    use super::{Seen, SocketAddr, Usage};

    pub(super) fn process(_pid: u32) -> Option<Seen> {
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

    #[test]
    fn of_a_process_whose_thread_has_ended_the_switches_are_not_known() {
        let seen = |cpu: Nanos, voluntary: u64, threads: &[i32]| {
            let switches = Some(Switches { voluntary, involuntary: 0 });
            Seen { usage: Usage { cpu, switches, ..Usage::default() }, threads: threads.to_vec() }
        };
        let used = |now: Seen| since(Some(&now), Some(&seen(100, 50, &[1, 2]))).unwrap();
        let grown = used(seen(150, 70, &[1, 2, 3]));
        assert_eq!((grown.cpu, grown.switches.unwrap().voluntary), (50, 20));
        let shrunk = used(seen(150, 7, &[1, 3]));
        assert_eq!((shrunk.cpu, shrunk.switches), (50, None));
        assert_eq!(grown.plus(shrunk).switches, None, "nor are those of several processes of which it is one");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernel_forgets_what_a_thread_has_done() {
        let address = "127.0.0.1:1".parse().unwrap();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let (name, named) = std::sync::mpsc::channel();
        let other = std::thread::spawn(move || {
            name.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
            let _ = ended.recv();
        });
        let thread = named.recv().unwrap();
        let observer = Observer::start(address, &[], true);
        assert!(observer.first.own.as_ref().unwrap().threads.contains(&thread));
        drop(end);
        other.join().unwrap();
        // The kernel wakes whoever joins a moment before the thread has gone.
        while system::process(std::process::id()).unwrap().threads.contains(&thread) {
            std::thread::yield_now();
        }
        assert_eq!(observer.so_far().own.unwrap().switches, None);
    }
}
