//! What the checks found, as text and as JSON. Pure: builds text; whoever calls writes it.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::difference::Difference;
use super::expected::Case;
use crate::run::exit;

/// The version of the JSON form, published as `verify.schema.json`; a change that breaks a reader gets another.
pub const SCHEMA: &str = "shout-verify/1";

/// The results of all checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Report {
    /// `shout-verify/1`.
    #[cfg_attr(test, schemars(extend("const" = SCHEMA)))]
    pub schema: String,
    /// The target as it was named.
    pub target: String,
    /// Its address.
    pub address: String,
    /// The contract it was held to.
    pub case: String,
    /// Each check, in order.
    pub checks: Vec<Finding>,
    /// How many passed.
    pub passed: usize,
    /// How many failed.
    pub failed: usize,
    /// How many could not be tried.
    pub not_run: usize,
    /// The exit code, a number: 0, or 5 if a check failed.
    pub exit: u8,
}

/// One check and its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Finding {
    /// The name of the check; it does not change between versions.
    pub name: String,
    /// What is promised, in a sentence.
    pub promise: String,
    /// What was found.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The promise was kept.
    Pass,
    /// It was not.
    Fail {
        /// What must have come.
        expected: String,
        /// What came.
        came: String,
        /// The bytes around the first difference, where bytes differ.
        #[serde(skip_serializing_if = "Option::is_none")]
        dump: Option<String>,
    },
    /// It was not tried.
    NotRun {
        /// Why not.
        why: String,
    },
}

impl Outcome {
    pub(super) fn fail(Difference { expected, came, dump }: Difference) -> Self {
        Outcome::Fail { expected, came, dump }
    }
}

impl Report {
    pub(super) fn new(target: &str, address: SocketAddr, case: Case) -> Self {
        Report {
            schema: SCHEMA.into(),
            target: target.into(),
            address: address.to_string(),
            case: case.to_string(),
            checks: Vec::new(),
            passed: 0,
            failed: 0,
            not_run: 0,
            exit: exit::DONE,
        }
    }

    pub(super) fn add(&mut self, name: &str, promise: &str, outcome: Outcome) {
        match outcome {
            Outcome::Pass => self.passed += 1,
            Outcome::Fail { .. } => {
                self.failed += 1;
                self.exit = exit::WRONG_PAYLOAD;
            }
            Outcome::NotRun { .. } => self.not_run += 1,
        }
        self.checks.push(Finding { name: name.into(), promise: promise.into(), outcome });
    }

    /// One line, for programs.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a report has string keys and whole numbers") + "\n"
    }

    /// A line for each check, and what was wrong under it, for people.
    pub fn text(&self) -> String {
        let mut text = format!("{}  at {}, --case {}\n\n", self.target, self.address, self.case);
        for Finding { name, promise, outcome } in &self.checks {
            let verdict = match outcome {
                Outcome::Pass => "PASS",
                Outcome::Fail { .. } => "FAIL",
                Outcome::NotRun { .. } => "----",
            };
            let _ = writeln!(text, "{verdict}  {name:<16} {promise}");
            match outcome {
                Outcome::Pass => {}
                Outcome::Fail { expected, came, dump } => {
                    let _ = writeln!(text, "        expected {expected}\n        came     {came}");
                    for line in dump.iter().flat_map(|dump| dump.lines()) {
                        let _ = writeln!(text, "          {line}");
                    }
                }
                Outcome::NotRun { why } => {
                    let _ = writeln!(text, "        not run: {why}");
                }
            }
        }
        let _ = write!(text, "\n{} of {} checks passed", self.passed, self.checks.len());
        if self.failed > 0 {
            let _ = write!(text, ", {} failed", self.failed);
        }
        if self.not_run > 0 {
            let _ = write!(text, ", {} could not be run", self.not_run);
        }
        text + "\n"
    }
}
