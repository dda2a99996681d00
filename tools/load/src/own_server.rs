//! A server of our own, as a child process, for a run without a target. Does I/O.
//!
//! The child is this same executable with a hidden first argument, so nothing else needs to be built or found. It lives
//! exactly as long as its standard input is open: the pipe's other end is ours, and the kernel closes it however we end,
//! by an interrupt, a panic or `SIGKILL`.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};

use crate::host::{self, Cpu};

/// The hidden first argument.
pub const ARGUMENT: &str = "embedded-server";

/// What the server prints when it is ready, before the address.
const READY: &str = "shout-server listening on udp+tcp ";

/// The life of the child: serves with these arguments until its standard input ends.
pub fn serve(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Under this name it appears in a list of processes, and in the report.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_name(c"shout-server");
    std::thread::spawn(|| {
        // Nothing is ever written to it: the read returns when the parent is gone, or is done with us.
        let _ = io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    shout::run(std::iter::once("shout-server".into()).chain(arguments))
}

/// A running server. It ends, and is reaped, when this is dropped.
#[derive(Debug)]
pub struct OwnServer {
    child: Child,
    /// The child ends when this is closed, which the kernel does where we cannot.
    _lifeline: Option<ChildStdin>,
    address: SocketAddr,
}

impl OwnServer {
    /// Starts a server on a free port of the loopback interface, on the processor `cpu` if one is given, and waits
    /// until it listens.
    pub fn start(cpu: Option<Cpu>) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(ARGUMENT).args(["--listen", "127.0.0.1:0", "--quiet"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        #[cfg(unix)]
        {
            // In a group of its own, so that Ctrl-C in a terminal does not take the server away under a measurement.
            use std::os::unix::process::CommandExt;
            command.process_group(0);
        }
        let mut child = command.spawn()?;
        if let Some(cpu) = cpu {
            host::pin(Some(child.id()), cpu);
        }
        let lifeline = child.stdin.take();
        let output = child.stdout.take().ok_or_else(|| io::Error::other("the server has no output"))?;
        let mut server = OwnServer { child, _lifeline: lifeline, address: SocketAddr::from(([0; 4], 0)) };
        let mut lines = BufReader::new(output);
        let mut line = String::new();
        lines.read_line(&mut line)?;
        let address = line.strip_prefix(READY).and_then(|address| address.trim().parse().ok());
        server.address = address.ok_or_else(|| io::Error::other(format!("the server said {line:?}")))?;
        // What it may print later must not block it or break its pipe.
        std::thread::spawn(move || io::copy(&mut lines, &mut io::sink()));
        Ok(server)
    }

    /// Where it listens, on both transports.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // Nothing is owed to anybody: the only client was this process, and it has its replies.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
