//! How the transports of a run get in each other's way, as a table. Pure: no I/O.

use super::sheet::{escape, note, table};
use crate::interference::Effect;
use crate::report::document::Document;
use crate::report::interference::{doubt, procedure, value};

pub(super) fn part(run: &Document) -> String {
    let Some(found) = &run.interference else { return String::new() };
    let head = ["", "alone", "together", "ratio", "95%", "noise", ""];
    let explanation = "Both transports keep their rate, or their window, in all parts. The noise is what each seems to \
                       differ by from itself, before and after: a smaller effect is none.";
    let procedure = format!("In {}. {explanation} {}", procedure(found), doubt(found).unwrap_or_default());
    table("numbers", &head, found.effects.iter().map(row)) + &note(&escape(&procedure))
}

fn row(effect: &Effect) -> Vec<String> {
    let share = |noise: f64| format!("±{:.1}%", 100.0 * noise);
    let (ratio, interval) = match effect.ratio {
        Some(ratio) => (format!("{:.2}", ratio.by), format!("{:.2}..{:.2}", ratio.low, ratio.high)),
        None => ("-".into(), "-".into()),
    };
    vec![
        format!("{} {}", effect.transport, effect.figure.name()),
        value(effect.figure, effect.alone),
        value(effect.figure, effect.together),
        ratio,
        interval,
        effect.noise.map_or_else(|| "-".into(), share),
        if effect.is_called { "<b>differs</b>".into() } else { String::new() },
    ]
}
