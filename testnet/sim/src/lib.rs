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
//! Invariant: a scenario, its RNG seed included, determines every event. A failure is replayed by its seed.

mod drive;
mod members;
mod node;
mod promises;
mod queue;
mod run;
mod setting;
mod summary;
mod swarm;
mod uplink;
mod watch;

pub use promises::judge;
pub use run::run;
pub use watch::Progress;
