//! TCP as a client sees it: the same stream in upper case, however it was cut, and a clean end behind it.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use shout::connections::CHUNK_LEN;
use socket2::SockRef;

mod common;
use common::{
    End, PATIENCE, Running, ask, assert_same, exchange, has_ipv6, pattern, ping, ping_udp, read_some, rest_of, server,
    tcp, tcp_client, turn_until, turn_until_quiet, udp, udp_client, write_some,
};

/// Writes everything, then half-closes, while another thread reads to the end. A reset fails the read.
fn stream_through(address: SocketAddr, text: &[u8]) -> Vec<u8> {
    let mut client = tcp_client(address);
    let mut reader = client.try_clone().unwrap();
    let reading = std::thread::spawn(move || {
        let mut answer = Vec::new();
        reader.read_to_end(&mut answer).map(|_| answer)
    });
    client.write_all(text).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    reading.join().unwrap().expect("the stream must end with an end of file")
}

#[test]
fn ten_megabytes_come_back_byte_for_byte_before_the_end_of_file() {
    let server = Running::start(&[]);
    let text = pattern(10_000_000);
    assert_same(&stream_through(server.address, &text), &text.to_ascii_uppercase());
    let counters = server.end();
    assert_eq!((counters.tcp_received_bytes, counters.tcp_sent_bytes), (10_000_000, 10_000_000));
    assert_eq!((counters.tcp_finished, counters.tcp_broken), (1, 0));
}

#[test]
fn ten_megabytes_of_unicode_come_back_whole_although_lengths_change() {
    let server = Running::start(&["--case", "unicode"]);
    let text = "straße, ŉ, \u{390}, ﬁ, ı, 𐐨, grün, plain; ".repeat(10_000_000 / 48);
    assert_same(&stream_through(server.address, text.as_bytes()), text.to_uppercase().as_bytes());
}

#[test]
fn a_client_may_write_everything_before_it_reads() {
    let server = Running::start(&[]);
    let mut client = tcp_client(server.address);
    // As much as the two sockets of a connection hold, so that the write ends although nobody reads yet.
    let text = pattern(128 * 1024);
    client.write_all(&text).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_same(&answer, &text.to_ascii_uppercase());
}

#[test]
fn an_empty_stream_gets_an_empty_answer() {
    let mut server = server(&[]);
    let mut client = tcp(&server);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest_of(&mut server, &mut client), (Vec::new(), End::Clean));
    assert_eq!((server.counters().tcp_finished, server.connections().0), (1, 0));
}

/// A read stops at an urgent byte (RFC 6093), although more stands behind it that no event announces again.
#[test]
fn urgent_data_is_part_of_the_stream_and_hides_nothing_behind_it() {
    // First on a connection that is accepted with everything in its queue, then on one that has been served.
    for greeting in [&b""[..], b"hello"] {
        let mut server = server(&[]);
        let mut client = tcp(&server);
        if !greeting.is_empty() {
            assert_eq!(exchange(&mut server, &mut client, greeting, greeting.len()), b"HELLO");
        }
        assert_eq!(write_some(&mut client, b"before "), 7);
        assert_eq!(SockRef::from(&client).send_out_of_band(b"!").unwrap(), 1);
        assert_eq!(exchange(&mut server, &mut client, b" behind", 15), b"BEFORE ! BEHIND");
        // What comes late behind the mark is no different.
        assert_eq!(exchange(&mut server, &mut client, b"and on", 6), b"AND ON");
    }
}

/// The kernel reports data and end of file that come together once; after a short read nothing announces the end.
#[test]
fn an_end_that_comes_together_with_data_is_not_missed() {
    for length in [1, 1000, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1] {
        let text = pattern(length);
        // First on a connection that is accepted with everything in its queue, then on one that has been served.
        for greeting in [&b""[..], b"hello"] {
            let mut server = server(&["--tcp-recv-buffer", "1MiB"]);
            let mut client = tcp(&server);
            if !greeting.is_empty() {
                assert_eq!(exchange(&mut server, &mut client, greeting, greeting.len()), b"HELLO");
            }
            SockRef::from(&client).set_send_buffer_size(1 << 20).unwrap();
            assert_eq!(write_some(&mut client, &text), length, "the buffers must hold it all");
            client.shutdown(Shutdown::Write).unwrap();
            let (answer, end) = rest_of(&mut server, &mut client);
            assert_same(&answer, &text.to_ascii_uppercase());
            assert_eq!((end, server.connections()), (End::Clean, (0, 0)));
        }
    }
}

