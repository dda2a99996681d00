//! Every system call of the loop fails, in every way that it can, on the real program under verified load.
//!
//! strace injects the errors. A row of the table is one call, one error, and which calls of its kind fail: the first,
//! the third, the first ten, every fourth. While the fault lasts, whatever is answered must be right; once it is over,
//! everything must be served again, and a server with nothing to do must do nothing. The table is printed.
#![cfg(target_os = "linux")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

mod common;

use common::{PATIENCE, Program, SERVER, retried};

/// How long a reply may take while calls fail. Some never come, and each costs the row this much.
const REPLY_PATIENCE: Duration = Duration::from_millis(60);

/// Processor time that an idle server may use in [`IDLE_WINDOW`]: a spinning one uses all of it.
const IDLE_WINDOW: Duration = Duration::from_millis(80);
const IDLE_CPU_MAX: Duration = Duration::from_millis(40);

/// Which calls of a kind fail: strace's `when`, and what the table calls it. All are over with the tenth call, and every
/// row makes more than that before it demands full service; for a fault may also swallow the signal that ends the row.
const WHEN: [(&str, &str); 4] = [("2..10+4", "every fourth"), ("1", "first"), ("3", "third"), ("1..10", "first ten")];

/// How many of them are tried, unless `SHOUT_FAULTS=all` asks for the whole table, which takes a minute; `.ci/run` does.
const WHEN_BY_DEFAULT: usize = 1;

/// The calls that the loop makes, with the errors that their man pages and the kernel have for them. Those that only a
/// wrong argument can cause (EBADF, EFAULT, EINVAL of a poll) are left out: no peer and no shortage brings them about.
const CALLS: [(&str, &[&str]); 12] = [
    ("epoll_wait", &["EINTR"]),
    ("recvmmsg", &["EAGAIN", "EINTR", "ENOMEM", "ENOBUFS", "ECONNREFUSED", "EHOSTUNREACH"]),
    (
        "sendmsg",
        &["EINTR", "ENOBUFS", "ENOMEM", "EPERM", "EINVAL", "EMSGSIZE", "EIO", "ENETUNREACH", "EHOSTUNREACH", "EACCES"],
    ),
    ("sendmmsg", &["EINTR", "ENOBUFS", "ENOMEM", "EPERM", "EINVAL", "EMSGSIZE", "EIO", "ENETUNREACH", "EACCES"]),
    (
        "accept4",
        &[
            "EAGAIN",
            "EINTR",
            "ECONNABORTED",
            "EMFILE",
            "ENFILE",
            "ENOBUFS",
            "ENOMEM",
            "EPROTO",
            "EPERM",
            "ENETDOWN",
            "EHOSTUNREACH",
        ],
    ),
    ("recvfrom", &["EINTR", "ECONNRESET", "ETIMEDOUT", "EHOSTUNREACH", "ENOMEM", "ENOBUFS"]),
    (
        "sendto",
        &["EINTR", "ECONNRESET", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH", "ENOMEM", "ENOBUFS", "EPERM", "EMSGSIZE", "EIO"],
    ),
    ("epoll_ctl", &["ENOMEM", "ENOSPC"]),
    ("shutdown", &["ENOTCONN", "ENOBUFS"]),
    ("close", &["EINTR", "EIO"]),
    ("poll", &["EINTR", "ENOMEM"]),
    ("ioctl", &["EINVAL"]),
];

/// Which of them fail, where that is not the table's: calls that the start of the program makes as well, from the first
/// that belongs to the loop; and calls that the loop makes only when it ends or has something to say.
const WHEN_ELSE: [(&str, (&str, &str)); 5] = [
    ("epoll_ctl", ("6..10+2", "from the sixth")),
    ("close", ("14..18+2", "from the 14th")),
    ("shutdown", ("1..9", "all")),
    ("poll", ("1..9", "all")),
    ("ioctl", ("1..9", "all")),
];

#[test]
fn no_failing_call_stops_the_service() {
    if let Some(reason) = cannot_inject() {
        println!("skipped: {reason}");
        return;
    }
    let all = std::env::var("SHOUT_FAULTS").is_ok_and(|value| value == "all");
    let when = if all { &WHEN[..] } else { &WHEN[..WHEN_BY_DEFAULT] };
    let (mut rows, mut injected) = (0, 0);
    for (call, errors) in CALLS {
        let other = WHEN_ELSE.iter().find(|(name, _)| *name == call).map(|(_, when)| std::slice::from_ref(when));
        for error in errors {
            for (when, name) in other.unwrap_or(when) {
                let outcome = row(call, error, when);
                println!("{call:<11} {error:<13} {name:<14} {outcome}");
                rows += 1;
                injected += outcome.injected;
            }
        }
    }
    println!("{rows} rows, {injected} injected errors, no wrong byte");
    assert!(injected > rows / 2, "most rows must have met their fault: {injected} of {rows}");
}

/// Why faults cannot be injected here.
fn cannot_inject() -> Option<&'static str> {
    let traced = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    match traced {
        Err(_) => Some("there is no strace"),
        Ok(status) if !status.success() => Some("strace may not trace here"),
        Ok(_) => None,
    }
}

