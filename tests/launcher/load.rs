//! Clients that must not notice when one server follows another on the same sockets.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use super::PATIENCE;
use crate::common::retried;

/// How many answers each kind of client must get between two restarts.
const ANSWERS_BETWEEN: usize = 50;

/// The kinds of client.
const KINDS: usize = 3;

/// A client that shows its progress until it is asked to stop.
struct Client<'a> {
    address: SocketAddr,
    kind: usize,
    answered: Sender<usize>,
    stop: &'a AtomicBool,
}

impl Client<'_> {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection was refused");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn count(&self) {
        // At the very end nobody counts any more.
        let _ = self.answered.send(self.kind);
    }

    /// One question a connection. Says how many connections ended without an answer.
    fn ask_on_new_connections(&self) -> usize {
        let mut ended = 0;
        for number in 0.. {
            if !self.goes_on() {
                break;
            }
            let mut stream = self.connect();
            stream.write_all(format!("new {number}").as_bytes()).expect("a connection was reset");
            stream.shutdown(Shutdown::Write).expect("a connection was reset");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("a connection was reset");
            if answer.is_empty() {
                ended += 1;
                continue;
            }
            assert_eq!(answer, format!("NEW {number}"));
            self.count();
        }
        ended
    }

    /// Question and answer on one connection, and on the next when the server ends it. Says how often it did.
    fn ask_on_one_connection(&self) -> usize {
        let (mut stream, mut ended) = (self.connect(), 0);
        for number in 0.. {
            if !self.goes_on() {
                break;
            }
            let question = format!("long {number};");
            stream.write_all(question.as_bytes()).expect("a connection was reset");
            let mut answer = vec![0; question.len()];
            let mut length = 0;
            while length < answer.len() {
                match retried(|| stream.read(&mut answer[length..])).expect("a connection was reset") {
                    0 => break,
                    more => length += more,
                }
            }
            if length == 0 {
                // The end, behind every answer but that to the question which met it on its way.
                stream = self.connect();
                ended += 1;
                continue;
            }
            assert_eq!(String::from_utf8(answer).unwrap(), question.to_uppercase());
            self.count();
        }
        ended
    }

    /// Question and answer in datagrams, none of which is ever sent again. Says how many were lost.
    fn ask_in_datagrams(&self) -> usize {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = [0; 64];
        for number in 0.. {
            if !self.goes_on() {
                break;
            }
            socket.send(format!("datagram {number}").as_bytes()).unwrap();
            let length = retried(|| socket.recv(&mut answer)).expect("a datagram was lost");
            assert_eq!(str::from_utf8(&answer[..length]), Ok(format!("DATAGRAM {number}").as_str()));
            self.count();
        }
        0
    }
}

/// Ends the clients when it is dropped, also by a test that fails: their threads are waited for.
struct UntilDropped<'a>(&'a AtomicBool);

impl Drop for UntilDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits until every kind of client has had so many more answers.
fn await_answers(answered: &Receiver<usize>) {
    // One deadline for all of them: while some kinds are answered, there is always another answer.
    let deadline = Instant::now() + PATIENCE;
    let mut missing = [ANSWERS_BETWEEN; KINDS];
    while missing.iter().any(|&missing| missing > 0) {
        let answer = answered.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        let kind = answer.unwrap_or_else(|error| panic!("{missing:?} answers are missing, by kind of client: {error}"));
        missing[kind] = missing[kind].saturating_sub(1);
    }
}

/// Loads the server at an address with two clients of each kind, and replaces it so many times: `restart` is told which time
/// it is. Says how many connections of each client were ended in good order and without an answer; anything else that is
/// lost is a panic, and so are more ends than restarts.
pub(crate) fn under_load(address: SocketAddr, restarts: usize, mut restart: impl FnMut(usize)) -> Vec<usize> {
    let stop = AtomicBool::new(false);
    let (sender, answered) = channel();
    let ended: Vec<usize> = std::thread::scope(|scope| {
        let course = UntilDropped(&stop);
        let clients: Vec<_> = (0..2 * KINDS)
            .map(|number| {
                let client = Client { address, kind: number % KINDS, answered: sender.clone(), stop: &stop };
                scope.spawn(move || match client.kind {
                    0 => client.ask_on_new_connections(),
                    1 => client.ask_on_one_connection(),
                    _ => client.ask_in_datagrams(),
                })
            })
            .collect();
        drop(sender);
        for number in 0..restarts {
            await_answers(&answered);
            restart(number);
        }
        await_answers(&answered);
        drop(course);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    for (number, &ended) in ended.iter().enumerate() {
        assert!(ended <= restarts, "client {number} was sent away {ended} times in {restarts} restarts");
    }
    ended
}
