//! How Phase moves chunks: the wire protocol, the download scheduler and the upload queue, all without I/O; with feature
//! `net` also the libp2p node and the drivers around them; with feature `cli` what the command lines share.

#[cfg(feature = "cli")]
pub mod cli;
// What only the DHT or mDNS would call stays where it is in a build without them.
#[cfg_attr(
    not(all(feature = "dht", feature = "mdns")),
    allow(dead_code, reason = "a full build still finds what nothing calls")
)]
#[cfg(feature = "net")]
pub mod net;
pub mod peer;
pub mod reports;
pub mod scheduler;
pub mod upload;
pub mod wire;
