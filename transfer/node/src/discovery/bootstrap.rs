//! Bootstrap peers: the peers that a node dials in order to join the network.
//!
//! Flags, environment variables, a TOML file or the list embedded in the binary name the bootstrap peers. Each of them
//! may also contain URLs of peer lists, which providers serve over HTTP. A long-running node also saves its connected
//! DHT servers in a file, and dials these *remembered peers* at its next start.
//!
//! ```toml
//! [[bootstrap]]
//! peer_id = "12D3KooW…"
//! address = "/ip4/192.0.2.7/tcp/4001"
//!
//! [[bootstrap]]
//! url = "http://192.0.2.7:9464/peers"
//! ```

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
