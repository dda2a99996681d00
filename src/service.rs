//! The service on both protocols: the order of a turn, how its peers share one, and how it stops. It does I/O only
//! through the rooms below it, and asks the kernel for the rest through its argument.
//!
//! Who waits for events, and where they come from, is not known here. So [`crate::server`] turns this over [`mio::Poll`],
//! and the simulation in `tests/sim` turns the same over a kernel of its own.

use std::io::{self, Read, Write};
use std::time::Instant;

use mio::Token;

use crate::batch::DatagramIo;
use crate::connections::{CloseWrite, Connections};
use crate::counters::Counters;
use crate::datagrams::{Datagrams, Rules};
use crate::listener::Listener;
use crate::trace::{self, Event};

/// The most datagrams still answered once the service is stopping: more than an 8 MiB receive buffer holds, for the
/// kernel charges each at least 768 bytes. Merged ones are charged together, and of a queue full of them the end is
/// lost. Without a bound a flood would keep the service alive.
const STOPPING_DATAGRAMS_MAX: u64 = 65_536;

/// What a turn asks of the kernel besides reading and writing: who is there, and what is to be reported from now on.
pub trait Kernel {
    /// The UDP socket.
    type Datagrams: DatagramIo;
    /// The listening TCP socket.
    type Listener;
    /// One connection.
    type Stream: Read + Write + CloseWrite;

    /// Whether a connection waits to be accepted. Takes none.
    fn someone_waits(&self, listener: &Self::Listener) -> bool;

    /// Accepts a connection. Fails with `WouldBlock` where none waits.
    fn accept(&self, listener: &Self::Listener) -> io::Result<Self::Stream>;

    /// Has whatever happens to a stream reported under this token, for as long as it is open.
    fn watch(&self, stream: &mut Self::Stream, token: Token) -> io::Result<()>;

    /// Has room in the send buffer reported, or no longer. What is true by then is reported at once.
    fn watch_room(&self, socket: &mut Self::Datagrams, wanted: bool) -> io::Result<()>;

    /// Closes the UDP socket: nothing of it is reported any more.
    fn close_datagrams(&self, socket: Self::Datagrams);

    /// Closes the listening socket: nothing of it is reported any more.
    fn close_listener(&self, listener: Self::Listener);
}

/// How the service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Asked to stop, it finished what was owed.
    Drained,
    /// Asked to stop, it ran out of time; so many connections were cut off.
    CutOff(usize),
    /// Asked twice, it ended at once. Carries the signal's number.
    Forced(i32),
}

/// What a stopping service remembers.
#[derive(Debug)]
struct Stopping {
    deadline: Instant,
    /// How many datagrams had been received when it began.
    udp_received: u64,
    /// The signal that asked once more.
    forced: Option<i32>,
}

/// The UDP side: the socket, and what is done with it.
#[derive(Debug)]
struct Udp<D> {
    io: D,
    datagrams: Datagrams,
    /// The kernel is asked to report room in the send buffer.
    watches_room: bool,
}

impl<D> Udp<D> {
    fn has_work(&self) -> bool {
        self.datagrams.has_work() || self.datagrams.waits_for_room() != self.watches_room
    }
}

/// Everything that is served by one loop.
#[derive(Debug)]
pub struct Service<K: Kernel> {
    udp: Option<Udp<K::Datagrams>>,
    tcp: Option<K::Listener>,
    listener: Listener,
    connections: Connections<K::Stream>,
    /// The sockets were there before this service and live on when it has ended.
    passed: bool,
    stopping: Option<Stopping>,
}

impl<K: Kernel> Service<K> {
    /// A service over sockets of which everything is reported already, on one protocol or on both. Sockets that were
    /// `passed` are somebody else's when it ends.
    pub fn new(
        udp: Option<(K::Datagrams, Rules)>,
        tcp: Option<K::Listener>,
        connections: Connections<K::Stream>,
        passed: bool,
        start: Instant,
    ) -> Service<K> {
        let udp = udp.map(|(io, rules)| {
            let datagrams = Datagrams::new(rules, &io, start);
            Udp { io, datagrams, watches_room: false }
        });
        Service { udp, tcp, listener: Listener::default(), connections, passed, stopping: None }
    }

    /// Does what there is to do, each room up to its bound. What a bound cuts off is left for the next turn.
    pub fn turn(&mut self, now: Instant, kernel: &K, counters: &mut Counters) {
        if let Some(udp) = &mut self.udp {
            let before = counters.udp_received;
            udp.datagrams.turn(&mut udp.io, now, counters);
            if counters.udp_received > before {
                self.connections.share();
            }
        }
        self.watch_room(kernel);
        self.accept(now, kernel, counters);
        let before = self.connections.len();
        self.connections.turn(now, counters);
        self.connections.expire(now, counters);
        if self.connections.len() < before {
            // Descriptors have become free, and the kernel announces that to nobody.
            self.listener.resume();
        }
        self.close_what_is_dry(kernel, counters);
    }

    /// Whether something was left undone that no event will ask for.
    pub fn has_work(&self) -> bool {
        self.connections.has_work()
            || self.udp.as_ref().is_some_and(Udp::has_work)
            || (self.listener.has_work() && self.connections.room() > 0)
    }

