//! How a run goes, while it goes: a view that is redrawn in place on a terminal, and plain lines elsewhere. Asks the
//! terminal for its height; otherwise pure: what to write is returned.
//!
//! ```text
//! udp://127.0.0.1:12000  3 of 10 s, 7 s left  49,987 replies/s  lost 0 (0%)
//!   p50 ▁▁▃ 41.2 us  p99 212.4 us
//!          20 .. 50         41,201  82.412%  ██████████████████████████████
//!          50 .. 100         8,793  17.588%  ██████▍
//! ```

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use crate::clock::{Nanos, SECOND};
use crate::intervals::Interval;
use crate::plan::{Plan, nanos};
use crate::report::distribution;
use crate::report::screen::{count, micros, per_second, percent};
use crate::report::sparkline::sparkline;
use crate::report::until::percent as percent_of;
use crate::run::{Part, Progress};

/// A terminal is redrawn five times a second.
const REDRAW: Nanos = SECOND / 5;

/// Elsewhere a line is written this often: a log of an hour has a few hundred.
const LINE: Nanos = 10 * SECOND;

/// Intervals whose medians are drawn: the line fits a terminal of a hundred columns and some.
const MEDIANS: usize = 12;

/// Rows of the histogram, and cells of its longest bar. With its numbers it fits eighty columns.
const MOST_ROWS: usize = 12;
const BAR_CELLS: usize = 30;

/// Without this a line longer than the terminal is wide becomes two, and the place to redraw at is lost.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

/// Where the view goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlet {
    /// Nowhere.
    Quiet,
    /// To a file or a pipe.
    Lines,
    /// To a terminal that has room for so many rows of a histogram.
    Terminal {
        /// How many.
        rows: usize,
    },
}

impl Outlet {
    /// What standard error is.
    pub fn of_stderr(is_quiet: bool) -> Self {
        let stderr = io::stderr();
        if is_quiet {
            return Outlet::Quiet;
        }
        if !stderr.is_terminal() {
            return Outlet::Lines;
        }
        // Two rows for the lines above the histogram, and one for the cursor of whoever types meanwhile.
        let height = rustix::termios::tcgetwinsize(&stderr).map_or(0, |size| usize::from(size.ws_row));
        Outlet::Terminal { rows: if height == 0 { MOST_ROWS } else { height.saturating_sub(3).min(MOST_ROWS) } }
    }
}

/// The view of one run.
#[derive(Debug)]
pub struct View {
    outlet: Outlet,
    name: String,
    duration: Option<Nanos>,
    /// Whether the run may end long before that.
    is_open: bool,
    messages: Option<u64>,
    /// Whose latencies are shown, where not everybody's are.
    whose: &'static str,
    part: Option<Part>,
    written_at: Nanos,
    /// How many intervals there have been, and what is shown of the latest of them.
    seen: u64,
    medians: VecDeque<Option<Nanos>>,
    latest: String,
    histogram: Vec<String>,
    /// Lines on the terminal below the first one.
    below: usize,
}

impl View {
    /// Of a run of this plan.
    pub fn new(plan: &Plan, outlet: Outlet) -> Self {
        View {
            outlet,
            name: plan.target.to_string(),
            duration: plan.duration.map(nanos),
            is_open: plan.until.is_some(),
            messages: plan.messages,
            // Adding histograms up takes time that the generator, whose thread this is, does not have.
            whose: if plan.threads > 1 { " (first thread)" } else { "" },
            part: None,
            written_at: 0,
            seen: 0,
            medians: VecDeque::with_capacity(MEDIANS + 1),
            latest: String::new(),
            histogram: Vec::new(),
            below: 0,
        }
    }

    /// Of one of several such runs, counted from 1.
    #[must_use]
    pub fn numbered(mut self, number: usize, of: u64) -> Self {
        self.name = format!("run {number} of {of}  {}", self.name);
        self
    }

