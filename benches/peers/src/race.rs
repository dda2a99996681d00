//! The race: every contestant under every load, in turn, round after round. Does I/O: runs servers, prints tables.
//!
//! Absolute figures say little on a machine that does other things as well, so everything is also a ratio to one
//! contestant in the same round. In each round the contestants follow one another, each starting the round once, so a
//! slow minute falls on all of them. The first one races twice under each load: how far apart those two come out is the
//! noise, and no smaller difference means anything.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use serde_json::json;
use shout::target::Protocol;
use shout_load::report::document::Document;

use crate::contestant::{self, Contestant, Field, Programs};
use crate::ending;
use crate::measurement::{Attempt, Faults, Figures, Length, Load, Place, Stop, column, turns};
use crate::statistics::Spread;
use crate::table::{Style, Table, cell, extremes, figure, grouped, ratio};

mod page;
mod summary;

const NAME: &str = "race";

/// Whom the others are compared with, where it takes part; otherwise the first contestant.
const REFERENCE: &str = "naive-mio";

const DEFAULT_ROUNDS: usize = 5;
const DEFAULT_SECONDS: Duration = Duration::from_millis(800);
const TRIAL_ROUNDS: usize = 1;
const TRIAL_SECONDS: Duration = Duration::from_millis(300);
const TRIAL_SCENARIOS: [&str; 2] = ["udp-64", "tcp-64"];

/// From this size on a message is bulk, and its rate is shown in bytes.
const BULK: usize = 16 << 10;

/// A load with a name.
#[derive(Debug, Clone, Copy)]
struct Scenario {
    name: &'static str,
    title: &'static str,
    load: Load,
}

const SCENARIOS: [Scenario; 9] = [
    Scenario { name: "udp-1", title: "UDP, 64 B, one source, 1 in flight", load: Load::udp(1, 1, 64) },
    Scenario { name: "udp-64", title: "UDP, 64 B, one source, 64 in flight", load: Load::udp(1, 64, 64) },
    Scenario { name: "udp-64x16", title: "UDP, 64 B, 64 sources, 16 in flight each", load: Load::udp(64, 16, 64) },
    Scenario { name: "tcp-1", title: "TCP, 64 B, one connection, 1 in flight", load: Load::tcp(1, 1, 64) },
    Scenario { name: "tcp-64", title: "TCP, 64 B, 64 connections, 1 in flight each", load: Load::tcp(64, 1, 64) },
    Scenario {
        name: "tcp-1000",
        title: "TCP, 64 B, 1,000 connections, 1 in flight each",
        load: Load::tcp(1_000, 1, 64),
    },
    Scenario { name: "tcp-64x16", title: "TCP, 64 B, 64 connections, 16 in flight each", load: Load::tcp(64, 16, 64) },
    Scenario { name: "bulk-1", title: "TCP, 64 KiB, one connection, 4 in flight", load: Load::tcp(1, 4, 64 << 10) },
    Scenario { name: "bulk-4", title: "TCP, 64 KiB, 4 connections, 4 in flight each", load: Load::tcp(4, 4, 64 << 10) },
];

/// Races shout against the same service as others would write it: the rate of verified replies, and what they cost.
#[derive(Debug, Parser)]
#[command(name = NAME, version)]
struct Options {
    #[command(flatten)]
    field: Field,

    /// Which of the package's contestants take part [default: all]
    #[arg(long, value_delimiter = ',', value_parser = contestant::names(), value_name = "NAME,…")]
    contestants: Vec<String>,

    /// Under which loads [default: all]
    #[arg(long, value_delimiter = ',', value_parser = scenario_names(), value_name = "NAME,…")]
    scenarios: Vec<String>,

    /// Print tables for a README
    #[arg(long)]
    markdown: bool,

    /// Write each measurement to a file as it is made: a line of JSON with the whole report of the load tool
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write the race as a page as well: an .html file
    #[arg(short, long, value_name = "FILE", value_parser = page_file)]
    output: Option<PathBuf>,
}

fn page_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.extension().is_some_and(|extension| extension == "html") {
        Ok(path)
    } else {
        Err("a page is an .html file".into())
    }
}

