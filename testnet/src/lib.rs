//! A swarm in virtual time: the shipped [`Scheduler`](phase_protocol::scheduler::Scheduler) and
//! [`UploadQueue`](phase_protocol::upload::UploadQueue) on every node, over a network that is only arithmetic.
//!
//! ```text
//! Scenario ──► Swarm ──► Report
//!               │
//!               ├── Queue   what happens next, in virtual time
//!               └── Node    scheduler, upload queue, uplink, what it has
//! ```
//!
//! Invariant: a scenario, its seed included, determines every event. A failure is replayed by its seed.
//!
//! Beside it stand, of real nodes in one process and in real time, [`dht`]: a DHT, and [`soak`]: load and trouble for as long as
//! one likes.

#[cfg(feature = "dht")]
pub mod dht;
pub mod docker;
#[cfg(feature = "soak")]
pub mod soak;

mod node;
mod publisher;
mod queue;
mod report;
mod scenario;
mod swarm;
mod uplink;

pub use report::{Document, Outcome, Promises, Report, Run, RunTable, Sample, ScenarioOutcome, Variant, plot};
pub use scenario::{
    Case, Change, Churn, Field, FileError, Hold, Hostile, NodeEvent, NodeRef, Rate, Scenario, ScenarioError,
    ScenarioFile, Size, When,
};
pub use swarm::{Checks, Progress, run, run_with};
