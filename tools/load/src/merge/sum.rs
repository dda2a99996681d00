//! Runs added up into one. Pure: no I/O.
//!
//! Whatever does not add up is computed from the list of parts, which a merged run keeps. So it does not matter in which order
//! runs are merged, or whether merged ones are merged again; but where runs did not begin together, how finely their
//! intervals can be aligned depends on it.

use std::collections::BTreeMap;

use super::source::Source;
use crate::clock::Nanos;
use crate::companions::Tally;
use crate::evidence::{self, WORST};
use crate::intervals::{self, Flow, Interval};
use crate::loss::Attribution;
use crate::observer::Course;
use crate::recorder::{Recorder, histogram};
use crate::report::breakdown::{Band, Breakdown};
use crate::report::by_size::BySize;
use crate::report::crowd::{Beside, Churn};
use crate::report::document::{
    Config, Connections, Document, Environment, Latencies, Latency, PERCENTILES, PerTransport, Process, SCHEMA, Target,
    Time,
};
use crate::report::intervals as report;
use crate::report::merged::{Merged, Part};
use crate::report::trust::{Loss, Outlier};
use crate::report::worst::InFlight;
use crate::run::exit;
use crate::verdict::{self, Together};

/// Adds up runs, at least one, that [`super::settings::check`] has let pass.
pub(super) fn merge(sources: &[Source], command: &[String]) -> Document {
    let parts = parts(sources);
    let time = time(&parts);
    let moves = moves(sources, time.start_unix_ns);
    let intervals = aligned(sources, &moves);
    let common = common(&parts, time.start_unix_ns);
    let rated_ns = rated(&intervals, common, time.measured_ns);
    let common_ns = common.1.saturating_sub(common.0);

    let worth = worth(&parts, &intervals);
    let size = worth["99"].0;

    let mut total = Recorder::default();
    let mut per_transport = BTreeMap::new();
    let connect = sum_of(sources.iter().map(|source| source.connect.as_ref()));
    for (name, recorder) in recorders(sources) {
        total.add(&recorder);
        let of_parts =
            |percentile: &str| parts.iter().filter_map(|part| part.n_eff.get(&name)?.get(percentile)).sum::<u64>();
        let sizes = |percentile: &str, _| worth[percentile].1 * of_parts(percentile) as f64;
        let latency = Latencies::of(&recorder, sizes, connect.as_ref().filter(|_| name == "tcp"));
        let counts = recorder.counts;
        per_transport.insert(name.clone(), PerTransport { counts, latency, breakdown: breakdown(&parts, &name) });
    }
    let observer = observer(&parts);
    let course = observer.map(|observer| course(sources, &parts[observer], &moves)).unwrap_or_default();
    let of_interval = |one: &Interval| report::Interval::of(one, course.between(one.start, one.start + one.length));
    let (p99, p99_interval) = (total.response.value_at_quantile(0.99), evidence::interval(&total.response, 0.99, size));
    let validity =
        verdict::judge_together(&Together { parts: &parts, common_ns, effective_size: size, p99, p99_interval });
    let companions = sources.iter().filter_map(|source| source.run.companions).reduce(Tally::plus);
    let is_wrong = total.counts.wrong_answers() > 0 || companions.is_some_and(|tally| tally.is_wrong());
    let first = &sources[0].run;
    Document {
        schema: SCHEMA.into(),
        tool: first.tool.clone(),
        command: command.to_vec(),
        seed: String::new(),
        target: Target {
            url: first.target.url.clone(),
            resolved: distinct(parts.iter().flat_map(|part| &part.resolved)),
        },
        config: config(&parts),
        env: environment(&parts),
        counts: total.counts,
        connections: sources.iter().fold(Connections::default(), |sum, source| sum.plus(source.run.connections)),
        churn: churn(sources),
        companions,
        in_flight: in_flight(&parts),
        latency: Latencies::of(&total, |percentile, _| worth[percentile].0, connect.as_ref()),
        per_transport,
        per_size: BySize::all(&total.by_size),
        intervals: intervals.iter().map(of_interval).collect(),
        server: observer.map(|observer| server(&parts, observer)),
        generator: None,
        loss: loss(sources, &parts, &total),
        outliers: outliers(sources, &parts, time.start_unix_ns),
        floor: None,
        validity,
        gates: Vec::new(),
        exit: match (is_wrong, total.counts.replied) {
            (true, _) => exit::WRONG_PAYLOAD,
            (false, 0) => exit::FAILED,
            (false, _) => exit::DONE,
        },
        time,
        beside: beside(sources),
        // Each stands with its part: none of them says anything of all programs together.
        until: None,
        server_memory: None,
        interference: None,
        merged: Some(Merged { parts, common_ns, rated_ns }),
    }
}

