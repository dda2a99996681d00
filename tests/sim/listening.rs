//! The listener of the simulated kernel: its queue, and the descriptors that accepting needs.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use shout::listener::{NextAccept, after_accept_error};

use crate::kernel::{Kernel, Patience, Room, Source};
use crate::oracles::Oracle;
use crate::stream::Stream;

/// The most connections that a turn accepts, or tries to.
const ACCEPTS_MAX: usize = 16;

/// How soon an idle connection gives way to one that waits.
const ROOM_MAX: Duration = Duration::from_millis(500);

impl Kernel {
    /// accept(2): a descriptor is allocated before the queue is looked at.
    pub fn accept(kernel: &Rc<RefCell<Kernel>>) -> io::Result<Stream> {
        let result = kernel.borrow_mut().accept_id();
        kernel.borrow().say(format_args!("accept() = {result:?}"));
        result.map(|id| Stream::new(kernel, id))
    }

    fn accept_id(&mut self) -> io::Result<usize> {
        self.preempt();
        self.progress();
        if self.has_left_queues() {
            self.violate(Oracle::Stopping, "a connection is accepted that is the next server's");
        }
        let error = if self.descriptors_used + self.descriptors_taken >= self.knobs.descriptors {
            self.close_since_exhausted = false;
            let of_others = self.random.pick(&[Errno::NFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]);
            if self.descriptors_used >= self.knobs.descriptors { Errno::MFILE } else { of_others }
        } else if self.random.one_in(self.knobs.faults.accept_error) {
            if self.random.one_in(2)
                && let Some(id) = self.backlog.pop_front()
            {
                self.peers[id].is_aborted();
            }
            self.random.pick(&[Errno::CONNABORTED, Errno::INTR, Errno::PROTO, Errno::HOSTUNREACH])
        } else if let Some(id) = self.backlog.pop_front() {
            self.tally.accepted += 1;
            self.accepts += 1;
            if self.accepts > ACCEPTS_MAX {
                self.violate(Oracle::Budget, format!("{} connections are accepted in a turn", self.accepts));
            }
            self.descriptors_used += 1;
            self.sockets[id].moved_at = self.now;
            return Ok(id);
        } else {
            self.stop.backlog_found_empty = true;
            Errno::WOULDBLOCK
        };
        match after_accept_error(&error.into()) {
            NextAccept::Next => {
                self.tally.accept_skipped += 1;
                self.skips += 1;
                if self.skips == ACCEPTS_MAX {
                    // A turn of nothing else: what fails so often lies with none of them, and calls for a pause.
                    self.tally.accept_paused += 1;
                    self.close_since_exhausted = false;
                }
            }
            NextAccept::MakeRoom | NextAccept::Pause => self.tally.accept_paused += 1,
            NextAccept::Drained => {}
        }
        Err(error.into())
    }

    /// poll(2) for one moment.
    pub fn someone_waits(&mut self) -> bool {
        self.preempt();
        let waits = !self.backlog.is_empty();
        self.stop.backlog_found_empty |= !waits;
        if waits {
            self.room = Room::Wanted;
        }
        self.say(format_args!("someone_waits() = {waits}"));
        waits
    }

    /// Other programs take descriptors for a while, a few times. That they give them back is announced to nobody.
    pub fn others_act(&mut self) {
        if self.descriptors_taken > 0 {
            self.descriptors_taken = 0;
            self.knobs.descriptors_of_others -= self.knobs.descriptors_of_others.min(300);
        } else {
            self.descriptors_taken = self.knobs.descriptors_of_others;
        }
        self.others_wake = self.now + Duration::from_millis(self.random.between(1, 400) as u64);
        self.say(format_args!("others take {} descriptors", self.descriptors_taken));
    }

    /// What must hold of the listener when the loop is about to sleep: whoever waits in the queue waits for room, or
    /// for descriptors that nobody has given back.
    pub fn check_listener_rest(&mut self, room: usize, paused: bool, patience: Patience) {
        if !self.listener_open
            || self.backlog.is_empty()
            || self.pending.contains(&Source::Listener)
            || patience == Patience::None
        {
            return;
        }
        if paused && self.close_since_exhausted {
            self.violate(Oracle::Liveness, "a descriptor has been freed, and accepting still pauses");
        }
        let idle_since = self.sockets.iter().filter(|socket| socket.is_idle()).map(|socket| socket.moved_at).min();
        let due = idle_since.filter(|_| room == 0 && !self.is_draining()).map(|since| since.max(self.now) + ROOM_MAX);
        let late = match patience {
            Patience::None => false,
            Patience::Until(deadline) => due.is_some_and(|due| due < deadline),
            Patience::Forever => true,
        };
        if late {
            self.violate(Oracle::Liveness, "a connection waits to be accepted, and nobody will ever look");
        }
        if !paused && room > 0 {
            self.violate(Oracle::Liveness, "the loop sleeps, and a connection waits to be accepted");
        }
    }
}
