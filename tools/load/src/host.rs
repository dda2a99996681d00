//! What this machine can tell about a run: processors, CPU time, who owns a socket. Does I/O: reads `/proc`.
//!
//! Nothing here may fail a run: what cannot be learnt is `None`.

mod listeners;

use std::net::{SocketAddr, UdpSocket};

use crate::clock::Nanos;
pub use listeners::{listeners, serving};

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
    use super::{Cpu, Nanos};
    use crate::clock::SECOND;
    use procfs::process::Process;
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

    /// The CPU time that all threads of a process have used, to the nanosecond, those included that have ended: what a server
    /// with a thread for each connection has done is otherwise gone with the connection.
    pub fn cpu_time(pid: u32) -> Option<Nanos> {
        let clock = nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(pid.cast_signed())).ok()?;
        let used = clock.now().ok()?;
        Some(used.tv_sec().cast_unsigned() * SECOND + used.tv_nsec().cast_unsigned())
    }

    /// The name of a process, at most 15 bytes of it.
    pub fn name(pid: u32) -> Option<String> {
        Some(Process::new(pid.cast_signed()).ok()?.stat().ok()?.comm)
    }
}

#[cfg(target_os = "linux")]
pub use linux::{cpu_time, name, pin, processors, processors_of};

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use super::{Cpu, Nanos};

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
}

#[cfg(not(target_os = "linux"))]
pub use elsewhere::{cpu_time, name, pin, processors, processors_of};

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// What the calling thread has used.
    fn own_time() -> Nanos {
        use rustix::time::{ClockId, clock_gettime};
        let used = clock_gettime(ClockId::ThreadCPUTime);
        used.tv_sec.cast_unsigned() * crate::clock::SECOND + used.tv_nsec.cast_unsigned()
    }

    #[test]
    fn cpu_time_grows_with_work_and_stays_when_a_thread_has_ended() {
        const WORK: Nanos = 2_000_000;
        let before = cpu_time(std::process::id()).unwrap();
        std::thread::spawn(|| while own_time() < WORK {}).join().unwrap();
        assert!(cpu_time(std::process::id()).unwrap() >= before + WORK);
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        assert_eq!(cpu_time(ended.id()), None);
    }

    #[test]
    fn loopback_is_local_and_a_documentation_address_is_not() {
        assert!(is_local("127.0.0.1:9".parse().unwrap()));
        assert!(!is_local("192.0.2.1:9".parse().unwrap()));
    }
}