    /// When something is due although nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        let udp = self.udp.as_ref().and_then(|udp| udp.datagrams.deadline());
        let room = if self.listener.has_work() { self.connections.room_deadline() } else { None };
        let stopping = self.stopping.as_ref().map(|stopping| stopping.deadline);
        [udp, self.listener.deadline(), room, self.connections.deadline(), stopping].into_iter().flatten().min()
    }

    /// Notes what the kernel reported of the UDP socket.
    pub fn note_datagrams(&mut self, readable: bool, writable: bool) {
        if let Some(udp) = &mut self.udp {
            udp.datagrams.note(readable, writable);
        }
    }

    /// Notes that the kernel reported somebody who waits to be accepted.
    pub fn note_listener(&mut self) {
        if self.tcp.is_some() {
            self.listener.note();
        }
    }

    /// Notes what the kernel reported of one connection, as [`Connections::note`] has it.
    pub fn note_connection(&mut self, token: Token, readable: bool, writable: bool, hint: bool) {
        self.connections.note(token, readable, writable, hint);
    }

    /// Has the kernel announce room while replies wait for it, and only then: it announces room whenever a reply has
    /// left, full or not, and each announcement would wake the loop for nothing. Being asked anew, it says at once
    /// what is true by now, so nothing is missed in between: `epoll_ctl(2)`. Where it refuses, the next turn asks again.
    fn watch_room(&mut self, kernel: &K) {
        let Some(udp) = &mut self.udp else { return };
        let wanted = udp.datagrams.waits_for_room();
        if wanted != udp.watches_room && kernel.watch_room(&mut udp.io, wanted).is_ok() {
            udp.watches_room = wanted;
        }
    }

    /// Accepts what waits, if there is room; where there is none, the longest-idle connection gives way.
    fn accept(&mut self, now: Instant, kernel: &K, counters: &mut Counters) {
        let Some(socket) = &self.tcp else { return };
        let connections = &mut self.connections;
        if self.listener.is_paused() || (self.listener.has_work() && connections.room() == 0) {
            // accept(2) fails for want of a descriptor even where nobody waits, and a turn that ended for want of room
            // has not looked. Nobody has to go for a newcomer who is not there, nor where it would not help him.
            if !kernel.someone_waits(socket) {
                self.listener.note_empty();
            } else if self.listener.may_make_room() && connections.make_room(now, counters) {
                self.listener.note_room();
            }
        }
        let accept = || kernel.accept(socket);
        self.listener.turn(now, connections.room(), counters, accept, |stream, counters| {
            let token = connections.insert(stream, now);
            // Once and for all: interest lives in the connection, and the kernel is never asked again.
            let watched = connections.stream_mut(token).map(|stream| kernel.watch(stream, token));
            if matches!(watched, Some(Ok(()))) {
                trace::span(|| Event::Accept { slot: token.0 as u32 });
            } else {
                connections.reject(token, counters);
            }
        });
    }

    /// Begins the end: what has arrived is answered, and then each side is closed. Whoever is left at the deadline is
    /// cut off.
    pub fn stop(&mut self, deadline: Instant, counters: &Counters) {
        self.stopping = Some(Stopping { deadline, udp_received: counters.udp_received, forced: None });
        if self.passed {
            self.leave_queues();
        } else {
            // Whatever waits in a queue is looked for once more, event or not.
            self.note_listener();
            self.listener.resume();
            self.note_datagrams(true, false);
        }
        self.connections.retire_all();
    }

    /// Ends at once, where it has been told to stop already and a second signal does not wait for that.
    pub fn force(&mut self, signal: i32) {
        if let Some(stopping) = &mut self.stopping {
            stopping.forced = Some(signal);
        }
    }

    /// Whether it has been told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// Whether it has been told to stop, and the time that it was given is over.
    pub fn is_out_of_time(&self, now: Instant) -> bool {
        self.stopping.as_ref().is_some_and(|stopping| stopping.deadline <= now)
    }

    /// Takes no more from sockets that outlive this service: what waits there is for the next one to answer.
    fn leave_queues(&mut self) {
        self.listener = Listener::default();
        if let Some(udp) = &mut self.udp {
            udp.datagrams.leave_queue();
        }
    }

    /// Once stopping, closes each socket whose queue has been found empty. Closed before, the listener would reset the
    /// connections in its queue, and the datagrams in the other would be lost.
    fn close_what_is_dry(&mut self, kernel: &K, counters: &Counters) {
        let Some(stopping) = &self.stopping else { return };
        let answered = counters.udp_received - stopping.udp_received;
        if let Some(udp) = self.udp.take_if(|udp| udp.datagrams.is_dry() || answered > STOPPING_DATAGRAMS_MAX) {
            kernel.close_datagrams(udp.io);
        }
        if !self.listener.has_work()
            && !self.listener.is_paused()
            && let Some(tcp) = self.tcp.take()
        {
            kernel.close_listener(tcp);
        }
    }

    /// Whether and how it has ended. Counts what was cut off.
    pub fn ending(&mut self, now: Instant, counters: &mut Counters) -> Option<Ending> {
        let stopping = self.stopping.as_ref()?;
        if let Some(signal) = stopping.forced {
            self.connections.cut_off(counters);
            return Some(Ending::Forced(signal));
        }
        if self.udp.is_none() && self.tcp.is_none() && self.connections.is_empty() {
            return Some(Ending::Drained);
        }
        if now < stopping.deadline {
            return None;
        }
        let left = self.connections.len();
        self.connections.cut_off(counters);
        Some(Ending::CutOff(left))
    }

    /// The UDP side, while it is open.
    pub fn datagrams(&self) -> Option<&Datagrams> {
        self.udp.as_ref().map(|udp| &udp.datagrams)
    }

    /// Whether connections wait to be accepted, and may be.
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    /// The connections.
    pub fn connections(&self) -> &Connections<K::Stream> {
        &self.connections
    }
}
