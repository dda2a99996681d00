//! The endpoint over real sockets, turned by hand at a time of the test's choice.

use std::io::{ErrorKind, Write as _};

use mio::{Events, Poll};

use super::*;

/// How long anything is waited for before the test fails.
const TEST_PATIENCE: Duration = Duration::from_secs(30);

/// More than one drive of a connection reads.
const MORE_THAN_A_DRIVE: u64 = 16 * 1024 + 1;

struct Endpoint {
    admin: Admin,
    poll: Poll,
    events: Events,
    counters: Counters,
}

impl Endpoint {
    fn new() -> Endpoint {
        let socket = TcpListener::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let facts = Facts { loops: 1, connections_max: 1, unsent_max: 1, buffers: Vec::new() };
        let (mut admin, poll) = (Admin::new(socket, facts), Poll::new().unwrap());
        admin.register(poll.registry()).unwrap();
        Endpoint { admin, poll, events: Events::with_capacity(16), counters: Counters::default() }
    }

    fn turn(&mut self, now: Instant) {
        let patience = if self.admin.has_work() { Duration::ZERO } else { Duration::from_millis(20) };
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => self.events.clear(),
            result => result.unwrap(),
        }
        for event in &self.events {
            self.admin.note(event.token(), event.is_readable(), event.is_writable());
        }
        let state = |_: &Counters| State { reading: Reading::default(), is_draining: false };
        self.admin.turn(now, self.poll.registry(), &mut self.counters, &state);
    }

    fn clients(&self) -> usize {
        self.admin.clients.iter().flatten().count()
    }

    /// The least that waits to be read of any client.
    fn unread(&self) -> u64 {
        let streams = self.admin.clients.iter().flatten().map(|slot| &slot.stream);
        streams.map(|stream| rustix::io::ioctl_fionread(stream).unwrap()).min().unwrap()
    }
}

/// Has each send until more of it waits than one drive reads.
fn flood(endpoint: &Endpoint, floods: &mut [std::net::TcpStream]) {
    let deadline = Instant::now() + TEST_PATIENCE;
    while endpoint.unread() < MORE_THAN_A_DRIVE {
        assert!(Instant::now() < deadline, "only {} bytes wait", endpoint.unread());
        for flood in &mut *floods {
            match flood.write(&[b'x'; 16 * 1024]) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                result => drop(result.unwrap()),
            }
        }
    }
}

#[test]
fn who_has_more_to_say_in_every_turn_than_is_read_is_cut_off_in_time_too() {
    let mut endpoint = Endpoint::new();
    let address = endpoint.admin.socket.local_addr().unwrap();
    let connect = || std::net::TcpStream::connect(address).unwrap();
    let mut floods: Vec<_> = (0..CLIENTS_MAX).map(|_| connect()).collect();
    let (start, deadline) = (Instant::now(), Instant::now() + TEST_PATIENCE);
    while endpoint.clients() < CLIENTS_MAX {
        assert!(Instant::now() < deadline, "{} were accepted", endpoint.clients());
        endpoint.turn(start);
    }
    for flood in &floods {
        flood.set_nonblocking(true).unwrap();
    }
    for (elapsed, cut_off) in [(Duration::ZERO, 0), (PATIENCE * 999 / 1000, 0), (PATIENCE, CLIENTS_MAX)] {
        flood(&endpoint, &mut floods);
        endpoint.turn(start + elapsed);
        assert_eq!(endpoint.counters.admin_timed_out, cut_off as u64, "{elapsed:?} after the start");
        assert_eq!(endpoint.clients(), CLIENTS_MAX - cut_off);
    }
    // Their places are free.
    let _newcomer = connect();
    while endpoint.clients() == 0 {
        assert!(Instant::now() < deadline, "nobody was accepted");
        endpoint.turn(start + PATIENCE);
    }
    assert_eq!(endpoint.counters.admin_refused, 0);
}
