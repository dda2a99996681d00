//! A document for the tests of whatever is drawn from one.

use std::collections::BTreeMap;

use super::{
    Config, Connections, Counts, Document, Environment, Latencies, Latency, PerTransport, Process, SCHEMA, Target,
    Time, Tool,
};
use crate::recorder;
use crate::report::trust::Loss;
use crate::verdict::Validity;

impl Document {
    /// The share of a transport in such a run.
    pub(crate) fn part_for_tests() -> PerTransport {
        PerTransport { counts: Counts::default(), latency: Document::for_tests().latency, breakdown: None }
    }

    /// A run in which nothing happened, and which is believed.
    pub(crate) fn for_tests() -> Self {
        let latency = || Latency::of(&recorder::histogram());
        let latencies = Latencies { response: latency(), service: latency(), lag: latency(), connect: None };
        Document {
            schema: SCHEMA.into(),
            tool: Tool { version: String::new() },
            command: Vec::new(),
            merged: None,
            seed: String::new(),
            target: Target { url: "udp://127.0.0.1:1".into(), resolved: Vec::new() },
            config: Config {
                model: "closed".into(),
                rate: None,
                plan: None,
                arrivals: None,
                threads: None,
                datagrams_per_send: 1,
                pipeline: Some(1),
                udp_sockets: 1,
                tcp_connections: 0,
                churn: None,
                size: "64".into(),
                payload: None,
                late: None,
                pace: "hybrid".into(),
                duration_ns: None,
                messages: None,
                warmup_ns: 0,
                udp_timeout_ns: 0,
                tcp_timeout_ns: 0,
                interval_ns: 1_000_000_000,
            },
            env: Environment::default(),
            time: Time { start_unix_ns: 0, warmup_ns: 0, measured_ns: 0, drain_ns: 0, interrupted: false },
            until: None,
            counts: Counts::default(),
            connections: Connections::default(),
            churn: None,
            companions: None,
            beside: None,
            server_memory: None,
            in_flight: None,
            latency: latencies,
            per_transport: BTreeMap::new(),
            interference: None,
            per_size: Vec::new(),
            intervals: Vec::new(),
            server: None,
            generator: None,
            loss: Loss::default(),
            outliers: Vec::new(),
            floor: None,
            validity: Validity { verdict: crate::verdict::Verdict::Valid, checks: Vec::new() },
            gates: Vec::new(),
            exit: 0,
        }
    }
}

impl Process {
    /// One that has done nothing for a second.
    pub(crate) fn for_tests() -> Self {
        Process {
            pid: 7,
            together: None,
            name: "shout-server".into(),
            cpu_ns: 0,
            cpu_ns_per_message: 0,
            wall_ns: 1_000_000_000,
            voluntary_switches: Some(0),
            involuntary_switches: Some(0),
            resident_bytes: 1,
            spun_ns: None,
        }
    }
}
