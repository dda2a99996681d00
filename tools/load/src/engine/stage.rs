//! What the engine is told: its lanes, and one stretch of load after the other. Pure: no I/O.

use crate::clock::Nanos;
use crate::late::Late;
use crate::schedule::{Process, Profile};

/// What a lane is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Connected UDP sockets.
    Udp,
    /// TCP connections.
    Tcp,
}

impl Transport {
    /// Whether its messages can be lost one by one.
    pub fn is_datagrams(self) -> bool {
        self == Transport::Udp
    }

    /// The scheme of its URLs.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        }
    }
}

/// What asks for messages.
#[derive(Debug, Clone, PartialEq)]
pub enum Demand {
    /// Every answer makes room for the next message: as fast as the server answers.
    Closed {
        /// Messages under way on each lane, at least 1.
        window: usize,
    },
    /// A schedule, whatever the server does.
    Open {
        /// Messages a second over all lanes of all transports, from the start of the stage on.
        profile: Profile,
        /// How they are spread around that.
        process: Process,
        /// At most this many under way on each lane; the rest waits, and keeps its intended time.
        window: Option<usize>,
    },
}

/// One stretch of load on the engine's lanes.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// What asks for messages.
    pub demand: Demand,
    /// Send for this long.
    pub duration: Option<Nanos>,
    /// Send this many messages over all lanes, less those that are shed.
    pub messages: Option<u64>,
    /// What becomes of the messages of an open loop that cannot leave in time.
    pub late: Late,
    /// Repeats the arrival times.
    pub seed: u64,
}

/// Lanes of one transport, as the engine is told to set them up.
#[derive(Debug, Clone, Copy)]
pub struct LaneGroup {
    /// What they are made of.
    pub transport: Transport,
    /// How many.
    pub lanes: usize,
    /// An answer that takes longer is a loss; on TCP the connection is given up.
    pub timeout: Nanos,
}

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The peer closed it.
    Closed,
    /// The peer or the network broke it.
    Reset,
}
