//! What was counted, and how it was measured: the parts of the page that are lists. Pure: no I/O.

use super::sheet::escape;
use crate::report::by_size::size;
use crate::report::crowd::footprint;
use crate::report::document::{Document, Process};
use crate::report::screen::{busy, count, micros, moment, per_second, plural, seconds};

pub(super) fn messages(run: &Document) -> String {
    let counts = &run.counts;
    let rows = [
        ("scheduled", counts.scheduled),
        ("shed", counts.shed),
        ("sent", counts.sent),
        ("replied", counts.replied),
        ("lost", counts.lost),
        ("late", counts.late),
        ("duplicated", counts.duplicated),
        ("reordered", counts.reordered),
        ("corrupted", counts.corrupt),
        ("of them as sent, in lower case", counts.unchanged),
        ("truncated", counts.truncated),
        ("stray", counts.stray),
        ("cut off under way", counts.in_flight_at_end),
        ("send blocked", counts.send_blocked),
    ];
    let cells = rows.iter().map(|(name, number)| format!("<div><dt>{name}</dt><dd>{}</dd></div>", count(*number)));
    format!("<dl class=\"counts\">{}</dl>", cells.collect::<Vec<_>>().concat())
}

pub(super) fn setting(run: &Document) -> String {
    let Document { config, env, time, .. } = run;
    let load = match (config.rate, &config.arrivals) {
        (Some(rate), Some(arrivals)) => format!("open loop, {arrivals}, {} msg/s", count(rate as u64)),
        _ => "closed loop".into(),
    };
    let window = config.pipeline.map(|window| format!(", {} in flight each", count(window))).unwrap_or_default();
    let lanes = [("udp", config.udp_sockets, "UDP socket"), ("tcp", config.tcp_connections, "TCP connection")];
    let lanes = lanes.iter().filter(|(name, ..)| run.per_transport.contains_key(*name));
    let lanes: Vec<String> = lanes.map(|(_, number, what)| plural(*number, what)).collect();
    let process = |process: &Process| {
        format!(
            "pid {} {}, cpu {}, {} µs a message",
            process.pid,
            process.name,
            busy(process.cpu_ns, process.wall_ns),
            micros(process.cpu_ns_per_message)
        )
    };
    let pinned = env.pinned_to.map(|cpu| format!(", generator on cpu {cpu}")).unwrap_or_default();
    let rows = [
        ("target", format!("{} ({})", run.target.url, run.target.resolved.join(", "))),
        ("load", load + &window),
        ("messages", format!("{} on {}", size(&config.size), lanes.join(" and "))),
        (
            "time",
            format!(
                "{}: warm-up {} (excluded), measured {}, drain {}",
                moment(time.start_unix_ns),
                seconds(time.warmup_ns),
                seconds(time.measured_ns),
                seconds(time.drain_ns)
            ),
        ),
        ("kernel", format!("{}, {} processors{pinned}", env.kernel, env.cores)),
        ("server", run.server.as_ref().map_or_else(|| "not on this machine, or not found".into(), process)),
        ("its memory", run.server_memory.as_ref().map_or_else(|| "-".into(), footprint)),
        ("connections", opening(run)),
        ("generator", run.generator.as_ref().map_or_else(String::new, process)),
        ("program", format!("shout-load {}", run.tool.version)),
        ("seed", run.seed.clone()),
    ];
    // Of a merged run each part has its own, in the table of its parts.
    let rows = rows
        .iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| format!("<dt>{name}</dt><dd>{}</dd>", escape(text)));
    let rows = rows.collect::<Vec<_>>().concat();
    format!("<dl class=\"setting\">{rows}</dl><pre>{}</pre>", escape(&run.command.join(" ")))
}

/// How fast TCP connections were opened.
fn opening(run: &Document) -> String {
    let rate = |opened: u64, time: u64| format!("{} opened at {}/s", count(opened), count(per_second(opened, time)));
    let measured = run.connections.opening_ns.map(|time| rate(run.connections.opened, time));
    let beside = run.beside.as_ref().map(|beside| rate(beside.opened, beside.opening_ns) + " beside");
    let all: Vec<String> = measured.into_iter().chain(beside).collect();
    if all.is_empty() { "-".into() } else { all.join(", ") }
}
