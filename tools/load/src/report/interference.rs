//! How the transports of a run get in each other's way, as lines of the screen. Pure: no I/O.

use std::fmt::Write;

use super::document::Document;
use super::screen::{count, micros, seconds};
use crate::interference::{Effect, Figure, Interference};

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

/// What is to be said of an effect.
pub(super) fn sentence(effect: &Effect) -> String {
    let name = effect.transport.to_uppercase();
    let figure = effect.figure.name();
    let noise = effect.noise.map_or_else(String::new, |noise| format!(", noise ±{:.0}%", 100.0 * noise));
    match effect.ratio {
        None => format!("{name} {figure}: nothing can be said"),
        Some(ratio) => {
            let interval = format!("({:.2} to {:.2}{noise})", ratio.low, ratio.high);
            let verdict = if effect.is_called { "" } else { ": no effect to be told from the noise" };
            format!("{name} {figure} is {:.2} x what it is alone {interval}{verdict}", ratio.by)
        }
    }
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
    for effect in &found.effects {
        let [alone, together] = [effect.alone, effect.together].map(|one| value(effect.figure, one));
        writeln!(text, "    {}   {alone} alone, {together} beside the other", sentence(effect))?;
    }
    if let Some(doubt) = doubt(found) {
        writeln!(text, "    {doubt}")?;
    }
    writeln!(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interference::Ratio;

    #[test]
    fn an_effect_is_said_as_a_multiple_of_what_is_alone() {
        let ratio = Some(Ratio { by: 1.3, low: 1.21, high: 1.4 });
        let figure = Figure::ResponseTail;
        let effect = Effect {
            transport: "tcp".into(),
            figure,
            alone: 1e5,
            together: 1.3e5,
            ratio,
            noise: Some(0.09),
            is_called: true,
        };
        assert_eq!(sentence(&effect), "TCP response p99 is 1.30 x what it is alone (1.21 to 1.40, noise ±9%)");
        let none = Effect { is_called: false, ..effect.clone() };
        assert!(sentence(&none).ends_with("noise ±9%): no effect to be told from the noise"));
        assert_eq!(sentence(&Effect { ratio: None, ..effect }), "TCP response p99: nothing can be said");
        assert_eq!((value(figure, 1e5), value(Figure::Rate, 9e4)), ("100.0 us".into(), "90,000/s".into()));
    }
}
