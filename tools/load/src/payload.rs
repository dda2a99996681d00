//! What a message says, what its answer must say, and what is wrong with an answer. Pure: no I/O.
//!
//! A message of [`NUMBERED_MINIMUM`] bytes or more opens with a header of 16 hexadecimal digits, `0`–`9` and `A`–`F`,
//! which upper-casing leaves alone: so an answer still says which message it answers. The rest is a window into a
//! template that holds every byte value and some text whose Unicode upper case has another length (`ß`, `ﬁ`, `ŉ`),
//! so that a server which upper-cases characters instead of bytes is found out. Where the window starts depends on the
//! header, so that an answer glued together from two messages is found out too.
//!
//! Where a message may be shorter than that, none has a header: each is a window and nothing else, and can be verified,
//! but not told from its neighbours. The same holds for the lines of a file, which are sent as they are.

mod lines;
mod sizes;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

pub use lines::Lines;
pub use sizes::{LONGEST_MESSAGE, Mix, Sizes};

/// The length of the header: a `u64` in hexadecimal.
pub const HEADER: usize = 16;

/// The shortest message with a header: shorter than that, the body would be too short to tell two windows apart.
pub const NUMBERED_MINIMUM: usize = HEADER + 8;

/// The template repeats after this many bytes. It is prime, so that a changed digit of the header, which moves the
/// number by `k · 16^i` with `k < 16`, always moves the window.
const PERIOD: usize = 521;

/// The distance between the windows of two consecutive messages, and of two neighbouring lanes. Coprime to [`PERIOD`]
/// and to each other.
const SEQUENCE_STRIDE: u64 = 193;
const LANE_STRIDE: u64 = 71;

/// Text whose Unicode upper case differs from its ASCII upper case, most of it in length.
const WORDS: [&str; 8] =
    ["straße", "ÿes", "ﬁsh", "ŉever", "ǆez", "ıIiİ", "ΐota", "the quick brown fox jumps over lazy dogs"];

const SEQUENCE_BITS: u32 = 48;
const LARGEST_SEQUENCE: u64 = (1 << SEQUENCE_BITS) - 1;

/// Which message this is: the lane (one socket) it left by, and its place in that lane's sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The index of the socket.
    pub lane: u16,
    /// Counts from 0 on each lane; below 2^48.
    pub sequence: u64,
}

impl Identity {
    fn number(self) -> u64 {
        debug_assert!(self.sequence <= LARGEST_SEQUENCE, "2^48 messages on one lane take years");
        (u64::from(self.lane) << SEQUENCE_BITS) | self.sequence
    }

    fn of_number(number: u64) -> Self {
        Identity { lane: (number >> SEQUENCE_BITS) as u16, sequence: number & LARGEST_SEQUENCE }
    }

    fn header(self) -> [u8; HEADER] {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let number = self.number();
        std::array::from_fn(|place| DIGITS[(number >> (60 - 4 * place)) as usize & 0xF])
    }

    /// Where the body's window starts in the template.
    fn phase(self) -> usize {
        ((self.sequence * SEQUENCE_STRIDE + u64::from(self.lane) * LANE_STRIDE) % PERIOD as u64) as usize
    }
}

/// What an answer turned out to be, compared with the expected one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Every byte as it must be.
    Intact,
    /// The right bytes, but not all of them.
    Truncated,
    /// The message as it was sent, although it has a letter to upper-case.
    Unchanged,
    /// Other wrong bytes, or more bytes than were sent.
    Corrupt {
        /// Whether most of the body is right, so that the header may be trusted to name the message.
        recognisable: bool,
    },
}

/// What messages are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A template of our own, in these sizes.
    Template(Sizes),
    /// The lines of a file in their order, from the beginning again after the last. Each lane starts one line further.
    Lines(Arc<Lines>),
}

/// Messages of one size.
impl From<usize> for Content {
    fn from(size: usize) -> Self {
        Content::Template(Sizes::Fixed(size))
    }
}

