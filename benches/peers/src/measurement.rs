//! One measurement: start a server afresh, load it, see what it did and what it cost. Does I/O.
//!
//! The load is `shout-load`'s: its engine verifies every reply. What warms up is answered and forgotten before the
//! measurement begins. Server and generator each have a processor of their own where there are two.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use shout::target::{Protocol, Target};
use shout_load::cli::Command;
use shout_load::generator::Wish;
use shout_load::host::{self, Cpu};
use shout_load::plan::Plan;
use shout_load::report::document::{self, Document};
use shout_load::run::{self, Context};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::contestant::Contestant;
use crate::idle::Idle;
use crate::running::Running;

/// A datagram unanswered for this long is lost: hundreds of times what an answer on loopback takes. It is short because
/// until then a lost datagram holds its place in the window, and a measurement with losses drains for as long.
const UDP_TIMEOUT: Duration = Duration::from_millis(500);

/// A connection that owes an answer for this long is given up.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);

/// On a busy machine a process may wait for its processor for tens of milliseconds. A warm-up that is over before the
/// first message could be sent would fail for that.
const SHORTEST_WARMUP: Duration = Duration::from_millis(100);

/// Descriptors that are not connections, on either side: standard streams, poll, timer, listener and the like.
const OTHER_DESCRIPTORS: u64 = 100;

/// What is asked of a server, in `shout-load`'s words: a closed loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// UDP or TCP.
    pub protocol: Protocol,
    /// UDP sockets or TCP connections.
    pub connections: usize,
    /// Messages in flight on each of them.
    pub depth: usize,
    /// Bytes a message.
    pub size: usize,
    /// Further TCP connections, which are open and say nothing.
    pub idle: usize,
}

impl Load {
    /// Datagrams from as many sources as there are connections.
    pub const fn udp(connections: usize, depth: usize, size: usize) -> Load {
        Load { protocol: Protocol::Udp, connections, depth, size, idle: 0 }
    }

    /// Messages on streams.
    pub const fn tcp(connections: usize, depth: usize, size: usize) -> Load {
        Load { protocol: Protocol::Tcp, connections, depth, size, idle: 0 }
    }

    /// Descriptors that each side needs for it.
    pub fn descriptors(&self) -> u64 {
        (self.connections + self.idle) as u64 + OTHER_DESCRIPTORS
    }

    /// The flags that ask `shout-load` for this load.
    pub fn flags(&self) -> [String; 6] {
        let Load { connections, depth, size, .. } = self;
        ["-c".into(), connections.to_string(), "-p".into(), depth.to_string(), "-s".into(), size.to_string()]
    }

    /// The plan of a measurement at `address`. Made from flags, so that the defaults of everything else are the tool's.
    fn plan(&self, address: SocketAddr, length: Length, seed: u64) -> Plan {
        let target = Target { protocol: self.protocol, host: address.ip().to_string(), port: address.port() };
        let timeout = if self.protocol == Protocol::Udp { UDP_TIMEOUT } else { TCP_TIMEOUT };
        let nanoseconds = |duration: Duration| format!("{}ns", duration.as_nanos());
        let mut line = vec!["shout-load".to_owned(), target.to_string()];
        line.extend(self.flags());
        line.extend(["--duration".into(), nanoseconds(length.measured), "--warmup".into(), nanoseconds(length.warmup)]);
        line.extend(["--timeout".into(), nanoseconds(timeout), "--seed".into(), format!("{seed:x}")]);
        let command = shout_load::cli::read(line.into_iter().map(Into::into)).expect("flags that the tool documents");
        let Command::Run(options) = command else { unreachable!("a line that names no command asks for a run") };
        options.plan(target, false, seed).expect("sizes that suit the transport")
    }
}

/// How long a measurement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// What counts.
    pub measured: Duration,
    /// What goes before and does not count.
    pub warmup: Duration,
}

impl Length {
    /// A quarter more to warm up, but not less than code, caches and the kernel's buffers need.
    pub fn of(measured: Duration) -> Length {
        Length { measured, warmup: (measured / 4).max(SHORTEST_WARMUP) }
    }

    /// `5 rounds of 0.8 s after 0.2 s of warm-up`.
    pub fn describe(self, rounds: usize) -> String {
        let Length { measured, warmup } = self;
        let rounds = if rounds == 1 { "1 round".into() } else { format!("{rounds} rounds") };
        format!("{rounds} of {} s after {} s of warm-up", measured.as_secs_f64(), warmup.as_secs_f64())
    }
}

