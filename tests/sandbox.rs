//! The server in its sandbox: what it can no longer do, and that it does all it should.
//!
//! That every other call fails is tested beside the lists, in `src/sandbox.rs`, where a thread can try them.
#![cfg(target_os = "linux")]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

mod common;
mod launcher;

use common::{raise_descriptors, retried};
use launcher::{PATIENCE, PLAIN, SERVER, Server, can_run, command, descriptors, holding, passing, passing_to, sockets};

/// Every way in which the loop moves bytes and waits.
const WAYS: [&[&str]; 9] = [
    &["--sandbox"],
    &["--sandbox", "--pin", "0"],
    &["--sandbox", "--udp-io", "portable"],
    &["--sandbox", "--case", "unicode", "--verbose"],
    &["--sandbox", "--workers", "2"],
    &["--sandbox", "--workers", "2", "--pin", "0"],
    &["--sandbox", "--spin", "--stats", "100ms"],
    &["--sandbox", "--admin", "127.0.0.1:0"],
    &["--sandbox", "--admin", "127.0.0.1:0", "--workers", "2"],
];

/// The way of a server whose sockets are passed, and which has nothing to ask for that `WAYS` has not but their options.
const PASSED: &[&str] = &["--sandbox", "--tcp-recv-buffer", "64KiB", "--tcp-send-buffer", "64KiB"];

/// How many connections are open at once.
const CONNECTIONS: usize = 1_000;

/// Asks for all that the service promises, and then for its end.
fn all_of_the_service(server: Server, connections: usize, has_admin: bool) {
    let (_, address) = server.listening();
    if has_admin {
        let url = server.line_with("answering on http://");
        every_page(url.strip_suffix("/metrics").unwrap().parse().unwrap());
    }
    datagrams(&server, address);
    let mut streams: Vec<TcpStream> = (0..connections).map(|_| connect(address)).collect();
    for stream in &mut streams {
        stream.write_all(b"one of many").unwrap();
    }
    for stream in &mut streams {
        let mut answer = [0; 11];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ONE OF MANY");
    }
    half_close(address);
    reset(address);
    server.signal(Signal::USR1);
    server.line_with("  tcp_accepted ");
    // What has arrived is answered before the end.
    streams[0].write_all(b"the last").unwrap();
    server.signal(Signal::TERM);
    for (number, mut stream) in streams.into_iter().enumerate() {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, if number == 0 { "THE LAST" } else { "" });
    }
    let (code, lines) = server.ended();
    assert_eq!(code, Some(0), "{lines:#?}");
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Single ones of every size, and then many at once from several clients, so that both directions move in batches.
fn datagrams(server: &Server, address: SocketAddr) {
    let clients = [(); 4].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    for client in &clients {
        client.connect(address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let mut answer = vec![0; 65_536];
    for length in [0, 1, 1_472, 65_507] {
        clients[0].send(&vec![b'u'; length]).unwrap();
        let received = retried(|| clients[0].recv(&mut answer)).unwrap();
        assert_eq!(answer[..received], vec![b'U'; length]);
    }
    // Stopped, it finds them all in its queue when it goes on.
    server.signal(Signal::STOP);
    for number in 0..100 {
        clients[number % clients.len()].send(b"in a batch").unwrap();
    }
    server.signal(Signal::CONT);
    for number in 0..100 {
        let received = retried(|| clients[number % clients.len()].recv(&mut answer)).unwrap();
        assert_eq!(&answer[..received], b"IN A BATCH");
    }
}

/// More than the kernel buffers on one connection, so that a tail forms, and then our end.
fn half_close(address: SocketAddr) {
    const LENGTH: usize = 16 << 20;
    let mut stream = connect(address);
    let mut reader = stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        stream.write_all(&vec![b's'; LENGTH]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    });
    // Nothing is read before all is written, or as much as is taken from a client that does not read.
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer).unwrap();
    assert!(answer.len() == LENGTH && answer.iter().all(|&byte| byte == b'S'), "{} bytes", answer.len());
    writer.join().unwrap();
}

