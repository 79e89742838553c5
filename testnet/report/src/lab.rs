//! Reports of scenarios that were run in containers.
//!
//! ```text
//! Record ──► write ──► <dir>/report.json      all measurements
//!                      <dir>/summary.md       tables
//!                      <dir>/completion.svg … five pictures of each run
//!
//! <dir>/*/report.json ──► read_all ──► write_index ──► <dir>/index.html
//! ```

#[cfg(test)]
mod example;
mod figures;
mod folder;
mod pages;
mod pictures;
pub mod record;
mod series;

pub use figures::overview;
pub use folder::{FolderError, INDEX, REPORT, SUMMARY, Scenario, read_all, write, write_index};
