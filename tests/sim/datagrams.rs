//! The UDP socket of the simulated kernel, those who send to it, and what it checks.
//!
//! Whatever is received and must be answered goes into a list of what is owed, datagram by datagram. Whatever is sent
//! must be the first of that list: so that one comparison covers order, addressee, boundaries, bytes and repetition.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use shout::batch::{Batch, DATAGRAM_MAX, DatagramIo, Message, Replies};
use shout::counters::Counters;

use crate::kernel::{Kernel, Source};
use crate::knobs::UdpKnobs;
use crate::oracles::{Oracle, raised};

/// The port of the server.
pub const OWN_PORT: u16 = 12_000;

/// Ports to which nothing can be sent, and why.
pub const POISON: [(u16, Errno); 4] =
    [(666, Errno::INVAL), (667, Errno::PERM), (668, Errno::HOSTUNREACH), (669, Errno::ACCESS)];

/// How many datagrams may wait to be received: the rest is lost, as in a full receive buffer.
const QUEUE_MAX: usize = 1_000;

/// The most segments that the kernel merges, and the most bytes.
const SEGMENTS_MAX: usize = 64;

/// A turn that has done so much work, in bytes, receives no more.
const TURN_WORK_MAX: usize = 64 * 1024;

/// The work of a message, and of each datagram in it, is no less than this however short they are.
const MESSAGE_WORK_MIN: usize = 512;
const DATAGRAM_WORK_MIN: usize = 64;

/// How many messages may be asked for before any has come: two, for one alone would not show that there is no other.
const WIDTH_MIN: usize = 2;

/// In a second.
const NANOSECONDS: u128 = 1_000_000_000;

/// A datagram on its way back.
#[derive(Debug, PartialEq, Eq)]
pub struct Owed {
    pub peer: SocketAddr,
    pub local: Option<IpAddr>,
    pub bytes: Vec<u8>,
}

/// What waits to be received.
#[derive(Debug)]
struct Arrived {
    message: Message,
    bytes: Vec<u8>,
}

#[derive(Debug)]
pub struct Udp {
    queue: VecDeque<Arrived>,
    pub owed: VecDeque<Owed>,
    /// How many the queue had no room for.
    drops: u64,
    /// Datagrams in the send buffer.
    pub sending: usize,
    /// The server has been told that there is no room, and is told when there is.
    pub no_space: bool,
    /// Room is announced.
    pub room_watched: bool,
    /// The device has said that it does not do runs; and had said so before the last receive.
    pub runs_refused: bool,
    pub runs_known_refused: bool,
    bursts_left: usize,
    /// When somebody sends, or the device does; `None` when nobody has anything to send.
    pub wake: Option<Instant>,
    /// Replies that the source may have, each of which counts as a second in nanoseconds; and as of when.
    bucket: u128,
    bucket_at: Instant,
    /// The server has not closed it; and, once it is to stop, whether its queue has been empty since.
    pub open: bool,
    pub found_empty: bool,
    /// How many messages the next receive may ask for, and must.
    width: RangeInclusive<usize>,
    /// The work received in this turn.
    pub work_this_turn: usize,
    /// The work of each message of the heaviest batch ever.
    heaviest: usize,
    /// What the counters must say at the end.
    pub tally: Counters,
}

impl Udp {
    pub fn new(knobs: &UdpKnobs, now: Instant) -> Udp {
        Udp {
            queue: VecDeque::new(),
            owed: VecDeque::new(),
            drops: 0,
            sending: 0,
            no_space: false,
            room_watched: false,
            runs_refused: false,
            runs_known_refused: false,
            bursts_left: knobs.bursts,
            wake: Some(now),
            bucket: u128::MAX / 2,
            bucket_at: now,
            open: true,
            found_empty: false,
            width: 1..=WIDTH_MIN,
            work_this_turn: 0,
            heaviest: MESSAGE_WORK_MIN,
            tally: Counters::default(),
        }
    }

