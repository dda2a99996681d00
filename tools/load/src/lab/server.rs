//! The misbehaving server's threads: one for UDP, one that accepts, one for each connection. Does I/O.
//!
//! Blocking calls, unlike the server that this is not: a thread that sleeps is the plainest stall there is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::datagrams::{Datagrams, Reply};
use super::faults::Faults;
use super::key::{AnswerKey, SCHEMA, StallKey, Stalls};
use super::streams::{Position, Step, Streams};
use crate::clock::{Clock, Nanos};
use crate::sockets::retried;

/// Each connection has a thread.
const MOST_CONNECTIONS: usize = 2_000;

/// Room for what arrives during a stall: 100 ms of 100,000 datagrams a second. The kernel may grant less.
const RECEIVE_BUFFER: usize = 8 << 20;

/// UDP and TCP get the same number; a free one for TCP may be taken for UDP.
const BIND_ATTEMPTS: u32 = 20;

/// After the end of an answer that is cut off, the rest of the requests is read and forgotten for at most this long:
/// closing at once would reset the connection and might destroy the half answer on its way.
const LINGER: Duration = Duration::from_secs(5);

/// A running server. Its threads end with the process.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    lab: Arc<Lab>,
}

/// What the threads share.
#[derive(Debug)]
struct Lab {
    faults: Faults,
    clock: Clock,
    udp: Mutex<Datagrams<SocketAddr>>,
    tcp: Mutex<Streams>,
    stalls: Mutex<Stalls>,
    open: AtomicUsize,
}

impl Server {
    /// Listens on `address`, on UDP and TCP.
    pub fn start(address: SocketAddr, faults: Faults) -> io::Result<Self> {
        let (listener, socket) = bind(address)?;
        let address = listener.local_addr()?;
        // Asking for more than an ordinary user may have; either way the kernel gives what it gives.
        #[cfg(target_os = "linux")]
        if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
            let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER);
        }
        let lab = Arc::new(Lab {
            udp: Mutex::new(Datagrams::new(&faults)),
            tcp: Mutex::new(Streams::new(&faults)),
            stalls: Mutex::default(),
            faults,
            clock: Clock::start(),
            open: AtomicUsize::new(0),
        });
        let (for_udp, for_tcp) = (Arc::clone(&lab), Arc::clone(&lab));
        thread::Builder::new().name("lab-udp".into()).spawn(move || for_udp.serve_datagrams(&socket))?;
        thread::Builder::new().name("lab-accept".into()).spawn(move || for_tcp.accept(&listener))?;
        Ok(Server { address, lab })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has done so far.
    pub fn key(&self) -> AnswerKey {
        AnswerKey {
            schema: SCHEMA.into(),
            seed: format!("{:X}", self.lab.faults.seed),
            listen: self.address.to_string(),
            udp: lock(&self.lab.udp).key,
            tcp: lock(&self.lab.tcp).key,
            stalls: lock(&self.lab.stalls).clone(),
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<(TcpListener, UdpSocket)> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let listener = TcpListener::bind(address)?;
        match UdpSocket::bind(listener.local_addr()?) {
            Ok(socket) => return Ok((listener, socket)),
            Err(error) if address.port() != 0 || attempts == BIND_ATTEMPTS => return Err(error),
            Err(_) => {}
        }
    }
}

/// A thread that panicked leaves counts behind that are still what was done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// An answer that waits for its time, and its place among those of the same time.
type Waiting = Reverse<(Nanos, u64, SocketAddr, Vec<u8>)>;

impl Lab {
    /// Sleeps through the stall that is going on, if one is.
    fn stall(&self) {
        let met_ns = self.clock.now();
        let Some(until_ns) = self.faults.stall.and_then(|stall| stall.until(met_ns)) else { return };
        let mut now = met_ns;
        while now < until_ns {
            thread::sleep(Duration::from_nanos(until_ns - now));
            now = self.clock.now();
        }
        lock(&self.stalls).note(StallKey { met_ns, until_ns, ended_ns: now });
    }

    fn serve_datagrams(&self, socket: &UdpSocket) {
        let mut waiting: BinaryHeap<Waiting> = BinaryHeap::new();
        let mut order = 0;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let now = self.clock.now();
            self.send_due(socket, &mut waiting, now);
            let held_until = lock(&self.udp).held_until();
            let wake = waiting.peek().map(|Reverse((at, ..))| *at).into_iter().chain(held_until).min();
            // A timeout of 0 is refused by std; it would mean that one is due, so the shortest does.
            let timeout = wake.map(|wake| Duration::from_nanos(wake.saturating_sub(now).max(1_000)));
            if socket.set_read_timeout(timeout).is_err() {
                return;
            }
            // The errors are timeouts, interrupts and news of clients that are gone: none of them is the server's end.
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            self.stall();
            let now = self.clock.now();
            for Reply { at, to, bytes } in lock(&self.udp).receive(now, &buffer[..length], from) {
                if at > now {
                    waiting.push(Reverse((at, order, to, bytes)));
                    order += 1;
                } else {
                    self.send(socket, &bytes, to);
                }
            }
        }
    }

    /// Sends what has waited for long enough.
    fn send_due(&self, socket: &UdpSocket, waiting: &mut BinaryHeap<Waiting>, now: Nanos) {
        while waiting.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((_, _, to, bytes))) = waiting.pop() else { return };
            self.send(socket, &bytes, to);
        }
        let overdue = lock(&self.udp).overdue(now);
        if let Some(Reply { to, bytes, .. }) = overdue {
            self.send(socket, &bytes, to);
        }
    }

    fn send(&self, socket: &UdpSocket, bytes: &[u8], to: SocketAddr) {
        if socket.send_to(bytes, to).is_err() {
            lock(&self.udp).key.not_sent += 1;
        }
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept() else {
                // Out of descriptors, most likely: they come back when connections end, which nothing announces.
                thread::sleep(Duration::from_millis(10));
                continue;
            };
            lock(&self.tcp).key.connections += 1;
            if self.faults.slow_accept > Duration::ZERO {
                thread::sleep(self.faults.slow_accept);
                lock(&self.tcp).key.slow_accept += 1;
            }
            let lab = Arc::clone(self);
            let has_room = self.open.fetch_add(1, Ordering::Relaxed) < MOST_CONNECTIONS;
            let serve = move || {
                // A broken connection is the client's affair.
                let _ = lab.serve_stream(stream);
                lab.open.fetch_sub(1, Ordering::Relaxed);
            };
            if !has_room || thread::Builder::new().name("lab-stream".into()).spawn(serve).is_err() {
                self.open.fetch_sub(1, Ordering::Relaxed);
                lock(&self.tcp).key.turned_away += 1;
            }
        }
    }

    fn serve_stream(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut position = Position::default();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = match stream.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.stall();
            let steps = lock(&self.tcp).receive(&mut position, &buffer[..length]);
            for step in steps {
                match step {
                    Step::Send(bytes) => stream.write_all(&bytes)?,
                    Step::Wait => thread::sleep(self.faults.delay.map_or(Duration::ZERO, |delay| delay.time)),
                    Step::Close => {
                        stream.shutdown(Shutdown::Write)?;
                        stream.set_read_timeout(Some(LINGER))?;
                        while retried(|| stream.read(&mut buffer))? > 0 {}
                        return Ok(());
                    }
                }
            }
        }
    }
}
