//! The parts that every figure is made of: a stretched drawing, scales, and words at places in percent. Pure: no I/O.

use std::fmt::Write;

use crate::clock::Nanos;

/// The units of a drawing, from its left to its right and from its top to its bottom.
pub(in crate::report) const UNITS: f64 = 1000.0;

/// Latencies from the bottom to the top of a drawing, on a logarithmic scale.
#[derive(Debug, Clone, Copy)]
pub(in crate::report) struct LogScale {
    low: f64,
    high: f64,
}

impl LogScale {
    /// From a little below `least` to a little above `most`, in nanoseconds, at least half a decade.
    pub(in crate::report) fn new(least: Nanos, most: Nanos) -> Self {
        const MARGIN: f64 = 0.08;
        let (low, high) = ((least.max(1) as f64).log10(), (most.max(1) as f64).log10());
        let missing = (0.5 - (high - low)).max(0.0) / 2.0;
        LogScale { low: low - missing - MARGIN, high: high + missing + MARGIN }
    }

    /// How far up, from 0 at the bottom to 1 at the top.
    pub(in crate::report) fn share(self, nanos: Nanos) -> f64 {
        (((nanos.max(1) as f64).log10() - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// How far down in a drawing.
    pub(in crate::report) fn y(self, nanos: Nanos) -> f64 {
        UNITS * (1.0 - self.share(nanos))
    }

    /// Round latencies within the scale: the powers of ten, or where they are few, also their doubles and halves.
    pub(in crate::report) fn ticks(self) -> Vec<Nanos> {
        let decades = (self.low.floor() as u32)..=(self.high.ceil() as u32);
        let round = |factors: &[u64]| -> Vec<Nanos> {
            let all = decades.clone().flat_map(|decade| factors.iter().map(move |factor| factor * 10_u64.pow(decade)));
            all.filter(|&value| (self.low..=self.high).contains(&(value as f64).log10())).collect()
        };
        let powers = round(&[1]);
        if powers.len() >= 3 { powers } else { round(&[1, 2, 5]) }
    }
}

/// A latency in the unit that suits it: `20 µs`, `1.5 ms`.
pub(in crate::report) fn latency(nanos: Nanos) -> String {
    let (unit, name) = match nanos {
        0..1_000 => (1.0, "ns"),
        1_000..1_000_000 => (1e3, "µs"),
        1_000_000..1_000_000_000 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    let number = format!("{:.1}", nanos as f64 / unit);
    format!("{} {name}", number.trim_end_matches(".0"))
}

/// A drawing and the words around it.
pub(in crate::report) struct Plot {
    class: &'static str,
    label: String,
    marks: String,
    words: String,
}

impl Plot {
    /// `label` says what is drawn, for those who cannot see it.
    pub(in crate::report) fn new(class: &'static str, label: &str) -> Self {
        Plot { class, label: super::sheet::escape(label), marks: String::new(), words: String::new() }
    }

    /// Adds a path in [`UNITS`].
    pub(in crate::report) fn path(&mut self, class: &str, data: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.marks, "<path class=\"{class}\" d=\"{data}\"/>");
    }

    /// A line across, at a share of the height, with its name to its left.
    pub(in crate::report) fn y_tick(&mut self, share: f64, name: &str) {
        let y = UNITS * (1.0 - share);
        self.path("grid", &format!("M0 {y:.1}H{UNITS}"));
        self.word_left(share, name);
    }

    /// A name to the left of a row, at a share of the height.
    pub(in crate::report) fn word_left(&mut self, share: f64, name: &str) {
        let _ = write!(self.words, "<span class=\"y\" style=\"bottom:{:.2}%\">{name}</span>", share * 100.0);
    }

    /// A line down, at a share of the width, with its name below it. `is_minor` gives way where there is little room.
    pub(in crate::report) fn x_tick(&mut self, share: f64, name: &str, is_minor: bool) {
        self.path("grid", &format!("M{:.1} 0V{UNITS}", UNITS * share));
        let class = if is_minor { "x minor" } else { "x" };
        let _ = write!(self.words, "<span class=\"{class}\" style=\"left:{:.2}%\">{name}</span>", share * 100.0);
    }

    /// The words and the drawing.
    pub(in crate::report) fn html(self) -> String {
        let Plot { class, label, marks, words } = self;
        format!(
            "<div class=\"plot {class}\"><svg viewBox=\"0 0 {UNITS} {UNITS}\" preserveAspectRatio=\"none\" \
             role=\"img\" aria-label=\"{label}\">{marks}</svg>{words}</div>\n"
        )
    }
}

/// Names of lines and areas, each with a sample.
pub(in crate::report) fn legend(entries: &[(&str, &str)]) -> String {
    let samples = entries.iter().map(|(class, name)| format!("<span><i class=\"{class}\"></i>{name}</span>"));
    format!("<figcaption>{}</figcaption>", samples.collect::<Vec<_>>().concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_holds_what_it_was_made_for_and_has_ticks() {
        for (least, most) in [(1, 60_000_000_000), (20_000, 21_000), (0, 0), (99_000, 1_200_000)] {
            let scale = LogScale::new(least, most);
            assert!(scale.share(least) > 0.0 && scale.share(most) < 1.0 && scale.share(least) <= scale.share(most));
            let ticks = scale.ticks();
            assert!(!ticks.is_empty() && ticks.len() <= 12, "{ticks:?}");
        }
    }

    #[test]
    fn latencies_are_written_in_their_own_unit() {
        let names = [850, 20_000, 1_500_000, 60_000_000_000].map(latency);
        assert_eq!(names, ["850 ns", "20 µs", "1.5 ms", "60 s"]);
    }
}
