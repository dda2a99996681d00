//! The questions about a measurement, one by one, and the limits of each. Pure: no I/O.

use super::{Check, Facts, Offered, Verdict};
use crate::clock::Nanos;
use crate::evidence::half_width;
use crate::report::screen::micros;
use crate::statistics::{mann_whitney_p, median};

/// Two limits: beyond the first a check is suspect, beyond the second the measurement is invalid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) suspect: f64,
    pub(super) invalid: f64,
}

impl Limits {
    pub(super) fn judge(self, value: f64) -> Verdict {
        // The other way round, so that what is not a number is not good either.
        if value <= self.suspect {
            Verdict::Valid
        } else if value <= self.invalid {
            Verdict::Suspect
        } else {
            Verdict::Invalid
        }
    }
}

/// The part of the schedule that was left undone. One message in a hundred moves a rate by less than runs differ; with
/// one in twenty missing it was another load than the one that was asked for.
const RATE_MISSED: Limits = Limits { suspect: 0.01, invalid: 0.05 };

/// The 99th percentile of the generator's own delay, in median service times. Timer and wake-up cost a few of the
/// fastest service times there are, which a median shows through; at twenty the tail is the generator's.
const LAG: Limits = Limits { suspect: 5.0, invalid: 20.0 };

/// The share of the time that the generator's thread was on a processor, but for waiting, from which on it has no
/// headroom for a burst.
const BUSY: f64 = 0.9;

/// The generator's own share of the response times around the 99th percentile, after the kernel's timestamps. Sending and
/// waking up are half of a short round trip on loopback; at nine tenths the tail says nothing of the server.
const OWN_TAIL: Limits = Limits { suspect: 0.8, invalid: 0.9 };

/// A server that uses this much of a processor is the limit of a closed loop, however busy the generator is too.
const SERVER_BUSY: f64 = 0.7;

/// The share of the time that the generator was ready to run and had no processor. Each such wait is in the latencies
/// of all that was in flight.
const WAITED: Limits = Limits { suspect: 0.05, invalid: 0.2 };

/// The share of all processors' time that the hypervisor gave to somebody else.
const STEAL: Limits = Limits { suspect: 0.01, invalid: 0.1 };

/// Involuntary switches a second: each may put off what is in flight by a scheduler's slice, some 3 ms. At 100 a second
/// that can be every third message. They do no harm where the generator hardly waited all the same: the server then
/// shares its processor, and is woken by each send.
const SWITCHES: f64 = 100.0;
const HARMLESS_WAIT: f64 = 0.01;

/// The distance of the gaps between sends from their law, beyond what the timer of this machine explains. A tenth of
/// all gaps in the wrong place is as much as a change of the mean by a fifth.
const ARRIVALS: f64 = 0.1;

/// The Kolmogorov–Smirnov distance, times the root of the sample's size, that chance exceeds once in a thousand times.
const ARRIVALS_BY_CHANCE: f64 = 1.95;

/// The medians of the slices' 99th percentiles in the two halves of a run, larger by smaller. Below a quarter no
/// conclusion from a run hangs on it. A steady growth makes it 2 when the end is five times the start (and never more than
/// 3): then how long the run took decides what it reports.
const DRIFT: Limits = Limits { suspect: 1.25, invalid: 2.0 };

/// Drift is looked for in this many slices a half; fewer cannot tell it from chance.
const SLICES_OF_A_HALF: usize = 8;

/// The level of the test for drift: a run in a hundred is accused without a cause, and then only if it also drifted.
const DRIFT_LEVEL: f64 = 0.01;

/// Independent measurements for ten beyond the 99th percentile, without which it is hearsay.
const EFFECTIVE_SIZE: f64 = 1000.0;

/// Half the width of the confidence interval of the 99th percentile, as a share of its value.
const INTERVAL: f64 = 0.3;

/// Between the mean number of messages in flight and rate times mean service time, which are equal by Little's law. Both
/// come from the same run by different ways: more than rounding between them means that the accounts are wrong.
const LITTLE: f64 = 0.05;

