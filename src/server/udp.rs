//! The UDP side of the loop: when the kernel is asked to announce room. It does I/O only to ask that.

use mio::{Interest, Registry};

use super::UDP;
use crate::batch::Socket;
use crate::datagrams::Datagrams;

/// The UDP side: the socket, and what is done with it.
pub(super) struct Udp {
    pub(super) io: Socket,
    pub(super) datagrams: Datagrams,
    /// The kernel is asked to announce room in the send buffer.
    pub(super) watches_room: bool,
}

impl Udp {
    /// Has the kernel announce room while replies wait for it, and only then: it announces room whenever a reply has
    /// left, full or not, and each announcement would wake the loop for nothing. Being asked anew, it says at once
    /// what is true by now, so nothing is missed in between: `epoll_ctl(2)`. Where it refuses, the next turn asks again.
    pub(super) fn watch_room(&mut self, registry: &Registry) {
        let waits = self.datagrams.waits_for_room();
        if waits == self.watches_room {
            return;
        }
        let interest = if waits { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        if registry.reregister(self.io.socket_mut(), UDP, interest).is_ok() {
            self.watches_room = waits;
        }
    }

    pub(super) fn has_work(&self) -> bool {
        self.datagrams.has_work() || self.datagrams.waits_for_room() != self.watches_room
    }
}
