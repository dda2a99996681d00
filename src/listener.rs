//! Accepting connections: how many a turn, and what to do when it fails. It does I/O only through its argument.

use std::io;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::counters::Counters;
use crate::trace;

/// The most connections accepted in a turn: about 0.1 ms of them, so that those being served do not notice a storm.
const ACCEPTS_MAX: usize = 16;

/// How long accepting pauses when descriptors or memory have run out. Freed descriptors raise no event, so only
/// time, or a connection of our own that closes, can say when to try again.
pub const PAUSE: Duration = Duration::from_millis(100);

/// What happens next after accept(2) has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextAccept {
    /// The error was that connection's own: take the next one.
    Next,
    /// The queue is empty: wait for readiness.
    Drained,
    /// The process has no descriptor left: an idle connection may give way. Failing that, pause.
    MakeRoom,
    /// The machine lacks something: pause, for trying again at once would spin.
    Pause,
}

/// The table of accept errors, after accept(2).
pub fn after_accept_error(error: &io::Error) -> NextAccept {
    match Errno::from_io_error(error) {
        Some(Errno::WOULDBLOCK) => NextAccept::Drained,
        // The connection died in the queue, the call was interrupted, or a network error was pending on the
        // new socket, which Linux hands to accept(2) instead of to the first read.
        Some(
            Errno::CONNABORTED
            | Errno::INTR
            | Errno::PROTO
            | Errno::PERM
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::OPNOTSUPP
            | Errno::TIMEDOUT
            | Errno::CONNRESET,
        ) => NextAccept::Next,
        #[cfg(target_os = "linux")]
        Some(Errno::NONET) => NextAccept::Next,
        Some(Errno::MFILE) => NextAccept::MakeRoom,
        // ENFILE, ENOBUFS, ENOMEM; and whatever is not known, because a pause neither spins nor gives up.
        _ => NextAccept::Pause,
    }
}

/// Whether connections wait to be accepted, and whether they may be.
#[derive(Debug, Default)]
pub struct Listener {
    ready: bool,
    paused_until: Option<Instant>,
    /// Accepting pauses for what no connection of ours could give.
    lacks_more_than_room: bool,
    /// A connection has given way, and nobody has been accepted since.
    room_made: bool,
}

impl Listener {
    /// Notes that the kernel reported a connection.
    pub fn note(&mut self) {
        self.ready = true;
    }

    /// Notes that nobody waits. The next connection is reported again.
    pub fn note_empty(&mut self) {
        self.ready = false;
        self.resume();
    }

    /// Something that accepting needs has become free: do not sit out the pause.
    pub fn resume(&mut self) {
        self.paused_until = None;
        self.lacks_more_than_room = false;
    }

    /// Whether it may help those who wait that a connection gives way: for want of a descriptor or a place, and once for
    /// each who is then accepted or each pause. Whatever fails for longer must not cost everybody his connection.
    pub fn may_make_room(&self) -> bool {
        !self.lacks_more_than_room && !self.room_made
    }

    /// A connection has given way.
    pub fn note_room(&mut self) {
        self.room_made = true;
        self.resume();
    }

    /// Whether connections may be waiting, and nothing but room is needed to accept them.
    pub fn has_work(&self) -> bool {
        self.ready && self.paused_until.is_none()
    }

