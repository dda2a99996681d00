//! Connections that send as much as is taken, and read little of what comes back. Does I/O.
//!
//! A server must stop reading from such a peer, or keep without bound what it is owed.

use mio::net::TcpStream;
use serde::{Deserialize, Serialize};

use super::talk::{Heard, Talk, Text};

/// Read at each tick: 40 KiB a second.
const PIECE: usize = 4 << 10;

/// Asked for on each of these, so that answers wait at the server and not here.
const RECEIVE_BUFFER: usize = 16 << 10;

/// What became of connections that read slowly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SlowReaders {
    /// Connections opened.
    pub opened: u64,
    /// Connections that the server closed or reset before the end of the run.
    pub ended: u64,
    /// Connections that were sent a wrong byte, and were given up at that.
    pub wrong: u64,
    /// How many bytes were sent.
    pub bytes_tx: u64,
    /// How many bytes came back, all of them right.
    pub bytes_rx: u64,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Slow {
    /// `None`: it has ended.
    talk: Option<Talk>,
}

impl Slow {
    pub(super) fn new(stream: TcpStream) -> Self {
        // Without it the kernel keeps more for us, and it takes longer until the server feels it.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&stream, RECEIVE_BUFFER);
        Slow { talk: Some(Talk::new(stream)) }
    }

    /// Sends as much as is taken.
    pub(super) fn send(&mut self, text: &Text, tally: &mut SlowReaders) {
        let Some(talk) = &mut self.talk else { return };
        let before = talk.sent;
        let sent = talk.send(text, u64::MAX);
        tally.bytes_tx += talk.sent - before;
        if sent.is_err() {
            tally.ended += 1;
            self.talk = None;
        }
    }

    /// Reads a little.
    pub(super) fn read(&mut self, text: &Text, scratch: &mut [u8], tally: &mut SlowReaders) {
        let Some(talk) = &mut self.talk else { return };
        match talk.hear(text, &mut scratch[..PIECE]) {
            Heard::Right(length) => {
                tally.bytes_rx += length as u64;
                return;
            }
            Heard::Nothing => return,
            Heard::Wrong => tally.wrong += 1,
            Heard::End | Heard::Broken => tally.ended += 1,
        }
        self.talk = None;
    }
}
