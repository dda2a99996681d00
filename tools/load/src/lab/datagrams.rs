//! What the misbehaving server sends for a datagram. Pure: no I/O; `now` is an argument.

use super::faults::{Dealer, Fault, Faults};
use super::key::DatagramKey;
use crate::clock::Nanos;
use crate::engine::Transport;
use crate::payload::upper;
use crate::plan::nanos;

/// A held answer leaves by itself after this long: a client that waits for it would never send what it waits for.
pub const LONGEST_HELD: Nanos = 100_000_000;

/// Clients remembered for stray answers.
const MOST_PEERS: usize = 64;

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<Peer> {
    /// When.
    pub at: Nanos,
    /// To whom.
    pub to: Peer,
    /// What.
    pub bytes: Vec<u8>,
}

/// The state of the server's UDP half.
#[derive(Debug)]
pub struct Datagrams<Peer> {
    dealer: Dealer,
    delay: Nanos,
    held: Option<Reply<Peer>>,
    /// Everyone who has asked, up to [`MOST_PEERS`].
    peers: Vec<Peer>,
    /// What has been done so far.
    pub key: DatagramKey,
}

impl<Peer: Copy + PartialEq> Datagrams<Peer> {
    /// A server that has heard nothing yet.
    pub fn new(faults: &Faults) -> Self {
        Datagrams {
            dealer: Dealer::new(faults, Transport::Udp),
            delay: faults.delay.map_or(0, |delay| nanos(delay.time)),
            held: None,
            peers: Vec::new(),
            key: DatagramKey::default(),
        }
    }

    /// What is to be sent for a datagram, in order.
    pub fn receive(&mut self, now: Nanos, request: &[u8], from: Peer) -> Vec<Reply<Peer>> {
        self.key.received += 1;
        if self.peers.len() < MOST_PEERS && !self.peers.contains(&from) {
            self.peers.push(from);
        }
        let right: Vec<u8> = request.iter().copied().map(upper).collect();
        let answer = |bytes: Vec<u8>| Reply { at: now, to: from, bytes };
        match self.dealer.deal() {
            None => self.intact(answer(right)),
            Some(Fault::Drop) => {
                self.key.drop += 1;
                vec![]
            }
            Some(Fault::Duplicate) => {
                self.key.duplicate += 1;
                let mut replies = vec![answer(right.clone())];
                replies.extend(self.intact(answer(right)));
                replies
            }
            // One at a time; and counted when another has passed it.
            Some(Fault::Reorder) if self.held.is_none() => {
                self.held = Some(answer(right));
                vec![]
            }
            Some(Fault::Stray) => {
                let other = self.peers.iter().copied().find(|peer| *peer != from);
                self.key.stray += u64::from(other.is_some());
                let stray = other.map(|to| Reply { at: now, to, bytes: right.clone() });
                stray.into_iter().chain(self.intact(answer(right))).collect()
            }
            Some(Fault::Truncate) if !right.is_empty() => {
                self.key.truncate += 1;
                let kept = self.dealer.place_behind(right.len());
                vec![answer(right[..kept].to_vec())]
            }
            Some(Fault::Corrupt) if !right.is_empty() => {
                self.key.corrupt += 1;
                let mut wrong = right;
                let place = self.dealer.place_behind(wrong.len());
                wrong[place] ^= 1;
                vec![answer(wrong)]
            }
            Some(Fault::WrongCase) if right != request => {
                self.key.wrong_case += 1;
                vec![answer(request.to_vec())]
            }
            Some(Fault::Delay) => {
                self.key.delay += 1;
                vec![Reply { at: now + self.delay, to: from, bytes: right }]
            }
            // A fault that this message cannot have.
            Some(Fault::Reorder | Fault::Truncate | Fault::Corrupt | Fault::WrongCase | Fault::CloseMidReply) => {
                self.intact(answer(right))
            }
        }
    }

    /// A right answer that leaves now, and behind it the one that it was to pass.
    fn intact(&mut self, reply: Reply<Peer>) -> Vec<Reply<Peer>> {
        let passed = self.held.take_if(|held| held.to == reply.to);
        self.key.reorder += u64::from(passed.is_some());
        std::iter::once(reply).chain(passed).collect()
    }

    /// When the held answer leaves although nothing has passed it.
    pub fn held_until(&self) -> Option<Nanos> {
        self.held.as_ref().map(|held| held.at + LONGEST_HELD)
    }

    /// The held answer, once it has waited for long enough.
    pub fn overdue(&mut self, now: Nanos) -> Option<Reply<Peer>> {
        self.held.take_if(|held| held.at + LONGEST_HELD <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(faults: Faults) -> Datagrams<char> {
        Datagrams::new(&faults)
    }

    fn sent(replies: &[Reply<char>]) -> Vec<(char, &str)> {
        replies.iter().map(|reply| (reply.to, str::from_utf8(&reply.bytes).unwrap())).collect()
    }

    #[test]
    fn without_a_fault_it_is_an_upper_case_echo() {
        let replies = server(Faults::default()).receive(7, b"hello, 1", 'a');
        assert_eq!((sent(&replies), replies[0].at), (vec![('a', "HELLO, 1")], 7));
    }

    #[test]
    fn a_held_answer_is_passed_by_the_same_client_only() {
        let mut server = server(Faults { reorder: 0.25, ..Faults::default() });
        while server.held.is_none() {
            server.receive(0, b"first", 'a');
        }
        assert_eq!(sent(&server.receive(1, b"other", 'b')), [('b', "OTHER")]);
        assert_eq!(server.key.reorder, 0);
        assert_eq!(sent(&server.receive(2, b"second", 'a')), [('a', "SECOND"), ('a', "FIRST")]);
        assert_eq!(server.key.reorder, 1);
    }

    #[test]
    fn a_held_answer_that_nothing_passes_leaves_and_is_no_fault() {
        let mut server = server(Faults { reorder: 1.0, ..Faults::default() });
        assert!(server.receive(5, b"only", 'a').is_empty());
        assert_eq!(server.held_until(), Some(5 + LONGEST_HELD));
        assert_eq!(server.overdue(4 + LONGEST_HELD), None);
        assert_eq!(server.overdue(5 + LONGEST_HELD).unwrap().bytes, b"ONLY");
        assert_eq!((server.key.reorder, server.held_until()), (0, None));
    }

    #[test]
    fn what_cannot_be_spoilt_is_not_counted() {
        let mut truncating = server(Faults { truncate: 1.0, ..Faults::default() });
        assert_eq!((sent(&truncating.receive(0, b"", 'a')), truncating.key.truncate), (vec![('a', "")], 0));
        let mut copying = server(Faults { wrong_case: 1.0, ..Faults::default() });
        assert_eq!((sent(&copying.receive(0, b"123", 'a')), copying.key.wrong_case), (vec![('a', "123")], 0));
        let mut straying = server(Faults { stray: 1.0, ..Faults::default() });
        assert_eq!((straying.receive(0, b"a", 'a').len(), straying.key.stray), (1, 0));
        assert_eq!((straying.receive(0, b"b", 'b').len(), straying.key.stray), (2, 1));
    }
}
