//! One TCP stream as a state machine over `Read + Write`. It does I/O only through the stream it is handed.
//!
//! A connection owns next to nothing: what it reads stands in the loop's [`Scratch`], is raised there and is
//! written at once. Only what the socket does not take is copied, into the *tail*; and while there is a tail
//! nothing is read, so a tail is never longer than the answer to one read. That is the whole of backpressure.

use std::io::{ErrorKind, Read, Write};

use crate::counters::Counters;
use crate::uppercase::{self, CARRY_MAX, Carry, Case, GROWTH_MAX};

/// What happens next to a connection after a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing can be done until the kernel reports readiness.
    Wait,
    /// The budget or a signal ended the drive. Drive again next turn: no event will ask for it.
    Again,
    /// Everything owed has been sent and nothing more will be: close the write side.
    Finished,
    /// The stream failed: let it go.
    Broken,
}

/// The buffers that a drive borrows from the loop, one pair for all connections.
#[derive(Debug)]
pub struct Scratch {
    case: Case,
    /// Room for a carried beginning of a character, then for one read.
    chunk: Box<[u8]>,
    /// The answer, where its length is not the input's.
    grown: Vec<u8>,
}

impl Scratch {
    /// Buffers for reads of at most `chunk_len` bytes.
    pub fn new(case: Case, chunk_len: usize) -> Scratch {
        let grown = match case {
            Case::Ascii => Vec::new(),
            Case::Unicode => Vec::with_capacity(GROWTH_MAX * (CARRY_MAX + chunk_len)),
        };
        Scratch { case, chunk: vec![0; CARRY_MAX + chunk_len].into(), grown }
    }
}

/// One TCP stream: what the kernel said of it, and what it is owed.
#[derive(Debug)]
pub struct Connection {
    /// What the socket has not taken yet begins here, after the first `tail_sent` bytes. Unallocated when empty.
    tail: Vec<u8>,
    tail_sent: usize,
    /// The beginning of a character that the last read cut off.
    carry: Carry,
    /// The last that the kernel said, or that a read contradicted: reading may give something.
    readable: bool,
    /// Likewise of writing.
    writable: bool,
    /// The kernel has hinted that the peer's end or an urgent byte is in the queue. From then on a short read proves
    /// nothing.
    hinted: bool,
    /// A read has returned the end of the peer's stream.
    ended: bool,
    /// No more is asked of the peer: answer what has already arrived, then finish.
    retiring: bool,
    /// How much of that is left to answer. Without this bound a peer that sends faster than we answer would never
    /// let its connection finish.
    retiring_bytes: u32,
    /// The write side is closed; what still arrives is discarded, for a close with unread input would send a
    /// reset, and a reset can destroy the last answer on its way.
    lingering: bool,
    /// Bytes moved since [`Connection::take_progress`].
    progress: bool,
}

const _: () = assert!(size_of::<Connection>() <= 48, "with its stream, a connection fits one cache line of 64 bytes");

impl Default for Connection {
    /// A connection as accepted. What has already arrived is reported when it is registered: epoll(7).
    fn default() -> Connection {
        Connection {
            tail: Vec::new(),
            tail_sent: 0,
            carry: Carry::default(),
            readable: false,
            writable: true,
            hinted: false,
            ended: false,
            retiring: false,
            retiring_bytes: 0,
            lingering: false,
            progress: false,
        }
    }
}

impl Connection {
    /// Notes what the kernel reported; `hint` is that the peer's end or an urgent byte has arrived. No I/O happens here,
    /// so a stale report costs one failed attempt later.
    pub fn note(&mut self, readable: bool, writable: bool, hint: bool) {
        self.readable |= readable || hint;
        self.writable |= writable;
        self.hinted |= hint;
    }

    /// Asks no more of the peer: once the `unread` bytes that have already arrived are answered, the connection is
    /// finished.
    pub fn retire(&mut self, unread: u64) {
        if self.retiring {
            // What was carried may have been sent already, and nothing that belongs behind it may follow.
            return;
        }
        self.retiring = true;
        self.retiring_bytes = u32::try_from(unread).unwrap_or(u32::MAX);
        self.readable |= unread > 0;
    }

    /// Discards whatever still arrives, after the owner has closed the write side.
    pub fn linger(&mut self) {
        self.lingering = true;
    }

    /// How many bytes the peer is owed.
    pub fn unsent(&self) -> usize {
        self.tail.len() - self.tail_sent
    }

    /// How many bytes of memory it holds for that. A tail stays allocated whole until its last byte is sent.
    pub fn held(&self) -> usize {
        self.tail.len()
    }

    /// Whether the peer's stream has ended, so that nothing can be left unread.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether all is sent and the write side closed.
    pub fn is_lingering(&self) -> bool {
        self.lingering
    }