#[test]
fn a_byte_of_every_value_passes_and_only_letters_change() {
    let mut server = server(&[]);
    let mut client = tcp(&server);
    let every: Vec<u8> = (0..=255).collect();
    assert_eq!(exchange(&mut server, &mut client, &every, 256), every.to_ascii_uppercase());
    // And each on its own, in a segment of one byte.
    for byte in every {
        assert_eq!(exchange(&mut server, &mut client, &[byte], 1), [byte.to_ascii_uppercase()]);
    }
}

#[test]
fn a_thousand_pipelined_lines_come_back_in_order() {
    let mut server = server(&[]);
    let mut client = tcp(&server);
    let lines = (0..1000).map(|number| format!("line {number} of the stream\n")).collect::<Vec<_>>().concat();
    let answer = exchange(&mut server, &mut client, lines.as_bytes(), lines.len());
    assert_same(&answer, lines.to_ascii_uppercase().as_bytes());
}

#[test]
fn a_unicode_character_may_be_cut_anywhere() {
    let mut server = server(&["--case", "unicode"]);
    let mut client = tcp(&server);
    let text = "aßŉ\u{390}ﬁ𐐨z";
    let wanted = text.to_uppercase().into_bytes();
    let mut received = 0;
    for cut in 0..=text.len() {
        let mut answer = Vec::new();
        for part in [&text.as_bytes()[..cut], &text.as_bytes()[cut..]] {
            assert_eq!(write_some(&mut client, part), part.len());
            received += part.len() as u64;
            // The server has read this part and nothing of the next, so that the cut is where it should be.
            turn_until(&mut server, "the part", |server| server.counters().tcp_received_bytes == received);
        }
        turn_until(&mut server, "the answer", |_| {
            read_some(&mut client, &mut answer).unwrap();
            answer.len() >= wanted.len()
        });
        assert_eq!(answer, wanted, "cut after {cut} bytes");
    }
    // The beginning of a character that never gets its end goes out as it is, before the end of file.
    write_some(&mut client, b"x\xf0\x90\x90");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest_of(&mut server, &mut client), (b"X\xf0\x90\x90".to_vec(), End::Clean));
}

#[test]
fn a_reset_in_mid_stream_leaves_the_others_unharmed() {
    let mut server = server(&[]);
    let mut staying: Vec<TcpStream> = (0..5).map(|_| tcp(&server)).collect();
    for round in 0..20_u8 {
        let mut leaving = tcp(&server);
        // Every other one leaves while it is owed something that it never read, the rest in the middle of a message.
        let text = if round % 2 == 0 { pattern(1_000_000) } else { b"half of a".to_vec() };
        write_some(&mut leaving, &text);
        server.turn(Some(Duration::ZERO)).unwrap();
        SockRef::from(&leaving).set_linger(Some(Duration::ZERO)).unwrap();
        drop(leaving);
        for (number, client) in (0_u8..).zip(&mut staying) {
            assert_eq!(exchange(&mut server, client, &[b'a' + number, round], 2), [b'A' + number, round]);
        }
    }
    turn_until(&mut server, "the last reset", |server| server.connections() == (5, 0));
    let counters = server.counters();
    assert_eq!((counters.tcp_accepted, counters.tcp_broken), (25, 20));
}

#[test]
fn a_peer_that_never_reads_costs_one_chunk_until_it_is_closed() {
    let mut server = server(&["--stall-timeout", "1s"]);
    let (mut stalled, mut other, datagrams) = (tcp(&server), tcp(&server), udp(&server));
    let flood = pattern(1 << 20);
    let mut sent = 0;
    // Much more than any socket holds is pushed, and the server never keeps more than one chunk of it.
    turn_until(&mut server, "the stall to be closed", |server| {
        match stalled.write(&flood) {
            Ok(length) => sent += length,
            // The server closed it with input unread, and that is a reset.
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
                "{error}"
            ),
        }
        let (_, unsent) = server.connections();
        assert!(unsent <= CHUNK_LEN, "{unsent} bytes are kept for one peer");
        // On a busy machine the kernel, which has the same patience (TCP_USER_TIMEOUT), may come first.
        server.counters().tcp_closed_stalled + server.counters().tcp_broken == 1
    });
    assert!(sent > CHUNK_LEN, "only {sent} bytes went in, which proves nothing");
    assert_eq!(exchange(&mut server, &mut other, b"still here", 10), b"STILL HERE");
    assert_eq!(ask(&mut server, &datagrams, b"and here"), b"AND HERE");
    assert_eq!(server.connections(), (1, 0));
    assert!(server.counters().tcp_unsent_lost_bytes > 0);
}

