//! Conditions that a run must meet, for scripts: `--slo`, `--baseline`, `--strict`. Pure: no I/O.
//!
//! A gate on an invalid measurement is never passed: the exit code then says that nothing was learnt, rather than that
//! all is well or that the server is slow. The same goes for a run that was to go on until a percentile was known (`--until`)
//! and does not know it.

use crate::clock::SECOND;
use crate::loss::all_in;
use crate::report::document::Document;
use crate::report::trust::GateResult;
use crate::run::exit;
use crate::verdict::Verdict;
use shout::units;

/// What a run is held against.
#[derive(Debug, Clone, Default)]
pub struct Gates {
    /// Each of these must hold.
    pub objectives: Vec<Objective>,
    /// A run to compare with, and the part by which this one may be worse.
    pub baseline: Option<(Box<Document>, f64)>,
    /// Nothing but a valid measurement will do.
    pub is_strict: bool,
}

/// One `--slo`: a metric, a comparison and a bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    /// As it was given.
    pub text: String,
    pub(crate) metric: Metric,
    pub(crate) comparison: Comparison,
    pub(crate) bound: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Metric {
    /// Response time, with messages without a right answer as infinitely slow; 100 is the maximum.
    Percentile(f64),
    /// Mean response time of what was answered.
    Mean,
    /// 99th percentile of the lag.
    Lag,
    /// The share of messages lost.
    Loss,
    /// Right answers a second.
    Rate,
    /// Wrong answers, refusals, and connections that ended before the run did.
    Errors,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Less,
    AtMost,
    Greater,
    AtLeast,
    Equal,
}

impl std::str::FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hint = "an objective looks like p99<2ms, loss<0.1%, rate>49k or errors=0";
        let at = text.find(['<', '>', '=']).ok_or(hint)?;
        let (name, rest) = text.split_at(at);
        let comparisons = [
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("==", Comparison::Equal),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
            ("=", Comparison::Equal),
        ];
        let (comparison, bound) = comparisons
            .into_iter()
            .find_map(|(sign, comparison)| Some((comparison, rest.strip_prefix(sign)?)))
            .ok_or(hint)?;
        let bound = bound.trim();
        let metric = match name.trim() {
            "mean" => Metric::Mean,
            "max" => Metric::Percentile(100.0),
            "lag" => Metric::Lag,
            "loss" => Metric::Loss,
            "rate" => Metric::Rate,
            "errors" => Metric::Errors,
            name => {
                let percentile = name.strip_prefix('p').and_then(|number| number.parse().ok());
                let in_range = percentile.filter(|number| (0.0..=100.0).contains(number));
                Metric::Percentile(in_range.ok_or_else(|| {
                    format!("'{name}' is none of p50 to p99.99, mean, max, lag, loss, rate and errors")
                })?)
            }
        };
        let bound = match metric {
            Metric::Percentile(_) | Metric::Mean | Metric::Lag => units::duration(bound)?.as_nanos() as f64,
            Metric::Loss => share(bound)?,
            Metric::Rate => units::count(bound.strip_suffix("/s").unwrap_or(bound))? as f64,
            Metric::Errors => units::count(bound)? as f64,
        };
        Ok(Objective { text: text.into(), metric, comparison, bound })
    }
}

/// Reads `5%` or `0.05`.
pub fn share(text: &str) -> Result<f64, String> {
    let (number, divisor) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let share = number.trim().parse::<f64>().ok().map(|number| number / divisor);
    share.filter(|share| (0.0..f64::INFINITY).contains(share)).ok_or_else(|| "a share looks like 5% or 0.05".into())
}

impl Objective {
    fn evaluate(&self, run: &Document) -> GateResult {
        let value = self.metric.of(run);
        let ok = value.is_some_and(|value| match self.comparison {
            Comparison::Less => value < self.bound,
            Comparison::AtMost => value <= self.bound,
            Comparison::Greater => value > self.bound,
            Comparison::AtLeast => value >= self.bound,
            Comparison::Equal => value.total_cmp(&self.bound).is_eq(),
        });
        // An unanswered message took longer than any bound: that fails `p99<2ms` and would pass no `p99>2ms` either.
        let why = match value {
            _ if ok => String::new(),
            Some(value) => format!("it is {}", self.metric.written(value)),
            None => "it is LOST: so many messages had no right answer or were shed".into(),
        };
        GateResult { expr: self.text.clone(), ok, value, why }
    }
}

impl Metric {
    fn of(self, run: &Document) -> Option<f64> {
        let counts = &run.counts;
        let connections = &run.connections;
        match self {
            Metric::Percentile(percentile) => {
                let response = run.latency.response.histogram()?;
                let value = all_in(&response, counts.wrong + counts.lost + counts.shed, percentile / 100.0)?;
                Some(value as f64)
            }
            Metric::Mean => (run.latency.response.n > 0).then_some(run.latency.response.mean as f64),
            Metric::Lag => run.latency.lag.p.get("99").map(|quantile| quantile.v as f64),
            Metric::Loss => Some(counts.lost as f64 / counts.sent.max(1) as f64),
            Metric::Rate => Some(achieved_rate(run)),
            Metric::Errors => {
                let ended = connections.refused + connections.reset + connections.closed + connections.timeouts;
                Some((counts.corrupt + counts.truncated + ended) as f64)
            }
        }
    }

