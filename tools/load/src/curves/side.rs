//! One of two servers that are compared: reached, or started here, with warm connections. Does I/O.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use shout::target::{Protocol, Target};

use crate::clock::Nanos;
use crate::host::Cpu;
use crate::own_server::OwnServer;
use crate::plan::{Plan, nanos};
use crate::program::{Refused, Signals, start_own_server};
use crate::report::document::Document;
use crate::run::{Context, Failure, Session};
use crate::sockets::retried;

/// How long a command has to start a server that answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is asked meanwhile.
const ASK: Duration = Duration::from_millis(20);

/// How long an answer to that may take: whoever is measured may be slow.
const ANSWER: Duration = Duration::from_millis(500);

/// Where a server comes from.
pub(super) enum Start {
    /// It is there.
    Target(Target),
    /// A copy of our own.
    Own(Protocol),
    /// A command line with `{port}` in it.
    Command {
        /// For a shell.
        line: String,
        /// How it is reached.
        protocol: Protocol,
    },
}

/// A server that is there, or has been started. All are before the first is connected to: to measure binds this thread to
/// a processor, and a server started later would inherit that.
pub(super) struct Started {
    target: Target,
    name: String,
    context: Context,
    /// Whatever was started here ends when this is dropped.
    own: Option<OwnServer>,
    process: Option<Process>,
}

impl Started {
    /// Starts the server if need be.
    pub(super) fn new(start: Start, context: &Context) -> Result<Self, Refused> {
        let system = |what: &str, error: &dyn std::fmt::Display| Refused::System(format!("{what}: {error}"));
        let mut context = context.clone();
        let local = |protocol, port| Target { protocol, host: "127.0.0.1".into(), port };
        let (target, own, process, name) = match start {
            Start::Target(target) => (target.clone(), None, None, target.to_string()),
            Start::Own(protocol) => {
                let own = start_own_server(&mut context, 1).map_err(|error| system("cannot start a server", &error))?;
                let target = local(protocol, own.address().port());
                let name = format!("{target} (a server of our own)");
                (target, Some(own), None, name)
            }
            Start::Command { line, protocol } => {
                let process = Process::start(&line, protocol)
                    .map_err(|error| system(&format!("cannot start '{line}'"), &error))?;
                (local(protocol, process.port), None, Some(process), line)
            }
        };
        Ok(Started { target, name, context, own, process })
    }
}

/// A server with connections to it.
pub(super) struct Side {
    /// What it is called in the result.
    pub(super) name: String,
    plan: Plan,
    context: Context,
    session: Session,
    stages: u64,
    /// Kept for their `Drop`.
    _own: Option<OwnServer>,
    _process: Option<Process>,
}

impl Side {
    /// Opens the connections and warms them up.
    pub(super) fn open(
        server: Started,
        plan: &dyn Fn(Target, bool) -> Result<Plan, Refused>,
        signals: &Signals,
    ) -> Result<Self, Refused> {
        let Started { target, name, context, own, process } = server;
        let plan = plan(target, own.is_some())?;
        let session = warm(&plan, &context, signals).map_err(|failure| Refused::System(failure.to_string()))?;
        Ok(Side { name, plan, context, session, stages: 0, _own: own, _process: process })
    }

    /// The same server once more, on connections of its own.
    pub(super) fn again(&self, signals: &Signals) -> Result<Self, Failure> {
        let session = warm(&self.plan, &self.context, signals)?;
        let (name, plan, context) = (self.name.clone(), self.plan.clone(), self.context.clone());
        Ok(Side { name, plan, context, session, stages: 0, _own: None, _process: None })
    }

    /// The processors that the server may use; `None` where it does not run on this machine, or is somebody else's.
    pub(super) fn processors(&self) -> Option<Vec<Cpu>> {
        crate::host::processors_of(self.session.server()?)
    }

    /// Loads it for so long, on the connections as they are.
    pub(super) fn measure(&mut self, length: Nanos, signals: &Signals) -> Result<Document, Failure> {
        self.stages += 1;
        let seed = self.plan.seed.wrapping_add(self.stages);
        let duration = Some(Duration::from_nanos(length));
        let plan = Plan { duration, interval: Duration::from_nanos(length), seed, ..self.plan.clone() };
        self.session.measure(&plan, &mut |_| signals.wish())
    }
}

fn warm(plan: &Plan, context: &Context, signals: &Signals) -> Result<Session, Failure> {
    let mut session = Session::open(plan, context, &mut |_| signals.wish())?;
    session.warm_up(plan, &mut |_| signals.wish())?;
    Ok(session)
}

/// A command that we started, with all that it started itself.
struct Process {
    child: Child,
    port: u16,
}

impl Process {
    /// Runs the line in a shell with a free port in it, and waits until something answers there.
    fn start(line: &str, protocol: Protocol) -> io::Result<Self> {
        let port = free_port()?;
        let mut command = Command::new("sh");
        command.arg("-c").arg(line.replace("{port}", &port.to_string()));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        #[cfg(unix)]
        {
            // A group of its own, so that it can be ended as a whole and Ctrl-C does not take it away meanwhile.
            use std::os::unix::process::CommandExt;
            command.process_group(0);
        }
        let mut process = Process { child: command.spawn()?, port };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = process.child.try_wait()? {
                return Err(io::Error::other(format!("it ended at once: {status}")));
            }
            if answers(address, protocol) {
                return Ok(process);
            }
            std::thread::sleep(ASK);
        }
        Err(io::Error::other(format!("nothing answers on port {port} after {} s", nanos(PATIENCE) / 1_000_000_000)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(group) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::TERM);
        }
        #[cfg(not(unix))]
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody has on either transport at the moment.
fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    UdpSocket::bind(("127.0.0.1", port))?;
    Ok(port)
}

fn answers(address: SocketAddr, protocol: Protocol) -> bool {
    let connects = || TcpStream::connect_timeout(&address, ANSWER).is_ok();
    let replies = || {
        let ask = || -> io::Result<usize> {
            let socket = UdpSocket::bind(("127.0.0.1", 0))?;
            socket.connect(address)?;
            socket.set_read_timeout(Some(ANSWER))?;
            socket.send(b"a")?;
            retried(|| socket.recv(&mut [0; 8]))
        };
        ask().is_ok()
    };
    match protocol {
        Protocol::Tcp => connects(),
        Protocol::Udp => replies(),
        Protocol::Both => connects() && replies(),
    }
}
