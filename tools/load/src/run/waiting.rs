//! The wait for the moment at which a measurement is to begin. Does I/O: sleeps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Failure, Part, Progress};
use crate::clock::{Clock, Nanos};
use crate::engine::Totals;
use crate::generator::Wish;
use crate::plan::{Plan, nanos};

/// Between the end of the warm-up, with its drain, and the moment itself: most drains are over in a tenth of it, and
/// nothing grows cold in so short a time. What takes longer makes the measurement late, which a merged run then says.
const ROOM: Nanos = 200_000_000;

/// The longest sleep at once: whoever watches is asked in between, and a clock that was set meanwhile is noticed.
const STEP: Nanos = 50_000_000;

/// Nanoseconds since 1970, by the clock that the machines of a load share.
pub(super) fn wall_clock() -> u64 {
    nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Waits until it is time for the warm-up of a plan that says when to begin.
pub(super) fn for_warm_up(plan: &Plan, watch: &mut dyn FnMut(&Progress) -> Wish) -> Result<(), Failure> {
    let room = if plan.warmup.is_zero() { 0 } else { nanos(plan.warmup) + ROOM };
    plan.at.map_or(Ok(()), |at| until(at.saturating_sub(room), watch))
}

/// Waits until it is time to measure. A moment that has passed is not waited for.
pub(super) fn for_measurement(plan: &Plan, watch: &mut dyn FnMut(&Progress) -> Wish) -> Result<(), Failure> {
    plan.at.map_or(Ok(()), |at| until(at, watch))
}

fn until(moment: u64, watch: &mut dyn FnMut(&Progress) -> Wish) -> Result<(), Failure> {
    let clock = Clock::start();
    loop {
        let left = moment.saturating_sub(wall_clock());
        if left == 0 {
            return Ok(());
        }
        let (part, elapsed, totals) = (Part::Waiting { left }, clock.now(), Totals::default());
        if watch(&Progress { part, elapsed, totals, latest: None, look: None }) != Wish::Continue {
            return Err(Failure("interrupted while it waited for the time of --at: nothing was measured".into()));
        }
        std::thread::sleep(Duration::from_nanos(left.min(STEP)));
    }
}
