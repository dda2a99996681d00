//! A race as a page, which `shout-load`'s own parts make. Pure: no I/O.

use serde_json::{Value, json};
use shout_load::report::document::Document;
use shout_load::report::page::race::{self as page, Entrant, Heat};

use super::{Race, Results, Row, Scenario};
use crate::contestant::Contestant;
use crate::measurement::Figures;
use crate::statistics::Spread;

/// The name of the shape of the figures inside.
const SCHEMA: &str = "shout-race/1";

impl Race {
    /// The whole page of these loads.
    pub(super) fn html(&self, setting: &str, legend: &str, heats: &[Heat], saved: &[Value]) -> String {
        let json = json!({"schema": SCHEMA, "setting": setting, "loads": saved}).to_string();
        let race = page::Race {
            title: "The race",
            setting,
            legend,
            reference: &self.contestants[self.reference()].name,
            favourite: &self.contestants[0].name,
            heats,
        };
        page::page(&race, &json)
    }

    /// The part of the page about one load.
    pub(super) fn heat(&self, scenario: &Scenario, results: &Results, table: String) -> Heat {
        let reference = &results.figures[self.reference()];
        let times = |spread: Spread| [spread.min, spread.median, spread.max];
        let entrant = |(contestant, (rounds, documents)): (&Contestant, (&Vec<Option<Figures>>, &Vec<Document>))| {
            let row = Row::of(rounds, reference);
            let mut entrant = Entrant::new(&contestant.name, row.rate_ratio.map(times), row.cpu_ratio.map(times));
            for document in documents {
                entrant.add(document);
            }
            entrant
        };
        let rounds = results.figures.iter().zip(&results.documents);
        let entrants = self.contestants.iter().zip(rounds).map(entrant).collect();
        Heat { title: scenario.title.into(), table, entrants }
    }

    /// The figures of one load, as the page carries them along.
    pub(super) fn saved(&self, scenario: &Scenario, results: &[Vec<Option<Figures>>]) -> Value {
        let spread =
            |spread: Option<Spread>| spread.map(|one| json!({"min": one.min, "median": one.median, "max": one.max}));
        let contestant = |(contestant, rounds): (&Contestant, &Vec<Option<Figures>>)| {
            let row = Row::of(rounds, &results[self.reference()]);
            json!({
                "name": contestant.name,
                "answers_per_second": spread(row.rate),
                "times_the_rate": spread(row.rate_ratio),
                "server_cpu_us_per_answer": spread(row.cpu),
                "times_the_cpu": spread(row.cpu_ratio),
                "p99_us": spread(row.p99),
                "times_the_p99": spread(row.p99_ratio),
                "lost": row.lost,
                "wrong": row.wrong,
            })
        };
        let contestants: Vec<Value> = self.contestants.iter().zip(results).map(contestant).collect();
        json!({"name": scenario.name, "title": scenario.title, "contestants": contestants})
    }
}
