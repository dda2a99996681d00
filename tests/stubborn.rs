//! Peers that say much and take little: what is held for them together has a bound, and the loop time for the others. They
//! need no kernel: a stream of the test's own takes as much as it is told to.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use shout::connections::{CloseWrite, Connections, Limits, SHORT_MAX};
use shout::counters::Counters;
use shout::uppercase::Case;

/// A stream that has `says` bytes to read and takes `room` in all.
struct Stubborn {
    says: Rc<Cell<usize>>,
    room: Rc<Cell<usize>>,
    /// How it says that it takes no more.
    refusal: ErrorKind,
    /// How many streams have been read and not been dropped, now and at most.
    owed: Rc<Cell<(usize, usize)>>,
    was_read: bool,
}

impl Stubborn {
    /// One that always has more to say, and takes nothing.
    fn endless(owed: &Rc<Cell<(usize, usize)>>) -> Stubborn {
        let says = Rc::new(Cell::new(usize::MAX));
        Stubborn { says, room: Rc::default(), refusal: ErrorKind::WouldBlock, owed: Rc::clone(owed), was_read: false }
    }
}

impl Read for Stubborn {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.was_read {
            self.was_read = true;
            let (now, most) = self.owed.get();
            self.owed.set((now + 1, most.max(now + 1)));
        }
        let length = buffer.len().min(self.says.get());
        self.says.set(self.says.get() - length);
        buffer[..length].fill(b'x');
        if length == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(length) }
    }
}

impl Write for Stubborn {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.room.get());
        self.room.set(self.room.get() - taken);
        if taken == 0 { Err(self.refusal.into()) } else { Ok(taken) }
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
    with(None, unsent_max)
}

