//! One connection echoed within a thread, message by message, so that no scheduler stands between cause and effect.

#![allow(dead_code, reason = "each experiment uses a part of it")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;

/// The bytes of a message.
const MESSAGE: usize = 64;

/// A stream in an epoll, and its peer.
pub(crate) struct Echo {
    epoll: OwnedFd,
    stream: TcpStream,
    peer: TcpStream,
}

/// What a loop did.
#[derive(Default)]
pub(crate) struct Calls {
    pub(crate) waits: u32,
    pub(crate) reads: u32,
}

impl Echo {
    pub(crate) fn new(flags: EventFlags) -> Echo {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        for end in [&stream, &peer] {
            end.set_nodelay(true).unwrap();
        }
        stream.set_nonblocking(true).unwrap();
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        epoll::add(&epoll, &stream, EventData::new_u64(0), EventFlags::IN | flags).unwrap();
        Echo { epoll, stream, peer }
    }

    /// Waits; false when nothing is reported within the time.
    fn wait(&self, calls: &mut Calls, patience_ms: i64) -> bool {
        let mut events = Vec::<Event>::with_capacity(4);
        calls.waits += 1;
        let patience = rustix::event::Timespec { tv_sec: 0, tv_nsec: patience_ms * 1_000_000 };
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&patience)).unwrap() > 0
    }

    /// One message there and back. The loop reads into a buffer of so many bytes, and once more to be told that the queue
    /// is empty if it is to.
    pub(crate) fn message(&mut self, is_told_empty: bool, calls: &mut Calls) {
        let mut buffer = [0; 4 * MESSAGE];
        self.peer.write_all(&[b'a'; MESSAGE]).unwrap();
        assert!(self.wait(calls, 500));
        calls.reads += 1;
        let length = self.stream.read(&mut buffer).unwrap();
        self.stream.write_all(&buffer[..length]).unwrap();
        if is_told_empty {
            calls.reads += 1;
            assert!(self.stream.read(&mut buffer).is_err());
        }
        self.peer.read_exact(&mut buffer[..MESSAGE]).unwrap();
    }

    /// A message of four pieces, of which each wake-up reads one. How many pieces were read before the loop slept.
    pub(crate) fn pieces(&mut self, calls: &mut Calls) -> u32 {
        self.peer.write_all(&[b'a'; 4 * MESSAGE]).unwrap();
        let (mut buffer, mut pieces) = ([0; MESSAGE], 0);
        while self.wait(calls, 20) {
            calls.reads += 1;
            self.stream.read_exact(&mut buffer).unwrap();
            pieces += 1;
        }
        while self.stream.read(&mut buffer).is_ok() {}
        pieces
    }
}
