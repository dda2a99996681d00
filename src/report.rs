//! What the server says of itself on standard error: diagnostics, counters, a line an interval.
//!
//! Nothing here fails: a server whose standard error is closed or full serves on.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::event::{self, PollFd, PollFlags, Timespec};

use crate::counters::Counters;

/// The most diagnostic lines in a second. A log that peers can fill at will is a weapon of theirs.
const LINES_PER_SECOND_MAX: u32 = 20;

/// Writes one line, and lets go of it when nobody takes it (`eprintln!` would panic) or when that would mean to wait:
/// a reader who has stopped reading must not stop the service.
fn say(line: fmt::Arguments<'_>) {
    let mut stderr = io::stderr().lock();
    let mut asked = [PollFd::new(&stderr, PollFlags::OUT)];
    let has_room = event::poll(&mut asked, Some(&Timespec::default())) != Ok(0);
    if has_room {
        // In one piece, because room for a piece is all that was asked for.
        let _ = stderr.write_all(format!("{line}\n").as_bytes());
    }
}

/// A text as a log may hold it: what somebody else has chosen must not move the cursor of whoever reads it, nor look like
/// a second line.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
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
        say(format_args!("shout-server: {level}{}", printable(&record.args().to_string())));
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

/// The last readings of every loop. The loops share nothing else, and this only when somebody asks.
pub struct Board {
    readings: Mutex<Vec<Reading>>,
}

#[derive(Clone, Default)]
struct Reading {
    counters: Counters,
    connections: usize,
    /// It answers a question that not all loops have answered yet.
    asked: bool,
    /// Its loop has ended, and it answers every question.
    last: bool,
}

/// The sum of all readings, if a question is open and every loop has answered it. It is open no more, then.
fn answer(readings: &mut [Reading]) -> Option<(Counters, usize)> {
    let open = readings.iter().any(|reading| reading.asked);
    if !open || !readings.iter().all(|reading| reading.asked || reading.last) {
        return None;
    }
    readings.iter_mut().for_each(|reading| reading.asked = false);
    Some(sum(readings))
}

fn sum(readings: &[Reading]) -> (Counters, usize) {
    let mut sum = Counters::default();
    readings.iter().for_each(|reading| sum.add(&reading.counters));
    (sum, readings.iter().map(|reading| reading.connections).sum())
}

impl Board {
    /// A board for so many loops, and for each the reporter that it is handed.
    ///
    /// With an `interval`, what changed is printed as often, for the first time one interval after `now`.
    pub fn reporters(loops: usize, interval: Option<Duration>, now: Instant) -> Vec<Reporter> {
        let board = Arc::new(Board { readings: Mutex::new(vec![Reading::default(); loops]) });
        let stats = interval.map(|interval| Stats { interval, due: now + interval, last: Counters::default() });
        let reporter = |index| Reporter { board: Arc::clone(&board), index, stats: stats.clone() };
        (0..loops).map(reporter).collect()
    }
}

/// What one loop reports through.
pub struct Reporter {
    board: Arc<Board>,
    index: usize,
    stats: Option<Stats>,
}

/// A line of what changed, at an interval.
#[derive(Clone)]
struct Stats {
    interval: Duration,
    due: Instant,
    last: Counters,
}

impl Reporter {
    /// When the next line is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.stats.as_ref().map(|stats| stats.due)
    }

    /// Answers the question for the counters. The last loop to do so prints the sum.
    pub fn report(&self, counters: &Counters, connections: usize) {
        self.put(Reading { counters: *counters, connections, asked: true, last: false });
    }

    /// Leaves the last reading of a loop that has ended, for questions that come while others still finish.
    pub fn end(&self, counters: &Counters) {
        self.put(Reading { counters: *counters, connections: 0, asked: false, last: true });
    }

    /// Replaces this loop's reading; prints the sum if that was what an open question waited for.
    fn put(&self, reading: Reading) {
        let Ok(mut readings) = self.board.readings.lock() else { return };
        readings[self.index] = reading;
        let answer = answer(&mut readings);
        drop(readings);
        if let Some((sum, connections)) = answer {
            self::counters(&sum, connections);
        }
    }

    /// Publishes this loop's reading if that is due; the first loop that has not ended then prints what has changed in
    /// all.
    pub fn tick(&mut self, now: Instant, counters: &Counters, connections: usize) {
        let (Some(due), Some(stats)) = (self.deadline().filter(|&due| due <= now), &mut self.stats) else { return };
        let Ok(mut readings) = self.board.readings.lock() else { return };
        let reading = &mut readings[self.index];
        (reading.counters, reading.connections) = (*counters, connections);
        let (sum, connections) = sum(&readings);
        let speaks = readings.iter().position(|reading| !reading.last) == Some(self.index);
        drop(readings);
        stats.due = now + stats.interval;
        if speaks {
            let elapsed = (now - due + stats.interval).as_secs_f64();
            say(format_args!("{}", line(&stats.last, &sum, connections, elapsed)));
        }
        stats.last = sum;
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

    #[test]
    fn an_answer_waits_for_every_loop_that_has_not_ended_and_is_their_sum() {
        let one = Reading {
            counters: Counters { turns: 1, ..Counters::default() },
            connections: 5,
            asked: true,
            last: false,
        };
        let sum = Counters { turns: 2, ..Counters::default() };
        let mut readings = vec![one.clone(), Reading::default()];
        assert_eq!(answer(&mut readings), None, "one loop is not every loop");
        readings[1] = one.clone();
        assert_eq!(answer(&mut readings), Some((sum, 10)));
        assert_eq!(answer(&mut readings), None, "nobody has asked again");
        readings[1] = Reading { connections: 0, asked: false, last: true, ..one.clone() };
        assert_eq!(answer(&mut readings), None, "nobody has asked");
        readings[0] = one;
        assert_eq!(answer(&mut readings), Some((sum, 5)), "who has ended is not waited for");
    }

    #[test]
    fn a_line_moves_no_cursor_and_is_one_line() {
        assert_eq!(printable("a\r\nb\u{1b}[2J\u{7f}\u{9b}1m ß"), "a\u{fffd}\u{fffd}b\u{fffd}[2J\u{fffd}\u{fffd}1m ß");
    }
}