    pub fn is_readable(&self) -> bool {
        !self.queue.is_empty()
    }

    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    pub fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// `sock_writeable`: half of the buffer is free.
    pub fn is_writable(&self, knobs: &UdpKnobs) -> bool {
        2 * self.sending <= knobs.send_buffer
    }
}

/// The socket, as the server has it.
pub struct Socket(pub Rc<RefCell<Kernel>>);

impl DatagramIo for Socket {
    fn messages_max(&self) -> usize {
        self.0.borrow().knobs.udp.messages_max
    }

    fn segments_max(&self) -> usize {
        self.0.borrow().knobs.udp.segments_max
    }

    fn receive(&mut self, batch: &mut Batch, width: usize) -> io::Result<()> {
        let mut kernel = self.0.borrow_mut();
        let result = kernel.receive(batch, width);
        kernel.say(format_args!("receive({width}) = {result:?}, {:?}", batch.messages));
        result
    }

    fn send(&mut self, bytes: &[u8], replies: &Replies, from: usize) -> io::Result<usize> {
        let mut kernel = self.0.borrow_mut();
        let result = kernel.send(bytes, replies, from);
        kernel.say(format_args!("send({:?}) = {result:?}", &replies.list[from..]));
        result
    }

    fn kernel_drops(&self) -> u64 {
        self.0.borrow().udp.drops
    }
}

impl Kernel {
    /// Somebody sends something, or the device gets rid of something.
    pub fn udp_acts(&mut self) {
        if self.udp.sending > 0 && (self.udp.bursts_left == 0 || self.random.one_in(2)) {
            self.udp.sending -= self.random.between(1, self.udp.sending);
            // A socket that is not connected reports room whenever something has left, missed or not.
            if self.udp.is_writable(&self.knobs.udp) && (self.udp.no_space || self.random.one_in(4)) {
                self.udp.no_space = false;
                if self.udp.room_watched {
                    self.edge(Source::Udp);
                }
            }
        } else if self.udp.bursts_left > 0 {
            self.udp.bursts_left -= 1;
            self.burst();
        }
        let more = self.udp.sending + self.udp.bursts_left > 0;
        let pause = if self.random.one_in(4) { self.random.magnitude(50) } else { 0 };
        self.udp.wake = more.then_some(self.now + Duration::from_millis(pause as u64));
    }

    /// `EPOLL_CTL_MOD`: what is true of the socket by now is reported at once.
    pub fn watch_room(&mut self, wanted: bool) -> io::Result<()> {
        self.preempt();
        self.progress();
        if self.random.one_in(self.knobs.faults.registration) {
            return Err(Errno::NOMEM.into());
        }
        self.udp.room_watched = wanted;
        self.edge(Source::Udp);
        Ok(())
    }

    fn burst(&mut self) {
        let knobs = self.knobs.udp.clone();
        let (peer, local) = (self.address(), self.random.pick(&[None, None, Some(IpAddr::V4(Ipv4Addr::LOCALHOST))]));
        let count = self.random.between(1, knobs.burst_max);
        let longest = knobs.datagram_len_max;
        // Long ones are nearly as long as can be, so that some become too long by growing.
        let least = if longest == DATAGRAM_MAX { longest * 9 / 10 } else { 1 + self.random.below(longest) };
        let length = self.random.between(least, longest);
        if knobs.segments_max > 1 && self.random.one_in(2) {
            // A train is merged into as many messages as it needs. The last datagram of one may be shorter.
            let count = count.clamp(2, SEGMENTS_MAX).min(DATAGRAM_MAX / length);
            for _ in 0..self.random.between(1, 3) {
                let missing = if self.random.one_in(2) { self.random.below(length) } else { 0 };
                let total = count * length - missing;
                let segment = if total > length { length } else { 0 };
                self.arrive(peer, local, total, segment);
            }
        } else {
            for _ in 0..count {
                // Mostly one size, so that replies can be joined; sometimes another, or nothing at all.
                let other = self.random.below(length + 1);
                let length = self.random.pick(&[length, length, length, other]);
                self.arrive(peer, local, length, 0);
            }
        }
        self.say(format_args!("    {peer} sends {count} times {length} bytes"));
        self.edge(Source::Udp);
    }