    /// Whether something may be left to read.
    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// Whether bytes have moved since this was last asked.
    pub fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.progress)
    }

    /// Reads, raises and writes until the stream blocks, ends, breaks, or has given `budget` bytes.
    pub fn drive<S: Read + Write>(
        &mut self,
        io: &mut S,
        scratch: &mut Scratch,
        mut budget: usize,
        counters: &mut Counters,
    ) -> Next {
        // Each pass returns or reads at least one byte of the budget, which bounds the loop.
        loop {
            if let Some(next) = self.flush(io, counters) {
                return next;
            }
            if self.ended {
                return Next::Finished;
            }
            if self.is_answering_the_last() && (self.retiring_bytes == 0 || !self.readable) {
                // The rest of a carried character is not waited for. If it comes while the carry stands in the tail,
                // it comes too late to be read: it would be raised as if nothing had gone before.
                self.retiring_bytes = 0;
                return self.send_carry(io, counters).unwrap_or(Next::Finished);
            }
            if !self.readable {
                return Next::Wait;
            }
            if budget == 0 {
                return Next::Again;
            }
            match self.read(io, scratch, budget, counters) {
                Ok(length) => budget -= length,
                Err(next) => return next,
            }
        }
    }

    /// Whether what it reads now had arrived before it was asked to finish. Once it lingers, it discards.
    fn is_answering_the_last(&self) -> bool {
        self.retiring && !self.lingering
    }

    /// Sends the tail. `None` when nothing is left of it.
    fn flush<S: Write>(&mut self, io: &mut S, counters: &mut Counters) -> Option<Next> {
        if self.tail.is_empty() {
            return None;
        }
        if !self.writable {
            return Some(Next::Wait);
        }
        let tail = std::mem::take(&mut self.tail);
        let (sent, stopped) = self.write(io, &tail[self.tail_sent..], counters);
        self.tail_sent += sent;
        match stopped {
            Some(next) => {
                self.tail = tail;
                Some(next)
            }
            None => {
                // The tail is dropped here and not kept for the next time: an idle connection owns no buffer.
                self.tail_sent = 0;
                None
            }
        }
    }

    /// One read and, unless it blocked, its answer. The number of bytes read, or why the drive is over.
    fn read<S: Read + Write>(
        &mut self,
        io: &mut S,
        scratch: &mut Scratch,
        budget: usize,
        counters: &mut Counters,
    ) -> Result<usize, Next> {
        let Scratch { case, chunk, grown } = scratch;
        let mut offered = budget.min(chunk.len() - CARRY_MAX);
        if self.is_answering_the_last() {
            offered = offered.min(self.retiring_bytes as usize);
        }
        let length = match io.read(&mut chunk[CARRY_MAX..][..offered]) {
            Ok(0) => {
                self.ended = true;
                return self.send_carry(io, counters).map_or(Ok(0), Err);
            }
            Ok(length) => length,
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Ok(0);
                }
                ErrorKind::Interrupted => return Err(Next::Again),
                // All has been sent already; how the peer ends it makes no difference any more.
                _ if self.lingering => {
                    self.ended = true;
                    return Ok(0);
                }
                _ => return Err(Next::Broken),
            },
        };
        if length < offered && !self.hinted {
            // The queue is empty, and saying so here saves the read that would only return `WouldBlock`. But when
            // data and end arrive together there is one event for both: after a short read the end would wait in
            // the queue unannounced. So would what stands behind an urgent byte, where the kernel ends a read early.
            // Hence the hint: once either is known to be near, read until the queue says that it is empty.
            self.readable = false;
        }
        self.progress = true;
        if self.lingering {
            counters.tcp_discarded_bytes += length as u64;
            return Ok(length);
        }
        counters.tcp_received_bytes += length as u64;
        if self.retiring {
            self.retiring_bytes -= length as u32;
        }
        let start = CARRY_MAX - self.carry.as_bytes().len();
        chunk[start..CARRY_MAX].copy_from_slice(self.carry.as_bytes());
        let text = &mut chunk[start..CARRY_MAX + length];
        let answer = uppercase::piece(*case, text, &mut self.carry, grown);
        self.answer(io, answer, counters).map_or(Ok(length), Err)
    }

    /// No more is read: what is carried will not become a character, so it goes out as it is.
    fn send_carry<S: Write>(&mut self, io: &mut S, counters: &mut Counters) -> Option<Next> {
        let carry = std::mem::take(&mut self.carry);
        // Bytes that were read some time ago are owed from now on, even if the socket takes none of them.
        self.progress |= !carry.is_empty();
        self.answer(io, carry.as_bytes(), counters)
    }

    /// Writes an answer; what the socket does not take becomes the tail.
    fn answer<S: Write>(&mut self, io: &mut S, answer: &[u8], counters: &mut Counters) -> Option<Next> {
        debug_assert!(self.tail.is_empty(), "reading while a tail is unsent would let it grow without bound");
        let (sent, stopped) = self.write(io, answer, counters);
        if stopped == Some(Next::Wait) {
            counters.tcp_blocked += 1;
        }
        if stopped.is_some() {
            self.tail = answer[sent..].to_vec();
        }
        stopped
    }

    /// Writes until all is sent or the socket stops. How much went, and why it stopped before the end.
    fn write<S: Write>(&mut self, io: &mut S, bytes: &[u8], counters: &mut Counters) -> (usize, Option<Next>) {
        let mut sent = 0;
        // Each pass sends at least one byte or returns.
        let stopped = loop {
            if sent == bytes.len() {
                break None;
            }
            match io.write(&bytes[sent..]) {
                Ok(0) => break Some(Next::Broken),
                Ok(length) => sent += length,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => {
                        self.writable = false;
                        break Some(Next::Wait);
                    }
                    ErrorKind::Interrupted => break Some(Next::Again),
                    _ => break Some(Next::Broken),
                },
            }
        };
        self.progress |= sent > 0;
        counters.tcp_sent_bytes += sent as u64;
        (sent, stopped)
    }
}
