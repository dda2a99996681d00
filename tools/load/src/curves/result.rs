//! What a comparison found, as a sentence, a table, JSON and a page. Pure: no I/O.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::difference::{Difference, Figure};
use super::table;
use crate::report::page::trials;
use crate::report::screen::{count, micros};

/// The name of the shape of a saved comparison.
pub const SCHEMA: &str = "shout-load-compare/1";

/// One figure of both.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Row {
    /// Which.
    pub figure: Figure,
    /// Of A: nanoseconds, or answers a second.
    pub a: f64,
    /// Of B.
    pub b: f64,
    /// By how much B differs; `None` where that cannot be said.
    pub difference: Option<Difference>,
    /// What A seems to differ from itself by, as a share; `None` if that was not measured.
    pub noise_floor: Option<f64>,
}

impl Row {
    /// Whether there is a difference that is neither chance nor this machine's noise.
    pub fn is_called(&self) -> bool {
        let floor = self.noise_floor.unwrap_or(0.0);
        self.difference.is_some_and(|difference| difference.is_sure() && difference.by.abs() > floor)
    }

    /// By how much B is worse, at 0 or above.
    fn worse(&self) -> f64 {
        let by = self.difference.map_or(0.0, |difference| difference.by);
        match self.figure {
            Figure::Median | Figure::Tail => by.max(0.0),
            Figure::Rate => (-by).max(0.0),
        }
    }

    fn sentence(&self) -> String {
        let percent = |share: f64| format!("{:.1}%", 100.0 * share);
        let floor = self.noise_floor.map_or_else(String::new, |floor| format!(", noise floor {}", percent(floor)));
        let name = self.figure.name();
        match self.difference {
            None => format!("nothing can be said about {name}: too few values"),
            Some(difference) if self.is_called() => {
                let (by, low, high) = (difference.by, difference.low, difference.high);
                let (low, high) = if by > 0.0 { (low, high) } else { (-high, -low) };
                let much = format!("{} {}", percent(by.abs()), self.figure.word(by > 0.0));
                format!("B is {much} at {name} ({} to {}){floor}", percent(low), percent(high))
            }
            Some(difference) => format!(
                "no difference at {name}: {:+.1}% ({:+.1}% to {:+.1}%){floor}",
                100.0 * difference.by,
                100.0 * difference.low,
                100.0 * difference.high
            ),
        }
    }
}

/// A comparison of A and B.
pub struct Comparison {
    names: [String; 2],
    rows: [Row; 3],
    /// Parts in which the generator was too busy to tell.
    busy: usize,
    spectra: [Histogram<u64>; 2],
    /// Whether B is worse by more than was allowed.
    pub is_failed: bool,
}

#[derive(Serialize)]
struct Saved<'a> {
    schema: &'static str,
    command: &'a [String],
    a: &'a str,
    b: &'a str,
    confidence: f64,
    figures: &'a [Row; 3],
    called: [bool; 3],
    generator_was_busy: usize,
    is_failed: bool,
}

impl Comparison {
    pub(super) fn new(names: [String; 2], rows: [Row; 3], busy: usize, spectra: [Histogram<u64>; 2]) -> Self {
        Comparison { names, rows, busy, spectra, is_failed: false }
    }

    /// The same, held against a limit.
    pub(super) fn held_against(mut self, max_regress: Option<f64>) -> Self {
        let fails = |most: f64| self.rows.iter().any(|row| row.is_called() && row.worse() > most);
        self.is_failed = max_regress.is_some_and(fails);
        self
    }

    pub(super) fn json(&self, command: &[String]) -> String {
        let Comparison { names: [a, b], rows, busy, is_failed, .. } = self;
        let called = rows.map(|row| row.is_called());
        let saved = Saved {
            schema: SCHEMA,
            command,
            a,
            b,
            confidence: 0.95,
            figures: rows,
            called,
            generator_was_busy: *busy,
            is_failed: *is_failed,
        };
        serde_json::to_string(&saved).expect("a comparison has string keys and finite numbers")
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("shout-load compare\n  A  {}\n  B  {}\n\n", self.names[0], self.names[1]);
        let rows = self.rows.iter().map(|row| {
            let value = |value: f64| match row.figure {
                Figure::Median | Figure::Tail => format!("{} us", micros(value as u64)),
                Figure::Rate => format!("{}/s", count(value as u64)),
            };
            let share = |share: Option<f64>| share.map_or("-".into(), |share| format!("{:+.1}%", 100.0 * share));
            let difference = row.difference;
            let interval =
                difference.map_or("-".into(), |one| format!("{:+.1}%..{:+.1}%", 100.0 * one.low, 100.0 * one.high));
            vec![
                row.figure.name().into(),
                value(row.a),
                value(row.b),
                share(difference.map(|one| one.by)),
                interval,
                row.noise_floor.map_or("-".into(), |floor| format!("{:.1}%", 100.0 * floor)),
                if row.is_called() { "differs".into() } else { String::new() },
            ]
        });
        let head = ["", "A", "B", "B - A", "95%", "noise", ""];
        text += &table::text(&head, &rows.collect::<Vec<_>>());
        text.push('\n');
        for row in &self.rows {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {}", row.sentence());
        }
        if self.busy > 0 {
            let _ =
                writeln!(text, "  in {} parts the generator was too busy to be believed: free a processor", self.busy);
        }
        if self.is_failed {
            text += "  FAILED: B is worse than A by more than allowed\n";
        }
        text
    }

    pub(super) fn page(&self, text: &str, json: &str) -> String {
        let sentences: Vec<String> = self.rows.iter().map(Row::sentence).collect();
        let figure = trials::spectra(&self.spectra[0], &self.spectra[1]);
        let names = format!("{} and {}", self.names[0], self.names[1]);
        trials::page("Comparison", &names, &sentences.join("; "), ("Latency by percentile", &figure), text, json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(figure: Figure, by: f64, noise_floor: Option<f64>) -> Row {
        let difference = Some(Difference { by, low: by - 0.01, high: by + 0.01 });
        Row { figure, a: 100.0, b: 100.0 * (1.0 + by), difference, noise_floor }
    }

    #[test]
    fn a_difference_is_said_in_the_words_of_its_figure() {
        let slower = row(Figure::Tail, 0.041, Some(0.019)).sentence();
        assert_eq!(slower, "B is 4.1% slower at p99 (3.1% to 5.1%), noise floor 1.9%");
        let fewer = row(Figure::Rate, -0.1, None).sentence();
        assert_eq!(fewer, "B is 10.0% lower at rate (9.0% to 11.0%)");
        assert!(row(Figure::Tail, 0.041, Some(0.05)).sentence().starts_with("no difference at p99"));
    }

    #[test]
    fn only_what_is_worse_and_called_fails_a_gate() {
        let compare = |by: f64, floor: f64| {
            let rows =
                [row(Figure::Median, 0.0, None), row(Figure::Tail, 0.0, None), row(Figure::Rate, by, Some(floor))];
            let spectrum = crate::recorder::histogram;
            let names = ["a".into(), "b".into()];
            Comparison::new(names, rows, 0, [spectrum(), spectrum()]).held_against(Some(0.05)).is_failed
        };
        assert!(compare(-0.1, 0.02) && !compare(0.1, 0.02) && !compare(-0.04, 0.02) && !compare(-0.1, 0.2));
    }
}
