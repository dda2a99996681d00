//! UDP as a client sees it: every datagram answered once, whole, from the address that was asked, or not at all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

mod common;
use common::{
    ask, assert_same, exchange, has_ipv6, pattern, receive, server, tcp, turn_until, turn_until_quiet, udp, write_some,
};

/// Datagrams many at a time, where the system can, and one by one: a client must not notice which.
const UDP_IO: [&str; 2] = ["auto", "portable"];

#[test]
fn a_datagram_of_any_length_comes_back_whole() {
    for how in UDP_IO {
        let mut server = server(&["--udp-io", how]);
        let client = udp(&server);
        for length in [0, 1, 2, 63, 64, 255, 1472, 1473, 2049, 9000, 32_768, 65_506, 65_507] {
            let text = pattern(length);
            assert_same(&ask(&mut server, &client, &text), &text.to_ascii_uppercase());
        }
        let counters = server.counters();
        assert_eq!((counters.udp_received, counters.udp_replied), (13, 13));
        assert_eq!(counters.udp_received_bytes, counters.udp_replied_bytes);
    }
}

#[test]
fn every_datagram_in_flight_is_answered_once_with_its_own_boundaries() {
    const DATAGRAMS: usize = 120;
    for how in UDP_IO {
        let mut server = server(&["--udp-io", how]);
        let clients: Vec<UdpSocket> = (0..3).map(|_| udp(&server)).collect();
        // Runs of one client and one size, as a server might join them, between sizes and clients that change each time.
        let size = |index: usize| if index % 40 < 20 { 48 } else { index * 37 % 700 };
        let client_of = |index: usize| if index % 40 < 20 { 0 } else { index % clients.len() };
        let text = |index: usize| {
            let mut text = pattern(size(index).max(8));
            text[..8].copy_from_slice(&(index as u64).to_le_bytes().map(|byte| byte | 0x80));
            text
        };
        let mut wanted: Vec<HashMap<Vec<u8>, usize>> = vec![HashMap::new(); clients.len()];
        for index in 0..DATAGRAMS {
            clients[client_of(index)].send_to(&text(index), server.address()).unwrap();
            *wanted[client_of(index)].entry(text(index).to_ascii_uppercase()).or_default() += 1;
        }
        turn_until(&mut server, "all replies", |server| server.counters().udp_replied == DATAGRAMS as u64);
        turn_until_quiet(&mut server);
        let (mut buffer, mut got) = (vec![0; 65_536], vec![HashMap::new(); clients.len()]);
        for (client, got) in clients.iter().zip(&mut got) {
            while let Some((length, from)) = receive(client, &mut buffer) {
                assert_eq!(from, server.address());
                *got.entry(buffer[..length].to_vec()).or_default() += 1;
            }
        }
        assert!(got == wanted, "replies were lost, joined, cut, doubled or sent to the wrong client");
    }
}

#[test]
fn a_full_queue_of_datagrams_does_not_put_off_a_connection() {
    // More than one turn receives, and no more than the smallest usual receive buffer holds.
    const DATAGRAMS: u64 = 500;
    for how in UDP_IO {
        let mut server = server(&["--udp-io", how]);
        let (client, mut stream) = (udp(&server), tcp(&server));
        assert_eq!(exchange(&mut server, &mut stream, b"hello", 5), b"HELLO");
        turn_until_quiet(&mut server);
        for _ in 0..DATAGRAMS {
            client.send_to(b"x", server.address()).unwrap();
        }
        assert_eq!(write_some(&mut stream, b"me too"), 6);
        server.turn(Some(Duration::ZERO)).unwrap();
        let counters = server.counters();
        assert!(counters.udp_received < DATAGRAMS, "one turn took them all");
        assert_eq!(counters.tcp_sent_bytes, 11, "the connection waited for the datagrams");
        turn_until(&mut server, "the rest", |server| server.counters().udp_replied == DATAGRAMS);
    }
}

