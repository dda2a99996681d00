//! The client over TCP: one shot, whole streams, and servers that end badly.

mod common;

use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::{
    Running, all, assert_ended, client, patient_client, piped_client, refusing_tcp, retried, serve_tcp, shout, text,
};
use rustix::process::Signal;

fn url(port: u16) -> String {
    format!("tcp://127.0.0.1:{port}")
}

#[test]
fn one_shot_joins_the_words_and_ends_the_line() {
    let port = serve_tcp(shout);
    let output = patient_client(&[&url(port), "--", "hello,", "--world", "straße"]).output().unwrap();
    assert_ended(&output, 0, "HELLO, --WORLD STRAßE\n".as_bytes(), "");
}

#[test]
fn one_shot_sends_bytes_that_are_no_text() {
    let port = serve_tcp(shout);
    let output = patient_client(&[&url(port), "--"]).arg(OsStr::from_bytes(b"a\xff\x1bz")).output().unwrap();
    assert_ended(&output, 0, b"A\xff\x1bZ\n", "");
}

#[test]
fn one_shot_takes_an_answer_of_any_length() {
    let port = serve_tcp(|mut connection| {
        let text = String::from_utf8(all(&connection)).unwrap();
        connection.write_all(text.to_uppercase().as_bytes()).unwrap();
    });
    let output = patient_client(&[&url(port), "--", "straße ŉ ΐ"]).output().unwrap();
    assert_ended(&output, 0, "STRASSE ʼN \u{399}\u{308}\u{301}\n".as_bytes(), "");
}

#[test]
fn one_shot_gives_up_on_a_silent_server() {
    let (connections, open) = mpsc::channel();
    let port = serve_tcp(move |connection| connections.send(connection).unwrap());
    let output = client(&["--timeout", "200ms", &url(port), "--", "x"]).output().unwrap();
    assert_ended(&output, 1, b"", &format!("shout-client: no answer from {} within 200ms\n", url(port)));
    drop(open);
}

#[test]
fn no_server_is_said() {
    let (_socket, port) = refusing_tcp();
    for arguments in [&[&url(port)[..], "--", "x"][..], &[&url(port)]] {
        let output = patient_client(arguments).write_stdin("x\n").output().unwrap();
        assert_ended(&output, 1, b"", &format!("shout-client: no server at {}\n", url(port)));
    }
}

#[test]
fn a_stream_comes_back_byte_for_byte() {
    let port = serve_tcp(shout);
    for input in [&b""[..], b"\n", b"no end", b"two\nlines\r\n", b"\0\xff\xfe\x1b[2Jx\n"] {
        let output = patient_client(&[&url(port)]).write_stdin(input).output().unwrap();
        assert_ended(&output, 0, &input.to_ascii_uppercase(), "");
    }
}

/// The server says nothing before the client's end of file: without the half-close both would wait for ever.
#[test]
fn the_end_of_the_input_reaches_a_server_that_waits_for_it() {
    let port = serve_tcp(|mut connection| {
        let bytes = all(&connection);
        connection.write_all(&bytes.to_ascii_uppercase()).unwrap();
    });
    let input = "all at the end\n".repeat(10_000);
    let output = patient_client(&[&url(port)]).write_stdin(input.clone()).output().unwrap();
    assert_ended(&output, 0, input.to_uppercase().as_bytes(), "");
}

/// The pieces of a slow input come back one by one, not at the end.
#[test]
fn an_answer_is_printed_as_it_comes() {
    let port = serve_tcp(shout);
    let mut client = Running::start(&mut piped_client(&[&url(port)]));
    let (mut stdin, mut stdout) = (client.stdin(), client.stdout());
    for piece in ["one\n", "two", " three"] {
        stdin.write_all(piece.as_bytes()).unwrap();
        let mut answer = vec![0; piece.len()];
        stdout.read_exact(&mut answer).unwrap();
        assert_eq!(text(&answer), piece.to_uppercase());
    }
    drop(stdin);
    assert_eq!(all(stdout), b"");
    assert_eq!(client.end(), (Some(0), String::new()));
}

