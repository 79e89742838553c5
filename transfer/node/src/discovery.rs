//! Discovery: how a node finds peers, and how peers find the content that it serves.
//!
//! ```text
//! discovery
//! ├─ bootstrap        the bootstrap peers, the times of their dials, and the remembered peers
//! ├─ dht              the commands, results and configuration of the DHT; Kademlia needs the feature `dht`
//! └─ local_network    the releases on the local network; DNS-SD needs the feature `mdns`
//! ```
//!
//! [`NodeHandle`](crate::NodeHandle) uses these modules, so they must not use `NodeHandle`. A task that needs the node
//! receives a function or a trait implementation.

pub mod bootstrap;
pub(crate) mod dht;
pub(crate) mod local_network;
