//! Signs of life of a server, and of its end. Pure: no I/O, no clock.

use crate::clock::Nanos;

/// When something happened first and last, since the start of the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first time.
    pub first: Nanos,
    /// The last time.
    pub last: Nanos,
}

impl Span {
    fn with(this: Option<Span>, other: Option<Span>) -> Option<Span> {
        let both = |one: Span, other: Span| Span { first: one.first.min(other.first), last: one.last.max(other.last) };
        this.zip(other).map(|(one, other)| both(one, other)).or(this).or(other)
    }
}

/// What was heard of a server on one transport.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signs {
    /// When anything came from it last, since the start of the stage.
    pub heard: Option<Nanos>,
    /// Messages sent since then.
    pub unheard: u64,
    /// When nobody listened at its port.
    pub refused: Option<Span>,
    /// When connections ended that were still wanted.
    pub ended: Option<Span>,
}

impl Signs {
    /// So many messages were sent to it.
    pub(super) fn sent(&mut self, count: usize) {
        self.unheard += count as u64;
    }

    /// Something came from it.
    pub(super) fn heard(&mut self, now: Nanos) {
        (self.heard, self.unheard) = (Some(now), 0);
    }

    /// Nobody listened.
    pub(super) fn refused(&mut self, now: Nanos) {
        self.refused = Span::with(self.refused, Some(Span { first: now, last: now }));
    }

    /// A connection ended.
    pub(super) fn ended(&mut self, now: Nanos) {
        self.ended = Span::with(self.ended, Some(Span { first: now, last: now }));
    }

    /// With what another generator has seen of the same server.
    #[must_use]
    pub fn with(self, other: Signs) -> Signs {
        Signs {
            heard: self.heard.max(other.heard),
            unheard: self.unheard + other.unheard,
            refused: Span::with(self.refused, other.refused),
            ended: Span::with(self.ended, other.ended),
        }
    }
}
