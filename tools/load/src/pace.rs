//! Waiting until a time, to the microsecond, inside a poll. Does I/O: one timer descriptor.
//!
//! `mio::Poll` rounds a timeout up to whole milliseconds, which no schedule of 50,000 messages a second survives. On
//! Linux the deadline is therefore a timer descriptor in the poll. Elsewhere it is the timeout of the poll, and coarse.
//!
//! Even so a thread wakes up later than it asked. Before a send it therefore wakes up early and *spins*: it polls without
//! waiting until the time has come. Answers are received meanwhile, so nothing is put off. On a virtual machine with two
//! cores the median message of `shout-load -R 5k` left 0.5 µs after its time, and with `--pace sleep` 24 µs.

use std::io;
use std::time::Duration;

use clap::ValueEnum;
use mio::{Registry, Token};

use crate::clock::{Clock, Nanos};

/// How long before a send to wake up and spin: what a timer is late by at the 99th percentile (55 to 80 µs by the same
/// command), and a little more.
const MARGIN: Nanos = 100_000;

/// A turn that finds nothing to do takes a microsecond or two. One that takes this long was interrupted for longer than
/// any interrupt takes: the scheduler, or the hypervisor, gave the processor to somebody else.
const TAKEN_AWAY: Nanos = 500_000;

/// Without spinning for this long after that: whoever else needs the processor gets it while we sleep.
const RESPITE: Nanos = 100_000_000;

/// Processor time of a turn that only spun. What a turn took beyond this was not ours.
const LONGEST_IDLE_TURN: Nanos = 20_000;

/// How to wait for the time of the next send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Pace {
    /// A timer, then spinning
    #[default]
    Hybrid,
    /// A timer alone
    Sleep,
    /// Spinning alone, for answers as well
    Spin,
}

impl Pace {
    /// What it comes to on a machine with so many processors that we may use: on a single one, time spent spinning
    /// would be the server's.
    #[must_use]
    pub fn with_processors(self, processors: usize) -> Self {
        if processors > 1 { self } else { Pace::Sleep }
    }

    /// As `--pace` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Pace::Hybrid => "hybrid",
            Pace::Sleep => "sleep",
            Pace::Spin => "spin",
        }
    }
}

/// What to do until something is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// Look again at once.
    None,
    /// Sleep until then.
    Until(Nanos),
}

/// When to sleep and when to spin. Pure: no clock.
#[derive(Debug)]
struct Rhythm {
    pace: Pace,
    /// The poll that goes on must not wait.
    is_spinning: bool,
    /// No spinning before this time.
    respite_until: Nanos,
    spun: Nanos,
}

impl Rhythm {
    fn new(pace: Pace) -> Self {
        Rhythm { pace, is_spinning: false, respite_until: 0, spun: 0 }
    }

    /// What to do at `now` so that something happens at `wake` at the latest. The next message is due at `send`.
    fn wait(&mut self, now: Nanos, wake: Nanos, send: Nanos) -> Wait {
        self.is_spinning = false;
        if wake <= now {
            return Wait::None;
        }
        match self.pace {
            Pace::Spin => self.is_spinning = true,
            // Only a send is worth it: whatever else is due may be a little late.
            Pace::Hybrid if now >= self.respite_until && send - now.min(send) <= MARGIN => self.is_spinning = true,
            Pace::Hybrid if now >= self.respite_until && send < Nanos::MAX => {
                return Wait::Until(wake.min(send - MARGIN));
            }
            Pace::Hybrid | Pace::Sleep => return Wait::Until(wake),
        }
        Wait::None
    }

    /// A turn from `began` to `ended` found nothing to do.
    fn idle_turn(&mut self, began: Nanos, ended: Nanos) {
        if !self.is_spinning {
            return;
        }
        let took = ended.saturating_sub(began);
        self.spun += took.min(LONGEST_IDLE_TURN);
        if self.pace == Pace::Hybrid && took >= TAKEN_AWAY {
            self.respite_until = ended + RESPITE;
        }
    }
}

