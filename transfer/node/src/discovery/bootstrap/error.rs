//! What can be wrong with sources of first peers.

use std::path::PathBuf;

use phase_core::{Fails, Failure};

use crate::discovery::bootstrap::{MAX_LIST_LEN, PeersUrl};

/// Why a source of first peers cannot be used, or good peers not be remembered.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The text is no multiaddr.
    #[error("{text:?} is not a multiaddr: expected for instance /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…")]
    Address {
        /// What was given.
        text: String,
        /// What is wrong with it.
        #[source]
        source: libp2p::multiaddr::Error,
    },
    /// A peer id or host alone.
    #[error(
        "{0:?} names no transport to dial: expected for instance /ip4/192.0.2.7/tcp/4001 or /dnsaddr/seed.example.org"
    )]
    NoTransport(String),
    /// An address of a list that would need TLS.
    #[error(
        "{0:?} begins with https, which peer lists are not read over: nothing in them is trusted, whatever they lead to is \
         verified; use http:// or a multiaddr"
    )]
    Https(String),
    /// The text is no address of a list.
    #[error("{text:?} is not the address of a peer list: {reason}; expected http://<host>[:<port>]/peers")]
    Url {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that cannot be read.
    #[error("cannot read bootstrap peers from {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file of a length no list has.
    #[error("{} is too long: a bootstrap list has at most {} KiB", path.display(), MAX_LIST_LEN / 1024)]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// Not TOML, or not of the expected form.
    #[error("{} is not a list of [[bootstrap]] entries with peer_id and address, or url", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: toml::de::Error,
    },
    /// An entry that names too little or too much.
    #[error("{}: a [[bootstrap]] entry has either peer_id and address, or url alone", path.display())]
    Fields {
        /// The file.
        path: PathBuf,
    },
    /// An address or URL in a file that is none.
    #[error("{}: {source}", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// What is wrong with the entry.
        #[source]
        source: Box<BootstrapError>,
    },
    /// A `peer_id` that is none.
    #[error("{}: {text:?} is not a peer id", path.display())]
    PeerId {
        /// The file.
        path: PathBuf,
        /// What stands there.
        text: String,
    },
    /// `peer_id` and the address's `/p2p` differ.
    #[error("{}: {text} ends in another peer id than the entry's peer_id", path.display())]
    TwoPeers {
        /// The file.
        path: PathBuf,
        /// The address.
        text: String,
    },
    /// Nobody answers there, or not in time.
    #[error("cannot get the peer list {url}: {source}; see that a provider serves it, or give a peer's multiaddr")]
    Fetch {
        /// The list.
        url: PeersUrl,
        /// What went wrong.
        #[source]
        source: ureq::Error,
    },
    /// An answer other than a document.
    #[error("{url} answers with status {status} instead of a peer list; give the address of the list itself")]
    Status {
        /// The list.
        url: PeersUrl,
        /// The HTTP status.
        status: u16,
    },
    /// A document of a length no list has.
    #[error("{url} serves more than {} KiB, which no peer list has; see that it is one", MAX_LIST_LEN / 1024)]
    ListTooLong {
        /// The list.
        url: PeersUrl,
    },
    /// A document that is something else.
    #[error("{url} serves something else than a peer list: {source}; see that a provider answers there")]
    NotAList {
        /// The list.
        url: PeersUrl,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// The file of remembered peers cannot be written.
    #[error("cannot remember peers in {}: {source}; see that its folder exists and is writable", path.display())]
    Remember {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Fails for BootstrapError {
    fn failure(&self) -> Failure {
        match self {
            Self::Address { .. } | Self::NoTransport(_) | Self::Https(_) | Self::Url { .. } => Failure::Usage,
            Self::Fetch { .. } | Self::Status { .. } => Failure::Network,
            Self::Remember { .. } => Failure::Store,
            _ => Failure::Input,
        }
    }
}
