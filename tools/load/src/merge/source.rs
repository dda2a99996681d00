//! A saved run on its way into a merged one: its histograms unpacked, and held against each other. Pure: no I/O.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::by_size::Class;
use crate::intervals::{Flow, Interval};
use crate::recorder::{Recorder, histogram};
use crate::report::document::{Document, Latency};
use crate::report::intervals as report;
use crate::report::merged::{Part, Summary};

/// A run, or a merged one.
pub(super) struct Source {
    /// The file that it was read from.
    pub(super) name: String,
    /// Everything that needs no unpacking.
    pub(super) run: Document,
    /// The runs that it was made of, or itself.
    pub(super) parts: Vec<Part>,
    /// What was recorded, by transport; the sizes are in the first.
    pub(super) recorders: BTreeMap<String, Recorder>,
    /// Since its own start.
    pub(super) intervals: Vec<Interval>,
    /// How long connections took to open, before the load and during it.
    pub(super) connect: Option<Histogram<u64>>,
    pub(super) reconnect: Option<Histogram<u64>>,
    /// The same for those beside the measured ones.
    pub(super) beside: Option<Histogram<u64>>,
}

impl Source {
    /// Unpacks a run. `Err` says what is wrong with the file.
    pub(super) fn new(name: &str, run: Document) -> Result<Self, String> {
        let mut recorders = BTreeMap::new();
        for (transport, part) in &run.per_transport {
            let mut recorder = Recorder { counts: part.counts, ..Recorder::default() };
            let latency = &part.latency;
            recorder.response = unpacked(&latency.response)?;
            recorder.service = unpacked(&latency.service)?;
            recorder.lag = unpacked(&latency.lag)?;
            if !recorder.counts.is_balanced() || recorder.response.len() != recorder.counts.replied {
                return Err(format!("its counts of {transport} contradict each other"));
            }
            recorders.insert(transport.clone(), recorder);
        }
        if let Some(first) = recorders.values_mut().next() {
            for class in &run.per_size {
                let response = unpacked(&class.response)?;
                let (from, to, sent, replied) = (class.from, class.to, class.sent, class.replied);
                first.by_size.add_class(&Class { from, to, sent, replied, response });
            }
        }
        let intervals = run.intervals.iter().map(interval).collect::<Result<Vec<_>, _>>()?;
        let whole = recorders.values().fold(histogram(), |sum, one| with(sum, &one.response));
        if intervals.iter().fold(histogram(), |sum, one| with(sum, &one.response.histogram())) != whole {
            return Err("its intervals do not add up to the whole".into());
        }
        let connect = run.latency.connect.as_ref().map(unpacked).transpose()?;
        let reconnect = run.churn.as_ref().map(|churn| unpacked(&churn.connect)).transpose()?;
        let beside = run.beside.as_ref().map(|beside| unpacked(&beside.connect)).transpose()?;
        let parts = run.merged.as_ref().map_or_else(|| vec![part(name, &run)], |merged| merged.parts.clone());
        Ok(Source { name: name.to_owned(), run, parts, recorders, intervals, connect, reconnect, beside })
    }
}

fn with(mut sum: Histogram<u64>, more: &Histogram<u64>) -> Histogram<u64> {
    sum.add(more).expect("both have the bounds of every histogram here");
    sum
}

/// A histogram with the bounds of those that are recorded, whatever those in the file are.
fn within_bounds(read: Option<Histogram<u64>>) -> Result<Histogram<u64>, String> {
    let mut own = histogram();
    let is_whole = read.is_some_and(|read| own.add(read).is_ok());
    if is_whole { Ok(own) } else { Err("one of its histograms is damaged".into()) }
}

fn unpacked(latency: &Latency) -> Result<Histogram<u64>, String> {
    within_bounds(latency.histogram())
}

fn interval(one: &report::Interval) -> Result<Interval, String> {
    let [response, service, lag] = one.histograms().map(within_bounds);
    let flow = Flow { offered: one.offered, sent: one.sent, replied: one.replied, lost: one.lost };
    Ok(Interval::cut_elsewhere(one.t_ns, one.len_ns, flow, [&response?, &service?, &lag?]))
}

/// What stays of a run beside what is added up.
fn part(name: &str, run: &Document) -> Part {
    let value = |latency: &Latency, percentile: &str| latency.p.get(percentile).map_or(0, |quantile| quantile.v);
    let response = &run.latency.response;
    let each = || run.per_transport.iter();
    Part {
        name: name.to_owned(),
        command: run.command.clone(),
        seed: run.seed.clone(),
        config: run.config.clone(),
        env: run.env.clone(),
        resolved: run.target.resolved.clone(),
        time: run.time.clone(),
        counts: run.counts,
        response: Summary {
            n: response.n,
            n_eff: response.sizes(),
            p50: value(response, "50"),
            p99: value(response, "99"),
            max: response.max,
        },
        lag_p99: value(&run.latency.lag, "99"),
        n_eff: each().map(|(name, part)| (name.clone(), part.latency.response.sizes())).collect(),
        breakdown: each().filter_map(|(name, part)| Some((name.clone(), part.breakdown.clone()?))).collect(),
        until: run.until.clone(),
        interference: run.interference.clone(),
        server_memory: run.server_memory,
        in_flight: run.in_flight,
        server: run.server.clone(),
        generator: run.generator.clone(),
        floor: run.floor,
        retransmits: run.loss.retransmits,
        listen_overflows: run.loss.listen_overflows,
        validity: run.validity.clone(),
    }
}