/// What a row did.
struct Outcome {
    injected: usize,
    /// Datagrams and connections that the fault cost.
    lost_datagrams: usize,
    lost_connections: usize,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Outcome { injected, lost_datagrams, lost_connections } = self;
        write!(f, "{injected:>3} injected, cost {lost_datagrams:>2} datagrams, {lost_connections:>2} connections")
    }
}

/// Serves under one fault, and then without it.
fn row(call: &str, error: &str, when: &str) -> Outcome {
    let name = format!("{call} {error} {when}");
    let log = std::env::temp_dir().join(format!("shout-faults-{}", std::process::id()));
    let server = Program::start_with(
        Command::new("strace")
            // The tracer steps aside, so that our child is the server itself.
            .args(["-D", "-f", "-o"])
            .arg(&log)
            .args(["-e", &format!("trace={call}"), "-e", &format!("inject={call}:error={error}:when={when}")])
            .arg(SERVER),
        &["--drain-timeout", "3s"],
    );
    let mut outcome = Outcome { injected: 0, lost_datagrams: 0, lost_connections: 0 };
    for round in 0..6 {
        outcome.lost_datagrams += datagrams(server.address, round, REPLY_PATIENCE, &name);
        outcome.lost_connections += usize::from(!connection(server.address, round, REPLY_PATIENCE, &name));
    }
    let deadline = Instant::now() + PATIENCE;
    let mut clean = 0;
    while clean < 3 {
        assert!(Instant::now() < deadline, "{name}: the service never came back");
        let lost = datagrams(server.address, 7, REPLY_PATIENCE, &name);
        let whole = connection(server.address, 7, REPLY_PATIENCE, &name);
        clean = if lost == 0 && whole { clean + 1 } else { 0 };
    }
    assert_idle(&server, &name);
    // One that is still open, for the calls that only the end makes.
    let mut held = common::tcp_client(server.address);
    server.signal(Signal::TERM);
    let end = retried(|| held.read(&mut [0; 1]));
    assert!(matches!(end, Ok(0)), "{name}: the end of a connection was {end:?}");
    drop(held);
    let ended = server.wait();
    assert_eq!(ended.code, Some(0), "{name}: {:?}", ended.stderr);
    let trace = std::fs::read_to_string(&log).unwrap_or_default();
    outcome.injected = trace.lines().filter(|line| line.contains("(INJECTED)")).count();
    let _ = std::fs::remove_file(&log);
    outcome
}

/// Sends a burst of datagrams, alike and not. How many were not answered; none may be answered wrong.
fn datagrams(server: SocketAddr, round: usize, patience: Duration, name: &str) -> usize {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(server).unwrap();
    client.set_read_timeout(Some(patience)).unwrap();
    let mut owed: Vec<String> =
        (0..8).map(|number| format!("datagram {number}{}", "x".repeat(round * (number / 4)))).collect();
    for text in &owed {
        client.send(text.as_bytes()).unwrap();
    }
    let mut buffer = [0; 2048];
    while !owed.is_empty() {
        let Ok(length) = retried(|| client.recv(&mut buffer)) else { break };
        let answer = String::from_utf8(buffer[..length].to_vec()).unwrap();
        let place = owed.iter().position(|text| text.to_uppercase() == answer);
        owed.remove(place.unwrap_or_else(|| panic!("{name}: {answer:?} answers nothing that is owed")));
    }
    owed.len()
}

/// Streams some text and half-closes. Whether all came back and then a clean end; what came must be right.
fn connection(server: SocketAddr, round: usize, patience: Duration, name: &str) -> bool {
    let text = common::pattern(1_000 + 30_000 * round);
    let Ok(mut stream) = TcpStream::connect(server) else { return false };
    stream.set_read_timeout(Some(patience)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let mut got = Vec::new();
    let clean = std::thread::scope(|scope| {
        scope.spawn(|| {
            // A connection that the fault has broken takes no more.
            let _ = writer.write_all(&text).and_then(|()| writer.shutdown(Shutdown::Write));
        });
        let clean = stream.read_to_end(&mut got).is_ok();
        // Lets the writer go, should it still wait.
        let _ = stream.shutdown(Shutdown::Both);
        clean
    });
    let wanted = text.to_ascii_uppercase();
    assert!(wanted.starts_with(&got), "{name}: a wrong byte among {}", got.len());
    clean && got.len() == wanted.len()
}

/// A server with nothing to do must use no processor.
fn assert_idle(server: &Program, name: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let before = server.processor_time();
        // Not a wait for anything: the window over which processor time is observed.
        std::thread::sleep(IDLE_WINDOW);
        if server.processor_time() < before + IDLE_CPU_MAX {
            return;
        }
        assert!(Instant::now() < deadline, "{name}: the server spins");
    }
}

