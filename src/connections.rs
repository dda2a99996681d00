//! All TCP connections: their slots, the ready queue, and what a drive leads to. It does I/O only by driving connections.
//! Who must go, and when, is decided in `connections/leaving.rs`.
//!
//! Readiness arrives once (the kernel is asked for edges), so whatever a budget cuts off must be remembered
//! here: a connection that is not done stands in the ready queue, and the loop does not sleep while one does.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use mio::Token;
use slab::Slab;
use socket2::SockRef;

use crate::batch;
use crate::connection::{Connection, Next, Scratch};
use crate::counters::Counters;
use crate::histograms::DRIVE_EXPONENT;
use crate::idle::{Queue, Quiet};
use crate::trace::{self, Event};
use crate::uppercase::Case;

mod leaving;

/// The most bytes that one connection may have read in a turn: four reads. With one, four floods beside each other moved
/// a seventh fewer bytes a second, for each found its peer's window full and had to open it by an acknowledgement, and
/// what that set free the kernel sent on our time.
pub const DRIVE_BYTES_MAX: usize = 4 * CHUNK_LEN;

const _: () = assert!(DRIVE_BYTES_MAX == 1 << DRIVE_EXPONENT, "the histogram of drives ends with the longest");

/// A turn begins no further drive once its drives have read so much. The rest keep their places in the queue. Four times
/// as much moved no more bytes a second.
pub const TURN_BYTES_MAX: u64 = DRIVE_BYTES_MAX as u64;

/// Both of them while the loop is shared with somebody who has little to say and would wait for it.
pub const SHARED_BYTES_MAX: usize = 64 * 1024;

/// Whoever says no more than this at once has little to say.
pub const SHORT_MAX: u64 = 4096;

/// Turns for which the loop counts as shared after somebody has said a little. For a flood that is a tenth of a second: ten
/// questions a second keep the loop shared, and soon after the last the flood has it to itself.
pub const SHARED_TURNS: u32 = 4096;

/// The longest read. In a race of builds that differ in nothing else, 256 KiB moved the most bytes a second: 16 KiB
/// moved half as many, 1 MiB an eighth fewer, because the raised text no longer fits into the processor's second-level
/// cache.
pub const CHUNK_LEN: usize = 256 * 1024;

/// The most drives in a turn. Datagrams and new connections wait for at most this many: with short messages
/// about a millisecond. The rest keep their places in the queue.
const DRIVES_MAX: usize = 256;

/// The place in the ready queue of a connection that has been closed. No slot has this number.
const GONE: u32 = u32::MAX;

/// What a stream must be able to do beyond reading and writing.
pub trait CloseWrite {
    /// Sends what is buffered and then the end of file; reading goes on.
    fn close_write(&self) -> io::Result<()>;

    /// How many bytes have arrived and not been read; where that is not known, as many as there can be.
    fn unread(&self) -> u64 {
        u64::MAX
    }

    /// How many of the bytes written the peer has not confirmed, the end of file being one of them; none where that is
    /// not known.
    fn undelivered(&self) -> u64 {
        0
    }

    /// Whether nothing is on its way: the peer has confirmed all that it was sent, and nothing of it waits to be read. As
    /// far as that is known.
    fn is_quiet(&self) -> bool {
        self.undelivered() == 0
    }

    /// Has the close that follows forget what was not sent and tell the peer by a reset.
    fn abandon(&self) {}
}

impl CloseWrite for mio::net::TcpStream {
    fn close_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn unread(&self) -> u64 {
        rustix::io::ioctl_fionread(self).unwrap_or(u64::MAX)
    }

    fn undelivered(&self) -> u64 {
        batch::undelivered(self)
    }

    fn is_quiet(&self) -> bool {
        self.undelivered() == 0 && !rustix::io::ioctl_fionread(self).is_ok_and(|unread| unread > 0)
    }