    fn written(self, value: f64) -> String {
        match self {
            Metric::Percentile(_) | Metric::Mean | Metric::Lag => format!("{:.1} us", value / 1000.0),
            Metric::Loss => format!("{:.4}%", 100.0 * value),
            Metric::Rate => format!("{value:.0}/s"),
            Metric::Errors => format!("{value:.0}"),
        }
    }
}

fn achieved_rate(run: &Document) -> f64 {
    run.counts.replied as f64 * SECOND as f64 / run.time.measured_ns.max(1) as f64
}

/// Evaluates every gate, and notes the results and the exit code in the document.
///
/// An interrupted run is not evaluated: it is not the run that the gates are about.
pub fn apply(gates: &Gates, run: &mut Document) {
    if run.time.interrupted {
        return;
    }
    let mut results: Vec<GateResult> = gates.objectives.iter().map(|objective| objective.evaluate(run)).collect();
    let mut is_believable = run.validity.verdict != Verdict::Invalid;
    if let Some((baseline, regress)) = &gates.baseline {
        is_believable &= baseline.validity.verdict != Verdict::Invalid;
        results.extend(compare(run, baseline, *regress));
    }
    let is_gated = !results.is_empty();
    let failed = results.iter().any(|result| !result.ok);
    if !is_believable {
        for result in &mut results {
            result.ok = false;
            if result.why.is_empty() {
                result.why = "the measurement is invalid".into();
            }
        }
    }
    let code = if (is_gated && !is_believable)
        || (gates.is_strict && run.validity.verdict != Verdict::Valid)
        || run.until.as_ref().is_some_and(|until| !until.is_reached())
    {
        exit::INVALID
    } else if failed {
        exit::GATE_FAILED
    } else {
        exit::DONE
    };
    run.gates = results;
    run.exit = run.exit.max(code);
}

/// The figures of a run that must not get worse than those of the baseline.
fn compare(run: &Document, baseline: &Document, regress: f64) -> Vec<GateResult> {
    // A different load has different figures, which prove nothing.
    if let Some(what) = difference(run, baseline) {
        let why = format!("not comparable: the baseline has another {what}");
        return vec![GateResult { expr: "baseline".into(), ok: false, value: None, why }];
    }
    let percent = 100.0 * regress;
    let mut results = Vec::new();
    for percentile in [50.0, 99.0] {
        let metric = Metric::Percentile(percentile);
        let (now, before) = (metric.of(run), metric.of(baseline));
        let ok = match (now, before) {
            (Some(now), Some(before)) => now <= before * (1.0 + regress),
            (None, Some(_)) => false,
            (_, None) => true, // it could not have been worse
        };
        let written = |value: Option<f64>| value.map_or_else(|| "LOST".into(), |value| metric.written(value));
        let why = if ok { String::new() } else { format!("{} after {}", written(now), written(before)) };
        results.push(GateResult { expr: format!("baseline p{percentile} +{percent}%"), ok, value: now, why });
    }
    let (now, before) = (achieved_rate(run), achieved_rate(baseline));
    let ok = now >= before * (1.0 - regress);
    let why = if ok { String::new() } else { format!("{now:.0}/s after {before:.0}/s") };
    results.push(GateResult { expr: format!("baseline rate -{percent}%"), ok, value: Some(now), why });
    results
}

