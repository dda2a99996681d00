//! What a run is to do, checked and complete. Pure: no I/O.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use shout::target::{Protocol, Target};

use crate::clock::Nanos;
use crate::engine::{Demand, Stage, Transport};
use crate::late::Late;
use crate::pace::Pace;
use crate::payload::Content;
use crate::schedule::{Process, Profile};
use crate::sockets::{Dialler, Sources};
use crate::team::Share;
use crate::until::Goal;

/// The longest payload of a UDP datagram over IPv4: 65,535 less 20 bytes of IP header and 8 of UDP header.
pub const LONGEST_DATAGRAM: usize = 65_507;

/// Lanes of one transport. Two transports together stay within the 16 bits that a header has for the lane.
pub const MOST_LANES: usize = 32_000;

/// One run, with every setting decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Whom to load.
    pub target: Target,
    /// UDP sockets, if the target has UDP.
    pub udp_sockets: usize,
    /// TCP connections, if the target has TCP.
    pub tcp_connections: usize,
    /// What asks for messages.
    pub demand: Demand,
    /// How long to send and measure; `None`: until `messages` have been sent.
    pub duration: Option<Duration>,
    /// How many messages to send, at most.
    pub messages: Option<u64>,
    /// Stop before that, when a percentile is known this closely.
    pub until: Option<Goal>,
    /// How long to send before measuring; what is sent then is answered before the measurement starts, and not counted.
    pub warmup: Duration,
    /// What messages are made of.
    pub content: Content,
    /// What becomes of the messages of an open loop that cannot leave in time.
    pub late: Late,
    /// How to wait for the time of a send.
    pub pace: Pace,
    /// Generators that make the load together, each on a thread of its own with its share of sockets and rate; at least 1,
    /// and at most one for each socket.
    pub threads: usize,
    /// The most datagrams that one system call sends; 1 does without segmentation and merging.
    pub longest_train: usize,
    /// One message in so many carries kernel timestamps; 0 is none.
    pub stamp_one_in: u64,
    /// A UDP answer that takes longer is lost.
    pub udp_timeout: Duration,
    /// A TCP connection that owes an answer for longer is given up.
    pub tcp_timeout: Duration,
    /// Repeats payloads and arrival times.
    pub seed: u64,
    /// When the measurement is to begin, in nanoseconds since 1970; `None`: after the warm-up.
    pub at: Option<u64>,
    /// How finely the measurement is recorded over time; above 0.
    pub interval: Duration,
    /// Whether to measure each transport alone as well, and what it takes beside the other.
    pub interference: bool,
    /// What becomes of connections, and which others stand beside them.
    pub crowd: Crowd,
}

/// What a run does with connections besides sending messages on them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Crowd {
    /// Replace each TCP connection after so many messages, at least 1.
    pub churn: Option<u64>,
    /// Connections beside the others on which nothing is sent.
    pub idle: usize,
    /// Connections beside the others that send as much as is taken and read little.
    pub slow_readers: usize,
    /// Connections beside the others that send, end their half, and expect the rest.
    pub half_closers: usize,
    /// At most this many connections are opened a second, before the load begins; above 0.
    pub connect_rate: Option<f64>,
    /// The local addresses that sockets are bound to, in turn; `None`: what the kernel chooses.
    pub source: Option<IpNet>,
}

impl Crowd {
    /// Connections beside those that are measured.
    pub fn companions(&self) -> usize {
        self.idle + self.slow_readers + self.half_closers
    }

    /// Opens connections to this address as this says.
    pub fn dialler(&self, address: SocketAddr) -> Dialler {
        Dialler::new(address, Sources::new(self.source), self.connect_rate)
    }
}

impl Plan {
    /// The transports of the target, in the order of their lanes, each with its number of lanes and its timeout.
    pub fn transports(&self) -> Vec<(Transport, usize, Nanos)> {
        let udp = (Transport::Udp, self.udp_sockets, nanos(self.udp_timeout));
        let tcp = (Transport::Tcp, self.tcp_connections, nanos(self.tcp_timeout));
        match self.target.protocol {
            Protocol::Udp => vec![udp],
            Protocol::Tcp => vec![tcp],
            Protocol::Both => vec![udp, tcp],
        }
    }

    /// The lanes of all transports.
    pub fn lanes(&self) -> usize {
        self.transports().iter().map(|(_, lanes, _)| lanes).sum()
    }

    /// The sockets of one of the threads, and everything else as it is.
    #[must_use]
    pub fn part(&self, share: Share) -> Plan {
        let part = |whole: usize| share.part(whole as u64) as usize;
        let (udp_sockets, tcp_connections) = (part(self.udp_sockets), part(self.tcp_connections));
        Plan { udp_sockets, tcp_connections, ..self.clone() }
    }

    /// The load before the measurement; `None` if there is to be none.
    pub fn warmup_stage(&self) -> Option<Stage> {
        let demand = match &self.demand {
            // A changing rate begins in the measurement; until then the load is what it begins with.
            Demand::Open { profile, process, window } => {
                Demand::Open { profile: Profile::constant(profile.first_rate()), process: *process, window: *window }
            }
            Demand::Closed { window } => Demand::Closed { window: *window },
        };
        // The seed differs, so that the measurement does not repeat what the warm-up has just played.
        (self.warmup > Duration::ZERO).then(|| Stage {
            demand,
            duration: Some(nanos(self.warmup)),
            messages: None,
            late: self.late,
            seed: !self.seed,
        })
    }

    /// The load that is measured.
    pub fn measured_stage(&self) -> Stage {
        Stage {
            demand: self.demand.clone(),
            duration: self.duration.map(nanos),
            messages: self.messages,
            late: self.late,
            seed: self.seed,
        }
    }

    /// The demand in the words of a report.
    pub fn model(&self) -> Model {
        let (name, rate, profile, arrivals, window) = match &self.demand {
            Demand::Closed { window } => ("closed", None, None, None, Some(*window)),
            Demand::Open { profile, process, window } => {
                let changing = (!profile.is_constant()).then(|| profile.to_string());
                ("open", Some(profile.mean_rate()), changing, Some(*process), *window)
            }
        };
        // Without numbers in them, datagrams are told apart by there being only one: see the engine.
        let only_one = !self.content.is_numbered() && self.target.protocol == Protocol::Udp;
        let window = if only_one { Some(1) } else { window.map(|window| window as u64) };
        Model { name, rate, profile, arrivals, window }
    }
}

/// The demand in the words of a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// `open` or `closed`.
    pub name: &'static str,
    /// Messages a second that are asked for, on average.
    pub rate: Option<f64>,
    /// How that changes over time, if it does: as `--plan` takes it.
    pub profile: Option<String>,
    /// How they are spread.
    pub arrivals: Option<Process>,
    /// The bound on messages in flight on each lane.
    pub window: Option<u64>,
}

/// A span as the engine counts it.
pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