impl Content {
    /// The length of the shortest message, in bytes.
    pub fn shortest(&self) -> usize {
        match self {
            Content::Template(sizes) => sizes.shortest(),
            Content::Lines(lines) => lines.shortest().1,
        }
    }

    /// The length of the longest message, in bytes.
    pub fn longest(&self) -> usize {
        match self {
            Content::Template(sizes) => sizes.longest(),
            Content::Lines(lines) => lines.longest().1,
        }
    }

    /// Whether messages carry their number. Without it only one may be in flight on a socket that can lose any.
    pub fn is_numbered(&self) -> bool {
        match self {
            Content::Template(sizes) => sizes.shortest() >= NUMBERED_MINIMUM,
            Content::Lines(_) => false,
        }
    }
}

/// The lengths: as `--size` takes them, or `lines:` and the shortest and the longest.
impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Template(sizes) => sizes.fmt(f),
            Content::Lines(_) => write!(f, "lines:{}-{}", self.shortest(), self.longest()),
        }
    }
}

/// Builds messages and verifies answers. Everything follows from the content and the seed.
#[derive(Debug)]
pub struct Payload {
    content: Content,
    seed: u64,
    is_numbered: bool,
    /// Everything that is ever sent behind a header, so that every message is one slice: `PERIOD` bytes and as many as
    /// the longest message has, or a file.
    source: Vec<u8>,
    /// The same in upper case.
    expected: Vec<u8>,
}

impl Payload {
    /// Messages of this content, or of so many bytes each.
    pub fn new(content: impl Into<Content>, seed: u64) -> Self {
        let content = content.into();
        let source: Vec<u8> = match &content {
            Content::Template(sizes) => {
                template_period(seed).iter().copied().cycle().take(PERIOD + sizes.longest()).collect()
            }
            Content::Lines(lines) => lines.text().to_vec(),
        };
        let expected = source.iter().copied().map(upper).collect();
        Payload { seed, is_numbered: content.is_numbered(), source, expected, content }
    }

    /// What messages are made of.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// The length of this message, in bytes; of its answer as well.
    pub fn length(&self, of: Identity) -> usize {
        match &self.content {
            Content::Template(sizes) => sizes.draw(self.seed, of.number()),
            Content::Lines(lines) => line(lines, of).len(),
        }
    }

    /// Whether messages carry their number. Without it only one may be in flight on a socket that can lose any.
    pub fn is_numbered(&self) -> bool {
        self.is_numbered
    }

    /// Where in the source the message starts, but for its header.
    fn start(&self, of: Identity) -> usize {
        match &self.content {
            Content::Template(_) => of.phase(),
            Content::Lines(lines) => line(lines, of).start,
        }
    }

    /// Appends the message to `out`.
    pub fn append(&self, message: Identity, out: &mut Vec<u8>) {
        let mut body = self.length(message);
        if self.is_numbered {
            out.extend_from_slice(&message.header());
            body -= HEADER;
        }
        let start = self.start(message);
        out.extend_from_slice(&self.source[start..start + body]);
    }