    /// What to write now; empty if nothing.
    pub fn update(&mut self, progress: &Progress) -> String {
        if self.outlet == Outlet::Quiet {
            return String::new();
        }
        let is_new_part =
            self.part.map(|part| std::mem::discriminant(&part)) != Some(std::mem::discriminant(&progress.part));
        if is_new_part {
            (self.part, self.written_at) = (Some(progress.part), 0);
        }
        if let Some((number, interval)) = progress.latest.filter(|(number, _)| *number > self.seen) {
            self.note(number, interval);
        }
        let since = progress.elapsed.saturating_sub(self.written_at);
        match self.outlet {
            Outlet::Quiet => String::new(),
            Outlet::Lines if since < LINE => String::new(),
            Outlet::Terminal { .. } if since < REDRAW => String::new(),
            Outlet::Lines => {
                self.written_at = progress.elapsed;
                self.line(progress) + "\n"
            }
            Outlet::Terminal { .. } => {
                self.written_at = progress.elapsed;
                let mut text = self.end() + NO_WRAP + &self.line(progress);
                for row in &self.histogram {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "\n{row}");
                }
                self.below = self.histogram.len();
                text + WRAP
            }
        }
    }

    /// What leaves the terminal as it was.
    pub fn end(&mut self) -> String {
        match (self.outlet, std::mem::take(&mut self.below)) {
            (Outlet::Quiet | Outlet::Lines, _) => String::new(),
            (Outlet::Terminal { .. }, 0) => "\r\x1b[J".into(),
            (Outlet::Terminal { .. }, below) => format!("\r\x1b[{below}A\x1b[J"),
        }
    }

    /// Notes an interval that has ended since the last time.
    fn note(&mut self, number: u64, interval: &Interval) {
        self.seen = number;
        self.medians.push_back(interval.quantiles.map(|(p50, _)| p50));
        if self.medians.len() > MEDIANS {
            self.medians.pop_front();
        }
        let Some((p50, p99)) = interval.quantiles else { return };
        let whose = self.whose;
        match self.outlet {
            Outlet::Quiet => {}
            Outlet::Lines => self.latest = format!("  p50 {} us  p99 {} us{whose}", micros(p50), micros(p99)),
            Outlet::Terminal { rows } => {
                let medians = sparkline(self.medians.iter().copied());
                // On a line of its own: behind the other it would be cut off on a hundred columns.
                self.histogram = vec![format!("  p50 {medians} {} us  p99 {} us{whose}", micros(p50), micros(p99))];
                self.histogram.extend(distribution::rows(&interval.response.histogram(), rows, BAR_CELLS));
            }
        }
    }

    fn line(&self, progress: &Progress) -> String {
        let Progress { part, elapsed, totals, .. } = *progress;
        let mut line = format!("{}  ", self.name);
        let at = match part {
            Part::Opening { open, of } => return line + &format!("{open} of {of} connections open"),
            Part::Waiting { left } => return line + &format!("begins in {} s", left.div_ceil(SECOND)),
            Part::Apart { done, of } => {
                return line + &format!("each transport alone and both together: {done} of {of} parts");
            }
            Part::WarmUp => "warming up".into(),
            Part::Measurement => self.course(elapsed, totals.sent) + &known(progress),
        };
        let rate = count(per_second(totals.replied, elapsed));
        // Writing to a String cannot fail.
        let _ =
            write!(line, "{at}  {rate} replies/s  lost {} ({})", count(totals.lost), percent(totals.lost, totals.sent));
        if totals.wrong_answers > 0 {
            let _ = write!(line, "  WRONG {}", count(totals.wrong_answers));
        }
        line + &self.latest
    }

    /// How far the measurement is, and how long it will still take: what ends first counts.
    fn course(&self, elapsed: Nanos, sent: u64) -> String {
        let seconds = |nanos: Nanos| nanos / SECOND;
        let by_time = self.duration.map(|whole| whole.saturating_sub(elapsed));
        let by_messages = self.messages.filter(|_| sent > 0).map(|messages| {
            let share = messages.saturating_sub(sent) as f64 / sent as f64;
            (share * elapsed as f64) as Nanos
        });
        let left = by_time.into_iter().chain(by_messages).min().filter(|_| !self.is_open);
        let left = left.map_or_else(String::new, |left| format!(", {} s left", left.div_ceil(SECOND)));
        let whole = self.duration.map_or_else(String::new, |whole| {
            let most = if self.is_open { "at most " } else { "" };
            format!(" of {most}{}", seconds(whole))
        });
        format!("{}{whole} s{left}", seconds(elapsed))
    }
}

