//! The TCP sockets of the simulated kernel: what `read`, `write`, `shutdown` and `close` do, and what they check.
//!
//! Every byte is compared with the expected text when it is written, so that from then on a socket only counts: how
//! far the peer's text has arrived, how far it has been read, how far its answer has been written and taken.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::time::Instant;

use mio::Token;
use rustix::io::Errno;
use shout::connections::CloseWrite;
use shout::uppercase::{CARRY_MAX, Case, GROWTH_MAX};

use crate::calls::Handle;
use crate::closing::Closing;
use crate::kernel::Kernel;
use crate::oracles::{Oracle, Text};

/// The server's end of a connection.
#[derive(Debug)]
pub struct Socket {
    pub text: Text,
    /// How much of the text has arrived, and how much of it the server has read.
    pub arrived: usize,
    pub read: usize,
    /// The peer's end of file has arrived, and the server has read it.
    pub end_arrived: bool,
    pub end_read: bool,
    /// The peer has reset the connection.
    pub reset: bool,
    /// The peer has closed its socket: whatever is written now is answered by a reset.
    pub peer_gone: bool,
    /// How much answer the server has offered, how much of it the kernel took, and how much of that the peer has read.
    pub offered: usize,
    pub written: usize,
    pub taken: usize,
    pub write_closed: Option<Instant>,
    /// A call has returned an error that ends the stream.
    pub failed: bool,
    pub closed: Option<Closing>,
    /// The close met unread input or a peer that was still sending.
    pub reset_sent: bool,
    /// `SOCK_NOSPACE`: a write was cut short, so that an edge follows when there is room again.
    pub no_space: bool,
    /// There is no room although there should be.
    pub pressure: bool,
    pub token: Option<Token>,
    /// When bytes were last moved by the server, as of now and as of the end of the last turn. A turn has one time.
    pub moved_at: Instant,
    pub had_moved_at: Instant,
    /// When a write was last refused for want of room.
    pub refused_at: Option<Instant>,
    /// How far the text had arrived when the server first asked, which it does when it wants the connection to end.
    pub arrived_when_asked: Option<usize>,
    /// What the last read left in the queue.
    pub left: usize,
    /// The close that follows is to be a reset.
    pub abandoned: bool,
    /// Memory that the server holds for what it owes: all that was left when a write first stopped, until it is sent.
    pub held: usize,
    pub read_this_turn: usize,
    /// How far the text had arrived when the turn began.
    pub had_arrived: usize,
    /// It has had a drive of its own in this turn, beside those of the ready queue, because it is to end.
    pub last_drive: bool,
    pub touched: bool,
    pub turns_waiting: usize,
}

impl Socket {
    pub fn new(text: Text, now: Instant) -> Socket {
        Socket {
            text,
            arrived: 0,
            read: 0,
            end_arrived: false,
            end_read: false,
            reset: false,
            peer_gone: false,
            offered: 0,
            written: 0,
            taken: 0,
            write_closed: None,
            failed: false,
            closed: None,
            reset_sent: false,
            no_space: false,
            pressure: false,
            token: None,
            moved_at: now,
            had_moved_at: now,
            refused_at: None,
            arrived_when_asked: None,
            left: 0,
            abandoned: false,
            held: 0,
            read_this_turn: 0,
            had_arrived: 0,
            last_drive: false,
            touched: false,
            turns_waiting: 0,
        }
    }

    /// How much the server has read and not yet got rid of.
    pub fn owed(&self) -> usize {
        if self.write_closed.is_some() {
            return 0;
        }
        let cut = if self.end_read { self.text.cut(self.read).len() } else { 0 };
        (self.text.certain(self.read) + cut).max(self.offered) - self.written
    }

    /// How much of what was written stands in the send buffer. A reset has emptied it.
    pub fn undelivered(&self) -> usize {
        if self.reset || self.peer_gone { 0 } else { self.written - self.taken }
    }

    pub fn has_input(&self) -> bool {
        !self.failed && (self.arrived > self.read || (self.end_arrived && !self.end_read) || self.reset)
    }

    /// `sk_stream_is_writable`: a third of the buffer is free.
    pub fn is_writable(&self, send_buffer: usize) -> bool {
        let used = self.written - self.taken;
        self.reset || self.write_closed.is_some() || (!self.pressure && 2 * send_buffer >= 3 * used)
    }

