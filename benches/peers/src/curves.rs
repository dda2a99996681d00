//! The curves: how the cost of a message grows with the number of connections, of sources, and with its size. Does I/O:
//! runs servers, prints tables, writes drawings.
//!
//! The cost is the server's CPU time for one right reply, which a slow client or a busy neighbour changes less than the
//! rate. Each round goes through all points of a curve, so that its ends are compared within a few seconds.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::builder::PossibleValuesParser;

use crate::contestant::{self, Contestant, Field, Programs};
use crate::ending;
use crate::measurement::{Attempt, Faults, Figures, Length, Place, Stop, column, turns};
use crate::plot::{self, Line, Plot};
use crate::statistics::Spread;
use crate::table::{Style, Table, cell, extremes, figure, grouped, ratio};

mod catalogue;
use catalogue::{CURVES, Curve};

const NAME: &str = "curves";

/// Who is measured unless others are named: the server, and what most people would write instead of it.
const DEFAULT_CONTESTANTS: [&str; 2] = ["shout", "naive-mio"];

const DEFAULT_ROUNDS: usize = 3;
const DEFAULT_SECONDS: Duration = Duration::from_millis(500);
const TRIAL_ROUNDS: usize = 1;
const TRIAL_SECONDS: Duration = Duration::from_millis(200);
const TRIAL_POINTS: usize = 2;

/// Where the drawings go, and where those of a trial go, which must not take the place of real ones.
const DEFAULT_OUT: &str = "target/curves";
const TRIAL_OUT: &str = "target/curves/trial";

/// What the columns are.
const LEGEND: &str = "\
CPU µs: the server's time on its processor for one right reply, median of all rounds, and spread from the smallest to
the largest. growth: the last point divided by the first, of the same round.
";

/// Measures how the cost of a message grows, prints a table and draws a curve for each quantity.
#[derive(Debug, Parser)]
#[command(name = NAME, version)]
struct Options {
    #[command(flatten)]
    field: Field,

    /// Which of the package's contestants take part
    #[arg(long, value_delimiter = ',', value_parser = contestant::names(), default_values = DEFAULT_CONTESTANTS, value_name = "NAME,…")]
    contestants: Vec<String>,

    /// Which curves [default: all]
    #[arg(long, value_delimiter = ',', value_parser = curve_names(), value_name = "NAME,…")]
    curves: Vec<String>,

    /// Print tables for a README
    #[arg(long)]
    markdown: bool,

    /// Where the drawings go [default: target/curves]
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
}

fn curve_names() -> PossibleValuesParser {
    CURVES.map(|curve| curve.name).into()
}

/// Measures the curves with these arguments, the program's name first, and prints their tables to `out`.
///
/// 0 when every contestant was measured at every point and all replies were right; 1 otherwise; 2 for bad arguments;
/// 130 and 143 after SIGINT and SIGTERM. Points that the limit on open files does not allow are left out, and the
/// output says so.
pub fn main(programs: &Programs, arguments: impl IntoIterator<Item = OsString>, out: &mut dyn Write) -> ExitCode {
    let options: Options = match shout::arguments::parse(arguments) {
        Ok(options) => options,
        Err(code) => return code,
    };
    let contestants = match options.field.contestants(&options.contestants, programs) {
        Ok(contestants) if contestants.len() > plot::COLOURS => {
            let line = format!("{} contestants: a drawing has colours for {}", contestants.len(), plot::COLOURS);
            return ending::bad_arguments(NAME, &line);
        }
        Ok(contestants) => contestants,
        Err(line) => return ending::bad_arguments(NAME, &line),
    };
    ending::code(NAME, Survey::new(options, contestants).and_then(|survey| survey.run(out)))
}

/// All curves, one after the other.
struct Survey {
    place: Place,
    contestants: Vec<Contestant>,
    curves: Vec<Curve>,
    rounds: usize,
    length: Length,
    style: Style,
    directory: PathBuf,
    /// Points of each curve, at most.
    points: usize,
}

/// The figures of one curve: by point, contestant and round.
type Results = Vec<Vec<Vec<Option<Figures>>>>;

