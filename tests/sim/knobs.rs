//! Everything that may differ between two runs, drawn from the seed. Pure: no I/O.
//!
//! Most knobs are off in most runs. A run in which everything goes wrong at once hides what a run in which one thing
//! goes wrong would show: Groce and others, "Swarm testing", ISSTA 2012.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use shout::batch::DATAGRAM_MAX;
use shout::connections::Limits;
use shout::uppercase::Case;

use crate::random::Random;

/// How often something goes wrong: once in so many calls, or never for zero.
pub type OneIn = usize;

#[derive(Debug, Clone)]
pub struct Knobs {
    /// When faults end and progress is demanded, in runs that have such a second phase.
    pub calm_at_turn: Option<u64>,
    pub case: Case,
    /// The longest read of the server.
    pub chunk_len: usize,
    pub limits: Limits,
    /// The most events that one wait returns.
    pub events_max: usize,
    /// The most milliseconds that a turn takes.
    pub turn_ms_max: usize,
    /// When the server is told to stop; in any case it is once all is quiet.
    pub drain_at_turn: Option<u64>,
    /// When it is told again, and closes everybody at once.
    pub force_at_turn: Option<u64>,
    /// How long it may take to stop; for ever where this is not said.
    pub drain_ms: Option<u64>,
    /// Whether its sockets are those of the next server when it stops.
    pub passed: bool,
    pub peers: usize,
    /// Whether all of them behave.
    pub all_polite: bool,
    pub text_len_max: usize,
    /// The most bytes that a peer writes or reads at once.
    pub segment_max: usize,
    pub send_buffer: usize,
    pub receive_buffer: usize,
    /// Whether the server can find out how much has arrived that it has not read.
    pub knows_unread: bool,
    /// How often a peer pauses after what it did, and for how long at most.
    pub stall: OneIn,
    pub stall_ms_max: usize,
    /// How many connections there are descriptors for, and how many of these others take now and then.
    pub descriptors: usize,
    pub descriptors_of_others: usize,
    pub faults: Faults,
    pub udp: UdpKnobs,
}

#[derive(Debug, Clone)]
pub struct Faults {
    /// A peer acts in the middle of a system call.
    pub preempted: OneIn,
    pub interrupted: OneIn,
    /// A wait reports what has not happened, perhaps of what does not exist.
    pub spurious: OneIn,
    /// A write takes less than there is room for.
    pub short_write: OneIn,
    /// After a short write there is no room until the peer does something, whatever the buffer's size.
    pub pressure: OneIn,
    pub write_zero: OneIn,
    pub accept_error: OneIn,
    pub registration: OneIn,
}

#[derive(Debug, Clone)]
pub struct UdpKnobs {
    /// How many times a peer sends something; each time may be several datagrams.
    pub bursts: usize,
    pub burst_max: usize,
    pub datagram_len_max: usize,
    /// The most messages that one call receives or sends.
    pub messages_max: usize,
    /// 64 where the kernel merges what arrives and splits what leaves, otherwise 1.
    pub segments_max: usize,
    pub runs: Runs,
    /// How many datagrams the send buffer holds.
    pub send_buffer: usize,
    pub truncated: OneIn,
    /// Datagrams are sent to a broadcast or multicast address.
    pub to_group: OneIn,
    pub no_memory: OneIn,
    pub receive_error: OneIn,
    /// Datagrams come from addresses that must not be answered, or to which nothing can be sent.
    pub bad_addresses: OneIn,
    pub own_port_refused: bool,
    /// Replies a second to one source; then all peers share one address.
    pub rate_limit: Option<NonZeroU32>,
}

/// What the kernel thinks of sending several datagrams at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    Sent,
    /// The device cannot: `EIO`, every time.
    NoDevice,
    /// More than so many bytes are too long for the path: `EMSGSIZE`.
    LongerThan(usize),
    /// More than so many datagrams are too many: `EINVAL`.
    MoreThan(usize),
}

/// The generators of one seed's knobs. No two knobs share one, for then they would be large or off together.
struct Generators {
    seed: u64,
    given: BTreeSet<&'static str>,
}

impl Generators {
    fn knob(&mut self, name: &'static str) -> Random {
        assert!(self.given.insert(name), "two knobs are called {name}");
        Random::named(self.seed, name)
    }
}

/// Drawn in one run of so many.
fn one_in<T>(n: usize, mut random: Random, draw: impl FnOnce(&mut Random) -> T) -> Option<T> {
    random.one_in(n).then(|| draw(&mut random))
}

/// Off in two runs of three, and otherwise anything between rare and frequent.
fn fault(mut random: Random) -> OneIn {
    if random.below(3) > 0 { 0 } else { random.pick(&[2, 4, 10, 40]) }
}

impl Knobs {
    /// From now on nothing goes wrong: no fault, no pause, no want of descriptors. What was drawn besides stays as it is.
    pub fn calm(&mut self) {
        let (stall, descriptors_of_others) = (0, 0);
        let faults = Faults {
            preempted: 0,
            interrupted: 0,
            spurious: 0,
            short_write: 0,
            pressure: 0,
            write_zero: 0,
            accept_error: 0,
            registration: 0,
        };
        let udp = UdpKnobs {
            truncated: 0,
            to_group: 0,
            no_memory: 0,
            receive_error: 0,
            bad_addresses: 0,
            ..self.udp.clone()
        };
        *self = Knobs { stall, descriptors_of_others, faults, udp, ..self.clone() };
    }

    /// The most bytes that one drive can read.
    pub fn longest_drive(&self) -> u64 {
        self.limits.drive_bytes_max.min(self.text_len_max).max(1) as u64
    }

