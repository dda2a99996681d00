//! How the transports of a run get in each other's way, as a table of the screen. Pure: no I/O.

use std::fmt::Write;

use super::document::Document;
use super::screen::{count, micros, seconds};
use super::table;
use crate::interference::{Effect, Figure, Interference, Ratio};

/// What was done.
pub(super) fn procedure(found: &Interference) -> String {
    format!(
        "{} blocks of 6 x {} in turns, each transport alone and both together",
        found.blocks,
        seconds(found.part_ns)
    )
}

/// A value of a figure, with its unit.
pub(super) fn value(figure: Figure, value: f64) -> String {
    match figure {
        _ if value <= 1.0 => "-".into(),
        Figure::ResponseMedian | Figure::ResponseTail | Figure::ServiceMedian | Figure::ServiceTail => {
            format!("{} us", micros(value as u64))
        }
        Figure::Rate => format!("{}/s", count(value as u64)),
    }
}

/// What is known of an effect, a cell for each of the columns of [`HEAD`].
pub(super) fn cells(effect: &Effect) -> [String; HEAD.len()] {
    let none = || "-".to_owned();
    [
        format!("{} {}", effect.transport.to_uppercase(), effect.figure.name()),
        value(effect.figure, effect.alone),
        value(effect.figure, effect.together),
        effect.ratio.map_or_else(none, times),
        effect.ratio.map_or_else(none, |ratio| format!("{:.2} .. {:.2}", ratio.low, ratio.high)),
        effect.noise.map_or_else(none, |noise| format!("±{:.0}%", 100.0 * noise)),
        word(effect).into(),
    ]
}

/// What the columns of [`cells`] are.
pub(super) const HEAD: [&str; 7] = ["", "alone", "together", "times", "95%", "noise", ""];

fn times(ratio: Ratio) -> String {
    format!("x{:.2}", ratio.by)
}

/// The effect in a word; none where there is none to be told from chance and noise.
fn word(effect: &Effect) -> &'static str {
    match (effect.figure, effect.ratio) {
        (_, None) => "nothing can be said",
        _ if !effect.is_called => "",
        (Figure::Rate, Some(ratio)) if ratio.by > 1.0 => "higher",
        (Figure::Rate, Some(_)) => "lower",
        (_, Some(ratio)) if ratio.by > 1.0 => "slower",
        (_, Some(_)) => "faster",
    }
}

/// What came of it for each transport, in a sentence.
pub(super) fn sentences(found: &Interference) -> Vec<String> {
    let mut names: Vec<&str> = found.effects.iter().map(|effect| effect.transport.as_str()).collect();
    names.dedup();
    let of = |name: &&str| {
        let own = || found.effects.iter().filter(|effect| effect.transport == *name);
        let called: Vec<String> = own()
            .filter(|effect| effect.is_called)
            .filter_map(|effect| Some(format!("{} {} ({})", word(effect), effect.figure.name(), times(effect.ratio?))))
            .collect();
        let others: Vec<String> =
            names.iter().filter(|other| *other != name).map(|other| other.to_uppercase()).collect();
        let what = if !called.is_empty() {
            called.join(", ")
        } else if own().all(|effect| effect.ratio.is_none()) {
            "nothing can be said".into()
        } else {
            "no effect that stands out from chance and noise".into()
        };
        format!("{} beside {}: {what}", name.to_uppercase(), others.join(", "))
    };
    names.iter().map(of).collect()
}

/// The parts in which the generator was not to be believed, if there were any.
pub(super) fn doubt(found: &Interference) -> Option<String> {
    (found.generator_was_busy > 0).then(|| {
        let of = 6 * found.blocks;
        format!(
            "in {} of {of} parts the generator had no processor to spare: some of it may be its own",
            found.generator_was_busy
        )
    })
}

/// The lines of the screen, where it was asked for.
pub(super) fn lines(text: &mut String, run: &Document) -> std::fmt::Result {
    let Some(found) = &run.interference else { return Ok(()) };
    writeln!(text, "  interference   {}", procedure(found))?;
    let rows: Vec<Vec<String>> = found.effects.iter().map(|effect| cells(effect).to_vec()).collect();
    for line in table::text(&HEAD, &rows).lines() {
        writeln!(text, "  {line}")?;
    }
    for sentence in sentences(found) {
        writeln!(text, "    {sentence}")?;
    }
    if let Some(doubt) = doubt(found) {
        writeln!(text, "    {doubt}")?;
    }
    writeln!(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(transport: &str, figure: Figure, by: f64, is_called: bool) -> Effect {
        let ratio = Some(Ratio { by, low: by - 0.09, high: by + 0.1 });
        let (alone, together) = (1e5, by * 1e5);
        Effect { transport: transport.into(), figure, alone, together, ratio, noise: Some(0.09), is_called }
    }

    #[test]
    fn an_effect_is_a_row_with_its_word() {
        let slower = effect("tcp", Figure::ResponseTail, 1.3, true);
        let row = ["TCP response p99", "100.0 us", "130.0 us", "x1.30", "1.21 .. 1.40", "±9%", "slower"];
        assert_eq!(cells(&slower), row);
        let words = [
            effect("tcp", Figure::ServiceMedian, 0.8, true),
            effect("tcp", Figure::Rate, 0.8, true),
            effect("tcp", Figure::Rate, 1.3, true),
            effect("tcp", Figure::Rate, 1.3, false),
        ];
        assert_eq!(words.each_ref().map(word), ["faster", "lower", "higher", ""]);
        let unknown = Effect { ratio: None, noise: None, ..slower };
        assert_eq!(cells(&unknown)[3..], ["-", "-", "-", "nothing can be said"]);
        assert_eq!(value(Figure::Rate, 9e4), "90,000/s");
    }

    #[test]
    fn each_transport_has_a_sentence_of_what_stands_out() {
        let effects = vec![
            effect("udp", Figure::ServiceMedian, 1.1, false),
            effect("udp", Figure::Rate, 0.98, false),
            effect("tcp", Figure::ServiceMedian, 1.3, true),
            effect("tcp", Figure::Rate, 0.7, true),
        ];
        let found = Interference { blocks: 10, part_ns: 50_000_000, generator_was_busy: 0, effects };
        let of_tcp = "TCP beside UDP: slower service p50 (x1.30), lower rate (x0.70)";
        assert_eq!(sentences(&found), ["UDP beside TCP: no effect that stands out from chance and noise", of_tcp]);
        let nothing = Effect { ratio: None, ..found.effects[0].clone() };
        let found = Interference { effects: vec![nothing], ..found };
        assert!(sentences(&found)[0].ends_with(": nothing can be said"));
    }
}
