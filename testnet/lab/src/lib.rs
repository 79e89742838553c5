//! Real nodes in containers, with addresses of their own and limited links.
//!
//! ```text
//! ScenarioFile ──► experiment ──► Record ──► phase-report: summary, pictures, index
//!                    │
//!                    ├── Lab     what is made on this machine: image, network, folder; and how it goes again
//!                    └── Stage   one distribution from start to end: by Phase, undisturbed, over HTTP
//!                          └── Node    a container: its program, its link, what it prints and uses
//! ```
//!
//! Invariant: whatever is made has the label of its run, and nothing without that label is ever touched.

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
