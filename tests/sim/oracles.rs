//! What must hold, and what the answer to a text is: worked out with the standard library alone. Pure: no I/O.

use std::fmt;

use shout::uppercase::Case;

/// The promises that a run is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oracle {
    /// Every byte written is the next byte of the expected text.
    Safety,
    /// While the loop sleeps, nothing is owed that could be moved.
    Liveness,
    /// The loop does not go round and round without anything happening.
    Spin,
    /// What a connection is owed fits into the answer to one read.
    Memory,
    /// No connection reads more in a turn than its budget.
    Budget,
    /// A stream that has failed, ended or been closed is left alone.
    AfterEnd,
    /// Whoever is ready is served within a bounded number of turns.
    Fairness,
    /// No connection is closed without a reason, and none over input that was there to be read.
    Closing,
    /// The counters are those of the kernel.
    Counters,
    /// A server that is told to stop answers what has arrived, closes what has been found empty, and ends in time.
    Stopping,
    /// Each datagram is answered once, whole, in order, to its sender; or it is dropped for a reason.
    Datagrams,
    /// A receive asks for few messages where few have come, and for more once that many have.
    Width,
}

/// A broken promise.
#[derive(Debug, Clone)]
pub struct Violation {
    pub oracle: Oracle,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:?}: {}", self.oracle, self.what)
    }
}

/// The upper case of a whole text.
pub fn raised(case: Case, text: &[u8]) -> Vec<u8> {
    match case {
        Case::Ascii => text.to_ascii_uppercase(),
        Case::Unicode => {
            let mut answer = Vec::new();
            for chunk in text.utf8_chunks() {
                answer.extend(chunk.valid().to_uppercase().bytes());
                answer.extend(chunk.invalid());
            }
            answer
        }
    }
}

/// What one peer has to say, and what it is to hear.
pub struct Text {
    pub input: Vec<u8>,
    output: Vec<u8>,
    /// For each number of bytes read: how many of them have a certain answer, and how long that answer is.
    certain: Vec<(usize, usize)>,
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "\"{}\"", self.input.escape_ascii())
    }
}

impl Text {
    pub fn new(case: Case, input: Vec<u8>) -> Text {
        let mut output = Vec::new();
        let mut certain = vec![(0, 0)];
        let mut start = 0;
        for end in 1..=input.len() {
            while start < end {
                let piece = &input[start..end];
                // `error_len` is `None` where more bytes could still make a character of these.
                let sure = match str::from_utf8(piece) {
                    Err(error) if case == Case::Unicode => match error.error_len() {
                        Some(length) => length,
                        None => break,
                    },
                    _ => piece.len(),
                };
                output.extend(raised(case, &piece[..sure]));
                start += sure;
            }
            certain.push((start, output.len()));
        }
        let text = Text { input, output, certain };
        let all = [&text.output[..], text.cut(text.input.len())].concat();
        assert_eq!(all, raised(case, &text.input), "the expected text depends on how it is worked out");
        text
    }

    /// How many bytes of the answer are certain once so many have been read.
    pub fn certain(&self, read: usize) -> usize {
        self.certain[read].1
    }

    /// The beginning of a character that stands at the end of so many bytes. At the end of a stream it is its own
    /// answer.
    pub fn cut(&self, read: usize) -> &[u8] {
        &self.input[self.certain[read].0..read]
    }

    /// Whether these bytes, from place `from` on, are the answer to so many bytes read.
    pub fn is_answered_by(&self, bytes: &[u8], from: usize, read: usize, ended: bool) -> bool {
        let certain = &self.output[..self.certain(read)];
        let cut = if ended { self.cut(read) } else { &[] };
        let expected = certain.iter().chain(cut).skip(from);
        from + bytes.len() <= certain.len() + cut.len() && bytes.iter().eq(expected.take(bytes.len()))
    }
}
