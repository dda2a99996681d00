//! What became of connections as such: in the document, and as lines of the screen. Pure: no I/O.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::document::{Document, Latency};
use super::screen::{count, micros, per_second, percentile};
use crate::generator::Churned;

/// Connections that were replaced while the load ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Churn {
    /// Messages that each connection carried.
    pub messages: u64,
    /// Connections that we closed because they had carried that many, with no answer outstanding.
    pub closed: u64,
    /// Connections opened in their place.
    pub opened: u64,
    /// How many attempts were told that nobody listens.
    pub refused: u64,
    /// How many attempts failed in another way, or had no answer in time.
    pub failed: u64,
    /// From the start of each of those connections to its being open.
    pub connect: Latency,
}

impl Churn {
    /// What was done to connections that carry so many messages each.
    pub fn new(messages: u64, churned: &Churned) -> Self {
        let Churned { closed, opened, refused, failed, ref connect } = *churned;
        Churn { messages, closed, opened, refused, failed, connect: Latency::of(connect) }
    }
}

/// The lines of the screen, where there is anything to say.
pub(super) fn lines(text: &mut String, run: &Document) -> std::fmt::Result {
    if let Some(churn) = &run.churn {
        writeln!(
            text,
            "  churn    closed {} after {} each, opened {} ({}/s), refused {}, failed {}   connect (us) p50 {}  p99 {}  \
             max {}",
            count(churn.closed),
            count(churn.messages),
            count(churn.opened),
            count(per_second(churn.opened, run.time.measured_ns)),
            count(churn.refused),
            count(churn.failed),
            percentile(&churn.connect, "50"),
            percentile(&churn.connect, "99"),
            micros(churn.connect.max)
        )?;
    }
    Ok(())
}
