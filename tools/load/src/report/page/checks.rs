//! Whether to believe the run: each check with what it asks and what it found. Pure: no I/O.

use super::sheet::{escape, note, section, table};
use crate::report::document::Document;
use crate::report::screen::micros;
use crate::verdict::{Check, Verdict};

/// How the value of a check is written.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Share,
    Times,
    PerSecond,
    Number,
}

/// Each check by its name: what it is called here, how its value is written, and what it means.
const MEANINGS: [(&str, &str, Kind, &str); 15] = [
    (
        "server_there",
        "The server was there",
        Kind::Share,
        "The share of the time of sending in which nobody listened, or nothing was heard any more; or of the connections \
         that ended before the run did.",
    ),
    (
        "overlap",
        "The runs overlap",
        Kind::Share,
        "The share of the longest run in which all of them sent, by the clocks of their machines. What was answered in the \
         rest of the time met a part of the load.",
    ),
    (
        "seeds",
        "Seeds of their own",
        Kind::Number,
        "How many open loops had the seed of another. They send at the same moments, so that messages come in clumps.",
    ),
    (
        "rate_reached",
        "Rate reached",
        Kind::Share,
        "The share of the schedule that was sent. A rate that was not reached was not measured.",
    ),
    (
        "lag",
        "Generator on time",
        Kind::Times,
        "How late the latest hundredth of the messages left, in median service times. What left late has the \
         generator's own delay in its response time.",
    ),
    (
        "own_cpu",
        "Generator had headroom",
        Kind::Share,
        "The share of its processor that the generator used, without waiting for the time of a send. A generator that \
         is at its limit measures itself.",
    ),
    (
        "cpu_wait",
        "Processor at hand",
        Kind::Share,
        "The share of the time that the generator was ready to run and others had its processor. Each such moment is in \
         the latency of all that was in flight.",
    ),
    (
        "steal",
        "No steal",
        Kind::Share,
        "The share of this machine's processors that its hypervisor gave to other machines.",
    ),
    (
        "involuntary_switches",
        "Rarely interrupted",
        Kind::PerSecond,
        "How often the generator lost its processor before it was done.",
    ),
    (
        "arrivals",
        "Arrivals as asked",
        Kind::Share,
        "The largest distance between the distribution of the gaps between sends and the one that was asked for \
         (Kolmogorov and Smirnov). Messages that leave in clumps meet queues that evenly spread ones do not.",
    ),
    (
        "stationary",
        "Stationary",
        Kind::Times,
        "The tail of one half of the run over that of the other. Where a queue grows, the latency only says how long \
         the run was.",
    ),
    (
        "effective_size",
        "Enough independent measurements",
        Kind::Number,
        "Neighbouring messages meet the same queue: so many independent ones would say as much as all of them.",
    ),
    (
        "p99_interval",
        "p99 known closely",
        Kind::Share,
        "Half the width of the 95% confidence interval of the 99th percentile, as a share of it. A second run differs \
         by about that much for no reason.",
    ),
    (
        "little",
        "Little's law holds",
        Kind::Share,
        "Messages in flight on average are the rate times the mean time in flight. Both sides were counted apart, so a \
         difference is a fault in the accounts of this program.",
    ),
    (
        "own_tail",
        "The tail is not the generator's",
        Kind::Share,
        "By the kernel's timestamps, the part of the slowest responses that passed inside the generator and its own \
         kernel.",
    ),
];

fn value(kind: Kind, value: f64) -> String {
    /// A document has no infinity: this and more stands for what is not known.
    const UNKNOWN: f64 = 65_535.0;
    match kind {
        Kind::Share | Kind::Times if value >= UNKNOWN => "unknown".into(),
        Kind::Share => format!("{:.2}%", 100.0 * value),
        Kind::Times => format!("{value:.2}×"),
        Kind::PerSecond => format!("{value:.1}/s"),
        Kind::Number => format!("{value:.0}"),
    }
}

fn row(check: &Check) -> Vec<String> {
    let meaning = MEANINGS.iter().find(|(id, ..)| *id == check.id);
    let (name, kind, what) =
        meaning.map_or((check.id.as_str(), Kind::Number, ""), |(_, name, kind, what)| (*name, *kind, *what));
    let (class, word) = match check.verdict {
        Verdict::Valid => ("good", "good"),
        Verdict::Suspect => ("doubt", "suspect"),
        Verdict::Invalid => ("bad", "invalid"),
    };
    let found = if check.ok { String::new() } else { format!("<b>{}.</b> ", escape(&capital(&check.why))) };
    vec![
        format!("{}<small>{found}{what}</small>", escape(name)),
        format!("<span class=\"badge {class}\">{word}</span>"),
        value(kind, check.value),
        value(kind, check.limit),
    ]
}

/// With a capital letter at its beginning.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

pub(super) fn part(run: &Document) -> String {
    let mut checks: Vec<&Check> = run.validity.checks.iter().collect();
    checks.sort_by_key(|check| std::cmp::Reverse(check.verdict)); // stable: the good ones stay in their order
    let mut body = table("checks", &["check", "", "found", "limit"], checks.into_iter().map(row));
    if let Some(floor) = &run.floor {
        let start =
            floor.start.map(|start| format!(", a message of an idle generator starts {} late", micros(start.p50)));
        let start = start.unwrap_or_default();
        body += &note(&format!(
            "The floor of this machine: a null echo takes {} µs at the median and {} at the 99th percentile, waking up \
             {}, a timer comes {} late{start}, reading the clock takes {} ns. Latencies near the floor say more about the \
             machine than about the server.",
            micros(floor.echo.p50),
            micros(floor.echo.p99),
            micros(floor.wake.p50),
            micros(floor.timer.p50),
            floor.clock_ns
        ));
    }
    section("Whether to believe it", &body) + &section("Conditions", &gates(run))
}

fn gates(run: &Document) -> String {
    if run.gates.is_empty() {
        return String::new();
    }
    let rows = run.gates.iter().map(|gate| {
        let (class, word) = if gate.ok { ("good", "passed") } else { ("bad", "failed") };
        let badge = format!("<span class=\"badge {class}\">{word}</span>");
        vec![format!("{}<small>{}</small>", escape(&gate.expr), escape(&gate.why)), badge]
    });
    table("checks", &["condition", ""], rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{judge, tests::healthy};

    #[test]
    fn every_check_is_explained() {
        let checks = judge(&healthy()).checks;
        assert_eq!(checks.len() + ["overlap", "seeds"].len(), MEANINGS.len(), "two are of merged runs alone");
        for check in checks {
            assert!(MEANINGS.iter().any(|(id, ..)| *id == check.id), "{} is not explained", check.id);
        }
    }

    #[test]
    fn a_check_that_fails_stands_first_and_says_why() {
        let mut run = Document::for_tests();
        let mut facts = healthy();
        facts.steal = Some(0.4);
        run.validity = judge(&facts);
        let text = part(&run);
        let at = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word} is not in {text}"));
        assert!(at("The hypervisor took 40.0%") < at("Rate reached"));
        assert!(text.contains("40.00%") && text.contains("badge bad"));
    }
}