impl Survey {
    fn new(options: Options, contestants: Vec<Contestant>) -> Result<Survey, Stop> {
        let is_trial = options.field.is_trial();
        let (rounds, seconds, points, directory) = if is_trial {
            (TRIAL_ROUNDS, TRIAL_SECONDS, TRIAL_POINTS, TRIAL_OUT)
        } else {
            (DEFAULT_ROUNDS, DEFAULT_SECONDS, usize::MAX, DEFAULT_OUT)
        };
        let is_wanted =
            |curve: &Curve| options.curves.is_empty() || options.curves.iter().any(|name| name == curve.name);
        let directory = options.out.unwrap_or_else(|| directory.into());
        fs::create_dir_all(&directory)
            .map_err(|error| Stop::Failure(format!("cannot write {}: {error}", directory.display())))?;
        Ok(Survey {
            place: Place::take()?,
            contestants,
            curves: CURVES.into_iter().filter(is_wanted).collect(),
            rounds: options.field.rounds.unwrap_or(rounds),
            length: Length::of(options.field.seconds.unwrap_or(seconds)),
            style: if options.markdown { Style::Markdown } else { Style::Plain },
            directory,
            points,
        })
    }

    fn run(self, out: &mut dyn Write) -> Result<(), Stop> {
        let (length, place) = (self.length.describe(self.rounds), self.place.describe());
        writeln!(out, "{length}; {place}; {} open files a process\n", grouped(self.place.open_files()))?;
        let mut faults = Faults::default();
        for curve in &self.curves {
            let points = self.possible(curve);
            let results = self.measure(curve, points, &mut faults)?;
            let path = self.directory.join(format!("{}.svg", curve.name));
            let drawing = draw(curve, points, &self.contestants, &results, (self.length, self.rounds)).svg();
            fs::write(&path, drawing)
                .map_err(|error| Stop::Failure(format!("cannot write {}: {error}", path.display())))?;
            let report = self.report(curve, points, &results);
            write!(out, "{report}Drawn in {}\n\n", path.display())?;
            out.flush()?;
        }
        out.write_all(LEGEND.as_bytes())?;
        faults.verdict()
    }

    /// The points of a curve for which there are enough descriptors.
    fn possible(&self, curve: &Curve) -> &'static [usize] {
        let limit = self.place.open_files();
        let possible = curve.points.iter().take_while(|&&point| (curve.load)(point).descriptors() <= limit).count();
        &curve.points[..possible.min(self.points)]
    }

    fn measure(&self, curve: &Curve, points: &[usize], faults: &mut Faults) -> Result<Results, Stop> {
        let mut results = vec![vec![Vec::new(); self.contestants.len()]; points.len()];
        for round in 0..self.rounds {
            for (at, &point) in points.iter().enumerate() {
                let load = (curve.load)(point);
                let label = format!("{} at {}", curve.name, curve.unit.show(point));
                for index in turns(self.contestants.len(), round + at) {
                    let contestant = &self.contestants[index];
                    let attempt = Attempt { contestant, load: &load, length: self.length, round, label: &label };
                    let document = faults.judge(&attempt, self.place.measure(&attempt))?;
                    results[at][index].push(document.as_ref().map(Figures::from));
                }
            }
        }
        Ok(results)
    }

    /// The table of a curve, with what it says in words.
    fn report(&self, curve: &Curve, points: &[usize], results: &Results) -> String {
        let mut heading = vec![curve.quantity.to_owned()];
        for Contestant { name, .. } in &self.contestants {
            heading.extend([format!("{name} CPU µs"), "spread".into(), "replies/s".into(), "lost".into()]);
        }
        let mut table = Table::new(heading);
        for (&point, contestants) in points.iter().zip(results) {
            let mut row = vec![curve.unit.show(point)];
            for rounds in contestants {
                let cpu = cost(rounds);
                let rate = Spread::of(rounds.iter().flatten().map(|figures| figures.rate));
                let lost = rounds.iter().flatten().map(|figures| figures.lost).sum();
                let rate = cell(rate, |rate| grouped(rate.median.round() as u64));
                row.extend([
                    cell(cpu, |cpu| figure(cpu.median)),
                    cell(cpu, |cpu| extremes(cpu, figure)),
                    rate,
                    grouped(lost),
                ]);
            }
            table.push(row);
        }
        let Curve { name, title, setting, quantity, unit, .. } = curve;
        let table = table.render(self.style);
        let mut text = match self.style {
            Style::Plain => format!("{name}: {title}. {setting}\n{table}"),
            Style::Markdown => format!("**{title}** (`{name}`): {setting}\n\n{table}\n"),
        };
        if let [first, .., last] = points {
            let _ = write!(text, "growth from {} to {}: ", unit.show(*first), unit.show(*last));
            let growths = self.contestants.iter().enumerate().map(|(index, contestant)| {
                let growth = growth(&results[0][index], &results[points.len() - 1][index]);
                let factor = |growth: Spread| format!("× {} ({})", ratio(growth.median), extremes(growth, ratio));
                format!("{} {}", contestant.name, cell(growth, factor))
            });
            let _ = writeln!(text, "{}", growths.collect::<Vec<_>>().join(", "));
        }
        let left_out = &curve.points[points.len()..];
        if let Some(&wanted) = left_out.first().filter(|_| self.points > points.len()) {
            let _ = writeln!(
                text,
                "Bounded by the limit of {} open files: from {} {quantity} on, {} would be needed.",
                grouped(self.place.open_files()),
                unit.show(wanted),
                grouped((curve.load)(wanted).descriptors())
            );
        }
        text
    }
}

