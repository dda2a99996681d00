//! The client over UDP: lost, late, foreign and over-long datagrams, and pipes of lines.

mod common;

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::net::UdpSocket;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::mpsc;
use std::thread;

use common::{
    PATIENCE, Running, all, assert_ended, client, patient_client, piped_client, receive, refusing_udp, serve_udp,
};

/// The longest datagram of the service, in bytes.
const LONGEST: usize = 65_507;

fn url(port: u16) -> String {
    format!("udp://127.0.0.1:{port}")
}

/// Answers so many datagrams as the service should; its thread returns what was asked.
fn shouting(datagrams: usize) -> (u16, thread::JoinHandle<Vec<Vec<u8>>>) {
    serve_udp(move |socket| {
        let answered = (0..datagrams).map(|_| {
            let (text, peer) = receive(&socket);
            socket.send_to(&text.to_ascii_uppercase(), peer).unwrap();
            text
        });
        answered.collect()
    })
}

#[test]
fn one_shot_is_one_datagram() {
    let (port, server) = shouting(1);
    let output = patient_client(&[&url(port), "--", "hello,", "--world", "straße"]).output().unwrap();
    assert_ended(&output, 0, "HELLO, --WORLD STRAßE\n".as_bytes(), "");
    assert_eq!(server.join().unwrap(), [b"hello, --world stra\xc3\x9fe"]);
}

#[test]
fn bytes_that_are_no_text_pass() {
    let (port, _server) = shouting(1);
    let output = patient_client(&[&url(port), "--"]).arg(OsStr::from_bytes(b"a\xff\x1bz")).output().unwrap();
    assert_ended(&output, 0, b"A\xff\x1bZ\n", "");
}

#[test]
fn an_answer_may_be_longer_than_its_line() {
    let (port, _server) = serve_udp(|socket| {
        let (text, peer) = receive(&socket);
        let text = String::from_utf8(text).unwrap().to_uppercase();
        socket.send_to(text.as_bytes(), peer).unwrap();
    });
    let output = patient_client(&[&url(port), "--", "straße"]).output().unwrap();
    assert_ended(&output, 0, b"STRASSE\n", "");
}

#[test]
fn each_line_of_a_pipe_is_a_datagram() {
    for input in [&b""[..], b"\n", b"no end", b"one\n\ntwo\r\n", b"same\nsame\nSame\n", b"\0\xff\n\x1b[2Jx\n"] {
        let lines: Vec<_> = input.split_inclusive(|byte| *byte == b'\n').collect();
        let (port, server) = shouting(lines.len());
        let output = patient_client(&[&url(port)]).write_stdin(input).output().unwrap();
        assert_ended(&output, 0, &input.to_ascii_uppercase(), "");
        let asked = server.join().unwrap();
        let expected: Vec<_> = lines.iter().map(|line| line.strip_suffix(b"\n").unwrap_or(line)).collect();
        assert_eq!(asked, expected);
    }
}

/// The lines of a slow input are answered one by one, not at the end.
#[test]
fn an_answer_is_printed_as_it_comes() {
    let (port, _server) = shouting(2);
    let mut client = Running::start(&mut piped_client(&[&url(port)]));
    let (mut stdin, mut stdout) = (client.stdin(), client.stdout());
    for line in ["one\n", "two\n"] {
        stdin.write_all(line.as_bytes()).unwrap();
        let mut answer = vec![0; line.len()];
        stdout.read_exact(&mut answer).unwrap();
        assert_eq!(answer, line.to_uppercase().as_bytes());
    }
    drop(stdin);
    assert_eq!(all(stdout), b"");
    assert_eq!(client.end(), (Some(0), String::new()));
}

#[test]
fn a_lost_datagram_is_sent_again() {
    let (port, server) = serve_udp(|socket| {
        let (first, _) = receive(&socket);
        let (second, peer) = receive(&socket);
        socket.send_to(&second.to_ascii_uppercase(), peer).unwrap();
        (first, second)
    });
    let output = client(&["--timeout", "100ms", "--retries", "600", &url(port), "--", "x"]).output().unwrap();
    assert_ended(&output, 0, b"X\n", "");
    assert_eq!(server.join().unwrap(), (b"x".to_vec(), b"x".to_vec()));
}

#[test]
fn late_duplicates_of_earlier_answers_are_ignored() {
    let (port, server) = serve_udp(|socket| {
        let mut earlier: Vec<Vec<u8>> = Vec::new();
        for _line in 0..4 {
            let (text, peer) = receive(&socket);
            for late in &earlier {
                socket.send_to(late, peer).unwrap();
            }
            let answer = text.to_ascii_uppercase();
            socket.send_to(&answer, peer).unwrap();
            earlier.push(answer);
        }
    });
    // The last line equals the first: the first one's late answer is as good an answer as its own.
    let output = patient_client(&[&url(port)]).write_stdin("one\ntwo\n\none\n").output().unwrap();
    assert_ended(&output, 0, b"ONE\nTWO\n\nONE\n", "");
    server.join().unwrap();
}

