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
#[cfg(feature = "mdns")]
pub mod dns_sd;
pub mod download;
pub mod server;

mod address;
mod behaviour;
mod buffers;
mod command;
mod counted;
#[cfg(feature = "dht")]
mod dht;
mod dht_command;
mod dht_config;
mod event_loop;
mod first_peers;
mod framing;
mod handle;
mod identity;
mod late_dial;
mod link;
mod lists;
mod local_network;
mod metrics;
mod node;
mod peers;
mod records;
mod streams;
mod transport;

pub use address::reachable_from;
pub use command::ConnectError;
pub use dht_command::{DhtStats, FoundProvider, FoundValue, QueryError, QueryReport, RoutingPeer, Search};
pub use dht_config::{Clock, DhtConfig, Limits, Rate, Role, StoreLimits};
pub use handle::NodeHandle;
pub use identity::{Identity, public_key_of};
pub use libp2p::{Multiaddr, PeerId, StreamProtocol};
pub use link::{HeadAnswer, LinkError, PeerLink};
pub use local_network::Advert;
pub use node::{Node, NodeConfig, NodeError};
pub use peers::{PeerEvent, PeerInfo, PeerState, Source};
pub use records::{CONTACT_INTERVAL, FoundRecord, RecordsError};
pub use streams::{IncomingStreams, Stream};
pub use transport::{Connections, TransportConfig, connections};
