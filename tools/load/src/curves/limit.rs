//! Whether B is worse than A by more than was allowed: yes, no, or not decided. Pure: no I/O.

use serde::Serialize;

use super::result::{Belief, Row};
use crate::run::exit;

/// How B stands against the limit that it was held against, from what is best to what is most important.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(super) enum Gate {
    /// In no figure is it worse by more than allowed.
    Passed,
    /// In a figure it seems to be, but that may be chance or this machine's noise.
    NotDecided,
    /// In a figure there is nothing that can be said.
    NotMeasured,
    /// Whatever the figures are, they are not to be believed.
    NotBelieved,
    /// In a figure it is, and that was called.
    Failed,
}

impl Gate {
    /// By the worst of the figures, where B may be worse than A by `most` as a share.
    pub(super) fn of(rows: &[Row], most: f64, belief: Belief) -> Self {
        let of_row = |row: &Row| match row.difference {
            None => Gate::NotMeasured,
            Some(_) if row.worse() <= most => Gate::Passed,
            Some(_) if row.is_called() => Gate::Failed,
            Some(_) => Gate::NotDecided,
        };
        let worst = rows.iter().map(of_row).max().unwrap_or(Gate::NotMeasured);
        if belief.is_sound() { worst } else { Gate::NotBelieved }
    }

    /// What the program ends with, where no byte was wrong.
    pub(super) fn exit_code(self) -> u8 {
        match self {
            Gate::Passed => exit::DONE,
            Gate::NotDecided | Gate::NotMeasured | Gate::NotBelieved => exit::INVALID,
            Gate::Failed => exit::GATE_FAILED,
        }
    }

    /// What is said of it under the figures, where nothing else says it.
    pub(super) fn remark(self) -> Option<&'static str> {
        match self {
            Gate::Passed => Some("PASSED: in no figure does B seem worse than A by more than allowed"),
            Gate::NotDecided => Some(
                "NOT DECIDED: B seems worse than A by more than allowed, but by no more than chance or noise; compare for longer",
            ),
            Gate::NotMeasured => Some("NOT DECIDED: there are too few values to say anything; compare for longer"),
            Gate::NotBelieved => None,
            Gate::Failed => Some("FAILED: B is worse than A by more than allowed"),
        }
    }
}
