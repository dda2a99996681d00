//! The other ends of the connections: they write, read, stall, half-close, vanish and reset, as the seed has it.

use std::time::{Duration, Instant};

use crate::closing::Closing;
use crate::kernel::{Kernel, Source};
use crate::oracles::{Oracle, Text};
use crate::stream::Socket;

/// How a peer behaves. Whatever else they do, all but the deaf read what is there when they feel like it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manners {
    /// Says all, half-closes, and reads to the end.
    Polite,
    /// Says all, and waits for the server to end.
    Patient,
    /// Half-closes at some point, whatever it has said.
    Hasty,
    /// Resets the connection at some point.
    Rude,
    /// Closes its socket at some point, whatever it has not read.
    Leaving,
    /// Does nothing any more from some point on.
    Vanishing,
    /// Never reads.
    Deaf,
}

#[derive(Debug)]
pub struct Peer {
    manners: Manners,
    /// When it does something next; `None` while it waits for the server, or is done.
    pub wake: Option<Instant>,
    connected: bool,
    done: bool,
    saw_end: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Write,
    Read,
    SeeEnd,
    HalfClose,
    Reset,
    Leave,
    Vanish,
}

impl Peer {
    /// Its connection died in the queue.
    pub fn is_aborted(&mut self) {
        self.done = true;
        self.wake = None;
    }

    /// What it could do now.
    fn options(&self, socket: &Socket, receive_buffer: usize) -> Vec<Action> {
        let mut options = Vec::new();
        let said = socket.arrived == socket.text.input.len() || self.saw_end;
        if !said && !socket.end_arrived && socket.arrived - socket.read < receive_buffer {
            options.push(Action::Write);
        }
        if socket.written > socket.taken && self.manners != Manners::Deaf {
            options.push(Action::Read);
        }
        let ended = socket.write_closed.is_some() || socket.closed.is_some();
        if ended && socket.written == socket.taken && !self.saw_end {
            options.push(Action::SeeEnd);
        }
        if !socket.end_arrived {
            let waits = self.manners == Manners::Patient && !self.saw_end;
            if (said && !waits) || self.manners == Manners::Hasty {
                options.push(Action::HalfClose);
            }
        }
        match self.manners {
            Manners::Polite | Manners::Patient | Manners::Hasty | Manners::Deaf => {}
            Manners::Rude => options.push(Action::Reset),
            Manners::Leaving => options.push(Action::Leave),
            Manners::Vanishing => options.push(Action::Vanish),
        }
        options
    }
}

impl Kernel {
    pub fn add_peer(&mut self) {
        let length = self.random.between(0, self.knobs.text_len_max);
        let text = Text::new(self.knobs.case, self.random.text(length));
        let misbehaving =
            [Manners::Patient, Manners::Hasty, Manners::Rude, Manners::Leaving, Manners::Vanishing, Manners::Deaf];
        let polite = self.knobs.all_polite || self.random.one_in(2);
        let manners = if polite { Manners::Polite } else { self.random.pick(&misbehaving) };
        let late = if self.random.one_in(2) { self.random.below(1_000) } else { 0 };
        let wake = Some(self.now + Duration::from_millis(late as u64));
        self.sockets.push(Socket::new(text, self.now));
        self.peers.push(Peer { manners, wake, connected: false, done: false, saw_end: false });
    }

    /// The server did something that a waiting peer may have been waiting for.
    pub fn unblock(&mut self, id: usize) {
        let peer = &mut self.peers[id];
        if !peer.done && peer.wake.is_none() {
            peer.wake = Some(self.now);
        }
    }

    /// A reset arrives, of which the server learns by an event and by its next call.
    pub fn reset(&mut self, id: usize) {
        let socket = &mut self.sockets[id];
        socket.reset = true;
        if self.random.one_in(2) {
            // Some kernels keep what had arrived before, others do not.
            socket.arrived = socket.read;
        }
        self.peers[id].is_aborted();
        self.edge(Source::Stream(id));
    }

    /// Gives up on those who will never take what they are owed, some time after the server last sent something, as
    /// `TCP_USER_TIMEOUT` has it.
    pub fn give_up_on_the_deaf(&mut self) {
        for id in 0..self.sockets.len() {
            let (socket, peer) = (&self.sockets[id], &self.peers[id]);
            let is_deaf = peer.done || peer.manners == Manners::Deaf;
            let waits = socket.closed.is_none() && socket.undelivered() > 0;
            let since = socket.write_closed.unwrap_or(socket.moved_at);
            if is_deaf && waits && since + self.knobs.limits.stall_timeout <= self.now {
                self.reset(id);
            }
        }
    }

