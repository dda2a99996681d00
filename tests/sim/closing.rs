//! How connections end under the simulated kernel, and whether the server had a reason to end them.

use std::io;

use rustix::io::Errno;

use crate::kernel::{Kernel, Room, Source};
use crate::oracles::Oracle;
use crate::stream::Socket;

/// Why the server closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    Finished,
    Lingered,
    Broken,
    Rejected,
    CutOff,
    Room,
    Idle,
    Stalled,
    Unsent,
}

impl Kernel {
    pub fn close_write(&mut self, id: usize) -> io::Result<()> {
        self.enter(id, "close_write", self.sockets[id].write_closed.is_some());
        let now = self.now;
        let socket = &mut self.sockets[id];
        if socket.reset {
            socket.failed = true;
            return Err(Errno::NOTCONN.into());
        }
        let unanswered = socket.text.certain(socket.read) + socket.text.cut(socket.read).len() - socket.written;
        // A reset may have destroyed what had arrived.
        let ignored = socket.arrived_when_asked.map(|asked| asked.min(socket.arrived).saturating_sub(socket.read));
        if unanswered > 0 || ignored != Some(0) {
            let what = format!("unanswered {unanswered}, ignored {ignored:?}");
            self.violate(Oracle::Closing, format!("the write side of {id} is closed: {what}"));
        }
        // What it discards from here on is no part of its last drive.
        self.sockets[id].read_this_turn = 0;
        self.sockets[id].write_closed = Some(now);
        self.progress();
        self.unblock(id);
        Ok(())
    }

    /// Only a connection that is to end is asked this.
    pub fn unread(&mut self, id: usize) -> u64 {
        self.preempt();
        let (socket, idle_timeout) = (&mut self.sockets[id], self.knobs.limits.idle_timeout);
        socket.arrived_when_asked.get_or_insert(socket.arrived);
        (socket.last_drive, socket.read_this_turn) = (true, 0);
        let unread = (socket.arrived - socket.read) as u64;
        let idle = idle_timeout.is_some_and(|limit| self.now - socket.had_moved_at >= limit);
        let (undelivered, had_spoken) =
            (socket.undelivered(), self.knobs.knows_unread && socket.had_arrived > socket.read);
        if self.is_draining() {
            // Nobody is asked why.
        } else if !idle && self.room != Room::Wanted {
            self.violate(Oracle::Closing, format!("connection {id} is asked to end for no reason"));
        } else if undelivered > 0 || (had_spoken && !idle) {
            let what = format!("{undelivered} not taken, had spoken: {had_spoken}");
            self.violate(Oracle::Closing, format!("connection {id} is to end, and is not idle: {what}"));
        }
        if self.room == Room::Wanted {
            self.room = Room::MadeBy(id);
        }
        if self.knobs.knows_unread { unread } else { u64::MAX }
    }

    /// Asked of a connection that may have to give way.
    pub fn is_quiet(&mut self, id: usize) -> bool {
        self.preempt();
        let socket = &self.sockets[id];
        socket.undelivered() == 0 && (!self.knobs.knows_unread || socket.arrived == socket.read)
    }

    pub fn close(&mut self, id: usize) {
        self.preempt();
        let Some(closing) = self.reason_to_close(id) else {
            let socket = &self.sockets[id];
            let what = format!("connection {id} is closed for no reason: {socket:?}");
            self.violate(Oracle::Closing, what);
            return;
        };
        let (source, socket) = (Source::Stream(id), &self.sockets[id]);
        if socket.abandoned != (socket.owed() > 0) {
            let what = format!("connection {id} owes {}, and is abandoned: {}", socket.owed(), socket.abandoned);
            self.violate(Oracle::Closing, what);
        }
        if self.sockets[id].left > 0 && matches!(closing, Closing::Room | Closing::Idle) {
            self.violate(Oracle::Closing, format!("connection {id} is closed as idle over input"));
        }
        if self.sockets[id].undelivered() > 0 && matches!(closing, Closing::Lingered | Closing::Room | Closing::Idle) {
            self.violate(Oracle::Closing, format!("connection {id} is closed over what its peer has not taken"));
        }
        self.say(format_args!("close({id}): {closing:?}, owed {}", self.sockets[id].owed()));
        let socket = &mut self.sockets[id];
        self.tally.lost += socket.owed() as u64;
        socket.reset_sent = socket.abandoned || socket.arrived > socket.read;
        socket.closed = Some(closing);
        self.pending.retain(|other| *other != source);
        self.descriptors_used -= 1;
        self.close_since_exhausted = true;
        self.progress();
        self.unblock(id);
    }

    fn reason_to_close(&self, id: usize) -> Option<Closing> {
        let (socket, limits) = (&self.sockets[id], &self.knobs.limits);
        let owed = socket.owed();
        let unmoved = self.now - socket.moved_at;
        let all_held =
            || self.sockets.iter().filter(|socket| socket.closed.is_none()).map(|socket| socket.held).sum::<usize>();
        Some(match socket {
            _ if self.cutting_off => Closing::CutOff,
            Socket { failed: true, write_closed: None, .. } => Closing::Broken,
            // All had been sent; how the peer ends it makes no difference any more.
            Socket { failed: true, .. } => Closing::Finished,
            Socket { end_read: true, .. } if owed == 0 => Closing::Finished,
            Socket { token: None, .. } => Closing::Rejected,
            Socket { write_closed: Some(since), .. } if self.now - *since >= limits.linger_timeout => Closing::Lingered,
            // Whoever is closed as idle has had one last drive, which may have moved something.
            Socket { write_closed: Some(_), .. }
                if limits.idle_timeout.is_some_and(|limit| self.now - socket.had_moved_at >= limit) =>
            {
                Closing::Idle
            }
            Socket { write_closed: Some(_), .. } if self.room == Room::MadeBy(id) => Closing::Room,
            _ if owed > 0 && all_held() > limits.unsent_max => Closing::Unsent,
            // Whoever is closed as stalled has had one last try: room may have come while the server was not looking.
            _ if owed > 0 && unmoved >= limits.stall_timeout && socket.refused_at == Some(self.now) => Closing::Stalled,
            _ => return None,
        })
    }
}
