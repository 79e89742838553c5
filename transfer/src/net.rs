//! The libp2p node and the drivers around the sans-io state machines.
//!
//! ```text
//! NodeHandle ──commands──► event loop (owns the Swarm: dial, Kademlia, identify)
//!     │
//!     ├── Server    accepts streams, answers from a Catalog, asks UploadQueue whose turn it is
//!     ├── PeerLink  one stream to one peer: requests out, replies in
//!     └── Download  feeds Scheduler with what the links report, carries out its actions
//! ```
//!
//! Invariant: the event loop neither hashes nor touches a disk; bytes, hashing and disk have tasks of their own.

pub mod bootstrap;
pub mod catalog;
pub mod download;
pub mod server;

mod behaviour;
mod command;
mod event_loop;
mod framing;
mod late_dial;
mod link;
mod node;
mod queries;
mod records;
mod streams;

pub use behaviour::{PROVIDER_TTL, Role};
pub use command::{ConnectError, QueryError};
pub use libp2p::{Multiaddr, PeerId, Stream};
pub use link::{HeadAnswer, LinkError, PeerLink};
pub use node::{Identity, Node, NodeConfig, NodeError, NodeHandle};
pub use streams::IncomingStreams;
