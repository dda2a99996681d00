//! What this machine can tell about a run: processors, CPU time, who owns a socket. Does I/O: reads `/proc`.
//!
//! Nothing here may fail a run: what cannot be learnt is `None`.

use std::net::{SocketAddr, UdpSocket};

use crate::clock::Nanos;
use crate::engine::Transport;

/// A processor's number.
pub type Cpu = usize;

/// Whether an address is one of this machine's own.
pub fn is_local(address: SocketAddr) -> bool {
    // The kernel binds a socket to its own addresses only.
    address.ip().is_loopback() || UdpSocket::bind(SocketAddr::new(address.ip(), 0)).is_ok()
}

/// The kernel's name and release, such as `Linux 6.18.5`.
pub fn kernel() -> String {
    let name = rustix::system::uname();
    format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy())
}

/// The name of this machine, or of the container that this runs in.
pub fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Raises the soft limit on open files to the hard one: each connection is one.
pub fn raise_open_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, opening the sockets says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// How many files this process may have open; `None`: as many as it likes.
pub fn open_file_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{Cpu, Nanos, SocketAddr, Transport};
    use procfs::net::TcpState;
    use procfs::process::{FDTarget, Process, all_processes};
    use rustix::process::Pid;
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// The processors that the calling thread may use, in order.
    pub fn processors() -> Vec<Cpu> {
        sched_getaffinity(None).map_or_else(|_| vec![0], |set| numbers(&set))
    }

    /// The processors that the first thread of a process may use, in order.
    pub fn processors_of(pid: u32) -> Option<Vec<Cpu>> {
        let set = sched_getaffinity(Some(Pid::from_raw(pid.cast_signed())?)).ok()?;
        Some(numbers(&set))
    }

    fn numbers(set: &CpuSet) -> Vec<Cpu> {
        (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
    }

    /// Binds the calling thread, or the first thread of the process `pid`, to one processor; says whether it worked.
    pub fn pin(pid: Option<u32>, cpu: Cpu) -> bool {
        let mut set = CpuSet::new();
        set.set(cpu);
        let pid = pid.and_then(|pid| Pid::from_raw(pid.cast_signed()));
        sched_setaffinity(pid, &set).is_ok()
    }

    /// The CPU time that all threads of a process have used, to the nanosecond (`/proc/PID/task/TID/schedstat`).
    pub fn cpu_time(pid: u32) -> Option<Nanos> {
        let tasks = Process::new(pid.cast_signed()).ok()?.tasks().ok()?;
        Some(tasks.flatten().filter_map(|task| task.schedstat().ok()).map(|stat| stat.sum_exec_runtime).sum())
    }

    /// The name of a process, at most 15 bytes of it.
    pub fn name(pid: u32) -> Option<String> {
        Some(Process::new(pid.cast_signed()).ok()?.stat().ok()?.comm)
    }

    /// The process that listens on a local address. Processes of other users stay hidden without privileges.
    pub fn listener(address: SocketAddr, transport: Transport) -> Option<u32> {
        let inode = listening_inode(address, transport)?;
        let owns = |process: &Process| {
            let mut descriptors = process.fd().into_iter().flatten().flatten();
            descriptors.any(|descriptor| matches!(descriptor.target, FDTarget::Socket(number) if number == inode))
        };
        let owner = all_processes().ok()?.flatten().find(owns)?;
        Some(owner.pid.cast_unsigned())
    }

    fn listening_inode(address: SocketAddr, transport: Transport) -> Option<u64> {
        let fits = |local: SocketAddr| {
            local.port() == address.port() && (local.ip() == address.ip() || local.ip().is_unspecified())
        };
        match transport {
            Transport::Udp => {
                let sockets = procfs::net::udp().into_iter().chain(procfs::net::udp6()).flatten();
                // A server's socket has no peer: ours, connected to it, might fit by its port alone.
                sockets
                    .filter(|socket| socket.remote_address.port() == 0)
                    .find(|socket| fits(socket.local_address))
                    .map(|socket| socket.inode)
            }
            Transport::Tcp => {
                let sockets = procfs::net::tcp().into_iter().chain(procfs::net::tcp6()).flatten();
                sockets
                    .filter(|socket| socket.state == TcpState::Listen)
                    .find(|socket| fits(socket.local_address))
                    .map(|socket| socket.inode)
            }
        }
    }
}

#[cfg(target_os = "linux")]
pub use linux::{cpu_time, listener, name, pin, processors, processors_of};

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use super::{Cpu, Nanos, SocketAddr, Transport};

    /// One, of which nothing more is known.
    pub fn processors() -> Vec<Cpu> {
        vec![0]
    }

    /// Not on this system.
    pub fn processors_of(_pid: u32) -> Option<Vec<Cpu>> {
        None
    }

    /// Not on this system.
    pub fn pin(_pid: Option<u32>, _cpu: Cpu) -> bool {
        false
    }

    /// Not on this system.
    pub fn cpu_time(_pid: u32) -> Option<Nanos> {
        None
    }

    /// Not on this system.
    pub fn name(_pid: u32) -> Option<String> {
        None
    }

    /// Not on this system.
    pub fn listener(_address: SocketAddr, _transport: Transport) -> Option<u32> {
        None
    }
}

#[cfg(not(target_os = "linux"))]
pub use elsewhere::{cpu_time, listener, name, pin, processors, processors_of};

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_by_its_socket() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        assert_eq!(listener(udp.local_addr().unwrap(), Transport::Udp), Some(std::process::id()));
        assert_eq!(listener(SocketAddr::from(([127, 0, 0, 1], port)), Transport::Tcp), Some(std::process::id()));
        drop(udp);
        assert!(name(std::process::id()).is_some());
    }

    #[test]
    fn cpu_time_grows_with_work() {
        let before = cpu_time(std::process::id()).unwrap();
        let start = std::time::Instant::now();
        // The kernel brings the account of a running thread up to date at its ticks, and a busy machine may let it wait.
        while cpu_time(std::process::id()).unwrap() == before {
            assert!(start.elapsed() < std::time::Duration::from_secs(20), "spinning took no processor time");
        }
    }

    #[test]
    fn loopback_is_local_and_a_documentation_address_is_not() {
        assert!(is_local("127.0.0.1:9".parse().unwrap()));
        assert!(!is_local("192.0.2.1:9".parse().unwrap()));
    }
}
