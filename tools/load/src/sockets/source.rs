//! The local addresses that sockets are bound to. Does I/O.
//!
//! A connection is told from others by both addresses and both ports. From one address to one port of a server there
//! are therefore at most 65,535 at a time, and usually 28,232 (`net.ipv4.ip_local_port_range`); more need more addresses.

use std::io::{self, ErrorKind};
use std::iter::Cycle;
use std::net::{IpAddr, SocketAddr};

use ipnet::{IpAddrRange, IpNet};
use mio::net::TcpStream;

/// Addresses that are tried for a socket. One may have no port left, be it for connections of the recent past; where so
/// many have none, the next ones will not either.
const MOST_TRIED: usize = 16;

/// Local addresses in turn; none: the kernel chooses.
#[derive(Debug, Clone, Default)]
pub struct Sources(Option<Cycle<IpAddrRange>>);

impl Sources {
    /// All hosts of a network, from the first on and again after the last.
    pub fn new(network: Option<IpNet>) -> Self {
        Sources(network.map(|network| network.hosts().cycle()))
    }

    /// Opens a socket that `open` binds to the address it is given, or to none: to the next one that has a port left.
    pub fn open<T>(&mut self, mut open: impl FnMut(Option<IpAddr>) -> io::Result<T>) -> io::Result<T> {
        let Some(addresses) = &mut self.0 else { return open(None) };
        let mut outcome = open(addresses.next());
        for _ in 1..MOST_TRIED {
            match outcome {
                Err(error) if has_no_port(&error) => outcome = open(addresses.next()),
                Ok(_) | Err(_) => break,
            }
        }
        outcome
    }
}

/// Whether this says that an address has no port left, or that it is not ours.
pub fn has_no_port(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable)
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

    /// The addresses that so many sockets are bound to, where `is_free` has ports left.
    fn bound(network: &str, sockets: usize, is_free: impl Fn(IpAddr) -> bool) -> Vec<Option<String>> {
        let mut sources = Sources::new(Some(network.parse().unwrap()));
        let mut bind = |address: Option<IpAddr>| {
            address.filter(|&address| is_free(address)).ok_or(io::Error::from(ErrorKind::AddrNotAvailable))
        };
        (0..sockets).map(|_| sources.open(&mut bind).ok().map(|address| address.to_string())).collect()
    }

    #[test]
    fn sources_take_turns() {
        let all = |turns: Vec<Option<String>>| turns.into_iter().flatten().collect::<Vec<_>>();
        assert_eq!(all(bound("127.0.0.0/30", 3, |_| true)), ["127.0.0.1", "127.0.0.2", "127.0.0.1"]);
        assert_eq!(all(bound("::1/128", 2, |_| true)), ["::1", "::1"]);
        assert_eq!(Sources::new(None).open(Ok).unwrap(), None);
    }

    #[test]
    fn an_address_without_a_port_is_passed_over_and_a_network_without_any_is_an_error() {
        let is_odd = |address: IpAddr| matches!(address, IpAddr::V4(four) if four.octets()[3] % 2 == 1);
        let turns = bound("127.0.0.0/29", 3, is_odd);
        assert_eq!(turns.into_iter().flatten().collect::<Vec<_>>(), ["127.0.0.1", "127.0.0.3", "127.0.0.5"]);
        assert_eq!(bound("127.0.0.0/8", 1, |_| false), [None], "sixteen million are not tried");
        let mut tries = 0;
        let refused = Sources::new(Some("::1/128".parse().unwrap())).open(|_| {
            tries += 1;
            Err::<(), _>(io::Error::from(ErrorKind::PermissionDenied))
        });
        assert_eq!((refused.unwrap_err().kind(), tries), (ErrorKind::PermissionDenied, 1));
    }
}
