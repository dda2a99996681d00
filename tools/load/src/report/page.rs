//! A run as one HTML page, which needs no network and is itself a saved run. Pure: no I/O.
//!
//! Marks are SVG that is stretched to the width there is; words are HTML, placed in percent, so that they keep their
//! size on a phone and on paper. Everything is drawn here: the few lines of script only read out what the pointer is on.

mod breakdown;
mod checks;
mod interference;
mod latencies;
mod losses;
mod merged;
pub(super) mod plot;
pub mod race;
pub mod repeats;
mod setting;
pub(super) mod sheet;
mod spectrum;
mod timeline;
pub mod trials;
mod worst;

use self::sheet::{escape, section};
use super::document::Document;
use super::files;
use super::screen::{count, per_second, percent, seconds};
use crate::verdict::Verdict;

/// What stands before and after the run in a page.
const RUN_BEGINS: &str = "<script type=\"application/json\" id=\"run\">";
const RUN_ENDS: &str = "</script>";

/// The page of a run.
pub fn html(run: &Document) -> String {
    let parts = [
        banner(run),
        format!("<p class=\"summary\">{}</p>", escape(&summary(run))),
        section("Merged from", &merged::part(run)),
        section("Latency", &(spectrum::figure(run) + &latencies::tables(run))),
        section("One transport beside the other", &interference::part(run)),
        section("Over time", &timeline::figure(run)),
        section("Where the time goes", &breakdown::figure(run)),
        section("Messages", &setting::messages(run)),
        section("Losses", &losses::part(run)),
        checks::part(run),
        section("The slowest requests", &worst::table_of(run)),
        section("How it was measured", &setting::setting(run)),
    ];
    around(&format!("{} · shout-load", run.target.url), &parts.join("\n"), &files::json(run))
}

/// A page with the result inside that it shows.
fn around(title: &str, body: &str, json: &str) -> String {
    // Inside a script nothing ends it but its end tag, and JSON may write the sign as a number.
    let data = RUN_BEGINS.to_owned() + &json.replace('<', "\\u003c") + RUN_ENDS;
    sheet::sheet(title, body, &data)
}

/// The run inside a page; `None` if there is none.
pub fn run_inside(page: &str) -> Option<&str> {
    let (_, rest) = page.split_once(RUN_BEGINS)?;
    Some(rest.split_once(RUN_ENDS)?.0)
}

/// The verdict on the measurement and its reasons, under what must be known first: wrong bytes, or no reply.
fn banner(run: &Document) -> String {
    let counts = &run.counts;
    let wrong = counts.corrupt + counts.truncated;
    let verdict = run.validity.verdict;
    let (class, word) = if wrong > 0 {
        ("bad", "WRONG BYTES")
    } else if counts.replied == 0 {
        ("bad", "NO REPLY")
    } else {
        let class = match verdict {
            Verdict::Valid => "good",
            Verdict::Suspect => "doubt",
            Verdict::Invalid => "bad",
        };
        (class, verdict.name())
    };
    let mut reasons = Vec::new();
    if wrong > 0 {
        reasons.push(format!("{} replies were corrupted or cut short", count(wrong)));
    }
    if run.time.interrupted {
        reasons.push("stopped before its time".into());
    }
    let failed = run.validity.checks.iter().filter(|check| !check.ok);
    reasons.extend(failed.map(|check| check.why.clone()));
    if reasons.is_empty() {
        reasons.push("every check of the measurement is good, and every byte of every reply verified".into());
    }
    format!(
        "<header class=\"banner {class}\"><strong>{word}</strong><ul>{}</ul></header>\n<h1>{}</h1>",
        reasons.iter().map(|reason| format!("<li>{}</li>", escape(reason))).collect::<Vec<_>>().concat(),
        escape(&run.target.url)
    )
}

fn summary(run: &Document) -> String {
    let counts = &run.counts;
    let response = &run.latency.response;
    let within = |name: &str| response.p.get(name).map_or_else(String::new, |quantile| plot::latency(quantile.v));
    let demand = match run.config.rate {
        Some(rate) => format!("was offered {} messages a second", count(rate as u64)),
        None => "was kept busy by a closed loop".into(),
    };
    let answers = if counts.replied == 0 {
        String::new()
    } else {
        format!(
            " Half of the replies came within {}, 99% within {}; the slowest took {}.",
            within("50"),
            within("99"),
            plot::latency(response.max)
        )
    };
    let until =
        run.until.as_ref().map_or_else(String::new, |until| format!(" {}.", checks::capital(&until.sentence())));
    format!(
        "For {} the server {demand}: {} were sent ({}/s), {} answered rightly ({}), {} lost.{answers}{until}",
        seconds(run.time.measured_ns),
        count(counts.sent),
        count(per_second(counts.sent, run.rated_ns())),
        count(counts.replied),
        percent(counts.replied, counts.sent),
        count(counts.lost),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_without_a_run_is_told_from_one_with() {
        assert_eq!(run_inside("<p>no run</p>"), None);
        assert_eq!(run_inside(&format!("<p>{RUN_BEGINS}{{}}{RUN_ENDS}")), Some("{}"));
    }
}
