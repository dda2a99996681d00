//! Peers of a server that runs as a program of its own: one who behaves, and what the others are made of.

#![allow(dead_code, reason = "each test file is a crate of its own and uses its part of this")]

use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::common::{Program, ping, ping_udp, raise_descriptors, tcp_client, udp_client};

/// A connection whose peer has set its buffers before it came.
pub(crate) fn small(address: SocketAddr, receive: usize, send: usize) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(receive).unwrap();
    socket.set_send_buffer_size(send).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

/// Writes what a non-blocking stream takes, whether or not the server has had enough of it.
pub(crate) fn press(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(length) => sent += length,
            Err(_) => break,
        }
    }
    sent
}

/// Allows this process so many descriptors, or says that it may not have them.
pub(crate) fn may_open(descriptors: u64) -> bool {
    let granted = raise_descriptors();
    if granted < descriptors {
        println!("skipped: {descriptors} descriptors are needed and the limit is {granted}");
    }
    granted >= descriptors
}

/// Somebody who behaves, and asks over both protocols.
pub(crate) struct Victim {
    tcp: TcpStream,
    udp: UdpSocket,
    address: SocketAddr,
}

impl Victim {
    pub(crate) fn of(program: &Program) -> Victim {
        Victim { tcp: tcp_client(program.address), udp: udp_client(program.address), address: program.address }
    }

    pub(crate) fn ask_tcp(&mut self) {
        assert_eq!(ping(&mut self.tcp, b"still there?"), b"STILL THERE?");
    }

    pub(crate) fn ask_udp(&mut self) {
        assert_eq!(ping_udp(&self.udp, self.address, b"and you?"), b"AND YOU?");
    }

    pub(crate) fn ask_both(&mut self) {
        self.ask_tcp();
        self.ask_udp();
    }

    /// Asks a thousand times a second, or as often as it is answered, and says how long each answer took, sorted. Taken
    /// from when the question was due: what an answer that is late holds up is late as well.
    pub(crate) fn ask_for(&mut self, time: Duration, ask: fn(&mut Victim)) -> Vec<Duration> {
        const INTERVAL: Duration = Duration::from_millis(1);
        let mut times = Vec::new();
        let mut due = Instant::now();
        let end = due + time;
        while due < end {
            while Instant::now() < due {
                // Sleep ends late, by less than this.
                match due.saturating_duration_since(Instant::now()).checked_sub(Duration::from_micros(200)) {
                    Some(early) => std::thread::sleep(early),
                    None => std::hint::spin_loop(),
                }
            }
            ask(self);
            times.push(due.elapsed());
            due += INTERVAL;
        }
        times.sort();
        times
    }
}
