//! Lines over UDP: one datagram out, one answer back, one line at a time. Blocks on one connected socket.
//!
//! Only one line is in flight, so answers need no sorting and the network sees at most one datagram a round trip, which
//! is what a sender without congestion control may use (RFC 8085, section 3.1.2). Which datagram counts as the answer is
//! decided in [`crate::matching`].

use std::io::{self, BufRead, Read as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Instant;

use crate::matching::answers;
use crate::server::Server;
use crate::show::Output;
use crate::stop::Stop;

/// The longest line, in bytes: 65,535 of an IPv4 packet, less 20 for its header and 8 for UDP's (RFC 791, RFC 768).
///
/// IPv6 could carry 20 more; the service's contract is one length for both.
const LONGEST_LINE: usize = 65_507;

/// A longest answer fits, and a datagram of IPv6 that is longer still is not cut to look like one.
const BUFFER: usize = 65_536;

/// A conversation with one server over UDP.
pub(crate) struct Datagrams<'a> {
    server: &'a Server,
    /// The socket that had the last answer; without one, the addresses are tried in turn.
    answered: Option<UdpSocket>,
    buffer: Vec<u8>,
}

/// Why an address gave no answer; the next one is tried in either case.
enum Unanswered {
    /// The kernel said so at once, most often because no server has the port.
    Refused(io::Error),
    /// All attempts timed out. So many datagrams came and were not the answer.
    Silent { ignored: u64 },
}

impl From<io::Error> for Unanswered {
    fn from(error: io::Error) -> Self {
        Unanswered::Refused(error)
    }
}

impl<'a> Datagrams<'a> {
    pub(crate) fn new(server: &'a Server) -> Self {
        Datagrams { server, answered: None, buffer: vec![0; BUFFER] }
    }

    /// Sends the line and returns its answer, or a sentence that says why there is none.
    ///
    /// An address that has answered is kept until it fails once; before that, a refusal or silence moves on to the next.
    /// Takes at most the timeout times the attempts times the addresses.
    pub(crate) fn ask(&mut self, line: &[u8]) -> Result<Vec<u8>, String> {
        if line.len() > LONGEST_LINE {
            return Err(format!("the line is too long for a datagram: more than {LONGEST_LINE} bytes"));
        }
        let sockets: Vec<_> = match self.answered.take() {
            Some(socket) => vec![Ok(socket)],
            None => self.server.addresses.iter().map(connected).collect(),
        };
        let mut reason = String::new();
        for socket in sockets {
            match socket.map_err(Unanswered::from).and_then(|socket| Ok((self.exchange(&socket, line)?, socket))) {
                Ok((answer, socket)) => {
                    self.answered = Some(socket);
                    return Ok(answer);
                }
                Err(unanswered) => reason = self.explain(&unanswered),
            }
        }
        Err(reason)
    }

    fn exchange(&mut self, socket: &UdpSocket, line: &[u8]) -> Result<Vec<u8>, Unanswered> {
        let mut ignored = 0;
        for _attempt in 0..=self.server.retries {
            send(socket, line)?;
            // Datagrams that are not the answer must not stretch the wait, so the deadline stands once for the attempt.
            let deadline = Instant::now() + self.server.timeout;
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                socket.set_read_timeout(Some(left))?;
                match socket.recv(&mut self.buffer) {
                    Ok(length) if answers(line, &self.buffer[..length]) => return Ok(self.buffer[..length].to_vec()),
                    Ok(_) => ignored += 1,
                    // Time is up or a signal came; the deadline knows which. (A receive with a timeout is interrupted
                    // even when the program is merely stopped and continued, signal(7).)
                    Err(error)
                        if matches!(
                            error.kind(),
                            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                        ) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Err(Unanswered::Silent { ignored })
    }

    fn explain(&self, unanswered: &Unanswered) -> String {
        let Server { target, timeout, retries, .. } = self.server;
        match unanswered {
            Unanswered::Refused(error) => self.server.explain(error),
            Unanswered::Silent { ignored } => {
                let attempts = if *retries == 0 { "once".into() } else { format!("{} times", retries + 1) };
                let silence = format!("no answer from {target}: sent {attempts}, waited {timeout:?} each time");
                match ignored {
                    0 => silence,
                    _ => format!("{silence}, ignored {ignored} that did not match"),
                }
            }
        }
    }
}

/// A socket that hears only this address, and learns when nobody has the port (udp(7): errors reach connected sockets).
fn connected(address: &SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    Ok(socket)
}

/// Sends one datagram.
///
/// A refusal reported here is about an earlier datagram, and this one has not left (udp(7)). Reporting clears it, so
/// the second call sends; if that is refused as well, `recv` will say so.
fn send(socket: &UdpSocket, line: &[u8]) -> io::Result<()> {
    let mut told = false;
    loop {
        match socket.send(line) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && !told => told = true,
            sent => return sent.map(drop),
        }
    }
}

/// Sends every line of the input and prints the answers in order; stops at the first line without one.
///
/// The output has a line end where the input has one, so it is the input in upper case, byte for byte.
pub(crate) fn relay(datagrams: &mut Datagrams, mut input: impl BufRead, output: &mut Output) -> Result<(), Stop> {
    /// A longest line and its end. What has no end by then is too long, and is refused without being read whole.
    const READ_LIMIT: u64 = LONGEST_LINE as u64 + 1;
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = input.by_ref().take(READ_LIMIT).read_until(b'\n', &mut line);
        if read.map_err(|error| Stop::Failed(format!("cannot read stdin: {error}")))? == 0 {
            break;
        }
        let ended = line.pop_if(|byte| *byte == b'\n').is_some();
        let answer = datagrams.ask(&line).map_err(|why| Stop::Failed(format!("line {number}: {why}")))?;
        if ended {
            output.line(answer)?;
        } else {
            output.piece(&answer)?;
        }
    }
    output.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retried::retried;
    use std::time::Duration;

