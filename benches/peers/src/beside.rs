//! The server beside itself: what one of its flags costs under full load. Does I/O: runs servers, prints tables.
//!
//! All contestants are one program, which take turns within each round. The one without any flag takes part twice, first
//! and last, which shows the noise.

use std::io::Write;
use std::time::Duration;

use shout_load::report::document::Document;

use crate::contestant::{Contestant, Field, Programs};
use crate::measurement::{Attempt, Faults, Figures, Length, Load, Place, Stop, column, turns};
use crate::running::PORT;
use crate::statistics::Spread;
use crate::table::{Style, Table, cell, extremes, figure, grouped};

const DEFAULT_ROUNDS: usize = 9;
const DEFAULT_SECONDS: Duration = Duration::from_millis(800);
const TRIAL_ROUNDS: usize = 1;
const TRIAL_SECONDS: Duration = Duration::from_millis(300);

const LOADS: [(&str, Load); 2] = [("udp-64", Load::udp(1, 64, 64)), ("tcp-64", Load::tcp(64, 1, 64))];

/// What the tables mean.
pub(crate) const LEGEND: &str = "× without: divided by the first line in the same round.";

/// The server with these flags.
pub(crate) fn with(programs: &Programs, name: &str, flags: &str) -> Contestant {
    let (_, program) = programs[0];
    Contestant::of_command(name, format!("'{program}' 127.0.0.1:{PORT} {flags}"))
}

/// These contestants, between two that are the server without any of their flags.
pub(crate) fn between(programs: &Programs, contestants: Vec<Contestant>) -> Vec<Contestant> {
    let without = with(programs, "without", "");
    let again = without.again();
    std::iter::once(without).chain(contestants).chain([again]).collect()
}

/// What was measured under one load: of each contestant, round by round.
pub(crate) struct Results {
    pub(crate) label: &'static str,
    pub(crate) figures: Vec<Vec<Option<Figures>>>,
}

/// How many rounds are to be measured, and how long each measurement is.
pub(crate) fn extent(field: &Field) -> (usize, Length) {
    let (rounds, seconds) =
        if field.is_trial() { (TRIAL_ROUNDS, TRIAL_SECONDS) } else { (DEFAULT_ROUNDS, DEFAULT_SECONDS) };
    (field.rounds.unwrap_or(rounds), Length::of(field.seconds.unwrap_or(seconds)))
}

/// Has them all measured under each load, by `measure`, and prints a table of each.
pub(crate) fn compare(
    place: &Place,
    field: &Field,
    contestants: &[Contestant],
    out: &mut dyn Write,
    mut measure: impl FnMut(&Attempt) -> Result<Document, Stop>,
) -> Result<(Vec<Results>, Faults), Stop> {
    let (rounds, length) = extent(field);
    writeln!(out, "{}; {}\n", length.describe(rounds), place.describe())?;
    let (mut results, mut faults) = (Vec::new(), Faults::default());
    for (label, load) in LOADS {
        let mut figures = vec![Vec::new(); contestants.len()];
        for round in 0..rounds {
            for index in turns(contestants.len(), round) {
                let attempt = Attempt { contestant: &contestants[index], load: &load, length, round, label };
                let document = faults.judge(&attempt, measure(&attempt))?;
                figures[index].push(document.as_ref().map(Figures::from));
            }
        }
        write!(out, "{label}: shout-load {}\n{}\n", load.flags().join(" "), table(contestants, &figures))?;
        out.flush()?;
        results.push(Results { label, figures });
    }
    Ok((results, faults))
}

fn table(contestants: &[Contestant], results: &[Vec<Option<Figures>>]) -> String {
    let mut table = Table::new(["", "replies/s", "× without", "spread", "CPU µs", "× without", "spread"]);
    for (contestant, rounds) in contestants.iter().zip(results) {
        let spread = |pick: fn(&Figures) -> Option<f64>| Spread::of(column(rounds, pick).into_iter().flatten());
        let ratios = |pick| Spread::of_ratios(&column(rounds, pick), &column(&results[0], pick));
        let (rate, cpu) = (|figures: &Figures| Some(figures.rate), |figures: &Figures| figures.server_cpu);
        // A hundredth is what is asked about, so a thousandth is shown.
        let exact = |ratio: f64| format!("{ratio:.3}");
        table.push(vec![
            contestant.name.clone(),
            cell(spread(rate), |rate| grouped(rate.median.round() as u64)),
            cell(ratios(rate), |ratio| exact(ratio.median)),
            cell(ratios(rate), |ratio| extremes(ratio, exact)),
            cell(spread(cpu), |cpu| figure(cpu.median)),
            cell(ratios(cpu), |ratio| exact(ratio.median)),
            cell(ratios(cpu), |ratio| extremes(ratio, exact)),
        ]);
    }
    table.render(Style::Plain)
}
