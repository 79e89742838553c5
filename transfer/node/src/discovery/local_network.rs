//! The local network: what others there say they serve, and what we say.
//!
//! libp2p's mDNS finds peers; DNS-SD says what they serve, for browsers too. Without feature `mdns`, or with it
//! switched off, nobody is found.

#[cfg(feature = "mdns")]
pub mod dns_sd;
pub(crate) mod releases;
#[cfg(feature = "mdns")]
pub(crate) mod task;
