//! Scenario files. A scenario describes a testnet: its nodes, their network links, and the artifacts to publish. It
//! lists the events of the run, and the promises that must hold at the end. Both engines, the simulator and the lab,
//! read the same format.
//!
//! ```text
//! text ──► ScenarioFile ──► Case: label, Scenario ──► engine ──► figures ──► Hold::broken
//!              │                       │
//!              └── file, line, key     └── Scenario::check(Engine): ranges, order of events, features of the engine
//! ```
//!
//! Invariant: [`ScenarioFile::read`] returns only scenarios that the given engine can run.

mod bound;
mod check;
mod engine;
mod file;
mod hold;
mod location;
mod node_states;
mod prediction;
mod scenario;
mod units;
mod variant;

pub use bound::t_min;
pub use engine::{Engine, Problem};
pub use file::{Case, ScenarioFile};
pub use hold::{Hold, Promise};
pub use location::FileError;
pub use scenario::{
    Afterwards, Artifact, Change, Churn, Clients, Event, Hostile, HostileKind, Kind, Network, NodeName, Order,
    Scenario, When,
};
pub use units::{Multiple, Rate, Share, Size};
pub use variant::Variant;
