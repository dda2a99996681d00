//! Servers that are not there to the end of a search or of a sweep: no bound and no curve may be made of that.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::process::Output;
use std::thread;

use crate::servers::run;

/// So many messages are answered on a transport that does not stay: more than the warm-up has, and fewer than it has
/// together with the longest trial.
const ANSWERED: usize = 800;

/// For a transport that stays to the end.
const ALL: usize = usize::MAX;

const SEARCH: [&str; 9] = ["--slo", "p90<30s", "--bounds", "500:2k", "--trial", "200ms", "--confirm", "4s", "-c1"];
const SWEEP: [&str; 5] = ["--rates", "1k:2k:500", "-d", "2s", "-c1"];

/// A server that answers so many messages on each transport and then closes its socket, and its port.
fn server(scheme: &str, datagrams: usize, stream: usize) -> String {
    let (socket, listener) = on_one_port();
    let target = format!("{scheme}://{}", socket.local_addr().unwrap());
    thread::spawn(move || answer_datagrams(&socket, datagrams));
    thread::spawn(move || answer_stream(&listener, stream));
    target
}

fn on_one_port() -> (UdpSocket, TcpListener) {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()) {
            return (socket, listener);
        }
    }
}

fn answer_datagrams(socket: &UdpSocket, number: usize) {
    let mut buffer = [0; 2048];
    for _ in 0..number {
        let (length, peer) = socket.recv_from(&mut buffer).unwrap();
        // Whoever asked may be gone.
        let _ = socket.send_to(&buffer[..length].to_ascii_uppercase(), peer);
    }
}

fn answer_stream(listener: &TcpListener, number: usize) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut message = [0; 64];
    for _ in 0..number {
        if stream.read_exact(&mut message).and_then(|()| stream.write_all(&message.to_ascii_uppercase())).is_err() {
            return;
        }
    }
}

/// One line that names the target and says one of these words, no result, and the exit code of what could not be done.
fn assert_given_up(output: &Output, target: &str, words: &[&str]) {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((output.status.code(), &*stdout), (Some(1), ""), "{stderr}");
    assert!(stderr.contains(target) && stderr.lines().count() == 1, "{stderr}");
    assert!(words.iter().any(|words| stderr.contains(words)), "{stderr} says none of {words:?}");
}

#[test]
fn a_server_that_ends_in_the_middle_gets_no_bound_and_no_curve() {
    // What is said hangs on whether the end comes to be known in the trial in which it falls or in the next.
    let refused = &["nobody listened at its port", "connection refused"][..];
    let closed = &["no TCP connection is left", "the server closed every connection"][..];
    for (scheme, datagrams, stream, words) in [
        ("udp", ANSWERED, ALL, refused),
        ("tcp", ALL, ANSWERED, closed),
        ("echo", ANSWERED, ALL, refused),
        ("echo", ALL, ANSWERED, closed),
    ] {
        for (command, options) in [("search", &SEARCH[..]), ("sweep", &SWEEP[..])] {
            let target = server(scheme, datagrams, stream);
            let output = run(&[&[command, &target], options].concat());
            assert_given_up(&output, &target, words);
        }
    }
}

#[test]
fn a_server_that_falls_silent_gets_no_bound() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = format!("udp://{}", socket.local_addr().unwrap());
    let open = socket.try_clone().unwrap();
    thread::spawn(move || answer_datagrams(&socket, ANSWERED));
    let output = run(&[&["search", &target], &SEARCH[..]].concat());
    assert_given_up(&output, &target, &["it fell silent"]);
    drop(open);
}

#[test]
fn a_search_without_any_bound_does_not_end_as_one_that_found_something() {
    let target = server("udp", ALL, ALL);
    // Of a hundred messages nobody can say whether one in ten thousand takes longer.
    let limits = ["--slo", "p99.99<30s", "--bounds", "500:1k", "--trial", "50ms", "--confirm", "100ms"];
    let output = run(&[&["search", &target], &limits[..]].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.code() == Some(4) && text.contains("no answer"), "{text}");
}
