//! The libp2p node: transports, discovery, streams, and the table of known peers.
//!
//! ```text
//! NodeHandle ──commands──► event loop (owns the Swarm: dials, Kademlia, identify, streams)
//! ```
//!
//! Invariant: the event loop neither hashes nor accesses a disk. Other tasks transfer bytes, hash, and read and write
//! files.
//!
//! # Example
//!
//! One node dials another:
//!
//! ```
//! use phase_node::{Node, NodeConfig};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let listen = vec!["/ip4/127.0.0.1/tcp/0".parse()?];
//! let server = Node::start(NodeConfig { listen, ..NodeConfig::default() }).await?;
//! let addresses = server.handle().listen_addresses().await;
//!
//! let client = Node::start(NodeConfig::default()).await?;
//! client.handle().connect(server.handle().peer_id(), addresses).await?;
//! for info in client.handle().peers() {
//!     println!("{} is {}, {:?}", info.peer, info.state.as_str(), info.addresses);
//! }
//! assert!(client.handle().peers()[0].is_connected());
//!
//! client.stop().await;
//! server.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! - `dht`: the Kademlia DHT. Without this feature, every DHT query of a [`NodeHandle`] fails with [`QueryError::Off`].
//! - `dns`: host names in addresses.
//! - `mdns`: discovery of peers and releases on the local network.
//! - `memory`: addresses of nodes in the same process, for tests and benches.

// Code that only the DHT or mDNS calls is unused in a build without them.
#![cfg_attr(
    not(all(feature = "dht", feature = "mdns")),
    allow(dead_code, reason = "a build with both features still reports unused code")
)]

mod discovery;

mod address;
mod backoff;
mod behaviour;
mod command;
mod config;
mod error;
mod event_loop;
mod handle;
mod identity;
mod metrics;
mod node;
mod peer;
mod peer_table;
mod streams;
mod transport;

pub use address::{Scope, believable, reachable_from, without_peer};
pub use backoff::Backoff;
pub use config::NodeConfig;
pub use discovery::bootstrap;
pub use discovery::dht::config::{Clock, DhtConfig, Limits, Rate, Role, StoreLimits};
pub use discovery::dht::query::{
    DhtTarget, FoundProvider, FoundValue, QueryError, QueryReport, RecordStoreError, RoutingPeer,
};
pub use discovery::dht::search::Search;
#[cfg(feature = "mdns")]
pub use discovery::local_network::dns_sd;
pub use discovery::local_network::releases::Advert;
pub use error::{ConnectError, DialFailure, ListenError, NodeError, SecurityError, StreamError};
pub use handle::{CONTACT_INTERVAL, FoundRecord, NodeHandle, RecordsError, RefusedRecord};
pub use identity::{Identity, public_key_of};
pub use libp2p::{Multiaddr, PeerId, StreamProtocol};
pub use metrics::DhtStats;
pub use node::Node;
pub use peer::{PeerEvent, PeerInfo, PeerState, Source};
pub use streams::{IncomingStreams, Stream};
pub use transport::{Connections, TransportConfig, connections};