/// The figures of one measurement that the tables show.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Messages answered rightly, a second.
    pub rate: f64,
    /// The server's CPU time for each of them in µs, where the system tells.
    pub server_cpu: Option<f64>,
    /// The share of the time that the generator itself was on its processor.
    pub client_busy: Option<f64>,
    /// The 99th percentile of the response time, in µs.
    pub p99: Option<f64>,
    /// Messages without an answer in time.
    pub lost: u64,
    /// Answers that are not what the contract demands: wrong bytes, a second answer, one that nobody asked for.
    pub wrong: u64,
}

impl From<&Document> for Figures {
    fn from(document: &Document) -> Figures {
        let document::Counts { replied, lost, corrupt, truncated, duplicated, stray, .. } = document.counts;
        let sending = document.time.measured_ns as f64;
        let microseconds = |ns: u64| ns as f64 / 1e3;
        let quantile = document.latency.response.p.get("99");
        Figures {
            rate: replied as f64 / (sending / 1e9),
            // Not for each one sent: a server that lets datagrams drop would look cheap.
            server_cpu: document.server.as_ref().map(|process| microseconds(process.cpu_ns) / replied as f64),
            client_busy: document.generator.as_ref().map(|process| process.cpu_ns as f64 / sending),
            p99: quantile.map(|quantile| microseconds(quantile.v)),
            lost,
            wrong: corrupt + truncated + duplicated + stray,
        }
    }
}

/// One measurement to be made.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// Of whom.
    pub contestant: &'a Contestant,
    /// Under what.
    pub load: &'a Load,
    /// For how long.
    pub length: Length,
    /// Which one, from 0. The payloads of a round are the same for all.
    pub round: usize,
    /// What the user calls this load.
    pub label: &'a str,
}

/// Measurements that failed, and replies that were wrong. One contestant's are no reason to lose the others' results.
#[derive(Debug, Default)]
pub struct Faults {
    lines: Vec<String>,
}

impl Faults {
    /// Takes a measurement's outcome: what it measured, or nothing after noting why.
    ///
    /// Fails where there is no point in going on.
    pub fn judge(&mut self, attempt: &Attempt, outcome: Result<Document, Stop>) -> Result<Option<Document>, Stop> {
        match outcome {
            Ok(document) => {
                let wrong = Figures::from(&document).wrong;
                if wrong > 0 {
                    let Attempt { contestant, label, .. } = attempt;
                    self.lines.push(format!("{} gave {wrong} wrong replies in {label}", contestant.name));
                }
                Ok(Some(document))
            }
            Err(Stop::Failure(reason)) => {
                self.lines.push(reason);
                Ok(None)
            }
            Err(stop @ (Stop::Signal(_) | Stop::Unread)) => Err(stop),
        }
    }

    /// How it all went: a failure where there was any fault.
    pub fn verdict(self) -> Result<(), Stop> {
        if self.lines.is_empty() { Ok(()) } else { Err(Stop::Failure(self.lines.join("; "))) }
    }
}

/// In which order the contestants take their turns in a round: each starts a round once before any starts a second.
pub fn turns(contestants: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..contestants).map(move |turn| (round + turn) % contestants)
}

/// One figure of each round.
pub fn column(rounds: &[Option<Figures>], pick: fn(&Figures) -> Option<f64>) -> Vec<Option<f64>> {
    rounds.iter().map(|figures| figures.as_ref().and_then(pick)).collect()
}

/// Why measuring ends before it is done.
#[derive(Debug)]
pub enum Stop {
    /// This signal came.
    Signal(usize),
    /// Nobody reads the results any more.
    Unread,
    /// This went wrong.
    Failure(String),
}

impl From<io::Error> for Stop {
    /// Of an attempt to write a result.
    fn from(error: io::Error) -> Stop {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Stop::Unread,
            _ => Stop::Failure(format!("cannot write the results: {error}")),
        }
    }
}

/// The place where all measurements are made: this machine, with its processors and limits, until a signal comes.
#[derive(Debug)]
pub struct Place {
    processors: usize,
    /// The server's processor and ours.
    apart: Option<(Cpu, Cpu)>,
    /// 0 until a signal came.
    signal: Arc<AtomicUsize>,
}

impl Place {
    /// Watches for signals, raises the limit on open files, which the servers inherit, and takes the last processor,
    /// which leaves the first to the servers. Threads that are started later stay off the servers' processor, too.
    ///
    /// Fails where signals cannot be watched.
    pub fn take() -> Result<Place, Stop> {
        let signal = Arc::new(AtomicUsize::new(0));
        for number in [SIGINT, SIGTERM] {
            signal_hook::flag::register_usize(number, Arc::clone(&signal), number as usize)
                .map_err(|error| Stop::Failure(format!("cannot watch for signals: {error}")))?;
        }
        host::raise_open_file_limit();
        let processors = host::processors();
        let apart = match processors[..] {
            [first, .., last] => Some((first, last)).filter(|_| host::pin(None, last)),
            [] | [_] => None,
        };
        Ok(Place { processors: processors.len(), apart, signal })
    }

