//! Running a stage and relaying how it goes: to whoever watches, and to the rule that may end it. Does I/O.

use super::{Failure, HOPELESS_TIMEOUTS, Part, Progress};
use crate::clock::Nanos;
use crate::engine::Stage;
use crate::generator::Wish;
use crate::observer::Course;
use crate::plan::{Plan, nanos};
use crate::team::{Sight, Team};
use crate::until::Rule;

/// Runs stages and relays how they go.
pub(super) struct Watcher<'a> {
    plan: &'a Plan,
    watch: &'a mut dyn FnMut(&Progress) -> Wish,
    pub(super) interrupted: bool,
    /// Whether an earlier stage on these connections was answered: then silence is a loss to be measured.
    pub(super) was_answered: bool,
    pub(super) course: Course,
    /// Of a measurement that goes on until a percentile is known.
    pub(super) rule: Option<Rule>,
}

impl<'a> Watcher<'a> {
    pub(super) fn new(plan: &'a Plan, watch: &'a mut dyn FnMut(&Progress) -> Wish) -> Self {
        Watcher { plan, watch, interrupted: false, was_answered: false, course: Course::default(), rule: None }
    }

    pub(super) fn run(&mut self, team: &mut Team, stage: &Stage, part: Part) -> Result<(), Failure> {
        let patience = nanos(self.plan.udp_timeout.max(self.plan.tcp_timeout) * HOPELESS_TIMEOUTS);
        let watcher = &mut *self;
        let (mut seen, mut was_sending) = (0, true);
        let mut watch = |sight: &Sight, elapsed: Nanos| {
            let Sight { is_sending, totals, latest, reading } = *sight;
            let number = latest.map_or(0, |(number, _)| number);
            if number > seen {
                seen = number;
                watcher.course.read(elapsed);
            }
            // A reading of its own, so that what the server used while it was loaded is known apart from the drain.
            if std::mem::replace(&mut was_sending, is_sending) && !is_sending {
                watcher.course.end(elapsed);
            }
            let rule = &mut watcher.rule;
            let is_enough = rule.as_mut().zip(reading).is_some_and(|(rule, reading)| rule.look(elapsed, reading));
            let look = rule.as_ref().map(|rule| (rule.goal(), rule.latest()));
            let wish = (watcher.watch)(&Progress { part, elapsed, totals, latest, look });
            watcher.interrupted |= wish != Wish::Continue;
            let nothing_came = totals.replied + totals.wrong_answers == 0;
            let is_hopeless = nothing_came && (totals.refused > 0 || elapsed > patience);
            if wish == Wish::Continue && (is_enough || is_hopeless) {
                return Wish::Stop;
            }
            wish
        };
        team.run(stage, &mut watch)
            .map_err(|error| Failure(format!("the run of {} broke off: {error}", self.plan.target)))?;
        let totals = team.totals();
        // Where other programs had all the processors, nothing may have been sent to warm up, or in a short part.
        let was_idle =
            part != Part::Measurement && totals.sent == 0 && team.broken_by().is_none() && team.has_live_lanes();
        let is_answered = totals.replied + totals.wrong_answers > 0;
        let is_loss = self.was_answered && totals.refused == 0 && team.broken_by().is_none() && team.has_live_lanes();
        self.was_answered |= is_answered;
        if is_answered || self.interrupted || was_idle || is_loss {
            return Ok(());
        }
        let reason = match team.broken_by() {
            Some(error) => error.to_string(),
            None if totals.refused > 0 => "connection refused".into(),
            None if !team.has_live_lanes() => "the server closed every connection".into(),
            None => format!("not one of {} messages was answered", totals.sent),
        };
        Err(Failure(format!("no reply from {}: {reason}", self.plan.target)))
    }
}
