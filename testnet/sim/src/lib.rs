//! The simulator: runs a swarm, which is all nodes of a simulated testnet, in virtual time. Virtual time is simulated
//! time, which jumps from one event to the next. Every client runs the shipped
//! [`Scheduler`](phase_protocol::scheduler::Scheduler), and every node runs the shipped
//! [`UploadQueue`](phase_protocol::upload::UploadQueue). The network between the nodes is simulated.
//!
//! ```text
//! Scenario ──► Swarm ──► Report
//!               │
//!               ├── Queue   future events, in the order of virtual time
//!               └── Node    scheduler, uplink with upload queue, verified chunks
//! ```
//!
//! Invariant: a scenario, including its RNG seed, determines every event. A failure can be replayed with the same RNG
//! seed.

mod drive;
mod node;
mod promises;
mod queue;
mod run;
mod setting;
mod summary;
mod swarm;
mod topology;
mod uplink;
mod watch;

pub use promises::judge;
pub use run::run;
pub use watch::Progress;
