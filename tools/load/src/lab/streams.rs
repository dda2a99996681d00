//! What the misbehaving server sends for the bytes of a stream. Pure: no I/O, no clock.
//!
//! A stream has no messages; a fault falls on one anyway. So every so many bytes count as one, and only what leaves the
//! place of all later bytes unchanged can go wrong: a bit, the case, the time, or the connection itself.

use super::faults::{Dealer, Fault, Faults};
use super::key::StreamKey;
use crate::engine::Transport;
use crate::payload::upper;

/// The state of the server's TCP half, for all connections.
#[derive(Debug)]
pub struct Streams {
    dealer: Dealer,
    size: usize,
    /// What has been done so far.
    pub key: StreamKey,
}

impl Streams {
    /// A server without a connection yet.
    pub fn new(faults: &Faults) -> Self {
        Streams { dealer: Dealer::new(faults, Transport::Tcp), size: faults.size, key: StreamKey::default() }
    }
}

/// Where one connection is within its message.
#[derive(Debug, Default)]
pub struct Position {
    /// Bytes of the message that have come.
    offset: usize,
    fault: Option<Fault>,
    /// The byte to spoil.
    place: usize,
}

/// What is to be done, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Wait for the delay.
    Wait,
    /// End the connection; no step follows.
    Close,
}

impl Streams {
    /// What is to be done for bytes that came on one connection.
    pub fn receive(&mut self, position: &mut Position, mut bytes: &[u8]) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut answer = Vec::with_capacity(bytes.len());
        while !bytes.is_empty() {
            if position.offset == 0 {
                self.begin_message(position);
                if position.fault == Some(Fault::Delay) {
                    self.key.delay += 1;
                    steps.push(Step::Send(std::mem::take(&mut answer)));
                    steps.push(Step::Wait);
                }
            }
            let (piece, rest) = bytes.split_at((self.size - position.offset).min(bytes.len()));
            bytes = rest;
            let is_over = self.answer_piece(position, piece, &mut answer);
            position.offset = (position.offset + piece.len()) % self.size;
            if is_over {
                steps.extend([Step::Send(answer), Step::Close]);
                return steps;
            }
        }
        steps.push(Step::Send(answer));
        steps.retain(|step| *step != Step::Send(Vec::new()));
        steps
    }

    fn begin_message(&mut self, position: &mut Position) {
        self.key.messages += 1;
        position.fault = self.dealer.deal();
        position.place = self.dealer.place_behind(self.size);
    }

    /// Appends the answer to a piece of a message, and says whether the connection ends with it.
    fn answer_piece(&mut self, position: &mut Position, piece: &[u8], answer: &mut Vec<u8>) -> bool {
        let begin = answer.len();
        answer.extend(piece.iter().copied().map(upper));
        let spoilt = position.place.checked_sub(position.offset).filter(|place| *place < piece.len());
        match position.fault {
            Some(Fault::Corrupt) => {
                if let Some(place) = spoilt {
                    self.key.corrupt += 1;
                    answer[begin + place] ^= 1;
                }
            }
            Some(Fault::WrongCase) if answer[begin..] != *piece => {
                answer.truncate(begin);
                answer.extend_from_slice(piece);
                self.key.wrong_case += 1;
                // Counted once for a message, however many pieces it comes in: the rest of it is right.
                position.fault = None;
            }
            Some(Fault::CloseMidReply) => {
                if let Some(place) = spoilt {
                    self.key.close_mid_reply += 1;
                    answer.truncate(begin + place);
                    return true;
                }
            }
            None
            | Some(
                Fault::WrongCase
                | Fault::Delay
                | Fault::Drop
                | Fault::Duplicate
                | Fault::Reorder
                | Fault::Stray
                | Fault::Truncate,
            ) => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn faulty(seed: u64) -> Streams {
        let faults = Faults { corrupt: 0.1, wrong_case: 0.1, size: 10, seed, ..Faults::default() };
        Streams::new(&faults)
    }

    fn all_sent(streams: &mut Streams, pieces: &[&[u8]]) -> Vec<u8> {
        let mut position = Position::default();
        let steps = pieces.iter().flat_map(|piece| streams.receive(&mut position, piece));
        steps
            .flat_map(|step| match step {
                Step::Send(bytes) => bytes,
                Step::Wait | Step::Close => vec![],
            })
            .collect()
    }

    proptest! {
        #[test]
        fn bits_go_wrong_at_the_same_places_wherever_the_stream_is_cut(seed: u64, cut in 0usize..=1000) {
            let corrupting = || Streams::new(&Faults { corrupt: 0.1, size: 10, seed, ..Faults::default() });
            let text = [b'x'; 1000];
            let (mut whole, mut halves) = (corrupting(), corrupting());
            let sent = all_sent(&mut whole, &[&text]);
            prop_assert_eq!(&sent, &all_sent(&mut halves, &[&text[..cut], &text[cut..]]));
            prop_assert_eq!(sent.iter().filter(|byte| **byte != b'X').count() as u64, whole.key.corrupt);
            prop_assert_eq!((whole.key.messages, whole.key.corrupt), (100, 10));
        }

        #[test]
        fn each_wrong_message_is_counted_once(seed: u64) {
            let mut streams = faulty(seed);
            let text = [b'x'; 1000];
            let sent = all_sent(&mut streams, &[&text]);
            let wrong = sent.chunks(10).filter(|message| **message != [b'X'; 10]).count() as u64;
            prop_assert_eq!(wrong, streams.key.corrupt + streams.key.wrong_case);
            prop_assert_eq!(streams.key.corrupt, 10);
        }
    }

    #[test]
    fn a_connection_ends_in_the_middle_of_its_answer() {
        let mut streams = Streams::new(&Faults { close_mid_reply: 0.5, size: 10, ..Faults::default() });
        let steps = streams.receive(&mut Position::default(), &[b'x'; 100]);
        let [Step::Send(bytes), Step::Close] = &steps[..] else { panic!("{steps:?}") };
        assert!((5..20).contains(&bytes.len()) && bytes.len() % 10 >= 5, "{}", bytes.len());
        assert_eq!(streams.key.close_mid_reply, 1);
    }

    #[test]
    fn a_delay_stands_before_its_message() {
        let delay = super::super::faults::Delay::parse("1ms/50%").ok();
        let mut streams = Streams::new(&Faults { delay, size: 10, ..Faults::default() });
        let steps = streams.receive(&mut Position::default(), &[b'x'; 100]);
        assert_eq!(steps.iter().filter(|step| **step == Step::Wait).count(), 5);
        assert_eq!(streams.key.delay, 5);
    }
}
