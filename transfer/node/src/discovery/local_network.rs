//! The local network: announces the releases that this node serves, and finds the releases that peers announce.
//!
//! libp2p's mDNS finds peers. DNS-SD finds the releases that these peers serve, and lets generic DNS-SD browsers list
//! them. Both need the feature `mdns` and the setting `mdns` of [`NodeConfig`](crate::NodeConfig).

#[cfg(feature = "mdns")]
pub mod dns_sd;
pub(crate) mod releases;
#[cfg(feature = "mdns")]
pub(crate) mod task;