/// By percentile: how many independent values all parts are worth together, and the share of the sum of what they are worth
/// alone that this is.
fn worth(parts: &[Part], intervals: &[Interval]) -> BTreeMap<&'static str, (f64, f64)> {
    let of = |(name, percentile): (&'static str, f64)| {
        let alone: Vec<f64> =
            parts.iter().map(|part| part.response.n_eff.get(name).map_or(0.0, |&size| size as f64)).collect();
        let slices = intervals.iter().map(|one| one.response.histogram());
        let together = evidence::effective_size_of_parts(percentile / 100.0, &alone, slices);
        (name, (together, together / alone.iter().sum::<f64>().max(1.0)))
    };
    PERCENTILES.into_iter().map(of).collect()
}

/// All parts, in an order that does not depend on that of the files.
fn parts(sources: &[Source]) -> Vec<Part> {
    let mut parts: Vec<Part> = sources.iter().flat_map(|source| source.parts.iter().cloned()).collect();
    parts.sort_by_cached_key(order);
    parts
}

fn order(part: &Part) -> (u64, String, Option<u32>, String, String) {
    let pid = part.generator.as_ref().map(|process| process.pid);
    (part.time.start_unix_ns, part.env.host.clone(), pid, part.seed.clone(), part.name.clone())
}

/// From the first start to the last end.
fn time(parts: &[Part]) -> Time {
    let most = |of: &dyn Fn(&Part) -> u64| parts.iter().map(of).max().unwrap_or(0);
    let start_unix_ns = parts.iter().map(|part| part.time.start_unix_ns).min().unwrap_or(0);
    let sent = most(&|part| part.sending().1);
    Time {
        start_unix_ns,
        warmup_ns: most(&|part| part.time.warmup_ns),
        measured_ns: sent - start_unix_ns,
        drain_ns: most(&|part| part.sending().1 + part.time.drain_ns) - sent,
        interrupted: parts.iter().any(|part| part.time.interrupted),
    }
}

/// When all of them sent, since the first start; the end is before the beginning where they never did.
fn common(parts: &[Part], start: u64) -> (Nanos, Nanos) {
    let from = parts.iter().map(|part| part.sending().0).max().unwrap_or(start);
    let to = parts.iter().map(|part| part.sending().1).min().unwrap_or(start);
    (from - start, to - start)
}

/// By how much each source is moved to be on one clock with the first: by whole intervals, to where it is at most half of one
/// from its true place. Runs that began together stay as they are.
fn moves(sources: &[Source], start: u64) -> Vec<Nanos> {
    let has_content = |one: &&Interval| one.flow != Flow::default();
    let lengths = sources.iter().flat_map(|source| source.intervals.iter().filter(has_content)).map(|one| one.length);
    let longest = lengths.max().unwrap_or(0);
    // Intervals that were joined are longer by powers of two. In steps of the longest, their ends can meet.
    let usual = sources.iter().map(|source| source.run.config.interval_ns).max().unwrap_or(0).max(1);
    let unit = usual.saturating_mul(longest.div_ceil(usual).next_power_of_two());
    sources.iter().map(|source| (source.run.time.start_unix_ns - start + unit / 2) / unit * unit).collect()
}

/// Every source's intervals, moved and added up.
fn aligned(sources: &[Source], by: &[Nanos]) -> Vec<Interval> {
    let on_one_clock = |(source, by): (&Source, &Nanos)| -> Vec<Interval> {
        source.intervals.iter().map(|one| Interval { start: one.start + by, ..one.clone() }).collect()
    };
    let all: Vec<Vec<Interval>> = sources.iter().zip(by).map(on_one_clock).collect();
    let each: Vec<&[Interval]> = all.iter().map(Vec::as_slice).collect();
    intervals::merged(&each)
}

/// See [`Merged::rated_ns`]. An interval at an end of the common time counts for the share of it that is inside.
fn rated(intervals: &[Interval], (from, to): (Nanos, Nanos), whole: Nanos) -> Nanos {
    let length_in = |one: &Interval, from: Nanos, to: Nanos| {
        (one.start + one.length).min(to).saturating_sub(one.start.max(from)) as f64
    };
    let share = |one: &Interval| length_in(one, from, to) / length_in(one, 0, whole).max(1.0);
    let sent: f64 = intervals.iter().map(|one| one.flow.sent as f64).sum();
    let in_common: f64 = intervals.iter().map(|one| one.flow.sent as f64 * share(one)).sum();
    if in_common > 0.0 { (sent * to.saturating_sub(from) as f64 / in_common).round() as Nanos } else { whole }
}

