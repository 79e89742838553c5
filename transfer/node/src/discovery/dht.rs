//! The DHT. What it can be asked and what it answers is in every build; Kademlia itself only with feature `dht`.

pub(crate) mod command;
pub(crate) mod config;
#[cfg(feature = "dht")]
pub(crate) mod kademlia;
pub(crate) mod query;
pub(crate) mod search;
