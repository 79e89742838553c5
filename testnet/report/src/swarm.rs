//! Reports of simulated swarms.
//!
//! ```text
//! Report ──► Run ──► Outcome ──► ScenarioOutcome ──► to_json   report.json
//!                      │               └───────────► plot      <name>.svg
//!                      └──► RunTable   one row for each run, in a terminal
//! ```

mod document;
#[cfg(test)]
mod example;
mod outcome;
mod picture;
mod report;
mod table;

pub use document::to_json;
pub use outcome::{Outcome, Run, ScenarioOutcome};
pub use picture::plot;
pub use report::{Report, Sample};
pub use table::RunTable;

pub use crate::points::percentile;
