//! A stage: one fetch of a release by all clients of a scenario, with Phase or over plain HTTP. A run has one or more
//! stages, for instance one with Phase and one for the HTTP baseline.

mod changes;
mod client;
mod course;
mod programs;
mod state;

pub(crate) use course::StageResult;
pub(crate) use state::{Stage, Way};
