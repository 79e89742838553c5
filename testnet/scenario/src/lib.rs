//! Scenario files: which nodes there are, behind which links, what is published, what happens to nodes, and what must hold in
//! the end. One language for both engines, the simulator and networks of containers.
//!
//! ```text
//! text ──► ScenarioFile ──► Case: label, Scenario ──► an engine ──► figures ──► Hold::broken
//!              │                       │
//!              └── file, line, key     └── Scenario::check(Engine): ranges, order of events, what an engine lacks
//! ```
//!
//! Invariant: a scenario of a file that was read for an engine can be run by that engine.

mod bound;
mod check;
mod engine;
mod file;
mod hold;
mod lives;
mod place;
mod prediction;
mod scenario;
mod units;
mod variant;

pub use bound::t_min;
pub use engine::{Engine, Problem};
pub use file::{Case, ScenarioFile};
pub use hold::{Hold, Promise};
pub use place::FileError;
pub use scenario::{
    Afterwards, Artifact, Change, Churn, Clients, Event, Harm, Hostile, Kind, Network, NodeName, Order, Scenario, When,
};
pub use units::{Multiple, Rate, Share, Size};
pub use variant::Variant;
