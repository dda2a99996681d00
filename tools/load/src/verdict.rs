//! VALID, SUSPECT or INVALID: whether a measurement can be believed, why, and what to do. Pure: no I/O.
//!
//! Each check compares one value with named limits. A check whose question does not arise, such as the offered rate of
//! a closed loop, is not made and not listed. The verdict is the worst of all checks.

use serde::{Deserialize, Serialize};

use crate::clock::{Nanos, SECOND};
use crate::statistics::{mann_whitney_p, median};

/// How far a measurement can be believed, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every check is good.
    Valid,
    /// The figures may be off in a way that a check names.
    Suspect,
    /// The figures say more about the generator or its machine than about the server.
    Invalid,
}

impl Verdict {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Valid => "VALID",
            Verdict::Suspect => "SUSPECT",
            Verdict::Invalid => "INVALID",
        }
    }
}

/// One question about a measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Its name, the same in every version.
    pub id: String,
    /// Whether the answer is good.
    pub ok: bool,
    /// How bad it is.
    pub verdict: Verdict,
    /// What was measured.
    pub value: f64,
    /// Up to where it is good; for `rate_reached` and `effective_size`, from where on.
    pub limit: f64,
    /// The answer in words, and what to do if it is not good.
    pub why: String,
}

/// The verdict with its reasons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Validity {
    /// The worst of all checks.
    pub verdict: Verdict,
    /// Every check that was made.
    pub checks: Vec<Check>,
}

/// Two limits: beyond the first a check is suspect, beyond the second the measurement is invalid.
#[derive(Debug, Clone, Copy)]
struct Limits {
    suspect: f64,
    invalid: f64,
}

impl Limits {
    fn judge(self, value: f64) -> Verdict {
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

/// What an open loop was to do and did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Offered {
    /// Messages that the schedule had by the end.
    pub scheduled: u64,
    /// Messages sent.
    pub sent: u64,
    /// A window, a full socket or a connection to be opened kept messages back: the server was too slow to take them.
    pub is_held_up: bool,
    /// The distance of the gaps between sends from their law, and how many gaps that is of.
    pub arrivals: Option<(f64, usize)>,
}

/// Everything that the verdict hangs on. What is not known, or has no meaning in this run, is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Open loop only.
    pub offered: Option<Offered>,
    /// The 99th percentile of the lag.
    pub lag_p99: Nanos,
    /// The median service time.
    pub service_p50: Nanos,
    /// The share of the time that the generator's thread was on a processor and did not only wait for the time of a
    /// send.
    pub own_cpu: Option<f64>,
    /// The same for the server's process, 2.0 being two processors.
    pub server_cpu: Option<f64>,
    /// The share of the time that the generator's thread waited for a processor.
    pub waited: Option<f64>,
    /// The share of all processors' time that was stolen.
    pub steal: Option<f64>,
    /// Involuntary switches of the generator's thread, a second.
    pub switches: Option<f64>,
    /// The 99th percentile of the response time in consecutive slices.
    pub slices: Vec<f64>,
    /// What the latencies are worth in independent measurements.
    pub effective_size: f64,
    /// The 99th percentile of the response time.
    pub p99: Nanos,
    /// Its confidence interval; an end that is not known is `None`.
    pub p99_interval: (Option<Nanos>, Option<Nanos>),
    /// The mean number of messages in flight, and what it is by Little's law.
    pub little: Option<(f64, f64)>,
    /// By the kernel's timestamps: the generator's own share of the response times around the 99th percentile, and how
    /// long network and server took of them.
    pub own_tail: Option<(f64, Nanos)>,
}

/// Judges a measurement.
pub fn judge(facts: &Facts) -> Validity {
    let mut checks = Vec::new();
    checks.extend(facts.offered.map(|offered| rate_reached(&offered, facts)));
    checks.push(lag(facts));
    checks.extend(headroom(facts));
    checks.extend(facts.waited.map(waited));
    checks.extend(facts.steal.map(steal));
    checks.extend(facts.switches.map(|rate| switches(rate, facts.waited)));
    checks.extend(facts.offered.and_then(|offered| offered.arrivals).map(arrivals));
    checks.extend(stationary(&facts.slices));
    checks.push(effective_size(facts.effective_size));
    checks.push(interval(facts));
    checks.extend(facts.little.map(little));
    checks.extend(facts.own_tail.map(own_tail));
    let verdict = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Invalid);
    Validity { verdict, checks }
}

