//! Connections that stand beside those that are measured: some idle, some that read slowly, some that end their half and
//! expect the rest. Does I/O: a thread and a poll of its own, so that the loop that measures knows nothing of them.
//!
//! They are there to see whether the measured ones suffer from them, and whether they themselves are served as they
//! should be: what they receive is verified to the byte, and counted apart from all messages.

mod half_closers;
mod slow_readers;
mod talk;

use std::io::{self, Read};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Poll, Token, Waker};
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Nanos, SECOND};
use crate::plan::Crowd;
use crate::sockets::Dialler;
use half_closers::Closing;
pub use half_closers::HalfClosers;
use slow_readers::Slow;
pub use slow_readers::SlowReaders;
use talk::Text;

/// How often slow readers read, and ended half-closers are replaced.
const TICK: Nanos = SECOND / 10;

/// Room for a good stretch of a stream.
const SCRATCH: usize = 64 << 10;

const STOP: Token = Token(usize::MAX);

/// What became of the companions. Each kind is `None` where there were none of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Tally {
    /// Connections that said nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub idle: Option<Idle>,
    /// Connections that read slowly.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub slow_readers: Option<SlowReaders>,
    /// Connections that ended their half.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub half_closers: Option<HalfClosers>,
}

impl Tally {
    /// Whether any of them was answered wrongly, or not to the end.
    pub fn is_wrong(&self) -> bool {
        self.slow_readers.is_some_and(|slow| slow.wrong > 0)
            || self.half_closers.is_some_and(|half| half.wrong + half.cut_short > 0)
    }
}

/// What became of idle connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Idle {
    /// Connections opened.
    pub opened: u64,
    /// Connections that the server closed before the end of the run.
    pub closed: u64,
    /// Connections that it, or the network, broke.
    pub reset: u64,
    /// How many bytes came unasked.
    pub stray_bytes: u64,
}

/// Companions at work.
#[derive(Debug)]
pub struct Companions {
    stop: Waker,
    /// `None`: it has been waited for.
    thread: Option<JoinHandle<io::Result<Tally>>>,
}

impl Companions {
    /// Opens all of them and lets them begin; `None` where there are to be none. `tell` as in [`Dialler::open`].
    pub fn start(crowd: &Crowd, dialler: &Dialler, tell: &mut dyn FnMut(usize) -> bool) -> io::Result<Option<Self>> {
        let count = crowd.companions();
        if count == 0 {
            return Ok(None);
        }
        let mut poll = Poll::new()?;
        let stop = Waker::new(poll.registry(), STOP)?;
        let mut dialler = dialler.clone();
        let (mut streams, _) = dialler.open(&mut poll, count, 0, tell)?;
        let half_closers = streams.split_off(crowd.idle + crowd.slow_readers);
        let slow = streams.split_off(crowd.idle);
        let clock = Clock::start();
        let text = Text::new();
        let host = Host {
            poll,
            clock,
            dialler,
            tally: Tally {
                idle: (crowd.idle > 0).then(|| Idle { opened: crowd.idle as u64, ..Idle::default() }),
                slow_readers: (crowd.slow_readers > 0)
                    .then(|| SlowReaders { opened: crowd.slow_readers as u64, ..SlowReaders::default() }),
                half_closers: (crowd.half_closers > 0).then(HalfClosers::default),
            },
            idle: streams.into_iter().map(Some).collect(),
            slow: slow.into_iter().map(Slow::new).collect(),
            closing: half_closers.into_iter().map(|stream| Closing::new(stream, clock.now())).collect(),
            text,
            scratch: vec![0; SCRATCH],
        };
        let thread = std::thread::Builder::new().name("companions".into()).spawn(move || host.run())?;
        Ok(Some(Companions { stop, thread: Some(thread) }))
    }

    /// Ends them, and says what became of them.
    pub fn finish(mut self) -> io::Result<Tally> {
        self.stop.wake()?;
        let ended = self.thread.take().map_or_else(|| Ok(Ok(Tally::default())), JoinHandle::join);
        ended.unwrap_or_else(|_| Err(io::Error::other("the thread of the companions panicked")))
    }
}

impl Drop for Companions {
    /// For a run that breaks off: nobody waits for them, and they end all the same.
    fn drop(&mut self) {
        let _ = self.stop.wake();
    }
}

/// The loop. Tokens count through the idle ones, the slow readers and the half-closers.
struct Host {
    poll: Poll,
    clock: Clock,
    dialler: Dialler,
    tally: Tally,
    /// `None`: it has ended.
    idle: Vec<Option<TcpStream>>,
    slow: Vec<Slow>,
    closing: Vec<Closing>,
    text: Text,
    scratch: Vec<u8>,
}

impl Host {
    fn run(mut self) -> io::Result<Tally> {
        let mut events = Events::with_capacity(1024);
        let mut next_tick = 0;
        // The edges of the beginning were spent on the opening.
        let first_closing = self.idle.len() + self.slow.len();
        for token in first_closing..first_closing + self.closing.len() {
            self.serve(token, self.clock.now());
        }
        loop {
            let now = self.clock.now();
            if now >= next_tick {
                next_tick = now + TICK;
                self.tick(now);
            }
            match self.poll.poll(&mut events, Some(Duration::from_nanos(next_tick.saturating_sub(now)))) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome?,
            }
            let now = self.clock.now();
            for event in &events {
                if event.token() == STOP {
                    return Ok(self.finish());
                }
                self.serve(event.token().0, now);
            }
        }
    }

    fn serve(&mut self, token: usize, now: Nanos) {
        let (first_slow, first_closing) = (self.idle.len(), self.idle.len() + self.slow.len());
        if token < first_slow {
            self.look_at_idle(token);
        } else if token < first_closing {
            // It sends when there is room, and reads when it is time: not now.
            if let Some(tally) = &mut self.tally.slow_readers {
                self.slow[token - first_slow].send(&self.text, tally);
            }
        } else if let (Some(closing), Some(tally)) =
            (self.closing.get_mut(token - first_closing), &mut self.tally.half_closers)
        {
            closing.go_on(&self.text, &mut self.scratch, tally, now);
        }
    }

    fn tick(&mut self, now: Nanos) {
        if let Some(tally) = &mut self.tally.slow_readers {
            for slow in &mut self.slow {
                slow.read(&self.text, &mut self.scratch, tally);
                slow.send(&self.text, tally);
            }
        }
        let first_closing = self.idle.len() + self.slow.len();
        if let Some(tally) = &mut self.tally.half_closers {
            for (place, closing) in self.closing.iter_mut().enumerate() {
                let token = Token(first_closing + place);
                closing.tick(&mut self.dialler, self.poll.registry(), token, tally, now);
            }
        }
    }

    fn look_at_idle(&mut self, place: usize) {
        let Some(tally) = &mut self.tally.idle else { return };
        let Some(stream) = &mut self.idle[place] else { return };
        loop {
            match stream.read(&mut self.scratch) {
                Ok(0) => tally.closed += 1,
                Ok(length) => {
                    tally.stray_bytes += length as u64;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => tally.reset += 1,
            }
            self.idle[place] = None;
            return;
        }
    }

    /// What had not yet been noticed is noticed now.
    fn finish(mut self) -> Tally {
        for place in 0..self.idle.len() {
            self.look_at_idle(place);
        }
        self.tally
    }
}
