//! How many messages a receive asks for, and how much work one is. Pure: no I/O.

use crate::batch::{DATAGRAM_MAX, MESSAGES_MAX};
use crate::connections::SHARED_BYTES_MAX;

/// The fewest messages to ask for. One alone would need a second call to learn that there is no other; asked for two, the
/// kernel says so with the first. With one datagram in flight that is 5 % of the server's time.
const WIDTH_MIN: usize = 2;

/// The work, in bytes, after which a turn receives no more. Connections wait for that long: a third of a millisecond when
/// datagrams are small and come one by one, and about as long as a connection's drive in a shared loop when they are long.
pub const TURN_WORK_MAX: usize = SHARED_BYTES_MAX;

/// A message counts for its bytes, and for no less than this: 128 small ones are a turn's work.
pub(super) const MESSAGE_WORK_MIN: usize = 512;

/// Each datagram of a merged message counts for no less than this: it may have to leave alone.
const DATAGRAM_WORK_MIN: usize = 64;

const _: () = assert!(
    WIDTH_MIN * DATAGRAM_MAX <= 2 * TURN_WORK_MAX,
    "the least that is asked for is no more than two turns' work"
);

/// What the receives so far say about the next one.
#[derive(Debug)]
pub(super) struct Width {
    /// As many as there may be. Few while that is enough: the preparation of each costs time.
    wanted: usize,
    /// The work of each message of the heaviest batch lately.
    each: usize,
}

impl Width {
    /// Nothing has come yet.
    pub(super) fn new() -> Width {
        Width { wanted: WIDTH_MIN, each: MESSAGE_WORK_MIN }
    }

    /// How many messages to ask for: no more than make a turn's work if they are like the heaviest lately, as far as that
    /// is more than two. The kernel hands over what it has of so many, long or short, and all of it is answered in this turn.
    pub(super) fn next(&self, messages_max: usize) -> usize {
        self.wanted.min(messages_max).min(WIDTH_MIN.max(TURN_WORK_MAX / self.each))
    }

    /// Notes that so many messages came where `asked` were asked for, none where the queue was empty, and their work.
    pub(super) fn note(&mut self, messages: usize, asked: usize, work: usize) {
        self.wanted = if messages == asked { (2 * asked).min(MESSAGES_MAX) } else { messages.max(WIDTH_MIN) };
        // Forgotten over some three hundred receives, so that long ones behind short ones find no wide batch each time.
        self.each = (self.each - self.each / 64).max(work / messages.max(1)).max(MESSAGE_WORK_MIN);
    }
}

/// The work of messages of so many bytes and datagrams together.
pub(super) fn work(bytes: usize, messages: usize, datagrams: usize) -> usize {
    bytes.max(MESSAGE_WORK_MIN * messages).max(DATAGRAM_WORK_MIN * datagrams)
}
