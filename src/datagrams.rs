//! One UDP turn: receive, filter, raise, group, reply, count. It does I/O only through [`DatagramIo`].
//!
//! A datagram is answered once, whole, to where it came from, or it is dropped and counted. Replies that the socket
//! does not take stay where they are, and nothing more is received until they have left: what must be shed is shed
//! by the kernel's queue, which counts it.

use std::io;
use std::num::NonZeroU32;
use std::ops::Range;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::batch::{Batch, DATAGRAM_MAX, DatagramIo, MESSAGES_MAX, Message, Replies, Reply, datagrams_in};
use crate::counters::Counters;
use crate::ratelimit::RateLimit;
use crate::trace::{self, DatagramsEnd, Event};
use crate::uppercase::{self, Case};

mod width;
pub use width::TURN_WORK_MAX;
use width::{MESSAGE_WORK_MIN, Width};

/// The most attempts of one turn: each counts as a message would.
const ATTEMPTS_MAX: usize = TURN_WORK_MAX / MESSAGE_WORK_MIN;

/// How long receiving pauses when a whole turn of attempts has failed: an error that stays would keep the loop busy.
const PAUSE: Duration = Duration::from_millis(100);

/// The most bytes of one run: what the kernel's segmentation takes in one go, with some room for headers.
const RUN_BYTES_MAX: usize = 65_000;

/// Which datagrams are answered, and how.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Which letters are raised.
    pub case: Case,
    /// Our own port: another server of this kind answers from it, and the two would echo each other for ever.
    /// `None` allows it.
    pub refused_port: Option<u16>,
    /// The most replies a second to one source. `None` is no limit.
    pub rate_limit: Option<NonZeroU32>,
}

/// What happens next after a reply could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextSend {
    /// The send buffer is full: wait until the kernel reports room.
    Wait,
    /// A signal came in between: try again next turn.
    Again,
    /// The run cannot leave as one: send its datagrams one by one.
    Split,
    /// The device cannot do runs at all: send this one's datagrams one by one, and join no more.
    SplitAlways,
    /// This reply cannot be sent, which says nothing about the next one: skip exactly this one.
    Skip,
}

/// The table of send errors, after udp(7), send(2) and the kernel's `udp_send_skb`.
pub fn after_send_error(error: &io::Error, is_run: bool) -> NextSend {
    match Errno::from_io_error(error) {
        Some(Errno::WOULDBLOCK) => NextSend::Wait,
        Some(Errno::INTR) => NextSend::Again,
        Some(Errno::IO) if is_run => NextSend::SplitAlways,
        // The run is longer than the path takes in one go, or its peer takes nothing: one by one, each shows.
        Some(Errno::INVAL | Errno::MSGSIZE) if is_run => NextSend::Split,
        // A firewall, no route, a poisonous address, no memory (no readiness would tell when there is some again).
        _ => NextSend::Skip,
    }
}

/// The UDP side of one loop.
#[derive(Debug)]
pub struct Datagrams {
    rules: Rules,
    limit: Option<RateLimit>,
    batch: Batch,
    replies: Replies,
    /// The first reply that has not left.
    unsent: usize,
    /// Where a datagram is raised when its length changes.
    grown: Vec<u8>,
    /// The kernel's queue may hold something.
    readable: bool,
    /// Whatever it holds is for somebody else.
    left: bool,
    /// Nothing is received before then.
    paused_until: Option<Instant>,
    /// The send buffer may have room.
    writable: bool,
    /// How many messages to ask for.
    width: Width,
    /// Whether the device has said that it cannot send runs.
    runs_refused: bool,
}

impl Datagrams {
    /// Nothing received yet; the first receive is attempted without waiting to be told.
    pub fn new(rules: Rules, io: &impl DatagramIo, start: Instant) -> Datagrams {
        Datagrams {
            limit: rules.rate_limit.map(|rate| RateLimit::new(rate, start)),
            rules,
            batch: Batch::new(io.messages_max().min(MESSAGES_MAX)),
            replies: Replies::default(),
            unsent: 0,
            grown: Vec::new(),
            readable: true,
            left: false,
            paused_until: None,
            writable: true,
            width: Width::new(),
            runs_refused: false,
        }
    }

    /// Notes what the kernel reported.
    pub fn note(&mut self, readable: bool, writable: bool) {
        self.readable |= readable && !self.left;
        self.writable |= writable;
    }

    /// Receives no more: what waits in the queue is for whoever has the socket next. What is owed is still sent.
    pub fn leave_queue(&mut self) {
        self.left = true;
        self.readable = false;
    }

    /// Whether something can be done without waiting for the kernel.
    pub fn has_work(&self) -> bool {
        self.writable && ((self.readable && self.paused_until.is_none()) || self.owes())
    }

