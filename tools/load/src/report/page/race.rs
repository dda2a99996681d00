//! The page of a race: several servers under several loads, each compared with one of them in the same rounds. Pure: no I/O.

use hdrhistogram::Histogram;

use super::around;
use super::plot::{Plot, UNITS};
use super::sheet::{escape, heading, note, section};
use crate::recorder::histogram;
use crate::report::document::Document;

/// How many times the reference something is: in the round where it was least, the median, and the most.
pub type Times = [f64; 3];

/// A server that took part under a load.
#[derive(Debug)]
pub struct Entrant {
    name: String,
    rate: Option<Times>,
    cpu: Option<Times>,
    response: Histogram<u64>,
}

impl Entrant {
    /// One with its right answers a second and its processor time for each of them, as far as they are known.
    pub fn new(name: &str, rate: Option<Times>, cpu: Option<Times>) -> Self {
        Entrant { name: name.into(), rate, cpu, response: histogram() }
    }

    /// Adds the response times of a round.
    pub fn add(&mut self, run: &Document) {
        if let Some(response) = run.latency.response.histogram() {
            self.response.add(response).expect("all histograms have the same bounds");
        }
    }
}

/// What was raced under one load.
#[derive(Debug)]
pub struct Heat {
    /// The load in words.
    pub title: String,
    /// The figures as text.
    pub table: String,
    /// Who took part.
    pub entrants: Vec<Entrant>,
}

/// What there is to say of a race.
#[derive(Debug)]
pub struct Race<'a> {
    /// Its name.
    pub title: &'a str,
    /// How and where it was run.
    pub setting: &'a str,
    /// What the columns of the tables are.
    pub legend: &'a str,
    /// Whom all are compared with.
    pub reference: &'a str,
    /// Whose lines stand out. The same program may take part a second time, with this name and `again`.
    pub favourite: &'a str,
    /// What was raced.
    pub heats: &'a [Heat],
}

/// The page of a race, with its figures inside.
pub fn page(race: &Race, json: &str) -> String {
    let Race { title, reference, favourite, heats, .. } = *race;
    let mut body = format!("<h1>{}</h1>", escape(title));
    if let Some(sentence) = outcome(race) {
        body.extend(["<p class=\"summary\"><strong>", &escape(&sentence), "</strong></p>"]);
    }
    body += &note(&escape(race.setting));
    let columns = [
        (
            format!("Answers a second, × {reference}: right is faster"),
            (|one| one.rate) as fn(&Entrant) -> Option<Times>,
        ),
        (format!("Server's CPU time for an answer, × {reference}: left is cheaper"), |one| one.cpu),
    ];
    let columns = columns.map(|(name, of)| column(&name, of, favourite, heats)).concat();
    let marks = note(&escape(&format!(
        "A mark is the median of the rounds, and its line goes from the smallest to the largest ratio within a round. {} is \
         the same program a second time: how far the two are apart is the noise.",
        again(favourite)
    )));
    body += &section("Who is faster, and at what cost", &format!("<figure class=\"race\">{columns}</figure>{marks}"));
    body.extend(heats.iter().map(part));
    body += &section("What the columns are", &note(&escape(race.legend)));
    around(&format!("{title} · shout-load"), &body, json)
}

/// The name of a program that takes part a second time.
pub fn again(name: &str) -> String {
    format!("{name} again")
}

/// How the favourite stands to the reference over all loads, in a sentence.
fn outcome(race: &Race) -> Option<String> {
    let span = |of: fn(&Entrant) -> Option<Times>| {
        let entrants = race.heats.iter().flat_map(|heat| &heat.entrants);
        let medians =
            entrants.filter(|entrant| entrant.name == race.favourite).filter_map(of).map(|[_, median, _]| median);
        let (least, most) = medians.fold((f64::INFINITY, 0.0), |(least, most), one| (one.min(least), one.max(most)));
        (most > 0.0).then(|| format!("×{least:.2} to ×{most:.2}"))
    };
    let Race { favourite, reference, .. } = race;
    let speed = span(|one| one.rate)?;
    let cost = span(|one| one.cpu).map_or_else(String::new, |cpu| format!(", for {cpu} of the processor time each"));
    (favourite != reference).then(|| format!("{favourite} gives {speed} the answers a second of {reference}{cost}."))
}

