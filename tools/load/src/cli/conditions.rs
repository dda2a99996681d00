//! The flags about what a run must meet. Pure, but for the baseline that is read.

use std::path::PathBuf;

use clap::Args;

use crate::gates::{self, Gates, Objective, Standing};
use crate::saved;

/// What a run is held against.
#[derive(Debug, Clone, Args)]
pub struct Conditions {
    /// A condition that the run must meet, such as "p99<2ms", "loss<0.1%", "rate>49k", "errors=0" or "lag<100us"; may be
    /// repeated. Percentiles and max count what was lost or never sent as infinitely slow. Exit code 3 if it is not met,
    /// 4 if the measurement is invalid
    #[arg(long, value_name = "CONDITION")]
    pub slo: Vec<Objective>,

    /// An earlier result (.json or .html), of one run or of several: the run must not be worse in p50, p99 and rate
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,

    /// By how much it may be worse than the baseline
    #[arg(long, value_name = "SHARE", value_parser = gates::share, default_value = "5%", requires = "baseline")]
    pub max_regress: f64,

    /// Exit code 4 unless the measurement is valid beyond doubt
    #[arg(long)]
    pub strict: bool,
}

impl Conditions {
    /// The gates of a run whose baseline is where `path_of` says. `Err` says why the baseline cannot be read.
    pub fn gates(&self, path_of: impl Fn(&PathBuf) -> PathBuf) -> Result<Gates, String> {
        let read = |path: &PathBuf| {
            let kept = saved::read_any(&path_of(path)).map_err(|line| format!("no baseline: {line}"))?;
            Ok::<_, String>((Standing::of(&kept), self.max_regress))
        };
        let baseline = self.baseline.as_ref().map(read).transpose()?;
        Ok(Gates { objectives: self.slo.clone(), baseline, is_strict: self.strict })
    }
}
