//! Discovery: how a node finds peers, and how peers find the content that it serves.
//!
//! ```text
//! discovery
//! ├─ bootstrap        where bootstrap peers come from, when they are dialled; remembered peers
//! ├─ dht              commands, results, configuration; with the feature `dht` also Kademlia and its request limits
//! └─ local_network    releases served on the local network; with the feature `mdns` also DNS-SD
//! ```
//!
//! [`NodeHandle`](crate::NodeHandle) depends on these modules, so they do not use it. A task that needs the node
//! receives a function or a trait implementation instead.

pub mod bootstrap;
pub(crate) mod dht;
pub(crate) mod local_network;
