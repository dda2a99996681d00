//! What is known of a measurement when it has ended, put together as its document. Reads what the machine is called and has;
//! does no other I/O.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hdrhistogram::Histogram;

use super::{Context, exit};
use crate::clock::Nanos;
use crate::companions::Tally;
use crate::engine::Transport;
use crate::evidence::{self, Evidence};
use crate::facts::Measured;
use crate::floor::Floor;
use crate::host::{self, Cpu};
use crate::intervals;
use crate::observer::{Course, Memory, Observation, Usage};
use crate::payload::Content;
use crate::plan::{Plan, nanos};
use crate::recorder::Recorder;
use crate::report::breakdown::Breakdown;
use crate::report::by_size::BySize;
use crate::report::crowd::{Beside, Churn};
use crate::report::document::{
    Config, Connections, Document, Environment, Latencies, PerTransport, Process, SCHEMA, Time, Tool,
};
use crate::report::intervals::Interval;
use crate::report::until::Until;
use crate::report::worst::InFlight;
use crate::team::Team;
use crate::verdict;

/// What a document needs besides the plan and the recorders.
pub(super) struct Parts {
    pub(super) time: Time,
    pub(super) server: Option<Process>,
    pub(super) generator: Option<Process>,
    pub(super) local: bool,
    pub(super) address: SocketAddr,
    pub(super) floor: Option<Floor>,
    pub(super) seen: Observation,
    pub(super) wall: Nanos,
    pub(super) companions: Option<Tally>,
    pub(super) beside: Option<Beside>,
    pub(super) memory: Option<Memory>,
    pub(super) pinned_to: Option<Cpu>,
    pub(super) course: Course,
    pub(super) until: Option<Until>,
}

/// All that is known of a measurement that has ended.
pub(super) fn document(plan: &Plan, context: &Context, team: &Team, parts: Parts) -> Document {
    let connect_times = (team.opened() > 0).then(|| team.connect_times());
    let (total, per_transport) = sums(team, connect_times.as_ref());
    let evidence: Vec<&Evidence> = team.recorders().map(|(_, recorder)| &recorder.evidence).collect();
    let (counts, endings) = (total.counts, total.endings);
    let measured = Measured {
        plan,
        team,
        counts: &counts,
        endings: &endings,
        total: &total,
        seen: &parts.seen,
        course: &parts.course,
        wall: parts.wall,
    };
    let facts = measured.facts(parts.floor.as_ref());
    let exit = if counts.wrong_answers() > 0 || parts.companions.is_some_and(|tally| tally.is_wrong()) {
        exit::WRONG_PAYLOAD
    } else if counts.replied == 0 {
        exit::FAILED
    } else {
        exit::DONE
    };
    let of_interval =
        |one: &intervals::Interval| Interval::of(one, parts.course.between(one.start, one.start + one.length));
    let intervals = team.intervals().iter().map(of_interval).collect();
    Document {
        schema: SCHEMA.into(),
        tool: Tool { version: env!("CARGO_PKG_VERSION").into() },
        command: context.command.clone(),
        seed: format!("{:X}", plan.seed),
        merged: None,
        target: crate::report::document::Target {
            url: plan.target.to_string(),
            resolved: vec![parts.address.to_string()],
        },
        config: config(plan),
        env: Environment {
            host: host::machine(),
            kernel: host::kernel(),
            cores: context.processors,
            pinned_to: parts.pinned_to.filter(|_| plan.threads == 1),
            threads_pinned_to: if plan.threads > 1 { context.pinned_to.clone() } else { Vec::new() },
            local: parts.local,
        },
        time: parts.time,
        until: parts.until,
        counts,
        connections: Connections {
            opened: team.opened() as u64,
            opening_ns: (team.opened() > 0).then(|| team.opening_time()),
            refused: endings.refused,
            reset: endings.reset,
            closed: endings.closed,
            timeouts: endings.timed_out,
        },
        churn: plan.crowd.churn.zip(team.churned()).map(|(messages, churned)| Churn::new(messages, &churned)),
        companions: parts.companions,
        beside: parts.beside,
        server_memory: parts.memory,
        in_flight: facts.little.map(|(mean, little)| InFlight { mean, little }),
        latency: latencies(&total, &evidence, connect_times.as_ref()),
        per_transport,
        interference: None,
        per_size: BySize::all(&total.by_size),
        intervals,
        server: parts.server,
        generator: parts.generator,
        loss: measured.loss(),
        outliers: measured.outliers(),
        validity: verdict::judge(&facts),
        floor: parts.floor,
        gates: Vec::new(),
        exit,
    }
}

