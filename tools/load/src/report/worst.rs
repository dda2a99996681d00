//! The slowest requests on the screen, and what was in flight. Pure: no I/O.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::document::Document;
use super::screen::{count, micros};
use crate::clock::SECOND;

/// Requests that the screen has room for; the document has a hundred.
const SHOWN: usize = 3;

/// Messages in flight on average, counted in two ways. By Little's law they are the same: what is in flight is the rate
/// times the mean time in flight.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InFlight {
    /// The mean number of messages in flight, counted at every send and every end of a message.
    pub mean: f64,
    /// The number of messages in flight by Little's law, from the service times.
    pub little: f64,
}

/// The slowest requests of the run, and what was in flight on average.
pub(super) fn lines(text: &mut String, run: &Document) -> std::fmt::Result {
    for (place, one) in run.outliers.iter().take(SHOWN).enumerate() {
        let name = if place == 0 { "slowest" } else { "" };
        let part = one.part.and_then(|part| run.merged.as_ref()?.parts.get(part));
        let of = part.map_or_else(String::new, |part| format!(" of {}", part.name));
        writeln!(
            text,
            "  {name:<8} {:>10} us   at {:.3} s on {} {}{of}, number {}: lag {} us, {} in flight",
            micros(one.lat_ns),
            one.t_intended_ns as f64 / SECOND as f64,
            one.transport,
            one.conn,
            count(one.seq),
            micros(one.lag_ns),
            count(one.in_flight)
        )?;
    }
    if let Some(InFlight { mean, little }) = run.in_flight {
        writeln!(text, "  in flight {mean:.2} messages on average; {little:.2} by Little's law")?;
    }
    if run.outliers.is_empty() && run.in_flight.is_none() { Ok(()) } else { writeln!(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::trust::Outlier;

    #[test]
    fn the_first_few_are_shown_with_what_tells_them_apart() {
        let mut run = Document::for_tests();
        let mut screen = String::new();
        lines(&mut screen, &run).unwrap();
        assert_eq!(screen, "");
        let slow = |number: u64| Outlier {
            t_intended_ns: 3_214_000_000,
            lat_ns: 4_871_000 - number,
            lag_ns: 3_000,
            part: None,
            transport: "tcp".into(),
            conn: 3,
            seq: 1_234 + number,
            size: 64,
            in_flight: 41,
        };
        run.outliers = (0..100).map(slow).collect();
        run.in_flight = Some(InFlight { mean: 5.2, little: 5.3 });
        lines(&mut screen, &run).unwrap();
        let expected = "  slowest     4,871.0 us   at 3.214 s on tcp 3, number 1,234: lag 3.0 us, 41 in flight\n";
        assert!(screen.starts_with(expected), "{screen}");
        assert!(screen.ends_with("in flight 5.20 messages on average; 5.30 by Little's law\n\n"), "{screen}");
        assert_eq!(screen.lines().count(), SHOWN + 2, "{screen}");
    }
}
