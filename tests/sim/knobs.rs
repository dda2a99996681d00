//! Everything that may differ between two runs, drawn from the seed. Pure: no I/O.
//!
//! Most knobs are off in most runs. A run in which everything goes wrong at once hides what a run in which one thing
//! goes wrong would show: Groce and others, "Swarm testing", ISSTA 2012.

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

/// Off in two runs of three, and otherwise anything between rare and frequent.
fn fault(random: &mut Random) -> OneIn {
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

    pub fn draw(random: &mut Random) -> Knobs {
        // A crowd is more connections than one turn drives. It is slow, so that it is rare and says little.
        let crowd = random.one_in(250);
        let peers = if crowd { random.between(257, 300) } else { random.below(9) };
        let chunk_len = random.magnitude(256);
        let text_len_max = if crowd { 8 } else { random.magnitude(600) };
        let buffer = |random: &mut Random| random.magnitude(256);
        let quick = random.one_in(2);
        let (short_max, shared_turns) = (random.pick(&[1, 8, 64, 4_096]), random.pick(&[1, 3, 20, 4_096]));
        let timeout = |random: &mut Random, least: usize, most: usize| {
            Duration::from_millis(if quick { random.between(least, most) as u64 } else { 60_000 })
        };
        let limits = Limits {
            connections_max: if crowd || random.one_in(2) { 300 } else { random.between(1, 5) },
            drive_bytes_max: random.magnitude(256),
            // A crowd has more to say than this at once, and so meets the bound.
            turn_bytes_max: if crowd { 16 } else { u64::MAX },
            shared_bytes_max: if random.one_in(2) { usize::MAX } else { random.magnitude(256) },
            short_max,
            shared_turns,
            idle_timeout: random.one_in(2).then(|| timeout(random, 100, 2_000)),
            stall_timeout: timeout(random, 100, 2_000),
            linger_timeout: timeout(random, 100, 1_000),
            unsent_max: if random.one_in(4) { random.magnitude(400) } else { usize::MAX },
        };
        Knobs {
            case: random.pick(&[Case::Ascii, Case::Unicode]),
            chunk_len,
            limits,
            events_max: random.pick(&[1, 2, 8, 1024]),
            turn_ms_max: random.pick(&[0, 1, 60]),
            drain_at_turn: random.one_in(3).then(|| random.below(100) as u64),
            force_at_turn: random.one_in(30).then(|| random.below(100) as u64),
            drain_ms: random.one_in(4).then(|| random.below(3_000) as u64),
            passed: random.one_in(6),
            peers,
            all_polite: crowd || random.one_in(2),
            text_len_max,
            segment_max: random.magnitude(256),
            send_buffer: buffer(random),
            receive_buffer: buffer(random),
            knows_unread: random.below(8) > 0,
            stall: random.pick(&[0, 2, 10]),
            stall_ms_max: random.pick(&[2, 50, 4_000]),
            descriptors: if random.one_in(4) { random.between(1, 5) } else { 1_000 },
            descriptors_of_others: if random.one_in(4) { 1_000 } else { 0 },
            faults: Faults {
                preempted: fault(random),
                interrupted: fault(random),
                spurious: fault(random),
                short_write: fault(random),
                pressure: fault(random),
                write_zero: fault(random) * 5,
                accept_error: fault(random),
                registration: fault(random),
            },
            udp: UdpKnobs::draw(random),
        }
    }
}

impl UdpKnobs {
    fn draw(random: &mut Random) -> UdpKnobs {
        let merging = random.one_in(2);
        // Long datagrams cost time, so that they are rare and few.
        let (bursts, burst_max, datagram_len_max) = match random.below(100) {
            0 => (3, 1, DATAGRAM_MAX),
            1 => (3, 64, 2_000),
            _ => (random.below(25), random.pick(&[1, 5, 64, 200]), random.magnitude(40)),
        };
        UdpKnobs {
            bursts,
            burst_max,
            datagram_len_max,
            messages_max: random.pick(&[1, 1, 2, 3, 8, 64]),
            segments_max: if merging { 64 } else { 1 },
            runs: match random.below(6) {
                0 => Runs::NoDevice,
                1 => Runs::LongerThan(random.magnitude(200)),
                2 => Runs::MoreThan(random.between(1, 8)),
                _ => Runs::Sent,
            },
            send_buffer: if random.one_in(2) { random.between(1, 64) } else { 1_000_000 },
            truncated: fault(random) * 2,
            to_group: fault(random) * 2,
            no_memory: fault(random) * 2,
            receive_error: fault(random),
            bad_addresses: fault(random),
            own_port_refused: random.below(4) > 0,
            // Divisors of a second in nanoseconds, so that nothing is rounded.
            rate_limit: if random.one_in(6) { NonZeroU32::new(random.pick(&[1, 5, 50, 1_000])) } else { None },
        }
    }
}
