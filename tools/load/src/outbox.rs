//! Messages that wait to leave by one socket, one behind the other, and how many of them one system call takes. Pure:
//! no I/O.

use std::collections::VecDeque;

/// What one system call takes. A message that does not fit beside others goes alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The most messages.
    pub messages: usize,
    /// The most bytes.
    pub bytes: usize,
    /// The kernel cuts the bytes into datagrams of equal size, of which only the last may be shorter (`UDP_SEGMENT` in
    /// udp(7)).
    pub is_train: bool,
}

impl Room {
    /// One message, whatever its length.
    pub const ONE: Room = Room { messages: 1, bytes: 0, is_train: false };

    /// Whether a message of `length` bytes may follow those that are in already.
    pub fn takes(self, filled: Filled, length: usize) -> bool {
        if filled.messages == 0 {
            return true;
        }
        let is_in_line = filled.last == filled.first && (1..=filled.first).contains(&length);
        filled.messages < self.messages && filled.bytes + length <= self.bytes && (is_in_line || !self.is_train)
    }
}

/// What one system call is to send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filled {
    /// Messages.
    pub messages: usize,
    /// Their bytes.
    pub bytes: usize,
    /// The length of the first; in a train, of all but the last.
    pub first: usize,
    last: usize,
}

impl Filled {
    /// One message more.
    pub fn add(&mut self, length: usize) {
        if self.messages == 0 {
            self.first = length;
        }
        self.messages += 1;
        self.bytes += length;
        self.last = length;
    }
}

/// Which messages of an outbox have begun to leave, when any number of bytes may leave at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Begun {
    messages: usize,
    /// Where the last of them ends.
    end: usize,
}

impl Begun {
    /// The first `written` bytes have left: says how many more messages have begun with them.
    pub fn advance(&mut self, outbox: &Outbox, written: usize) -> usize {
        let before = self.messages;
        while self.end < written
            && let Some(length) = outbox.length(self.messages)
        {
            self.messages += 1;
            self.end += length;
        }
        self.messages - before
    }
}

/// Whole messages and where each ends.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    lengths: VecDeque<usize>,
}

impl Outbox {
    /// With memory for so many bytes and messages.
    pub fn with_capacity(bytes: usize, messages: usize) -> Self {
        Outbox { bytes: Vec::with_capacity(bytes), lengths: VecDeque::with_capacity(messages) }
    }

    /// Adds a message, which `append` writes behind what is there.
    pub fn push_with(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        let before = self.bytes.len();
        append(&mut self.bytes);
        self.lengths.push_back(self.bytes.len() - before);
    }

    /// Everything that waits.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Messages that wait.
    pub fn messages(&self) -> usize {
        self.lengths.len()
    }

    /// The length of a message that waits, counted from 0.
    pub fn length(&self, index: usize) -> Option<usize> {
        self.lengths.get(index).copied()
    }

    /// What one system call may send, from this message on; nothing if it does not exist.
    pub fn next(&self, from: usize, room: Room) -> Filled {
        let mut filled = Filled::default();
        while let Some(length) = self.length(from + filled.messages).filter(|&length| room.takes(filled, length)) {
            filled.add(length);
        }
        filled
    }

    /// Takes the first messages out, which have so many bytes.
    pub fn remove(&mut self, messages: usize, bytes: usize) {
        self.lengths.drain(..messages);
        self.bytes.drain(..bytes);
        debug_assert_eq!(self.bytes.len(), self.lengths.iter().sum::<usize>());
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.lengths.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOM: Room = Room { messages: 4, bytes: 1000, is_train: true };

    fn outbox(lengths: &[usize]) -> Outbox {
        let mut outbox = Outbox::default();
        for (index, &length) in lengths.iter().enumerate() {
            outbox.push_with(|bytes| bytes.resize(bytes.len() + length, index as u8));
        }
        outbox
    }

    #[test]
    fn only_the_last_of_a_train_may_be_shorter() {
        for (lengths, expected) in [
            (&[][..], 0),
            (&[64], 1),
            (&[64, 64, 64], 3),
            (&[64, 64, 64, 64, 64], 4), // no more than it may have
            (&[64, 63, 64], 2),
            (&[64, 63, 63], 2),
            (&[64, 65], 1),
            (&[600, 401], 1), // no more bytes
            (&[600, 400], 2),
            (&[2000, 1], 1), // one message always goes
            (&[64, 0], 1),   // the kernel would cut nothing off for it
            (&[0, 0], 1),
        ] {
            assert_eq!(outbox(lengths).next(0, ROOM).messages, expected, "{lengths:?}");
        }
        assert_eq!(outbox(&[9, 64, 64]).next(1, ROOM), Filled { messages: 2, bytes: 128, first: 64, last: 64 });
    }

    #[test]
    fn a_message_has_begun_with_its_first_byte() {
        let outbox = outbox(&[3, 1, 5]);
        let mut begun = Begun::default();
        let more = [0, 1, 3, 4, 4, 5, 9].map(|written| begun.advance(&outbox, written));
        assert_eq!(more, [0, 1, 0, 1, 0, 1, 0]);
        assert_eq!(Begun::default().advance(&outbox, 9), 3);
    }

    proptest! {
        #[test]
        fn trains_cut_by_the_kernel_are_the_messages_that_went_in(lengths in prop::collection::vec(1usize..4, 0..40)) {
            let mut outbox = outbox(&lengths);
            let mut cut = Vec::new();
            while outbox.messages() > 0 {
                let train = outbox.next(0, ROOM);
                cut.extend(outbox.bytes()[..train.bytes].chunks(train.first).map(<[u8]>::to_vec));
                outbox.remove(train.messages, train.bytes);
            }
            let whole: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(index, &length)| vec![index as u8; length]).collect();
            prop_assert_eq!(cut, whole);
        }
    }
}