pub(super) fn check(id: &str, verdict: Verdict, value: f64, limit: f64, good: &str, bad: String) -> Check {
    let ok = verdict == Verdict::Valid;
    Check { id: id.into(), ok, verdict, value, limit, why: if ok { good.into() } else { bad } }
}

pub(super) fn rate_reached(offered: &Offered, facts: &Facts) -> Check {
    let share = offered.sent as f64 / offered.scheduled.max(1) as f64;
    let verdict = RATE_MISSED.judge(1.0 - share);
    let has_headroom = facts.own_cpu.is_some_and(|cpu| cpu < BUSY);
    let missed = format!("{:.2}% of the offered rate was sent", 100.0 * share);
    // The generator was ready and the server was not: a finding about the server, though not at the rate asked for.
    if offered.is_held_up && has_headroom {
        let why = format!("{missed}: the server took no more; lower -R, or raise -p");
        return check(
            "rate_reached",
            verdict.min(Verdict::Suspect),
            share,
            1.0 - RATE_MISSED.suspect,
            "rate reached",
            why,
        );
    }
    let why = format!("generator saturated: {missed}; lower -R, or run it on a machine of its own");
    check("rate_reached", verdict, share, 1.0 - RATE_MISSED.suspect, "rate reached", why)
}

pub(super) fn lag(facts: &Facts) -> Check {
    let times = facts.lag_p99 as f64 / facts.service_p50.max(1) as f64;
    let mut verdict = LAG.judge(times);
    let mut whose = "the generator was behind";
    if facts.offered.is_some_and(|offered| offered.is_held_up) && facts.own_cpu.is_some_and(|cpu| cpu < BUSY) {
        verdict = verdict.min(Verdict::Suspect);
        whose = "messages waited for the server to take them";
    }
    let why = format!(
        "{whose}: lag p99 {} us is {times:.1} times the median service time of {} us; lower -R, or give the generator a \
         processor of its own",
        micros(facts.lag_p99),
        micros(facts.service_p50)
    );
    check("lag", verdict, times, LAG.suspect, "generator on time", why)
}

/// A closed loop is meant to run something into its limit: it must not be the generator alone.
pub(super) fn headroom(facts: &Facts) -> Option<Check> {
    let own = facts.own_cpu?;
    let is_limit = match (facts.offered, facts.server_cpu) {
        (Some(_), _) => own > BUSY,
        (None, Some(server)) => own > BUSY && server < SERVER_BUSY,
        (None, None) => return None,
    };
    let verdict = if is_limit { Verdict::Suspect } else { Verdict::Valid };
    let why = format!(
        "the generator used {:.0}% of its processor: the rate is its limit and not the server's; run it on a machine of \
         its own, or ask for less with -R",
        100.0 * own
    );
    // In a closed loop both may be: then the rate is that of the pair.
    let good = if own > BUSY { "generator no busier than the server" } else { "generator had headroom" };
    Some(check("own_cpu", verdict, own, BUSY, good, why))
}

/// See [`super::is_busy`].
pub(super) fn is_busy(own_cpu: f64, waited: f64) -> bool {
    own_cpu > BUSY || waited > WAITED.invalid
}

pub(super) fn waited(share: f64) -> Check {
    let why = format!(
        "the generator waited {:.1}% of the time for a processor, and every message in flight with it; run less beside \
         it",
        100.0 * share
    );
    check("cpu_wait", WAITED.judge(share), share, WAITED.suspect, "processor at hand", why)
}

pub(super) fn steal(share: f64) -> Check {
    let why = format!("the hypervisor took {:.1}% of the processors away; use a quieter host", 100.0 * share);
    check("steal", STEAL.judge(share), share, STEAL.suspect, "no steal", why)
}