/// The server's CPU time for one reply, in µs.
fn cost(rounds: &[Option<Figures>]) -> Option<Spread> {
    Spread::of(column(rounds, |figures| figures.server_cpu).into_iter().flatten())
}

/// How many times as much a reply costs at the last point as at the first.
fn growth(first: &[Option<Figures>], last: &[Option<Figures>]) -> Option<Spread> {
    let cpu = |rounds| column(rounds, |figures| figures.server_cpu);
    Spread::of_ratios(&cpu(last), &cpu(first))
}

fn draw(
    curve: &Curve,
    points: &[usize],
    contestants: &[Contestant],
    results: &Results,
    (length, rounds): (Length, usize),
) -> Plot {
    let line = |(index, contestant): (usize, &Contestant)| {
        let measured = points.iter().zip(results);
        let at = |(&point, results): (&usize, &Vec<Vec<_>>)| Some((point as f64, cost(&results[index])?));
        Line { name: contestant.name.clone(), points: measured.filter_map(at).collect() }
    };
    let Curve { title, setting, quantity, unit, .. } = curve;
    Plot {
        title: format!("{title}: what a reply costs the server"),
        subtitle: [
            setting.to_string(),
            format!("{}: medians, and bars from smallest to largest", length.describe(rounds)),
        ],
        across: format!(
            "{quantity}, logarithmic{}",
            if points.first() == Some(&0) { " from the second tick on" } else { "" }
        ),
        up: "CPU time for one reply, µs".into(),
        ticks: points.iter().map(|&point| (point as f64, unit.show(point))).collect(),
        lines: contestants.iter().enumerate().map(line).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds in which a reply costs this much.
    fn rounds<const N: usize>(costs: [Option<f64>; N]) -> Vec<Option<Figures>> {
        let figures = |server_cpu| Figures {
            rate: 1.0,
            server_cpu: Some(server_cpu),
            client_busy: None,
            p99: None,
            lost: 0,
            wrong: 0,
        };
        costs.map(|cost| cost.map(figures)).to_vec()
    }

    #[test]
    fn growth_is_taken_within_a_round() {
        let last = rounds([Some(2.0), Some(30.0), Some(9.0)]);
        let growth = growth(&rounds([Some(1.0), Some(10.0), None]), &last);
        assert_eq!(growth, Some(Spread { min: 2.0, median: 2.5, max: 3.0 }));
    }

    #[test]
    fn a_point_that_was_not_measured_is_not_drawn() {
        let contestants = [crate::contestant::tests::named("a"), crate::contestant::tests::named("b")];
        let results = vec![vec![rounds([Some(1.0)]), rounds([None])], vec![rounds([Some(2.0)]), rounds([Some(3.0)])]];
        let plot = draw(&CURVES[0], &[0, 10], &contestants, &results, (Length::of(DEFAULT_SECONDS), 1_000));
        assert_eq!(plot.lines.iter().map(|line| line.points.len()).collect::<Vec<_>>(), [2, 1]);
        assert!(plot.subtitle.iter().all(|line| line.chars().count() <= plot::SUBTITLE), "{:?}", plot.subtitle);
        assert_eq!(plot.ticks, [(0.0, "0".into()), (10.0, "10".into())]);
    }

    #[test]
    fn a_curve_that_there_is_not_is_named_with_its_flag() {
        let refusal = Options::try_parse_from(["curves", "--curves", "idle,slope"]).unwrap_err().to_string();
        assert!(refusal.contains("slope") && refusal.contains("--curves") && refusal.contains("udp-size"), "{refusal}");
    }
}
