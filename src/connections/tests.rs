//! How much a flood may do at once, alone and beside others.

use super::*;

/// A peer that has so many bytes to say, and takes every answer.
struct Peer {
    left: usize,
}

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.left.min(buffer.len());
        self.left -= length;
        if length > 0 { Ok(length) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl CloseWrite for Peer {
    fn close_write(&self) -> io::Result<()> {
        Ok(())
    }
}

const FLOOD: usize = usize::MAX;
const DRIVE: u64 = 20_000;
const TURN: u64 = 50_000;
const SHARED: u64 = 5_000;

struct Loop {
    connections: Connections<Peer>,
    counters: Counters,
    now: Instant,
}

impl Loop {
    fn of(peers: &[usize]) -> Loop {
        let limits = Limits {
            connections_max: 100,
            drive_bytes_max: DRIVE as usize,
            turn_bytes_max: TURN,
            shared_bytes_max: SHARED as usize,
            short_max: SHORT_MAX,
            shared_turns: SHARED_TURNS,
            idle_timeout: None,
            stall_timeout: Duration::from_secs(60),
            linger_timeout: Duration::from_secs(2),
            unsent_max: usize::MAX,
        };
        let now = Instant::now();
        let mut connections = Connections::new(Case::Ascii, 5_000, limits, now);
        for &left in peers {
            let token = connections.insert(Peer { left }, now);
            connections.note(token, true, true, false);
        }
        Loop { connections, counters: Counters::default(), now }
    }

    /// Bytes read in one turn.
    fn turn(&mut self) -> u64 {
        let before = bytes_read(&self.counters);
        self.connections.turn(self.now, &mut self.counters);
        bytes_read(&self.counters) - before
    }
}

#[test]
fn a_turn_begins_no_drive_beyond_its_bound() {
    let mut floods = Loop::of(&[FLOOD; 5]);
    assert_eq!(floods.turn(), 3 * DRIVE, "the third drive exceeds the bound of the turn");
    assert_eq!(floods.connections.queued(), 5);
}

#[test]
fn a_flood_gives_way_while_somebody_has_little_to_say() {
    let mut server = Loop::of(&[FLOOD, 5]);
    assert_eq!(server.turn(), DRIVE + 5, "nobody could know of the other before");
    assert_eq!(server.turn(), SHARED);
    assert_eq!(server.connections.shared_turns, SHARED_TURNS - 1);
    server.connections.shared_turns = 1;
    assert_eq!(server.turn(), SHARED);
    assert_eq!(server.turn(), DRIVE, "the other has gone");
}

#[test]
fn a_flood_gives_way_to_datagrams() {
    let mut server = Loop::of(&[FLOOD; 5]);
    server.connections.share();
    assert_eq!(server.turn(), SHARED, "the turn is as short as the drive, for datagrams wait for the whole of it");
}

#[test]
fn floods_do_not_take_each_other_for_somebody_with_little_to_say() {
    let mut server = Loop::of(&[SHORT_MAX as usize + 1, FLOOD]);
    server.turn();
    assert_eq!(server.connections.shared_turns, 0);
}
