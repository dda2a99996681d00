//! Servers that do one thing wrong at one very message: what the misbehaving server of `lab` cannot be told to do.

use std::io::{Read, Write};

use crate::servers::{DatagramServer, StreamServer, measure, run, upper_case};

#[test]
fn a_surplus_byte_is_corrupt_and_nothing_else() {
    let server = DatagramServer::start(|number, request, peer| {
        let mut answer = request.to_ascii_uppercase();
        answer.extend_from_slice(if number % 100 == 60 { b"!" } else { b"" });
        vec![(peer, answer)]
    });
    let (run, code) = measure(&[&server.url(), "-n", "1000", "-p", "16", "-w", "0"]);
    let counts = run.counts;
    assert_eq!((counts.corrupt, counts.wrong, counts.truncated, counts.lost), (10, 10, 0, 0), "{counts:?}");
    assert_eq!((counts.replied, run.latency.response.n, code, run.exit), (990, 990, 5, 5));
}

#[test]
fn an_answer_after_the_timeout_is_late_and_its_message_lost() {
    let mut held = None;
    let server = DatagramServer::start(move |number, request, peer| {
        let right = request.to_ascii_uppercase();
        // With one message in flight the next one comes only when this one has been given up.
        if number == 2 {
            held = Some((peer, right));
            return vec![];
        }
        held.take().into_iter().chain([(peer, right)]).collect()
    });
    for size in ["64", "8"] {
        let (run, code) = measure(&[&server.url(), "-n", "5", "-w", "0", "--timeout", "3s", "-s", size, "--seed", "5"]);
        let counts = run.counts;
        // The second run's requests are numbered from 5 on, and all answered.
        let expected = if size == "64" { (4, 1, 1) } else { (5, 0, 0) };
        assert_eq!((counts.replied, counts.lost, counts.late), expected, "{size} B: {counts:?}");
        assert_eq!((counts.corrupt, counts.duplicated, counts.stray, code), (0, 0, 0, 0), "{size} B: {counts:?}");
    }
}

#[test]
fn short_messages_are_verified_by_their_content() {
    // Message 2 is answered late and message 6 wrongly; none of them carries a number.
    let mut held = None;
    let server = DatagramServer::start(move |number, request, peer| {
        let mut right = request.to_ascii_uppercase();
        match number {
            2 => {
                held = Some((peer, right));
                return vec![];
            }
            6 => right[3] = right[3].wrapping_add(1),
            _ => {}
        }
        held.take().into_iter().chain([(peer, right)]).collect()
    });
    let (run, code) = measure(&[&server.url(), "-n", "10", "-p", "8", "-w", "0", "--timeout", "3s", "-s", "8"]);
    let counts = run.counts;
    assert_eq!((counts.replied, counts.lost, counts.late, counts.corrupt), (8, 1, 1, 1), "{counts:?}");
    assert_eq!((run.config.pipeline, code), (Some(1), 5));
}

#[test]
fn a_stream_may_come_in_pieces_of_any_size() {
    let server = StreamServer::start(3, |number, mut stream| {
        let mut buffer = vec![0; [1, 37, 5000][number]];
        stream.set_nodelay(true).unwrap();
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..length].to_ascii_uppercase()).is_err() {
                return;
            }
        }
    });
    let (run, code) = measure(&[&server.url(), "-c", "3", "-p", "7", "-n", "600", "-w", "0", "-s", "300"]);
    assert_eq!((run.counts.replied, run.counts.wrong, run.counts.lost, code), (600, 0, 0, 0), "{:?}", run.counts);
    assert_eq!((run.counts.bytes_sent, run.counts.bytes_received), (180_000, 180_000));
    assert_eq!((run.connections.opened, run.latency.connect.unwrap().n), (3, 3));
}

