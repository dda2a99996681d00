//! The command line: flags into plans. Pure, but for the file that `--payload` names and the number of processors.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use shout::target::{Protocol, Target};
use shout::units;

mod conditions;
mod crowd;
mod length;
#[cfg(test)]
mod tests;
mod threads;
mod values;

pub use self::conditions::Conditions;
pub(crate) use self::values::{connections, output, positive_duration, rate, rate_range, rate_steps, seed};
use self::values::{interval, lines, moment, positive_count, process, profile, ramp, stamps, train, window};
use crate::curves;
use crate::engine::Demand;
use crate::host;
use crate::lab;
use crate::late::Late;
use crate::merge;
use crate::pace::Pace;
use crate::payload::{Content, Lines, Sizes};
use crate::plan::{LONGEST_DATAGRAM, Plan, nanos};
use crate::schedule::{Process, Profile, Segment};
use crate::sockets::LONGEST_TRAIN;
use crate::trace;
use crate::verify;

const DEFAULT_TCP_CONNECTIONS: usize = 16;
const DEFAULT_DURATION: Duration = Duration::from_secs(10);
const DEFAULT_UDP_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_TCP_TIMEOUT: Duration = Duration::from_secs(5);

/// Without a target: 64 messages in flight on each transport, 5 s each, so that the whole job stays under 20 s.
const OWN_SERVER_DURATION: Duration = Duration::from_secs(5);
const OWN_SERVER_UDP_WINDOW: usize = 64;
const OWN_SERVER_TCP_WINDOW: usize = 64 / DEFAULT_TCP_CONNECTIONS;

const EXAMPLES: &str = "\
Examples:
  shout-load                                  flood a server of its own
  shout-load udp://localhost -d 30s           port 12000, as many as come back
  shout-load tcp://[::1]:9000 -c 64 -R 50k    50,000 a second, come what may
  shout-load tcp://localhost -o run.html      the same figures as a page
  shout-load search udp://localhost           the greatest rate that holds
  shout-load compare a.json b.json            is B slower, beyond the noise?
  shout-load merge a.json b.json -o all.html  two generators, one load
  shout-load verify echo://localhost          is the contract kept to the byte?";

/// Floods an upper-case echo service, verifies every reply, and reports latency histograms.
#[derive(Debug, Parser)]
#[command(name = "shout-load", version, args_conflicts_with_subcommands = true, before_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Box<Options>,
}

/// What the program is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// One run. This is also what happens without a command.
    Run(Box<Options>),
    /// Show a saved run again, and write it in other formats.
    Report(Saved),
    /// Check that a server keeps the contract: every byte value, size, cut and ending that tends to go wrong.
    Verify(verify::Options),
    /// An echo server that misbehaves as told, with an answer key at its end.
    Lab(Box<lab::Options>),
    /// Make a page of a trace of `shout-server --trace`: a timeline of what its loop did.
    Trace(trace::Options),
    /// Find the greatest rate that holds objectives: a lower and an upper bound, with their confidence.
    Search(curves::search::Options),
    /// Measure latency at one rate after the other: the throughput-latency curve and its knee.
    Sweep(curves::sweep::Options),
    /// Compare two saved runs, or two live servers in turns: by how much they differ, beyond the noise of this machine.
    Compare(curves::compare::Options),
    /// Add up saved runs that several generators or machines made of one load, without loss, into one.
    Merge(merge::Options),
}

/// The options of a report.
#[derive(Debug, Clone, Args)]
pub struct Saved {
    /// A run as `-o` wrote it, or several of --repeat: .json, or .html, which has it inside
    pub input: PathBuf,

    /// Print the run as JSON instead of text
    #[arg(long)]
    pub json: bool,

    /// Write a file: .json, .html, .hgrm for the response times, .hlog, .ndjson or .csv for the intervals; may be
    /// repeated
    #[arg(short, long, value_parser = output, value_name = "FILE")]
    pub output: Vec<Output>,
}