    /// When a pause is over.
    pub fn deadline(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Whether the queue has been found empty and nothing is owed.
    pub fn is_dry(&self) -> bool {
        !self.readable && !self.owes()
    }

    /// Whether replies wait for room in the send buffer.
    pub fn owes(&self) -> bool {
        self.unsent < self.replies.list.len()
    }

    /// Whether replies wait until the kernel announces room for them.
    pub fn waits_for_room(&self) -> bool {
        self.owes() && !self.writable
    }

    /// Receives and answers until the queue is empty, the socket is full, or the bound is reached.
    pub fn turn(&mut self, io: &mut impl DatagramIo, now: Instant, counters: &mut Counters) {
        if !self.readable && !self.owes() {
            return;
        }
        if self.paused_until.is_some_and(|end| end <= now) {
            self.paused_until = None;
        }
        let (mut work, errors_before) = (0, counters.udp_receive_errors);
        while self.send(io, counters) && self.readable && self.paused_until.is_none() && work < TURN_WORK_MAX {
            work += self.receive(io, now, counters);
        }
        if counters.udp_receive_errors - errors_before >= ATTEMPTS_MAX as u64 {
            self.paused_until = Some(now + PAUSE);
        }
        trace::since_poll(|| Event::Datagrams { end: self.end() });
    }

    /// Why a turn is over.
    fn end(&self) -> DatagramsEnd {
        match (self.owes(), self.readable) {
            (true, _) => DatagramsEnd::Blocked,
            (false, true) => DatagramsEnd::Bound,
            (false, false) => DatagramsEnd::Empty,
        }
    }

    /// Receives one batch and prepares its replies. How much work it is.
    fn receive(&mut self, io: &mut impl DatagramIo, now: Instant, counters: &mut Counters) -> usize {
        self.batch.clear();
        self.replies.list.clear();
        self.replies.parts.clear();
        self.unsent = 0;
        let width = self.width.next(io.messages_max());
        let outcome = io.receive(&mut self.batch, width);
        trace::span(|| received_event(&self.batch.messages, width));
        if let Err(error) = outcome {
            match error.kind() {
                io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    self.width.note(0, width, 0);
                }
                io::ErrorKind::Interrupted => {}
                // An error that some earlier reply met on its way. It is consumed now, and the queue is still there.
                _ => counters.udp_receive_errors += 1,
            }
            return MESSAGE_WORK_MIN;
        }
        let messages = self.batch.messages.len();
        // A batch that is not full means that the queue is empty, and saves the call that would only say so.
        self.readable = messages == width;
        counters.udp_dropped_by_kernel = io.kernel_drops();
        let segments_max = if self.runs_refused { 1 } else { io.segments_max() };
        let (mut datagrams, bytes_before) = (0, counters.udp_received_bytes);
        for index in 0..messages {
            let message = self.batch.messages[index];
            let count = datagrams_in(message.length, message.segment);
            datagrams += count;
            counters.udp_received += count as u64;
            counters.udp_received_bytes += message.length as u64;
            if let Some(message) = self.admit(message, count, now, counters) {
                self.answer(index, message, segments_max, counters);
            }
        }
        counters.histograms.udp_receive_datagrams.record(datagrams as u64);
        let work = width::work((counters.udp_received_bytes - bytes_before) as usize, messages, datagrams);
        self.width.note(messages, width, work);
        work
    }

    /// What of a message of `count` datagrams is to be answered, by the rules. The rest is counted.
    fn admit(&mut self, mut message: Message, count: usize, now: Instant, counters: &mut Counters) -> Option<Message> {
        let port = message.peer.port();
        if port == 0 || Some(port) == self.rules.refused_port {
            counters.udp_dropped_source_port += count as u64;
            return None;
        }
        if message.to_group {
            counters.udp_dropped_group += count as u64;
            return None;
        }
        if message.truncated {
            counters.udp_dropped_truncated += count as u64;
            return None;
        }
        let Some(limit) = &mut self.limit else { return Some(message) };
        let admitted = limit.take(message.peer.ip(), count, now);
        counters.udp_dropped_rate += (count - admitted) as u64;
        if admitted == 0 {
            return None;
        }
        if admitted < count {
            // Of a merged message the first so many are answered, as they would be had they come one by one.
            message.length = admitted * message.segment;
            if admitted == 1 {
                message.segment = 0;
            }
        }
        Some(message)
    }