/// Turns a deadline into the timeout of a poll.
#[derive(Debug)]
pub struct Pacer {
    rhythm: Rhythm,
    #[cfg(target_os = "linux")]
    timer: Timer,
}

impl Pacer {
    /// Registers what it needs under `token`; its events carry no news beyond waking the poll up.
    pub fn new(registry: &Registry, token: Token, clock: Clock, pace: Pace) -> io::Result<Self> {
        #[cfg(not(target_os = "linux"))]
        let _ = (registry, token, clock);
        Ok(Pacer {
            rhythm: Rhythm::new(pace),
            #[cfg(target_os = "linux")]
            timer: Timer::new(registry, token, clock)?,
        })
    }

    /// What to give to the poll so that it returns at `wake` at the latest, `Nanos::MAX` meaning never. The next message
    /// is due at `send`.
    pub fn timeout(&mut self, now: Nanos, wake: Nanos, send: Nanos) -> io::Result<Option<Duration>> {
        match self.rhythm.wait(now, wake, send) {
            Wait::None => Ok(Some(Duration::ZERO)),
            Wait::Until(wake) => self.sleep_until(wake, now),
        }
    }

    /// A turn from `began` to `ended` found nothing to do.
    pub fn idle_turn(&mut self, began: Nanos, ended: Nanos) {
        self.rhythm.idle_turn(began, ended);
    }

    /// Processor time that was spent on nothing but waiting for a time, so far. A thread that sleeps would not have used
    /// it, so it is headroom.
    pub fn spun(&self) -> Nanos {
        self.rhythm.spun
    }

    #[cfg(target_os = "linux")]
    fn sleep_until(&mut self, wake: Nanos, _now: Nanos) -> io::Result<Option<Duration>> {
        self.timer.arm(wake)?;
        Ok(None)
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the timer of Linux needs both")]
    fn sleep_until(&mut self, wake: Nanos, now: Nanos) -> io::Result<Option<Duration>> {
        Ok((wake < Nanos::MAX).then(|| Duration::from_nanos(wake - now)))
    }
}

#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Timer {
    descriptor: rustix::fd::OwnedFd,
    clock: Clock,
    armed: Nanos,
}

#[cfg(target_os = "linux")]
impl Timer {
    fn new(registry: &Registry, token: Token, clock: Clock) -> io::Result<Self> {
        use rustix::fd::AsRawFd;
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        // The kernel may put a thread's timers off by its slack, 50 µs by default, to save wake-ups.
        rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
        let descriptor = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        // Edge-triggered: each expiry is an edge of its own, so the descriptor need never be read.
        let mut source = mio::unix::SourceFd(&descriptor.as_raw_fd());
        registry.register(&mut source, token, mio::Interest::READABLE)?;
        Ok(Timer { descriptor, clock, armed: Nanos::MAX })
    }

    fn arm(&mut self, wake: Nanos) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        if wake == self.armed || wake == Nanos::MAX {
            return Ok(());
        }
        let once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let when = Itimerspec { it_interval: once, it_value: self.clock.to_kernel(wake) };
        timerfd_settime(&self.descriptor, TimerfdTimerFlags::ABSTIME, &when)?;
        self.armed = wake;
        Ok(())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::schedule::{Arrivals, Process, Profile};
    use mio::{Events, Poll};

    const FAR: Nanos = 3_600_000_000_000;

    fn pacer(pace: Pace) -> (Poll, Pacer, Clock) {
        let poll = Poll::new().unwrap();
        let clock = Clock::start();
        let pacer = Pacer::new(poll.registry(), Token(7), clock, pace).unwrap();
        (poll, pacer, clock)
    }

    #[test]
    fn a_deadline_is_a_timer_and_not_a_rounded_timeout() {
        let (mut poll, mut pacer, clock) = pacer(Pace::Sleep);
        let mut events = Events::with_capacity(4);
        for _ in 0..10 {
            let now = clock.now();
            let wake = now + 300_000;
            assert_eq!(pacer.timeout(now, wake, wake).unwrap(), None, "mio would round 300 us up to 1 ms");
            // Without a timer this would wait for ever.
            poll.poll(&mut events, None).unwrap();
            assert!(events.iter().any(|event| event.token() == Token(7)));
            assert!(clock.now() >= wake, "woken too early");
        }
        let now = clock.now();
        assert_eq!(pacer.timeout(now, now, now).unwrap(), Some(Duration::ZERO), "what is due does not wait");
    }

