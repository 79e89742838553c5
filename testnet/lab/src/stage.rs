//! One distribution from its start to its end: by Phase, or over plain HTTP.

mod changes;
mod client;
mod course;
mod programs;
mod state;

pub(crate) use course::Staged;
pub(crate) use state::{Stage, Way};
