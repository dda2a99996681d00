//! Targets as URLs: `tcp://HOST:PORT`, `udp://HOST:PORT`, `echo://HOST:PORT` (both at once).
//!
//! The client and the load tool name a server this way. Parsing is pure; only [`Target::addresses`] does
//! I/O, because it may ask the resolver.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// The port of the service where a target names none.
pub const DEFAULT_PORT: u16 = 12000;

/// The host where a target names none.
const DEFAULT_HOST: &str = "localhost";

/// Which transport a target speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `udp://`: one datagram in, one datagram out.
    Udp,
    /// `tcp://`: a byte stream in, the same stream in upper case out.
    Tcp,
    /// `echo://`: both at once, on one port.
    Both,
}

impl Protocol {
    const SCHEMES: [(&'static str, Protocol); 3] =
        [("udp", Protocol::Udp), ("tcp", Protocol::Tcp), ("echo", Protocol::Both)];

    /// The scheme of the URL, without `://`.
    pub fn scheme(self) -> &'static str {
        match self {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
            Protocol::Both => "echo",
        }
    }
}

/// A server as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Which transport to speak.
    pub protocol: Protocol,
    /// A name or an address; an IPv6 address without its brackets.
    pub host: String,
    /// The port, the same for both transports.
    pub port: u16,
}

impl Target {
    /// Every address of the target, in the resolver's order; callers try them one by one.
    ///
    /// Fails where the name has no address.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let addresses: Vec<_> = (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", self.host)));
        }
        Ok(addresses)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.protocol.scheme();
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "a target looks like tcp://localhost:12000, udp://[::1] or echo://10.0.0.7:9000";
        let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
        let (_, protocol) = Protocol::SCHEMES.into_iter().find(|(name, _)| *name == scheme).ok_or(FORM)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = split_port(rest).ok_or(FORM)?;
        if host.contains(['/', '@', '?', '#', ' ']) {
            return Err(FORM.into());
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(digits) => digits.parse().map_err(|_| format!("{digits:?} is not a port: 1 to 65535"))?,
        };
        if port == 0 {
            return Err("port 0 cannot be reached: 1 to 65535".into());
        }
        let host = if host.is_empty() { DEFAULT_HOST } else { host };
        Ok(Target { protocol, host: host.to_owned(), port })
    }
}

/// Splits `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (host, after) = bracketed.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        return match after.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => after.is_empty().then_some((host, None)),
        };
    }
    match text.split_once(':') {
        // A second colon means a bare IPv6 address, where host and port cannot be told apart.
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
        None => Some((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Protocol, String, u16) {
        let target: Target = text.parse().unwrap();
        (target.protocol, target.host, target.port)
    }

    #[test]
    fn host_and_port_may_be_left_out() {
        assert_eq!(parsed("tcp://example:7"), (Protocol::Tcp, "example".into(), 7));
        assert_eq!(parsed("udp://example"), (Protocol::Udp, "example".into(), 12000));
        assert_eq!(parsed("echo://:9"), (Protocol::Both, "localhost".into(), 9));
        assert_eq!(parsed("tcp://"), (Protocol::Tcp, "localhost".into(), 12000));
        assert_eq!(parsed("udp://[::1]"), (Protocol::Udp, "::1".into(), 12000));
        assert_eq!(parsed("udp://[::1]:5/"), (Protocol::Udp, "::1".into(), 5));
    }

    #[test]
    fn what_is_shown_is_read_back_the_same() {
        for text in ["tcp://localhost:12000", "udp://[fe80::1]:5", "echo://127.0.0.1:9"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn wrong_targets_are_refused() {
        for text in [
            "",
            "localhost",
            "http://a",
            "tcp:/a",
            "tcp://a:b",
            "tcp://a:70000",
            "tcp://a:0",
            "tcp://::1",
            "udp://[::1",
            "udp://[x]:1",
            "tcp://u@h",
            "tcp://h/p",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text:?} was taken");
        }
    }
}
