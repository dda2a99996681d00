//! Sleeping until a time, to the microsecond, inside a poll. Does I/O: one timer descriptor.
//!
//! `mio::Poll` rounds a timeout up to whole milliseconds, which no schedule of 50,000 messages a second survives. On
//! Linux the deadline is therefore a timer descriptor in the poll. Elsewhere it is the timeout of the poll, and coarse.

use std::io;
use std::time::Duration;

use mio::{Registry, Token};

use crate::clock::{Clock, Nanos};

/// Turns a deadline into the timeout of a poll.
#[derive(Debug)]
pub struct Pacer {
    #[cfg(target_os = "linux")]
    timer: Timer,
}

impl Pacer {
    /// Registers what it needs under `token`; its events carry no news beyond waking the poll up.
    pub fn new(registry: &Registry, token: Token, clock: Clock) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        return Ok(Pacer { timer: Timer::new(registry, token, clock)? });
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (registry, token, clock);
            Ok(Pacer {})
        }
    }

    /// What to give to the poll so that it returns at `wake` at the latest, `Nanos::MAX` meaning never.
    pub fn timeout(&mut self, now: Nanos, wake: Nanos) -> io::Result<Option<Duration>> {
        if wake <= now {
            return Ok(Some(Duration::ZERO));
        }
        #[cfg(target_os = "linux")]
        {
            self.timer.arm(wake)?;
            Ok(None)
        }
        #[cfg(not(target_os = "linux"))]
        {
            Ok((wake < Nanos::MAX).then(|| Duration::from_nanos(wake - now)))
        }
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
    use mio::{Events, Poll};

    #[test]
    fn a_deadline_is_a_timer_and_not_a_rounded_timeout() {
        let mut poll = Poll::new().unwrap();
        let clock = Clock::start();
        let mut pacer = Pacer::new(poll.registry(), Token(7), clock).unwrap();
        let mut events = Events::with_capacity(4);
        for _ in 0..10 {
            let now = clock.now();
            let wake = now + 300_000;
            assert_eq!(pacer.timeout(now, wake).unwrap(), None, "mio would round 300 us up to 1 ms");
            // Without a timer this would wait for ever.
            poll.poll(&mut events, None).unwrap();
            assert!(events.iter().any(|event| event.token() == Token(7)));
            assert!(clock.now() >= wake, "woken too early");
        }
        let now = clock.now();
        assert_eq!(pacer.timeout(now, now).unwrap(), Some(Duration::ZERO), "what is due does not wait");
    }
}
