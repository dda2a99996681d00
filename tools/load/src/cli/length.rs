//! The flags about how long a run goes on, other than a time or a number of messages. Pure: no I/O.

use std::time::Duration;

use clap::Args;
use shout::units;

use crate::until::{Goal, SHORTEST, USUAL_MOST};

/// How long a run goes on.
#[derive(Debug, Clone, Args)]
pub struct LengthOptions {
    /// Go on until a percentile of the response time is known this closely, such as p99±2% (or p99+-2%): half the width
    /// of its 95% confidence interval, on the number of independent answers that all of them are worth. It is looked at
    /// after 2 s and then each time a quarter later, and must be so twice in a row. Exit code 4 if it was not reached
    #[arg(long, value_name = "GOAL", conflicts_with_all = ["duration", "requests", "ramp", "plan"])]
    pub until: Option<Goal>,

    /// When to give that up: the run then says about how long it would take, or why it cannot be had [default: 2m]
    #[arg(long, value_name = "TIME", value_parser = most, requires = "until")]
    pub max_duration: Option<Duration>,
}

impl LengthOptions {
    /// The goal, and how long the run may take to reach it.
    pub(super) fn until(&self) -> Option<(Goal, Duration)> {
        self.until.map(|goal| (goal, self.max_duration.unwrap_or(USUAL_MOST)))
    }
}

fn most(text: &str) -> Result<Duration, String> {
    let most = units::duration(text)?;
    if most >= SHORTEST { Ok(most) } else { Err("at least 3s: two looks must agree, and the first is after 2s".into()) }
}
