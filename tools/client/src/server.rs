//! Whom the client talks to, and the words for what went wrong there. Asks the resolver once; no other I/O.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use shout::target::Target;

use crate::stop::Stop;

/// A server, with how patient to be with it.
pub(crate) struct Server {
    /// As the person named it.
    pub(crate) target: Target,
    /// What the name means, in the order in which to try.
    pub(crate) addresses: Vec<SocketAddr>,
    /// How long to wait for a connection, and for each answer.
    pub(crate) timeout: Duration,
    /// How often a datagram is sent again when no answer came.
    pub(crate) retries: u64,
}

impl Server {
    /// Looks the name up.
    pub(crate) fn resolve(target: Target, timeout: Duration, retries: u64) -> Result<Self, Stop> {
        let addresses =
            target.addresses().map_err(|error| Stop::Failed(format!("cannot find {}: {error}", target.host)))?;
        Ok(Server { target, addresses, timeout, retries })
    }

    /// What a person should read for an error of a socket to this server.
    pub(crate) fn explain(&self, error: &io::Error) -> String {
        let target = &self.target;
        match error.kind() {
            io::ErrorKind::ConnectionRefused => format!("no server at {target}"),
            io::ErrorKind::ConnectionReset => format!("{target} reset the connection"),
            // A socket with a timeout says `WouldBlock`, a connection attempt with one `TimedOut`.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("no answer from {target} within {:?}", self.timeout)
            }
            _ => format!("cannot talk to {target}: {error}"),
        }
    }
}
