//! The flags about connections as such: how they come and go, and who else is connected. Pure: no I/O.

use clap::Args;
use ipnet::IpNet;
use shout::target::{Protocol, Target};

use super::values::{companions, positive_count, rate, source};
use crate::plan::Crowd;

/// What becomes of connections besides messages.
#[derive(Debug, Clone, Args)]
pub struct CrowdOptions {
    /// Close each TCP connection after N messages and open another in its place; 1 is a connection a message. It is
    /// closed when all its answers are in, so nothing is lost by it. The first ones end early, each at another time. In
    /// a closed loop the next message waits for the new connection without that counting as its own time
    #[arg(long, value_parser = positive_count, value_name = "N")]
    pub churn: Option<u64>,

    /// Keep N more TCP connections open on which nothing is sent; those that the server closes are counted. What they
    /// cost the others is what shout-load compare says of a run with them and one without
    #[arg(long, value_parser = companions, default_value = "0", hide_default_value = true, value_name = "N")]
    pub idle: usize,

    /// Keep N more TCP connections that send as much as the server takes and read 40 KB a second of what comes back,
    /// which is verified
    #[arg(long, value_parser = companions, default_value = "0", hide_default_value = true, value_name = "N")]
    pub slow_readers: usize,

    /// Keep N more TCP connections that send 300 kB, end their half, and expect all of it back and then the end; each
    /// that has ended is replaced within 100 ms
    #[arg(long, value_parser = companions, default_value = "0", hide_default_value = true, value_name = "N")]
    pub half_closers: usize,

    /// Open at most N connections a second before the load begins [default: as fast as they are accepted, 64 at a time]
    #[arg(long, value_parser = rate, value_name = "N")]
    pub connect_rate: Option<f64>,

    /// Bind sockets to the addresses of this network in turn, for more connections than one address has ports, such as
    /// 127.0.0.0/8 on loopback; or to a single address. Where most ports of an address are taken, Linux needs a
    /// millisecond to find one: several addresses open 19,000 connections seven times as fast
    #[arg(long, value_parser = source, value_name = "CIDR")]
    pub source: Option<IpNet>,
}

impl CrowdOptions {
    /// Refuses what would do nothing where only datagrams are exchanged with the target.
    pub(super) fn check(&self, target: &Target) -> Result<(), String> {
        let has_connections = target.protocol != Protocol::Udp || self.plan().companions() > 0;
        let flag = match (self.churn, self.connect_rate) {
            (Some(_), _) if target.protocol == Protocol::Udp => "--churn",
            (_, Some(_)) if !has_connections => "--connect-rate",
            (Some(_) | None, _) => return Ok(()),
        };
        Err(format!(
            "'{flag}' is about TCP connections: it needs a target such as tcp://HOST:PORT or echo://HOST:PORT, and not \
             '{target}'"
        ))
    }

    /// The same, checked and complete.
    pub(super) fn plan(&self) -> Crowd {
        Crowd {
            churn: self.churn,
            idle: self.idle,
            slow_readers: self.slow_readers,
            half_closers: self.half_closers,
            connect_rate: self.connect_rate,
            source: self.source,
        }
    }
}
