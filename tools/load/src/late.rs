//! What becomes of a message whose time has passed before it could leave. Pure: no I/O, no clock.
//!
//! An open loop falls behind when no socket may take one more message ([`Demand::Open`](crate::engine::Demand)'s window,
//! a full socket buffer) or when the generator itself is too slow. Whatever the policy, every message of the schedule is
//! counted once:
//!
//! ```text
//! scheduled = sent + shed + left undone when the stage ended
//! ```
//!
//! and whatever is sent keeps its intended time, so that its waiting is in its response time. A message that was shed
//! or left undone counts as infinitely slow where lost ones do: in the all-in percentiles and in the gates on percentiles.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use shout::units;

use crate::clock::{Nanos, SECOND};
use crate::plan::nanos;
use crate::schedule::Arrivals;

/// The deepest backlog that a cap may allow: eight bytes each for every transport.
const DEEPEST: u64 = 1 << 20;

/// Arrivals that are drawn in one go, some 50 µs: a schedule that is far behind must not keep answers waiting.
const DRAW_BUDGET: u64 = 1024;

/// What to do with messages that could not leave in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Late {
    /// Send them all, as soon as it can be done.
    #[default]
    Queue,
    /// Do not send what is later than this when its turn comes; `None`: later than the timeout of its transport, by
    /// which whoever asked would have given up.
    Shed(Option<Nanos>),
    /// Let this many wait on each transport, at least 1. What falls due while so many wait is not sent, as a bounded
    /// queue turns away whom it has no room for.
    Cap(usize),
}

/// As `--late` takes it.
impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Late::Queue => f.write_str("queue"),
            Late::Shed(None) => f.write_str("shed"),
            Late::Shed(Some(late)) => write!(f, "shed:{}s", *late as f64 / SECOND as f64),
            Late::Cap(most) => write!(f, "cap:{most}"),
        }
    }
}

/// Reads `queue`, `shed`, `shed:10ms` or `cap:100`.
impl FromStr for Late {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "queue" => Ok(Late::Queue),
            None if text == "shed" => Ok(Late::Shed(None)),
            Some(("shed", late)) => Ok(Late::Shed(Some(nanos(units::duration(late)?)))),
            Some(("cap", most)) => match units::count(most)? {
                most @ 1..=DEEPEST => Ok(Late::Cap(most as usize)),
                _ => Err(format!("a cap is 1 to {DEEPEST} messages")),
            },
            None | Some(_) => Err("one of queue, shed, shed:TIME such as shed:10ms, cap:N".into()),
        }
    }
}

/// The messages of a schedule in the order in which they fall due, less those that the policy turns away.
///
/// Times are nanoseconds since the start of the stage.
#[derive(Debug)]
pub struct Due {
    arrivals: Arrivals,
    rule: Rule,
    /// Drawn and not taken: only a cap has to know how many wait.
    waiting: VecDeque<Nanos>,
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    KeepAll,
    NotOlderThan(Nanos),
    NoMoreThan(usize),
}

impl Due {
    /// `timeout` is that of the transport.
    pub fn new(arrivals: Arrivals, late: Late, timeout: Nanos) -> Self {
        let (rule, room) = match late {
            Late::Queue => (Rule::KeepAll, 0),
            Late::Shed(late) => (Rule::NotOlderThan(late.unwrap_or(timeout)), 0),
            Late::Cap(most) => (Rule::NoMoreThan(most), most),
        };
        Due { arrivals, rule, waiting: VecDeque::with_capacity(room) }
    }

    /// When the next message falls due, or fell; `Nanos::MAX` after the last.
    pub fn next(&self) -> Nanos {
        self.waiting.front().copied().unwrap_or_else(|| self.arrivals.peek())
    }

    /// Whether the next message may be sent at `now`. The caller has just [turned away](Self::turn_away) what may not.
    pub fn is_sendable(&self, now: Nanos) -> bool {
        let next = self.next();
        next <= now
            && match self.rule {
                // A whole budget may have been turned away, and this one with the next.
                Rule::NotOlderThan(late) => next.saturating_add(late) >= now,
                Rule::KeepAll | Rule::NoMoreThan(_) => true,
            }
    }

    /// Takes the next message, and says when it was to leave.
    pub fn take(&mut self) -> Nanos {
        self.waiting.pop_front().unwrap_or_else(|| self.arrivals.take())
    }

