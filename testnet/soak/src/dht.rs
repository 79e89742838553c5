//! A DHT of many real nodes in one process: event loop, Kademlia, guard and store are those that are shipped, only the
//! sockets are missing.
//!
//! ```text
//! Network ──► announce ──► look_up ──► kill ──► republish ──► look_up
//!    │           │            └── Lookup: found or not, messages, time
//!    │           └── Subject: a name, its signed pointer, who announces it
//!    └── Member: a server or client
//! ```
//!
//! The seed determines every peer id, who meets whom first, and who asks for what. What the nodes do with it takes its
//! course in real time, so that no two runs are the same in every message.

mod announce;
mod figures;
mod lookup;
mod network;

pub use crate::memory::resident_bytes;
pub use figures::{Figures, Measurement, measure};
pub use lookup::{Kind, Lookup, Summary};
pub use network::{Network, NetworkConfig, NetworkError};
