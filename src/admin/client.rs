//! One connection to the admin endpoint as a state machine over `Read + Write`. It does I/O only through its stream.
//!
//! It reads a request's head, answers it, closes the write side and discards what else comes until the peer's end: a
//! close with unread input would send a reset, and a reset can destroy the answer on its way.

use std::io::{ErrorKind, Read, Write};
use std::time::Instant;

use super::http::{self, HEAD_MAX, Request, Status};
use crate::connections::CloseWrite;

/// The most reads of one drive: a peer that floods the endpoint costs a turn of the loop so many.
const READS_MAX: usize = 4;

/// What happens next to a connection after a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing can be done until the kernel reports readiness.
    Wait,
    /// The bound on reads or a signal ended the drive. Drive again next turn: no event will ask for it.
    Again,
    /// It has ended or failed: let it go.
    Close,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The head of the request has not arrived in full.
    Asking,
    /// The answer has not left in full.
    Answering,
    /// The peer's end has not arrived.
    Ending,
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    stage: Stage,
    /// What has arrived of the request.
    request: Vec<u8>,
    answer: Vec<u8>,
    /// How much of the answer has left.
    sent: usize,
    readable: bool,
    writable: bool,
    deadline: Instant,
}

impl Client {
    /// A connection as accepted, which has until `deadline`.
    pub fn new(deadline: Instant) -> Client {
        let (request, answer) = (Vec::new(), Vec::new());
        Client { stage: Stage::Asking, request, answer, sent: 0, readable: false, writable: true, deadline }
    }

    /// When its time is over.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Notes what the kernel reported.
    pub fn note(&mut self, readable: bool, writable: bool) {
        self.readable |= readable;
        self.writable |= writable;
    }

    /// Goes on until the stream blocks, ends, breaks, or the bound is reached. `answer` is asked once, when the request
    /// is there.
    pub fn drive<S: Read + Write + CloseWrite>(
        &mut self,
        io: &mut S,
        answer: &mut dyn FnMut(Result<Request, Status>) -> Vec<u8>,
    ) -> Next {
        let mut reads = 0;
        // Each pass reads, of which there is a bound, or writes to the end of the answer, or returns.
        loop {
            if self.stage == Stage::Answering {
                if let Err(next) = self.write(io) {
                    return next;
                }
                continue;
            }
            if !self.readable {
                return Next::Wait;
            }
            if reads == READS_MAX {
                return Next::Again;
            }
            reads += 1;
            let mut buffer = [0; HEAD_MAX];
            match io.read(&mut buffer) {
                // An end before the request is one, or after the answer.
                Ok(0) => return Next::Close,
                Ok(length) if self.stage == Stage::Asking => {
                    // What lies beyond the longest head is not looked at.
                    let room = HEAD_MAX - self.request.len();
                    self.request.extend_from_slice(&buffer[..length.min(room)]);
                    if let Some(request) = http::read(&self.request) {
                        self.answer = answer(request);
                        self.stage = Stage::Answering;
                    }
                }
                Ok(_) => {}
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => self.readable = false,
                    ErrorKind::Interrupted => return Next::Again,
                    _ => return Next::Close,
                },
            }
        }
    }

    /// Writes until the answer has left, and then closes the write side. `Err` where something comes in between.
    fn write<S: Write + CloseWrite>(&mut self, io: &mut S) -> Result<(), Next> {
        // Each pass sends at least one byte or returns.
        while self.sent < self.answer.len() {
            if !self.writable {
                return Err(Next::Wait);
            }
            match io.write(&self.answer[self.sent..]) {
                Ok(0) => return Err(Next::Close),
                Ok(length) => self.sent += length,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => self.writable = false,
                    ErrorKind::Interrupted => return Err(Next::Again),
                    _ => return Err(Next::Close),
                },
            }
        }
        io.close_write().map_err(|_| Next::Close)?;
        self.stage = Stage::Ending;
        Ok(())
    }

    /// Its time is over. Who has not asked yet is told so, as far as that is possible without waiting.
    pub fn give_up<S: Write + CloseWrite>(&mut self, io: &mut S) {
        match self.stage {
            Stage::Asking => {
                let _ = io.write(&http::refusal(Status::RequestTimeout));
            }
            // Whatever the kernel still holds for a peer that does not take it is forgotten.
            Stage::Answering | Stage::Ending => io.abandon(),
        }
    }
}

/// Tells a peer for whom there is no place, as far as that is possible without waiting. What it has asked is taken from
/// the queue first, so that the close does not take the answer back.
pub fn refuse(io: &mut (impl Read + Write)) {
    let _ = io.read(&mut [0; HEAD_MAX]);
    let _ = io.write(&http::refusal(Status::ServiceUnavailable));
}

#[cfg(test)]
mod tests;