    /// One thing that a peer does.
    pub fn peer_acts(&mut self, id: usize) {
        if !self.peers[id].connected {
            self.peers[id].connected = true;
            if !self.listener_open {
                self.say(format_args!("    peer {id} is refused"));
                self.peers[id].is_aborted();
                return;
            }
            self.say(format_args!("    peer {id} connects: {:?}", self.peers[id].manners));
            self.backlog.push_back(id);
            self.edge(Source::Listener);
            return;
        }
        self.sockets[id].pressure = false;
        self.has_freed(id);
        if self.sockets[id].reset_sent {
            self.peers[id].is_aborted();
            return;
        }
        let mut options = self.peers[id].options(&self.sockets[id], self.knobs.receive_buffer);
        // Whatever is not part of a conversation is rare, or there would be no conversation; but when nothing
        // else is left to do, it is done.
        if options.len() > 1 && !self.random.one_in(12) {
            options.retain(|action| matches!(action, Action::Write | Action::Read | Action::SeeEnd));
        }
        if options.is_empty() {
            options = self.peers[id].options(&self.sockets[id], self.knobs.receive_buffer);
        }
        if options.is_empty() {
            self.peers[id].wake = None;
            return;
        }
        let action = self.random.pick(&options);
        self.peer_does(id, action);
        if self.random.one_in(self.knobs.stall)
            && let Some(wake) = &mut self.peers[id].wake
        {
            *wake = self.now + Duration::from_millis(self.random.magnitude(self.knobs.stall_ms_max) as u64);
        }
    }

    fn peer_does(&mut self, id: usize, action: Action) {
        let length = self.random.magnitude(self.knobs.segment_max);
        let with_end = self.random.one_in(2);
        let (peer, socket) = (&mut self.peers[id], &mut self.sockets[id]);
        match action {
            Action::Write => {
                let room = self.knobs.receive_buffer - (socket.arrived - socket.read);
                socket.arrived += length.min(room).min(socket.text.input.len() - socket.arrived);
                let said = socket.arrived == socket.text.input.len();
                socket.end_arrived = said && with_end && peer.manners != Manners::Patient;
                self.arrives(id);
            }
            Action::HalfClose => {
                socket.end_arrived = true;
                self.arrives(id);
            }
            Action::Read => {
                socket.taken += length.min(socket.written - socket.taken);
                self.has_freed(id);
            }
            Action::SeeEnd => peer.saw_end = true,
            Action::Reset => self.reset(id),
            Action::Leave if socket.written > socket.taken => self.reset(id),
            Action::Leave => {
                socket.end_arrived = true;
                socket.peer_gone = true;
                peer.is_aborted();
                self.arrives(id);
            }
            Action::Vanish => peer.is_aborted(),
        }
        let (peer, socket) = (&mut self.peers[id], &self.sockets[id]);
        if peer.saw_end && socket.end_arrived {
            peer.is_aborted();
        }
        self.say(format_args!(
            "    peer {id} {action:?}: {} arrived, end {}, {} taken",
            socket.arrived, socket.end_arrived, socket.taken
        ));
    }

    /// Text or an end has arrived. Where the socket is closed already, the answer is a reset.
    fn arrives(&mut self, id: usize) {
        let socket = &mut self.sockets[id];
        if socket.closed.is_some() && socket.arrived > socket.read {
            socket.reset_sent = true;
            self.peers[id].is_aborted();
        }
        self.edge(Source::Stream(id));
    }

    /// There is room in the send buffer; who has been told that there was none is told so.
    fn has_freed(&mut self, id: usize) {
        let socket = &mut self.sockets[id];
        if socket.no_space && socket.is_writable(self.knobs.send_buffer) {
            socket.no_space = false;
            self.edge(Source::Stream(id));
        }
    }

    /// Everything is over: whoever behaved has had its whole answer and an orderly end.
    pub fn check_peers(&mut self) {
        for id in 0..self.peers.len() {
            let (peer, socket) = (&self.peers[id], &self.sockets[id]);
            let answered = socket.text.certain(socket.read) + socket.text.cut(socket.read).len();
            // What comes after the server's own end is discarded.
            let whole = if socket.write_closed.is_some() { socket.written } else { answered };
            let complete = socket.written == whole && !socket.reset_sent;
            let heard = peer.saw_end && socket.taken == whole && socket.end_arrived;
            let wrong = match socket.closed {
                Some(Closing::Finished) if !socket.failed => !complete || (peer.manners == Manners::Polite && !heard),
                Some(_) => false,
                // It never came, or died in the queue.
                None => !(peer.done && self.sockets[id].token.is_none()),
            };
            if wrong {
                let what = format!("connection {id} did not end well: {peer:?} {socket:?}");
                self.violate(Oracle::Closing, what);
            }
        }
    }
}
