//! Datagrams in batches over real sockets: merged, cut, mixed, and answered from the address that was asked.
//!
//! Server and client take turns in one thread, so that nothing here waits for anything but the kernel.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Parser;
use shout::batch::{Batch, DatagramIo, Linux, Replies, Reply};
use shout::config::Config;
use shout::report::Board;
use shout::server::Server;
use shout::sockets;

#[path = "common/retried.rs"]
mod retried;
use retried::retried;

/// How long a reply may take before the test gives up: far more than it ever takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn server(arguments: &[&str]) -> Server {
    let config = Config::parse_from([&["shout-server", "--no-tcp"], arguments].concat());
    let sockets = sockets::bind(&config, config.listen).unwrap();
    let reporter = Board::reporters(1, None, Instant::now()).remove(0);
    Server::new(&config, sockets, 1, reporter).unwrap()
}

/// A client that sends trains, and receives them merged or not.
struct Client {
    io: Linux,
    batch: Batch,
}

impl Client {
    fn bind(address: &str) -> Client {
        let socket = mio::net::UdpSocket::bind(address.parse().unwrap()).unwrap();
        Client { io: Linux::new(socket).unwrap(), batch: Batch::new(64) }
    }

    /// Sends `bytes` in datagrams of `segment` bytes, the last of them shorter if need be, in one system call.
    fn send(&mut self, to: SocketAddr, bytes: &[u8], segment: usize) {
        let segment = if bytes.len() > segment { segment } else { 0 };
        let reply = Reply { peer: to, local: None, parts: 0..1, segment, length: bytes.len() };
        let replies = Replies { list: vec![reply], parts: std::iter::once(0..bytes.len()).collect() };
        assert_eq!(self.io.send(bytes, &replies, 0).unwrap(), 1);
    }

    /// Each datagram that has arrived: from whom, and its bytes.
    fn received(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut datagrams = Vec::new();
        loop {
            self.batch.clear();
            match self.io.receive(&mut self.batch, 64) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return datagrams,
                Err(error) => panic!("{error}"),
            }
            for (index, message) in self.batch.messages.iter().enumerate() {
                let bytes = &self.batch.bytes()[self.batch.range_of(index)];
                match message.segment {
                    0 => datagrams.push((message.peer, bytes.to_vec())),
                    segment => datagrams.extend(bytes.chunks(segment).map(|chunk| (message.peer, chunk.to_vec()))),
                }
            }
        }
    }
}

/// Lets the server turn until the client has so many datagrams.
fn exchange(server: &mut Server, client: &mut Client, wanted: usize) -> Vec<(SocketAddr, Vec<u8>)> {
    let end = Instant::now() + PATIENCE;
    let mut got = Vec::new();
    while got.len() < wanted {
        assert!(Instant::now() < end, "{} of {wanted} replies; {:?}", got.len(), server.counters());
        server.turn(Some(Duration::from_millis(1))).unwrap();
        got.extend(client.received());
    }
    got
}