    fn arrive(&mut self, peer: SocketAddr, local: Option<IpAddr>, length: usize, segment: usize) {
        if !self.udp.open {
            // Nobody has it any more.
        } else if self.udp.queue.len() == QUEUE_MAX {
            self.udp.drops += 1;
        } else {
            let truncated = self.random.one_in(self.knobs.udp.truncated);
            let to_group = self.random.one_in(self.knobs.udp.to_group);
            let message = Message { peer, local, to_group, length, segment, truncated };
            self.udp.queue.push_back(Arrived { message, bytes: self.random.text(length) });
        }
    }

    fn address(&mut self) -> SocketAddr {
        let bad = self.random.one_in(self.knobs.udp.bad_addresses);
        let poison = self.random.pick(&POISON).0;
        let port = if bad { self.random.pick(&[0, OWN_PORT, poison, poison]) } else { 40_000 };
        let hosts = if self.knobs.udp.rate_limit.is_some() { 1 } else { 3 };
        SocketAddr::from(([127, 0, 0, self.random.between(1, hosts) as u8], port))
    }

    fn receive(&mut self, batch: &mut Batch, width: usize) -> io::Result<()> {
        self.preempt();
        if !batch.messages.is_empty() || !(1..=self.knobs.udp.messages_max).contains(&width) {
            self.violate(Oracle::Datagrams, format!("receives {width} into {:?}", batch.messages));
        }
        if !self.udp.width.contains(&width) {
            self.violate(Oracle::Width, format!("asks for {width} messages and not for {:?}", self.udp.width));
        }
        if self.has_left_queues() {
            self.violate(Oracle::Stopping, "datagrams are received that are the next server's");
        }
        if self.udp.work_this_turn >= TURN_WORK_MAX {
            self.violate(Oracle::Budget, format!("{TURN_WORK_MAX} bytes of datagrams are not enough for a turn"));
        }
        if !self.udp.owed.is_empty() {
            self.violate(Oracle::Datagrams, format!("receives while it owes {:?}", self.udp.owed));
        }
        if self.random.one_in(self.knobs.faults.interrupted) {
            self.progress();
            return Err(Errno::INTR.into());
        }
        if self.random.one_in(self.knobs.udp.receive_error) {
            self.udp.tally.udp_receive_errors += 1;
            self.progress();
            return Err(Errno::CONNREFUSED.into());
        }
        if self.udp.queue.is_empty() {
            self.udp.found_empty = true;
            self.udp.width = 1..=WIDTH_MIN;
            return Err(Errno::WOULDBLOCK.into());
        }
        self.udp.tally.udp_dropped_by_kernel = self.udp.drops;
        let count = width.min(self.udp.queue.len());
        self.udp.runs_known_refused = self.udp.runs_refused;
        let arrived: Vec<Arrived> = self.udp.queue.drain(..count).collect();
        self.udp.found_empty |= count < width;
        self.expect_width(count, count == width, &arrived);
        self.shared_turns = self.knobs.limits.shared_turns;
        for (slot, Arrived { bytes, .. }) in batch.slots_mut().zip(&arrived) {
            slot[..bytes.len()].copy_from_slice(bytes);
        }
        for Arrived { message, bytes } in arrived {
            batch.messages.push(message);
            for datagram in in_segments(&bytes, message.segment) {
                self.owe(message, datagram);
            }
        }
        self.progress();
        Ok(())
    }

