//! The loop. Everything that waits, waits here, in one call of `poll`.
//!
//! The kernel reports each change once. So events only set flags, the turns below do the I/O, and the loop does
//! not sleep while any of them has work left.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

use crate::admin::{self, Admin};
use crate::batch::Socket;
use crate::config::Config;
use crate::connections::{CHUNK_LEN, Connections, DRIVE_BYTES_MAX, Limits, SHARED_BYTES_MAX, TURN_BYTES_MAX};
use crate::counters::Counters;
use crate::datagrams::{Datagrams, Rules};
use crate::listener::Listener;
use crate::report::Reporter;
use crate::signals::{Signals, Wish};
use crate::sockets::{self, Sockets, StreamOptions};
use crate::systemd::Notifier;
use crate::trace::{self, Event as Traced, Source};

mod administering;
mod udp;

use udp::Udp;

/// Connections count from zero, so that these can never be one of theirs.
const UDP: Token = Token(usize::MAX);
const TCP: Token = Token(usize::MAX - 1);
const SIGNALS: Token = Token(usize::MAX - 2);

/// What the kernel is asked about a connection. Urgent data must be told apart, because a read stops at it.
#[cfg(any(target_os = "linux", target_os = "android"))]
const STREAM_INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const STREAM_INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// The most events that one poll returns. The kernel keeps the rest and hands them out in turn.
const EVENTS_MAX: usize = 1024;

/// The most datagrams still answered once the server is stopping: more than an 8 MiB receive buffer holds, for the
/// kernel charges each at least 768 bytes. Merged ones are charged together, and of a queue full of them the end is
/// lost. Without a bound a flood would keep the server alive.
const STOPPING_DATAGRAMS_MAX: u64 = 65_536;

/// How long a peer's own end is awaited after ours. It covers the round trips of a slow path; whoever has not confirmed
/// all that it was sent is given as long again.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// How the server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Asked to stop, it finished what was owed.
    Drained,
    /// Asked to stop, it ran out of time; so many connections were cut off.
    CutOff(usize),
    /// Asked twice, it ended at once. Carries the signal's number.
    Forced(i32),
}

/// What a stopping server remembers.
struct Stopping {
    deadline: Instant,
    /// How many datagrams had been received when it began.
    udp_received: u64,
}

/// One event loop with its sockets.
pub struct Server {
    poll: Poll,
    events: Events,
    signals: Signals,
    /// When the turn began. The clock is read once a turn.
    now: Instant,
    udp: Option<Udp>,
    tcp: Option<TcpListener>,
    listener: Listener,
    connections: Connections<TcpStream>,
    counters: Counters,
    address: SocketAddr,
    /// The sockets were there before this server and live on when it has ended.
    passed: Option<StreamOptions>,
    stopping: Option<Stopping>,
    /// The signal that asked for the end of a server that was already stopping.
    forced: Option<i32>,
    drain_timeout: Duration,
    /// Poll without sleeping.
    spin: bool,
    reporter: Reporter,
    notifier: Notifier,
    /// The admin endpoint, which the first loop serves for all.
    admin: Option<Admin>,
    /// Someone may ask how long turns take, which costs another reading of the clock in each.
    times_turns: bool,
}

impl Server {
    /// Turns until the end.
    pub fn run(&mut self) -> io::Result<Ending> {
        loop {
            self.turn(None)?;
            if let Some(ending) = self.ending() {
                self.reporter.end(&self.reading());
                self.notifier.ended();
                return Ok(ending);
            }
        }
    }

    /// One pass of the loop, which waits for work no longer than `patience`; `None` is for ever.
    ///
    /// Fails only if poll itself does, which no peer can bring about.
    pub fn turn(&mut self, patience: Option<Duration>) -> io::Result<()> {
        self.wait(patience)?;
        self.now = Instant::now();
        self.counters.turns += 1;
        if self.note_events() {
            self.take_signals();
        }
        let queued = self.connections.queued();

        if let Some(udp) = &mut self.udp {
            let before = self.counters.udp_received;
            udp.datagrams.turn(&mut udp.io, self.now, &mut self.counters);
            if self.counters.udp_received > before {
                self.connections.share();
            }
            udp.watch_room(self.poll.registry());
        }
        self.accept();
        let before = self.connections.len();
        self.connections.turn(self.now, &mut self.counters);
        self.connections.expire(self.now, &mut self.counters);
        if self.connections.len() < before {
            // Descriptors have become free, and the kernel announces that to nobody.
            self.listener.resume();
        }
        if self.stopping.is_some() {
            self.close_what_is_dry();
        }
        self.administer();
        if self.reporter.is_due(self.now) {
            let reading = self.reading();
            self.reporter.tick(self.now, &reading);
        }
        self.notifier.tick(self.now);
        if self.times_turns {
            self.counters.histograms.turn_seconds.record(self.now.elapsed().as_nanos() as u64);
        }
        trace::since_poll(|| Traced::Turn { queued: queued as u32, left: self.connections.queued() as u32 });
        Ok(())
    }