    /// The most files that a process here may have open.
    pub fn open_files(&self) -> u64 {
        getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
    }

    /// Where things run, in words.
    pub fn describe(&self) -> String {
        let processors = match self.apart {
            Some((server, client)) => format!("server on CPU {server}, client on CPU {client}"),
            None => "server and client share a CPU: rates say little".into(),
        };
        format!("{processors}; {}", host::kernel())
    }

    /// Makes one measurement, on a server started for it alone. A terminal shows on stderr what is going on.
    pub fn measure(&self, attempt: &Attempt) -> Result<Document, Stop> {
        let Attempt { contestant, load, length, round, label } = *attempt;
        show_progress(&format!("{label}  round {}  {}", round + 1, contestant.name));
        let outcome = self.measure_once(contestant, load, length, round as u64 + 1);
        show_progress("");
        outcome.map_err(|reason| {
            // A terminal sends its signal to the servers too, and what fails then fails for that reason.
            let failure = Stop::Failure(format!("{} could not be measured in {label}: {reason}", contestant.name));
            self.signal().map_or(failure, Stop::Signal)
        })
    }

    fn measure_once(
        &self,
        contestant: &Contestant,
        load: &Load,
        length: Length,
        seed: u64,
    ) -> Result<Document, Box<dyn std::error::Error>> {
        let server = self.start(contestant, load.protocol)?;
        let idle = Idle::open(server.address(), load.idle, &self.signal);
        let _idle = idle.map_err(|error| format!("cannot hold {} idle connections: {error}", load.idle))?;
        let context = Context {
            command: std::env::args().collect(),
            server: Some(server.pid()),
            processors: self.processors,
            pinned_to: self.apart.map(|(_, client)| client).into_iter().collect(),
        };
        let plan = load.plan(server.address(), length, seed);
        let mut watch = |_: &run::Progress| if self.signal().is_some() { Wish::Abort } else { Wish::Continue };
        let document = run::measure(&plan, &context, &mut watch)?;
        if self.signal().is_some() {
            return Err("a signal came".into());
        }
        Ok(document)
    }

    /// Starts the server on the processor that is its own, with all its threads: it inherits where we are.
    pub fn start(&self, contestant: &Contestant, protocol: Protocol) -> io::Result<Running> {
        let Some((first, last)) = self.apart else { return contestant.start(protocol) };
        host::pin(None, first);
        let running = contestant.start(protocol);
        host::pin(None, last);
        running
    }

    /// The signal that has come, if one has.
    pub fn signal(&self) -> Option<usize> {
        Some(self.signal.load(Ordering::Relaxed)).filter(|&signal| signal > 0)
    }
}

/// One line on a terminal, in the place of the one before.
fn show_progress(line: &str) {
    if io::stderr().is_terminal() {
        let _ = write!(io::stderr(), "\r\x1b[K{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shout_load::engine::Demand;

    #[test]
    fn a_load_is_what_the_tool_is_told() {
        let length = Length::of(Duration::from_millis(800));
        let plan = Load::tcp(64, 16, 100).plan("127.0.0.1:9".parse().unwrap(), length, 0xab);
        assert_eq!(plan.target.to_string(), "tcp://127.0.0.1:9");
        assert_eq!((plan.tcp_connections, plan.demand), (64, Demand::Closed { window: 16 }));
        assert_eq!((plan.content.shortest(), plan.content.longest()), (100, 100));
        assert_eq!((plan.duration, plan.warmup), (Some(Duration::from_millis(800)), Duration::from_millis(200)));
        assert_eq!((plan.tcp_timeout, plan.seed), (TCP_TIMEOUT, 0xab));
        let plan = Load::udp(3, 1, 0).plan("127.0.0.1:9".parse().unwrap(), length, 1);
        assert_eq!((plan.target.protocol, plan.udp_sockets, plan.udp_timeout), (Protocol::Udp, 3, UDP_TIMEOUT));
    }

    #[test]
    fn everyone_starts_once_before_anyone_starts_twice() {
        let order = |round| turns(3, round).collect::<Vec<_>>();
        assert_eq!([order(0), order(1), order(2), order(3)], [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
    }
}
