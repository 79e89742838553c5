//! The DHT. Every build contains its commands, results and configuration. Its implementation, `kademlia`, needs the
//! feature `dht`.

pub(crate) mod command;
pub(crate) mod config;
#[cfg(feature = "dht")]
pub(crate) mod kademlia;
pub(crate) mod query;
pub(crate) mod search;