    /// Whether it could give way to another.
    pub fn is_idle(&self) -> bool {
        let open = self.closed.is_none() && self.token.is_some() && self.write_closed.is_none();
        open && self.owed() == 0 && self.undelivered() == 0 && !self.has_input()
    }

    /// Whether a call on this stream would get somewhere that the server has to get to.
    pub fn is_movable(&self, send_buffer: usize, draining: bool) -> bool {
        if self.closed.is_some() || self.token.is_none() {
            return false;
        }
        if self.owed() > 0 {
            return self.is_writable(send_buffer);
        }
        self.has_input() || self.end_read || self.failed || (draining && self.write_closed.is_none())
    }
}

/// What the server holds of a connection.
pub struct Stream {
    kernel: Rc<RefCell<Kernel>>,
    id: usize,
}

impl Stream {
    pub fn new(kernel: &Rc<RefCell<Kernel>>, id: usize) -> Stream {
        Stream { kernel: Rc::clone(kernel), id }
    }
}

impl Handle for Stream {
    fn id(&self) -> usize {
        self.id
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut kernel = self.kernel.borrow_mut();
        let result = kernel.read(self.id, buffer);
        kernel.say(format_args!("read({}, {}) = {result:?}", self.id, buffer.len()));
        result
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kernel = self.kernel.borrow_mut();
        let result = kernel.write(self.id, bytes);
        kernel.say(format_args!("write({}, {}) = {result:?}", self.id, bytes.len()));
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl CloseWrite for Stream {
    fn close_write(&self) -> io::Result<()> {
        let mut kernel = self.kernel.borrow_mut();
        let result = kernel.close_write(self.id);
        kernel.say(format_args!("close_write({}) = {result:?}", self.id));
        result
    }

    fn unread(&self) -> u64 {
        self.kernel.borrow_mut().unread(self.id)
    }

    fn undelivered(&self) -> u64 {
        self.kernel.borrow().sockets[self.id].undelivered() as u64
    }

    fn is_quiet(&self) -> bool {
        self.kernel.borrow_mut().is_quiet(self.id)
    }

    fn abandon(&self) {
        self.kernel.borrow_mut().sockets[self.id].abandoned = true;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // While a test fails, what is left is of no interest.
        if !std::thread::panicking() {
            self.kernel.borrow_mut().close(self.id);
        }
    }
}

impl Kernel {
    /// What every call on a stream begins with. Peers may act before it takes effect.
    pub fn enter(&mut self, id: usize, call: &str, over: bool) {
        self.preempt();
        self.sockets[id].touched = true;
        if over || self.sockets[id].failed {
            self.violate(Oracle::AfterEnd, format!("{call} on connection {id} after its end"));
        }
    }

    /// Whether a signal ends the call. Once a promise is broken every call fails, so that no loop goes on for ever.
    fn interrupted(&mut self) -> io::Result<()> {
        if self.violation.is_some() {
            return Err(Errno::IO.into());
        }
        if self.random.one_in(self.knobs.faults.interrupted) {
            self.progress();
            return Err(Errno::INTR.into());
        }
        Ok(())
    }

    fn read(&mut self, id: usize, buffer: &mut [u8]) -> io::Result<usize> {
        self.enter(id, "read", self.sockets[id].end_read);
        self.interrupted()?;
        let now = self.now;
        let socket = &mut self.sockets[id];
        let length = buffer.len().min(socket.arrived - socket.read);
        if length > 0 {
            buffer[..length].copy_from_slice(&socket.text.input[socket.read..][..length]);
            socket.read += length;
            socket.read_this_turn += length;
            socket.left = socket.arrived - socket.read;
            if socket.write_closed.is_some() {
                self.tally.discarded += length as u64;
            } else {
                self.tally.read += length as u64;
                socket.moved_at = now;
            }
            self.check_read(id);
            self.unblock(id);
            self.progress();
            return Ok(length);
        }
        socket.left = 0;
        if socket.reset {
            socket.failed = true;
            return Err(Errno::CONNRESET.into());
        }
        if socket.end_arrived {
            socket.end_read = true;
            self.progress();
            return Ok(0);
        }
        Err(Errno::WOULDBLOCK.into())
    }

    /// What must hold of a connection that has just read something.
    fn check_read(&mut self, id: usize) {
        let (knobs, socket) = (&self.knobs, &self.sockets[id]);
        let (owed, read, budget) = (socket.owed(), socket.read_this_turn, knobs.limits.drive_bytes_max);
        let read_by_all: u64 = self.of_the_queue().map(|socket| socket.read_this_turn as u64).sum();
        // While somebody has little to say, nobody else says much.
        let shared_max = if self.shared_turns > 0 { knobs.limits.shared_bytes_max } else { usize::MAX };
        let (budget, longest) = (budget.min(shared_max), knobs.longest_drive().min(shared_max as u64));
        let enough = knobs.limits.turn_bytes_max.min(shared_max as u64).saturating_add(longest);
        let from_the_queue = !socket.last_drive;
        // Whoever is to end has a drive of its own, and may stand in the queue besides.
        let of_its_own = knobs.limits.drive_bytes_max.min(knobs.limits.shared_bytes_max);
        let budget = if from_the_queue { budget } else { budget.saturating_add(of_its_own) };
        let owed_max = match knobs.case {
            Case::Ascii => knobs.chunk_len,
            Case::Unicode => GROWTH_MAX * (knobs.chunk_len + CARRY_MAX),
        };
        let answers_the_last = knobs.knows_unread && socket.write_closed.is_none();
        let too_late = answers_the_last && socket.arrived_when_asked.is_some_and(|asked| socket.read > asked);
        if owed > owed_max {
            self.violate(Oracle::Memory, format!("connection {id} is owed {owed}, more than {owed_max}"));
        }
        if from_the_queue && read_by_all >= enough {
            self.violate(Oracle::Budget, format!("{read_by_all} bytes were read in a turn that ends before {enough}"));
        }
        if read > budget {
            self.violate(Oracle::Budget, format!("connection {id} read {read} in a turn of {budget}"));
        }
        if too_late {
            self.violate(Oracle::Budget, format!("connection {id} is to end, and reads what came too late"));
        }
    }

    fn write(&mut self, id: usize, bytes: &[u8]) -> io::Result<usize> {
        self.enter(id, "write", self.sockets[id].write_closed.is_some());
        let ended = self.sockets[id].arrived_when_asked.is_some() || self.sockets[id].end_read;
        let (now, send_buffer, faults) = (self.now, self.knobs.send_buffer, self.knobs.faults.clone());
        let socket = &mut self.sockets[id];
        let is_answer = socket.text.is_answered_by(bytes, socket.written, socket.read, ended);
        socket.offered = socket.offered.max(socket.written + bytes.len());
        if !is_answer {
            let (from, read) = (socket.written, socket.read);
            let what =
                format!("connection {id}, {read} bytes read, from {from} on: {:?}", bytes.escape_ascii().to_string());
            self.violate(Oracle::Safety, what);
            return Err(Errno::IO.into());
        }
        // Should this write stop, all that it leaves is kept, if it is not kept already.
        let held = if socket.held == 0 { bytes.len() } else { socket.held };
        let held_before = std::mem::replace(&mut socket.held, held);
        self.interrupted()?;
        let socket = &mut self.sockets[id];
        if socket.reset {
            socket.failed = true;
            return Err(Errno::PIPE.into());
        }
        if socket.peer_gone {
            self.reset(id);
            return Ok(self.take(id, bytes.len(), held_before));
        }
        if self.random.one_in(faults.write_zero) {
            socket.failed = true;
            return Ok(0);
        }
        let room = if socket.pressure { 0 } else { send_buffer - (socket.written - socket.taken) };
        let mut length = room.min(bytes.len());
        if length > 0 && self.random.one_in(faults.short_write) {
            length = self.random.between(1, length);
            self.sockets[id].pressure = self.random.one_in(faults.pressure);
        }
        let socket = &mut self.sockets[id];
        socket.no_space |= length < bytes.len();
        self.unblock(id);
        if length == 0 {
            self.sockets[id].refused_at = Some(now);
            return Err(Errno::WOULDBLOCK.into());
        }
        self.sockets[id].moved_at = now;
        Ok(self.take(id, length, held_before))
    }

    fn take(&mut self, id: usize, length: usize, held: usize) -> usize {
        let socket = &mut self.sockets[id];
        socket.written += length;
        socket.held = if socket.written == socket.offered { 0 } else { held };
        self.tally.written += length as u64;
        self.progress();
        length
    }
}
