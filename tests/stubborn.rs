//! Peers that say much and take little: what is held for them together has a bound, and the loop time for the others. They
//! need no kernel: a stream of the test's own takes as much as it is told to.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use shout::connections::{CloseWrite, Connections, Limits, SHARED_TURNS, SHORT_MAX};
use shout::counters::Counters;
use shout::uppercase::Case;

/// A stream that always has something to read and takes `room` bytes in all.
struct Stubborn {
    room: Rc<Cell<usize>>,
    /// How many streams have been read and not been dropped, now and at most.
    owed: Rc<Cell<(usize, usize)>>,
    was_read: bool,
}

impl Read for Stubborn {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.was_read {
            self.was_read = true;
            let (now, most) = self.owed.get();
            self.owed.set((now + 1, most.max(now + 1)));
        }
        buffer.fill(b'x');
        Ok(buffer.len())
    }
}

impl Write for Stubborn {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.room.get());
        self.room.set(self.room.get() - taken);
        if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl CloseWrite for Stubborn {
    fn close_write(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Stubborn {
    fn drop(&mut self) {
        if self.was_read {
            let (now, most) = self.owed.get();
            self.owed.set((now - 1, most));
        }
    }
}

/// Connections that read 1,000 bytes at a time and may be owed `unsent_max` together.
fn thousands(unsent_max: usize) -> (Connections<Stubborn>, Instant) {
    let start = Instant::now();
    let limits = Limits {
        connections_max: 1_000,
        drive_bytes_max: 1_000,
        turn_bytes_max: u64::MAX,
        shared_bytes_max: 1_000,
        short_max: SHORT_MAX,
        shared_turns: SHARED_TURNS,
        idle_timeout: None,
        stall_timeout: Duration::from_secs(60),
        linger_timeout: Duration::from_secs(2),
        unsent_max,
    };
    (Connections::new(Case::Ascii, 1_000, limits, start), start)
}

#[test]
fn max_unsent_counts_what_is_held_and_not_what_is_left_of_it() {
    let (mut connections, now) = thousands(3_500);
    let (mut counters, owed) = (Counters::default(), Rc::default());
    let rooms: Vec<Rc<Cell<usize>>> = (0..4).map(|_| Rc::default()).collect();
    let insert = |room: &Rc<Cell<usize>>| Stubborn { room: Rc::clone(room), owed: Rc::clone(&owed), was_read: false };
    for (index, room) in rooms.iter().enumerate() {
        let token = connections.insert(insert(room), now);
        connections.note(token, true, true, false);
        connections.turn(now, &mut counters);
        if index == 2 {
            // The first three take all but ten bytes each, but their tails are still in memory.
            for (token, room) in rooms[..3].iter().enumerate() {
                room.set(990);
                connections.note(mio::Token(token), false, true, false);
            }
            connections.turn(now, &mut counters);
            assert_eq!((connections.len(), connections.unsent()), (3, 30));
        }
    }
    assert_eq!((connections.len(), counters.tcp_closed_unsent), (3, 1));
}

#[test]
fn max_unsent_holds_within_a_turn_too() {
    let (mut connections, now) = thousands(5_000);
    let (mut counters, owed) = (Counters::default(), Rc::new(Cell::new((0, 0))));
    for _ in 0..200 {
        let stream = Stubborn { room: Rc::default(), owed: Rc::clone(&owed), was_read: false };
        let token = connections.insert(stream, now);
        connections.note(token, true, true, false);
    }
    connections.turn(now, &mut counters);
    assert_eq!((connections.len(), counters.tcp_closed_unsent), (5, 195));
    assert_eq!(owed.get(), (5, 6), "at most one answer more than the bound was ever held");
}

#[test]
fn a_crowd_that_stalls_together_does_not_hold_up_the_loop_when_it_is_closed() {
    let (mut connections, start) = thousands(1_000_000);
    let (mut counters, owed) = (Counters::default(), Rc::default());
    for _ in 0..200 {
        let stream = Stubborn { room: Rc::default(), owed: Rc::clone(&owed), was_read: false };
        let token = connections.insert(stream, start);
        connections.note(token, true, true, false);
    }
    connections.turn(start, &mut counters);
    let now = start + Duration::from_secs(61);
    let mut turns = 0;
    while !connections.is_empty() {
        assert!(connections.deadline().unwrap() <= now, "the loop would sleep although somebody is overdue");
        let before = connections.len();
        connections.expire(now, &mut counters);
        assert!((1..=64).contains(&(before - connections.len())), "{} of {before} are left", connections.len());
        turns += 1;
    }
    assert_eq!((turns, counters.tcp_closed_stalled), (4, 200));
}
