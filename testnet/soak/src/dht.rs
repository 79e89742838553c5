//! A DHT of many real nodes in one process. The event loop, Kademlia, record checks, rate limits and record store are
//! those of the product. By default the nodes are connected in memory, without sockets.
//!
//! ```text
//! Network ──► announce ──► look_up ──► kill ──► republish ──► look_up
//!    │           │            └── Lookup: whether it succeeded, its requests and its time
//!    │           └── AnnouncedName: a name, its signed pointer, the node that announces it
//!    └── DhtNode: a server or client
//! ```
//!
//! The RNG seed determines every peer id, the bootstrap peers of each node, and which node looks up which name. The
//! nodes run in real time, so two runs never exchange exactly the same messages.

mod announce;
mod figures;
mod lookup;
mod network;

pub use crate::memory::resident_bytes;
pub use figures::{Figures, Measurement, measure};
pub use lookup::{Kind, Lookup, Summary};
pub use network::{Network, NetworkConfig, NetworkError};
