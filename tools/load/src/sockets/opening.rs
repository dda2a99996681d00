//! Opening TCP connections without waiting for any of them. Does I/O.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};

use super::source::{Sources, connect_from};
use crate::clock::{Clock, Nanos, SECOND};
use crate::recorder;

/// Connections being opened at once: well below the listen backlog of any server (128 is the smallest common default).
const OPENING_AT_ONCE: usize = 64;

/// For this long connections are begun before it is looked which have been made. The kernel takes a millisecond to find a
/// port where most are taken, which would be in the time of all others.
const DIAL_BUDGET: Nanos = 100_000;

/// Without an answer for this long, an attempt to open a connection has failed.
pub const CONNECT_TIMEOUT: Nanos = 5 * SECOND;

/// How often somebody is told how many connections are open.
const TELL_INTERVAL: Nanos = SECOND / 20;

/// Opens connections to one address.
#[derive(Debug, Clone)]
pub struct Dialler {
    address: SocketAddr,
    sources: Sources,
    /// Connections a second, at most.
    rate: Option<f64>,
}

/// Connections that have been opened.
#[derive(Debug)]
pub struct Dialled {
    /// The connections.
    pub streams: Vec<TcpStream>,
    /// How long each took to open.
    pub times: Histogram<u64>,
    /// How long all of them took together.
    pub took: Nanos,
}

impl Dialler {
    /// To this address, from these in turn; [`open`](Self::open) opens at most so many a second.
    pub fn new(address: SocketAddr, sources: Sources, rate: Option<f64>) -> Self {
        Dialler { address, sources, rate }
    }

    /// Starts to open a connection, whose events come under `token`.
    pub fn dial(&mut self, registry: &Registry, token: Token, now: Nanos) -> io::Result<Opening> {
        let address = self.address;
        let mut stream = self.sources.open(|source| match source {
            Some(source) => connect_from(source, address),
            None => TcpStream::connect(address),
        })?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Opening { stream, since: now })
    }

    /// Opens and registers connections, several at a time, and measures how long each took; the first gets
    /// `first_token`. `tell` is told now and then how many are open, and when half of them are, and may end it.
    ///
    /// Fails when one of them cannot be opened, or with [`ErrorKind::Interrupted`] when `tell` says `false`.
    pub fn open(
        &mut self,
        poll: &mut Poll,
        count: usize,
        first_token: usize,
        tell: &mut dyn FnMut(usize) -> bool,
    ) -> io::Result<Dialled> {
        let clock = Clock::start();
        let mut connect_times = recorder::histogram();
        let mut events = Events::with_capacity(OPENING_AT_ONCE);
        let mut places: Vec<Option<Opened>> = Vec::with_capacity(count);
        let (mut open, mut tell_at, mut is_half_told) = (0, 0, false);
        while open < count {
            let most = self.due(clock.now()).min(count).min(open + OPENING_AT_ONCE);
            let until = clock.now() + DIAL_BUDGET;
            while places.len() < most && clock.now() < until {
                let token = Token(first_token + places.len());
                places.push(Some(Opened::NotYet(self.dial(poll.registry(), token, clock.now())?)));
            }
            let is_waiting = places.len() < count && places.len() - open < OPENING_AT_ONCE;
            let more_at = match is_waiting {
                _ if places.len() < most => 0,
                true => self.time_of(places.len()),
                false => Nanos::MAX,
            };
            let wait = more_at.saturating_sub(clock.now()).min(TELL_INTERVAL);
            match poll.poll(&mut events, Some(Duration::from_nanos(wait))) {
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
                        if matches!(opened, Opened::Stream(_)) {
                            crate::recorder::record(&mut connect_times, now - since);
                            open += 1;
                        }
                        Some(opened)
                    }
                    other => other,
                };
            }
            let is_half = 2 * open >= count && !is_half_told;
            if now >= tell_at || is_half {
                is_half_told |= is_half;
                tell_at = now + TELL_INTERVAL;
                let is_overdue = |place: &Option<Opened>| matches!(place, Some(Opened::NotYet(opening)) if now - opening.since() >= CONNECT_TIMEOUT);
                if places.iter().any(is_overdue) {
                    return Err(ErrorKind::TimedOut.into());
                }
                if !tell(open) {
                    return Err(ErrorKind::Interrupted.into());
                }
            }
        }
        let stream = |place| match place {
            Some(Opened::Stream(stream)) => Some(stream),
            Some(Opened::NotYet(_)) | None => None,
        };
        let took = clock.now();
        Ok(Dialled { streams: places.into_iter().filter_map(stream).collect(), times: connect_times, took })
    }

    /// How many connections may have been begun by now.
    fn due(&self, now: Nanos) -> usize {
        self.rate.map_or(usize::MAX, |rate| (now as f64 * rate / SECOND as f64) as usize + 1)
    }

    /// When the connection with this number, counted from 0, may be begun.
    fn time_of(&self, number: usize) -> Nanos {
        self.rate.map_or(Nanos::MAX, |rate| (number as f64 * SECOND as f64 / rate) as Nanos)
    }
}

/// A connection that is being opened.
#[derive(Debug)]
pub struct Opening {
    stream: TcpStream,
    since: Nanos,
}

/// What has become of an [`Opening`].
#[derive(Debug)]
pub enum Opened {
    /// Nothing yet.
    NotYet(Opening),
    /// A connection, which sends what it is given at once.
    Stream(TcpStream),
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
        Ok(Opened::Stream(self.stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_begun_no_faster_than_told() {
        let dialler = Dialler::new("127.0.0.1:9".parse().unwrap(), Sources::default(), Some(100.0));
        assert_eq!([0, 9_999_999, 10_000_000, SECOND].map(|now| dialler.due(now)), [1, 1, 2, 101]);
        assert_eq!([0, 1, 100].map(|number| dialler.time_of(number)), [0, 10_000_000, SECOND]);
        assert_eq!(Dialler { rate: None, ..dialler }.due(0), usize::MAX);
    }
}
