//! Starts the real server as a service manager does: with sockets and an environment of the test's choice.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::ffi::OsStr;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

pub(crate) mod load;

/// How long anything may take before a test gives up: far more than it ever takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The server's executable.
pub(crate) const SERVER: &str = env!("CARGO_BIN_EXE_shout-server");

/// What runs the server with its standard output and error in one pipe.
pub(crate) const PLAIN: &str = r#"exec "$0" "$@" >&2"#;

/// The same, with two descriptors passed as a service manager passes them, of which `LISTEN_FDS` may hide one. They come
/// in as the standard streams, because these are all that a process is handed in safe Rust.
const PASSING: &str = r#"exec 3<&0 4<&1 </dev/null >&2; LISTEN_PID=${PRETENDED_PID:-$$} exec "$0" "$@""#;

/// A TCP listener and a UDP socket on one free port.
pub(crate) fn sockets() -> (TcpListener, UdpSocket) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
            return (tcp, udp);
        }
    }
}

/// A running server, ended with the test.
pub(crate) struct Server {
    child: Child,
    lines: Receiver<String>,
}

/// A command that starts the server.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", PLAIN, SERVER]).args(arguments).stdin(Stdio::null());
    command
}

/// A command that starts the server with these descriptors passed: one or two.
pub(crate) fn passing(descriptors: Vec<OwnedFd>, arguments: &[&str]) -> Command {
    passing_to(SERVER, descriptors, arguments)
}

/// The same for a program that becomes the server.
pub(crate) fn passing_to(program: &str, descriptors: Vec<OwnedFd>, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", PASSING, program]).args(arguments);
    command.env("LISTEN_FDS", descriptors.len().to_string()).stdout(Stdio::null());
    let mut descriptors = descriptors.into_iter();
    command.stdin(descriptors.next().unwrap());
    if let Some(second) = descriptors.next() {
        command.stdout(second);
    }
    command
}

/// The sockets as descriptors, for [`passing`]. The test keeps its own.
pub(crate) fn descriptors(tcp: &TcpListener, udp: &UdpSocket) -> Vec<OwnedFd> {
    vec![tcp.try_clone().unwrap().into(), udp.try_clone().unwrap().into()]
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> Server {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Server { child, lines }
    }

    /// Waits for a line with this in it, and returns what stands behind.
    #[track_caller]
    pub(crate) fn line_with(&self, text: &str) -> String {
        let mut before = Vec::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else { panic!("no {text:?} after {before:#?}") };
            if let Some((_, rest)) = line.split_once(text) {
                return rest.to_owned();
            }
            before.push(line);
        }
    }

    /// Waits until it listens; says to what, and where.
    #[track_caller]
    pub(crate) fn listening(&self) -> (String, SocketAddr) {
        let rest = self.line_with("shout-server listening on ");
        let (protocols, address) = rest.split_once(' ').unwrap();
        (protocols.to_owned(), address.parse().unwrap())
    }

    pub(crate) fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).unwrap();
    }

    /// Waits for its end: the exit code, and every line that nobody had asked for yet.
    #[track_caller]
    pub(crate) fn ended(mut self) -> (Option<i32>, Vec<String>) {
        let mut lines = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("no end after {lines:#?}"),
                Err(_) => return (self.child.wait().unwrap().code(), lines),
            }
        }
    }

    /// Asks it to stop, and makes sure that it did as it should.
    #[track_caller]
    pub(crate) fn stop(self) -> Vec<String> {
        self.signal(Signal::TERM);
        let (code, lines) = self.ended();
        assert_eq!(code, Some(0), "{lines:#?}");
        lines
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A peer that does not take what it is owed, and so holds up the server's end; and how many times it said `x`. All its
/// buffers are full.
pub(crate) fn holding(address: SocketAddr) -> (TcpStream, usize) {
    let mut peer = TcpStream::connect(address).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    // Its first answer shows that it has been accepted, and does not wait in a queue.
    peer.write_all(b"x").unwrap();
    peer.read_exact(&mut [0]).unwrap();
    peer.set_nonblocking(true).unwrap();
    let (chunk, mut owed) = (vec![b'x'; 65_536], 0);
    loop {
        match peer.write(&chunk) {
            Ok(length) => owed += length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    peer.set_nonblocking(false).unwrap();
    (peer, owed)
}

/// Has such a peer take what there is, up to the end. What had not arrived when the server began to stop need not be
/// answered; what is answered is right.
pub(crate) fn let_go((mut peer, owed): (TcpStream, usize)) {
    peer.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).unwrap();
    assert!(answer.len() <= owed && answer.iter().all(|&byte| byte == b'X'));
}

/// Whether a command runs and succeeds here; prints why a test is skipped if not.
pub(crate) fn can_run<I: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = I>) -> bool {
    let can = Command::new(program).args(arguments).output().is_ok_and(|run| run.status.success());
    if !can {
        println!("skipped: {program} is missing or not allowed here");
    }
    can
}

/// Whether this kernel can confine a process as `--sandbox` wants it.
pub(crate) fn has_sandbox() -> bool {
    let server = Server::start(&mut command(&["--listen", "127.0.0.1:0", "--sandbox", "--quiet"]));
    let has = server.line_with("shout-server").starts_with(" listening");
    if !has {
        println!("skipped: --sandbox is not available here");
    }
    has
}