    /// Sleeps until there is an event or a deadline; not at all while work is queued.
    fn wait(&mut self, patience: Option<Duration>) -> io::Result<()> {
        let timeout = if self.spin || self.has_work() {
            Some(Duration::ZERO)
        } else {
            let until_deadline = self.deadline().map(|deadline| deadline.saturating_duration_since(self.now));
            [until_deadline, patience].into_iter().flatten().min()
        };
        let result = match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            result => result,
        };
        trace::span(|| Traced::Poll {
            timeout_us: timeout.map(trace::micros),
            events: self.events.iter().count() as u32,
        });
        result
    }

    /// Whether something was left undone that no event will ask for.
    fn has_work(&self) -> bool {
        self.connections.has_work()
            || self.udp.as_ref().is_some_and(Udp::has_work)
            || (self.listener.has_work() && self.connections.room() > 0)
            || self.admin.as_ref().is_some_and(Admin::has_work)
    }

    /// When something is due although nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let room = if self.listener.has_work() { self.connections.room_deadline() } else { None };
        let stopping = self.stopping.as_ref().map(|stopping| stopping.deadline);
        let (report, sign) = (self.reporter.deadline(), self.notifier.deadline());
        let admin = self.admin.as_ref().and_then(Admin::deadline);
        let udp = self.udp.as_ref().and_then(|udp| udp.datagrams.deadline());
        [udp, self.listener.deadline(), self.connections.deadline(), room, stopping, report, sign, admin]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes down what the kernel said, and says whether there are signals to take. No I/O here: a report that is out of
    /// date by its turn costs one failed attempt.
    fn note_events(&mut self) -> bool {
        let mut signalled = false;
        let before = self.counters.events;
        for event in &self.events {
            self.counters.events += 1;
            let (readable, writable) = readiness(event);
            let hint = event.is_read_closed() || event.is_priority();
            trace::moment(|| Traced::Edge { source: source(event.token()), readable, writable, hint });
            match event.token() {
                UDP => {
                    if let Some(udp) = &mut self.udp {
                        udp.datagrams.note(readable, writable);
                    }
                }
                TCP => self.listener.note(),
                SIGNALS => signalled = true,
                token if token >= admin::TOKEN_MIN => {
                    if let Some(admin) = &mut self.admin {
                        admin.note(token, readable, writable);
                    }
                }
                connection => self.connections.note(connection, readable, writable, hint),
            }
        }
        self.counters.histograms.poll_events.record(self.counters.events - before);
        signalled
    }

    /// Accepts what waits, if there is room; where there is none, the longest-idle connection gives way.
    fn accept(&mut self) {
        let Some(socket) = &self.tcp else { return };
        let (now, registry, connections) = (self.now, self.poll.registry(), &mut self.connections);
        if self.listener.is_paused() || (self.listener.has_work() && connections.room() == 0) {
            // accept(2) fails for want of a descriptor even where nobody waits, and a turn that ended for want of room
            // has not looked. Nobody has to go for a newcomer who is not there, nor where it would not help him.
            if !sockets::someone_waits(socket) {
                self.listener.note_empty();
            } else if self.listener.may_make_room() && connections.make_room(now, &mut self.counters) {
                self.listener.note_room();
            }
        }
        let passed = self.passed;
        let accept = || {
            let (stream, _peer) = socket.accept()?;
            if let Some(options) = passed {
                // A connection that cannot have them any more has broken, as its first drive will show.
                let _ = options.set(&SockRef::from(&stream));
            }
            Ok(stream)
        };
        self.listener.turn(now, connections.room(), &mut self.counters, accept, |stream, counters| {
            let token = connections.insert(stream, now);
            // Once and for all: interest lives in the connection, and the kernel is never asked again.
            let registered =
                connections.stream_mut(token).map(|stream| registry.register(stream, token, STREAM_INTEREST));
            if matches!(registered, Some(Ok(()))) {
                trace::span(|| Traced::Accept { slot: token.0 as u32 });
            } else {
                connections.reject(token, counters);
            }
        });
    }

    fn take_signals(&mut self) {
        let wishes: Vec<Wish> = self.signals.wishes().collect();
        for wish in wishes {
            match wish {
                Wish::Report => self.reporter.report(&self.reading()),
                Wish::Trace => trace::write(),
                Wish::Stop(signal) if self.stopping.is_some() => self.forced = Some(signal),
                Wish::HangUp if self.stopping.is_some() => {}
                Wish::Stop(_) | Wish::HangUp => self.stop(),
            }
        }
    }

    /// Begins the end: what has arrived is answered, and then each side is closed.
    pub fn stop(&mut self) {
        log::info!("stopping: finishing what is owed to {} connections", self.connections.len());
        self.stopping =
            Some(Stopping { deadline: self.now + self.drain_timeout, udp_received: self.counters.udp_received });
        self.notifier.stopping();
        if self.passed.is_some() {
            self.leave_queues();
        } else {
            // Whatever waits in a queue is looked for once more, event or not.
            if self.tcp.is_some() {
                self.listener.note();
                self.listener.resume();
            }
            if let Some(udp) = &mut self.udp {
                udp.datagrams.note(true, false);
            }
        }
        self.connections.retire_all();
    }

    /// Takes no more from sockets that outlive this server: what waits there is for the next one to answer.
    fn leave_queues(&mut self) {
        self.listener = Listener::default();
        if let Some(udp) = &mut self.udp {
            udp.datagrams.leave_queue();
        }
    }

    /// Closes each socket of a stopping server once its queue has been found empty. Closed before, the listener
    /// would reset the connections in its queue, and the datagrams in the other would be lost.
    fn close_what_is_dry(&mut self) {
        let Some(stopping) = &self.stopping else { return };
        let answered = self.counters.udp_received - stopping.udp_received;
        // Deregistered by hand: the poll watches what lies behind a descriptor, and a passed socket lives on when its
        // descriptor here is closed. Its events would keep this loop awake.
        let registry = self.poll.registry();
        if let Some(mut udp) = self.udp.take_if(|udp| udp.datagrams.is_dry() || answered > STOPPING_DATAGRAMS_MAX) {
            let _ = registry.deregister(udp.io.socket_mut());
        }
        if !self.listener.has_work()
            && !self.listener.is_paused()
            && let Some(mut tcp) = self.tcp.take()
        {
            let _ = registry.deregister(&mut tcp);
        }
    }

    /// Whether and how the server has ended. Counts what was cut off.
    fn ending(&mut self) -> Option<Ending> {
        let stopping = self.stopping.as_ref()?;
        if let Some(signal) = self.forced {
            self.connections.cut_off(&mut self.counters);
            return Some(Ending::Forced(signal));
        }
        let is_drained = self.udp.is_none() && self.tcp.is_none() && self.connections.is_empty();
        if is_drained && self.others_are_done() {
            return Some(Ending::Drained);
        }
        if self.now < stopping.deadline {
            return None;
        }
        let left = self.connections.len();
        self.connections.cut_off(&mut self.counters);
        Some(Ending::CutOff(left))
    }

    /// A loop over bound sockets. Fails where the kernel has no room for another poll or pipe.
    pub fn new(config: &Config, sockets: Sockets, connections_max: usize, reporter: Reporter) -> io::Result<Server> {
        let poll = Poll::new()?;
        let now = Instant::now();
        let mut signals = Signals::new()?;
        poll.registry().register(signals.source_mut(), SIGNALS, Interest::READABLE)?;
        let Sockets { udp, mut tcp, address, passed } = sockets;
        let udp = match udp {
            None => None,
            Some(socket) => {
                let mut io = Socket::new(socket, config.udp_io)?;
                poll.registry().register(io.socket_mut(), UDP, Interest::READABLE)?;
                let refused_port = (!config.allow_source_port_own).then_some(address.port());
                let rules = Rules { case: config.case, refused_port, rate_limit: config.udp_rate_limit };
                let datagrams = Datagrams::new(rules, &io, now);
                Some(Udp { io, datagrams, watches_room: false })
            }
        };
        if let Some(tcp) = &mut tcp {
            poll.registry().register(tcp, TCP, Interest::READABLE)?;
        }
        let limits = Limits {
            connections_max,
            drive_bytes_max: DRIVE_BYTES_MAX,
            turn_bytes_max: TURN_BYTES_MAX,
            shared_bytes_max: SHARED_BYTES_MAX,
            idle_timeout: config.idle_timeout,
            stall_timeout: config.stall_timeout,
            linger_timeout: LINGER_TIMEOUT,
            unsent_max: config.max_unsent / config.workers,
        };
        Ok(Server {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            signals,
            now,
            udp,
            tcp,
            listener: Listener::default(),
            connections: Connections::new(config.case, CHUNK_LEN, limits, now),
            counters: Counters::default(),
            address,
            passed,
            stopping: None,
            forced: None,
            drain_timeout: config.drain_timeout,
            spin: config.spin,
            reporter,
            notifier: Notifier::default(),
            admin: None,
            times_turns: config.admin.is_some(),
        })
    }

    /// The same server, which tells a service manager how it fares.
    #[must_use]
    pub fn telling(self, notifier: Notifier) -> Server {
        Server { notifier, ..self }
    }

    /// Where the server listens, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many connections there are, and how many bytes they are owed together.
    pub fn connections(&self) -> (usize, usize) {
        (self.connections.len(), self.connections.unsent())
    }
}

/// Whether an event promises that reading and writing will not block; an error makes both return at once.
fn readiness(event: &Event) -> (bool, bool) {
    (event.is_readable() || event.is_error(), event.is_writable() || event.is_write_closed() || event.is_error())
}

/// Whom a token stands for, in a trace.
fn source(token: Token) -> Source {
    match token {
        UDP => Source::Udp,
        TCP => Source::Listener,
        SIGNALS => Source::Signals,
        token if token >= admin::TOKEN_MIN => Source::Admin,
        Token(slot) => Source::Connection(slot as u32),
    }
}