/// The options of a run.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// udp://HOST:PORT, tcp://HOST:PORT, or echo://HOST:PORT for both at once. Without it, a server of our own is
    /// started on the loopback interface and loaded over UDP and then over TCP.
    pub target: Option<Target>,

    /// Sockets or connections, for each transport [default: 1 UDP socket, 16 TCP connections]
    #[arg(short, long, value_parser = connections, value_name = "N")]
    pub connections: Option<usize>,

    /// How many generators there are, and where they run.
    #[command(flatten)]
    pub threads: threads::ThreadOptions,

    /// Messages a second in all, such as 50k or 200/ms: an open loop [default: a closed loop, as fast as replies come]
    #[arg(short = 'R', long, visible_alias = "qps", value_parser = rate, group = "open")]
    pub rate: Option<f64>,

    /// An open loop whose rate goes from A to B in the time of the run, such as 1k:50k
    #[arg(long, value_parser = ramp, value_name = "A:B", group = "open")]
    pub ramp: Option<(f64, f64)>,

    /// An open loop whose rate changes as told, such as 30s@10k,1m@50k,30s@10k-80k; the run is as long as that
    #[arg(long, value_parser = profile, value_name = "PLAN", group = "open", conflicts_with = "duration")]
    pub plan: Option<Profile>,

    /// How an open loop spreads its messages around its rate: poisson, const, uniform, burst:N (N at once), or
    /// onoff:ON,OFF such as onoff:10ms,90ms (all of them in the first part of each period)
    #[arg(long, value_parser = process, default_value = "poisson", requires = "open")]
    pub arrivals: Process,

    /// How long to send and measure [default: 10s; with -n, until that many are sent; without a target, 5s]
    #[arg(short, long, short_alias = 'z', value_parser = positive_duration)]
    pub duration: Option<Duration>,

    /// How many messages to send, over all connections, less those that --late sheds
    #[arg(short = 'n', long, value_parser = positive_count, value_name = "N")]
    pub requests: Option<u64>,

    /// How long the run goes on, if neither of these says so, and how often it is made.
    #[command(flatten)]
    pub length: length::LengthOptions,

    /// Messages in flight on each connection [default: 1; with -R, no bound; without a target, 64 in all]
    #[arg(short, long, value_parser = window, value_name = "DEPTH")]
    pub pipeline: Option<usize>,

    /// What becomes of connections besides messages.
    #[command(flatten)]
    pub crowd: crowd::CrowdOptions,

    /// Bytes a message: 64, uniform:64-1400, or mix:64=70,512=25,1400=5 (sizes and their weights); which message has
    /// which follows from --seed. If any may be below 24, none carries its number: see --payload
    #[arg(short, long, default_value = "64")]
    pub size: Sizes,

    /// Send the lines of this file (at most 16 MiB) instead, over and over, each without its line feed and otherwise as
    /// it is: samples of real messages are kept one a line, and bring their own sizes. So nothing in a datagram says
    /// which message it answers, and a UDP socket has one in flight: raise -c instead of -p
    #[arg(long, value_parser = lines, value_name = "FILE", conflicts_with = "size")]
    pub payload: Option<Arc<Lines>>,

    /// What an open loop does with a message that could not leave in time. queue: send it when it can be, with its
    /// waiting in its response time. shed:TIME: do not send it if it is later than that when its turn comes [shed
    /// alone: than --timeout]. cap:N: let N wait for each transport; what falls due while they do is not sent.
    /// Scheduled = sent + shed + left at the end; what is shed uses up -n, and what was shed or left is infinitely slow
    /// to --slo
    #[arg(long, default_value = "queue", requires = "open", value_name = "POLICY")]
    pub late: Late,

    /// How to wait for the time of a send. hybrid: with a timer up to 100 us before it, then polling without a pause.
    /// sleep: with a timer alone, some 10 to 60 us late. spin: polling all the time, for answers too, which takes a
    /// whole processor. With a single processor always sleep
    #[arg(long, value_enum, default_value_t, hide_possible_values = true, value_name = "HOW")]
    pub pace: Pace,

    /// Datagrams that one system call may send and receive, as far as the kernel can; off is the same as 1
    /// [default: 64]
    #[arg(long, value_parser = train, value_name = "N|off")]
    pub gso: Option<usize>,

    /// Have the kernel stamp one message in N, up to 5,000 a second, to tell the time of network and server from our own;
    /// off for none. Linux only
    #[arg(long, value_parser = stamps, default_value = "1/64", value_name = "1/N|off")]
    pub stamps: u64,

    /// After the run, measure each transport alone and both together, in turns on the same connections and with the same
    /// load for each: what each takes beside the other, as a multiple of what it takes alone, and how sure that is. Takes
    /// one and a half times as long again as the run. For echo:// and a constant rate, or none
    #[arg(long, conflicts_with_all = ["ramp", "plan"])]
    pub interference: bool,

    /// Load before the measurement, answered and then forgotten
    #[arg(short, long, value_parser = units::duration, default_value = "1s")]
    pub warmup: Duration,

    /// Begin to measure at this moment, such as 2026-11-22T07:31:02Z or what `date -Iseconds -d '+10 sec'` prints, with
    /// the warm-up before it: for several generators, whose runs `merge` adds up, to begin together [default: at once]
    #[arg(long, value_parser = moment, value_name = "TIME", requires = "target")]
    pub at: Option<u64>,

    /// A datagram unanswered for this long is lost; a connection that owes for this long is given up [default: 1s udp,
    /// 5s tcp]
    #[arg(long, value_parser = positive_duration)]
    pub timeout: Option<Duration>,

    /// Repeats payloads and arrival times: up to 16 hexadecimal digits [default: random, and printed]
    #[arg(long, value_parser = seed, value_name = "HEX")]
    pub seed: Option<u64>,

    /// How finely to record over time, at least 10ms; a run of many intervals keeps longer ones
    #[arg(short, long, value_parser = interval, default_value = "1s")]
    pub interval: Duration,

    /// Print the result as JSON, one line a run, instead of text; with --repeat and one of what they differ by
    #[arg(long)]
    pub json: bool,

    /// Write the result to a file as well: .json, .html (a page with charts, and with the run inside), .hgrm for the
    /// response times, .hlog, .ndjson or .csv for the intervals; may be repeated
    #[arg(short, long, value_parser = output, value_name = "FILE")]
    pub output: Vec<Output>,

    /// What the run is held against.
    #[command(flatten)]
    pub conditions: Conditions,

    /// No progress line
    #[arg(short, long)]
    pub quiet: bool,
}

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub format: Format,
}

