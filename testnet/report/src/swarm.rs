//! Reports of simulated swarms.
//!
//! A [`Report`] has the figures of one simulation. A [`Run`] contains it, with its label and RNG seed. An [`Outcome`]
//! contains a run and its broken promises. A [`ScenarioOutcome`] contains the outcomes of one scenario file.
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
