//! Which processes of this machine serve an address. Does I/O: reads `/proc`.
//!
//! Several sockets may have the port of a target, and the kernel gives a message to one of them by rules of its own
//! (`compute_score` in `net/ipv4/udp.c` and `net/ipv4/inet_hashtables.c`): the address itself before any address of its
//! family, and that before any address of both families, which is what `[::]` is to IPv4. Among sockets that are equal by
//! that, as those of `SO_REUSEPORT` are, it chooses anew for each peer, and so all of them serve.
//!
//! And one socket may belong to several processes: workers that inherited it, or one that got it from a supervisor that
//! keeps it. None of them says who reads from it. So all of them are the server, and what they use is added up: a
//! supervisor that only keeps a socket uses nothing.

use std::net::{IpAddr, SocketAddr};

use crate::engine::Transport;

/// The processes that serve a local address, in the order of their numbers. None where one of its sockets belongs to a
/// process that we may not look into, as those of other users are without privileges: the sum of the others would be too
/// small.
pub fn listeners(address: SocketAddr, transport: Transport) -> Vec<u32> {
    let sockets = serving(address, transport);
    if sockets.is_empty() { Vec::new() } else { system::owners(&sockets) }
}

/// The sockets that serve a local address, as the numbers of their inodes.
pub fn serving(address: SocketAddr, transport: Transport) -> Vec<u64> {
    closest(address, system::sockets(transport))
}

/// Those of `sockets` to which the kernel gives what is sent to `target`.
fn closest(target: SocketAddr, sockets: Vec<(SocketAddr, u64)>) -> Vec<u64> {
    let ranked: Vec<(u8, u64)> =
        sockets.into_iter().filter_map(|(local, inode)| Some((distance(local, target)?, inode))).collect();
    let least = ranked.iter().map(|(distance, _)| *distance).min();
    ranked.into_iter().filter(|(distance, _)| Some(*distance) == least).map(|(_, inode)| inode).collect()
}

/// How far a socket's address is from a target's; `None` if it never gets what is sent there.
fn distance(local: SocketAddr, target: SocketAddr) -> Option<u8> {
    if local.port() != target.port() {
        return None;
    }
    // IPv4 through a socket of IPv6 is written as `::ffff:a.b.c.d`.
    match (local.ip().to_canonical(), target.ip().to_canonical()) {
        (local, target) if local == target => Some(0),
        (local, target) if local.is_unspecified() && local.is_ipv4() == target.is_ipv4() => Some(1),
        // Whether it takes IPv4 as well is not in the tables; where it does not, nobody serves.
        (IpAddr::V6(local), IpAddr::V4(_)) if local.is_unspecified() => Some(2),
        _ => None,
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::collections::HashSet;
    use std::net::SocketAddr;

    use procfs::net::TcpState;
    use procfs::process::{FDTarget, Process, all_processes};

    use crate::engine::Transport;

    /// Local addresses and inodes of all sockets that wait for peers.
    pub(super) fn sockets(transport: Transport) -> Vec<(SocketAddr, u64)> {
        match transport {
            Transport::Udp => {
                let all = procfs::net::udp().into_iter().chain(procfs::net::udp6()).flatten();
                // A server's socket has no peer: ours, connected to it, might fit by its port alone.
                all.filter(|socket| socket.remote_address.port() == 0)
                    .map(|socket| (socket.local_address, socket.inode))
                    .collect()
            }
            Transport::Tcp => {
                let all = procfs::net::tcp().into_iter().chain(procfs::net::tcp6()).flatten();
                all.filter(|socket| socket.state == TcpState::Listen)
                    .map(|socket| (socket.local_address, socket.inode))
                    .collect()
            }
        }
    }

    /// The processes that hold these sockets; none where a socket has no owner that we can see.
    pub(super) fn owners(sockets: &[u64]) -> Vec<u32> {
        let (mut owners, mut found) = (Vec::new(), HashSet::new());
        for process in all_processes().into_iter().flatten().flatten() {
            let held = held(&process, sockets);
            if !held.is_empty() {
                owners.push(process.pid.cast_unsigned());
                found.extend(held);
            }
        }
        owners.sort_unstable();
        if sockets.iter().all(|socket| found.contains(socket)) { owners } else { Vec::new() }
    }

    fn held(process: &Process, sockets: &[u64]) -> Vec<u64> {
        let descriptors = process.fd().into_iter().flatten().flatten();
        let inode = |descriptor: procfs::process::FDInfo| match descriptor.target {
            FDTarget::Socket(inode) if sockets.contains(&inode) => Some(inode),
            _ => None,
        };
        descriptors.filter_map(inode).collect()
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::net::SocketAddr;

    use crate::engine::Transport;

    /// Not on this system.
    pub(super) fn sockets(_transport: Transport) -> Vec<(SocketAddr, u64)> {
        Vec::new()
    }

    /// Not on this system.
    pub(super) fn owners(_sockets: &[u64]) -> Vec<u32> {
        Vec::new()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
