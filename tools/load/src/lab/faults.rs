//! Which message meets which fault. Pure: no I/O, no clock.
//!
//! A share of 1 % is one message in every hundred, at a random place among them, and not a coin thrown for each: so
//! 10,000 messages meet exactly 100 faults, and what a tool reports can be compared with `==`.

use std::time::Duration;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use shout::units;

use crate::clock::Nanos;
use crate::engine::Transport;
use crate::plan::nanos;

/// What is to go wrong; shares are from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Faults {
    /// Datagrams without an answer.
    pub drop: f64,
    /// Datagrams answered twice.
    pub duplicate: f64,
    /// Datagrams answered after the next one of the same client.
    pub reorder: f64,
    /// Datagrams whose answer also goes to another client.
    pub stray: f64,
    /// Datagrams whose answer loses its end.
    pub truncate: f64,
    /// Messages on TCP at which the connection ends in the middle of the answer.
    pub close_mid_reply: f64,
    /// Messages whose answer has a changed bit.
    pub corrupt: f64,
    /// Messages returned as they came.
    pub wrong_case: f64,
    /// Messages answered later.
    pub delay: Option<Delay>,
    /// When everything stops.
    pub stall: Option<Stall>,
    /// How long each new connection waits.
    pub slow_accept: Duration,
    /// Bytes that count as one message on a stream.
    pub size: usize,
    /// Repeats the places of all faults.
    pub seed: u64,
}

impl Default for Faults {
    /// A server that does nothing wrong.
    fn default() -> Self {
        Faults {
            drop: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            stray: 0.0,
            truncate: 0.0,
            close_mid_reply: 0.0,
            corrupt: 0.0,
            wrong_case: 0.0,
            delay: None,
            stall: None,
            slow_accept: Duration::ZERO,
            size: 64,
            seed: 1,
        }
    }
}

/// What happens to one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No answer.
    Drop,
    /// Two answers.
    Duplicate,
    /// The answer comes after the next one.
    Reorder,
    /// Somebody else gets the answer too.
    Stray,
    /// The answer is too short.
    Truncate,
    /// Half an answer, then the end of the connection.
    CloseMidReply,
    /// A changed bit.
    Corrupt,
    /// Not upper-cased.
    WrongCase,
    /// The answer comes later.
    Delay,
}

/// Which messages are answered later, and by how much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Delay {
    /// How much later.
    pub time: Duration,
    /// Which share of messages.
    pub share: f64,
}

impl Delay {
    /// Reads `20ms/1%`, or `20ms` for all messages.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (time, of) = text.split_once('/').unwrap_or((text, "100%"));
        Ok(Delay { time: units::duration(time)?, share: share(of)? })
    }
}

/// A stop at the end of every period, counted from the start of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// How long nothing is done.
    pub length: Duration,
    /// How often: longer than `length`.
    pub period: Duration,
}

impl Stall {
    /// Reads `100ms/1s`.
    pub fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "a stall looks like 100ms/1s: this long in every so long";
        let (length, period) = text.split_once('/').ok_or(FORM)?;
        let stall = Stall { length: units::duration(length)?, period: units::duration(period)? };
        let is_possible = stall.length > Duration::ZERO && stall.length < stall.period;
        if is_possible { Ok(stall) } else { Err("a stall is longer than nothing and shorter than its period".into()) }
    }

    /// When the stall ends that is going on at `now`; `None` if none is.
    pub fn until(self, now: Nanos) -> Option<Nanos> {
        let (length, period) = (nanos(self.length), nanos(self.period));
        let into = now % period;
        (into >= period - length).then_some(now - into + period)
    }
}

/// Reads a share such as `1%` or `0.01`.
pub fn share(text: &str) -> Result<f64, String> {
    let (number, whole) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let share = number.parse::<f64>().ok().map(|number| number / whole);
    share.filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "a share looks like 1% or 0.01".into())
}

/// Deals the faults of one transport to its messages, in the order in which they arrive.
#[derive(Debug)]
pub struct Dealer {
    piles: Vec<(Fault, Pile)>,
    random: Xoshiro256PlusPlus,
    dealt: u64,
}

impl Dealer {
    /// The faults that exist on `transport`.
    pub fn new(faults: &Faults, transport: Transport) -> Self {
        let delay = faults.delay.map_or(0.0, |delay| delay.share);
        let everywhere =
            [(Fault::Corrupt, faults.corrupt), (Fault::WrongCase, faults.wrong_case), (Fault::Delay, delay)];
        let here = match transport {
            Transport::Udp => vec![
                (Fault::Drop, faults.drop),
                (Fault::Duplicate, faults.duplicate),
                (Fault::Reorder, faults.reorder),
                (Fault::Stray, faults.stray),
                (Fault::Truncate, faults.truncate),
            ],
            Transport::Tcp => vec![(Fault::CloseMidReply, faults.close_mid_reply)],
        };
        let mut random = Xoshiro256PlusPlus::seed_from_u64(faults.seed);
        let shares = here.into_iter().chain(everywhere).filter(|(_, share)| *share > 0.0);
        let piles = shares.map(|(fault, share)| (fault, Pile::new(share, &mut random))).collect();
        Dealer { piles, random, dealt: 0 }
    }

