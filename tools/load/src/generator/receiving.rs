//! Reading from one lane, and handing what came to the engine. Does I/O.

use super::{Generator, SCRATCH, Socket};
use crate::clock::{Nanos, Offset};
use crate::engine::Ending;
use crate::sockets::{Received, datagrams};
use crate::stamps::Wall;

/// Reads from one lane before the others get a turn, and before what they made room for is sent. The larger, the longer
/// a free place in a window waits to be filled: at about two microseconds a message, 16 cost a place up to 30 µs. A
/// merged train is one read of up to 64 messages at about a tenth of a microsecond each.
const RECEIVE_BUDGET: usize = 16;

impl Generator {
    /// Reads from a lane until it has nothing left or owes nothing more, or its budget is used up.
    pub(super) fn receive(&mut self, lane: usize) {
        for _ in 0..RECEIVE_BUDGET {
            let awaits = self.engine.awaits_sample(lane);
            let (received, arrived) = match &mut self.sockets[lane] {
                Socket::Datagrams(socket) => {
                    let received = socket.receive(&mut self.batch);
                    let arrived = if awaits && received == Received::Datagrams { socket.arrival() } else { None };
                    (received, arrived)
                }
                Socket::Stream(socket) => socket.receive(&mut self.scratch, awaits),
                // The end of an attempt is found out by itself.
                Socket::Opening(_) | Socket::Gone => return,
            };
            let now = self.clock.now();
            match received {
                // Whatever arrives later is an edge of its own, so a call that would find nothing can be saved.
                Received::Datagrams => {
                    for datagram in datagrams(&self.batch) {
                        self.engine.datagram(lane, datagram, now);
                    }
                    self.note_stamps(lane, arrived, now);
                    if self.engine.in_flight(lane) == 0 {
                        return;
                    }
                }
                Received::Bytes(length) => {
                    self.engine.stream(lane, &self.scratch[..length], now);
                    // A full buffer may end in the middle of bytes that the kernel has stamped together.
                    self.note_stamps(lane, arrived.filter(|_| length < SCRATCH), now);
                    // An end that has been announced already makes no second edge: read on until it comes.
                    if length < SCRATCH && !self.is_ending[lane] {
                        return;
                    }
                }
                Received::Refused => self.engine.refused(lane, 1, now),
                Received::Nothing => return,
                Received::End => return self.end(lane, Ending::Closed, now),
                Received::Broken => return self.end(lane, Ending::Reset, now),
            }
        }
        self.is_queued[lane] = true;
        self.readable.push_back(lane);
    }

    /// Hands the stamps of a sampled message to the engine, if what was just read has answered it.
    fn note_stamps(&mut self, lane: usize, arrived: Option<Wall>, now: Nanos) {
        let Some(flight) = self.engine.take_sample(lane) else { return };
        let left = match &mut self.sockets[lane] {
            Socket::Datagrams(socket) => socket.take_departure(),
            Socket::Stream(socket) => socket.take_departure(),
            Socket::Opening(_) | Socket::Gone => None,
        };
        // Measured each time, because the clock of the stamps can be set at any.
        let offset = Offset::measure(self.clock);
        let stamps = left.zip(arrived).map(|(left, arrived)| (offset.apply(left), offset.apply(arrived)));
        self.engine.stamped(lane, flight, stamps, now);
    }
}