/// Distinguishable text: each datagram names its number.
fn text(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|index| (index as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

#[test]
fn a_train_is_cut_where_its_sender_cut_it() {
    for arguments in [&["--listen", "127.0.0.1:0"][..], &["--listen", "127.0.0.1:0", "--udp-io", "portable"]] {
        let mut server = server(arguments);
        let mut client = Client::bind("127.0.0.1:0");
        for (length, segment) in [(6_400, 100), (6_350, 100), (64, 1), (60_000, 1_000), (5, 3), (65_000, 32_500)] {
            let sent = text(length, 7);
            client.send(server.address(), &sent, segment);
            let wanted: Vec<Vec<u8>> = sent.chunks(segment).map(<[u8]>::to_ascii_uppercase).collect();
            let got = exchange(&mut server, &mut client, wanted.len());
            let got: Vec<Vec<u8>> = got.into_iter().map(|(_, bytes)| bytes).collect();
            assert!(got == wanted, "{length} bytes in datagrams of {segment}, {arguments:?}");
        }
        assert_eq!(server.counters().udp_received, server.counters().udp_replied);
    }
}

#[test]
fn peers_and_sizes_in_one_batch_do_not_mix() {
    let mut server = server(&["--listen", "127.0.0.1:0"]);
    let mut clients: Vec<Client> = (0..5).map(|_| Client::bind("127.0.0.1:0")).collect();
    let sizes = [64, 64, 0, 65_507, 1, 64, 1_400, 1_400, 900, 0, 64];
    let mut owed: Vec<BTreeMap<Vec<u8>, usize>> = vec![BTreeMap::new(); clients.len()];
    for (round, &size) in sizes.iter().enumerate() {
        for (number, client) in clients.iter_mut().enumerate() {
            let sent = text(size, (round * 16 + number) as u8);
            client.send(server.address(), &sent, usize::MAX);
            *owed[number].entry(sent.to_ascii_uppercase()).or_default() += 1;
        }
    }
    for (number, client) in clients.iter_mut().enumerate() {
        for (from, bytes) in exchange(&mut server, client, sizes.len()) {
            assert_eq!(from, server.address());
            let left = owed[number].get_mut(&bytes).expect("a reply that this client is owed");
            *left -= 1;
        }
        assert!(owed[number].values().all(|&left| left == 0));
    }
    server.turn(Some(Duration::ZERO)).unwrap();
    assert!(clients.iter_mut().all(|client| client.received().is_empty()), "an answer too many");
}

#[test]
fn a_reply_leaves_from_the_address_that_was_asked() {
    for (listen, asked) in
        [("0.0.0.0:0", "127.0.0.2"), ("[::]:0", "::1"), ("[::]:0", "127.0.0.3"), ("[::ffff:0.0.0.0]:0", "127.0.0.3")]
    {
        if listen.contains(':') && std::net::UdpSocket::bind("[::1]:0").is_err() {
            println!("skipped: {asked} of {listen}: this host has no IPv6");
            continue;
        }
        let mut server = server(&["--listen", listen]);
        let address = SocketAddr::new(asked.parse().unwrap(), server.address().port());
        let mut client = Client::bind(if asked.contains(':') { "[::1]:0" } else { "127.0.0.1:0" });
        client.send(address, b"ababab", 2);
        for (from, bytes) in exchange(&mut server, &mut client, 3) {
            assert_eq!((from, bytes.as_slice()), (address, &b"AB"[..]), "asked {asked} of {listen}");
        }
    }
}

#[test]
fn a_broadcast_is_not_answered() {
    for listen in ["0.0.0.0:0", "[::]:0", "[::ffff:0.0.0.0]:0"] {
        if listen.contains(':') && std::net::UdpSocket::bind("[::1]:0").is_err() {
            println!("skipped: {listen}: this host has no IPv6");
            continue;
        }
        let mut server = server(&["--listen", listen]);
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_broadcast(true).unwrap();
        client.send_to(b"everybody?", ("127.255.255.255", server.address().port())).unwrap();
        client.send_to(b"you?", ("127.0.0.1", server.address().port())).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let end = Instant::now() + PATIENCE;
        while server.counters().udp_replied == 0 && Instant::now() < end {
            server.turn(Some(Duration::from_millis(10))).unwrap();
        }
        let mut buffer = [0; 64];
        let (length, _) = retried(|| client.recv_from(&mut buffer)).unwrap();
        assert_eq!(&buffer[..length], b"YOU?", "{listen}");
        assert_eq!((server.counters().udp_dropped_group, server.counters().udp_replied), (1, 1), "{listen}");
    }
}

#[test]
fn what_the_receive_buffer_cannot_hold_is_counted() {
    let mut server = server(&["--listen", "127.0.0.1:0", "--udp-recv-buffer", "4k"]);
    let mut client = Client::bind("127.0.0.1:0");
    for _ in 0..50 {
        client.send(server.address(), &[b'x'; 1_000], usize::MAX);
    }
    let got = exchange(&mut server, &mut client, 1).len() as u64;
    // The count of drops travels with the next datagram.
    client.send(server.address(), b"and?", usize::MAX);
    exchange(&mut server, &mut client, 1);
    let counters = server.counters();
    assert!(counters.udp_dropped_by_kernel > 0, "{counters:?}");
    assert!(counters.udp_received + counters.udp_dropped_by_kernel == 51, "{counters:?} {got}");
}
