//! Where lost messages went, how they clustered, and what the percentiles are when they count. Pure: no I/O.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Runs of consecutive messages of one socket that were all lost, by their length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bursts {
    /// How many were 1, 2 to 3, 4 to 7, … messages long.
    counts: [u64; Self::SIZES],
    longest: u64,
    /// The length of the run that goes on.
    running: u64,
}

impl Bursts {
    /// Up to 2^20 messages and more.
    const SIZES: usize = 21;

    /// The next message in order was lost, or was not.
    pub fn push(&mut self, is_lost: bool) {
        if is_lost {
            self.running += 1;
        } else if self.running > 0 {
            self.end();
        }
    }

    fn end(&mut self) {
        let size = (self.running.ilog2() as usize).min(Self::SIZES - 1);
        self.counts[size] += 1;
        self.longest = self.longest.max(self.running);
        self.running = 0;
    }

    /// Adds those of another socket. A run that still goes on ends here.
    pub fn add(&mut self, mut other: Bursts) {
        if other.running > 0 {
            other.end();
        }
        self.longest = self.longest.max(other.longest);
        self.counts.iter_mut().zip(other.counts).for_each(|(sum, more)| *sum += more);
    }

    /// The longest run.
    pub fn longest(&self) -> u64 {
        self.longest
    }

    /// The sizes that occurred, as `1`, `2-3`, `4-7` and so on, each with its number of runs.
    pub fn sizes(&self) -> impl Iterator<Item = (String, u64)> {
        let named = |(size, &count): (usize, &u64)| {
            let (from, to) = (1_u64 << size, (2_u64 << size) - 1);
            let name = match size {
                0 => "1".into(),
                size if size == Self::SIZES - 1 => format!("{from}+"),
                _ => format!("{from}-{to}"),
            };
            (name, count)
        };
        self.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(named)
    }
}

/// What is known about the places where datagrams are dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drops {
    /// By the receive buffer of the server's socket, where the server runs on this machine.
    pub server: Option<u64>,
    /// By the receive buffers of our own sockets, where the system tells.
    pub client: Option<u64>,
    /// By our own network interface, which the send call reported.
    pub unsent: u64,
    /// By a machine on which nobody listens at the server's port, as far as it said so.
    pub refused: u64,
    /// Answers that came after their message had been given up.
    pub late: u64,
}

/// Where lost messages went. The parts add up to the number lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Attribution {
    /// Datagrams answered after the timeout.
    pub late: u64,
    /// Datagrams that the send call reported as not sent.
    pub never_sent: u64,
    /// Datagrams that came when nobody listened at the server's port, at least. The kernel keeps one such word for a
    /// socket, so of several in a row that were refused one may be here and the others of unknown cause.
    #[serde(default)]
    pub refused: u64,
    /// Datagrams dropped by the full receive buffer of the server's socket.
    pub server_rcvbuf: u64,
    /// Datagrams answered, and the answer dropped by the full receive buffer of our socket.
    pub client_rcvbuf: u64,
    /// Datagrams of which none of this is known.
    pub unknown: u64,
}

impl Attribution {
    /// Divides `lost` messages among their causes, the surest one first: a kernel's counter may include a datagram of
    /// somebody else or of a stage before, so no cause gets more than is left.
    pub fn of(lost: u64, drops: Drops) -> Self {
        let mut left = lost;
        let mut take = |most: u64| {
            let taken = most.min(left);
            left -= taken;
            taken
        };
        let late = take(drops.late);
        let never_sent = take(drops.unsent);
        let refused = take(drops.refused);
        let server_rcvbuf = take(drops.server.unwrap_or(0));
        let client_rcvbuf = take(drops.client.unwrap_or(0));
        Attribution { late, never_sent, refused, server_rcvbuf, client_rcvbuf, unknown: left }
    }
}

impl Attribution {
    /// What was lost in another run with this.
    #[must_use]
    pub fn plus(self, other: Attribution) -> Self {
        Attribution {
            late: self.late + other.late,
            never_sent: self.never_sent + other.never_sent,
            refused: self.refused + other.refused,
            server_rcvbuf: self.server_rcvbuf + other.server_rcvbuf,
            client_rcvbuf: self.client_rcvbuf + other.client_rcvbuf,
            unknown: self.unknown + other.unknown,
        }
    }
}

/// The quantile `q` when `unanswered` messages count as having taken for ever; `None` if it lies among them.
///
/// Percentiles of what was delivered flatter an overloaded server: the messages that it treated worst are not in them.
pub fn all_in(histogram: &Histogram<u64>, unanswered: u64, q: f64) -> Option<u64> {
    let answered = histogram.len();
    let rank = (q * (answered + unanswered) as f64).ceil().max(1.0);
    // The middle of the rank's own share: its very edge may be rounded into the next one.
    let quantile = (rank - 0.5) / answered as f64;
    (rank <= answered as f64).then(|| histogram.value_at_quantile(quantile).min(histogram.max()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_add_up_and_none_gets_more_than_is_left() {
        let drops = Drops { server: Some(70), client: Some(500), unsent: 5, refused: 7, late: 10 };
        let parts = Attribution::of(100, drops);
        let expected =
            Attribution { late: 10, never_sent: 5, refused: 7, server_rcvbuf: 70, client_rcvbuf: 8, unknown: 0 };
        assert_eq!(parts, expected);
        assert_eq!(Attribution::of(3, Drops::default()), Attribution { unknown: 3, ..Attribution::default() });
        assert_eq!(Attribution::of(0, drops), Attribution::default());
    }

    #[test]
    fn bursts_are_counted_by_their_length() {
        let mut bursts = Bursts::default();
        for character in "x.xx.xxx..xxxxx".chars() {
            bursts.push(character == 'x');
        }
        let mut sum = Bursts::default();
        sum.add(bursts);
        let sizes: Vec<_> = sum.sizes().collect();
        assert_eq!(sizes, [("1".into(), 1), ("2-3".into(), 2), ("4-7".into(), 1)]);
        assert_eq!(sum.longest(), 5);
    }

    #[test]
    fn what_was_lost_took_for_ever() {
        let mut histogram = crate::recorder::histogram();
        for value in 1..=990 {
            histogram.saturating_record(value);
        }
        assert_eq!(all_in(&histogram, 10, 0.5), Some(500));
        assert_eq!(all_in(&histogram, 10, 0.99), Some(990));
        assert_eq!(all_in(&histogram, 10, 0.991), None, "one of the ten that never came");
        assert_eq!(all_in(&crate::recorder::histogram(), 1, 0.5), None);
    }
}
