//! Whether runs are parts of one load: the same settings and one server, each run once. Pure: no I/O.

use super::source::Source;
use crate::clock::SECOND;
use crate::report::document::Document;
use crate::report::merged::Part;

/// The name of the run that does not belong to the others, and why not.
type Refusal = (String, String);

/// Every setting that must be the same, with its value in words.
pub(super) fn settings(run: &Document) -> [(&'static str, String); 24] {
    let config = &run.config;
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".into());
    let number = |value: Option<u64>| value.map_or_else(|| "none".into(), |number| number.to_string());
    let seconds = |nanos: u64| format!("{} s", nanos as f64 / SECOND as f64);
    let yes_or_no = |is_so: bool| if is_so { "given" } else { "not given" }.to_owned();
    // What a run says of a transport that it did not use is no setting of it.
    let timeout = |transport: &str, nanos: u64| {
        if run.per_transport.contains_key(transport) { seconds(nanos) } else { "none".into() }
    };
    let companions = run.companions.unwrap_or_default();
    // What is not added up a merged run has with its parts, of which one is like the other.
    let part = run.merged.as_ref().and_then(|merged| merged.parts.first());
    let until = run.until.as_ref().or_else(|| part?.until.as_ref());
    [
        ("version", run.tool.version.clone()),
        ("protocol", run.per_transport.keys().cloned().collect::<Vec<_>>().join(" and ")),
        ("target", run.target.url.clone()),
        ("loop", config.model.clone()),
        ("plan", text(&config.plan)),
        ("arrival process", text(&config.arrivals)),
        ("pipeline depth", number(config.pipeline)),
        ("number of datagrams a system call", config.datagrams_per_send.to_string()),
        ("size", config.size.clone()),
        ("payload", text(&config.payload)),
        ("late policy", text(&config.late)),
        ("pace", config.pace.clone()),
        ("duration", config.duration_ns.map_or_else(|| "none".into(), seconds)),
        ("number of messages", yes_or_no(config.messages.is_some())),
        ("goal of --until", text(&until.map(|until| until.goal.clone()))),
        ("interference", yes_or_no(run.interference.is_some() || part.is_some_and(|part| part.interference.is_some()))),
        ("warm-up", seconds(config.warmup_ns)),
        ("timeout over UDP", timeout("udp", config.udp_timeout_ns)),
        ("timeout over TCP", timeout("tcp", config.tcp_timeout_ns)),
        ("interval", seconds(config.interval_ns)),
        ("churn", number(run.churn.as_ref().map(|churn| churn.messages))),
        ("number of idle connections", yes_or_no(companions.idle.is_some())),
        ("number of slow readers", yes_or_no(companions.slow_readers.is_some())),
        ("number of half-closers", yes_or_no(companions.half_closers.is_some())),
    ]
}

/// Refuses what would make a sum of different things.
pub(super) fn check(sources: &[Source]) -> Result<(), Refusal> {
    let [first, others @ ..] = sources else { return Ok(()) };
    let expected = settings(&first.run);
    for other in others {
        let pairs = expected.iter().zip(settings(&other.run));
        for ((what, there), (_, here)) in pairs {
            if *there != here {
                let why = format!("its {what} is {here}, and that of {} is {there}", first.name);
                return Err((other.name.clone(), why + ": runs of one load have the same settings"));
            }
        }
    }
    let parts: Vec<(&str, &Part)> =
        sources.iter().flat_map(|source| source.parts.iter().map(|part| (source.name.as_str(), part))).collect();
    for (number, (name, part)) in parts.iter().enumerate() {
        for (before, earlier) in &parts[..number] {
            let refused = |why: String| Err(((*name).to_owned(), why));
            if is_same_run(part, earlier) {
                return refused(format!("it has the same run in it as {before}, and would count it twice"));
            }
            if let Some(why) = other_server(part, earlier) {
                return refused(format!("{why} of {before}: a load is of one server"));
            }
        }
    }
    Ok(())
}

fn is_same_run(one: &Part, other: &Part) -> bool {
    let name = |part: &Part| {
        let process = part.generator.as_ref().map(|process| process.pid);
        (part.env.host.clone(), process, part.time.start_unix_ns, part.seed.clone())
    };
    name(one) == name(other)
}

/// The same address means another server on another machine, if it is that machine's own, and after a restart.
fn other_server(part: &Part, other: &Part) -> Option<String> {
    let (here, there) = (&part.env, &other.env);
    if !here.local || !there.local || here.host.is_empty() || there.host.is_empty() {
        return None;
    }
    if here.host != there.host {
        return Some(format!(
            "its server runs on its own machine {}, and is not that on the machine {}",
            here.host, there.host
        ));
    }
    let (here, there) = (part.server.as_ref()?.pid, other.server.as_ref()?.pid);
    (here != there).then(|| format!("its server is the process {here}, and not the process {there}"))
}