#[test]
fn a_start_that_fails_says_why_and_ends() {
    if let Some(reason) = cannot_inject() {
        println!("skipped: {reason}");
        return;
    }
    // From the first on: the first socket of all only asks what kind of address it is, and nobody needs its answer.
    for (call, error) in
        [("bind", "EACCES"), ("listen", "EADDRINUSE"), ("epoll_create1", "EMFILE"), ("socket", "EMFILE")]
    {
        let output = assert_cmd::Command::new("strace")
            .args(["-D", "-o", "/dev/null", "-e", &format!("inject={call}:error={error}:when=1+"), SERVER])
            .args(["--listen", "127.0.0.1:0"])
            .timeout(PATIENCE)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{call} {error}: {stderr}");
        assert!(stderr.lines().any(|line| line.contains("error: ")), "{call} {error}: {stderr}");
        assert!(output.stdout.is_empty(), "{call} {error}: it must not say that it listens");
    }
}

/// A server whose `call` fails with `error` from the `first` time on.
fn failing_from(call: &str, error: &str, first: usize) -> Program {
    Program::start_with(
        Command::new("strace").args(["-D", "-f", "-o", "/dev/null", "-e", &format!("trace={call}")]).args([
            "-e",
            &format!("inject={call}:error={error}:when={first}+"),
            SERVER,
        ]),
        &["--drain-timeout", "1s"],
    )
}

#[test]
fn an_error_that_stays_does_not_keep_the_loop_busy() {
    if let Some(reason) = cannot_inject() {
        println!("skipped: {reason}");
        return;
    }
    for (call, error) in [("accept4", "EPERM"), ("accept4", "EMFILE"), ("accept4", "ENOMEM"), ("recvmmsg", "ENOMEM")] {
        let mut server = failing_from(call, error, 1);
        let _waiting = TcpStream::connect(server.address).unwrap();
        common::udp_client(server.address).send_to(b"and this", server.address).unwrap();
        let failed = |server: &mut Program| server.counter("tcp_accept_paused") + server.counter("udp_receive_errors");
        let deadline = Instant::now() + PATIENCE;
        while failed(&mut server) == 0 {
            assert!(Instant::now() < deadline, "{call} {error}: it is not even tried");
        }
        assert_idle(&server, &format!("{call} {error}"));
        server.terminate();
    }
}

#[test]
fn what_closing_does_not_cure_costs_nobody_his_connection() {
    const IDLE: usize = 10;
    if let Some(reason) = cannot_inject() {
        println!("skipped: {reason}");
        return;
    }
    // Each that waits is answered with the error only once those before it have been accepted: an accept, and one more
    // that finds nobody, for each.
    for error in ["ENFILE", "ENOBUFS", "ENOMEM"] {
        let mut server = failing_from("accept4", error, 2 * IDLE + 1);
        let mut idle: Vec<TcpStream> = (0..IDLE)
            .map(|_| {
                let mut client = common::tcp_client(server.address);
                common::ping(&mut client, b"and then idle");
                client
            })
            .collect();
        let _newcomer = TcpStream::connect(server.address).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let client = common::udp_client(server.address);
        // Each datagram is a turn, and each pause a try.
        while server.counter("tcp_accept_paused") < 5 {
            assert!(Instant::now() < deadline, "{error}: no try");
            common::ping_udp(&client, server.address, b"a turn");
        }
        assert_eq!(server.counter("tcp_closed_for_room"), 0, "{error}");
        for client in &mut idle {
            common::ping(client, b"still there");
        }
    }
}

#[test]
fn a_loop_that_fails_ends_the_others_too() {
    if let Some(reason) = cannot_inject() {
        println!("skipped: {reason}");
        return;
    }
    let server = Program::start_with(
        Command::new("strace")
            .args(["-D", "-f", "-o", "/dev/null", "-e", "trace=epoll_wait"])
            // Each thread counts for itself, and one of them has nothing to do.
            .args(["-e", "inject=epoll_wait:error=EBADF:when=20", SERVER]),
        &["--workers", "2"],
    );
    let client = common::udp_client(server.address);
    client.connect(server.address).unwrap();
    client.set_read_timeout(Some(REPLY_PATIENCE)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    // Until nobody has the port any more, which the sending or the receiving call is told, whichever comes first.
    let is_refused =
        |result: std::io::Result<usize>| result.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
    while !is_refused(client.send(b"more")) && !is_refused(client.recv(&mut [0; 16])) {
        assert!(Instant::now() < deadline, "the server is still there");
    }
    let ended = server.wait();
    assert_eq!(ended.code, Some(1), "{:?}", ended.stderr);
    assert!(ended.stderr.iter().any(|line| line.contains("error: a loop has failed")), "{:?}", ended.stderr);
}

#[test]
fn a_storm_of_signals_loses_nothing() {
    let server = Program::start(&[]);
    let mut client = common::tcp_client(server.address);
    let text = common::pattern(64 * 1024);
    for _ in 0..200 {
        server.signal(Signal::USR1);
        common::assert_same(&common::ping(&mut client, &text), &text.to_ascii_uppercase());
    }
}
