//! What the client's tests share: the program under a time limit, and small servers on free ports.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

#[path = "../../../../tests/common/retried.rs"]
mod retried;
pub(crate) use retried::retried;

/// Nothing here takes a second; whoever waits this long hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The client with these arguments, ended if it hangs.
pub(crate) fn client(arguments: &[&str]) -> assert_cmd::Command {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_shout-client"));
    command.args(arguments).timeout(PATIENCE);
    command
}

/// The client with a timeout that even a machine under load keeps, for tests in which no answer is late or lost.
pub(crate) fn patient_client(arguments: &[&str]) -> assert_cmd::Command {
    client(&[&["--timeout", "1m"], arguments].concat())
}

/// The client for tests that hold its pipes themselves.
pub(crate) fn piped_client(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shout-client"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A started client, ended if it hangs (its pipes then close, and whoever reads them goes on) or if the test fails.
pub(crate) struct Running {
    child: Child,
    done: Option<mpsc::Sender<()>>,
    watchdog: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let child = command.spawn().unwrap();
        let pid = Pid::from_child(&child);
        let (done, over) = mpsc::channel();
        let watchdog = thread::spawn(move || {
            if over.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("the client did not end within {PATIENCE:?} and is killed");
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        Running { child, done: Some(done), watchdog: Some(watchdog) }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    pub(crate) fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The exit code, and what was said on stderr.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let said = all(self.child.stderr.take().unwrap());
        (self.child.wait().unwrap().code(), text(&said))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After `end` there is nobody left to kill, and both calls say so.
        let _ = self.child.kill();
        let _ = self.child.wait();
        drop(self.done.take());
        let _ = self.watchdog.take().map(JoinHandle::join);
    }
}

/// Asserts exit code, stdout and stderr at once, so that a failure shows all three.
#[track_caller]
pub(crate) fn assert_ended(output: &Output, code: i32, stdout: &[u8], stderr: &str) {
    let seen = (output.status.code(), output.stdout.escape_ascii().to_string(), text(&output.stderr));
    assert_eq!(seen, (Some(code), stdout.escape_ascii().to_string(), stderr.to_owned()));
}

/// A program's words.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Serves the connections of a free port, one after the other; returns the port.
pub(crate) fn serve_tcp(mut serve: impl FnMut(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let connection = connection.unwrap();
            connection.set_read_timeout(Some(PATIENCE)).unwrap();
            connection.set_write_timeout(Some(PATIENCE)).unwrap();
            serve(connection);
        }
    });
    port
}

/// Runs a server for datagrams on a free port; its thread ends with the value of `serve`.
pub(crate) fn serve_udp<T: Send + 'static>(
    serve: impl FnOnce(UdpSocket) -> T + Send + 'static,
) -> (u16, JoinHandle<T>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let port = socket.local_addr().unwrap().port();
    (port, thread::spawn(move || serve(socket)))
}

/// The next datagram.
pub(crate) fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let (length, peer) = retried(|| socket.recv_from(&mut buffer)).unwrap();
    buffer.truncate(length);
    (buffer, peer)
}

/// A socket whose port refuses TCP for as long as it lives: it has the port, and nobody listens there.
pub(crate) fn refusing_tcp() -> (TcpStream, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

/// A socket whose port refuses UDP for as long as it lives: it is connected elsewhere and hears no stranger.
pub(crate) fn refusing_udp() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect("127.0.0.1:9").unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

/// Everything a child says on a pipe until it closes it.
pub(crate) fn all(mut pipe: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Upper-cases a stream until the end of it, then closes; the service as it should be.
pub(crate) fn shout(mut connection: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = retried(|| connection.read(&mut buffer)).unwrap();
        if length == 0 {
            return;
        }
        buffer[..length].make_ascii_uppercase();
        connection.write_all(&buffer[..length]).unwrap();
    }
}

/// Whether there is a python3 to run; prints why a test is skipped if not.
pub(crate) fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok_and(|run| run.status.success());
    if !found {
        eprintln!("skipped: there is no python3");
    }
    found
}
