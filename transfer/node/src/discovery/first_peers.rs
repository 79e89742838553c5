//! Where the first peers come from: those that are given, a TOML file, the list embedded in the binary; each of them may
//! also name lists that others serve over HTTP. A node that stays remembers good peers across restarts besides.
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
pub(crate) mod meetings;
mod peer_list;
mod remembered;
mod source;
mod url;

pub use choice::{DEFAULT_FILE, choose};
pub use error::BootstrapError;
pub use keeper::RememberedPeersKeeper;
pub use peer_list::{fetch_list, peers_document};
pub use remembered::RememberedPeers;
pub use source::{BootstrapPeer, BootstrapSource};
pub use url::{PeersUrl, UrlError};
