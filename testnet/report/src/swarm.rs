//! What simulated swarms showed.
//!
//! ```text
//! Report ──► Run ──► Outcome ──► ScenarioOutcome ──► Document   report.json
//!                      │               └───────────► plot       <name>.svg
//!                      └──► RunTable   a line each in a terminal
//! ```

mod document;
#[cfg(test)]
mod example;
mod outcome;
mod picture;
mod report;
mod table;

pub use document::Document;
pub use outcome::{Outcome, Run, ScenarioOutcome};
pub use picture::plot;
pub use report::{Report, Sample};
pub use table::RunTable;

/// The time by which a part of all has finished, if so many have. `times` are sorted.
pub fn percentile(times: &[f64], of: u32, part: f64) -> Option<f64> {
    crate::points::percentile(times, of as usize, part)
}
