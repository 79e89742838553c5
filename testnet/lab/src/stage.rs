//! A stage: one distribution of a release to all clients from start to end, with Phase or over plain HTTP.

mod changes;
mod client;
mod course;
mod programs;
mod state;

pub(crate) use course::StageResult;
pub(crate) use state::{Stage, Way};
