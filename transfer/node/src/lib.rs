//! The libp2p node: transports, discovery, streams, and what is known about peers.
//!
//! ```text
//! NodeHandle ──commands──► event loop (owns the Swarm: dial, Kademlia, identify, streams)
//! ```
//!
//! Invariant: the event loop neither hashes nor touches a disk; bytes, hashing and disk have tasks of their own.

// What only the DHT or mDNS would call stays where it is in a build without them.
#![cfg_attr(
    not(all(feature = "dht", feature = "mdns")),
    allow(dead_code, reason = "a full build still finds what nothing calls")
)]

mod discovery;

mod address;
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
pub use config::NodeConfig;
pub use discovery::dht::config::{Clock, DhtConfig, Limits, Rate, Role, StoreLimits};
pub use discovery::dht::query::{
    DhtTarget, FoundProvider, FoundValue, QueryError, QueryReport, RecordStoreError, RoutingPeer,
};
pub use discovery::dht::search::Search;
pub use discovery::first_peers as bootstrap;
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