    /// Whom the header of an answer names; `None` where there is no readable header.
    pub fn read_header(&self, answer: &[u8]) -> Option<Identity> {
        let header = answer.first_chunk::<HEADER>().filter(|_| self.is_numbered)?;
        let mut number = 0;
        for &digit in header {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'A'..=b'F' => digit - b'A' + 10,
                _ => return None,
            };
            number = number << 4 | u64::from(value);
        }
        Some(Identity::of_number(number))
    }

    /// Compares a whole answer with the one that `message` must get.
    pub fn compare(&self, message: Identity, answer: &[u8]) -> Comparison {
        let length = self.length(message);
        let comparable = answer.len().min(length);
        if !self.matches(message, 0, &answer[..comparable]) || answer.len() > length {
            if answer.len() == length && self.is_as_sent(message, 0, answer) {
                return Comparison::Unchanged;
            }
            return Comparison::Corrupt { recognisable: self.is_recognisable(message, &answer[..comparable]) };
        }
        if answer.len() < length { Comparison::Truncated } else { Comparison::Intact }
    }

    /// Whether `piece`, found `offset` bytes into the answer to `message`, is as it must be. The piece must end within
    /// the answer.
    pub fn matches(&self, message: Identity, offset: usize, piece: &[u8]) -> bool {
        self.is_cut_from(&self.expected, message, offset, piece)
    }

    /// The same, whether it is as it was sent.
    pub fn is_as_sent(&self, message: Identity, offset: usize, piece: &[u8]) -> bool {
        self.is_cut_from(&self.source, message, offset, piece)
    }

    /// Whether the first so many bytes of a message have nothing to upper-case.
    pub fn stays_as_sent(&self, message: Identity, length: usize) -> bool {
        let header = if self.is_numbered { HEADER } else { 0 };
        let body = length.saturating_sub(header);
        self.body(&self.source, message, header, body) == self.body(&self.expected, message, header, body)
    }

    fn is_cut_from(&self, text: &[u8], message: Identity, offset: usize, piece: &[u8]) -> bool {
        let (header, body) = self.split(offset, piece);
        (header.is_empty() || message.header()[offset..offset + header.len()] == *header)
            && self.body(text, message, offset + header.len(), body.len()) == body
    }

    /// Whether the header is right and at least half of the body, apart from case.
    ///
    /// A wrong digit in the header moves the expected window, which leaves next to nothing of the body right; a server
    /// that gets some bytes wrong, or forgets to upper-case, leaves most of it right.
    fn is_recognisable(&self, message: Identity, answer: &[u8]) -> bool {
        let (header, body) = self.split(0, answer);
        let expected = self.body(&self.expected, message, header.len(), body.len());
        let right =
            expected.iter().zip(body).filter(|(expected, actual)| expected.eq_ignore_ascii_case(actual)).count();
        message.header().starts_with(header) && 2 * right >= body.len()
    }

    /// Cuts a piece that starts `offset` bytes into an answer where the header ends.
    fn split<'a>(&self, offset: usize, piece: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let header_left = if self.is_numbered { HEADER.saturating_sub(offset) } else { 0 };
        piece.split_at(header_left.min(piece.len()))
    }

    /// The body from `offset`, which counts from the start of the message and lies behind the header, in either case.
    fn body<'a>(&self, text: &'a [u8], message: Identity, offset: usize, length: usize) -> &'a [u8] {
        let header = if self.is_numbered { HEADER } else { 0 };
        // An answer that ends within its header has no body, and `offset` then lies before it.
        let start = self.start(message) + offset.saturating_sub(header);
        &text[start..start + length]
    }
}

/// Which line of a file a message is.
fn line(lines: &Lines, message: Identity) -> Range<usize> {
    let place = (message.sequence + u64::from(message.lane)) % lines.count() as u64;
    lines.range(place as usize)
}

/// The contract of the service, in our own words: `a` to `z` become `A` to `Z`, every other byte stays.
///
/// Written out here, and not borrowed from the server, because code that is measured must not grade itself.
pub fn upper(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => byte - (b'a' - b'A'),
        other => other,
    }
}

/// One period of the template: all byte values and all words, shuffled, filled up with lower-case letters.
fn template_period(seed: u64) -> Vec<u8> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut pieces: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
    pieces.extend(WORDS.iter().map(|word| word.as_bytes().to_vec()));
    let used: usize = pieces.iter().map(Vec::len).sum();
    pieces.extend((used..PERIOD).map(|_| vec![b'a' + below(&mut random, 26) as u8]));
    // Fisher and Yates, from the end.
    for last in (1..pieces.len()).rev() {
        pieces.swap(last, below(&mut random, last as u64 + 1) as usize);
    }
    pieces.concat()
}

/// A number below `bound`, which is small enough for the bias of a remainder not to matter here.
fn below(random: &mut Xoshiro256PlusPlus, bound: u64) -> u64 {
    random.next_u64() % bound
}

#[cfg(test)]
mod tests;
