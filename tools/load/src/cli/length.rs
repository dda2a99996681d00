//! The flags about how long a run goes on, other than a time or a number of messages, and how often it is made. Pure: no
//! I/O.

use std::time::Duration;

use clap::Args;
use shout::units;

use crate::repeats::{FEWEST, MOST};
use crate::until::{Goal, SHORTEST, USUAL_MOST};

/// How long a run goes on, and how often it is made.
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

    /// Make K whole runs, 2 to 100, each on new connections and with a seed of its own that follows from --seed, and say
    /// whether they differ by more than one run knows of itself. --slo and --baseline are held against the median of the
    /// runs, and errors against the worst; --strict and --until against each. Files: run.json is of all, run-1.json of the
    /// first
    #[arg(long, value_name = "K", value_parser = times)]
    pub repeat: Option<u64>,
}

impl LengthOptions {
    /// The goal, and how long the run may take to reach it.
    pub(super) fn until(&self) -> Option<(Goal, Duration)> {
        self.until.map(|goal| (goal, self.max_duration.unwrap_or(USUAL_MOST)))
    }
}

fn times(text: &str) -> Result<u64, String> {
    let times = text.parse().ok().filter(|times| (FEWEST..=MOST).contains(times));
    times.ok_or_else(|| format!("a number from {FEWEST} to {MOST}"))
}

fn most(text: &str) -> Result<Duration, String> {
    let most = units::duration(text)?;
    if most >= SHORTEST { Ok(most) } else { Err("at least 3s: two looks must agree, and the first is after 2s".into()) }
}
