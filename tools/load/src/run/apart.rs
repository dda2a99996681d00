//! Each transport alone and both together, in turns on the same connections. Does I/O: runs the stages.

use std::time::Duration;

use super::watcher::Watcher;
use super::{Failure, Part, Progress, Session};
use crate::engine::{Demand, Stage};
use crate::generator::Wish;
use crate::interference::{BLOCKS, Blocks, Interference, ORDER};
use crate::plan::{Plan, nanos};
use crate::team::Team;
use crate::verdict;

/// A part is this share of the run: both together for half as long as the run, and each alone for as long as that.
const SHARE: u32 = 4 * BLOCKS as u32;

/// A shorter part would be over before its queues are what they become.
const SHORTEST: Duration = Duration::from_millis(50);

/// How long a run is taken to be that ends by its number of messages.
const USUAL: Duration = Duration::from_secs(10);

impl Session {
    /// Measures how the transports of the plan get in each other's way. What was measured before is no longer there.
    /// `None` if somebody stopped it before there was anything to tell.
    pub fn interference(
        &mut self,
        plan: &Plan,
        watch: &mut dyn FnMut(&Progress) -> Wish,
    ) -> Result<Option<Interference>, Failure> {
        let part = nanos((plan.duration.unwrap_or(USUAL) / SHARE).max(SHORTEST));
        let mut blocks = Blocks::new(matches!(plan.demand, Demand::Open { .. }));
        let mut watcher = Watcher::new(plan, watch);
        let mut busy = 0;
        let of = BLOCKS * ORDER.len();
        for done in 0..of {
            let place = done % ORDER.len();
            // The same arrivals alone as together: what differs is not the chance in them.
            let half = (done / ORDER.len() * 2 + usize::from(place >= ORDER.len() / 2)) as u64;
            let seed = plan.seed.wrapping_add(1 + half);
            let stage = Stage { duration: Some(part), messages: None, seed, ..plan.measured_stage() };
            self.team.load_only(ORDER[place]);
            let outcome = watcher.run(&mut self.team, &stage, Part::Apart { done, of });
            self.team.load_only(None);
            outcome?;
            if watcher.interrupted {
                break;
            }
            busy += usize::from(was_busy(&self.team));
            let merged = self.team.merged();
            blocks.note(
                place,
                merged.iter().map(|(transport, recorder)| (*transport, recorder)),
                self.team.sending_time(),
            );
        }
        Ok((!blocks.is_empty()).then(|| Interference {
            blocks: blocks.len(),
            part_ns: part,
            generator_was_busy: busy,
            effects: blocks.effects(plan.seed),
        }))
    }
}

/// Whether a thread had no time to spare, or waited for its processor.
fn was_busy(team: &Team) -> bool {
    let shares = team.efforts().filter_map(|effort| effort.busy().zip(effort.waited()));
    shares.into_iter().any(|(own, waited)| verdict::is_busy(own, waited))
}