    /// Raises one message and puts it among the replies.
    fn answer(&mut self, index: usize, message: Message, segments_max: usize, counters: &mut Counters) {
        let start = self.batch.range_of(index).start;
        let range = start..start + message.length;
        let raised = uppercase::in_place(self.rules.case, &mut self.batch.bytes_mut()[range.clone()]);
        if raised && datagrams_in(message.length, message.segment) <= segments_max {
            self.push(message, range, message.segment, segments_max);
            return;
        }
        // Lengths may change, or runs are refused: every datagram of a merged message becomes a reply of its own.
        let segment = if message.segment == 0 { message.length } else { message.segment };
        for start in range.clone().step_by(segment) {
            let end = range.end.min(start + segment);
            if raised {
                self.push(message, start..end, 0, segments_max);
                continue;
            }
            uppercase::full(&self.batch.bytes()[start..end], &mut self.grown);
            if self.grown.len() > DATAGRAM_MAX {
                counters.udp_dropped_too_long += 1;
                continue;
            }
            let answer = self.batch.append(&self.grown);
            self.push(message, answer, 0, segments_max);
        }
    }

    /// Adds a reply, or lengthens the last one where the two make a run: one peer, one size, only the last shorter.
    fn push(&mut self, message: Message, range: Range<usize>, segment: usize, segments_max: usize) {
        let Message { peer, local, .. } = message;
        let length = range.len();
        let datagrams = datagrams_in(length, segment);
        if length > 0
            && let Some(last) = self.replies.list.last_mut()
        {
            let size = if last.segment == 0 { last.length } else { last.segment };
            let fits = if segment == 0 { length <= size } else { segment == size };
            if fits
                && (last.peer, last.local) == (peer, local)
                && last.length % size.max(1) == 0
                && last.datagrams() + datagrams <= segments_max
                && last.length + length <= RUN_BYTES_MAX
            {
                last.segment = size;
                last.length += length;
                last.parts.end += 1;
                self.replies.parts.push(range);
                return;
            }
        }
        let part = self.replies.parts.len();
        self.replies.parts.push(range);
        self.replies.list.push(Reply { peer, local, parts: part..part + 1, segment, length });
    }

    /// Sends what is owed. Says whether nothing is any more.
    fn send(&mut self, io: &mut impl DatagramIo, counters: &mut Counters) -> bool {
        // Each pass sends or skips at least one reply, splits a run into replies that are none, or returns.
        while self.owes() {
            if !self.writable {
                return false;
            }
            let error = match io.send(self.batch.bytes(), &self.replies, self.unsent) {
                Ok(sent) => {
                    trace::span(|| sent_event(&self.replies.list[self.unsent..self.unsent + sent]));
                    let replied_before = counters.udp_replied;
                    for reply in &self.replies.list[self.unsent..self.unsent + sent] {
                        counters.udp_replied += reply.datagrams() as u64;
                        counters.udp_replied_bytes += reply.length as u64;
                    }
                    counters.histograms.udp_send_datagrams.record(counters.udp_replied - replied_before);
                    self.unsent += sent;
                    continue;
                }
                Err(error) => {
                    trace::span(|| sent_event(&[]));
                    error
                }
            };
            match after_send_error(&error, self.replies.list[self.unsent].segment > 0) {
                NextSend::Wait => {
                    counters.udp_send_blocked += 1;
                    self.writable = false;
                    return false;
                }
                NextSend::Again => return false,
                NextSend::Split => self.split(counters),
                NextSend::SplitAlways => {
                    self.runs_refused = true;
                    self.split(counters);
                }
                NextSend::Skip => {
                    counters.udp_dropped_send_error += self.replies.list[self.unsent].datagrams() as u64;
                    self.unsent += 1;
                }
            }
        }
        true
    }

    /// Replaces the first unsent run by its datagrams.
    fn split(&mut self, counters: &mut Counters) {
        counters.udp_runs_split += 1;
        let run = self.replies.list[self.unsent].clone();
        let first_part = self.replies.parts.len();
        for index in run.parts.clone() {
            let part = self.replies.parts[index].clone();
            for start in part.clone().step_by(run.segment) {
                self.replies.parts.push(start..part.end.min(start + run.segment));
            }
        }
        let single = (first_part..self.replies.parts.len()).map(|part| Reply {
            parts: part..part + 1,
            segment: 0,
            length: self.replies.parts[part].len(),
            ..run.clone()
        });
        self.replies.list.splice(self.unsent..=self.unsent, single);
    }
}

/// A receive that was asked for `width` messages, for the trace.
fn received_event(messages: &[Message], width: usize) -> Event {
    let datagrams = messages.iter().map(|message| datagrams_in(message.length, message.segment)).sum::<usize>();
    Event::Receive {
        width: width as u32,
        messages: messages.len() as u32,
        datagrams: datagrams as u32,
        bytes: messages.iter().map(|message| message.length).sum::<usize>() as u32,
    }
}

/// A send that took these replies, for the trace.
fn sent_event(replies: &[Reply]) -> Event {
    Event::Send {
        datagrams: replies.iter().map(Reply::datagrams).sum::<usize>() as u32,
        bytes: replies.iter().map(|reply| reply.length).sum::<usize>() as u32,
    }
}

#[cfg(test)]
mod tests;
