//! The DHT. Every build contains its commands, results and configuration. Only builds with the feature `dht` contain
//! Kademlia itself.

pub(crate) mod command;
pub(crate) mod config;
#[cfg(feature = "dht")]
pub(crate) mod kademlia;
pub(crate) mod query;
pub(crate) mod search;