/// The same, which may be idle for so long.
fn with(idle_timeout: Option<Duration>, unsent_max: usize) -> (Connections<Stubborn>, Instant) {
    let start = Instant::now();
    let limits = Limits {
        connections_max: 1_000,
        drive_bytes_max: 1_000,
        turn_bytes_max: u64::MAX,
        shared_bytes_max: 1_000,
        short_max: SHORT_MAX,
        shared_turns: 0,
        idle_timeout,
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
    for (index, room) in rooms.iter().enumerate() {
        let mut stream = Stubborn::endless(&owed);
        stream.room = Rc::clone(room);
        let token = connections.insert(stream, now);
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
        let token = connections.insert(Stubborn::endless(&owed), now);
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
        let token = connections.insert(Stubborn::endless(&owed), start);
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

/// Takes in a stream that has something to say, `says` bytes, and takes `room`; hands out both, to be changed later.
fn insert(
    connections: &mut Connections<Stubborn>,
    (says, room): (usize, usize),
    now: Instant,
) -> (Rc<Cell<usize>>, Rc<Cell<usize>>) {
    let mut stream = Stubborn::endless(&Rc::default());
    (stream.says, stream.room) = (Rc::new(Cell::new(says)), Rc::new(Cell::new(room)));
    let handles = (Rc::clone(&stream.says), Rc::clone(&stream.room));
    let token = connections.insert(stream, now);
    connections.note(token, says > 0, true, false);
    handles
}

#[test]
fn who_is_owed_too_much_is_closed_by_his_own_drive_and_those_behind_him_are_served() {
    let (mut connections, now) = thousands(900);
    let mut counters = Counters::default();
    insert(&mut connections, (1_000, 0), now);
    let (says, room) = insert(&mut connections, (10, 10), now);
    insert(&mut connections, (1_000, 50), now);
    connections.turn(now, &mut counters);
    assert_eq!((says.get(), room.get()), (0, 0), "he stood between the two");
    assert_eq!((connections.len(), connections.unsent(), connections.has_work()), (1, 0, false));
    assert_eq!((counters.tcp_closed_unsent, counters.tcp_unsent_lost_bytes, counters.tcp_sent_bytes), (2, 1_950, 60));
}

#[test]
fn who_is_closed_by_a_drive_that_was_to_go_on_leaves_no_place_in_the_queue_to_the_next_owner_of_his_slot() {
    let (mut connections, now) = thousands(900);
    let mut counters = Counters::default();
    let mut stream = Stubborn::endless(&Rc::default());
    stream.refusal = ErrorKind::Interrupted;
    let first = connections.insert(stream, now);
    connections.note(first, true, true, false);
    connections.turn(now, &mut counters);
    assert_eq!((connections.len(), counters.tcp_closed_unsent), (0, 1));
    let (says, _) = insert(&mut connections, (5_000, usize::MAX), now);
    assert!(connections.stream_mut(first).is_some(), "the slot has a new owner");
    connections.turn(now, &mut counters);
    assert_eq!(says.get(), 4_000, "one drive in a turn reads 1,000 bytes");
}

#[test]
fn what_the_idle_say_at_the_last_moment_counts_towards_max_unsent() {
    let (mut connections, start) = with(Some(Duration::from_secs(30)), 2_500);
    let mut counters = Counters::default();
    let (idle, _) = insert(&mut connections, (0, 0), start);
    connections.turn(start, &mut counters);
    let later = start + Duration::from_secs(20);
    for _ in 0..2 {
        insert(&mut connections, (1_000, 0), later);
    }
    connections.turn(later, &mut counters);
    assert_eq!((connections.len(), connections.unsent()), (3, 2_000));
    // It is over its time, and what it says has not been reported yet.
    idle.set(1_000);
    let now = start + Duration::from_secs(31);
    connections.expire(now, &mut counters);
    assert_eq!((connections.len(), connections.unsent()), (2, 2_000));
    assert_eq!((counters.tcp_closed_unsent, counters.tcp_closed_idle), (1, 0));
    // Now it is owed something, and has as long to take it as anybody else.
    connections.expire(later + Duration::from_secs(61), &mut counters);
    assert_eq!((connections.len(), counters.tcp_closed_stalled), (1, 1));
    connections.expire(now + Duration::from_secs(61), &mut counters);
    assert_eq!((connections.len(), counters.tcp_closed_stalled), (0, 2));
}

#[test]
fn whoever_gives_way_and_is_then_owed_too_much_makes_room_all_the_same() {
    let (mut connections, start) = thousands(900);
    let mut counters = Counters::default();
    let (idle, _) = insert(&mut connections, (0, 0), start);
    connections.turn(start, &mut counters);
    idle.set(1_000);
    assert!(connections.make_room(start + Duration::from_secs(1), &mut counters));
    assert_eq!((connections.len(), connections.unsent()), (0, 0));
    assert_eq!((counters.tcp_closed_unsent, counters.tcp_closed_for_room), (1, 0), "counted once");
}

#[test]
fn what_a_stalled_peer_says_on_its_last_try_counts_towards_max_unsent() {
    let (mut connections, start) = thousands(1_900);
    let mut counters = Counters::default();
    let (says, room) = insert(&mut connections, (500, 0), start);
    connections.turn(start, &mut counters);
    let later = start + Duration::from_secs(30);
    insert(&mut connections, (1_000, 0), later);
    connections.turn(later, &mut counters);
    assert_eq!((connections.len(), connections.unsent()), (2, 1_500));
    // It reads at last, and says more than before: that is read in its turn.
    connections.note(mio::Token(0), true, false, false);
    says.set(1_000);
    room.set(500);
    connections.expire(start + Duration::from_secs(61), &mut counters);
    assert_eq!((connections.len(), connections.unsent(), says.get()), (2, 1_000, 1_000));
    connections.turn(start + Duration::from_secs(61), &mut counters);
    assert_eq!((connections.len(), connections.unsent()), (1, 1_000));
    assert_eq!((counters.tcp_closed_unsent, counters.tcp_closed_stalled), (1, 0), "the other had stalled for longer");
    assert!(connections.stream_mut(mio::Token(0)).is_some());
}

#[test]
fn a_crowd_that_reads_at_the_last_moment_is_not_read_out_of_turn() {
    let (mut connections, start) = thousands(1_000_000);
    let mut counters = Counters::default();
    let handles: Vec<_> = (0..200).map(|_| insert(&mut connections, (usize::MAX, 0), start)).collect();
    connections.turn(start, &mut counters);
    assert_eq!((connections.unsent(), counters.tcp_received_bytes), (200_000, 200_000));
    let now = start + Duration::from_secs(61);
    for (index, (_, room)) in handles.iter().enumerate() {
        // Of every second one the kernel has told, and the turn has not come to him; of the others it has not yet.
        room.set(1_000);
        if index % 2 == 0 {
            connections.note(mio::Token(index), true, true, false);
        }
    }
    // At most 64 in a turn.
    for _ in 0..200_usize.div_ceil(64) {
        connections.expire(now, &mut counters);
    }
    assert_eq!((connections.len(), connections.unsent()), (200, 0), "all were given what they were owed");
    assert_eq!(counters.tcp_received_bytes, 200_000, "and nobody was asked for more");
    assert_eq!(connections.queued(), 200, "before his turn");
}
