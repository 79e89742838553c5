//! Runs scenarios with real nodes in containers. Each container has its own address and a limited network link.
//!
//! ```text
//! ScenarioFile ──► experiment ──► Record ──► phase-report: summary, pictures, index
//!                    │
//!                    ├── Lab     the image, network and folder of a run on this machine, and their removal
//!                    └── Stage   one fetch by all clients: with Phase, undisturbed, or over HTTP
//!                          └── Node    a container: its program, its network link, its output, its resources
//! ```
//!
//! Invariant: everything that a run creates in Docker has the label of that run, and the lab never changes anything
//! without the label.

mod console;
mod engine;
mod error;
mod experiment;
mod lab;
mod link;
mod node;
mod observe;
mod promises;
mod relay;
mod release;
mod stage;

pub use console::{Console, show};
pub use error::LabError;
pub use experiment::{Options, run, up};
pub use lab::{reap, take_down};
pub use release::publish;