/// The same path, if it can be written to: asked before the start, so that it does not cost a race, and without taking away
/// the page that may be there.
fn writable(path: PathBuf) -> Result<PathBuf, Stop> {
    match File::options().append(true).create(true).open(&path) {
        Ok(_) => Ok(path),
        Err(error) => Err(Stop::Failure(format!("cannot write {}: {error}", path.display()))),
    }
}

fn scenario_names() -> PossibleValuesParser {
    SCENARIOS.map(|scenario| scenario.name).into()
}

/// Runs the race with these arguments, the program's name first, and prints its tables to `out`.
///
/// 0 when every contestant was measured under every load and all replies were right; 1 otherwise; 2 for bad arguments;
/// 130 and 143 after SIGINT and SIGTERM.
pub fn main(programs: &Programs, arguments: impl IntoIterator<Item = OsString>, out: &mut dyn Write) -> ExitCode {
    let options: Options = match shout::arguments::parse(arguments) {
        Ok(options) => options,
        Err(code) => return code,
    };
    let contestants = match options.field.contestants(&or_all(&options.contestants, &contestant::NAMES), programs) {
        Ok(contestants) => contestants,
        Err(line) => return ending::bad_arguments(NAME, &line),
    };
    ending::code(NAME, Race::new(&options, contestants).and_then(|race| race.run(out)))
}

/// What was asked for; all there is, where nothing was.
fn or_all(asked: &[String], all: &[&str]) -> Vec<String> {
    if asked.is_empty() { all.iter().map(ToString::to_string).collect() } else { asked.to_vec() }
}

struct Race {
    place: Place,
    /// In the order in which the tables have them.
    contestants: Vec<Contestant>,
    scenarios: Vec<Scenario>,
    rounds: usize,
    length: Length,
    style: Style,
    json: Option<File>,
    page: Option<PathBuf>,
}

/// What came of one load: for each contestant its figures in each round, if there are any, and its part of the page.
struct Results {
    figures: Vec<Vec<Option<Figures>>>,
    documents: Vec<Vec<Document>>,
}

impl Race {
    fn new(options: &Options, mut contestants: Vec<Contestant>) -> Result<Race, Stop> {
        let is_trial = options.field.is_trial();
        let names = if is_trial { &TRIAL_SCENARIOS[..] } else { &SCENARIOS.map(|scenario| scenario.name) };
        let wanted = or_all(&options.scenarios, names);
        let (rounds, seconds) =
            if is_trial { (TRIAL_ROUNDS, TRIAL_SECONDS) } else { (DEFAULT_ROUNDS, DEFAULT_SECONDS) };
        let create = |path: &PathBuf| {
            File::create(path).map_err(|error| Stop::Failure(format!("cannot write {}: {error}", path.display())))
        };
        contestants.push(contestants[0].again());
        Ok(Race {
            place: Place::take()?,
            contestants,
            scenarios: SCENARIOS
                .into_iter()
                .filter(|scenario| wanted.iter().any(|name| name == scenario.name))
                .collect(),
            rounds: options.field.rounds.unwrap_or(rounds),
            length: Length::of(options.field.seconds.unwrap_or(seconds)),
            style: if options.markdown { Style::Markdown } else { Style::Plain },
            json: options.json.as_ref().map(create).transpose()?,
            page: options.output.clone().map(writable).transpose()?,
        })
    }

