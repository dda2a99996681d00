//! Where the time of messages went, as data and as lines of the screen. Pure: no I/O.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::document::Document;
use super::screen::{count, micros};
use crate::breakdown;

/// The sample of one transport.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Breakdown {
    /// Messages whose timestamps made sense.
    pub samples: u64,
    /// Messages whose timestamps did not, were not there, or were those of later answers on the same connection.
    pub rejected: u64,
    /// What the response times around some percentiles are made of.
    pub bands: Vec<Band>,
}

/// Means over the sampled messages around one percentile of their response times. The four parts add up to the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Band {
    /// Which percentile: `50`, `90` or `99`.
    pub percentile: String,
    /// The whole response time, in nanoseconds.
    pub response_ns: u64,
    /// From the intended time to the system call, in nanoseconds.
    pub lag_ns: u64,
    /// From the system call until the message left our side of the network stack, in nanoseconds.
    pub own_kernel_ns: u64,
    /// Until the answer arrived in our side of the network stack, in nanoseconds.
    pub network_server_ns: u64,
    /// Until it had been read, in nanoseconds: waking up, and whatever was read before it.
    pub wake_up_ns: u64,
}

impl Breakdown {
    /// `None` where nothing was sampled.
    pub fn of(source: &breakdown::Breakdown) -> Option<Self> {
        let band = |band: breakdown::Band| {
            let [lag_ns, own_kernel_ns, network_server_ns, wake_up_ns] = band.parts.map(|part| part.round() as u64);
            let response_ns = lag_ns + own_kernel_ns + network_server_ns + wake_up_ns;
            let percentile = band.percentile.to_owned();
            Band { percentile, response_ns, lag_ns, own_kernel_ns, network_server_ns, wake_up_ns }
        };
        let (samples, rejected) = (source.samples(), source.rejected());
        let bands = source.bands().into_iter().map(band).collect();
        (samples + rejected > 0).then_some(Breakdown { samples, rejected, bands })
    }
}

/// A line for the median and one for the tail of each transport.
pub(super) fn lines(text: &mut String, run: &Document) -> std::fmt::Result {
    for (name, transport) in &run.per_transport {
        let Some(breakdown) = &transport.breakdown else { continue };
        for band in breakdown.bands.iter().filter(|band| band.percentile != "90") {
            writeln!(
                text,
                "  {name} p{:<2}  {:>9} us = lag {} + own kernel {} + network and server {} + own wake-up {}",
                band.percentile,
                micros(band.response_ns),
                micros(band.lag_ns),
                micros(band.own_kernel_ns),
                micros(band.network_server_ns),
                micros(band.wake_up_ns)
            )?;
        }
        if !breakdown.bands.is_empty() {
            writeln!(text, "           after kernel timestamps of {} messages", count(breakdown.samples))?;
        }
    }
    Ok(())
}