/// Far more than fits between client and server, which stops reading while its answers are not taken.
#[test]
fn a_large_stream_needs_little_memory() {
    const LENGTH: usize = 64 << 20;
    const MOST_MEMORY_KB: u64 = 24 << 10; // two buffers, the code and the allocator; a third of the stream
    let port = serve_tcp(shout);
    let mut client = Running::start(&mut piped_client(&[&url(port)]));
    let mut stdin = client.stdin();
    let mut stdout = client.stdout();
    let line = b"the quick brown fox jumps over the lazy dog, 0123456789 times\n\xe2\x82\xac";
    let input: Vec<u8> = line.iter().copied().cycle().take(LENGTH).collect();
    let expected = input.to_ascii_uppercase();
    let writer = thread::spawn(move || {
        stdin.write_all(&input).unwrap();
        stdin
    });
    let mut output = vec![0; LENGTH];
    stdout.read_exact(&mut output).unwrap();
    assert!(output == expected, "the stream came back changed");
    // All is through, and the open input keeps the process alive for this look at it.
    let stdin = writer.join().unwrap();
    match std::fs::read_to_string(format!("/proc/{}/status", client.id())) {
        Ok(status) => {
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux has VmHWM");
            let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
            assert!(peak < MOST_MEMORY_KB, "{peak} kB for {LENGTH} bytes");
        }
        Err(error) => eprintln!("memory not checked: {error}"),
    }
    drop(stdin);
    assert_eq!(all(stdout), b"");
    assert_eq!(client.end(), (Some(0), String::new()));
}

#[test]
fn a_server_that_closes_early_is_1_though_stdin_stays_open() {
    let port = serve_tcp(|mut connection| {
        let mut byte = [0];
        connection.read_exact(&mut byte).unwrap();
        connection.write_all(b"A").unwrap();
    });
    let mut client = Running::start(&mut piped_client(&[&url(port)]));
    let mut stdin = client.stdin();
    stdin.write_all(b"a").unwrap();
    assert_eq!(all(client.stdout()), b"A", "what had come is printed");
    let line = format!("shout-client: {} closed the connection before the input was at its end\n", url(port));
    assert_eq!(client.end(), (Some(1), line));
    drop(stdin);
}

#[test]
fn a_server_that_resets_is_1_though_stdin_stays_open() {
    // Closing with unread input resets the connection.
    let port = serve_tcp(|connection| {
        retried(|| connection.peek(&mut [0])).unwrap();
    });
    let mut client = Running::start(&mut piped_client(&[&url(port)]));
    let mut stdin = client.stdin();
    stdin.write_all(b"a").unwrap();
    assert_eq!(client.end(), (Some(1), format!("shout-client: {} reset the connection\n", url(port))));
    drop(stdin);
}

/// Whichever of the two threads meets the reset first, it is a failure and not a short success.
#[test]
fn a_reset_in_full_flow_is_1() {
    let port = serve_tcp(|mut connection| {
        let mut buffer = [0; 1024];
        for _piece in 0..100 {
            connection.read_exact(&mut buffer).unwrap();
            connection.write_all(&buffer.to_ascii_uppercase()).unwrap();
        }
    });
    let mut client = Running::start(&mut piped_client(&[&url(port)]));
    let mut stdin = client.stdin();
    let writer = thread::spawn(move || io::copy(&mut io::repeat(b'x'), &mut stdin));
    let stdout = client.stdout();
    let reader = thread::spawn(move || all(stdout));
    let (code, line) = client.end();
    assert_eq!(code, Some(1), "{line:?}");
    assert!(reader.join().unwrap().iter().all(|byte| *byte == b'X'));
    assert!(writer.join().unwrap().is_err(), "the input had no end");
    assert!(line.starts_with(&format!("shout-client: {} ", url(port))), "{line:?}");
    assert_eq!(line.matches('\n').count(), 1, "{line:?}");
}

