//! How a node finds peers, and how peers find what it serves: the DHT, the local network, first peers.

pub mod bootstrap;
#[cfg(feature = "dht")]
pub(crate) mod dht;
pub(crate) mod dht_command;
pub(crate) mod dht_config;
#[cfg(feature = "mdns")]
pub mod dns_sd;
pub(crate) mod local_network;
pub(crate) mod records;
