//! What the server says of itself on standard error: diagnostics, counters, a line an interval.
//!
//! Nothing here fails: a server whose standard error is closed or full serves on.

use std::fmt;
use std::io::{self, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::counters::Counters;

/// The most diagnostic lines in a second. A log that peers can fill at will is a weapon of theirs.
const LINES_PER_SECOND_MAX: u32 = 20;

/// Writes one line, and lets go of it when nobody takes it (`eprintln!` would panic).
fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Sends diagnostics of at least this level to standard error. The first call in a process decides.
pub fn diagnostics(level: LevelFilter) {
    let backend = Box::new(Diagnostics { window: Mutex::new(Window { start: Instant::now(), lines: 0, dropped: 0 }) });
    if log::set_boxed_logger(backend).is_ok() {
        log::set_max_level(level);
    }
}

struct Diagnostics {
    window: Mutex<Window>,
}

/// The current second of the rate limit.
struct Window {
    start: Instant,
    lines: u32,
    dropped: u64,
}

impl Window {
    /// Whether a line may go out at `now`, and how many were dropped before it.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.start) >= Duration::from_secs(1) {
            (self.start, self.lines) = (now, 0);
        }
        if self.lines == LINES_PER_SECOND_MAX {
            self.dropped += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.dropped))
    }
}

impl Log for Diagnostics {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("shout")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let Some(dropped) = self.window.lock().ok().and_then(|mut window| window.admit(Instant::now())) else { return };
        if dropped > 0 {
            say(format_args!("shout-server: {dropped} lines left out"));
        }
        let level = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            Level::Info | Level::Debug | Level::Trace => "",
        };
        // What a peer sent must not move the cursor of whoever reads the log.
        say(format_args!("shout-server: {level}{}", record.args().to_string().replace(char::is_control, "\u{fffd}")));
    }

    fn flush(&self) {}
}

/// Prints every counter that is not zero.
pub fn counters(counters: &Counters, connections: usize) {
    say(format_args!("shout-server: {connections} connections open"));
    for (name, _, value) in counters.each().filter(|(.., value)| *value > 0) {
        say(format_args!("  {name} {value}"));
    }
}

/// A line of what changed, at an interval.
pub struct Stats {
    interval: Duration,
    due: Instant,
    last: Counters,
}

impl Stats {
    /// The first line is due one interval after `now`.
    pub fn new(interval: Duration, now: Instant) -> Stats {
        Stats { interval, due: now + interval, last: Counters::default() }
    }

    /// When the next line is due.
    pub fn deadline(&self) -> Instant {
        self.due
    }

    /// Prints the line if it is due.
    pub fn tick(&mut self, now: Instant, counters: &Counters, connections: usize) {
        if now < self.due {
            return;
        }
        let elapsed = (now - self.due + self.interval).as_secs_f64();
        say(format_args!("{}", line(&self.last, counters, connections, elapsed)));
        self.last = *counters;
        self.due = now + self.interval;
    }
}

/// What changed between two readings, as rates a second.
fn line(last: &Counters, counters: &Counters, connections: usize, seconds: f64) -> String {
    let changed = last.each().zip(counters.each()).filter(|((.., before), (.., after))| before != after);
    let rates =
        changed.map(|((name, _, before), (.., after))| format!(" {name} {:.0}/s", (after - before) as f64 / seconds));
    format!("shout-server: {connections} connections{}", rates.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_lines_is_cut_and_counted() {
        let start = Instant::now();
        let mut window = Window { start, lines: 0, dropped: 0 };
        let admitted = (0..100).filter(|_| window.admit(start).is_some()).count();
        assert_eq!(admitted, LINES_PER_SECOND_MAX as usize);
        assert_eq!(window.admit(start + Duration::from_secs(1)), Some(100 - u64::from(LINES_PER_SECOND_MAX)));
    }

    #[test]
    fn a_line_holds_rates_of_what_changed_and_nothing_else() {
        let last = Counters { udp_received: 10, udp_replied: 10, ..Counters::default() };
        let now = Counters { udp_received: 30, ..last };
        assert_eq!(line(&last, &now, 3, 2.0), "shout-server: 3 connections udp_received 10/s");
    }
}