    /// Turns away what the policy has no place for at `now`, and says how many messages that was. No more than `most`
    /// are taken out of the schedule.
    pub fn turn_away(&mut self, now: Nanos, most: u64) -> u64 {
        let budget = DRAW_BUDGET.min(most);
        let mut shed = 0;
        match self.rule {
            Rule::KeepAll => {}
            Rule::NotOlderThan(late) => {
                while shed < budget && self.arrivals.peek().saturating_add(late) < now {
                    self.arrivals.take();
                    shed += 1;
                }
            }
            Rule::NoMoreThan(room) => {
                let mut drawn = 0;
                while drawn < budget && shed + (self.waiting.len() as u64) < most && self.arrivals.peek() <= now {
                    let time = self.arrivals.take();
                    drawn += 1;
                    if self.waiting.len() < room {
                        self.waiting.push_back(time);
                    } else {
                        shed += 1;
                    }
                }
            }
        }
        shed
    }

    /// How many messages fall due before `end` and have been neither taken nor turned away; see
    /// [`Arrivals::left_before`].
    pub fn left_before(&self, end: Nanos) -> u64 {
        self.waiting.len() as u64 + self.arrivals.left_before(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Process, Profile};

    /// One message each millisecond.
    fn due(late: Late) -> Due {
        let arrivals = Arrivals::new(Process::Const, Profile::constant(1000.0), 1.0, 0.0, 1);
        Due::new(arrivals, late, 5 * MILLISECOND)
    }

    const MILLISECOND: Nanos = 1_000_000;

    /// What is sent at `now`, in milliseconds, and how many are turned away.
    fn sent_at(due: &mut Due, now: Nanos) -> (Vec<Nanos>, u64) {
        let shed = due.turn_away(now, u64::MAX);
        let mut sent = Vec::new();
        while due.is_sendable(now) {
            sent.push(due.take() / MILLISECOND);
        }
        (sent, shed)
    }

    #[test]
    fn each_policy_sends_what_it_says() {
        let now = 7 * MILLISECOND;
        for (late, sent, shed) in [
            (Late::Queue, vec![0, 1, 2, 3, 4, 5, 6, 7], 0),
            (Late::Shed(Some(3 * MILLISECOND)), vec![4, 5, 6, 7], 4),
            (Late::Shed(None), vec![2, 3, 4, 5, 6, 7], 2),
            (Late::Shed(Some(0)), vec![7], 7),
            (Late::Cap(3), vec![0, 1, 2], 5),
        ] {
            let mut due = due(late);
            assert_eq!(sent_at(&mut due, now), (sent, shed), "{late}");
            assert_eq!(due.next(), 8 * MILLISECOND, "{late}");
            assert_eq!(due.left_before(10 * MILLISECOND), 2, "{late}");
        }
    }

    #[test]
    fn a_schedule_far_behind_is_turned_away_in_pieces_and_nothing_too_late_slips_through() {
        let now = 3 * DRAW_BUDGET * MILLISECOND;
        let mut due = due(Late::Shed(Some(0)));
        for _ in 0..2 {
            assert_eq!(sent_at(&mut due, now), (vec![], DRAW_BUDGET));
        }
        assert_eq!(sent_at(&mut due, now), (vec![3 * DRAW_BUDGET], DRAW_BUDGET));
    }

    #[test]
    fn no_more_is_taken_out_than_there_is_to_send() {
        let now = 100 * MILLISECOND;
        assert_eq!(due(Late::Shed(Some(0))).turn_away(now, 7), 7);
        let mut capped = due(Late::Cap(3));
        assert_eq!(capped.turn_away(now, 7), 4);
        assert_eq!(capped.turn_away(now, 3), 0, "three wait, and no more are wanted");
    }

    #[test]
    fn policies_are_written_as_they_are_read() {
        for late in [Late::Queue, Late::Shed(None), Late::Shed(Some(10 * MILLISECOND)), Late::Cap(100)] {
            assert_eq!(late.to_string().parse(), Ok(late));
        }
        assert_eq!("cap:1k".parse(), Ok(Late::Cap(1000)));
        for text in ["never", "cap", "cap:0", "shed:", "shed:soon", "queue:3"] {
            assert!(text.parse::<Late>().is_err(), "{text}");
        }
    }
}