#[test]
fn a_server_that_closes_without_an_answer_is_1() {
    let port = serve_tcp(|connection| drop(all(&connection)));
    for arguments in [&[&url(port)[..], "--", "x"][..], &[&url(port)]] {
        let output = patient_client(arguments).write_stdin("x\n").output().unwrap();
        let line = format!("shout-client: {} closed the connection without an answer\n", url(port));
        assert_ended(&output, 1, b"", &line);
    }
}

/// A server may close right after its last answer, a moment before the client has seen the end of its input.
/// It closed in good order, as the kernel does for a process that dies: only the count shows that something is missing.
#[test]
fn an_answer_that_is_cut_short_is_1() {
    let port = serve_tcp(|mut connection| {
        let bytes = all(&connection);
        connection.write_all(&bytes[..bytes.len() / 2].to_ascii_uppercase()).unwrap();
    });
    let line = |came, sent| {
        let why = format!("within its answer: {came} bytes came for {sent} sent");
        format!("shout-client: {} closed the connection {why}\n", url(port))
    };
    let output = patient_client(&[&url(port)]).write_stdin("half of it").output().unwrap();
    assert_ended(&output, 1, b"HALF ", &line(5, 10));
    let output = patient_client(&[&url(port), "--", "once"]).output().unwrap();
    assert_ended(&output, 1, b"ON", &line(2, 4));
}

#[test]
fn a_server_that_closes_after_the_last_answer_has_done_its_work() {
    let (report, closed) = mpsc::channel();
    let port = serve_tcp(move |mut connection| {
        let mut line = [0; 4];
        connection.read_exact(&mut line).unwrap();
        connection.write_all(&line.to_ascii_uppercase()).unwrap();
        connection.shutdown(Shutdown::Write).unwrap();
        report.send(()).unwrap();
        all(&connection);
    });
    let mut client = Running::start(&mut piped_client(&[&url(port)]));
    let mut stdin = client.stdin();
    stdin.write_all(b"abc\n").unwrap();
    closed.recv().unwrap();
    // Not to wait for something: this is the moment that the test is about.
    thread::sleep(Duration::from_millis(50));
    drop(stdin);
    assert_eq!(all(client.stdout()), b"ABC\n");
    assert_eq!(client.end(), (Some(0), String::new()));
}

#[test]
fn a_closed_stdout_ends_quietly() {
    let port = serve_tcp(|connection| {
        // The client goes away in mid-stream, so this ends with an error.
        let mut writing = connection.try_clone().unwrap();
        let _ = io::copy(&mut &connection, &mut writing);
    });
    let mut client = Running::start(&mut piped_client(&[&url(port)]));
    drop(client.stdout());
    let mut stdin = client.stdin();
    let writer = thread::spawn(move || io::copy(&mut io::repeat(b'x'), &mut stdin));
    assert_eq!(client.end(), (Some(0), String::new()));
    assert!(writer.join().unwrap().is_err());
}

#[test]
fn a_full_disk_is_said() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        eprintln!("skipped: there is no /dev/full");
        return;
    };
    let port = serve_tcp(shout);
    let mut command = piped_client(&[&url(port), "--", "x"]);
    let output = command.stdout(full).output().unwrap();
    let line = text(&output.stderr);
    assert_ended(&output, 1, b"", &line);
    assert!(line.starts_with("shout-client: cannot write to stdout: "), "{line:?}");
}

#[test]
fn an_input_that_cannot_be_read_is_said() {
    let port = serve_tcp(shout);
    let directory = std::fs::File::open("/").unwrap();
    let output = piped_client(&[&url(port)]).stdin(directory).output().unwrap();
    let line = text(&output.stderr);
    assert_ended(&output, 1, b"", &line);
    assert!(line.starts_with("shout-client: cannot read stdin: "), "{line:?}");
}

#[test]
fn a_signal_in_mid_stream_is_128_and_its_number() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let port = serve_tcp(shout);
        let mut client = Running::start(&mut piped_client(&[&url(port)]));
        let mut stdin = client.stdin();
        stdin.write_all(b"a").unwrap();
        client.stdout().read_exact(&mut [0]).unwrap();
        client.signal(signal);
        assert_eq!(client.end(), (Some(code), String::new()), "{signal:?}");
        drop(stdin);
    }
}