    /// Whether connections may be waiting for want of descriptors or memory.
    pub fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    /// When the pause is over.
    pub fn deadline(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Accepts until the queue is empty, the bound or `room` is reached, or accepting must pause.
    pub fn turn<S>(
        &mut self,
        now: Instant,
        room: usize,
        counters: &mut Counters,
        mut accept: impl FnMut() -> io::Result<S>,
        mut admit: impl FnMut(S, &mut Counters),
    ) {
        if self.paused_until.is_some_and(|end| end <= now) {
            self.resume();
            self.room_made = false;
        }
        if !self.has_work() {
            return;
        }
        let mut accepted = 0;
        for _ in 0..ACCEPTS_MAX {
            if accepted == room {
                return;
            }
            match accept() {
                Ok(stream) => {
                    accepted += 1;
                    self.room_made = false;
                    counters.tcp_accepted += 1;
                    admit(stream, counters);
                }
                Err(error) => match after_accept_error(&error) {
                    NextAccept::Next => counters.tcp_accept_skipped += 1,
                    NextAccept::Drained => {
                        self.ready = false;
                        return;
                    }
                    NextAccept::MakeRoom => return self.pause(now, false, counters),
                    NextAccept::Pause => return self.pause(now, true, counters),
                },
            }
        }
        if accepted == 0 {
            // Each error was called that connection's own, and all of them together are not.
            self.pause(now, true, counters);
        }
    }

    fn pause(&mut self, now: Instant, lacks_more_than_room: bool, counters: &mut Counters) {
        counters.tcp_accept_paused += 1;
        trace::span(|| trace::Event::AcceptPaused);
        self.paused_until = Some(now + PAUSE);
        self.lacks_more_than_room = lacks_more_than_room;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs one turn against a scripted queue; says what was admitted.
    fn turn(listener: &mut Listener, now: Instant, room: usize, script: &mut Vec<Result<u32, Errno>>) -> Vec<u32> {
        let mut admitted = Vec::new();
        let accept =
            || if script.is_empty() { Err(Errno::WOULDBLOCK.into()) } else { script.remove(0).map_err(Into::into) };
        listener.turn(now, room, &mut Counters::default(), accept, |stream, _| admitted.push(stream));
        admitted
    }

    #[test]
    fn the_table_of_accept_errors() {
        let rows = [
            (Errno::WOULDBLOCK, NextAccept::Drained),
            (Errno::CONNABORTED, NextAccept::Next),
            (Errno::INTR, NextAccept::Next),
            (Errno::PROTO, NextAccept::Next),
            (Errno::PERM, NextAccept::Next),
            (Errno::NETDOWN, NextAccept::Next),
            (Errno::NOPROTOOPT, NextAccept::Next),
            (Errno::HOSTDOWN, NextAccept::Next),
            (Errno::HOSTUNREACH, NextAccept::Next),
            (Errno::NETUNREACH, NextAccept::Next),
            (Errno::OPNOTSUPP, NextAccept::Next),
            (Errno::TIMEDOUT, NextAccept::Next),
            (Errno::CONNRESET, NextAccept::Next),
            #[cfg(target_os = "linux")]
            (Errno::NONET, NextAccept::Next),
            (Errno::MFILE, NextAccept::MakeRoom),
            (Errno::NFILE, NextAccept::Pause),
            (Errno::NOBUFS, NextAccept::Pause),
            (Errno::NOMEM, NextAccept::Pause),
            (Errno::BADF, NextAccept::Pause),
        ];
        for (errno, wanted) in rows {
            assert_eq!(after_accept_error(&errno.into()), wanted, "{errno}");
        }
    }

    #[test]
    fn what_a_bound_cuts_off_needs_no_second_event() {
        let (mut listener, now) = (Listener::default(), Instant::now());
        let mut script: Vec<_> = (0..10 + ACCEPTS_MAX as u32 + 7).map(Ok).collect();
        listener.note();
        assert_eq!(turn(&mut listener, now, 10, &mut script).len(), 10, "room for ten");
        assert!(listener.has_work());
        assert_eq!(turn(&mut listener, now, 1000, &mut script).len(), ACCEPTS_MAX);
        assert!(listener.has_work());
        assert_eq!(turn(&mut listener, now, 1000, &mut script).len(), 7);
        assert!(!listener.has_work());
    }

    #[test]
    fn a_pause_ends_by_time_or_by_a_freed_descriptor_and_not_by_an_event() {
        let (mut listener, now) = (Listener::default(), Instant::now());
        let mut script = vec![Ok(1), Err(Errno::MFILE), Ok(2), Err(Errno::MFILE), Ok(3)];
        listener.note();
        assert_eq!(turn(&mut listener, now, 10, &mut script), [1]);
        listener.note();
        assert_eq!(turn(&mut listener, now, 10, &mut script), Vec::<u32>::new(), "an event does not end the pause");
        assert_eq!(turn(&mut listener, now + PAUSE, 10, &mut script), [2], "time does");
        listener.resume();
        assert_eq!(turn(&mut listener, now + PAUSE, 10, &mut script), [3], "so does a descriptor");
    }

    #[test]
    fn a_dead_connection_does_not_hide_the_next() {
        let mut listener = Listener::default();
        listener.note();
        let mut script = vec![Err(Errno::CONNABORTED), Ok(7)];
        assert_eq!(turn(&mut listener, Instant::now(), 10, &mut script), [7]);
    }

    #[test]
    fn errors_that_stay_make_a_pause_whatever_they_are() {
        let (mut listener, now) = (Listener::default(), Instant::now());
        let mut script = vec![Err(Errno::PERM); ACCEPTS_MAX];
        listener.note();
        assert_eq!(turn(&mut listener, now, 10, &mut script), Vec::<u32>::new());
        assert!(listener.is_paused() && !listener.has_work());
    }

    #[test]
    fn nobody_gives_way_where_that_does_not_help() {
        for (errno, helps) in [(Errno::MFILE, true), (Errno::NFILE, false), (Errno::NOBUFS, false)] {
            let (mut listener, now) = (Listener::default(), Instant::now());
            listener.note();
            turn(&mut listener, now, 10, &mut vec![Err(errno)]);
            assert_eq!(listener.may_make_room(), helps, "{errno}");
        }
    }

    #[test]
    fn one_gives_way_for_each_who_is_accepted_or_each_pause() {
        let (mut listener, now) = (Listener::default(), Instant::now());
        let mut script = vec![Err(Errno::MFILE), Err(Errno::MFILE), Err(Errno::MFILE), Ok(1)];
        listener.note();
        turn(&mut listener, now, 10, &mut script);
        listener.note_room();
        turn(&mut listener, now, 10, &mut script);
        assert!(!listener.may_make_room(), "one has given way, and it did not help");
        turn(&mut listener, now + PAUSE, 10, &mut script);
        assert!(listener.may_make_room(), "it may help by now");
        listener.note_room();
        assert_eq!(turn(&mut listener, now + PAUSE, 10, &mut script), [1]);
        assert!(listener.may_make_room(), "for the next one");
    }
}
