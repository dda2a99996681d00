//! Real sockets in the hands of real processes.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use socket2::{Domain, Socket, Type};

use super::*;

/// Another process that holds a socket and does nothing with it.
struct Holder(Child);

impl Holder {
    fn of(socket: &Socket) -> Self {
        let input = Stdio::from(OwnedFd::from(socket.try_clone().unwrap()));
        Holder(Command::new("sleep").arg("300").stdin(input).spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A UDP socket that may share its port; `[::]` takes IPv6 alone where `only_v6` says so.
fn bound(address: &str, port: u16, only_v6: bool) -> Option<Socket> {
    let address = SocketAddr::new(address.parse().unwrap(), port);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None).ok()?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6).unwrap();
    }
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).ok()?;
    Some(socket)
}

fn port(socket: &Socket) -> u16 {
    socket.local_addr().unwrap().as_socket().unwrap().port()
}

/// Sockets on these addresses and one port, each held by a process of its own alone.
fn held(each: &[(&str, bool)]) -> Option<(u16, Vec<Holder>)> {
    // The port of the first may be taken on the address of another.
    for _ in 0..10 {
        let first = bound(each[0].0, 0, each[0].1)?;
        let port = port(&first);
        let others = each[1..].iter().map(|(address, only_v6)| bound(address, port, *only_v6));
        if let Some(others) = others.collect::<Option<Vec<Socket>>>() {
            return Some((port, std::iter::once(&first).chain(&others).map(Holder::of).collect()));
        }
    }
    None
}

/// While another test starts a process, that has all our sockets for a moment.
#[track_caller]
fn assert_served_by(address: SocketAddr, transport: Transport, mut pids: Vec<u32>) {
    pids.sort_unstable();
    let began = Instant::now();
    let mut found = listeners(address, transport);
    while found != pids && began.elapsed() < Duration::from_secs(20) {
        found = listeners(address, transport);
    }
    assert_eq!(found, pids, "{address}");
}

#[track_caller]
fn assert_served(address: &str, port: u16, pids: Vec<u32>) {
    assert_served_by(SocketAddr::new(address.parse().unwrap(), port), Transport::Udp, pids);
}

#[test]
fn a_listener_is_found_by_its_socket() {
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], tcp.local_addr().unwrap().port()));
    assert_served_by(udp.local_addr().unwrap(), Transport::Udp, vec![std::process::id()]);
    assert_served_by(any, Transport::Tcp, vec![std::process::id()]);
}

#[test]
fn an_address_is_served_by_the_socket_that_is_closest_to_it() {
    let (port, holders) = held(&[("0.0.0.0", false), ("127.0.0.1", false)]).expect("a port");
    assert_served("127.0.0.1", port, vec![holders[1].pid()]);
    assert_served("127.0.0.2", port, vec![holders[0].pid()]);
    let Some((port, holders)) = held(&[("0.0.0.0", false), ("::", true)]) else {
        println!("skipped: the part with IPv6, which is not here");
        return;
    };
    // Any address of IPv4 is none of IPv6.
    assert_served("::1", port, vec![holders[1].pid()]);
    assert_served("127.0.0.1", port, vec![holders[0].pid()]);
    let (port, holders) = held(&[("::", false)]).expect("a port");
    for address in ["::1", "127.0.0.1", "::ffff:127.0.0.1"] {
        assert_served(address, port, vec![holders[0].pid()]);
    }
}

#[test]
fn all_who_share_a_port_or_a_socket_serve_it() {
    let (group, holders) = held(&[("127.0.0.1", false), ("127.0.0.1", false)]).expect("a port");
    assert_served("127.0.0.1", group, holders.iter().map(Holder::pid).collect());
    // Whoever gave it and whoever got it.
    let socket = bound("127.0.0.1", 0, false).unwrap();
    let worker = Holder::of(&socket);
    assert_served("127.0.0.1", port(&socket), vec![std::process::id(), worker.pid()]);
}

#[test]
fn a_socket_whose_owner_is_hidden_makes_the_server_unknown() {
    let socket = bound("127.0.0.1", 0, false).unwrap();
    let sockets = serving(socket.local_addr().unwrap().as_socket().unwrap(), Transport::Udp);
    assert_eq!(sockets.len(), 1);
    assert!(system::owners(&sockets).contains(&std::process::id()));
    assert!(system::owners(&[sockets[0], u64::MAX]).is_empty());
}