fn sum_of<'a>(
    each: impl Iterator<Item = Option<&'a hdrhistogram::Histogram<u64>>>,
) -> Option<hdrhistogram::Histogram<u64>> {
    each.flatten().fold(None, |sum, one| {
        let mut sum = sum.unwrap_or_else(histogram);
        sum.add(one).expect("all histograms have the same bounds");
        Some(sum)
    })
}

fn recorders(sources: &[Source]) -> BTreeMap<String, Recorder> {
    let mut sums: BTreeMap<String, Recorder> = BTreeMap::new();
    for (name, recorder) in sources.iter().flat_map(|source| &source.recorders) {
        sums.entry(name.clone()).or_default().add(recorder);
    }
    sums
}

/// Means of the parts' own means, by the number of samples: of the messages around the percentile of each part.
fn breakdown(parts: &[Part], transport: &str) -> Option<Breakdown> {
    let each: Vec<&Breakdown> = parts.iter().filter_map(|part| part.breakdown.get(transport)).collect();
    let band = |percentile: &str| {
        let bands = || {
            let of =
                |one: &&Breakdown| (one.samples, one.bands.iter().find(|band| band.percentile == percentile).cloned());
            each.iter().map(of).filter_map(|(samples, band)| Some((samples, band?)))
        };
        let samples: u64 = bands().map(|(samples, _)| samples).sum();
        let mean = |of: fn(&Band) -> u64| {
            let sum: u128 = bands().map(|(samples, band)| u128::from(samples) * u128::from(of(&band))).sum();
            (sum / u128::from(samples.max(1))) as u64
        };
        let [lag_ns, own_kernel_ns, network_server_ns, wake_up_ns] = [
            mean(|band| band.lag_ns),
            mean(|band| band.own_kernel_ns),
            mean(|band| band.network_server_ns),
            mean(|band| band.wake_up_ns),
        ];
        let response_ns = lag_ns + own_kernel_ns + network_server_ns + wake_up_ns;
        let percentile = percentile.to_owned();
        (samples > 0).then_some(Band { percentile, response_ns, lag_ns, own_kernel_ns, network_server_ns, wake_up_ns })
    };
    (!each.is_empty()).then(|| Breakdown {
        samples: each.iter().map(|one| one.samples).sum(),
        rejected: each.iter().map(|one| one.rejected).sum(),
        bands: ["50", "90", "99"].into_iter().filter_map(band).collect(),
    })
}

/// The settings that all share, and the sums of what they had shares of.
fn config(parts: &[Part]) -> Config {
    let each = || parts.iter().map(|part| &part.config);
    let first = &parts[0].config;
    let threads: usize = each().map(|config| config.threads.unwrap_or(1)).sum();
    Config {
        rate: first.rate.map(|_| each().filter_map(|config| config.rate).sum()),
        messages: first.messages.map(|_| each().filter_map(|config| config.messages).sum()),
        threads: each().any(|config| config.threads.is_some()).then_some(threads),
        udp_sockets: each().map(|config| config.udp_sockets).sum(),
        tcp_connections: each().map(|config| config.tcp_connections).sum(),
        ..first.clone()
    }
}

fn environment(parts: &[Part]) -> Environment {
    let cores: BTreeMap<&str, usize> = parts.iter().map(|part| (part.env.host.as_str(), part.env.cores)).collect();
    Environment {
        host: String::new(),
        kernel: distinct(parts.iter().map(|part| &part.env.kernel)).join(", "),
        cores: cores.values().sum(),
        pinned_to: None,
        threads_pinned_to: Vec::new(),
        local: parts.iter().any(|part| part.env.local),
    }
}

fn distinct<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<String> {
    texts.collect::<std::collections::BTreeSet<_>>().into_iter().cloned().collect()
}

/// The part that looked at the server for longest. All looked at the same one: what it used is not theirs to add up.
fn observer(parts: &[Part]) -> Option<usize> {
    let seen = parts.iter().enumerate().filter_map(|(number, part)| Some((number, part.server.as_ref()?.wall_ns)));
    seen.rev().max_by_key(|(_, wall)| *wall).map(|(number, _)| number)
}

/// The server as it was seen by that part, and what it used for each message that anybody sent meanwhile.
fn server(parts: &[Part], observer: usize) -> Process {
    let seen = parts[observer].server.clone().expect("it was chosen for this");
    let (from, to) = parts[observer].sending();
    let meanwhile = |part: &Part| {
        let (start, end) = part.sending();
        let share = end.min(to).saturating_sub(start.max(from)) as f64 / (end - start).max(1) as f64;
        part.counts.sent as f64 * share
    };
    let sent = parts.iter().map(meanwhile).sum::<f64>().round() as u64;
    Process { cpu_ns_per_message: seen.cpu_ns.checked_div(sent).unwrap_or(0), ..seen }
}

