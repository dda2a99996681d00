//! Starting a server as a child process, and ending it. Does I/O: processes and their pipes.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// How often a server is started before giving up.
///
/// The kernel picks port 0 for one transport; another program may hold that number on the other one, and then only a
/// new pick helps.
const START_ATTEMPTS: usize = 5;

/// A server that runs as a child process on a free port of `127.0.0.1`, killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    /// Starts `program` with `127.0.0.1:0` as its argument and waits for the line that says where it listens.
    pub fn start(program: &Path) -> io::Result<Running> {
        let mut attempt = 1;
        loop {
            match Running::start_once(program) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && attempt < START_ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    /// Fails with `UnexpectedEof` where the program ended before it listened; its own words are on stderr.
    fn start_once(program: &Path) -> io::Result<Running> {
        let mut child = Command::new(program).arg("127.0.0.1:0").stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("the child has no stdout"))?;
        // From here on the child is killed and reaped on every way out.
        let mut running = Running { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let mut line = String::new();
        if BufReader::new(stdout).read_line(&mut line)? == 0 {
            let reason = format!("{} ended before it listened", program.display());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        running.address = listening_address(&line)
            .ok_or_else(|| io::Error::other(format!("{} printed {line:?} as its first line", program.display())))?;
        Ok(running)
    }

    /// Where the server listens, on UDP and on TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only where the child is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in `NAME listening on udp+tcp ADDRESS:PORT`, unless its port is still 0.
fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, address) = line.trim_end().split_once(" listening on udp+tcp ")?;
    address.parse().ok().filter(|address: &SocketAddr| address.port() != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_names_a_real_port() {
        let address = |line| listening_address(line).map(|address| address.to_string());
        assert_eq!(address("tokio listening on udp+tcp 127.0.0.1:81\n"), Some("127.0.0.1:81".into()));
        assert_eq!(address("tokio listening on udp+tcp [::1]:81\n"), Some("[::1]:81".into()));
        assert_eq!(address("tokio listening on udp+tcp 127.0.0.1:0\n"), None);
        assert_eq!(address("tokio listening on udp+tcp 127.0.0.1\n"), None);
        assert_eq!(address("warming up\n"), None);
    }
}
