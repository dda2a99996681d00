//! Starting a server as a child process, and ending it. Does I/O: processes, their pipes, and a probe.

use std::io::{self, BufRead, BufReader, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use shout::target::Protocol;
use shout_load::sockets::retried;

/// How often a server is started, or a port picked, before giving up.
///
/// The kernel picks port 0 for one transport; another program may hold that number on the other one, and then only a
/// new pick helps.
const START_ATTEMPTS: usize = 5;

/// How long a command may take until it answers.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// How long one probe of a starting command waits. A server on the same machine answers in a thousandth of that.
const PROBE_WAIT: Duration = Duration::from_millis(20);

/// What stands for the port in the command of a server that does not pick its own.
pub const PORT: &str = "{port}";

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
                Err(error) if error.kind() == ErrorKind::UnexpectedEof && attempt < START_ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    /// Fails with `UnexpectedEof` where the program ended before it listened; its own words are on stderr.
    fn start_once(program: &Path) -> io::Result<Running> {
        let mut command = Command::new(program);
        let mut running = Running::spawn(command.arg("127.0.0.1:0").stdout(Stdio::piped()))?;
        let stdout = running.child.stdout.take().ok_or_else(|| io::Error::other("the child has no stdout"))?;
        let mut line = String::new();
        if BufReader::new(stdout).read_line(&mut line)? == 0 {
            let reason = format!("{} ended before it listened", program.display());
            return Err(io::Error::new(ErrorKind::UnexpectedEof, reason));
        }
        running.address = listening_address(&line)
            .ok_or_else(|| io::Error::other(format!("{} printed {line:?} as its first line", program.display())))?;
        Ok(running)
    }

    /// Starts a command of the shell with [`PORT`] in it replaced by a free one, and waits until the server answers
    /// over `protocol`. What the command prints on stdout is thrown away.
    pub fn start_command(command: &str, protocol: Protocol) -> io::Result<Running> {
        let port = free_port()?;
        // `exec`, so that the child is the server itself, whose CPU time is asked for and who is killed in the end.
        let line = format!("exec {}", command.replace(PORT, &port.to_string()));
        let mut running = Running::spawn(Command::new("sh").args(["-c", &line]).stdout(Stdio::null()))?;
        running.address.set_port(port);
        let deadline = Instant::now() + START_PATIENCE;
        while !answers(running.address, protocol)? {
            if let Some(status) = running.child.try_wait()? {
                return Err(io::Error::other(format!("the command ended before it answered: {status}")));
            }
            if Instant::now() > deadline {
                let reason = format!("no answer from port {port} after {} s", START_PATIENCE.as_secs());
                return Err(io::Error::new(ErrorKind::TimedOut, reason));
            }
        }
        Ok(running)
    }

    /// From here on the child is killed and reaped on every way out.
    fn spawn(command: &mut Command) -> io::Result<Running> {
        let child = command.stdin(Stdio::null()).spawn()?;
        Ok(Running { child, address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) })
    }

    /// Where the server listens, on UDP and on TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only where the child is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody holds on either transport, at this moment.
fn free_port() -> io::Result<u16> {
    let mut attempt = 1;
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        match UdpSocket::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && attempt < START_ATTEMPTS => attempt += 1,
            outcome => return outcome.map(|_| address.port()),
        }
    }
}

/// Whether a server answers there, asked once; a "no" takes [`PROBE_WAIT`].
fn answers(address: SocketAddr, protocol: Protocol) -> io::Result<bool> {
    let answer = match protocol {
        Protocol::Udp => echoes_a_datagram(address),
        Protocol::Tcp => TcpStream::connect(address).map(drop),
        Protocol::Both => echoes_a_datagram(address).and_then(|()| TcpStream::connect(address).map(drop)),
    };
    match answer {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            // Refused at once, where no server listens yet: nothing but time can help.
            ErrorKind::ConnectionRefused => {
                thread::sleep(PROBE_WAIT);
                Ok(false)
            }
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Ok(false),
            _ => Err(error),
        },
    }
}

fn echoes_a_datagram(address: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(PROBE_WAIT))?;
    socket.send(b"ready?")?;
    retried(|| socket.recv(&mut [0; 16])).map(drop)
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

    #[test]
    fn a_command_that_ends_is_not_waited_for() {
        let error = Running::start_command("false {port}", Protocol::Udp).unwrap_err();
        assert!(error.to_string().contains("ended before it answered"), "{error}");
    }

    #[test]
    fn a_socket_that_listens_answers() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(answers(listener.local_addr().unwrap(), Protocol::Tcp).unwrap());
        let deaf = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!answers(deaf.local_addr().unwrap(), Protocol::Udp).unwrap());
    }
}
