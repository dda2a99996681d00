//! Servers that misbehave as told, and the program under test. Real sockets on free ports of the loopback interface.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use shout_load::report::document::Document;

/// Ends a [`DatagramServer`]; no message looks like it.
const STOP: &[u8] = b"stop, please";

/// A UDP server on a thread.
pub(crate) struct DatagramServer {
    pub(crate) address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl DatagramServer {
    /// `answer` gets the number of the request, counted from 0, its bytes and its sender, and returns what to send to
    /// whom.
    pub(crate) fn start(
        mut answer: impl FnMut(usize, &[u8], SocketAddr) -> Vec<(SocketAddr, Vec<u8>)> + Send + 'static,
    ) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            for number in 0.. {
                let (length, peer) = socket.recv_from(&mut buffer).unwrap();
                if &buffer[..length] == STOP {
                    return;
                }
                for (to, bytes) in answer(number, &buffer[..length], peer) {
                    // A peer that is gone is none of our business.
                    let _ = socket.send_to(&bytes, to);
                }
            }
        });
        DatagramServer { address, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("udp://{}", self.address)
    }
}

impl Drop for DatagramServer {
    fn drop(&mut self) {
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(STOP, self.address).unwrap();
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

/// A TCP server with a thread for each of the `connections` that it expects.
pub(crate) struct StreamServer {
    pub(crate) address: SocketAddr,
    _threads: Vec<JoinHandle<()>>,
}

impl StreamServer {
    pub(crate) fn start(connections: usize, serve: impl Fn(usize, TcpStream) + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = std::thread::spawn(move || {
            for number in 0..connections {
                let (stream, _) = listener.accept().unwrap();
                let serve = serve.clone();
                std::thread::spawn(move || serve(number, stream));
            }
        });
        StreamServer { address, _threads: vec![accepting] }
    }

    pub(crate) fn url(&self) -> String {
        format!("tcp://{}", self.address)
    }
}

/// Answers in upper case until the peer has finished.
pub(crate) fn upper_case(_number: usize, mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length].to_ascii_uppercase()).is_err() {
            return;
        }
    }
}

/// The program under test.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shout-load"));
    command.args(arguments);
    command
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Runs the program with `--json` and reads the one result that it prints.
pub(crate) fn measure(arguments: &[&str]) -> (Document, i32) {
    let output = run(&[arguments, &["--json"]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    let document = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}; it said {stderr:?}"));
    (document, output.status.code().unwrap())
}

/// The real server, as the program starts it for itself.
pub(crate) struct RealServer {
    pub(crate) address: String,
    child: Child,
    output: Option<ChildStdout>,
    pub(crate) lifeline: Option<ChildStdin>,
}

impl RealServer {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let mut child = command(&[&["embedded-server", "--listen", "127.0.0.1:0", "--quiet"], arguments].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        let mut line = String::new();
        BufReader::new(&mut output).read_line(&mut line).unwrap();
        let address = line.trim().rsplit(' ').next().unwrap().to_owned();
        RealServer { address, lifeline: child.stdin.take(), output: Some(output), child }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for it to end by itself, for half a minute: a test that hangs names no culprit.
    pub(crate) fn wait(mut self) -> Option<i32> {
        let mut output = self.output.take().unwrap();
        let (sender, ended) = mpsc::channel();
        // Its output ends when it does.
        std::thread::spawn(move || sender.send(output.read_to_end(&mut Vec::new()).map(drop)));
        ended.recv_timeout(Duration::from_secs(30)).expect("the server is still there").unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