/// What a file holds, by its extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The whole run.
    Json,
    /// A page for people, with the whole run inside.
    Html,
    /// The distribution of the response times.
    Hgrm,
    /// The histograms of the intervals, as `HdrHistogram`'s tools read them.
    Hlog,
    /// The intervals as JSON, one a line, each with its histograms.
    Ndjson,
    /// The intervals as a table.
    Csv,
}

impl Cli {
    /// What is to be done.
    pub fn command(self) -> Command {
        self.command.unwrap_or(Command::Run(self.run))
    }
}

impl Options {
    /// The plan for `target`, which is the server of our own if `is_own`. `random_seed` is for those who gave none.
    ///
    /// Fails where the size, or what is to become of connections, does not suit the transport.
    pub fn plan(&self, target: Target, is_own: bool, random_seed: u64) -> Result<Plan, String> {
        let has_udp = target.protocol != Protocol::Tcp;
        let has_tcp = target.protocol != Protocol::Udp;
        if self.interference && target.protocol != Protocol::Both {
            let whom = if is_own { "a server of our own".into() } else { format!("'{target}'") };
            return Err(format!(
                "'--interference' is between two transports: it needs a target such as echo://HOST:PORT, and not {whom}"
            ));
        }
        // A server of our own is loaded over TCP as well, in a run of its own.
        if !is_own {
            self.crowd.check(&target)?;
        }
        let content = self.content();
        if has_udp && content.longest() > LONGEST_DATAGRAM {
            return Err(format!("{} a datagram holds at most {LONGEST_DATAGRAM} bytes", self.refused(true)));
        }
        if has_tcp && content.shortest() == 0 {
            return Err(format!("{} a message on a stream has at least 1 byte", self.refused(false)));
        }
        let own_window = if has_udp { OWN_SERVER_UDP_WINDOW } else { OWN_SERVER_TCP_WINDOW };
        let until = self.length.until();
        let usual = if is_own { OWN_SERVER_DURATION } else { DEFAULT_DURATION };
        let usual = until.map_or(usual, |(_, most)| most);
        let demand = match self.profile(self.duration.unwrap_or(usual)) {
            Some(profile) => Demand::Open { profile, process: self.arrivals, window: self.pipeline },
            None => Demand::Closed { window: self.pipeline.unwrap_or(if is_own { own_window } else { 1 }) },
        };
        // A rate that changes has an end, whatever number of messages is asked for.
        let profile_end = match &demand {
            Demand::Open { profile, .. } if !profile.is_constant() => Some(Duration::from_nanos(profile.duration())),
            Demand::Open { .. } | Demand::Closed { .. } => None,
        };
        let threads = self.threads.threads;
        if let Some(few) = self.connections.filter(|few| *few < threads) {
            let refused = format!("invalid value '{threads}' for '--threads <N>'");
            return Err(format!("{refused}: each has at least one socket of each transport, and -c is {few}"));
        }
        Ok(Plan {
            target,
            udp_sockets: self.connections.unwrap_or(threads),
            tcp_connections: self.connections.unwrap_or(DEFAULT_TCP_CONNECTIONS.max(threads)),
            threads,
            demand,
            duration: profile_end.or(self.duration).or(self.requests.is_none().then_some(usual)),
            messages: self.requests,
            until: until.map(|(goal, _)| goal),
            warmup: self.warmup,
            content,
            late: self.late,
            // Asked here, before the generator is bound to one of them.
            pace: self.pace.with_processors(host::processors().len()),
            longest_train: self.gso.unwrap_or(LONGEST_TRAIN),
            stamp_one_in: self.stamps,
            udp_timeout: self.timeout.unwrap_or(DEFAULT_UDP_TIMEOUT),
            tcp_timeout: self.timeout.unwrap_or(DEFAULT_TCP_TIMEOUT),
            seed: self.seed.unwrap_or(random_seed),
            at: self.at,
            interval: self.interval,
            interference: self.interference,
            crowd: self.crowd.plan(),
        })
    }
}

