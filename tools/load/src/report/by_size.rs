//! What was measured by the size of the messages, in the document and on the screen. Pure: no I/O.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::document::{Document, Latency};
use super::screen::{count, micros, percent, percentile};
use crate::by_size;

/// Messages of one size, or of neighbouring sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BySize {
    /// The shortest of them, in bytes.
    pub from: usize,
    /// The longest, in bytes.
    pub to: usize,
    /// How many messages were sent.
    pub sent: u64,
    /// How many messages were answered in time with exactly the right bytes.
    pub replied: u64,
    /// Their response times.
    pub response: Latency,
}

impl BySize {
    /// Every class that was sent.
    pub fn all(measured: &by_size::BySize) -> Vec<Self> {
        let sent = measured.classes().iter().filter(|class| class.sent > 0);
        let of = |class: &by_size::Class| BySize {
            from: class.from,
            to: class.to,
            sent: class.sent,
            replied: class.replied,
            response: Latency::of(&class.response),
        };
        sent.map(of).collect()
    }

    /// `64 B`, or `64-127 B`.
    pub(super) fn name(&self) -> String {
        if self.from == self.to {
            format!("{} B", count(self.from as u64))
        } else {
            format!("{}-{} B", count(self.from as u64), count(self.to as u64))
        }
    }
}

/// The size of messages, from a document's configuration.
pub(super) fn size(size: &str) -> String {
    size.parse().map_or_else(|_| format!("{size} B"), |bytes| format!("{} B", count(bytes)))
}

/// A row for each size, if there are several.
pub(super) fn table(text: &mut String, run: &Document) -> std::fmt::Result {
    if run.per_size.is_empty() {
        return Ok(());
    }
    let name = |row: &BySize| row.name();
    let width = run.per_size.iter().map(|row| name(row).len()).max().unwrap_or(0);
    writeln!(text, "  response (us) by size")?;
    for row in &run.per_size {
        writeln!(
            text,
            "  {:>width$}   p50 {}  p99 {}  max {}   replied {} of {} ({})",
            name(row),
            percentile(&row.response, "50"),
            percentile(&row.response, "99"),
            if row.response.n == 0 { "-".into() } else { micros(row.response.max) },
            count(row.replied),
            count(row.sent),
            percent(row.replied, row.sent)
        )?;
    }
    writeln!(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_size_has_a_row_that_tells_it_apart() {
        let mut measured = by_size::BySize::of(&crate::payload::Content::Template("mix:64=9,1400=1".parse().unwrap()));
        for (bytes, times) in [(64, 3), (1400, 1)] {
            (0..times).for_each(|_| measured.sent(bytes));
        }
        measured.replied(64, 41_000);
        let mut run = Document::for_tests();
        let mut screen = String::new();
        table(&mut screen, &run).unwrap();
        assert_eq!(screen, "", "all of one size");
        run.per_size = BySize::all(&measured);
        table(&mut screen, &run).unwrap();
        let lines: Vec<&str> = screen.lines().collect();
        assert!(
            lines[1].contains("64 B   p50 41.0  p99 41.0") && lines[1].ends_with("replied 1 of 3 (33.333%)"),
            "{screen}"
        );
        assert!(lines[2].contains("1,400 B   p50 -") && lines[2].ends_with("replied 0 of 1 (0%)"), "{screen}");
    }

    #[test]
    fn sizes_are_written_with_their_unit() {
        assert_eq!(size("1400"), "1,400 B");
        assert_eq!(size("uniform:24-1400"), "uniform:24-1400 B");
    }
}