    pub fn draw(seed: u64) -> Knobs {
        let of = &mut Generators { seed, given: BTreeSet::new() };
        // A crowd is more connections than one turn drives. It is slow, so that it is rare and says little.
        let crowd = of.knob("crowd").one_in(250);
        let peers = if crowd { of.knob("crowd_peers").between(257, 300) } else { of.knob("peers").below(9) };
        let turn = |random: &mut Random| random.below(100) as u64;
        Knobs {
            calm_at_turn: one_in(3, of.knob("calm_at_turn"), turn),
            case: of.knob("case").pick(&[Case::Ascii, Case::Unicode]),
            chunk_len: of.knob("chunk_len").magnitude(256),
            limits: limits(of, crowd),
            events_max: of.knob("events_max").pick(&[1, 2, 8, 1024]),
            turn_ms_max: of.knob("turn_ms_max").pick(&[0, 1, 60]),
            drain_at_turn: one_in(3, of.knob("drain_at_turn"), turn),
            force_at_turn: one_in(30, of.knob("force_at_turn"), turn),
            drain_ms: one_in(4, of.knob("drain_ms"), |random| random.below(3_000) as u64),
            passed: of.knob("passed").one_in(6),
            peers,
            all_polite: of.knob("all_polite").one_in(2) || crowd,
            text_len_max: if crowd { 8 } else { of.knob("text_len_max").magnitude(600) },
            segment_max: of.knob("segment_max").magnitude(256),
            send_buffer: of.knob("send_buffer").magnitude(256),
            receive_buffer: of.knob("receive_buffer").magnitude(256),
            knows_unread: of.knob("knows_unread").below(8) > 0,
            stall: of.knob("stall").pick(&[0, 2, 10]),
            stall_ms_max: of.knob("stall_ms_max").pick(&[2, 50, 4_000]),
            descriptors: one_in(4, of.knob("descriptors"), |random| random.between(1, 5)).unwrap_or(1_000),
            descriptors_of_others: if of.knob("descriptors_of_others").one_in(4) { 1_000 } else { 0 },
            faults: Faults {
                preempted: fault(of.knob("preempted")),
                interrupted: fault(of.knob("interrupted")),
                spurious: fault(of.knob("spurious")),
                short_write: fault(of.knob("short_write")),
                pressure: fault(of.knob("pressure")),
                write_zero: fault(of.knob("write_zero")) * 5,
                accept_error: fault(of.knob("accept_error")),
                registration: fault(of.knob("registration")),
            },
            udp: UdpKnobs::draw(of),
        }
    }
}

fn limits(of: &mut Generators, crowd: bool) -> Limits {
    let quick = of.knob("quick").one_in(2);
    let timeout = |mut random: Random, most: usize| {
        Duration::from_millis(if quick { random.between(100, most) as u64 } else { 60_000 })
    };
    let room = one_in(2, of.knob("connections_max"), |random| random.between(1, 5));
    Limits {
        connections_max: room.filter(|_| !crowd).unwrap_or(300),
        drive_bytes_max: of.knob("drive_bytes_max").magnitude(256),
        // A crowd has more to say than this at once, and so meets the bound.
        turn_bytes_max: if crowd { 16 } else { u64::MAX },
        shared_bytes_max: one_in(2, of.knob("shared_bytes_max"), |random| random.magnitude(256)).unwrap_or(usize::MAX),
        short_max: of.knob("short_max").pick(&[1, 8, 64, 4_096]),
        shared_turns: of.knob("shared_turns").pick(&[1, 3, 20, 4_096]),
        idle_timeout: of.knob("has_idle_timeout").one_in(2).then(|| timeout(of.knob("idle_timeout"), 2_000)),
        stall_timeout: timeout(of.knob("stall_timeout"), 2_000),
        linger_timeout: timeout(of.knob("linger_timeout"), 1_000),
        unsent_max: one_in(4, of.knob("unsent_max"), |random| random.magnitude(400)).unwrap_or(usize::MAX),
    }
}

impl UdpKnobs {
    fn draw(of: &mut Generators) -> UdpKnobs {
        // Long datagrams cost time, so that they are rare and few.
        let (bursts, burst_max, datagram_len_max) = match of.knob("long_datagrams").below(100) {
            0 => (3, 1, DATAGRAM_MAX),
            1 => (3, 64, 2_000),
            _ => (
                of.knob("bursts").below(25),
                of.knob("burst_max").pick(&[1, 5, 64, 200]),
                of.knob("datagram_len_max").magnitude(40),
            ),
        };
        let mut runs = of.knob("runs");
        // Divisors of a second in nanoseconds, so that nothing is rounded.
        let rate_limit = one_in(6, of.knob("rate_limit"), |random| random.pick(&[1, 5, 50, 1_000]));
        UdpKnobs {
            bursts,
            burst_max,
            datagram_len_max,
            messages_max: of.knob("messages_max").pick(&[1, 1, 2, 3, 8, 64]),
            segments_max: if of.knob("segments_max").one_in(2) { 64 } else { 1 },
            runs: match runs.below(6) {
                0 => Runs::NoDevice,
                1 => Runs::LongerThan(runs.magnitude(200)),
                2 => Runs::MoreThan(runs.between(1, 8)),
                _ => Runs::Sent,
            },
            send_buffer: one_in(2, of.knob("udp_send_buffer"), |random| random.between(1, 64)).unwrap_or(1_000_000),
            truncated: fault(of.knob("truncated")) * 2,
            to_group: fault(of.knob("to_group")) * 2,
            no_memory: fault(of.knob("no_memory")) * 2,
            receive_error: fault(of.knob("receive_error")),
            bad_addresses: fault(of.knob("bad_addresses")),
            own_port_refused: of.knob("own_port_refused").below(4) > 0,
            rate_limit: rate_limit.and_then(NonZeroU32::new),
        }
    }
}
