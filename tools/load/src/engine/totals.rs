//! What has happened in a stage so far, in a few numbers. Pure: no I/O, no clock.

use super::Engine;
use crate::recorder::Recorder;

/// Sums over all groups, for a progress line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages sent.
    pub sent: u64,
    /// Messages answered rightly and in time.
    pub replied: u64,
    /// Messages lost.
    pub lost: u64,
    /// Answers with wrong bytes.
    pub wrong_answers: u64,
    /// Times that nobody listened.
    pub refused: u64,
}

impl Totals {
    fn of(Recorder { counts, endings, .. }: &Recorder) -> Totals {
        Totals {
            sent: counts.sent,
            replied: counts.replied,
            lost: counts.lost,
            wrong_answers: counts.wrong_answers(),
            refused: endings.refused,
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Totals) -> Totals {
        Totals {
            sent: self.sent + other.sent,
            replied: self.replied + other.replied,
            lost: self.lost + other.lost,
            wrong_answers: self.wrong_answers + other.wrong_answers,
            refused: self.refused + other.refused,
        }
    }
}

impl Engine {
    /// Sums over all groups so far.
    pub fn totals(&self) -> Totals {
        self.groups.iter().map(|group| Totals::of(&group.recorder)).fold(Totals::default(), Totals::plus)
    }
}
