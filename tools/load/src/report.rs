//! What a run leaves behind. Pure: builds text and numbers; whoever calls writes them.
//!
//! [`document::Document`] is the run, as it stands in a JSON file. Everything else is drawn from it alone, so a
//! saved run can be shown again, and what the screen says is what the files say.

pub mod breakdown;
pub mod by_size;
mod closing;
pub mod crowd;
pub mod distribution;
pub mod document;
pub mod files;
pub mod hgrm;
pub mod hlog;
mod interference;
pub mod intervals;
pub mod merged;
pub mod page;
pub mod repeats;
pub mod screen;
pub mod sparkline;
pub(crate) mod table;
pub mod trust;
pub mod until;
pub mod worst;
