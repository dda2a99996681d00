//! Sending: what of the replies the simulated device takes, and whether they are what is owed.

use std::io;

use rustix::io::Errno;
use shout::batch::{DATAGRAM_MAX, Replies, Reply};

use crate::datagrams::{POISON, in_segments};
use crate::kernel::Kernel;
use crate::knobs::Runs;
use crate::oracles::Oracle;

impl Kernel {
    pub fn send(&mut self, bytes: &[u8], replies: &Replies, from: usize) -> io::Result<usize> {
        self.preempt();
        if self.random.one_in(self.knobs.faults.interrupted) {
            self.progress();
            return Err(Errno::INTR.into());
        }
        let mut sent = 0;
        for reply in replies.list[from..].iter().take(self.knobs.udp.messages_max) {
            let datagrams = self.check_reply(bytes, replies, reply);
            let refused = self.refusal(reply);
            if sent > 0 && refused.is_some() {
                // The call has sent something, and says so. The next one begins with this reply.
                break;
            }
            if let Some(errno) = refused {
                self.refuse(errno, reply.segment > 0, datagrams);
                return Err(errno.into());
            }
            self.progress();
            self.udp.owed.drain(..datagrams.min(self.udp.owed.len()));
            self.udp.sending += datagrams;
            self.udp.wake = self.udp.wake.or(Some(self.now));
            self.udp.tally.udp_replied += datagrams as u64;
            self.udp.tally.udp_replied_bytes += reply.length as u64;
            sent += 1;
        }
        Ok(sent)
    }

    /// Compares a reply with what is owed first. How many datagrams it is.
    fn check_reply(&mut self, bytes: &[u8], replies: &Replies, reply: &Reply) -> usize {
        let joined: Vec<u8> =
            replies.parts[reply.parts.clone()].iter().flat_map(|part| &bytes[part.clone()]).copied().collect();
        let datagrams: Vec<&[u8]> = in_segments(&joined, reply.segment).collect();
        let owed = &self.udp.owed;
        let right = datagrams.len() <= owed.len()
            && datagrams
                .iter()
                .zip(owed)
                .all(|(&bytes, owed)| (reply.peer, reply.local, bytes) == (owed.peer, owed.local, &owed.bytes));
        let count = datagrams.len();
        if !right || joined.len() != reply.length || count != reply.datagrams() {
            let what = format!("{reply:?} {datagrams:?} is not what is owed: {:?}", owed.front());
            self.violate(Oracle::Datagrams, what);
        }
        let is_run = reply.segment > 0;
        if count > self.knobs.udp.segments_max || joined.len() > DATAGRAM_MAX || (is_run && self.udp.runs_known_refused)
        {
            self.violate(Oracle::Datagrams, format!("no device takes {reply:?}"));
        }
        count
    }

    /// Why this reply cannot be sent now, if it cannot.
    fn refusal(&mut self, reply: &Reply) -> Option<Errno> {
        let knobs = &self.knobs.udp;
        if self.udp.sending >= knobs.send_buffer {
            return Some(Errno::WOULDBLOCK);
        }
        if let Some((_, errno)) = POISON.iter().find(|(port, _)| *port == reply.peer.port()) {
            return Some(*errno);
        }
        let run = match knobs.runs {
            Runs::NoDevice => Some(Errno::IO),
            Runs::LongerThan(length) if reply.length > length => Some(Errno::MSGSIZE),
            Runs::MoreThan(count) if reply.datagrams() > count => Some(Errno::INVAL),
            Runs::Sent | Runs::LongerThan(_) | Runs::MoreThan(_) => None,
        };
        if reply.segment > 0 && run.is_some() {
            return run;
        }
        self.random.one_in(knobs.no_memory).then_some(Errno::NOBUFS)
    }

    /// What the server must make of an error: wait, send the datagrams one by one, or give them up.
    fn refuse(&mut self, errno: Errno, is_run: bool, datagrams: usize) {
        let tally = &mut self.udp.tally;
        match errno {
            Errno::WOULDBLOCK => {
                tally.udp_send_blocked += 1;
                self.udp.no_space = true;
                return;
            }
            Errno::IO | Errno::MSGSIZE | Errno::INVAL if is_run => {
                tally.udp_runs_split += 1;
                self.udp.runs_refused |= errno == Errno::IO;
            }
            _ => {
                tally.udp_dropped_send_error += datagrams as u64;
                self.udp.owed.drain(..datagrams.min(self.udp.owed.len()));
            }
        }
        self.progress();
    }
}