fn check(id: &str, verdict: Verdict, value: f64, limit: f64, good: &str, bad: String) -> Check {
    let ok = verdict == Verdict::Valid;
    Check { id: id.into(), ok, verdict, value, limit, why: if ok { good.into() } else { bad } }
}

fn rate_reached(offered: &Offered, facts: &Facts) -> Check {
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

fn lag(facts: &Facts) -> Check {
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
        facts.lag_p99 / 1000,
        facts.service_p50 / 1000
    );
    check("lag", verdict, times, LAG.suspect, "generator on time", why)
}

/// A closed loop is meant to run something into its limit: it must not be the generator alone.
fn headroom(facts: &Facts) -> Option<Check> {
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
    Some(check("own_cpu", verdict, own, BUSY, "generator had headroom", why))
}

fn waited(share: f64) -> Check {
    let why = format!(
        "the generator waited {:.1}% of the time for a processor, and every message in flight with it; run less beside \
         it",
        100.0 * share
    );
    check("cpu_wait", WAITED.judge(share), share, WAITED.suspect, "processor at hand", why)
}

fn steal(share: f64) -> Check {
    let why = format!("the hypervisor took {:.1}% of the processors away; use a quieter host", 100.0 * share);
    check("steal", STEAL.judge(share), share, STEAL.suspect, "no steal", why)
}

fn switches(rate: f64, waited: Option<f64>) -> Check {
    let is_harmless = rate <= SWITCHES || waited.is_some_and(|share| share <= HARMLESS_WAIT);
    let verdict = if is_harmless { Verdict::Valid } else { Verdict::Suspect };
    let why = format!("the generator lost its processor {rate:.0} times a second; run less beside it");
    check("involuntary_switches", verdict, rate, SWITCHES, "rarely interrupted", why)
}

fn arrivals((distance, sample): (f64, usize)) -> Check {
    let limit = ARRIVALS.max(ARRIVALS_BY_CHANCE / (sample.max(1) as f64).sqrt());
    let verdict = if distance <= limit { Verdict::Valid } else { Verdict::Suspect };
    let why = format!(
        "messages did not leave as asked: {:.0}% of the gaps between them are in the wrong place; lower -R",
        100.0 * distance
    );
    check("arrivals", verdict, distance, limit, "arrivals as asked", why)
}

fn stationary(slices: &[f64]) -> Option<Check> {
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
        "not stationary: the p99 of a slice went from {:.0} to {:.0} us; {what}",
        before / 1000.0,
        after / 1000.0
    );
    Some(check("stationary", verdict, drift, DRIFT.suspect, "stationary", why))
}

fn effective_size(size: f64) -> Check {
    let verdict = if size >= EFFECTIVE_SIZE { Verdict::Valid } else { Verdict::Suspect };
    let why = format!("worth {size:.0} independent measurements, too few for a p99; raise -d");
    check("effective_size", verdict, size, EFFECTIVE_SIZE, "enough independent measurements", why)
}

fn interval(facts: &Facts) -> Check {
    let width = match facts.p99_interval {
        (Some(lower), Some(upper)) => (upper - lower) as f64 / 2.0 / facts.p99.max(1) as f64,
        // JSON has no infinity; this is as wide as makes no difference.
        (None, _) | (_, None) => f64::from(u16::MAX),
    };
    let verdict = if width <= INTERVAL { Verdict::Valid } else { Verdict::Suspect };
    let why = match facts.p99_interval {
        (Some(_), Some(_)) => format!("the p99 is only known to ±{:.0}%; raise -d", 100.0 * width),
        (None, _) | (_, None) => "the p99 has no confidence interval; raise -d".into(),
    };
    check("p99_interval", verdict, width, INTERVAL, &format!("p99 known to ±{:.1}%", 100.0 * width), why)
}

