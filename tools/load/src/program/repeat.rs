//! `--repeat`: a plan as several whole runs, each shown as it ends, and what they differ by. Does I/O.

use std::process::ExitCode;

use super::{Job, print, with_suffix, write};
use crate::cli::Output;
use crate::gates::{self, Gates};
use crate::plan::Plan;
use crate::progress::{Outlet, View};
use crate::recorder::histogram;
use crate::repeats::{self, FEWEST};
use crate::report::document::Document;
use crate::report::files;
use crate::report::repeats::{Repeats, row};
use crate::run::Failure;

impl Job {
    /// Makes the runs of a plan. A run that was interrupted or that failed is not counted, and ends them; what the others
    /// differ by is said all the same. `Err` is the exit code of a program that cannot go on.
    pub(super) fn repeat(&self, index: usize, gates: &Gates, times: u64) -> Result<u8, ExitCode> {
        let plan = &self.plans[index];
        let (mut response, mut values) = (histogram(), Vec::new());
        let mut all: Option<Repeats> = None;
        let mut failure: Option<Failure> = None;
        for (place, seed) in repeats::seeds(plan.seed, times).into_iter().enumerate() {
            let view = View::new(plan, Outlet::of_stderr(self.options.quiet)).numbered(place + 1, times);
            let mut run = match self.measure(&Plan { seed, ..plan.clone() }, view) {
                Ok(run) if run.time.interrupted => break,
                Ok(run) => run,
                Err(why) => {
                    failure = Some(why);
                    break;
                }
            };
            run.exit = run.exit.max(gates::alone(gates, &run));
            values.push(gates::values(gates, &run));
            if let Some(own) = run.latency.response.histogram() {
                response.add(own).expect("all histograms have the same bounds");
            }
            let is_first = all.is_none();
            let all = all.get_or_insert_with(|| Repeats::new(&run, plan.seed, times));
            all.push(&run);
            self.show_run(index, all, &run, is_first)?;
        }
        let code = match &mut all {
            None => 0,
            Some(all) => {
                all.finish(&response);
                if all.runs.len() as u64 == times {
                    gates::apply_to_all(gates, &values, all);
                }
                self.show_all(index, all)?;
                all.exit
            }
        };
        match failure {
            Some(failure) => Err(self.failed(&failure)),
            None => Ok(code),
        }
    }

    /// Shows and writes a run that has just ended.
    fn show_run(&self, index: usize, all: &Repeats, run: &Document, is_first: bool) -> Result<(), ExitCode> {
        let number = all.runs.len();
        for Output { path, format } in &self.options.output {
            let path = with_suffix(&self.path_of(path, index), &number.to_string());
            write(&path, &files::contents(*format, run))?;
        }
        let text = match (self.options.json, all.runs.last()) {
            (true, _) | (false, None) => files::json(run) + "\n",
            (false, Some(last)) => (if is_first { all.head() } else { String::new() }) + &row(number, last),
        };
        print(&text, all.exit)
    }

    /// Shows and writes what the runs differ by.
    fn show_all(&self, index: usize, all: &Repeats) -> Result<(), ExitCode> {
        if all.runs.len() as u64 >= FEWEST {
            for Output { path, format } in &self.options.output {
                if let Some(contents) = files::of_repeats(*format, all) {
                    write(&self.path_of(path, index), &contents)?;
                }
            }
        }
        let text = if self.options.json {
            files::json(all) + "\n"
        } else {
            all.closing() + &self.written_by_all(index, all) + self.gap_after(index)
        };
        print(&text, all.exit)
    }

    /// The line of the screen that names the files.
    fn written_by_all(&self, index: usize, all: &Repeats) -> String {
        let number = all.runs.len();
        let names = self.options.output.iter().map(|Output { path, format }| {
            let path = self.path_of(path, index);
            let (first, last) = (with_suffix(&path, "1"), with_suffix(&path, &number.to_string()));
            let each = format!("{} .. {}", first.display(), last.display());
            let has_whole = number as u64 >= FEWEST && files::of_repeats(*format, all).is_some();
            if has_whole { format!("{}  {each}", path.display()) } else { each }
        });
        let names: Vec<String> = names.collect();
        if names.is_empty() { String::new() } else { format!("  wrote {}\n", names.join("  ")) }
    }
}
