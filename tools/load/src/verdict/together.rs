//! Whether a run that was merged from several can be believed: as far as the worst of them, and as far as they were one
//! load. Pure: no I/O.

use super::checks::{Limits, check, effective_size, interval};
use super::{Check, Facts, Validity, Verdict};
use crate::clock::{Nanos, SECOND};
use crate::report::merged::Part;

/// The part of the longest run in which not all of them sent. The answers of that time met a smaller load; a tenth of them
/// moves a percentile by less than two runs differ.
const APART: Limits = Limits { suspect: 0.1, invalid: 0.5 };

/// Checks of how much was measured. More of it is measured together, so they are made anew.
const OF_THE_WHOLE: [&str; 2] = ["effective_size", "p99_interval"];

/// What the verdict on a merged run hangs on.
#[derive(Debug)]
pub struct Together<'a> {
    /// The runs.
    pub parts: &'a [Part],
    /// For how long all of them sent.
    pub common_ns: Nanos,
    /// What their latencies are worth together, in independent measurements.
    pub effective_size: f64,
    /// The 99th percentile of all response times.
    pub p99: Nanos,
    /// Its confidence interval.
    pub p99_interval: (Option<Nanos>, Option<Nanos>),
}

/// Judges a merged run: each check is as bad as it is in the worst part, which its reason names.
pub fn judge_together(facts: &Together) -> Validity {
    let mut made = vec![overlap(facts)];
    made.extend(seeds(facts.parts));
    let mut names: Vec<&str> = Vec::new();
    for check in facts.parts.iter().flat_map(|part| &part.validity.checks) {
        if !OF_THE_WHOLE.contains(&check.id.as_str()) && !names.contains(&check.id.as_str()) {
            names.push(&check.id);
        }
    }
    // The order in which parts lack checks must not matter.
    names.sort_by_key(|name| ORDER.iter().position(|known| known == name));
    made.extend(names.into_iter().filter_map(|name| worst(name, facts.parts)));
    made.push(effective_size(facts.effective_size));
    let (p99, p99_interval) = (facts.p99, facts.p99_interval);
    made.push(interval(&Facts { p99, p99_interval, ..Facts::default() }));
    let verdict = made.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Invalid);
    Validity { verdict, checks: made }
}

/// The checks of a run, as [`super::judge`] makes them.
const ORDER: [&str; 11] = [
    "server_there",
    "rate_reached",
    "lag",
    "own_cpu",
    "cpu_wait",
    "steal",
    "involuntary_switches",
    "arrivals",
    "stationary",
    "little",
    "own_tail",
];

/// One check of all parts.
fn worst(name: &str, parts: &[Part]) -> Option<Check> {
    let of = |part| -> Option<&Check> { Part::check(part, name) };
    let made = || parts.iter().filter_map(|part| Some((part, of(part)?)));
    // Of most, a great value is bad.
    let badness = |check: &Check| if name == "rate_reached" { -check.value } else { check.value };
    let (part, check) = made().reduce(|worst, next| {
        let by_value = || badness(next.1).total_cmp(&badness(worst.1));
        if next.1.verdict.cmp(&worst.1.verdict).then_with(by_value).is_gt() { next } else { worst }
    })?;
    if check.ok {
        return Some(check.clone());
    }
    let others = made().filter(|(_, check)| !check.ok).count() - 1;
    let others = match others {
        0 => String::new(),
        1 => " (and one more run)".into(),
        more => format!(" (and {more} more runs)"),
    };
    Some(Check { why: format!("{}{others}: {}", part.name, check.why), ..check.clone() })
}

/// Whether they were one load at all.
fn overlap(facts: &Together) -> Check {
    let longest = facts.parts.iter().map(|part| part.time.measured_ns).max().unwrap_or(0);
    let share = facts.common_ns as f64 / longest.max(1) as f64;
    let why = if facts.common_ns == 0 {
        "the runs do not overlap: nothing was ever under this load; start them together, with --at".into()
    } else {
        format!(
            "all of them sent for {:.2} s of {:.2}: the rest met a part of the load; start them together, with --at, for as \
             long, with -d",
            facts.common_ns as f64 / SECOND as f64,
            longest as f64 / SECOND as f64
        )
    };
    check("overlap", APART.judge(1.0 - share), share, 1.0 - APART.suspect, "the runs overlap", why)
}

/// Two generators of an open loop with one seed send at the same moments: not the arrivals that were asked for.
fn seeds(parts: &[Part]) -> Option<Check> {
    parts.first()?.config.rate?;
    let shares = |one: &&Part| {
        let (from, to) = one.sending();
        let meets = |other: &Part| other.sending().0 < to && from < other.sending().1;
        parts.iter().any(|other| other.seed == one.seed && !std::ptr::eq(other, *one) && meets(other))
    };
    let alike: Vec<&str> = parts.iter().filter(shares).map(|part| part.name.as_str()).collect();
    let verdict = if alike.is_empty() { Verdict::Valid } else { Verdict::Suspect };
    let why = format!("{} have one seed, and so sent at the same moments; leave out --seed", alike.join(", "));
    Some(check("seeds", verdict, alike.len() as f64, 0.0, "seeds of their own", why))
}
