//! Talking to the server under test: blocking sockets with a time limit. Does I/O.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::difference::{Difference, bytes};
use super::expected::Case;
use crate::sockets::retried;

/// How long a server is listened to that should say nothing more. A surplus answer that takes longer is not noticed.
pub const QUIET: Duration = Duration::from_millis(300);

/// Datagrams may get lost between machines, so an unanswered one is sent once more.
const ASKED: u32 = 2;

/// The largest datagram there is, and one byte more to see that none is larger.
const RECEIVE_ROOM: usize = 65_536;

/// The server under test.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it claims to do.
    pub case: Case,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl Peer {
    /// A socket that may hear from anybody, so that it notices answers from elsewhere.
    pub fn socket(&self) -> Result<UdpSocket, Difference> {
        let any = if self.address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).map_err(|error| broken(&error))?;
        socket.set_read_timeout(Some(self.timeout)).map_err(|error| broken(&error))?;
        Ok(socket)
    }

    /// Sends a datagram.
    pub fn send(&self, socket: &UdpSocket, request: &[u8]) -> Result<(), Difference> {
        let sent = socket.send_to(request, self.address);
        sent.map(drop).map_err(|error| {
            Difference::new(format!("a datagram of {} to leave", bytes(request.len())), error.to_string())
        })
    }

    /// The next datagram from the server; `None` if none comes in time.
    pub fn receive(&self, socket: &UdpSocket) -> Result<Option<Vec<u8>>, Difference> {
        let mut buffer = vec![0; RECEIVE_ROOM];
        match retried(|| socket.recv_from(&mut buffer)) {
            Ok((_, from)) if from != self.address => {
                Err(Difference::new(format!("an answer from {}", self.address), format!("one from {from}")))
            }
            Ok((length, _)) => {
                buffer.truncate(length);
                Ok(Some(buffer))
            }
            Err(error) if is_timeout(&error) => Ok(None),
            Err(error) => Err(broken(&error)),
        }
    }

    /// Sends a datagram from a socket of its own and compares the answer.
    pub fn ask(&self, request: &[u8]) -> Result<(), Difference> {
        let socket = self.socket()?;
        let of = format!("the answer to a datagram of {}", bytes(request.len()));
        for _ in 0..ASKED {
            self.send(&socket, request)?;
            if let Some(answer) = self.receive(&socket)? {
                return Difference::between(&self.case.upper(request), &answer, &of);
            }
        }
        Err(Difference::new(of, format!("nothing within {:?}, asked {ASKED} times", self.timeout)))
    }

    /// That nothing more comes to this socket.
    pub fn expect_silence(&self, socket: &UdpSocket) -> Result<(), Difference> {
        socket.set_read_timeout(Some(QUIET)).map_err(|error| broken(&error))?;
        match self.receive(socket)? {
            None => Ok(()),
            Some(surplus) => Err(Difference::new("no further datagram", format!("one of {}", bytes(surplus.len())))),
        }
    }

    /// A new connection.
    pub fn connect(&self) -> Result<Connection, Difference> {
        let open = || {
            let stream = TcpStream::connect_timeout(&self.address, self.timeout)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(self.timeout))?;
            stream.set_write_timeout(Some(self.timeout))?;
            Ok(stream)
        };
        let stream = open().map_err(|error: io::Error| Difference::new("a connection", error.to_string()))?;
        Ok(Connection { stream, timeout: self.timeout })
    }
}

/// One connection to the server under test.
#[derive(Debug)]
pub struct Connection {
    /// For what the checks do to it besides talking.
    pub stream: TcpStream,
    timeout: Duration,
}

impl Connection {
    /// Sends all of it.
    pub fn say(&self, text: &[u8]) -> Result<(), Difference> {
        (&self.stream)
            .write_all(text)
            .map_err(|error| Difference::new(format!("{} to be taken", bytes(text.len())), error.to_string()))
    }

    /// Reads as much as is expected, and compares.
    pub fn hear(&self, expected: &[u8]) -> Result<(), Difference> {
        let mut came = vec![0; expected.len()];
        let mut length = 0;
        // A server that answers a byte at a time must not keep us for the timeout of each.
        let deadline = Instant::now() + self.timeout + Duration::from_micros(expected.len() as u64);
        let mut ending = "no more in time".to_owned();
        while length < expected.len() && Instant::now() < deadline {
            match (&self.stream).read(&mut came[length..]) {
                Ok(0) => {
                    ending = "then the end of the stream".into();
                    break;
                }
                Ok(more) => length += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => break,
                Err(error) => {
                    ending = format!("then {error}");
                    break;
                }
            }
        }
        let of = format!("the next {} of the stream", bytes(expected.len()));
        Difference::between(expected, &came[..length], &of).map_err(|difference| {
            let came = if length < expected.len() { format!("{}; {ending}", difference.came) } else { difference.came };
            Difference { came, ..difference }
        })
    }

    /// Says that nothing more will be sent.
    pub fn finish(&self) -> Result<(), Difference> {
        self.stream
            .shutdown(Shutdown::Write)
            .map_err(|error| Difference::new("an open connection whose one half can be closed", error.to_string()))
    }

    /// That the stream ends here, cleanly.
    pub fn hear_end(&self) -> Result<(), Difference> {
        let expected = "the end of the stream after the last byte";
        let mut surplus = [0; 64];
        match retried(|| (&self.stream).read(&mut surplus)) {
            Ok(0) => Ok(()),
            Ok(length) => Err(Difference::new(expected, format!("{} more", bytes(length)))),
            Err(error) if is_timeout(&error) => {
                Err(Difference::new(expected, format!("no end within {:?}", self.timeout)))
            }
            Err(error) => Err(Difference::new(expected, error.to_string())),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn broken(error: &io::Error) -> Difference {
    Difference::new("a working socket", error.to_string())
}
