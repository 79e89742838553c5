//! DNS-SD (RFC 6763) on the local network: announces the releases that this node serves, and finds the releases that
//! peers serve.
//!
//! Every advert is one service instance of type [`SERVICE_TYPE`], so that `avahi-browse _phase-image._tcp` lists it.
//! The SRV record of the instance holds the TCP port on which the node accepts libp2p connections. The TXT record holds
//! `channel`, `arch`, `version`, `peer` and, if the node has an HTTP endpoint, `http_port`.
//!
//! ```text
//! Advert ──record──► mdns-sd (its own thread) ◄──multicast──► mdns-sd of peers
//!                        │ resolved, removed
//!                        ▼
//!                    Browser: parses and deduplicates a bounded number ──► LocalRelease
//! ```
//!
//! An announcement is not verified: any host on the local network can announce anything. Later, the handshake of a
//! connection proves the peer id. A release is used only if its signatures verify.
//!
//! The cache of mdns-sd has no bound. So a task checks its size every second, and ends DNS-SD if the cache is too
//! large. A node works without DNS-SD.

mod browser;
mod error;
mod record;
mod release;
mod service;

pub use error::{DnsSdError, MAX_ADVERTS};
pub use release::{LocalRelease, SERVICE_TYPE};
pub use service::{DnsSd, Interfaces};
