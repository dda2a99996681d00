//! Monotonic time in nanoseconds. Reads the kernel's clock; nothing else in the engine does.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// A time or a span, in nanoseconds. As a time it counts from the start of its [`Clock`]; 2^64 of them are 584 years.
pub type Nanos = u64;

/// Nanoseconds in a second.
pub const SECOND: Nanos = 1_000_000_000;

/// A clock that starts at 0 and never steps back.
///
/// `CLOCK_MONOTONIC` and not the processor's counter: a reading costs about 40 ns through the vDSO, and a timer
/// descriptor can be armed against the same scale.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Nanos,
}

impl Clock {
    /// Starts now.
    pub fn start() -> Self {
        Clock { start: monotonic() }
    }

    /// Nanoseconds since the start.
    pub fn now(self) -> Nanos {
        monotonic() - self.start
    }

    /// The same instant on the kernel's own scale, for an absolute timer.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only the timer descriptor asks"))]
    pub(crate) fn to_kernel(self, time: Nanos) -> Timespec {
        let time = self.start + time;
        Timespec { tv_sec: (time / SECOND).cast_signed(), tv_nsec: (time % SECOND).cast_signed() }
    }
}

/// How a [`Clock`] and the clock that can be set differ at one moment: to within a reading of both, about 100 ns.
#[derive(Debug, Clone, Copy)]
pub struct Offset {
    clock: Nanos,
    wall: u64,
}

impl Offset {
    /// Reads both.
    pub fn measure(clock: Clock) -> Self {
        let before = clock.now();
        let wall = clock_gettime(ClockId::Realtime);
        let wall = wall.tv_sec.cast_unsigned() * SECOND + wall.tv_nsec.cast_unsigned();
        Offset { clock: before.midpoint(clock.now()), wall }
    }

    /// The time on the [`Clock`] of so many nanoseconds since 1970; 0 for what was before its start.
    pub fn apply(self, wall: u64) -> Nanos {
        if wall <= self.wall {
            self.clock.saturating_sub(self.wall - wall)
        } else {
            self.clock.saturating_add(wall - self.wall)
        }
    }
}

fn monotonic() -> Nanos {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.cast_unsigned() * SECOND + time.tv_nsec.cast_unsigned()
}
