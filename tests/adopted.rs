//! Sockets that a service manager passes, as they are when somebody has knocked before the server ran.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};

mod common;
mod launcher;

use common::retried;
use launcher::{PATIENCE, Server, passing};
use socket2::SockRef;

fn client(asked: IpAddr) -> UdpSocket {
    let client = UdpSocket::bind(if asked.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

fn answer(client: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 64];
    let (length, from) = retried(|| client.recv_from(&mut buffer)).unwrap();
    (buffer[..length].to_vec(), from)
}

#[test]
fn the_datagram_that_starts_the_server_is_answered_from_the_address_that_was_asked() {
    let rows = [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.2"),
        ("::", "127.0.0.3"),
        ("::", "::1"),
    ];
    for (listen, asked) in rows {
        let (listen, asked): (IpAddr, IpAddr) = (listen.parse().unwrap(), asked.parse().unwrap());
        let Ok(socket) = UdpSocket::bind((listen, 0)) else {
            println!("skipped: {listen}: this machine has no IPv6");
            continue;
        };
        let place = SocketAddr::new(asked, socket.local_addr().unwrap().port());
        let client = client(asked);
        client.send_to(b"the first", place).unwrap();
        let server = Server::start(&mut passing(vec![socket.into()], &[]));
        assert_eq!(answer(&client), (b"THE FIRST".to_vec(), place), "{asked} of {listen}");
        client.send_to(b"the second", place).unwrap();
        assert_eq!(answer(&client), (b"THE SECOND".to_vec(), place), "{asked} of {listen}");
        server.stop();
    }
}

#[test]
fn a_broadcast_that_starts_the_server_is_not_answered() {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let client = client([127, 0, 0, 1].into());
    client.set_broadcast(true).unwrap();
    client.send_to(b"everybody?", ("127.255.255.255", port)).unwrap();
    client.send_to(b"you?", ("127.0.0.1", port)).unwrap();
    let server = Server::start(&mut passing(vec![socket.into()], &[]));
    assert_eq!(answer(&client).0, b"YOU?");
    server.stop();
    client.set_nonblocking(true).unwrap();
    assert_eq!(client.recv(&mut [0; 64]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// An urgent byte is in the answer only where the connection has the options of its listener, which it inherits when it
/// is made: here that was before they were set.
#[test]
fn the_connection_that_starts_the_server_is_served_like_any_other() {
    for flags in [&["--quiet"][..], &["--quiet", "--sandbox"]] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap();
        let early = TcpStream::connect(place).unwrap();
        let server = Server::start(&mut passing(vec![listener.into()], flags));
        let line = server.line_with("shout-server");
        if !line.starts_with(" listening on tcp ") {
            assert!(line.contains("--sandbox is not available"), "{line}");
            println!("skipped: {flags:?}: {line}");
            continue;
        }
        for mut stream in [early, TcpStream::connect(place).unwrap()] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(b"before ").unwrap();
            SockRef::from(&stream).send_out_of_band(b"!").unwrap();
            stream.write_all(b" behind").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "BEFORE ! BEHIND", "{flags:?}");
        }
        server.stop();
    }
}

/// How many datagrams the kernel has dropped on the IPv4 socket of this port since it was made.
fn drops(port: u16) -> u64 {
    let table = fs::read_to_string("/proc/net/udp").unwrap();
    let row = table.lines().find(|line| line.contains(&format!(":{port:04X} "))).unwrap();
    row.split_whitespace().next_back().unwrap().parse().unwrap()
}

/// A socket outlives the servers that it is passed to, and so does the kernel's count of what it dropped there. A datagram
/// that waits brings the count of its arrival along, which is older than the one of the server's start.
#[test]
fn what_the_kernel_dropped_before_the_server_ran_is_not_its_own() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let place = socket.local_addr().unwrap();
    socket.set_nonblocking(true).unwrap();
    let client = client(place.ip());
    let flood = |dropped_before| {
        for _ in 0..100 {
            client.send_to(&[b'x'; 64], place).unwrap();
        }
        let dropped = drops(place.port());
        assert!(dropped > dropped_before, "all of it found room, which proves nothing");
        dropped
    };
    let mut dropped = 0;
    // Only the first server is the one that asks the socket for the count.
    for server in ["the first", "the second"] {
        SockRef::from(&socket).set_recv_buffer_size(4096).unwrap();
        dropped = flood(dropped);
        while retried(|| socket.recv(&mut [0; 64])).is_ok() {}
        client.send_to(b"waiting", place).unwrap();
        dropped = flood(dropped);
        let running = Server::start(&mut passing(vec![socket.try_clone().unwrap().into()], &[]));
        running.listening();
        client.send_to(b"one more", place).unwrap();
        while answer(&client).0 != b"ONE MORE" {}
        let lines = running.stop();
        assert!(lines.iter().any(|line| line.starts_with("  udp_received ")), "{lines:#?}");
        let counted = lines.iter().find(|line| line.contains("udp_dropped_by_kernel"));
        assert_eq!(counted, None, "{dropped} were dropped before {server} ran");
    }
}