impl Options {
    fn content(&self) -> Content {
        self.payload.clone().map_or_else(|| Content::Template(self.size.clone()), Content::Lines)
    }

    /// The beginning of a complaint about the longest or the shortest message.
    fn refused(&self, is_longest: bool) -> String {
        let Some(lines) = &self.payload else { return format!("invalid value '{}' for '--size <SIZE>':", self.size) };
        let (number, bytes) = if is_longest { lines.longest() } else { lines.shortest() };
        let file = lines.path().display();
        format!("invalid value '{file}' for '--payload <FILE>': line {number} has {bytes} bytes, and")
    }

    /// The rate of an open loop over a run that lasts so long, unless a plan says how long; `None` for a closed loop.
    fn profile(&self, duration: Duration) -> Option<Profile> {
        let ramp = |(from, to)| Profile::new(vec![Segment { duration: nanos(duration), from, to }]);
        let ramp = self.ramp.and_then(ramp);
        self.rate.map(Profile::constant).or(ramp).or_else(|| self.plan.clone())
    }
}

/// Reads the command line. `Err` carries the exit code of a program that is done.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, std::process::ExitCode> {
    shout::arguments::parse::<Cli>(arguments).map(Cli::command)
}

/// The options of a run that was given none.
pub(crate) fn default_run() -> Options {
    match read(["shout-load".into()]) {
        Ok(Command::Run(options)) => *options,
        Ok(_) | Err(_) => unreachable!("a run is what happens without a command, and no flag is required"),
    }
}

/// Reads a command line that this program made up itself.
pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, clap::Error> {
    Cli::try_parse_from(arguments).map(Cli::command)
}