    /// A server on one address that answers nothing yet, and a port beside it that refuses.
    ///
    /// The refusing port belongs to a socket connected elsewhere: nobody else can get it, and it hears no stranger.
    fn listening_and_refusing() -> (UdpSocket, UdpSocket) {
        let listening = UdpSocket::bind("127.0.0.1:0").unwrap();
        listening.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let refusing = UdpSocket::bind("127.0.0.1:0").unwrap();
        refusing.connect("127.0.0.1:9").unwrap();
        (listening, refusing)
    }

    fn server(addresses: Vec<SocketAddr>, timeout: Duration, retries: u64) -> Server {
        Server { target: "udp://many".parse().unwrap(), addresses, timeout, retries }
    }

    #[test]
    fn a_refused_address_gives_way_to_the_next() {
        let (listening, refusing) = listening_and_refusing();
        let addresses = vec![refusing.local_addr().unwrap(), listening.local_addr().unwrap()];
        let server = server(addresses, Duration::from_secs(30), 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let peers = ["one", "two"].map(|expected| {
                    let mut buffer = [0; 64];
                    let (length, peer) = retried(|| listening.recv_from(&mut buffer)).unwrap();
                    assert_eq!(&buffer[..length], expected.as_bytes());
                    listening.send_to(expected.to_uppercase().as_bytes(), peer).unwrap();
                    peer
                });
                assert_eq!(peers[0], peers[1], "the socket that had an answer is kept");
            });
            let mut datagrams = Datagrams::new(&server);
            assert_eq!(datagrams.ask(b"one"), Ok(b"ONE".to_vec()));
            assert_eq!(datagrams.ask(b"two"), Ok(b"TWO".to_vec()));
        });
    }

    #[test]
    fn a_silent_address_gives_way_to_the_next() {
        let (silent, refusing) = listening_and_refusing();
        let addresses = vec![silent.local_addr().unwrap(), refusing.local_addr().unwrap()];
        let server = server(addresses, Duration::from_millis(20), 1);
        assert_eq!(Datagrams::new(&server).ask(b"x"), Err("no server at udp://many:12000".into()));
        for _attempt in 0..2 {
            assert_eq!(retried(|| silent.recv(&mut [0; 64])).unwrap(), 1, "the silent address was tried before");
        }
    }

    #[test]
    fn an_old_refusal_does_not_cost_the_next_datagram() {
        let (listening, _refusing) = listening_and_refusing();
        let address = listening.local_addr().unwrap();
        let socket = connected(&address).unwrap();
        drop(listening);
        socket.send(b"to nobody").unwrap();
        // On loopback the refusal is queued before `send` returns; it waits for the next call.
        let revived = UdpSocket::bind(address).unwrap();
        revived.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        send(&socket, b"to somebody").unwrap();
        let mut buffer = [0; 64];
        let length = retried(|| revived.recv(&mut buffer)).unwrap();
        assert_eq!(&buffer[..length], b"to somebody");
    }
}