    fn run(mut self, out: &mut dyn Write) -> Result<(), Stop> {
        let setting = format!("{}; {}", self.length.describe(self.rounds), self.place.describe());
        writeln!(out, "{setting}\n")?;
        let mut faults = Faults::default();
        let (mut heats, mut saved, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for scenario in self.scenarios.clone() {
            let results = self.race(&scenario, &mut faults)?;
            let report = self.report(&scenario, &results.figures);
            out.write_all(report.as_bytes())?;
            out.flush()?;
            saved.push(self.saved(&scenario, &results.figures));
            heats.push(self.heat(&scenario, &results, report));
            all.push((scenario, results.figures));
        }
        out.write_all(self.summary(&all).as_bytes())?;
        let legend = legend(&self.contestants[self.reference()].name);
        out.write_all(legend.as_bytes())?;
        if let Some(path) = &self.page {
            std::fs::write(path, self.html(&setting, &legend, &heats, &saved))?;
            writeln!(out, "wrote {}", path.display())?;
        }
        faults.verdict()
    }

    /// All rounds under one load.
    fn race(&mut self, scenario: &Scenario, faults: &mut Faults) -> Result<Results, Stop> {
        let number = self.contestants.len();
        let mut results = Results { figures: vec![Vec::new(); number], documents: vec![Vec::new(); number] };
        for round in 0..self.rounds {
            for index in turns(self.contestants.len(), round) {
                let contestant = &self.contestants[index];
                let Scenario { name: label, ref load, .. } = *scenario;
                let attempt = Attempt { contestant, load, length: self.length, round, label };
                let document = faults.judge(&attempt, self.place.measure(&attempt))?;
                results.figures[index].push(document.as_ref().map(Figures::from));
                if let (Some(document), Some(file)) = (&document, &mut self.json) {
                    let name = &contestant.name;
                    let line = json!({"scenario": label, "round": round, "contestant": name, "document": document});
                    writeln!(file, "{line}")?;
                }
                results.documents[index].extend(document);
            }
        }
        Ok(results)
    }

    /// The index of whom the others are compared with.
    fn reference(&self) -> usize {
        self.contestants.iter().position(|contestant| contestant.name == REFERENCE).unwrap_or(0)
    }

    /// The table of one load, with its title and its noise.
    fn report(&self, scenario: &Scenario, results: &[Vec<Option<Figures>>]) -> String {
        let load = &scenario.load;
        let is_bulk = load.size >= BULK;
        let reference = self.reference();
        let times = format!("× {}", self.contestants[reference].name);
        let unit = if is_bulk { "MB/s" } else { "replies/s" };
        let speed = ["", unit, &times, "spread"];
        let cost = ["CPU µs", &times, "spread", "client", "p99 µs", &times, "spread"];
        let mut table = Table::new(speed.into_iter().chain(cost).chain(["lost", "wrong"]));
        let median = |spread: Spread| ratio(spread.median);
        let range = |spread: Spread| extremes(spread, ratio);
        for (contestant, rounds) in self.contestants.iter().zip(results) {
            let row = Row::of(rounds, &results[reference]);
            let rate = |rate: Spread| {
                if is_bulk { figure(rate.median * load.size as f64 / 1e6) } else { grouped(rate.median.round() as u64) }
            };
            table.push(vec![
                contestant.name.clone(),
                cell(row.rate, rate),
                cell(row.rate_ratio, median),
                cell(row.rate_ratio, range),
                cell(row.cpu, |cpu| figure(cpu.median)),
                cell(row.cpu_ratio, median),
                cell(row.cpu_ratio, range),
                cell(row.client, |share| format!("{:.0} %", share.median * 100.0)),
                cell(row.p99, |p99| figure(p99.median)),
                cell(row.p99_ratio, median),
                cell(row.p99_ratio, range),
                grouped(row.lost),
                grouped(row.wrong),
            ]);
        }
        let Scenario { name, title, .. } = scenario;
        let flags = load.flags().join(" ");
        let scheme = if load.protocol == Protocol::Udp { "udp" } else { "tcp" };
        let title = match self.style {
            Style::Plain => format!("{name}: {title} (shout-load {scheme}://… {flags})\n"),
            Style::Markdown => format!("**{title}** (`{name}`; `shout-load {scheme}://… {flags}`)\n\n"),
        };
        let gap = if self.style == Style::Markdown { "\n" } else { "" };
        let [first, .., again] = results else { unreachable!("the first contestant races twice") };
        format!("{title}{}{gap}{}\n", table.render(self.style), noise(&self.contestants[0].name, first, again))
    }
}

/// A contestant's line: its rounds taken together.
struct Row {
    rate: Option<Spread>,
    rate_ratio: Option<Spread>,
    cpu: Option<Spread>,
    cpu_ratio: Option<Spread>,
    client: Option<Spread>,
    p99: Option<Spread>,
    p99_ratio: Option<Spread>,
    lost: u64,
    wrong: u64,
}

impl Row {
    fn of(rounds: &[Option<Figures>], reference: &[Option<Figures>]) -> Row {
        let spread = |pick: fn(&Figures) -> Option<f64>| Spread::of(column(rounds, pick).into_iter().flatten());
        let ratio = |pick| Spread::of_ratios(&column(rounds, pick), &column(reference, pick));
        let sum = |pick: fn(&Figures) -> u64| rounds.iter().flatten().map(pick).sum();
        Row {
            rate: spread(|figures| Some(figures.rate)),
            rate_ratio: ratio(|figures| Some(figures.rate)),
            cpu: spread(|figures| figures.server_cpu),
            cpu_ratio: ratio(|figures| figures.server_cpu),
            client: spread(|figures| figures.client_busy),
            p99: spread(|figures| figures.p99),
            p99_ratio: ratio(|figures| figures.p99),
            lost: sum(|figures| figures.lost),
            wrong: sum(|figures| figures.wrong),
        }
    }
}

/// How far two runs of the same program came out apart, in words.
fn noise(name: &str, first: &[Option<Figures>], again: &[Option<Figures>]) -> String {
    let row = Row::of(again, first);
    let apart = [(row.rate_ratio, "rate"), (row.cpu_ratio, "CPU"), (row.p99_ratio, "p99")].into_iter();
    let apart =
        apart.filter_map(|(ratio, what)| Some(format!("{:.1} % in {what}", ratio?.distance_from_one() * 100.0)));
    match &apart.collect::<Vec<_>>()[..] {
        [] => format!("Noise: unknown, because {name} could not be measured twice in any round.\n"),
        [one] => format!("Noise: in one round, two runs of {name} differed by up to {one}; less means nothing.\n"),
        [others @ .., last] => format!(
            "Noise: in one round, two runs of {name} differed by up to {} and {last}; less means nothing.\n",
            others.join(", ")
        ),
    }
}

/// What the columns are.
fn legend(reference: &str) -> String {
    format!(
        "Medians of all rounds. × and spread: the figure before them divided by that of {reference} in the same round;\n\
         median, and smallest to largest. CPU: the server's time on its processor for one right reply. client: the\n\
         share of the time that the load generator was on its own; near 100 % the rate is the generator's limit, and\n\
         CPU is what to compare. p99: response time. lost and wrong: sums over all rounds; any wrong reply fails the race.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds of these rates and CPU times, with a p99 that is ten times the CPU time.
    fn rounds<const N: usize>(measured: [Option<(f64, f64)>; N]) -> Vec<Option<Figures>> {
        let figures = |(rate, server_cpu)| Figures {
            rate,
            server_cpu: Some(server_cpu),
            client_busy: None,
            p99: Some(10.0 * server_cpu),
            lost: 1,
            wrong: 2,
        };
        measured.map(|measured| measured.map(figures)).to_vec()
    }

    #[test]
    fn a_row_sums_up_its_rounds_and_compares_within_them() {
        let reference = rounds([Some((5.0, 4.0)), Some((1.0, 1.0)), Some((10.0, 4.0))]);
        let row = Row::of(&rounds([Some((10.0, 4.0)), None, Some((30.0, 2.0))]), &reference);
        assert_eq!(row.rate, Some(Spread { min: 10.0, median: 20.0, max: 30.0 }));
        assert_eq!(row.rate_ratio, Some(Spread { min: 2.0, median: 2.5, max: 3.0 }));
        assert_eq!(row.cpu_ratio, Some(Spread { min: 0.5, median: 0.75, max: 1.0 }));
        assert_eq!(row.p99, Some(Spread { min: 20.0, median: 30.0, max: 40.0 }));
        assert_eq!(row.p99_ratio, Some(Spread { min: 0.5, median: 0.75, max: 1.0 }));
        assert_eq!((row.client, row.lost, row.wrong), (None, 2, 4));
    }

    #[test]
    fn the_noise_is_the_worst_of_all_rounds() {
        let first = rounds([Some((10.0, 4.0)), Some((10.0, 4.0))]);
        let words = noise("x", &first, &rounds([Some((8.0, 4.0)), Some((11.0, 4.4))]));
        assert!(words.contains("by up to 25.0 % in rate, 10.0 % in CPU and 10.0 % in p99;"), "{words}");
        assert!(noise("x", &first, &rounds([None, None])).contains("unknown"));
    }

    #[test]
    fn a_scenario_that_there_is_not_is_named_with_its_flag() {
        let refusal = Options::try_parse_from(["race", "--scenarios", "tcp-1,udp-2"]).unwrap_err().to_string();
        assert!(
            refusal.contains("udp-2") && refusal.contains("--scenarios") && refusal.contains("udp-64x16"),
            "{refusal}"
        );
    }
}
