//! Messages cut into datagrams, joined into runs, split where the kernel refuses them: whatever comes in, every datagram
//! is answered once, whole, in order, to its sender. The input is a script of four bytes a message.
#![no_main]

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use shout::batch::{Batch, DATAGRAM_MAX, DatagramIo, Message, Replies};
use shout::counters::Counters;
use shout::datagrams::{Datagrams, Rules};
use shout::uppercase::Case;

/// The most messages of one input: more than a batch holds, few enough to be quick.
const MESSAGES_MAX: usize = 100;

/// What the device makes of a send, one byte each, in turn.
#[derive(Clone, Copy)]
enum Outcome {
    Take(usize),
    Fail(i32),
}

struct Device {
    incoming: VecDeque<(Message, Vec<u8>)>,
    outcomes: Vec<Outcome>,
    calls: usize,
    segments_max: usize,
    left: Vec<(SocketAddr, Vec<u8>)>,
    dropped: u64,
}

impl DatagramIo for Device {
    fn messages_max(&self) -> usize {
        16
    }

    fn segments_max(&self) -> usize {
        self.segments_max
    }

    fn receive(&mut self, batch: &mut Batch, width: usize) -> io::Result<()> {
        if self.incoming.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = width.min(self.incoming.len());
        for (slot, (_, bytes)) in batch.slots_mut().zip(self.incoming.iter().take(count)) {
            slot[..bytes.len()].copy_from_slice(bytes);
        }
        batch.messages.extend(self.incoming.drain(..count).map(|(message, _)| message));
        Ok(())
    }

    fn send(&mut self, bytes: &[u8], replies: &Replies, from: usize) -> io::Result<usize> {
        let first = &replies.list[from];
        // After a refusal the next call succeeds, so that every script has an end.
        let outcome =
            if self.calls % 2 == 0 { Outcome::Take(1) } else { self.outcomes[self.calls / 2 % self.outcomes.len()] };
        self.calls += 1;
        let count = match outcome {
            Outcome::Take(count) => count.clamp(1, replies.list.len() - from),
            Outcome::Fail(code) => {
                let skipped =
                    matches!(code, libc::EPERM) || (matches!(code, libc::EIO | libc::EMSGSIZE) && first.segment == 0);
                if skipped {
                    self.dropped += first.datagrams() as u64;
                    self.left.push((first.peer, Vec::new()));
                }
                return Err(io::Error::from_raw_os_error(code));
            }
        };
        for reply in &replies.list[from..from + count] {
            let parts = &replies.parts[reply.parts.clone()];
            let text: Vec<u8> = parts.iter().flat_map(|part| &bytes[part.clone()]).copied().collect();
            assert_eq!(text.len(), reply.length);
            assert!(reply.datagrams() <= self.segments_max && text.len() <= DATAGRAM_MAX);
            if reply.segment == 0 {
                self.left.push((reply.peer, text));
            } else {
                assert!(reply.segment < text.len(), "a run of one");
                self.left.extend(text.chunks(reply.segment).map(|one| (reply.peer, one.to_vec())));
            }
        }
        Ok(count)
    }

    fn kernel_drops(&self) -> u64 {
        0
    }
}

fuzz_target!(|input: &[u8]| {
    let [flags, rest @ ..] = input else { return };
    let case = if flags & 1 == 0 { Case::Ascii } else { Case::Unicode };
    let segments_max = if flags & 2 == 0 { 64 } else { 1 };
    let skips = flags & 4 != 0;
    let mut device = Device {
        incoming: VecDeque::new(),
        outcomes: Vec::new(),
        calls: 0,
        segments_max,
        left: Vec::new(),
        dropped: 0,
    };
    let mut owed = Vec::new();
    for step in rest.chunks_exact(4).take(MESSAGES_MAX) {
        let [peer, size, count, outcome] = *step else { continue };
        let peer: SocketAddr = ([127, 0, 0, 1], 40_000 + u16::from(peer % 3)).into();
        // Short sizes as they are, and some that come close to what a run may hold.
        let size = if size < 200 { usize::from(size) } else { usize::from(size) * 250 };
        let (count, shorter) = (usize::from(count % 64) + 1, usize::from(count / 64));
        let length = (size * count).saturating_sub(shorter.min(size.saturating_sub(1))).min(DATAGRAM_MAX);
        let segment = if length > size { size } else { 0 };
        let bytes: Vec<u8> = (0..length).map(|place| b"shou\xc3\x9f\xff t"[(place + owed.len()) % 9]).collect();
        let cut = if segment == 0 { length.max(1) } else { segment };
        if bytes.is_empty() {
            owed.push((peer, Vec::new()));
        }
        owed.extend(bytes.chunks(cut).map(|one| (peer, raised(case, one))));
        let message = Message { peer, local: None, to_group: false, length, segment, truncated: false };
        device.incoming.push_back((message, bytes));
        device.outcomes.push(match outcome % 8 {
            0 => Outcome::Fail(libc::EIO),
            1 => Outcome::Fail(libc::EMSGSIZE),
            2 => Outcome::Fail(libc::EINTR),
            3 => Outcome::Fail(libc::EAGAIN),
            4 if skips => Outcome::Fail(libc::EPERM),
            number => Outcome::Take(usize::from(number)),
        });
    }
    if device.outcomes.is_empty() {
        return;
    }
    let rules = Rules { case, refused_port: None, rate_limit: None };
    let start = Instant::now();
    let (mut datagrams, mut counters) = (Datagrams::new(rules, &device, start), Counters::default());
    datagrams.note(true, true);
    // A full socket says so at every other call at most.
    for _ in 0..100_000 {
        datagrams.turn(&mut device, start, &mut counters);
        datagrams.note(false, true);
        if device.incoming.is_empty() && datagrams.is_dry() {
            break;
        }
    }
    assert!(datagrams.is_dry(), "something is owed for ever");
    let too_long = counters.udp_dropped_too_long;
    assert_eq!(counters.udp_received, owed.len() as u64);
    assert_eq!(counters.udp_dropped_send_error, device.dropped);
    assert_eq!(counters.udp_replied + device.dropped + too_long, owed.len() as u64);
    if device.dropped + too_long == 0 {
        assert!(device.left == owed, "the answers are not those that are owed");
    }
});

fn raised(case: Case, text: &[u8]) -> Vec<u8> {
    if case == Case::Ascii {
        return text.to_ascii_uppercase();
    }
    let mut answer = Vec::new();
    for chunk in text.utf8_chunks() {
        answer.extend_from_slice(chunk.valid().to_uppercase().as_bytes());
        answer.extend_from_slice(chunk.invalid());
    }
    answer
}