fn own_tail((share, network_server): (f64, Nanos)) -> Check {
    let why = format!(
        "{:.0}% of the slowest responses passed inside the generator: at p99 network and server took {} us; free its \
         processor, or run it on a machine of its own",
        100.0 * share,
        network_server / 1000
    );
    let limit = OWN_TAIL.suspect;
    check("own_tail", OWN_TAIL.judge(share), share, limit, "the tail is not the generator's", why)
}

fn little((in_flight, law): (f64, f64)) -> Check {
    let off = (in_flight / law.max(f64::MIN_POSITIVE) - 1.0).abs();
    let verdict = if off <= LITTLE { Verdict::Valid } else { Verdict::Invalid };
    let why = format!(
        "the accounts contradict each other: {in_flight:.2} in flight on average, and {law:.2} by Little's law; please \
         report this"
    );
    check("little", verdict, off, LITTLE, "Little's law holds", why)
}

/// The mean number of messages in flight, and rate times mean service time, from times in nanoseconds.
///
/// `area` is message-nanoseconds, summed at every send and every end of a message; `answered` times their mean service
/// time, and the time of those `unanswered`, is the same summed up message by message.
pub fn little_facts(area: u128, answered: u64, mean_service: f64, unanswered: u128, wall: Nanos) -> (f64, f64) {
    let wall = wall.max(1) as f64;
    (area as f64 / wall, (answered as f64 * mean_service + unanswered as f64) / wall)
}

