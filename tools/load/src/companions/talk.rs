//! A stream of known text, and what came back of it. Does I/O.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;

use crate::payload::{Identity, Payload, upper};

/// The text repeats after this many bytes: a prime, so that a piece that is missing, doubled or in another's place moves
/// what follows against it.
const PERIOD: usize = 16_381;

/// Text without an end, and how it must come back.
#[derive(Debug)]
pub(super) struct Text {
    source: Vec<u8>,
    expected: Vec<u8>,
}

impl Text {
    pub(super) fn new() -> Self {
        let mut source = Vec::with_capacity(PERIOD);
        Payload::new(PERIOD, 0).append(Identity { lane: 0, sequence: 0 }, &mut source);
        let expected = source.iter().copied().map(upper).collect();
        Text { source, expected }
    }

    /// Whether these bytes are as they must be so far into the stream.
    fn matches(&self, from: u64, mut bytes: &[u8]) -> bool {
        let mut at = (from % PERIOD as u64) as usize;
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(bytes.len().min(PERIOD - at));
            if self.expected[at..at + piece.len()] != *piece {
                return false;
            }
            (bytes, at) = (rest, 0);
        }
        true
    }
}

/// What became of an attempt to read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// So many bytes, all right.
    Right(usize),
    /// A wrong byte, or one more than was sent.
    Wrong,
    /// Nothing for now.
    Nothing,
    /// The end of the stream.
    End,
    /// The connection is broken.
    Broken,
}

/// One connection on which the text is sent.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) stream: TcpStream,
    pub(super) sent: u64,
    pub(super) heard: u64,
}

impl Talk {
    pub(super) fn new(stream: TcpStream) -> Self {
        Talk { stream, sent: 0, heard: 0 }
    }

    /// Sends until so many bytes have been sent in all, or the socket is full. `Err`: the connection is broken.
    pub(super) fn send(&mut self, text: &Text, until: u64) -> io::Result<()> {
        while self.sent < until {
            let at = (self.sent % PERIOD as u64) as usize;
            let most = PERIOD.min(at + usize::try_from(until - self.sent).unwrap_or(PERIOD));
            match self.stream.write(&text.source[at..most]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => self.sent += length as u64,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads once and verifies what came.
    pub(super) fn hear(&mut self, text: &Text, buffer: &mut [u8]) -> Heard {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Heard::End,
                Ok(length) => {
                    let is_right = text.matches(self.heard, &buffer[..length]);
                    self.heard += length as u64;
                    return if is_right && self.heard <= self.sent { Heard::Right(length) } else { Heard::Wrong };
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Heard::Nothing,
                Err(_) => return Heard::Broken,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_its_place_does_not_match() {
        let text = Text::new();
        let answer: Vec<u8> = text.expected.iter().copied().cycle().take(3 * PERIOD).collect();
        for (from, length) in [(0, 3 * PERIOD), (PERIOD - 1, 2), (PERIOD, PERIOD), (100, 20_000)] {
            let piece = &answer[from..from + length];
            assert!(text.matches(from as u64, piece));
            assert!(text.matches((from + PERIOD) as u64, piece));
            assert!(!text.matches(from as u64 + 1, piece));
            let mut spoilt = piece.to_vec();
            spoilt[length - 1] ^= 1;
            assert!(!text.matches(from as u64, &spoilt));
        }
        assert!(!text.matches(0, &text.source));
    }
}
