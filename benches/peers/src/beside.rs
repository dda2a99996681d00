//! The server beside itself: what one of its flags costs under full load. Does I/O: runs servers, prints tables.
//!
//! All contestants are one program, which take turns within each round. The one without any flag takes part twice, first
//! and last, which shows the noise.

use std::io::Write;
use std::time::Duration;

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

/// Takes the place where all of it is measured. Threads that are started later stay off the server's processor.
pub(crate) fn place() -> Result<Place, Stop> {
    Place::take().map_err(|error| Stop::Failure(format!("cannot watch for signals: {error}")))
}

/// Measures them all under each load, and prints a table of each.
pub(crate) fn compare(
    place: &Place,
    field: &Field,
    contestants: &[Contestant],
    out: &mut dyn Write,
) -> Result<Faults, Stop> {
    let (rounds, seconds) =
        if field.is_trial() { (TRIAL_ROUNDS, TRIAL_SECONDS) } else { (DEFAULT_ROUNDS, DEFAULT_SECONDS) };
    let rounds = field.rounds.unwrap_or(rounds);
    let length = Length::of(field.seconds.unwrap_or(seconds));
    writeln!(out, "{}; {}\n", length.describe(rounds), place.describe())?;
    let mut faults = Faults::default();
    for (label, load) in LOADS {
        let mut results = vec![Vec::new(); contestants.len()];
        for round in 0..rounds {
            for index in turns(contestants.len(), round) {
                let attempt = Attempt { contestant: &contestants[index], load: &load, length, round, label };
                let document = faults.judge(&attempt, place.measure(&attempt))?;
                results[index].push(document.as_ref().map(Figures::from));
            }
        }
        write!(out, "{label}: shout-load {}\n{}\n", load.flags().join(" "), table(contestants, &results))?;
        out.flush()?;
    }
    Ok(faults)
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
