//! Peers of a server that runs as a program of its own: one who behaves, and what the others are made of.

#![allow(dead_code, reason = "each test file is a crate of its own and uses its part of this")]

use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::common::{Program, ping, ping_udp, tcp_client, udp_client};

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

/// How long round trips took, sorted.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn quantile(&self, quantile: f64) -> Duration {
        self.0[((self.0.len() - 1) as f64 * quantile) as usize]
    }
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

    /// Asks as often as it is answered.
    pub(crate) fn ask_for(&mut self, time: Duration, ask: fn(&mut Victim)) -> Times {
        let start = Instant::now();
        let mut times = Vec::new();
        while start.elapsed() < time {
            let begin = Instant::now();
            ask(self);
            times.push(begin.elapsed());
        }
        times.sort();
        Times(times)
    }
}