    /// How many messages the next receive asks for. The preparation of each costs time, and so does each call; and more
    /// of the kind that came last must not be asked for than make a turn's work, as far as more than two are.
    fn expect_width(&mut self, count: usize, was_full: bool, arrived: &[Arrived]) {
        let datagrams = arrived.iter().map(|Arrived { message: Message { length, segment, .. }, .. }| match segment {
            0 => 1,
            segment => length.div_ceil(*segment),
        });
        let bytes: usize = arrived.iter().map(|Arrived { message, .. }| message.length).sum();
        let least = (MESSAGE_WORK_MIN * count).max(DATAGRAM_WORK_MIN * datagrams.sum::<usize>());
        let work = bytes.max(least);
        let each = work / count;
        self.udp.work_this_turn += work;
        self.udp.heaviest = self.udp.heaviest.max(each);
        let wanted = WIDTH_MIN.max(if was_full { 2 * count } else { count });
        let most = wanted.min(WIDTH_MIN.max(TURN_WORK_MAX / each));
        let least = wanted.min(WIDTH_MIN.max(TURN_WORK_MAX / self.udp.heaviest)).min(self.knobs.udp.messages_max);
        self.udp.width = if was_full { least } else { 1 }..=most;
    }

    /// What becomes of a datagram that has been received.
    fn owe(&mut self, message: Message, datagram: &[u8]) {
        let Message { peer, local, to_group, truncated, .. } = message;
        let tally = &mut self.udp.tally;
        tally.udp_received += 1;
        tally.udp_received_bytes += datagram.len() as u64;
        if peer.port() == 0 || (peer.port() == OWN_PORT && self.knobs.udp.own_port_refused) {
            tally.udp_dropped_source_port += 1;
        } else if to_group {
            tally.udp_dropped_group += 1;
        } else if truncated {
            tally.udp_dropped_truncated += 1;
        } else if !self.allows() {
            self.udp.tally.udp_dropped_rate += 1;
        } else {
            let bytes = raised(self.knobs.case, datagram);
            if bytes.len() > DATAGRAM_MAX {
                self.udp.tally.udp_dropped_too_long += 1;
            } else {
                self.udp.owed.push_back(Owed { peer, local, bytes });
            }
        }
    }

    /// Whether the source may have one more reply: a bucket that holds a second's worth, and fills in a second.
    fn allows(&mut self) -> bool {
        let Some(rate) = self.knobs.udp.rate_limit else { return true };
        let full = NANOSECONDS * u128::from(rate.get());
        let filled = (self.now - self.udp.bucket_at).as_nanos() * u128::from(rate.get());
        self.udp.bucket = full.min(self.udp.bucket + filled);
        self.udp.bucket_at = self.now;
        let allowed = self.udp.bucket >= NANOSECONDS;
        self.udp.bucket -= if allowed { NANOSECONDS } else { 0 };
        allowed
    }

    /// What must hold of the datagrams when the loop is about to sleep.
    pub fn check_udp_rest(&mut self) {
        let (owes, readable) = (self.udp.owes(), self.udp.is_readable() && !self.has_left_queues());
        if self.udp.open && self.udp.is_writable(&self.knobs.udp) && (owes || readable) {
            self.violate(Oracle::Liveness, format!("the loop sleeps; UDP: owes {owes}, readable {readable}"));
        }
    }

    /// Everything is over: all that was received has been answered, or counted as dropped.
    pub fn check_udp_counters(&mut self, counters: &Counters) {
        let is_udp = |(name, ..): &(&str, &str, u64)| name.starts_with("udp_");
        let pairs = counters.each().zip(self.udp.tally.each()).filter(|(counted, _)| is_udp(counted));
        let wrong: Vec<String> = pairs
            .filter(|(counted, tally)| counted.2 != tally.2)
            .map(|(counted, tally)| format!("{} is {}, not {}", counted.0, tally.2, counted.2))
            .collect();
        if !wrong.is_empty() {
            self.violate(Oracle::Counters, wrong.join("; "));
        }
    }
}

/// The datagrams of a message: itself, or its pieces of one size.
pub fn in_segments(bytes: &[u8], segment: usize) -> impl Iterator<Item = &[u8]> {
    let whole = (segment == 0).then_some(bytes);
    whole.into_iter().chain(bytes.chunks(segment.max(1)).filter(move |_| segment > 0))
}