#[test]
fn a_wrong_byte_in_a_stream_costs_one_message() {
    let server = StreamServer::start(1, |_, mut stream| {
        let mut seen = 0;
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            for byte in &mut buffer[..length] {
                *byte = byte.to_ascii_uppercase() ^ u8::from(seen == 64 * 30 + 50 || seen == 64 * 70);
                seen += 1;
            }
            stream.write_all(&buffer[..length]).unwrap();
        }
    });
    let (run, code) = measure(&[&server.url(), "-c", "1", "-p", "4", "-n", "100", "-w", "0"]);
    assert_eq!((run.counts.corrupt, run.counts.wrong, run.counts.replied, code), (2, 2, 98, 5), "{:?}", run.counts);
}

#[test]
fn surplus_bytes_in_a_stream_are_stray() {
    let server = StreamServer::start(1, |_, mut stream| {
        let mut request = [0; 64];
        for number in 0..20 {
            stream.read_exact(&mut request).unwrap();
            let mut answer = request.to_ascii_uppercase();
            // The last one only: after it no message starts whose answer the surplus could be taken for.
            answer.extend_from_slice(if number == 19 { b"surplus" } else { b"" });
            stream.write_all(&answer).unwrap();
        }
        let _ = stream.read(&mut request);
    });
    let (run, _) = measure(&[&server.url(), "-c", "1", "-n", "20", "-w", "0"]);
    assert_eq!((run.counts.replied, run.counts.stray), (20, 1), "{:?}", run.counts);
}

#[test]
fn connections_that_break_are_told_apart_and_leave_the_others_alone() {
    let server = StreamServer::start(4, |number, mut stream| {
        let mut request = [0; 64];
        let endings = [Some(10), Some(20), Some(30), None];
        let mut answered = 0;
        while stream.read_exact(&mut request).is_ok() {
            if endings[number] == Some(answered) {
                match number {
                    0 => socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap(),
                    // Half an answer, and the end: in one segment, so that no second event announces the end.
                    #[cfg(target_os = "linux")]
                    1 => {
                        socket2::SockRef::from(&stream).set_tcp_cork(true).unwrap();
                        stream.write_all(&request[..32].to_ascii_uppercase()).unwrap();
                    }
                    #[cfg(not(target_os = "linux"))]
                    1 => stream.write_all(&request[..32].to_ascii_uppercase()).unwrap(),
                    _ => {}
                }
                return;
            }
            stream.write_all(&request.to_ascii_uppercase()).unwrap();
            answered += 1;
        }
    });
    let (run, code) = measure(&[&server.url(), "-c", "4", "-n", "500", "-w", "0"]);
    let counts = run.counts;
    assert_eq!((run.connections.reset, run.connections.closed), (1, 2), "{:?}", run.connections);
    assert_eq!((counts.sent, counts.lost, counts.truncated, counts.replied), (500, 2, 1, 497), "{counts:?}");
    assert_eq!(code, 5, "a truncated answer is a wrong answer");
}

#[test]
fn a_connection_that_owes_for_too_long_is_given_up() {
    let server = StreamServer::start(2, |number, mut stream| {
        if number == 1 {
            return upper_case(number, stream);
        }
        // Reads until the other side has had enough.
        while stream.read(&mut [0; 64]).is_ok_and(|length| length > 0) {}
    });
    let (run, code) = measure(&[&server.url(), "-c", "2", "-n", "100", "-p", "2", "-w", "0", "--timeout", "3s"]);
    let counts = run.counts;
    assert_eq!((run.connections.timeouts, counts.lost, counts.replied, code), (1, 2, 98, 0), "{counts:?}");
}

#[test]
fn without_any_reply_there_is_one_line_and_exit_code_1() {
    let silent = DatagramServer::start(|_, _, _| vec![]);
    let closing = StreamServer::start(1, |_, _| {});
    // Bound and dropped: nobody listens there now.
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (target, reason) in [
        (silent.url(), "was answered"),
        (closing.url(), "closed every connection"),
        (format!("udp://{free}"), "refused"),
        (format!("tcp://{free}"), "refused"),
    ] {
        let output = run(&[&target, "-c", "1", "-d", "500ms", "-w", "0", "--timeout", "300ms"]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{target}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{target}: {stderr}");
        assert!(stderr.to_lowercase().contains(reason) && stderr.contains(&target), "{target}: {stderr}");
        assert!(output.stdout.is_empty());
    }
}
