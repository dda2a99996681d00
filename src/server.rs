//! The loop. Everything that waits, waits here, in one call of `poll`.
//!
//! The kernel reports each change once. So events only set flags, the turns below do the I/O, and the loop does
//! not sleep while any of them has work left.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Interest, Poll, Registry, Token};

use crate::admin::{self, Admin};
use crate::batch::Socket;
use crate::config::Config;
use crate::connections::{
    CHUNK_LEN, Connections, DRIVE_BYTES_MAX, Limits, SHARED_BYTES_MAX, SHARED_TURNS, SHORT_MAX, TURN_BYTES_MAX,
};
use crate::counters::Counters;
use crate::datagrams::Rules;
use crate::report::Reporter;
use crate::service::{Ending, Service};
use crate::signals::{Signals, Wish};
use crate::sockets::Sockets;
use crate::systemd::Notifier;
use crate::trace::{self, Event as Traced, Source};

mod administering;
mod registry;

use registry::Listening;

/// Connections count from zero, so that these can never be one of theirs.
const UDP: Token = Token(usize::MAX);
const TCP: Token = Token(usize::MAX - 1);
const SIGNALS: Token = Token(usize::MAX - 2);

/// The most events that one poll returns. The kernel keeps the rest and hands them out in turn.
const EVENTS_MAX: usize = 1024;

/// How long a peer's own end is awaited after ours. It covers the round trips of a slow path; whoever has not confirmed
/// all that it was sent is given as long again.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// One event loop with its sockets.
pub struct Server {
    poll: Poll,
    events: Events,
    signals: Signals,
    /// When the turn began. The clock is read once a turn.
    now: Instant,
    service: Service<Registry>,
    counters: Counters,
    address: SocketAddr,
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
        let queued = self.service.connections().queued();
        self.service.turn(self.now, self.poll.registry(), &mut self.counters);
        self.administer();
        if self.reporter.is_due(self.now) {
            let reading = self.reading();
            self.reporter.tick(self.now, &reading);
        }
        self.notifier.tick(self.now);
        if self.times_turns {
            self.counters.histograms.turn_seconds.record(self.now.elapsed().as_nanos() as u64);
        }
        trace::since_poll(|| Traced::Turn { queued: queued as u32, left: self.service.connections().queued() as u32 });
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
        self.service.has_work() || self.admin.as_ref().is_some_and(Admin::has_work)
    }

    /// When something is due although nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let (report, sign) = (self.reporter.deadline(), self.notifier.deadline());
        let admin = self.admin.as_ref().and_then(Admin::deadline);
        [self.service.deadline(), report, sign, admin].into_iter().flatten().min()
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
                UDP => self.service.note_datagrams(readable, writable),
                TCP => self.service.note_listener(),
                SIGNALS => signalled = true,
                token if token >= admin::TOKEN_MIN => {
                    if let Some(admin) = &mut self.admin {
                        admin.note(token, readable, writable);
                    }
                }
                connection => self.service.note_connection(connection, readable, writable, hint),
            }
        }
        self.counters.histograms.poll_events.record(self.counters.events - before);
        signalled
    }

    fn take_signals(&mut self) {
        let wishes: Vec<Wish> = self.signals.wishes().collect();
        for wish in wishes {
            match wish {
                Wish::Report => self.reporter.report(&self.reading()),
                Wish::Trace => trace::write(),
                Wish::Stop(signal) if self.service.is_stopping() => self.service.force(signal),
                Wish::HangUp if self.service.is_stopping() => {}
                Wish::Stop(_) | Wish::HangUp => self.stop(),
            }
        }
    }

    /// Begins the end: what has arrived is answered, and then each side is closed.
    pub fn stop(&mut self) {
        log::info!("stopping: finishing what is owed to {} connections", self.service.connections().len());
        self.notifier.stopping();
        self.service.stop(self.now + self.drain_timeout, &self.counters);
    }

    /// Whether and how the server has ended.
    fn ending(&mut self) -> Option<Ending> {
        let ending = self.service.ending(self.now, &mut self.counters)?;
        (ending != Ending::Drained || !self.waits_for_others()).then_some(ending)
    }

    /// A loop over bound sockets. Fails where the kernel has no room for another poll or pipe.
    pub fn new(config: &Config, sockets: Sockets, connections_max: usize, reporter: Reporter) -> io::Result<Server> {
        let poll = Poll::new()?;
        let now = Instant::now();
        let mut signals = Signals::new()?;
        poll.registry().register(signals.source_mut(), SIGNALS, Interest::READABLE)?;
        let Sockets { udp, tcp, address, passed } = sockets;
        let udp = match udp {
            None => None,
            Some(socket) => {
                let mut io = Socket::new(socket, config.udp_io)?;
                poll.registry().register(io.socket_mut(), UDP, Interest::READABLE)?;
                let refused_port = (!config.allow_source_port_own).then_some(address.port());
                Some((io, Rules { case: config.case, refused_port, rate_limit: config.udp_rate_limit }))
            }
        };
        let tcp = match tcp {
            None => None,
            Some(mut socket) => {
                poll.registry().register(&mut socket, TCP, Interest::READABLE)?;
                Some(Listening { socket, passed })
            }
        };
        let limits = Limits {
            connections_max,
            drive_bytes_max: DRIVE_BYTES_MAX,
            turn_bytes_max: TURN_BYTES_MAX,
            shared_bytes_max: SHARED_BYTES_MAX,
            short_max: SHORT_MAX,
            shared_turns: SHARED_TURNS,
            idle_timeout: config.idle_timeout,
            stall_timeout: config.stall_timeout,
            linger_timeout: LINGER_TIMEOUT,
            unsent_max: config.max_unsent / config.workers,
        };
        let connections = Connections::new(config.case, CHUNK_LEN, limits, now);
        Ok(Server {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            signals,
            now,
            service: Service::new(udp, tcp, connections, passed.is_some(), now),
            counters: Counters::default(),
            address,
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
        (self.service.connections().len(), self.service.connections().unsent())
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
