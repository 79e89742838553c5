//! A swarm in virtual time: the shipped [`Scheduler`](phase_transfer::scheduler::Scheduler) and
//! [`UploadQueue`](phase_transfer::upload::UploadQueue) on every node, over a network that is only arithmetic.
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
//! Beside it stands [`dht`]: a DHT of real nodes in one process, in real time.

#[cfg(feature = "dht")]
pub mod dht;
#[cfg(all(feature = "netns", target_os = "linux"))]
pub mod netns;

mod node;
mod queue;
mod report;
mod scenario;
mod swarm;

pub use report::{Document, Outcome, PlotError, Report, Run, Sample, ScenarioOutcome, Table, Variant, plot};
pub use scenario::{
    Case, Change, Churn, Field, FileError, Hold, Hostile, NodeEvent, NodeRef, Rate, Scenario, ScenarioError,
    ScenarioFile, Size, When,
};
pub use swarm::{Checks, Progress, run, run_with};
