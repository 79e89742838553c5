//! DNS-SD (RFC 6763) on the local network: says which releases this node serves and hears what others say.
//!
//! Every served name is an instance of [`SERVICE_TYPE`], so that `avahi-browse _phase-image._tcp` lists it. SRV holds the
//! node's TCP port for libp2p; TXT holds `channel`, `arch`, `version`, `peer` and, if there is an HTTP endpoint,
//! `http_port`.
//!
//! ```text
//! Advert ──record──► mdns-sd, a thread of its own ◄──multicast──► mdns-sd of others
//!                        │ resolved, removed
//!                        ▼
//!                    Browser: parses, remembers a bounded number ──► LocalRelease
//! ```
//!
//! Nothing that is heard is proven: anybody on the local network can claim anything. Whoever dials learns by the
//! handshake whether the peer is the one named, and the release counts only with its signatures.
//!
//! mdns-sd remembers without bound what it hears. A task looks at it every second and ends all of DNS-SD when it is
//! too much: it is a convenience, and who floods the local network can deny it anyway.

mod browser;
mod error;
mod record;
mod release;
mod service;

pub use error::{DnsSdError, MAX_ADVERTS};
pub use release::{LocalRelease, SERVICE_TYPE};
pub use service::{DnsSd, Interfaces};