#[test]
fn others_are_served_while_a_peer_does_not_read_and_it_gets_all_once_it_does() {
    let mut server = server(&[]);
    let (mut stalled, mut other, datagrams) = (tcp(&server), tcp(&server), udp(&server));
    let text = pattern(1 << 20);
    let (mut sent, mut quiet) = (Vec::new(), false);
    while !quiet {
        let length = write_some(&mut stalled, &text);
        sent.extend_from_slice(&text[..length]);
        turn_until_quiet(&mut server);
        quiet = length == 0;
    }
    assert!(server.connections().1 > 0, "the peer is owed something that its sockets do not hold");
    assert_eq!(exchange(&mut server, &mut other, b"not held up", 11), b"NOT HELD UP");
    assert_eq!(ask(&mut server, &datagrams, b"nor here"), b"NOR HERE");
    stalled.shutdown(Shutdown::Write).unwrap();
    let (answer, end) = rest_of(&mut server, &mut stalled);
    assert_same(&answer, &sent.to_ascii_uppercase());
    assert_eq!(end, End::Clean);
}

#[test]
fn a_flood_on_one_connection_does_not_starve_the_others() {
    let server = Running::start(&[]);
    let (address, text) = (server.address, pattern(30_000_000));
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| stream_through(address, &text));
        let (mut client, datagrams) = (tcp_client(address), udp_client(address));
        for round in 0..200_u8 {
            assert_eq!(ping(&mut client, &[b'p', round]), [b'P', round.to_ascii_uppercase()]);
            assert_eq!(ping_udp(&datagrams, address, &[b'q', round]), [b'Q', round.to_ascii_uppercase()]);
        }
        assert_same(&flood.join().unwrap(), &text.to_ascii_uppercase());
    });
}

#[test]
fn a_flood_of_datagrams_does_not_starve_connections() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let server = Running::start(&[]);
    let (address, over) = (server.address, AtomicBool::new(false));
    let (begun, begins) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let over = &over;
        let flood = scope.spawn(move || {
            let (socket, text) = (udp_client(address), pattern(64));
            let (start, mut sent) = (std::time::Instant::now(), 0_u64);
            while !over.load(Ordering::Relaxed) && start.elapsed() < PATIENCE {
                // A full queue may refuse one; the flood goes on.
                if socket.send_to(&text, address).is_ok() {
                    sent += 1;
                    if sent == 1_000 {
                        // Nobody waits for it any more where the pings have failed.
                        let _ = begun.send(());
                    }
                }
            }
            sent
        });
        // A failing assertion must end the flood too, or the scope would wait for it.
        let pings = scope.spawn(move || {
            let mut client = tcp_client(address);
            // On a busy machine the pings could otherwise be over before the flood has begun.
            begins.recv_timeout(PATIENCE).expect("the flood does not begin");
            (0..200_u8).all(|round| ping(&mut client, &[b'p', round]) == [b'P', round.to_ascii_uppercase()])
        });
        let all = pings.join();
        over.store(true, Ordering::Relaxed);
        assert!(all.unwrap(), "a wrong answer");
        assert!(flood.join().unwrap() >= 1_000, "that was no flood");
    });
    let counters = server.end();
    assert!(counters.udp_received > 0 && counters.tcp_received_bytes == 400);
}

#[test]
fn ipv6_is_served_alone_and_together_with_ipv4() {
    if !has_ipv6() {
        return;
    }
    for (listen, clients) in [("[::1]:0", &["::1"][..]), ("[::]:0", &["127.0.0.1", "::1"])] {
        let server = Running::start(&["--listen", listen]);
        for ip in clients {
            let address = SocketAddr::new(ip.parse::<IpAddr>().unwrap(), server.address.port());
            let text = pattern(100_000);
            assert_same(&stream_through(address, &text), &text.to_ascii_uppercase());
        }
    }
}
