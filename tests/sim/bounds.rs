//! The bounds of a turn: who must have been served in it, what the server may hold after it, and that something happened.

use std::time::Instant;

use crate::kernel::{Kernel, Room, Source};
use crate::oracles::Oracle;
use crate::stream::Socket;

/// How many connections one turn drives. A peer that is ready may wait one turn for each such number of others.
const DRIVES_MAX: usize = 256;

/// How many turns in a row may pass in which nothing happens: one that finds out, and one that tidies up.
const EMPTY_TURNS_MAX: usize = 3;

impl Kernel {
    /// All has been noted, and the turn begins. What time it is.
    pub fn begin_turn(&mut self) -> Instant {
        for socket in &mut self.sockets {
            (socket.read_this_turn, socket.last_drive) = (0, false);
            socket.had_arrived = socket.arrived;
        }
        (self.room, self.accepts, self.skips, self.udp.work_this_turn) = (Room::Enough, 0, 0, 0);
        self.now
    }

    /// Those who have been driven because they stood in the ready queue, or not at all. Who has stalled for too long has one
    /// last try besides, in which nothing is read.
    pub fn of_the_queue(&self) -> impl Iterator<Item = &Socket> {
        self.sockets.iter().filter(|socket| !socket.last_drive)
    }

    /// Whether somebody has said a little in this turn, and may do so again.
    fn shares(&self) -> bool {
        let short = 1..=self.knobs.limits.short_max;
        self.of_the_queue().any(|socket| {
            let goes_on = socket.closed.is_none() && socket.write_closed.is_none();
            goes_on && short.contains(&(socket.read_this_turn as u64))
        })
    }

    /// The turn is over.
    ///
    /// `unsent` is what the server says that it owes; `None` for a design that does not know.
    pub fn end_turn(&mut self, unsent: Option<usize>, connections: usize) {
        self.shared_turns =
            if self.shares() { self.knobs.limits.shared_turns } else { self.shared_turns.saturating_sub(1) };
        let (send_buffer, draining) = (self.knobs.send_buffer, self.is_draining());
        // A turn begins drives until they have read its share, which one of them may do while the loop is shared.
        let limits = &self.knobs.limits;
        let enough = limits.turn_bytes_max.min(limits.shared_bytes_max as u64).div_ceil(self.knobs.longest_drive());
        let drives = DRIVES_MAX.min(enough as usize);
        let (mut owed, mut held, mut open, mut starving) = (0, 0, 0, None);
        for (id, socket) in self.sockets.iter_mut().enumerate() {
            let ready = socket.is_movable(send_buffer, draining) && !self.pending.contains(&Source::Stream(id));
            socket.turns_waiting = if ready && !socket.touched { socket.turns_waiting + 1 } else { 0 };
            // As many as there ever were may have stood before it.
            if socket.turns_waiting > 1 + self.peers.len() / drives {
                starving = Some(id);
            }
            socket.touched = false;
            socket.had_moved_at = socket.moved_at;
            if socket.closed.is_none() {
                owed += socket.owed();
                held += socket.held;
            }
            open += usize::from(socket.closed.is_none() && socket.token.is_some());
        }
        if let Some(id) = starving {
            self.violate(Oracle::Fairness, format!("connection {id} is ready and is not served"));
        }
        if unsent.is_some_and(|unsent| unsent != owed) || connections != open {
            self.violate(
                Oracle::Counters,
                format!("{connections} connections owe {unsent:?}; in truth {open} owe {owed}"),
            );
        }
        let unsent_max = self.knobs.limits.unsent_max;
        if held > unsent_max {
            self.violate(Oracle::Memory, format!("{held} bytes are held in all, more than {unsent_max}"));
        }
        self.calls = 0;
        self.empty_turns = if std::mem::take(&mut self.progress) { 0 } else { self.empty_turns + 1 };
        if self.empty_turns > EMPTY_TURNS_MAX {
            self.violate(Oracle::Spin, format!("{} turns, and nothing happened", self.empty_turns));
        }
    }
}