/// How closely a percentile is known so far, where the run goes on until it is.
fn known(progress: &Progress) -> String {
    let Some((goal, look)) = progress.look else { return String::new() };
    let width = look.and_then(|look| look.width).map_or_else(|| "?".into(), percent_of);
    format!(", p{} ±{width} of ±{}", goal.percentile, percent_of(goal.width))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Totals;
    use crate::recorder::Recorder;

    fn view(outlet: Outlet, arguments: &[&str]) -> View {
        let arguments = ["shout-load", "udp://127.0.0.1:1"].iter().chain(arguments).map(Into::into);
        let Ok(crate::cli::Command::Run(options)) = crate::cli::read(arguments) else { panic!("not a run") };
        let target = options.target.clone().unwrap();
        View::new(&options.plan(target, false, 1).unwrap(), outlet)
    }

    /// An interval with a reply after 41 us and one after 3 ms.
    fn interval() -> Interval {
        let mut recorder = Recorder::default();
        for latency in [41_000, 3_000_000] {
            recorder.replied(crate::ledger::Flight::default(), 64, latency);
        }
        let mut intervals = crate::intervals::Intervals::new(SECOND);
        intervals.end(SECOND, crate::intervals::Flow { replied: 2, ..Default::default() }, [&recorder].into_iter());
        intervals.closed()[0].clone()
    }

    fn at(seconds: u64, sent: u64, latest: Option<(u64, &Interval)>) -> Progress<'_> {
        let totals = Totals { sent, replied: sent - 2, lost: 2, ..Totals::default() };
        Progress { part: Part::Measurement, elapsed: seconds * SECOND, totals, latest, look: None }
    }

    #[test]
    fn off_a_terminal_there_is_a_plain_line_every_ten_seconds() {
        let interval = interval();
        let mut view = view(Outlet::Lines, &["-d", "60s"]);
        let texts = (0..=25).map(|second| view.update(&at(second, 1000 + second, Some((second, &interval)))));
        let lines: Vec<String> = texts.filter(|text| !text.is_empty()).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        let expected =
            "udp://127.0.0.1:1  20 of 60 s, 40 s left  51 replies/s  lost 2 (0.196%)  p50 41.0 us  p99 3,000.3 us\n";
        assert_eq!(lines[1], expected);
        let mut view = self::view(Outlet::Lines, &["-d", "60s"]).numbered(2, 5);
        assert!(view.update(&at(20, 1000, None)).starts_with("run 2 of 5  udp://127.0.0.1:1  20 of 60 s"));
        assert_eq!(view.end(), "");
    }

    #[test]
    fn the_latencies_of_one_thread_of_several_are_said_to_be_that() {
        let interval = interval();
        for outlet in [Outlet::Lines, Outlet::Terminal { rows: 9 }] {
            for (threads, is_said) in [("1", false), ("2", true)] {
                let mut view = view(outlet, &["-d", "60s", "-t", threads]);
                let text = view.update(&at(20, 1000, Some((1, &interval))));
                assert_eq!(text.contains("p99 3,000.3 us (first thread)"), is_said, "{text}");
            }
        }
    }

    #[test]
    fn a_terminal_is_redrawn_in_place_and_left_clean() {
        let interval = interval();
        let mut view = view(Outlet::Terminal { rows: 9 }, &["-d", "60s"]);
        assert!(view.update(&at(1, 1000, None)).starts_with("\r\x1b[J\x1b[?7ludp://"));
        let drawn = view.update(&at(2, 1000, Some((1, &interval))));
        let rows = drawn.matches('\n').count();
        assert!((3..=10).contains(&rows) && drawn.contains("20 .. 50") && drawn.ends_with(WRAP), "{drawn:?}");
        let again = view.update(&at(3, 1000, Some((1, &interval))));
        assert!(again.starts_with(&format!("\r\x1b[{rows}A\x1b[J")), "{again:?}");
        assert_eq!(view.end(), format!("\r\x1b[{rows}A\x1b[J"));
        assert_eq!(view.update(&at(3, 1000, Some((1, &interval)))), "", "too soon");
    }

    #[test]
    fn whichever_ends_first_says_how_long_it_takes() {
        let left = |arguments: &[&str]| view(Outlet::Lines, arguments).course(10 * SECOND, 1000);
        assert_eq!(left(&["-d", "60s"]), "10 of 60 s, 50 s left");
        assert_eq!(left(&["-n", "4000"]), "10 s, 30 s left");
        assert_eq!(left(&["-n", "4000", "-d", "15s"]), "10 of 15 s, 5 s left");
    }

    #[test]
    fn a_run_without_an_end_says_how_closely_it_knows_what_it_is_for() {
        let arguments = ["--until", "p99±2%", "--max-duration", "60s"];
        let goal = "p99±2%".parse().unwrap();
        let look = crate::until::Look {
            elapsed: 0,
            value: 1,
            interval: (None, None),
            width: Some(0.034),
            size: 1.0,
            is_tight: false,
        };
        for (look, known) in [(None, "±?"), (Some(look), "±3.4%")] {
            let mut view = view(Outlet::Lines, &arguments);
            let text = view.update(&Progress { look: Some((goal, look)), ..at(20, 1000, None) });
            assert!(text.contains(&format!("  20 of at most 60 s, p99 {known} of ±2%  ")), "{text}");
        }
    }

    #[test]
    fn who_asked_for_quiet_gets_it() {
        let mut view = view(Outlet::Quiet, &["-d", "60s"]);
        assert_eq!(view.update(&at(30, 1000, None)) + &view.end(), "");
    }
}