    fn abandon(&self) {
        // Where this fails, the kernel gives up on the rest when its own patience ends.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

/// How long and how much connections may wait.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The most connections at once.
    pub connections_max: usize,
    /// The most bytes that one connection may have read in a turn.
    pub drive_bytes_max: usize,
    /// A turn begins no further drive once its drives have read so many bytes.
    pub turn_bytes_max: u64,
    /// Both of them while somebody with little to say is about.
    pub shared_bytes_max: usize,
    /// Whoever says no more bytes than this at once has little to say.
    pub short_max: u64,
    /// Turns for which somebody who has said so little is still taken to be about.
    pub shared_turns: u32,
    /// How long a connection may be idle; `None` for ever.
    pub idle_timeout: Option<Duration>,
    /// How long a peer may leave unread what it is owed.
    pub stall_timeout: Duration,
    /// How long the peer's own end is awaited after everything is sent and our end closed, and again while the peer has
    /// not confirmed all of it.
    pub linger_timeout: Duration,
    /// The most memory held for what all peers together are owed; beyond it the longest-stalled are closed.
    pub unsent_max: usize,
}

#[derive(Debug)]
struct Slot<S> {
    stream: S,
    connection: Connection,
    /// It stands in the ready queue, and must not stand there twice.
    queued: bool,
}

// Not in debug builds, where mio adds fields to check on its own users.
#[cfg(not(debug_assertions))]
const _: () = assert!(size_of::<Slot<mio::net::TcpStream>>() <= 64, "a connection fits one cache line");

/// The connections of one loop.
#[derive(Debug)]
pub struct Connections<S> {
    slots: Slab<Slot<S>>,
    /// Who has something to do. The order is the order of service.
    ready: VecDeque<u32>,
    quiet: Quiet,
    scratch: Scratch,
    limits: Limits,
    /// Turns for which somebody with little to say is still taken to be about.
    shared_turns: u32,
    /// Bytes owed to all peers together.
    unsent: usize,
    /// Bytes of memory held for that.
    held: usize,
    /// Nobody is asked for more.
    retiring: bool,
}

impl<S: Read + Write + CloseWrite> Connections<S> {
    /// No connections yet. `chunk_len` is the longest read.
    pub fn new(case: Case, chunk_len: usize, limits: Limits, start: Instant) -> Connections<S> {
        Connections {
            slots: Slab::new(),
            ready: VecDeque::new(),
            quiet: Quiet::new(start),
            scratch: Scratch::new(case, chunk_len),
            limits,
            shared_turns: 0,
            unsent: 0,
            held: 0,
            retiring: false,
        }
    }

    /// Takes in a stream, to be registered under the token.
    pub fn insert(&mut self, stream: S, now: Instant) -> Token {
        let index = self.slots.insert(Slot { stream, connection: Connection::default(), queued: false });
        self.quiet.touch(index, Queue::Idle, now);
        if self.retiring {
            self.retire(index);
            self.queue(index);
        }
        Token(index)
    }

    /// Lets go of a stream that could not be registered.
    pub fn reject(&mut self, token: Token, counters: &mut Counters) {
        counters.tcp_broken += 1;
        self.close(token.0, counters);
    }

    /// The stream behind a token, for registration.
    pub fn stream_mut(&mut self, token: Token) -> Option<&mut S> {
        self.slots.get_mut(token.0).map(|slot| &mut slot.stream)
    }

    /// Notes what the kernel reported of one connection, as [`Connection::note`] has it, and queues it. A report on a
    /// freed slot is dropped, and none can meet the slot's next owner: see `close`.
    pub fn note(&mut self, token: Token, readable: bool, writable: bool, hint: bool) {
        if let Some(slot) = self.slots.get_mut(token.0) {
            slot.connection.note(readable, writable, hint);
            self.queue(token.0);
        }
    }

    /// Drives the connections that were ready when the turn began, up to a bound.
    pub fn turn(&mut self, now: Instant, counters: &mut Counters) {
        let most = if self.shared_turns > 0 { self.limits.shared_bytes_max } else { usize::MAX };
        self.shared_turns = self.shared_turns.saturating_sub(1);
        let budget = self.limits.drive_bytes_max.min(most);
        let enough = bytes_read(counters).saturating_add(self.limits.turn_bytes_max.min(most as u64));
        // Counted before the first drive, so that those which queue themselves again wait for the next turn.
        for _ in 0..self.ready.len().min(DRIVES_MAX) {
            if bytes_read(counters) >= enough {
                break;
            }
            let Some(index) = self.ready.pop_front() else { break };
            let Some(slot) = self.slots.get_mut(index as usize) else { continue };
            slot.queued = false;
            self.drive(index as usize, budget, now, counters);
        }
    }