    /// What happens to the next message. Where several faults fall on it, the first has it and the others do not
    /// happen.
    pub fn deal(&mut self) -> Option<Fault> {
        let number = self.dealt;
        self.dealt += 1;
        let mut chosen = None;
        for (fault, pile) in &mut self.piles {
            if pile.falls_on(number, &mut self.random) {
                chosen = chosen.or(Some(*fault));
            }
        }
        chosen
    }

    /// A place in the second half of `length` bytes: behind the number at the front of a message, which must still say
    /// what it was. `length` is at least 1.
    pub fn place_behind(&mut self, length: usize) -> usize {
        let half = length / 2;
        half + (self.random.next_u64() % (length - half) as u64) as usize
    }
}

/// One fault's places: one in each run of `1 / share` messages.
#[derive(Debug)]
struct Pile {
    share: f64,
    run: u64,
    next: u64,
}

impl Pile {
    fn new(share: f64, random: &mut Xoshiro256PlusPlus) -> Self {
        let mut pile = Pile { share, run: 0, next: 0 };
        pile.draw(random);
        pile
    }

    fn falls_on(&mut self, number: u64, random: &mut Xoshiro256PlusPlus) -> bool {
        let falls = number == self.next;
        if falls {
            self.run += 1;
            self.draw(random);
        }
        falls
    }

    fn draw(&mut self, random: &mut Xoshiro256PlusPlus) {
        // From the count of runs and not from the last place, so that rounding errors do not add up.
        let start_of = |run: u64| (run as f64 / self.share).round() as u64;
        let (start, end) = (start_of(self.run), start_of(self.run + 1));
        self.next = start + random.next_u64() % (end - start).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_share_is_met_exactly(one_in in 1u64..500, runs in 1u64..50, seed: u64) {
            let faults = Faults { drop: 1.0 / one_in as f64, seed, ..Faults::default() };
            let mut dealer = Dealer::new(&faults, Transport::Udp);
            let dropped = (0..one_in * runs).filter(|_| dealer.deal() == Some(Fault::Drop)).count();
            prop_assert_eq!(dropped as u64, runs);
        }

        #[test]
        fn any_share_is_met_to_within_one(drop in 0.001f64..=1.0, messages in 1u64..5000, seed: u64) {
            let mut dealer = Dealer::new(&Faults { drop, seed, ..Faults::default() }, Transport::Udp);
            let dropped = (0..messages).filter(|_| dealer.deal().is_some()).count() as f64;
            prop_assert!((dropped - messages as f64 * drop).abs() <= 1.5, "{} of {} at {}", dropped, messages, drop);
        }
    }

    #[test]
    fn a_seed_repeats_the_places_and_another_does_not() {
        let places = |seed| {
            let mut dealer = Dealer::new(&Faults { drop: 0.01, seed, ..Faults::default() }, Transport::Udp);
            (0..5000).map(|_| dealer.deal().is_some()).collect::<Vec<bool>>()
        };
        assert_eq!(places(1), places(1));
        assert_ne!(places(1), places(2));
    }

    #[test]
    fn a_stall_is_the_end_of_each_period() {
        let stall = Stall::parse("100ms/1s").unwrap();
        for (now_ms, until_ms) in
            [(0, None), (899, None), (900, Some(1000)), (999, Some(1000)), (1000, None), (2950, Some(3000))]
        {
            assert_eq!(stall.until(now_ms * 1_000_000), until_ms.map(|ms: u64| ms * 1_000_000), "{now_ms}");
        }
        for wrong in ["100ms", "1s/1s", "0/1s", "2s/1s", "a/b"] {
            assert!(Stall::parse(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn shares_are_percent_or_parts_of_one() {
        assert_eq!(
            (share("1%"), share("0.5%"), share("0.25"), share("100%")),
            (Ok(0.01), Ok(0.005), Ok(0.25), Ok(1.0))
        );
        for wrong in ["", "%", "101%", "1.5", "-1%", "NaN", "one"] {
            assert!(share(wrong).is_err(), "{wrong:?} was taken");
        }
        assert_eq!(Delay::parse("20ms"), Ok(Delay { time: Duration::from_millis(20), share: 1.0 }));
        assert_eq!(Delay::parse("1s/2%"), Ok(Delay { time: Duration::from_secs(1), share: 0.02 }));
    }
}
