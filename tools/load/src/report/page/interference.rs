//! How the transports of a run get in each other's way, as a table. Pure: no I/O.

use super::sheet::{escape, note, table};
use crate::report::document::Document;
use crate::report::interference::{HEAD, cells, doubt, procedure, sentences};

pub(super) fn part(run: &Document) -> String {
    let Some(found) = &run.interference else { return String::new() };
    let explanation = "Both transports keep their rate, or their window, in all parts. The noise is what each seems to \
                       differ by from itself, before and after: a smaller effect is none.";
    let procedure = format!("In {}. {explanation} {}", procedure(found), doubt(found).unwrap_or_default());
    let rows = found.effects.iter().map(|effect| {
        let [name, alone, together, times, interval, noise, word] = cells(effect);
        vec![name, alone, together, times, interval, noise, format!("<b>{word}</b>")]
    });
    let sentences: Vec<String> = sentences(found).iter().map(|line| format!("<li>{}</li>", escape(line))).collect();
    format!("<ul>{}</ul>", sentences.concat()) + &table("numbers", &HEAD, rows) + &note(&escape(&procedure))
}