    /// Somebody said a little, here or in a datagram, and may do so again: floods get shorter turns for a while.
    pub fn share(&mut self) {
        self.shared_turns = self.limits.shared_turns;
    }

    /// Whether some connection must be driven before the loop may sleep.
    pub fn has_work(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many connections must be.
    pub fn queued(&self) -> usize {
        self.ready.len()
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many more connections may come.
    pub fn room(&self) -> usize {
        self.limits.connections_max.saturating_sub(self.slots.len())
    }

    /// Bytes owed to all peers together.
    pub fn unsent(&self) -> usize {
        self.unsent
    }

    fn queue(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if !slot.queued {
            slot.queued = true;
            self.ready.push_back(index as u32);
        }
    }

    /// One bounded run of one connection, and what follows from it: it may be closed, and so may whoever has stalled longest.
    fn drive(&mut self, index: usize, budget: usize, now: Instant, counters: &mut Counters) {
        let slot = &mut self.slots[index];
        let connection = &mut slot.connection;
        let (unsent_before, held_before) = (connection.unsent(), connection.held());
        let read_before = bytes_read(counters);
        let next = connection.drive(&mut slot.stream, &mut self.scratch, budget, counters);
        trace::drive(index, next, connection, counters);
        self.unsent = self.unsent + connection.unsent() - unsent_before;
        self.held = self.held + connection.held() - held_before;
        let read = bytes_read(counters) - read_before;
        counters.histograms.tcp_drive_bytes.record(read);
        match next {
            Next::Wait | Next::Again => {
                // A peer that lingers cannot put off its end by sending more.
                if connection.take_progress() && !connection.is_lingering() {
                    let queue = if connection.unsent() > 0 { Queue::Stalled } else { Queue::Idle };
                    self.quiet.touch(index, queue, now);
                }
                if next == Next::Again {
                    self.queue(index);
                }
                if (1..=self.limits.short_max).contains(&read) {
                    self.share();
                }
            }
            Next::Finished if connection.has_ended() => {
                // Nothing is left unread, so the close sends an orderly end of file behind the last answer.
                counters.tcp_finished += 1;
                self.close(index, counters);
            }
            Next::Finished => match slot.stream.close_write() {
                Ok(()) => {
                    connection.linger();
                    self.quiet.touch(index, Queue::Lingering, now);
                    if connection.is_readable() {
                        // What is left came too late to be answered, and no event need ask for it any more.
                        self.queue(index);
                    }
                }
                Err(_) => {
                    counters.tcp_broken += 1;
                    self.close(index, counters);
                }
            },
            Next::Broken => {
                counters.tcp_broken += 1;
                self.close(index, counters);
            }
        }
        self.shed(counters);
    }

    /// Frees a slot; dropping the stream closes it. The events of a turn are all noted before its first drive, so
    /// none is left that could reach the slot's next owner.
    fn close(&mut self, index: usize, counters: &mut Counters) {
        trace::moment(|| Event::Closed { slot: index as u32 });
        let slot = self.slots.remove(index);
        if slot.queued {
            // Rare, and so worth a walk: left there, it would give the slot's next owner two drives in a turn. The place
            // itself remains, for a turn that is under way has counted the queue.
            self.ready.iter_mut().filter(|place| **place as usize == index).for_each(|place| *place = GONE);
        }
        let lost = slot.connection.unsent();
        self.unsent -= lost;
        self.held -= slot.connection.held();
        if lost > 0 {
            // An orderly end would say that this was all, and would leave the kernel holding what it had taken until
            // it gives up on a peer that does not read.
            slot.stream.abandon();
        }
        counters.tcp_unsent_lost_bytes += lost as u64;
        self.quiet.remove(index);
    }
}

/// All that connections have read so far, answered or discarded.
fn bytes_read(counters: &Counters) -> u64 {
    counters.tcp_received_bytes + counters.tcp_discarded_bytes
}

#[cfg(test)]
mod tests;
