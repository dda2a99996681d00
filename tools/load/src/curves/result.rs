//! What a comparison found, as a sentence, a table, JSON and a page. Pure: no I/O.

use std::fmt::Write as _;

use serde::Serialize;

use super::blocks::Part;
use super::difference::{Difference, Figure};
use super::limit::Gate;
use super::setup::on_wrong_answers;
use crate::host::Cpu;
use crate::report::page::trials;
use crate::report::screen::{count, micros, percent};
use crate::report::table;
use crate::run::exit;

/// The name of the shape of a saved comparison.
pub const SCHEMA: &str = "shout-load-compare/1";

/// One figure of both.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Row {
    /// Which.
    pub figure: Figure,
    /// Of A: nanoseconds, or answers a second.
    pub a: f64,
    /// Of B: nanoseconds, or answers a second.
    pub b: f64,
    /// By how much B differs; null where that cannot be said.
    pub difference: Option<Difference>,
    /// By how much A may seem to differ from itself, as a share; null if that was not measured.
    pub noise_floor: Option<f64>,
}

/// Whose figures they are.
pub(super) struct Server {
    pub(super) name: String,
    /// Those that it may use, where that is known.
    pub(super) processors: Option<Vec<Cpu>>,
}

/// Whether to believe a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Belief {
    Sound,
    /// In so many blocks, not the greater part, the generator was too busy.
    Disturbed(usize),
    /// In the greater part of them.
    TooBusy(usize),
    /// One of two saved runs is invalid.
    InvalidRun,
}

impl Belief {
    pub(super) fn of_blocks(busy: usize, blocks: usize) -> Self {
        match busy {
            0 => Belief::Sound,
            _ if 2 * busy > blocks => Belief::TooBusy(busy),
            _ => Belief::Disturbed(busy),
        }
    }

    pub(super) fn is_sound(self) -> bool {
        match self {
            Belief::Sound | Belief::Disturbed(_) => true,
            Belief::TooBusy(_) | Belief::InvalidRun => false,
        }
    }

    fn busy_blocks(self) -> usize {
        match self {
            Belief::Sound | Belief::InvalidRun => 0,
            Belief::Disturbed(busy) | Belief::TooBusy(busy) => busy,
        }
    }
}

impl Row {
    /// Whether there is a difference that is neither chance nor this machine's noise.
    pub fn is_called(&self) -> bool {
        self.difference.is_some_and(|difference| difference.is_called(self.noise_floor))
    }

    /// By how much B is worse, at 0 or above.
    pub(super) fn worse(&self) -> f64 {
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
    servers: [Server; 2],
    rows: [Row; 3],
    parts: [Part; 2],
    belief: Belief,
    /// How B stands against a limit, where it was given one.
    gate: Option<Gate>,
}

/// A comparison, as it is saved: `shout-load compare --json`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Saved<'a> {
    /// `shout-load-compare/1`.
    #[cfg_attr(test, schemars(extend("const" = SCHEMA)))]
    schema: &'static str,
    /// The command line.
    command: &'a [String],
    /// What B is compared with.
    a: SavedSide<'a>,
    /// What is compared.
    b: SavedSide<'a>,
    /// The probability that all intervals of differences hold the truth, a share from 0 to 1.
    confidence: f64,
    /// What they are compared in.
    figures: [SavedRow; 3],
    /// The number of blocks in which the generator was too busy to be believed.
    busy_blocks: usize,
    /// Whether the comparison can be believed: most blocks, or both saved runs.
    is_sound: bool,
    /// How B stands against the limit of `--max-regress`; null without one.
    gate: Option<Gate>,
}

/// One of the two.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct SavedSide<'a> {
    /// The file, the target, or the command that started it.
    name: &'a str,
    /// The numbers of the processors that the server may use; null where that is not known.
    processors: &'a Option<Vec<Cpu>>,
    /// Messages sent to it.
    sent: u64,
    /// Messages without an answer in time. Each counts as one that took as long as the timeout.
    lost: u64,
    /// How many answers had wrong bytes.
    wrong: u64,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct SavedRow {
    #[serde(flatten)]
    row: Row,
    /// Whether there is a difference that is neither chance nor this machine's noise.
    is_called: bool,
}

impl Comparison {
    pub(super) fn new(servers: [Server; 2], rows: [Row; 3], parts: [Part; 2], belief: Belief) -> Self {
        Comparison { servers, rows, parts, belief, gate: None }
    }

    /// The same, held against a limit.
    pub(super) fn held_against(mut self, max_regress: Option<f64>) -> Self {
        self.gate = max_regress.map(|most| Gate::of(&self.rows, most, self.belief));
        self
    }

    /// What the program ends with: wrong bytes outrank everything, and what cannot be believed passes no gate.
    pub(super) fn exit_code(&self) -> u8 {
        if self.parts.iter().any(|part| part.wrong > 0) {
            return exit::WRONG_PAYLOAD;
        }
        self.gate.map_or(exit::DONE, Gate::exit_code)
    }

