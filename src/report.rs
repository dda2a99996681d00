//! What the server says of itself on standard error: diagnostics, counters, a line an interval.
//!
//! Nothing here fails: a server whose standard error is closed or full serves on.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::event::{self, PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;

use crate::counters::Counters;

/// The most diagnostic lines in a second. A log that peers can fill at will is a weapon of theirs.
const LINES_PER_SECOND_MAX: u32 = 20;

/// How old what one loop shows of another may be. A loop without work wakes up as often for it.
pub const SHARE_INTERVAL: Duration = Duration::from_millis(100);

/// The terminal behind standard error, opened once more so as never to wait: one that scrolls no further has room for a
/// byte and not for a line. What others do with it stays as it is. `None` where standard error is no terminal.
fn terminal() -> Option<&'static File> {
    static TERMINAL: OnceLock<Option<File>> = OnceLock::new();
    let open = || {
        let never_waits = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
        let again = || OpenOptions::new().write(true).custom_flags(never_waits).open("/proc/self/fd/2").ok();
        io::stderr().is_terminal().then(again).flatten()
    };
    TERMINAL.get_or_init(open).as_ref()
}

/// Writes one line, and lets go of it when nobody takes it (`eprintln!` would panic) or when that would mean to wait:
/// a reader who has stopped reading must not stop the service.
fn say(line: fmt::Arguments<'_>) {
    if let Some(mut terminal) = terminal() {
        let _ = terminal.write_all(format!("{line}\n").as_bytes());
        return;
    }
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
    // Now, for a sandbox will let nothing be opened.
    terminal();
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

/// What one loop, or all of them together, can say of themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// What has happened.
    pub counters: Counters,
    /// How many connections are open.
    pub connections: usize,
    /// How many bytes they are owed together.
    pub unsent: usize,
}

impl Reading {
    fn add(&mut self, other: &Reading) {
        self.counters.add(&other.counters);
        self.connections += other.connections;
        self.unsent += other.unsent;
    }
}

/// Prints every counter that is not zero.
pub fn counters(reading: &Reading) {
    say(format_args!("shout-server: {} connections open", reading.connections));
    for (name, _, value) in reading.counters.each().filter(|(.., value)| *value > 0) {
        say(format_args!("  {name} {value}"));
    }
}

/// The last readings of every loop. The loops share nothing else, and this only when somebody asks.
pub struct Board {
    entries: Mutex<Vec<Entry>>,
}

#[derive(Clone, Default)]
struct Entry {
    reading: Reading,
    /// It answers a question that not all loops have answered yet.
    asked: bool,
    /// Its loop has ended, and it answers every question.
    last: bool,
}

/// The sum of all readings, if a question is open and every loop has answered it. It is open no more, then.
fn answer(entries: &mut [Entry]) -> Option<Reading> {
    let open = entries.iter().any(|entry| entry.asked);
    if !open || !entries.iter().all(|entry| entry.asked || entry.last) {
        return None;
    }
    for entry in &mut *entries {
        entry.asked = false;
    }
    Some(sum(entries))
}

fn sum(entries: &[Entry]) -> Reading {
    let mut sum = Reading::default();
    for entry in entries {
        sum.add(&entry.reading);
    }
    sum
}

impl Board {
    /// A board for so many loops, and for each the reporter that it is handed.
    ///
    /// With an `interval`, what changed is printed as often, for the first time one interval after `now`.
    pub fn reporters(loops: usize, interval: Option<Duration>, now: Instant) -> Vec<Reporter> {
        let board = Arc::new(Board { entries: Mutex::new(vec![Entry::default(); loops]) });
        let stats = interval.map(|interval| Stats { interval, due: now + interval, last: Counters::default() });
        let reporter = |index| Reporter { board: Arc::clone(&board), index, stats: stats.clone(), share_due: None };
        (0..loops).map(reporter).collect()
    }
}

/// What one loop reports through.
pub struct Reporter {
    board: Arc<Board>,
    index: usize,
    stats: Option<Stats>,
    /// When the board is next brought up to date for another loop's sake.
    share_due: Option<Instant>,
}

/// A line of what changed, at an interval.
#[derive(Clone)]
struct Stats {
    interval: Duration,
    due: Instant,
    last: Counters,
}

impl Reporter {
    /// The same, which brings the board up to date every [`SHARE_INTERVAL`], so that another loop can show it.
    #[must_use]
    pub fn sharing(self, now: Instant) -> Reporter {
        Reporter { share_due: Some(now), ..self }
    }