/// The first setting in which two runs differ so that their figures prove nothing about each other.
pub(crate) fn difference(run: &Document, baseline: &Document) -> Option<&'static str> {
    let (a, b) = (&run.config, &baseline.config);
    let differences = [
        ("protocol", run.per_transport.keys().ne(baseline.per_transport.keys())),
        ("model", a.model != b.model),
        ("rate", a.rate != b.rate),
        ("arrival process", a.arrivals != b.arrivals),
        ("pipeline depth", a.pipeline != b.pipeline),
        ("number of connections", (a.udp_sockets, a.tcp_connections) != (b.udp_sockets, b.tcp_connections)),
        ("size", a.size != b.size),
        ("payload", a.payload != b.payload),
        ("late policy", a.late != b.late),
        ("pace", a.pace != b.pace),
    ];
    differences.into_iter().find_map(|(what, differs)| differs.then_some(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::document::{Latency, Quantile};

    /// A run of 10 s with 990 answers of 1 to 990 µs and 10 losses.
    fn run() -> Document {
        let mut response = crate::recorder::histogram();
        for value in 1..=990 {
            response.saturating_record(value * 1000);
        }
        let mut run = Document::for_tests();
        run.latency.response = Latency::of(&response);
        run.latency.lag.p.insert("99".into(), Quantile { v: 9_000, lo: None, hi: None });
        (run.counts.sent, run.counts.replied, run.counts.lost) = (1000, 990, 10);
        run.time.measured_ns = 10 * SECOND;
        run
    }

    fn gates(objectives: &[&str]) -> Gates {
        Gates { objectives: objectives.iter().map(|text| text.parse().unwrap()).collect(), ..Gates::default() }
    }

    fn outcome(gates: &Gates, mut run: Document) -> (u8, Vec<bool>) {
        apply(gates, &mut run);
        (run.exit, run.gates.iter().map(|result| result.ok).collect())
    }

    #[test]
    fn what_was_shed_is_infinitely_slow() {
        let mut run = run();
        let p98: Objective = "p98<2ms".parse().unwrap();
        assert!(p98.evaluate(&run).ok, "990 of 1000");
        run.counts.shed = 90;
        let result = p98.evaluate(&run);
        assert!(!result.ok && result.value.is_none(), "990 of 1090: {result:?}");
    }

    #[test]
    fn objectives_are_read_and_evaluated() {
        for (text, ok) in [
            ("p50<1ms", true),
            ("p50 < 400us", false),
            ("p98.5<=1ms", true),
            ("p99.9<1h", false),
            ("max<1h", false),
            ("mean<500us", true),
            ("loss<=1%", true),
            ("loss<0.01", false),
            ("rate>98/s", true),
            ("rate>=1k", false),
            ("errors=0", true),
            ("errors==1", false),
            ("lag<10us", true),
        ] {
            assert_eq!(outcome(&gates(&[text]), run()), (if ok { 0 } else { 3 }, vec![ok]), "{text}");
        }
    }

    #[test]
    fn what_is_not_an_objective_is_refused() {
        for text in ["", "p99", "p99<", "p99<fast", "p101<1ms", "q99<1ms", "loss<1ms", "rate>-1", "errors=no", "<1ms"] {
            assert!(text.parse::<Objective>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_gate_on_an_invalid_run_is_never_passed() {
        let mut invalid = run();
        invalid.validity.verdict = Verdict::Invalid;
        assert_eq!(outcome(&gates(&["p50<1ms", "p50<1us"]), invalid.clone()), (4, vec![false, false]));
        assert_eq!(outcome(&gates(&[]), invalid).0, 0, "without a gate it is only shown");
    }

    #[test]
    fn strict_wants_a_valid_run() {
        let strict = Gates { is_strict: true, ..gates(&["p50<1ms"]) };
        for (verdict, code) in [(Verdict::Valid, 0), (Verdict::Suspect, 4), (Verdict::Invalid, 4)] {
            let mut run = run();
            run.validity.verdict = verdict;
            assert_eq!(outcome(&strict, run).0, code, "{verdict:?}");
        }
    }

    #[test]
    fn a_run_that_does_not_know_its_percentile_has_learnt_nothing() {
        use crate::report::until::{Outcome, Until};
        for (outcome, code) in [(Outcome::Reached, 0), (Outcome::NotReached, 4), (Outcome::Impossible, 4)] {
            let mut run = run();
            run.until = Some(Until { outcome, ..Until::for_tests() });
            assert_eq!(self::outcome(&gates(&[]), run.clone()).0, code, "{outcome:?}");
            assert_eq!(self::outcome(&gates(&["p50<1us"]), run).0, code.max(3), "{outcome:?}");
        }
    }

    #[test]
    fn wrong_bytes_outrank_gates_and_an_interrupted_run_has_none() {
        let mut wrong = run();
        wrong.exit = exit::WRONG_PAYLOAD;
        assert_eq!(outcome(&gates(&["p50<1us"]), wrong).0, 5);
        let mut interrupted = run();
        interrupted.time.interrupted = true;
        assert_eq!(outcome(&gates(&["p50<1us"]), interrupted), (0, vec![]));
    }

    #[test]
    fn a_run_may_be_a_little_worse_than_its_baseline() {
        let mut slower = run();
        let mut response = crate::recorder::histogram();
        for value in 1..=990 {
            response.saturating_record(value * 1040);
        }
        slower.latency.response = Latency::of(&response);
        let against = |regress| Gates { baseline: Some((Box::new(run()), regress)), ..Gates::default() };
        assert_eq!(outcome(&against(0.05), slower.clone()), (0, vec![true, true, true]));
        assert_eq!(outcome(&against(0.03), slower.clone()), (3, vec![false, false, true]));
        slower.counts.replied = 500;
        assert_eq!(outcome(&against(0.05), slower.clone()), (3, vec![true, true, false]));
        slower.config.size += "1";
        assert_eq!(outcome(&against(0.05), slower), (3, vec![false]), "another load");
        let mut unbelievable = run();
        unbelievable.validity.verdict = Verdict::Invalid;
        let gates = Gates { baseline: Some((Box::new(unbelievable), 0.05)), ..Gates::default() };
        assert_eq!(outcome(&gates, run()).0, 4);
    }
}