pub(super) fn switches(rate: f64, waited: Option<f64>) -> Check {
    let is_harmless = rate <= SWITCHES || waited.is_some_and(|share| share <= HARMLESS_WAIT);
    let verdict = if is_harmless { Verdict::Valid } else { Verdict::Suspect };
    let why = format!("the generator lost its processor {rate:.0} times a second; run less beside it");
    check("involuntary_switches", verdict, rate, SWITCHES, "rarely interrupted", why)
}

pub(super) fn arrivals((distance, sample): (f64, usize)) -> Check {
    let limit = ARRIVALS.max(ARRIVALS_BY_CHANCE / (sample.max(1) as f64).sqrt());
    let verdict = if distance <= limit { Verdict::Valid } else { Verdict::Suspect };
    let why = format!(
        "messages did not leave as asked: {:.0}% of the gaps between them are in the wrong place; lower -R",
        100.0 * distance
    );
    check("arrivals", verdict, distance, limit, "arrivals as asked", why)
}

pub(super) fn stationary(slices: &[f64]) -> Option<Check> {
    let (first, second) = slices.split_at(slices.len() / 2);
    if first.len() < SLICES_OF_A_HALF {
        return None;
    }
    let (before, after) = (median(first), median(second));
    let drift = before.max(after) / before.min(after).max(1.0);
    let is_chance = mann_whitney_p(first, second) >= DRIFT_LEVEL;
    let verdict = if is_chance { Verdict::Valid } else { DRIFT.judge(drift) };
    let what = if after > before {
        "a queue may be growing, and then the latency depends on how long the run is: lower -R"
    } else {
        "it was still warming up: raise -w"
    };
    let why = format!(
        "not stationary: the p99 of a slice went from {} to {} us; {what}",
        micros(before as Nanos),
        micros(after as Nanos)
    );
    Some(check("stationary", verdict, drift, DRIFT.suspect, "stationary", why))
}

pub(super) fn effective_size(size: f64) -> Check {
    let verdict = if size >= EFFECTIVE_SIZE { Verdict::Valid } else { Verdict::Suspect };
    let why = format!("worth {size:.0} independent measurements, too few for a p99; raise -d");
    check("effective_size", verdict, size, EFFECTIVE_SIZE, "enough independent measurements", why)
}

pub(super) fn interval(facts: &Facts) -> Check {
    // JSON has no infinity; this is as wide as makes no difference.
    let width = half_width(facts.p99, facts.p99_interval).unwrap_or(f64::from(u16::MAX));
    let verdict = if width <= INTERVAL { Verdict::Valid } else { Verdict::Suspect };
    let why = match facts.p99_interval {
        (Some(_), Some(_)) => format!("the p99 is only known to ±{:.0}%; raise -d", 100.0 * width),
        (None, _) | (_, None) => "the p99 has no confidence interval; raise -d".into(),
    };
    check("p99_interval", verdict, width, INTERVAL, &format!("p99 known to ±{:.1}%", 100.0 * width), why)
}

/// The share is of what a sample of messages says; that a generator which was behind is not the tail is more than it knows.
pub(super) fn own_tail((share, network_server): (f64, Nanos), is_on_time: bool) -> Check {
    let part = format!("{:.0}% of the slowest responses passed inside the generator", 100.0 * share);
    let why = format!(
        "{part}: at p99 network and server took {} us; free its processor, or run it on a machine of its own",
        micros(network_server)
    );
    let good = if is_on_time { "the tail is not the generator's" } else { &part };
    check("own_tail", OWN_TAIL.judge(share), share, OWN_TAIL.suspect, good, why)
}

pub(super) fn little((in_flight, law): (f64, f64)) -> Check {
    let off = (in_flight / law.max(f64::MIN_POSITIVE) - 1.0).abs();
    let verdict = if off <= LITTLE { Verdict::Valid } else { Verdict::Invalid };
    let why = format!(
        "the accounts contradict each other: {in_flight:.2} in flight on average, and {law:.2} by Little's law; please \
         report this"
    );
    check("little", verdict, off, LITTLE, "Little's law holds", why)
}