/// Events a second.
pub fn rate(events: u64, wall: Nanos) -> f64 {
    events as f64 * SECOND as f64 / wall.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Facts {
        Facts {
            offered: Some(Offered {
                scheduled: 100_000,
                sent: 99_990,
                is_held_up: false,
                arrivals: Some((0.05, 4096)),
            }),
            lag_p99: 90_000,
            service_p50: 38_000,
            own_cpu: Some(0.4),
            server_cpu: Some(0.6),
            waited: Some(0.002),
            steal: Some(0.0),
            switches: Some(3.0),
            slices: (0..40).map(|slice| 200_000.0 + f64::from(slice * 7919 % 40) * 1000.0).collect(),
            effective_size: 38_000.0,
            p99: 212_400,
            p99_interval: (Some(205_100), Some(219_800)),
            little: Some((5.21, 5.2)),
            own_tail: Some((0.5, 100_000)),
        }
    }

    fn offered(change: impl Fn(&mut Offered)) -> impl Fn(&mut Facts) {
        move |facts| change(facts.offered.as_mut().unwrap())
    }

    #[test]
    fn a_healthy_run_is_valid_and_every_check_is_made() {
        let validity = judge(&healthy());
        assert_eq!(validity.verdict, Verdict::Valid, "{:#?}", validity.checks);
        let made: Vec<&str> = validity.checks.iter().map(|check| check.id.as_str()).collect();
        assert_eq!(
            made,
            [
                "rate_reached",
                "lag",
                "own_cpu",
                "cpu_wait",
                "steal",
                "involuntary_switches",
                "arrivals",
                "stationary",
                "effective_size",
                "p99_interval",
                "little",
                "own_tail"
            ]
        );
    }

    /// One thing goes wrong; what the verdict is, and which check says so.
    #[test]
    fn each_thing_that_goes_wrong_is_named() {
        use Verdict::{Invalid, Suspect};
        type Change = Box<dyn Fn(&mut Facts)>;
        let growing = |to: f64| {
            move |facts: &mut Facts| {
                facts.slices = (0..40).map(|slice| 100_000.0 * (1.0 + to * f64::from(slice) / 40.0)).collect();
            }
        };
        let table: Vec<(&str, Verdict, Change)> = vec![
            ("rate_reached", Suspect, Box::new(offered(|offered| offered.sent = 98_000))),
            ("rate_reached", Invalid, Box::new(offered(|offered| offered.sent = 90_000))),
            ("lag", Suspect, Box::new(|facts| facts.lag_p99 = 300_000)),
            ("lag", Invalid, Box::new(|facts| facts.lag_p99 = 1_900_000)),
            ("own_cpu", Suspect, Box::new(|facts| facts.own_cpu = Some(0.97))),
            ("cpu_wait", Suspect, Box::new(|facts| facts.waited = Some(0.1))),
            ("cpu_wait", Invalid, Box::new(|facts| facts.waited = Some(0.4))),
            ("steal", Suspect, Box::new(|facts| facts.steal = Some(0.03))),
            ("steal", Invalid, Box::new(|facts| facts.steal = Some(0.2))),
            (
                "involuntary_switches",
                Suspect,
                Box::new(|facts| (facts.switches, facts.waited) = (Some(300.0), Some(0.04))),
            ),
            ("arrivals", Suspect, Box::new(offered(|offered| offered.arrivals = Some((0.3, 4096))))),
            ("stationary", Suspect, Box::new(growing(1.5))),
            ("stationary", Invalid, Box::new(growing(20.0))),
            ("effective_size", Suspect, Box::new(|facts| facts.effective_size = 400.0)),
            ("p99_interval", Suspect, Box::new(|facts| facts.p99_interval = (Some(100_000), Some(400_000)))),
            ("p99_interval", Suspect, Box::new(|facts| facts.p99_interval.1 = None)),
            ("little", Invalid, Box::new(|facts| facts.little = Some((5.2, 4.0)))),
            ("own_tail", Suspect, Box::new(|facts| facts.own_tail = Some((0.85, 51_000)))),
            ("own_tail", Invalid, Box::new(|facts| facts.own_tail = Some((0.95, 51_000)))),
        ];
        for (id, verdict, change) in table {
            let mut facts = healthy();
            change(&mut facts);
            let validity = judge(&facts);
            let bad: Vec<&Check> = validity.checks.iter().filter(|check| !check.ok).collect();
            assert_eq!((bad.len(), bad[0].id.as_str()), (1, id), "{bad:#?}");
            assert_eq!((validity.verdict, bad[0].verdict), (verdict, verdict), "{bad:#?}");
            assert!(bad[0].why.len() > 20, "{}", bad[0].why);
        }
    }

    #[test]
    fn a_saturated_generator_is_invalid_in_several_ways() {
        let mut facts = healthy();
        facts.offered = Some(Offered { scheduled: 1_000_000, sent: 300_000, is_held_up: false, arrivals: None });
        (facts.lag_p99, facts.own_cpu) = (700_000_000, Some(1.0));
        let validity = judge(&facts);
        assert_eq!(validity.verdict, Verdict::Invalid);
        assert!(validity.checks[0].why.starts_with("generator saturated: 30.00% of the offered rate"));
    }

    #[test]
    fn a_server_that_takes_no_more_is_not_blamed_on_a_generator_with_headroom() {
        let mut facts = healthy();
        facts.offered = Some(Offered { scheduled: 100_000, sent: 50_000, is_held_up: true, arrivals: None });
        facts.lag_p99 = 900_000_000;
        assert_eq!(judge(&facts).verdict, Verdict::Suspect);
        facts.own_cpu = Some(0.99);
        assert_eq!(judge(&facts).verdict, Verdict::Invalid);
    }

    #[test]
    fn a_closed_loop_is_not_asked_for_a_rate_and_may_be_busy_beside_a_busy_server() {
        let mut facts = Facts { offered: None, own_cpu: Some(1.0), server_cpu: Some(0.85), ..healthy() };
        let validity = judge(&facts);
        assert_eq!(validity.verdict, Verdict::Valid, "{:#?}", validity.checks);
        assert!(validity.checks.iter().all(|check| check.id != "rate_reached" && check.id != "arrivals"));
        facts.server_cpu = Some(0.3);
        assert_eq!(judge(&facts).verdict, Verdict::Suspect);
    }

    #[test]
    fn switches_that_cost_no_time_are_the_servers_turns_on_a_shared_processor() {
        assert!(switches(3000.0, Some(0.005)).ok && !switches(3000.0, Some(0.02)).ok && !switches(3000.0, None).ok);
    }

    #[test]
    fn a_small_sample_may_stray_by_chance() {
        assert!(arrivals((0.2, 50)).ok && !arrivals((0.2, 4096)).ok);
    }

    #[test]
    fn a_run_too_short_for_drift_is_not_judged_by_it() {
        assert!(stationary(&[1.0; 15]).is_none());
        assert!(stationary(&[1.0; 16]).unwrap().ok);
    }
}