    pub(super) fn json(&self, command: &[String]) -> String {
        let side = |index: usize| {
            let (Server { name, processors }, part): (&Server, &Part) = (&self.servers[index], &self.parts[index]);
            SavedSide { name, processors, sent: part.sent, lost: part.lost, wrong: part.wrong }
        };
        let saved = Saved {
            schema: SCHEMA,
            command,
            a: side(0),
            b: side(1),
            confidence: 0.95,
            figures: self.rows.map(|row| SavedRow { row, is_called: row.is_called() }),
            busy_blocks: self.belief.busy_blocks(),
            is_sound: self.belief.is_sound(),
            gate: self.gate,
        };
        serde_json::to_string(&saved).expect("a comparison has string keys and finite numbers")
    }

    pub(super) fn text(&self) -> String {
        let [a, b] = &self.servers;
        let mut text = format!("shout-load compare\n  A  {}\n  B  {}\n\n", a.name, b.name);
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
        for remark in self.remarks() {
            let _ = writeln!(text, "  {remark}");
        }
        text + &on_wrong_answers(self.parts.iter().map(|part| part.wrong).sum())
    }

    /// What must be known about the figures.
    fn remarks(&self) -> Vec<String> {
        let [a, b] = &self.parts;
        let mut remarks = Vec::new();
        if a.lost + b.lost > 0 {
            let share = |part: &Part| percent(part.lost, part.sent);
            let (of_a, of_b) = (share(a), share(b));
            remarks.push(format!("lost: {of_a} by A, {of_b} by B; each counts as long as the timeout"));
        }
        if let [Some(a), Some(b)] = self.servers.each_ref().map(|server| server.processors.as_ref())
            && a != b
        {
            let list = |processors: &Vec<Cpu>| {
                let numbers: Vec<String> = processors.iter().map(ToString::to_string).collect();
                numbers.join(", ")
            };
            remarks.push(format!("not alike: A may use the processors {}, and B {}", list(a), list(b)));
        }
        match self.belief {
            Belief::Sound => {}
            Belief::Disturbed(busy) => {
                remarks.push(format!("in {busy} blocks the generator had to wait for a processor: some of this is noise"));
            }
            Belief::TooBusy(busy) => remarks.push(format!(
                "NOT TO BE BELIEVED: in {busy} blocks the generator had to wait for a processor; free one, or run it again"
            )),
            Belief::InvalidRun => remarks.push("NOT TO BE BELIEVED: by its own verdict a run is invalid".into()),
        }
        remarks.extend(self.gate.and_then(Gate::remark).map(ToOwned::to_owned));
        remarks
    }

    pub(super) fn page(&self, text: &str, json: &str) -> String {
        let sentences: Vec<String> = self.rows.iter().map(Row::sentence).chain(self.remarks()).collect();
        let [a, b] = &self.servers;
        let figures = [
            ("By how much B differs", trials::differences(&self.rows.map(bar))),
            (
                "Latency by percentile",
                trials::spectra((&a.name, &self.parts[0].response), (&b.name, &self.parts[1].response)),
            ),
        ];
        trials::page("Comparison", &format!("{} and {}", a.name, b.name), &sentences, &figures, text, json)
    }
}

/// A figure as it is drawn.
fn bar(row: Row) -> trials::Bar {
    let difference = row.difference.map(|one| [one.low, one.by, one.high]);
    trials::Bar { name: row.figure.name(), difference, floor: row.noise_floor, is_called: row.is_called() }
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
        let compare = |by: f64, floor: f64, belief: Belief| {
            let rows =
                [row(Figure::Median, 0.0, None), row(Figure::Tail, 0.0, None), row(Figure::Rate, by, Some(floor))];
            let servers = ["a", "b"].map(|name| Server { name: name.into(), processors: None });
            let part = || Part::of(&crate::report::document::Document::for_tests());
            Comparison::new(servers, rows, [part(), part()], belief).held_against(Some(0.05)).exit_code()
        };
        let said = |by: f64, noise_floor: f64, unknown: bool| {
            let mut row = row(Figure::Rate, by, Some(noise_floor));
            row.difference = row.difference.filter(|_| !unknown);
            Gate::of(&[row], 0.05, Belief::Sound).remark().unwrap().split(':').next().unwrap().to_owned()
        };
        assert_eq!([said(0.1, 0.02, false), said(-0.1, 0.02, false)], ["PASSED", "FAILED"]);
        assert_eq!([said(-0.1, 0.2, false), said(0.1, 0.2, true)], ["NOT DECIDED"; 2]);
        assert_eq!(Gate::of(&[], 0.05, Belief::Sound).exit_code(), 4, "of nothing nothing is known");
        assert_eq!(
            [(-0.1, 0.02), (0.1, 0.02), (-0.04, 0.02), (-0.1, 0.2)].map(|(by, floor)| compare(
                by,
                floor,
                Belief::Sound
            )),
            [3, 0, 0, 4]
        );
        assert_eq!(compare(-0.04, 0.2, Belief::Sound), 0, "less than is allowed, whatever the noise");
        assert_eq!([0, 1, 10, 11].map(|busy| compare(-0.1, 0.02, Belief::of_blocks(busy, 20))), [3, 3, 3, 4]);
        assert_eq!(compare(0.0, 0.02, Belief::InvalidRun), 4, "what cannot be believed passes no gate");
    }
}