/// A stranger knows the client's port and sends what would pass for an answer, before the server does.
#[test]
fn datagrams_from_elsewhere_are_ignored() {
    let (port, _server) = serve_udp(|socket| {
        let (_, peer) = receive(&socket);
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        stranger.send_to(b"STRASSE", peer).unwrap();
        socket.send_to("STRAßE".as_bytes(), peer).unwrap();
    });
    let output = patient_client(&[&url(port), "--", "straße"]).output().unwrap();
    assert_ended(&output, 0, "STRAßE\n".as_bytes(), "");
}

#[test]
fn a_line_without_an_answer_stops_the_pipe() {
    let (port, server) = serve_udp(|socket| {
        let (text, peer) = receive(&socket);
        socket.send_to(&text.to_ascii_uppercase(), peer).unwrap();
        let mut asked = Vec::new();
        for _attempt in 0..2 {
            let (text, peer) = receive(&socket);
            // Cut like the answer of a server with a small buffer, and not upper case like a plain echo's.
            socket.send_to(b"TW", peer).unwrap();
            socket.send_to(b"two", peer).unwrap();
            asked.push(text);
        }
        asked
    });
    let arguments = ["--timeout", "1s", "--retries", "1", &url(port)];
    let output = client(&arguments).write_stdin("one\ntwo\nthree\n").output().unwrap();
    let line = format!(
        "shout-client: line 2: no answer from {}: sent 2 times, waited 1s each time, ignored 4 that did not match\n",
        url(port)
    );
    assert_ended(&output, 1, b"ONE\n", &line);
    assert_eq!(server.join().unwrap(), [b"two", b"two"]);
}

/// Whatever comes in the meantime, an attempt lasts as long as the timeout and no longer.
#[test]
fn a_flood_of_other_datagrams_does_not_stretch_the_wait() {
    let (stop, stopped) = mpsc::channel::<()>();
    let (port, server) = serve_udp(move |socket| {
        let (_, peer) = receive(&socket);
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            // Refused once the client is gone.
            let _ = socket.send_to(b"OTHER", peer);
        }
    });
    let output = client(&["--timeout", "200ms", "--retries", "0", &url(port), "--", "x"]).output().unwrap();
    drop(stop);
    server.join().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn ipv6_is_spoken() {
    let Ok(socket) = UdpSocket::bind("[::1]:0") else {
        eprintln!("skipped: there is no ::1");
        return;
    };
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let url = format!("udp://[::1]:{}", socket.local_addr().unwrap().port());
    let server = thread::spawn(move || {
        let (text, peer) = receive(&socket);
        socket.send_to(&text.to_ascii_uppercase(), peer).unwrap();
    });
    let output = patient_client(&[&url, "--", "six"]).output().unwrap();
    assert_ended(&output, 0, b"SIX\n", "");
    server.join().unwrap();
}

#[test]
fn no_retries_means_one_attempt() {
    let (port, server) = serve_udp(|socket| {
        receive(&socket);
        socket
    });
    let output = client(&["--timeout", "50ms", "--retries", "0", &url(port), "--", "x"]).output().unwrap();
    let line = format!("shout-client: no answer from {}: sent once, waited 50ms each time\n", url(port));
    assert_ended(&output, 1, b"", &line);
    let socket = server.join().unwrap();
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0]).is_err(), "a second datagram came");
}

#[test]
fn no_server_is_said() {
    let (_socket, port) = refusing_udp();
    let output = patient_client(&[&url(port), "--", "x"]).output().unwrap();
    assert_ended(&output, 1, b"", &format!("shout-client: no server at {}\n", url(port)));
    let output = patient_client(&[&url(port)]).write_stdin("x\ny\n").output().unwrap();
    assert_ended(&output, 1, b"", &format!("shout-client: line 1: no server at {}\n", url(port)));
}

#[test]
fn the_longest_line_passes() {
    let (port, server) = shouting(2);
    let line = "x".repeat(LONGEST);
    let input = format!("{line}\n{line}");
    let output = patient_client(&[&url(port)]).write_stdin(input.clone()).output().unwrap();
    assert_ended(&output, 0, input.to_uppercase().as_bytes(), "");
    assert!(server.join().unwrap().iter().all(|asked| asked.len() == LONGEST));
}

#[test]
fn a_line_too_long_is_refused_and_not_sent() {
    let why = "the line is too long for a datagram: more than 65507 bytes\n";
    let too_long = "x".repeat(LONGEST + 1);
    for end in ["", "\n", "yyy\nmore\n"] {
        let (port, server) = shouting(1);
        let input = format!("one\n{too_long}{end}");
        let output = patient_client(&[&url(port)]).write_stdin(input).output().unwrap();
        assert_ended(&output, 1, b"ONE\n", &format!("shout-client: line 2: {why}"));
        assert_eq!(server.join().unwrap(), [b"one"]);
    }
    let (port, _server) = shouting(1);
    let output = patient_client(&[&url(port), "--", &too_long]).output().unwrap();
    assert_ended(&output, 1, b"", &format!("shout-client: {why}"));
}

#[test]
fn a_closed_stdout_ends_quietly() {
    let (port, _server) = shouting(1);
    let mut client = Running::start(&mut piped_client(&[&url(port)]));
    drop(client.stdout());
    let mut stdin = client.stdin();
    stdin.write_all(b"x\n").unwrap();
    assert_eq!(client.end(), (Some(0), String::new()));
}
