//! Opening TCP connections without waiting for any of them. Does I/O.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};

use super::StreamLane;
use crate::clock::{Clock, Nanos, SECOND};
use crate::recorder;
use crate::stamps;

/// Connections being opened at once: well below the listen backlog of any server (128 is the smallest common default).
const OPENING_AT_ONCE: usize = 64;

/// Without an answer for this long, an attempt to open a connection has failed.
pub const CONNECT_TIMEOUT: Nanos = 5 * SECOND;

/// Opens connections to one address.
#[derive(Debug)]
pub struct Dialler {
    address: SocketAddr,
    stamps: bool,
}

impl Dialler {
    /// To this address, with the kernel's timestamps if they are wanted and to be had.
    pub fn new(address: SocketAddr, stamps: bool) -> Self {
        Dialler { address, stamps }
    }

    /// Starts to open a connection, whose events come under `token`.
    pub fn dial(&mut self, registry: &Registry, token: Token, now: Nanos) -> io::Result<Opening> {
        let mut stream = TcpStream::connect(self.address)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Opening { stream, since: now, stamps: self.stamps })
    }
}

/// A connection that is being opened.
#[derive(Debug)]
pub struct Opening {
    stream: TcpStream,
    since: Nanos,
    stamps: bool,
}

/// What has become of an [`Opening`].
#[derive(Debug)]
pub enum Opened {
    /// Nothing yet.
    NotYet(Opening),
    /// A connection.
    Lane(StreamLane),
}

impl Opening {
    /// When the attempt began.
    pub fn since(&self) -> Nanos {
        self.since
    }

    /// Looks what has become of it, after an event. `Err`: the connection cannot be made.
    pub fn finish(self) -> io::Result<Opened> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        // Writable without a peer means that the connection is still being made.
        if self.stream.peer_addr().is_err() {
            return Ok(Opened::NotYet(self));
        }
        self.stream.set_nodelay(true)?;
        let is_stamped = self.stamps && stamps::enable(&self.stream).is_ok();
        Ok(Opened::Lane(StreamLane::new(self.stream, is_stamped)))
    }
}

/// Opens and registers TCP connections, several at a time, and measures how long each took; the first gets
/// `first_token`. Fails when one of them cannot be opened.
pub fn open_streams(
    poll: &mut Poll,
    dialler: &mut Dialler,
    count: usize,
    first_token: usize,
) -> io::Result<(Vec<StreamLane>, Histogram<u64>)> {
    let clock = Clock::start();
    let mut connect_times = recorder::histogram();
    let mut events = Events::with_capacity(OPENING_AT_ONCE);
    let mut places: Vec<Option<Opened>> = Vec::with_capacity(count);
    let mut open = 0;
    while open < count {
        while places.len() < count && places.len() - open < OPENING_AT_ONCE {
            let token = Token(first_token + places.len());
            places.push(Some(Opened::NotYet(dialler.dial(poll.registry(), token, clock.now())?)));
        }
        match poll.poll(&mut events, Some(Duration::from_nanos(CONNECT_TIMEOUT))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => outcome?,
        }
        let now = clock.now();
        for event in &events {
            let Some(place) = places.get_mut(event.token().0.wrapping_sub(first_token)) else { continue };
            *place = match place.take() {
                Some(Opened::NotYet(opening)) => {
                    let since = opening.since();
                    let opened = opening.finish()?;
                    if matches!(opened, Opened::Lane(_)) {
                        connect_times.saturating_record(now - since);
                        open += 1;
                    }
                    Some(opened)
                }
                other => other,
            };
        }
        let is_overdue = |place: &Option<Opened>| match place {
            Some(Opened::NotYet(opening)) => now - opening.since() >= CONNECT_TIMEOUT,
            Some(Opened::Lane(_)) | None => false,
        };
        if places.iter().any(is_overdue) {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    let lane = |place| match place {
        Some(Opened::Lane(lane)) => Some(lane),
        Some(Opened::NotYet(_)) | None => None,
    };
    Ok((places.into_iter().filter_map(lane).collect(), connect_times))
}