/// The part of the page about one load: its table, and the latencies of all by percentile.
fn part(heat: &Heat) -> String {
    let drawn = |entrant: &&Entrant| !entrant.response.is_empty();
    let lines: Vec<(&str, String, &Histogram<u64>)> = CLASSES
        .into_iter()
        .cycle()
        .zip(heat.entrants.iter().filter(drawn))
        .map(|(class, entrant)| (class, escape(&entrant.name), &entrant.response))
        .collect();
    let lines: Vec<(&str, &str, &Histogram<u64>)> =
        lines.iter().map(|(class, name, response)| (*class, name.as_str(), *response)).collect();
    let spectra = if lines.is_empty() { String::new() } else { super::spectrum::overlaid(&lines) };
    let table = format!("<div class=\"scroll\"><pre class=\"wide\">{}</pre></div>", escape(heat.table.trim_end()));
    section(&escape(&heat.title), &(table + &spectra))
}

/// The lines of a spectrum, in the order of the entrants.
const CLASSES: [&str; 5] = ["response", "service", "floor", "replies", "lag"];

/// One ratio of every entrant under every load, each load with a drawing of its own over the same scale.
fn column(name: &str, of: fn(&Entrant) -> Option<Times>, favourite: &str, heats: &[Heat]) -> String {
    /// A tenth either way can be told apart on any page.
    const NARROWEST: f64 = 1.1;
    let entrants = || heats.iter().flat_map(|heat| &heat.entrants);
    let ratios = || entrants().filter_map(of).flatten().filter(|ratio| *ratio > 0.0 && ratio.is_finite());
    if ratios().next().is_none() {
        return String::new();
    }
    let (low, high) = (ratios().fold(1.0 / NARROWEST, f64::min), ratios().fold(NARROWEST, f64::max));
    let place = |ratio: f64| 0.03 + 0.94 * (ratio.max(low) / low).ln() / (high / low).ln();
    let mut text = format!("<div>{}", heading(&escape(name)));
    for (index, heat) in heats.iter().enumerate() {
        let mut plot = Plot::new("rows", &format!("{name}: {}", heat.title));
        for power in -10..=20 {
            let tick = 2_f64.powi(power);
            if (low..=high).contains(&tick) {
                // One scale for all, named below the last.
                let name = if index + 1 == heats.len() { format!("×{tick}") } else { String::new() };
                plot.x_tick(place(tick), &name, power % 2 != 0);
            }
        }
        plot.path("line one", &format!("M{:.1} 0V{UNITS}", UNITS * place(1.0)));
        for (row, entrant) in heat.entrants.iter().enumerate() {
            let middle = UNITS * (row as f64 + 0.5) / heat.entrants.len() as f64;
            plot.word_left(1.0 - middle / UNITS, &escape(&entrant.name));
            let Some([least, median, most]) = of(entrant) else { continue };
            let class = match &entrant.name {
                name if *name == favourite => "interval favourite",
                name if *name == again(favourite) => "interval favourite again",
                _ => "interval",
            };
            let x = |ratio: f64| UNITS * place(ratio);
            plot.path(&format!("line {class}"), &format!("M{:.1} {middle:.1}H{:.1}", x(least), x(most)));
            plot.path(&format!("mark {class}"), &format!("M{:.1} {middle:.1}h0", x(median)));
        }
        text.extend(["<h4>", &escape(&heat.title), "</h4>", &plot.html()]);
    }
    text + "</div>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entrant_of_every_heat_has_its_mark_on_one_scale() {
        let heat = |title: &str, rate: f64| Heat {
            title: title.into(),
            table: "a < b".into(),
            entrants: vec![
                Entrant::new("shout", Some([rate, rate, rate]), None),
                Entrant::new("naive", Some([1.0; 3]), Some([1.0; 3])),
                Entrant::new("none", None, None),
            ],
        };
        let heats = [heat("one", 4.0), heat("two", 2.0)];
        let race = Race {
            title: "Race",
            setting: "here",
            legend: "columns",
            reference: "naive",
            favourite: "shout",
            heats: &heats,
        };
        let html = page(&race, "{}");
        assert!(html.contains("<strong>shout gives ×2.00 to ×4.00 the answers a second of naive.</strong>"), "{html}");
        assert_eq!(outcome(&Race { favourite: "naive", ..race }), None, "against itself there is nothing to say");
        assert_eq!(html.matches("class=\"mark interval favourite\"").count(), 2);
        assert_eq!(html.matches("class=\"mark interval\"").count(), 2 + 2);
        let places = |class: &str| -> Vec<f64> {
            let begins = format!("class=\"{class}\" d=\"M");
            html.split(&begins).skip(1).map(|mark| mark.split(' ').next().unwrap().parse().unwrap()).collect()
        };
        let (favourite, one) = (places("mark interval favourite"), places("line one"));
        assert!(((favourite[0] - one[0]) / (favourite[1] - one[1]) - 2.0).abs() < 0.01, "four times is twice as far");
        assert!(html.contains("a &lt; b") && html.contains("×4"));
    }
}
