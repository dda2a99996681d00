//! The admin endpoint over real sockets: its pages, what they say, and peers who mean no good.
#![cfg(unix)]
#![expect(clippy::float_cmp, reason = "a page of metrics says floats, and these are counts, which floats hold exactly")]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use rustix::process::Signal;
use shout::counters::Counters;

mod common;
#[path = "admin/readers.rs"]
mod readers;
use common::{PATIENCE, Program, SERVER, ping, ping_udp, tcp_client, udp_client};

/// As many connections as the endpoint takes at once.
const PLACES: usize = 4;

fn start(flags: &[&str]) -> (Program, SocketAddr) {
    let program = Program::start(&[&["--admin", "127.0.0.1:0"], flags].concat());
    let admin = program.admin();
    (program, admin)
}

/// All that comes back, up to the end of the stream.
fn rest(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Sends a text as it is, and says what comes back.
fn send(admin: SocketAddr, text: &str) -> String {
    let mut stream = tcp_client(admin);
    stream.write_all(text.as_bytes()).unwrap();
    rest(stream)
}

/// The status and the body that a page answers with.
fn get(admin: SocketAddr, page: &str) -> (u16, String) {
    let answer = send(admin, &format!("GET {page} HTTP/1.1\r\nHost: {admin}\r\n\r\n"));
    (status(&answer), answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[track_caller]
fn status(answer: &str) -> u16 {
    let number = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    number.unwrap_or_else(|| panic!("no status in {answer:?}"))
}

/// The samples of a page, by name and labels.
fn samples(admin: SocketAddr) -> BTreeMap<String, f64> {
    let (status, page) = get(admin, "/metrics");
    assert_eq!(status, 200);
    assert!(page.ends_with("\n# EOF\n"), "{page}");
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.map(|line| line.rsplit_once(' ').unwrap());
    samples.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

/// Waits until the samples are as they should be.
fn wait_for(admin: SocketAddr, what: &str, are_right: impl Fn(&BTreeMap<String, f64>) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let samples = samples(admin);
        if are_right(&samples) {
            return;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}: {samples:#?}");
    }
}

#[test]
fn every_page_answers_and_what_is_none_is_refused_with_its_status() {
    let (_program, admin) = start(&[]);
    assert_eq!(get(admin, "/healthz"), (200, "ok\n".into()));
    assert_eq!(get(admin, "/readyz"), (200, "ready\n".into()));
    assert_eq!(get(admin, "/metrics").0, 200);
    assert_eq!(get(admin, "/").0, 404);
    for (text, wanted) in [
        ("HEAD /metrics HTTP/1.0\r\n\r\n", 200),
        ("POST /metrics HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", 405),
        ("GET /metrics HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", 413),
        ("GET /metrics HTTP/3.0\r\n\r\n", 505),
        ("GET /metrics HTTP/1.1\r\n\r\n", 400),
        ("\0\u{1}garbage\r\n\r\n", 400),
    ] {
        assert_eq!(status(&send(admin, text)), wanted, "{text:?}");
    }
    let answer = send(admin, "HEAD /metrics HTTP/1.0\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("application/openmetrics-text; version=1.0.0") && body.is_empty(), "{answer}");
}

#[test]
fn every_counter_and_histogram_is_shown_in_both_formats() {
    let (_program, admin) = start(&[]);
    let (_, open) = get(admin, "/metrics");
    let text = send(admin, "GET /metrics HTTP/1.0\r\nAccept: text/plain\r\n\r\n");
    let has_line = |page: &str, start: &str| page.lines().any(|line| line.starts_with(start));
    for (name, help, _) in Counters::default().each() {
        for (page, typed) in [(&open, format!("shout_{name}")), (&text, format!("shout_{name}_total"))] {
            assert!(has_line(page, &format!("# TYPE {typed} counter")), "{name}");
            assert!(has_line(page, &format!("# HELP {typed} {help}")), "{name}");
            assert!(has_line(page, &format!("shout_{name}_total ")), "{name}");
        }
    }
    for shown in Counters::default().histograms.each() {
        for page in [&open, &text] {
            assert!(has_line(page, &format!("# TYPE shout_{} histogram", shown.name)), "{}", shown.name);
            for sample in ["bucket{le=\"+Inf\"}", "sum", "count"] {
                assert!(has_line(page, &format!("shout_{}_{sample} ", shown.name)), "{}", shown.name);
            }
        }
    }
}

#[test]
fn what_is_shown_is_what_was_sent() {
    let (program, admin) =
        // As large as the kernel grants to everybody who asks.
        start(&["--udp-recv-buffer", "64KiB", "--udp-send-buffer", "64KiB", "--max-connections", "9"]);
    let address = program.address;
    let client = udp_client(address);
    for _ in 0..7 {
        ping_udp(&client, address, b"datagram");
    }
    let mut streams = [tcp_client(address), tcp_client(address)];
    for stream in &mut streams {
        ping(stream, b"a stream");
    }
    let samples = samples(admin);
    for (name, wanted) in [
        ("udp_received_total", 7.0),
        ("udp_received_bytes_total", 56.0),
        ("udp_replied_total", 7.0),
        ("udp_receive_datagrams_sum", 7.0),
        ("udp_receive_datagrams_count", 7.0),
        ("udp_receive_datagrams_bucket{le=\"1.0\"}", 7.0),
        ("udp_send_datagrams_sum", 7.0),
        ("udp_dropped_by_kernel_total", 0.0),
        ("tcp_accepted_total", 2.0),
        ("tcp_received_bytes_total", 16.0),
        ("tcp_sent_bytes_total", 16.0),
        ("tcp_drive_bytes_sum", 16.0),
        ("connections", 2.0),
        ("connections_limit", 9.0),
        ("unsent_bytes", 0.0),
        ("unsent_limit_bytes", 67_108_864.0),
        ("loops", 1.0),
        ("draining", 0.0),
        ("admin_answered_total", 1.0),
        ("buffer_bytes{protocol=\"udp\",direction=\"receive\"}", 65_536.0),
    ] {
        assert_eq!(samples.get(&format!("shout_{name}")), Some(&wanted), "{name} of {samples:#?}");
    }
    let turns = samples["shout_turns_total"];
    assert!(turns >= 9.0, "{turns}");
    // The turn that shows the page is not over.
    assert_eq!(samples["shout_turn_seconds_count"], turns - 1.0);
    assert_eq!(samples["shout_poll_events_count"], turns);
    assert_eq!(samples["shout_poll_events_sum"], samples["shout_events_total"]);
    assert!(samples["shout_turn_seconds_sum"] > 0.0);
    assert_eq!(
        samples[&format!(
            "shout_build_info{{version=\"{}\",os=\"{}\",arch=\"{}\"}}",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH
        )],
        1.0
    );
}

#[test]
fn several_loops_are_shown_as_one() {
    let (program, admin) = start(&["--workers", "3"]);
    let mut clients: Vec<_> = (0..32).map(|_| (tcp_client(program.address), udp_client(program.address))).collect();
    for (tcp, udp) in &mut clients {
        assert_eq!(ping(tcp, b"tcp"), b"TCP");
        assert_eq!(ping_udp(udp, program.address, b"udp"), b"UDP");
    }
    wait_for(admin, "every client of every loop", |samples| {
        (samples["shout_connections"], samples["shout_udp_replied_total"], samples["shout_loops"]) == (32.0, 32.0, 3.0)
    });
    drop(clients);
    wait_for(admin, "their ends", |samples| samples["shout_tcp_finished_total"] == 32.0);
    let ended = program.terminate();
    assert_eq!((ended.code, ended.counter("tcp_finished")), (Some(0), 32));
}

/// A connection that is owed more than its peer's kernel takes, so that the server cannot finish.
fn unfinished(address: SocketAddr) -> TcpStream {
    let mut stream = tcp_client(address);
    ping(&mut stream, b"x");
    stream.set_nonblocking(true).unwrap();
    let chunk = vec![b'x'; 65_536];
    let mut blocked = 0;
    // What a moment later finds room again has been taken by the server; it stops when its answers find no room.
    while blocked < 3 {
        match stream.write(&chunk) {
            Ok(_) => blocked = 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut asked = [rustix::event::PollFd::new(&stream, rustix::event::PollFlags::OUT)];
                let moment = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
                rustix::io::retry_on_intr(|| rustix::event::poll(&mut asked, Some(&moment))).unwrap();
                blocked += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    stream
}

#[test]
fn readiness_turns_false_while_the_server_finishes_and_everything_still_answers() {
    for flags in [&[][..], &["--workers", "2"]] {
        let (program, admin) = start(flags);
        let stream = unfinished(program.address);
        program.signal(Signal::TERM);
        program.stderr.skip_to("stopping");
        wait_for(admin, "the end to begin", |samples| samples["shout_draining"] == 1.0);
        assert_eq!(get(admin, "/readyz"), (503, "draining\n".into()));
        assert_eq!(get(admin, "/healthz").0, 200);
        wait_for(admin, "the one that is owed something", |samples| {
            samples["shout_connections"] == 1.0 && samples["shout_unsent_bytes"] > 0.0
        });
        drop(stream);
        assert_eq!(program.wait().code, Some(0));
    }
}

#[test]
fn the_slow_are_cut_off_and_the_service_does_not_notice() {
    let (program, admin) = start(&[]);
    let mut client = tcp_client(program.address);
    let mut slow: Vec<TcpStream> = (0..PLACES).map(|_| tcp_client(admin)).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /").unwrap();
        assert_eq!(ping(&mut client, b"meanwhile"), b"MEANWHILE");
    }
    // The fifth is told so and goes.
    assert_eq!(status(&rest(tcp_client(admin))), 503);
    // The others have their time, even one who sends a byte now and then.
    let mut drip = slow.pop().unwrap();
    drip.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
    let mut answer = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "the time was never over");
        // It may be over between the two.
        let _ = drip.write(b"x");
        let mut byte = [0; 1024];
        match drip.read(&mut byte) {
            // What arrives after the end is answered with a reset, which may overtake the answer.
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&byte[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
        assert_eq!(ping(&mut client, b"meanwhile"), b"MEANWHILE");
    }
    for stream in slow {
        assert_eq!(status(&rest(stream)), 408);
    }
    let samples = samples(admin);
    assert_eq!(samples["shout_admin_timed_out_total"], PLACES as f64);
    assert_eq!(samples["shout_admin_refused_total"], 1.0);
    assert_eq!(samples["shout_tcp_accepted_total"], 1.0, "the service's counters count the service");
}

#[test]
fn a_head_that_is_too_long_is_refused_and_the_answer_arrives() {
    let (_program, admin) = start(&[]);
    let long = "x".repeat(100_000);
    for text in [format!("GET /{long} HTTP/1.1\r\n"), format!("GET / HTTP/1.1\r\nX: {long}\r\n\r\n")] {
        // All of it is sent before anything is read: what is not looked at must be taken, or a reset destroys the answer.
        assert_eq!(status(&send(admin, &text)), 431);
    }
}

#[test]
fn requests_in_one_piece_get_one_answer_and_a_half_close_is_none() {
    let (_program, admin) = start(&[]);
    let request = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = send(admin, &request.repeat(50));
    assert_eq!((status(&answer), answer.matches("HTTP/1.1 ").count()), (200, 1));
    assert!(answer.contains("\r\nConnection: close\r\n"), "the client must know that the others are not answered");
    for text in [request, "GET /healthz"] {
        let mut stream = tcp_client(admin);
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(stream).is_empty(), text != request, "an end before the request is whole has no answer");
    }
    // One byte at a time, each in a segment of its own.
    let mut stream = tcp_client(admin);
    for byte in request.bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(status(&rest(stream)), 200);
}

#[test]
fn a_flood_on_the_endpoint_ends_and_the_service_goes_on() {
    let (program, admin) = start(&[]);
    let mut client = tcp_client(program.address);
    let mut flood = tcp_client(admin);
    flood.set_nonblocking(true).unwrap();
    let chunk = vec![b'x'; 65_536];
    let deadline = Instant::now() + PATIENCE;
    // Whatever has been sent after its refusal, its time is over at last.
    loop {
        match flood.write(&chunk) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
        assert!(Instant::now() < deadline, "the flood was never cut off");
        assert_eq!(ping(&mut client, b"meanwhile"), b"MEANWHILE");
    }
    assert_eq!(get(admin, "/healthz").0, 200);
}

#[test]
fn an_address_that_is_taken_or_public_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let output = assert_cmd::Command::new(SERVER)
        .args(["--listen", "127.0.0.1:0", "--admin", &taken.to_string()])
        .timeout(PATIENCE)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("cannot listen on admin {taken}")), "{said}");

    let program = Program::start(&["--admin", "0.0.0.0:0"]);
    let warning = program.stderr.skip_to("warning");
    assert!(warning.contains("--admin"), "{warning}");
}

#[test]
fn without_the_flag_there_is_no_endpoint() {
    let program = Program::start(&[]);
    let ended = program.terminate_and_read_stdout();
    assert_eq!(ended, Vec::<String>::new(), "a second line would say where it is");
}
