//! The flags about connections as such: how they come and go, and who else is connected. Pure: no I/O.

use clap::Args;

use super::values::positive_count;
use crate::plan::Crowd;

/// What becomes of connections besides messages.
#[derive(Debug, Clone, Args)]
pub struct CrowdOptions {
    /// Close each TCP connection after N messages and open another in its place; 1 is a connection a message. It is
    /// closed when all its answers are in, so nothing is lost by it. The first ones end early, each at another time. In
    /// a closed loop the next message waits for the new connection without that counting as its own time
    #[arg(long, value_parser = positive_count, value_name = "N")]
    pub churn: Option<u64>,
}

impl CrowdOptions {
    /// The same, checked and complete.
    pub(super) fn plan(&self) -> Crowd {
        Crowd { churn: self.churn }
    }
}