    #[test]
    fn a_send_is_slept_for_and_then_spun_for_and_nothing_else_is() {
        let (mut poll, mut pacer, clock) = pacer(Pace::Hybrid);
        let mut events = Events::with_capacity(4);
        let now = clock.now();
        let send = now + 20 * MARGIN;
        assert_eq!(pacer.timeout(now, send, send).unwrap(), None);
        poll.poll(&mut events, None).unwrap();
        assert!(clock.now() >= send - MARGIN);
        assert_eq!(pacer.timeout(send - 1, send, send).unwrap(), Some(Duration::ZERO));
        assert_eq!(pacer.timeout(send - 1, send, FAR).unwrap(), None, "no message is due then");
        let (_poll, mut pacer, _) = self::pacer(Pace::Spin);
        assert_eq!(pacer.timeout(0, FAR, FAR).unwrap(), Some(Duration::ZERO));
    }

    #[test]
    fn spinning_is_accounted_for_and_stops_where_the_processor_is_wanted() {
        let (_poll, mut pacer, _) = pacer(Pace::Hybrid);
        let mut spin = |now, took| {
            let timeout = pacer.timeout(now, now + 10, now + 10).unwrap();
            pacer.idle_turn(now, now + took);
            (timeout.is_some(), pacer.spun())
        };
        assert_eq!(spin(1_000, 1_500), (true, 1_500));
        assert_eq!(spin(5_000, 2_000), (true, 3_500));
        assert_eq!(spin(10_000, TAKEN_AWAY), (true, 3_500 + LONGEST_IDLE_TURN), "the rest was somebody else's");
        assert!(!spin(10_000 + TAKEN_AWAY + 1, 1_000).0, "a respite");
        assert!(spin(10_000 + TAKEN_AWAY + RESPITE, 1_000).0);
    }

    /// The median of how much later than asked messages start, on a virtual clock and a processor of our own: a turn takes
    /// 1.5 µs, and a timer is late by 24 µs in the median and by 80 at the 99th percentile.
    fn median_start_error(pace: Pace) -> Nanos {
        const TURN: Nanos = 1_500;
        let late = |number: u64| if number.is_multiple_of(50) { 80_000 } else { 6_000 + number * 7_919 % 37_000 };
        let mut rhythm = Rhythm::new(pace);
        let mut arrivals = Arrivals::new(Process::Poisson, Profile::constant(5_000.0), 1.0, 0.0, 7);
        let (mut now, mut errors) = (0, Vec::new());
        for number in 0..2_001 {
            let send = arrivals.take();
            while now < send {
                let began = now;
                now = match rhythm.wait(now, send, send) {
                    Wait::None => now + TURN,
                    Wait::Until(wake) => wake.max(now) + late(number),
                };
                rhythm.idle_turn(began, now);
            }
            errors.push(now - send);
        }
        errors.sort_unstable();
        errors[errors.len() / 2]
    }

    #[test]
    fn the_median_start_is_off_by_a_turn_where_the_processor_is_free_and_by_the_timer_without_spinning() {
        for pace in [Pace::Hybrid, Pace::Spin] {
            assert!(median_start_error(pace) <= 1_500, "{} ns", median_start_error(pace));
        }
        assert!(median_start_error(Pace::Sleep) > 10_000, "{} ns", median_start_error(Pace::Sleep));
    }

    #[test]
    fn a_single_processor_is_not_spun_on() {
        for pace in [Pace::Hybrid, Pace::Sleep, Pace::Spin] {
            assert_eq!(pace.with_processors(1), Pace::Sleep);
            assert_eq!(pace.with_processors(2), pace);
        }
    }
}