/// What all lanes recorded, and what those of each transport did.
fn sums(team: &Team, connect_times: Option<&Histogram<u64>>) -> (Recorder, BTreeMap<String, PerTransport>) {
    let mut total = Recorder::default();
    let mut per_transport = BTreeMap::new();
    for (transport, recorder) in team.merged() {
        total.add(&recorder);
        let each = team.recorders().filter(|(of, _)| *of == transport);
        let evidence: Vec<&Evidence> = each.map(|(_, recorder)| &recorder.evidence).collect();
        let connect = connect_times.filter(|_| transport == Transport::Tcp);
        let latency = latencies(&recorder, &evidence, connect);
        let breakdown = Breakdown::of(&recorder.breakdown);
        let part = PerTransport { counts: recorder.counts, latency, breakdown };
        per_transport.insert(transport.name().to_owned(), part);
    }
    (total, per_transport)
}

/// Every setting, for the record.
fn config(plan: &Plan) -> Config {
    let model = plan.model();
    let sockets = |of: Transport| {
        plan.transports().iter().find(|(transport, ..)| *transport == of).map_or(0, |(_, lanes, _)| *lanes)
    };
    Config {
        model: model.name.into(),
        rate: model.rate,
        plan: model.profile,
        arrivals: model.arrivals.map(|process| process.to_string()),
        pipeline: model.window,
        threads: (plan.threads > 1).then_some(plan.threads),
        datagrams_per_send: plan.longest_train,
        udp_sockets: sockets(Transport::Udp),
        tcp_connections: sockets(Transport::Tcp),
        churn: plan.crowd.churn.filter(|_| sockets(Transport::Tcp) > 0),
        size: plan.content.to_string(),
        payload: match &plan.content {
            Content::Lines(lines) => Some(lines.path().display().to_string()),
            Content::Template(_) => None,
        },
        late: model.rate.map(|_| plan.late.to_string()),
        pace: plan.pace.name().into(),
        duration_ns: plan.duration.map(nanos),
        messages: plan.messages,
        warmup_ns: nanos(plan.warmup),
        udp_timeout_ns: nanos(plan.udp_timeout),
        tcp_timeout_ns: nanos(plan.tcp_timeout),
        interval_ns: nanos(plan.interval),
    }
}

/// `evidence`: of all that recorded these latencies.
fn latencies(recorder: &Recorder, evidence: &[&Evidence], connect: Option<&Histogram<u64>>) -> Latencies {
    Latencies::of(recorder, |_, q| evidence::effective_size_at(q, evidence.iter().copied()), connect)
}

/// What a process used while so many messages were sent.
pub(super) fn process(pid: u32, usage: Usage, sent: u64, wall_ns: Nanos) -> Process {
    Process {
        pid,
        together: None,
        name: host::name(pid).unwrap_or_default(),
        cpu_ns: usage.cpu,
        cpu_ns_per_message: usage.cpu.checked_div(sent).unwrap_or(0),
        wall_ns,
        voluntary_switches: usage.switches.map(|switches| switches.voluntary),
        involuntary_switches: usage.switches.map(|switches| switches.involuntary),
        resident_bytes: usage.resident,
        spun_ns: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, read};

    #[test]
    fn a_transport_that_is_not_used_has_no_sockets() {
        let lanes = |target: &str| {
            let Ok(Command::Run(options)) = read(["shout-load", target].map(Into::into)) else { panic!() };
            let config = config(&options.plan(options.target.clone().unwrap(), false, 1).unwrap());
            (config.udp_sockets, config.tcp_connections)
        };
        assert_eq!(["udp://h", "tcp://h", "echo://h"].map(lanes), [(1, 0), (0, 16), (1, 16)]);
    }
}