/// The server's processor time over time, as that part saw it.
fn course(sources: &[Source], observer: &Part, moves: &[Nanos]) -> Course {
    let source = sources.iter().zip(moves).find(|(source, _)| source.parts.contains(observer));
    let intervals = source.into_iter().flat_map(|(source, by)| source.run.intervals.iter().map(move |one| (one, by)));
    Course::of_intervals(intervals.filter_map(|(one, by)| Some((one.t_ns + by, one.len_ns, one.server_cpu_ns?))))
}

fn in_flight(parts: &[Part]) -> Option<InFlight> {
    let each: Vec<InFlight> = parts.iter().map(|part| part.in_flight).collect::<Option<_>>()?;
    let sum = |of: fn(&InFlight) -> f64| each.iter().map(of).sum();
    Some(InFlight { mean: sum(|one| one.mean), little: sum(|one| one.little) })
}

fn churn(sources: &[Source]) -> Option<Churn> {
    let each = || sources.iter().filter_map(|source| source.run.churn.as_ref());
    let sum = |of: fn(&Churn) -> u64| each().map(of).sum();
    let connect = sum_of(sources.iter().map(|source| source.reconnect.as_ref()))?;
    Some(Churn {
        messages: each().next()?.messages,
        closed: sum(|one| one.closed),
        opened: sum(|one| one.opened),
        refused: sum(|one| one.refused),
        failed: sum(|one| one.failed),
        connect: Latency::of(&connect),
    })
}

/// All of them were opened at the same time: before the load, which waited for the last.
fn beside(sources: &[Source]) -> Option<Beside> {
    let each = || sources.iter().filter_map(|source| source.run.beside.as_ref());
    let connect = sum_of(sources.iter().map(|source| source.beside.as_ref()))?;
    Some(Beside {
        opened: each().map(|one| one.opened).sum(),
        opening_ns: each().map(|one| one.opening_ns).max().unwrap_or(0),
        connect: Latency::of(&connect),
    })
}

fn loss(sources: &[Source], parts: &[Part], total: &Recorder) -> Loss {
    let each = || sources.iter().map(|source| &source.run.loss);
    let mut bursts = BTreeMap::new();
    each().flat_map(|one| &one.bursts).for_each(|(size, number)| *bursts.entry(size.clone()).or_default() += number);
    let counts = &total.counts;
    Loss {
        attribution: each().fold(Attribution::default(), |sum, one| one.attribution.plus(sum)),
        longest_burst: each().map(|one| one.longest_burst).max().unwrap_or(0),
        bursts,
        all_in: Loss::percentiles(&total.response, counts.unanswered()),
        retransmits: of_machines(parts, |part| part.retransmits),
        listen_overflows: of_machines(parts, |part| part.listen_overflows),
    }
}

/// A counter that belongs to a machine: those who ran on it have all seen the same one.
fn of_machines(parts: &[Part], of: fn(&Part) -> Option<u64>) -> Option<u64> {
    let mut machines: BTreeMap<&str, u64> = BTreeMap::new();
    for (host, seen) in parts.iter().filter_map(|part| Some((part.env.host.as_str(), of(part)?))) {
        machines.entry(host).and_modify(|most| *most = seen.max(*most)).or_insert(seen);
    }
    (!machines.is_empty()).then(|| machines.values().sum())
}

/// The slowest of all, on one clock, each with the part that it is of.
fn outliers(sources: &[Source], parts: &[Part], start: u64) -> Vec<Outlier> {
    let place = |part: &Part| parts.iter().position(|one| one == part);
    let each = sources.iter().flat_map(|source| {
        let late = source.run.time.start_unix_ns - start;
        source.run.outliers.iter().map(move |one| {
            let part = place(&source.parts[one.part.unwrap_or(0).min(source.parts.len() - 1)]);
            Outlier { t_intended_ns: one.t_intended_ns + late, part, ..one.clone() }
        })
    });
    let mut all: Vec<Outlier> = each.collect();
    all.sort_by(|one, other| {
        let key = |slow: &Outlier| (slow.t_intended_ns, slow.part, slow.conn, slow.seq);
        other.lat_ns.cmp(&one.lat_ns).then_with(|| key(one).cmp(&key(other)))
    });
    all.truncate(WORST);
    all
}