    /// When something is next due.
    pub fn deadline(&self) -> Option<Instant> {
        let line = self.stats.as_ref().map(|stats| stats.due);
        [line, self.share_due].into_iter().flatten().min()
    }

    /// Whether something is.
    pub fn is_due(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|due| due <= now)
    }

    /// Answers the question for the counters. The last loop to do so prints the sum.
    pub fn report(&self, reading: &Reading) {
        self.put(Entry { reading: *reading, asked: true, last: false });
    }

    /// Leaves the last reading of a loop that has ended, for questions that come while others still finish.
    pub fn end(&self, reading: &Reading) {
        self.put(Entry { reading: Reading { connections: 0, ..*reading }, asked: false, last: true });
    }

    /// Replaces this loop's entry; prints the sum if that was what an open question waited for.
    fn put(&self, entry: Entry) {
        let Ok(mut entries) = self.board.entries.lock() else { return };
        entries[self.index] = entry;
        let answer = answer(&mut entries);
        drop(entries);
        if let Some(sum) = answer {
            counters(&sum);
        }
    }

    /// Publishes this loop's reading, which is due; the first loop that has not ended prints what has changed in all, if
    /// that is due.
    pub fn tick(&mut self, now: Instant, reading: &Reading) {
        let published = self.publish(reading);
        if let Some(due) = self.share_due.as_mut().filter(|due| **due <= now) {
            *due = now + SHARE_INTERVAL;
        }
        let Some(stats) = self.stats.as_mut().filter(|stats| stats.due <= now) else { return };
        let elapsed = (now - stats.due + stats.interval).as_secs_f64();
        stats.due = now + stats.interval;
        let Some((sum, speaks)) = published else { return };
        if speaks {
            say(format_args!("{}", line(&stats.last, &sum.counters, sum.connections, elapsed)));
        }
        stats.last = sum.counters;
    }

    /// What all loops say: this one now, the others when they last shared it.
    pub fn sum(&self, reading: &Reading) -> Reading {
        self.publish(reading).map_or(*reading, |(sum, _)| sum)
    }

    /// Whether all other loops have ended.
    pub fn is_last(&self) -> bool {
        Arc::strong_count(&self.board) == 1
    }

    /// Puts a reading on the board. The sum of all loops' last readings, and whether this loop is the first that has not
    /// ended.
    fn publish(&self, reading: &Reading) -> Option<(Reading, bool)> {
        let mut entries = self.board.entries.lock().ok()?;
        entries[self.index].reading = *reading;
        let first = entries.iter().position(|entry| !entry.last);
        Some((sum(&entries), first == Some(self.index)))
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
        let reading = |turns, connections, unsent| Reading {
            counters: Counters { turns, ..Counters::default() },
            connections,
            unsent,
        };
        let said = |reading, asked, last| Entry { reading, asked, last };
        let mut entries = vec![said(reading(1, 5, 100), true, false), Entry::default()];
        assert_eq!(answer(&mut entries), None, "one loop is not every loop");
        entries[1] = said(reading(1, 7, 200), true, false);
        assert_eq!(answer(&mut entries), Some(reading(2, 12, 300)));
        assert_eq!(answer(&mut entries), None, "nobody has asked again");
        entries[1] = said(reading(1, 0, 0), false, true);
        assert_eq!(answer(&mut entries), None, "nobody has asked");
        entries[0] = said(reading(1, 5, 100), true, false);
        assert_eq!(answer(&mut entries), Some(reading(2, 5, 100)), "who has ended is not waited for");
    }

    #[test]
    fn a_line_moves_no_cursor_and_is_one_line() {
        assert_eq!(printable("a\r\nb\u{1b}[2J\u{7f}\u{9b}1m ß"), "a\u{fffd}\u{fffd}b\u{fffd}[2J\u{fffd}\u{fffd}1m ß");
    }

    #[test]
    fn what_another_loop_shows_is_not_older_than_the_interval() {
        let start = Instant::now();
        let mut reporters = Board::reporters(2, None, start);
        let reading = |turns| Reading { counters: Counters { turns, ..Counters::default() }, ..Reading::default() };
        let first = reporters.remove(0);
        let mut other = reporters.remove(0).sharing(start);
        assert_eq!((first.deadline(), other.deadline()), (None, Some(start)));
        other.tick(start, &reading(5));
        assert_eq!(first.sum(&reading(1)), reading(6));
        assert!(!other.is_due(start) && other.is_due(start + SHARE_INTERVAL));
        other.tick(start + SHARE_INTERVAL, &reading(7));
        assert_eq!(first.sum(&reading(2)), reading(9));
    }
}
