//! Bootstrap peers: the peers that a node dials in order to join the network.
//!
//! The user names bootstrap peers with flags, with environment variables or in a TOML file. If the user names none, the
//! list that is embedded in the binary is used. The user may also name the URL of a peer list, which a provider serves
//! over HTTP. This TOML file names a peer and a peer list:
//!
//! ```toml
//! [[bootstrap]]
//! peer_id = "12D3KooW…"
//! address = "/ip4/192.0.2.7/tcp/4001"
//!
//! [[bootstrap]]
//! url = "http://192.0.2.7:9464/peers"
//! ```
//!
//! A long-running node saves its connected DHT servers in a file. It dials these *remembered peers* at its next start.

mod bounds;
mod choice;
pub(crate) mod dial_schedule;
mod error;
mod file;
mod keeper;
pub(crate) mod list_fetcher;
mod peer_list;
mod remembered;
mod source;
pub(crate) mod unnamed_dials;
mod url;

pub use choice::{DEFAULT_FILE, choose};
pub use error::BootstrapError;
pub use keeper::RememberedPeersKeeper;
pub use peer_list::{fetch_list, peers_document};
pub use remembered::RememberedPeers;
pub use source::{BootstrapPeer, BootstrapSource};
pub use url::{PeersUrl, UrlError};
