//! The server as a program of its own, and what it says.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;

/// The program under test.
pub(crate) const SERVER: &str = env!("CARGO_BIN_EXE_shout-server");

/// `shout-server` as a process of its own, killed when dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) first_line: String,
    pub(crate) address: SocketAddr,
    stdout: Lines,
    pub(crate) stderr: Lines,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code, where no signal killed it.
    pub(crate) code: Option<i32>,
    /// What it had said since the test last looked.
    pub(crate) stderr: Vec<String>,
}

impl Ended {
    /// A counter as printed at the end; zero is not printed.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        counter(&self.stderr, name)
    }
}

fn counter(lines: &[String], name: &str) -> u64 {
    let value = lines.iter().rev().find_map(|line| line.strip_prefix("  ")?.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

impl Program {
    /// Starts the server on a free port of loopback, unless the flags say where, and waits for its first line.
    pub(crate) fn start(flags: &[&str]) -> Program {
        Program::spawn(&mut Command::new(SERVER), flags, Stdio::piped())
    }

    /// The same with a standard error that the test does not read.
    pub(crate) fn start_with_stderr(stderr: impl Into<Stdio>, flags: &[&str]) -> Program {
        Program::spawn(&mut Command::new(SERVER), flags, stderr.into())
    }

    /// The same by way of a command that becomes the server, or starts it as its first child.
    pub(crate) fn start_with(command: &mut Command, flags: &[&str]) -> Program {
        Program::spawn(command, flags, Stdio::piped())
    }

    /// The same by way of a shell, which does `first` before it becomes the server.
    pub(crate) fn start_after(first: &str, flags: &[&str]) -> Program {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("{first}; exec \"$0\" \"$@\"")).arg(SERVER);
        Program::spawn(&mut shell, flags, Stdio::piped())
    }

    /// The same with nothing added to the flags.
    pub(crate) fn start_with_as_told(command: &mut Command, flags: &[&str]) -> Program {
        Program::wait_for_start(command, flags, Stdio::piped())
    }

    fn spawn(command: &mut Command, flags: &[&str], stderr: Stdio) -> Program {
        if !flags.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        Program::wait_for_start(command, flags, stderr)
    }

    fn wait_for_start(command: &mut Command, flags: &[&str], stderr: Stdio) -> Program {
        let mut child = command.args(flags).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let stderr = child.stderr.take().map_or_else(|| Lines::of(std::io::empty()), Lines::of);
        let stdout = Lines::of(child.stdout.take().unwrap());
        // Where its standard output is closed, the warning about a public address is the first that names one.
        let (first_line, place) = match stdout.0.recv_timeout(PATIENCE) {
            Ok(line) => (line.clone(), line),
            Err(_) => (String::new(), stderr.skip_to("warning")),
        };
        let address = place.split(' ').find_map(|word| word.parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in {place:?}"));
        Program { child, first_line, address, stdout, stderr }
    }

    /// Where the admin endpoint listens, which the second line says.
    pub(crate) fn admin(&self) -> SocketAddr {
        let line = self.stdout.next("the line of the admin endpoint");
        let address =
            line.strip_prefix("shout-server answering on http://").and_then(|url| url.strip_suffix("/metrics"));
        address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("no address in {line:?}"))
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// The counters as SIGUSR1 prints them, as lines.
    pub(crate) fn report(&mut self) -> Vec<String> {
        const HEAD: &str = " connections open";
        self.signal(Signal::USR1);
        while !self.stderr.next("a report").ends_with(HEAD) {}
        // A report has no last line of its own; the head of the next one shows that it is complete.
        self.signal(Signal::USR1);
        let mut lines = Vec::new();
        loop {
            let line = self.stderr.next("a second report");
            if line.ends_with(HEAD) {
                return lines;
            }
            lines.push(line);
        }
    }

    /// One counter, now.
    pub(crate) fn counter(&mut self, name: &str) -> u64 {
        counter(&self.report(), name)
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(mut self) -> Ended {
        let stderr = self.stderr.rest();
        Ended { code: self.child.wait().unwrap().code(), stderr }
    }

    /// Asks the server to stop; the lines of its standard output after the first.
    pub(crate) fn terminate_and_read_stdout(self) -> Vec<String> {
        self.signal(Signal::TERM);
        self.stdout.rest()
    }

    /// Asks the server to stop, and waits until it has.
    pub(crate) fn terminate(self) -> Ended {
        self.signal(Signal::TERM);
        self.wait()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines that a process writes, read by a thread so that the process never has to wait for the test.
pub(crate) struct Lines(Receiver<String>);

impl Lines {
    pub(crate) fn of(pipe: impl Read + Send + 'static) -> Lines {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                // The test may have seen enough; the pipe is emptied all the same.
                let _ = sender.send(line);
            }
        });
        Lines(receiver)
    }

    /// The next line.
    pub(crate) fn next(&self, what: &str) -> String {
        self.0.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("waited in vain for {what}: {error}"))
    }

    /// Skips lines up to one that contains `text`.
    pub(crate) fn skip_to(&self, text: &str) -> String {
        loop {
            let line = self.next(text);
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Every line up to the end of the pipe.
    fn rest(&self) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = Vec::new();
        loop {
            match self.0.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Disconnected) => return lines,
                Err(error) => panic!("the program did not end: {error}; it said {lines:#?}"),
            }
        }
    }
}
