//! How a node finds peers, and how peers find what it serves: the DHT, the local network, first peers.
//!
//! ```text
//! discovery
//! ├─ dht              questions and answers, configuration; with feature `dht` Kademlia behind a guard
//! ├─ local_network    what is served there; with feature `mdns` DNS-SD
//! └─ first_peers      where they come from, when they are dialled, and those that are remembered
//! ```
//!
//! Nothing here knows [`NodeHandle`](crate::NodeHandle). A task that needs something of the node gets it as a function or trait.

pub(crate) mod dht;
pub mod first_peers;
pub(crate) mod local_network;
