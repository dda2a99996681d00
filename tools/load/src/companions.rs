//! Connections that stand beside those that are measured: some idle, some that read slowly, some that end their half and
//! expect the rest. Does I/O: a thread and a poll of its own, so that the loop that measures knows nothing of them.
//!
//! They are there to see whether the measured ones suffer from them, and whether they themselves are served as they
//! should be: what they receive is verified to the byte, and counted apart from all messages.

mod half_closers;
mod slow_readers;
mod talk;

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Poll, Token, Waker};
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Nanos, SECOND};
use crate::plan::Crowd;
use crate::sockets::{Dialled, Dialler};
use half_closers::Closing;
pub use half_closers::HalfClosers;
use slow_readers::Slow;
pub use slow_readers::SlowReaders;
use talk::Text;

/// How often slow readers read, and ended half-closers are replaced.
const TICK: Nanos = SECOND / 10;

/// Room for a good stretch of a stream.
const SCRATCH: usize = 64 << 10;

/// Whoever calls wants to know how things stand, or has gone.
const CALL: Token = Token(usize::MAX);

/// What has become of the companions since they were opened. Each kind is `None` where there were none of it.
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
    /// What became of those of two runs together.
    #[must_use]
    pub fn plus(self, other: Tally) -> Self {
        fn both<T>(one: Option<T>, other: Option<T>, plus: fn(T, T) -> T) -> Option<T> {
            match (one, other) {
                (Some(one), Some(other)) => Some(plus(one, other)),
                (one, other) => one.or(other),
            }
        }
        Tally {
            idle: both(self.idle, other.idle, |one, other| Idle {
                opened: one.opened + other.opened,
                closed: one.closed + other.closed,
                reset: one.reset + other.reset,
                stray_bytes: one.stray_bytes + other.stray_bytes,
            }),
            slow_readers: both(self.slow_readers, other.slow_readers, |one, other| SlowReaders {
                opened: one.opened + other.opened,
                ended: one.ended + other.ended,
                wrong: one.wrong + other.wrong,
                bytes_tx: one.bytes_tx + other.bytes_tx,
                bytes_rx: one.bytes_rx + other.bytes_rx,
            }),
            half_closers: both(self.half_closers, other.half_closers, |one, other| HalfClosers {
                completed: one.completed + other.completed,
                cut_short: one.cut_short + other.cut_short,
                wrong: one.wrong + other.wrong,
                reset: one.reset + other.reset,
                timed_out: one.timed_out + other.timed_out,
                failed: one.failed + other.failed,
                bytes_rx: one.bytes_rx + other.bytes_rx,
            }),
        }
    }

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
    /// Connections that the server has closed.
    pub closed: u64,
    /// Connections that it, or the network, broke.
    pub reset: u64,
    /// How many bytes came unasked.
    pub stray_bytes: u64,
}

/// Companions at work, for as long as this is kept.
#[derive(Debug)]
pub struct Companions {
    /// Questions how things stand, each with where to send the answer; `None`: there will be no more.
    questions: Option<Sender<Sender<Tally>>>,
    call: Waker,
    /// `None`: it has been waited for.
    thread: Option<JoinHandle<io::Result<()>>>,
    /// How they were opened, without the connections themselves.
    opening: Dialled,
    opened: usize,
}

impl Companions {
    /// Opens all of them and lets them begin; `None` where there are to be none. `tell` as in [`Dialler::open`].
    pub fn start(crowd: &Crowd, dialler: &Dialler, tell: &mut dyn FnMut(usize) -> bool) -> io::Result<Option<Self>> {
        let count = crowd.companions();
        if count == 0 {
            return Ok(None);
        }
        let mut poll = Poll::new()?;
        let call = Waker::new(poll.registry(), CALL)?;
        let (questions, asked) = channel();
        let mut dialler = dialler.clone();
        let mut opening = dialler.open(&mut poll, count, 0, tell)?;
        let mut streams = std::mem::take(&mut opening.streams);
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
            asked,
        };
        let thread = std::thread::Builder::new().name("companions".into()).spawn(move || host.run())?;
        Ok(Some(Companions { questions: Some(questions), call, thread: Some(thread), opening, opened: count }))
    }

    /// How many were opened at first, and how long each of them took and all of them together.
    pub fn opening(&self) -> (usize, &Dialled) {
        (self.opened, &self.opening)
    }

    /// What has become of them so far. They go on.
    pub fn tally(&mut self) -> io::Result<Tally> {
        let (sender, answer) = channel();
        // A thread that has broken off takes no questions and gives no answers, and its end says why.
        let _ = self.questions.as_ref().map(|questions| questions.send(sender));
        self.call.wake()?;
        if let Ok(tally) = answer.recv() {
            return Ok(tally);
        }
        let ended = self.thread.take().map_or(Ok(Ok(())), JoinHandle::join);
        ended.unwrap_or_else(|_| Err(io::Error::other("the thread of the companions panicked")))?;
        Err(io::Error::other("the companions are gone"))
    }
}

impl Drop for Companions {
    /// Nobody waits for them, and they end all the same.
    fn drop(&mut self) {
        self.questions = None;
        let _ = self.call.wake();
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
    asked: Receiver<Sender<Tally>>,
}

impl Host {
    fn run(mut self) -> io::Result<()> {
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
                if event.token() != CALL {
                    self.serve(event.token().0, now);
                } else if !self.answer() {
                    return Ok(());
                }
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

    /// Says how things stand to all who ask. `false` when nobody will ask any more.
    fn answer(&mut self) -> bool {
        loop {
            let whom = match self.asked.try_recv() {
                Ok(whom) => whom,
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            };
            // What had not yet been noticed is noticed now.
            for place in 0..self.idle.len() {
                self.look_at_idle(place);
            }
            // Whoever asked and did not wait has no use for the answer.
            let _ = whom.send(self.tally);
        }
    }
}
