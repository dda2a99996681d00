//! All loads of a race in one table: how the first contestant stands to the reference. Pure: no I/O.

use super::{Race, Row, Scenario};
use crate::measurement::Figures;
use crate::statistics::Spread;
use crate::table::{NONE, Style, Table, ratio};

impl Race {
    /// The table, with the results of every load; empty where the first contestant is itself the reference.
    pub(super) fn summary(&self, results: &[(Scenario, Vec<Vec<Option<Figures>>>)]) -> String {
        let reference = self.reference();
        if reference == 0 {
            return String::new();
        }
        let (favourite, other) = (&self.contestants[0].name, &self.contestants[reference].name);
        let heading = [
            format!("{favourite}, × {other}"),
            "replies/s".into(),
            "server CPU a reply".into(),
            "p99".into(),
            format!("two runs of {favourite} differed by (rate, CPU, p99)"),
        ];
        let mut table = Table::new(heading);
        for (scenario, rounds) in results {
            let [first, .., again] = &rounds[..] else { unreachable!("the first contestant races twice") };
            let (row, noise) = (Row::of(first, &rounds[reference]), Row::of(again, first));
            let noises = [noise.rate_ratio, noise.cpu_ratio, noise.p99_ratio].map(percent);
            table.push(vec![
                scenario.title.into(),
                self.beyond(row.rate_ratio, noise.rate_ratio),
                self.beyond(row.cpu_ratio, noise.cpu_ratio),
                self.beyond(row.p99_ratio, noise.p99_ratio),
                noises.join(", "),
            ]);
        }
        let gap = if self.style == Style::Markdown { "\n" } else { "" };
        format!("{gap}{}\n", table.render(self.style))
    }

    /// A ratio, in Markdown in bold where it is further from 1 than the noise is.
    fn beyond(&self, ratios: Option<Spread>, noise: Option<Spread>) -> String {
        let Some(ratios) = ratios else { return NONE.into() };
        let median = Spread { min: ratios.median, max: ratios.median, ..ratios };
        let stands_out = noise.is_some_and(|noise| median.distance_from_one() > noise.distance_from_one());
        let text = ratio(ratios.median);
        if stands_out && self.style == Style::Markdown { format!("**{text}**") } else { text }
    }
}

fn percent(noise: Option<Spread>) -> String {
    noise.map_or_else(|| NONE.into(), |noise| format!("{:.0} %", 100.0 * noise.distance_from_one()))
}