/// The admin endpoint, asked for each of its pages, and by one more than it has places for.
fn every_page(address: SocketAddr) {
    for page in ["metrics", "healthz", "readyz"] {
        let mut stream = connect(address);
        write!(stream, "GET /{page} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let mut streams: Vec<TcpStream> = (0..5).map(|_| connect(address)).collect();
    let mut answer = String::new();
    streams.pop().unwrap().read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

/// A client that breaks off.
fn reset(address: SocketAddr) {
    let stream = socket2::Socket::from(connect(address));
    stream.send(b"x").unwrap();
    stream.set_linger(Some(std::time::Duration::ZERO)).unwrap();
}

/// Whether a sandbox is possible here.
fn is_possible() -> bool {
    let server = Server::start(&mut command(&["--listen", "127.0.0.1:0", "--sandbox", "--quiet"]));
    let line = server.line_with("shout-server");
    if line.starts_with(" listening") {
        return true;
    }
    assert!(line.contains("--sandbox is not available"), "{line}");
    assert_eq!(server.ended().0, Some(1));
    println!("skipped: {line}");
    false
}

#[test]
fn everything_works() {
    if !is_possible() {
        return;
    }
    // The server raises its own limit.
    raise_descriptors();
    for way in WAYS {
        let arguments = [&["--listen", "127.0.0.1:0"], way].concat();
        all_of_the_service(Server::start(&mut command(&arguments)), CONNECTIONS, way.contains(&"--admin"));
    }
    let (tcp, udp) = sockets();
    let server = Server::start(&mut passing(descriptors(&tcp, &udp), PASSED));
    all_of_the_service(server, CONNECTIONS, false);
}

/// The lists are complete: not one call that the server makes is denied, not even one whose failure it would survive.
#[test]
fn nothing_that_it_asks_for_is_denied() {
    if !is_possible() || !can_run("strace", ["true"]) {
        return;
    }
    // The server raises its own limit.
    raise_descriptors();
    let (tcp, udp) = sockets();
    for (number, way) in WAYS.into_iter().chain([PASSED]).enumerate() {
        let trace = std::env::temp_dir().join(format!("shout-sandbox-{}-{number}", std::process::id()));
        let mut command = if way == PASSED {
            passing_to("strace", descriptors(&tcp, &udp), &[])
        } else {
            let mut command = Command::new("sh");
            command.args(["-c", PLAIN, "strace"]).stdin(Stdio::null());
            command
        };
        // With -D it is the server that is our child, and gets the signals, and not strace.
        command.args(["-D", "-f", "-o"]).arg(&trace).args([SERVER, "--listen", "127.0.0.1:0"]);
        let server = Server::start(command.args(way));
        all_of_the_service(server, 50, way.contains(&"--admin"));
        let calls = std::fs::read_to_string(&trace).unwrap();
        std::fs::remove_file(&trace).unwrap();
        assert!(calls.contains("landlock_restrict_self("), "{way:?}");
        let (_, confined) = calls.split_once("seccomp(SECCOMP_SET_MODE_FILTER").expect("a filter is set");
        assert!(confined.contains("exit_group("), "the trace is not whole: {way:?}");
        // The C library tries clone3 first, and clone when there is none.
        let denied =
            |line: &&str| line.contains("= -1 ENOSYS") || line.contains("= -1 EACCES") || line.contains("= -1 EPERM");
        let denied: Vec<&str> = confined.lines().filter(denied).filter(|line| !line.contains("clone3(")).collect();
        assert!(denied.is_empty(), "{way:?}: {denied:#?}");
    }
}

/// What the kernel says of each thread of a server with these flags.
fn threads(flags: &[&str]) -> Vec<String> {
    let server = Server::start(&mut command(&[&["--listen", "127.0.0.1:0"], flags].concat()));
    server.listening();
    server.signal(Signal::USR1);
    // Printed when the last loop has answered, so that all of them run.
    server.line_with("connections open");
    let tasks = format!("/proc/{}/task", server.id().as_raw_nonzero());
    let tasks = std::fs::read_dir(Path::new(&tasks)).unwrap().map(|task| task.unwrap().path().join("status"));
    let status: Vec<String> = tasks.map(|status| std::fs::read_to_string(status).unwrap()).collect();
    server.stop();
    status
}

fn has_line(status: &str, line: &str) -> bool {
    status.lines().any(|each| each == line)
}

#[test]
fn every_thread_is_confined() {
    if !is_possible() {
        return;
    }
    let confined = |flags: &[&str]| -> Vec<bool> {
        let threads = threads(&[&["--workers", "3"], flags].concat());
        threads.iter().map(|status| has_line(status, "NoNewPrivs:\t1") && has_line(status, "Seccomp:\t2")).collect()
    };
    assert_eq!(confined(&["--sandbox"]), [true; 3]);
    let ours = std::fs::read_to_string("/proc/self/status").unwrap();
    if ours.contains("Seccomp:\t0") {
        assert_eq!(confined(&[]), [false; 3], "without the flag nothing is given up");
    }
}

#[test]
fn every_loop_runs_on_the_processor_that_it_is_pinned_to() {
    let ours = std::fs::read_to_string("/proc/self/status").unwrap();
    let (_, allowed) = ours.split_once("Cpus_allowed_list:\t").unwrap();
    let first = allowed.split(['-', ',', '\n']).next().unwrap();
    for workers in ["1", "3"] {
        for sandbox in [&[][..], &["--sandbox"]] {
            if !sandbox.is_empty() && !is_possible() {
                continue;
            }
            let threads = threads(&[&["--workers", workers, "--pin", first], sandbox].concat());
            let line = format!("Cpus_allowed_list:\t{first}");
            let pinned = threads.iter().filter(|status| has_line(status, &line)).count();
            assert_eq!((pinned, pinned.to_string().as_str()), (threads.len(), workers), "{sandbox:?}");
        }
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    if !is_possible() {
        return;
    }
    let server = Server::start(&mut command(&["--listen", "127.0.0.1:0", "--sandbox"]));
    let (_, address) = server.listening();
    let _held = holding(address);
    server.signal(Signal::TERM);
    server.line_with("stopping");
    server.signal(Signal::TERM);
    assert_eq!(server.ended().0, Some(143));
}