#[test]
fn a_client_that_has_gone_costs_nobody_else_a_reply() {
    let mut server = server(&[]);
    let staying = udp(&server);
    for round in 0..20_u8 {
        let leaving = udp(&server);
        leaving.send_to(b"nobody waits for this", server.address()).unwrap();
        drop(leaving);
        assert_eq!(ask(&mut server, &staying, &[b'a', round]), [b'A', round]);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_datagram_from_source_port_0_is_dropped_and_counted() {
    for how in UDP_IO {
        let mut server = server(&["--udp-io", how]);
        let raw = match Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)) {
            Ok(raw) => raw,
            Err(error) => return println!("skipped: forging a source port takes a raw socket: {error}"),
        };
        // The UDP header of RFC 768: source port, destination port, length, and no checksum, which IPv4 allows.
        let text = b"where to?";
        let mut packet = Vec::new();
        for field in [0, server.address().port(), 8 + text.len() as u16, 0] {
            packet.extend_from_slice(&field.to_be_bytes());
        }
        packet.extend_from_slice(text);
        raw.send_to(&packet, &server.address().into()).unwrap();
        turn_until(&mut server, "the datagram", |server| server.counters().udp_received == 1);
        // The one behind it is none the worse for it.
        let client = udp(&server);
        assert_eq!(ask(&mut server, &client, b"me"), b"ME");
        let counters = server.counters();
        assert_eq!((counters.udp_dropped_source_port, counters.udp_dropped_send_error), (1, 0));
    }
}

/// A client on the server's own port number, as another server of this kind would be.
#[cfg(target_os = "linux")]
fn twin(server: &shout::server::Server) -> UdpSocket {
    let twin = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), server.address().port())).unwrap();
    twin.set_nonblocking(true).unwrap();
    twin
}

#[test]
#[cfg(target_os = "linux")]
fn a_datagram_from_the_servers_own_port_is_dropped_and_counted() {
    for how in UDP_IO {
        let mut server = server(&["--udp-io", how]);
        let (twin, client) = (twin(&server), udp(&server));
        twin.send_to(b"echo this for ever", server.address()).unwrap();
        assert_eq!(ask(&mut server, &client, b"me"), b"ME");
        assert_eq!(receive(&twin, &mut [0; 64]), None);
        assert_eq!((server.counters().udp_received, server.counters().udp_dropped_source_port), (2, 1));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_datagram_from_the_servers_own_port_is_answered_where_that_is_allowed() {
    let mut server = server(&["--allow-source-port-own"]);
    let twin = twin(&server);
    assert_eq!(ask(&mut server, &twin, b"once"), b"ONCE");
    assert_eq!(server.counters().udp_dropped_source_port, 0);
}

#[test]
fn a_unicode_reply_may_be_longer_than_its_request_but_not_than_a_datagram() {
    for how in UDP_IO {
        let mut server = server(&["--udp-io", how, "--case", "unicode"]);
        let client = udp(&server);
        assert_eq!(ask(&mut server, &client, "straße ŉ".as_bytes()), "STRASSE ʼN".as_bytes());
        assert_eq!(ask(&mut server, &client, "\u{390}".as_bytes()), "\u{399}\u{308}\u{301}".as_bytes());
        // Each datagram stands alone: a character cut at its end is not finished by the next one.
        assert_eq!(ask(&mut server, &client, b"a\xc3"), b"A\xc3");
        assert_eq!(ask(&mut server, &client, b"\x9fb"), b"\x9fB");
        // Two bytes become three: 21,835 times that is 65,505 bytes, and once more is too long.
        let fits = "ŉ".repeat(21_835);
        assert_same(&ask(&mut server, &client, fits.as_bytes()), fits.to_uppercase().as_bytes());
        client.send_to("ŉ".repeat(21_836).as_bytes(), server.address()).unwrap();
        assert_eq!(ask(&mut server, &client, b"next"), b"NEXT");
        assert_eq!((server.counters().udp_dropped_too_long, server.counters().udp_dropped_send_error), (1, 0));
    }
}

#[test]
fn ipv6_is_served() {
    if !has_ipv6() {
        return;
    }
    let mut server = server(&["--listen", "[::1]:0"]);
    let client = udp(&server);
    let text = pattern(65_507);
    assert_same(&ask(&mut server, &client, &text), &text.to_ascii_uppercase());
    assert_eq!(ask(&mut server, &client, b""), b"");
}

#[test]
fn the_unspecified_ipv6_address_serves_both_families() {
    if !has_ipv6() {
        return;
    }
    let mut server = server(&["--listen", "[::]:0"]);
    let port = server.address().port();
    let mut buffer = [0; 64];
    for ip in ["127.0.0.1", "::1"].map(|ip| ip.parse::<IpAddr>().unwrap()) {
        let asked = SocketAddr::new(ip, port);
        let client = UdpSocket::bind((ip, 0)).unwrap();
        client.set_nonblocking(true).unwrap();
        client.send_to(b"both", asked).unwrap();
        turn_until(&mut server, "a reply", |_| {
            receive(&client, &mut buffer).inspect(|&(length, from)| assert_eq!((length, from), (4, asked))).is_some()
        });
        assert_eq!(&buffer[..4], b"BOTH");
    }
}
