//! The local addresses that sockets are bound to. Does I/O.
//!
//! A connection is told from others by both addresses and both ports. From one address to one port of a server there
//! are therefore at most 65,535 at a time, and usually 28,232 (`net.ipv4.ip_local_port_range`); more need more addresses.

use std::io;
use std::iter::Cycle;
use std::net::{IpAddr, SocketAddr};

use ipnet::{IpAddrRange, IpNet};
use mio::net::TcpStream;

/// Local addresses in turn; none: the kernel chooses.
#[derive(Debug, Clone, Default)]
pub struct Sources(Option<Cycle<IpAddrRange>>);

impl Sources {
    /// All hosts of a network, from the first on and again after the last.
    pub fn new(network: Option<IpNet>) -> Self {
        Sources(network.map(|network| network.hosts().cycle()))
    }

    /// The address to bind the next socket to.
    pub fn take(&mut self) -> Option<IpAddr> {
        self.0.as_mut().and_then(Iterator::next)
    }
}

/// Begins to connect from a local address, whose port is found when the peer is known, so that one port serves many
/// peers, and connections of which nothing is left but their memory give theirs away.
pub(super) fn connect_from(source: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    #[cfg(target_os = "linux")]
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
    bind(&socket, &SocketAddr::new(source, 0))?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(TcpStream::from_std(socket.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_take_turns() {
        let mut sources = Sources::new(Some("127.0.0.0/30".parse().unwrap()));
        let turns: Vec<String> = (0..3).map(|_| sources.take().unwrap().to_string()).collect();
        assert_eq!(turns, ["127.0.0.1", "127.0.0.2", "127.0.0.1"]);
        assert_eq!(Sources::new(None).take(), None);
        let mut one = Sources::new(Some("::1/128".parse().unwrap()));
        assert_eq!((one.take(), one.take()), (Some("::1".parse().unwrap()), Some("::1".parse().unwrap())));
    }
}
