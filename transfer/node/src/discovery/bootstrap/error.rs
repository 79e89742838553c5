//! Errors from bootstrap sources and from the file of remembered peers.

use std::path::PathBuf;

use phase_core::{Fails, Failure};

use crate::discovery::bootstrap::bounds::MAX_LIST_LEN;
use crate::discovery::bootstrap::url::{PeersUrl, UrlError};

/// An error from parsing, reading or fetching bootstrap peers, or from saving remembered peers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootstrapError {
    /// The text is not a multiaddr.
    #[error("{text:?} is not a multiaddr; expected for example /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…")]
    Address {
        /// The text that was parsed.
        text: String,
        /// The error from the multiaddr parser.
        #[source]
        source: libp2p::multiaddr::Error,
    },
    /// The multiaddr has no transport, so it cannot be dialled. For example, it is only a peer id or only a host.
    #[error(
        "{0:?} contains no transport to dial; expected for example /ip4/192.0.2.7/tcp/4001 or /dnsaddr/seed.example.org"
    )]
    NoTransport(String),
    /// The text is not the URL of a peer list.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The file with the bootstrap list cannot be read.
    #[error("cannot read the bootstrap list {}", path.display())]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The I/O error.
        #[source]
        source: std::io::Error,
    },
    /// The file is longer than the maximum length of a bootstrap list.
    #[error("{} is too long: a bootstrap list has at most {} KiB", path.display(), MAX_LIST_LEN / 1024)]
    TooLong {
        /// The path of the file.
        path: PathBuf,
    },
    /// The file is not TOML, or not a bootstrap list.
    #[error(
        "{} is not a bootstrap list; expected [[bootstrap]] entries with peer_id and address, or with url",
        path.display()
    )]
    Toml {
        /// The path of the file.
        path: PathBuf,
        /// The error from the TOML parser, with its position.
        #[source]
        source: toml::de::Error,
    },
    /// A `[[bootstrap]]` entry of the file lacks a required field, or has `url` together with `peer_id` or `address`.
    #[error("{}: a [[bootstrap]] entry must have either peer_id and address, or url alone", path.display())]
    Fields {
        /// The path of the file.
        path: PathBuf,
    },
    /// The address or URL in a `[[bootstrap]]` entry of the file is invalid.
    #[error("{}: {source}", path.display())]
    Entry {
        /// The path of the file.
        path: PathBuf,
        /// The error from parsing the address or URL.
        #[source]
        source: Box<BootstrapError>,
    },
    /// The field `peer_id` of a `[[bootstrap]]` entry does not contain a peer id.
    #[error("{}: {text:?} is not a peer id; expected for example 12D3KooW…", path.display())]
    PeerId {
        /// The path of the file.
        path: PathBuf,
        /// The value of the field `peer_id`.
        text: String,
    },
    /// The fields `peer_id` and `address` of a `[[bootstrap]]` entry contain two different peer ids.
    #[error("{}: the address {text} and the peer_id of the same entry name two different peers", path.display())]
    TwoPeers {
        /// The path of the file.
        path: PathBuf,
        /// The value of the field `address`.
        text: String,
    },
    /// The peer list could not be fetched, for example because the server did not answer in time.
    #[error("cannot fetch the peer list {url}: {source}; check that a provider serves it, or name a peer by multiaddr")]
    Fetch {
        /// The URL of the list.
        url: PeersUrl,
        /// The error from the HTTP client.
        #[source]
        source: ureq::Error,
    },
    /// The server answered with an HTTP status other than 200. Redirects are not followed.
    #[error("{url} answers with HTTP status {status} instead of a peer list; use the URL of the list itself")]
    Status {
        /// The URL of the list.
        url: PeersUrl,
        /// The HTTP status of the answer.
        status: u16,
    },
    /// The fetched document is longer than the maximum length of a peer list.
    #[error(
        "{url} serves more than {} KiB, too much for a peer list; check that the URL is that of a peer list",
        MAX_LIST_LEN / 1024
    )]
    ListTooLong {
        /// The URL of the list.
        url: PeersUrl,
    },
    /// The server answered with a document that is not a peer list.
    #[error("{url} does not serve a peer list: {source}; check that a provider answers at this URL")]
    NotAList {
        /// The URL of the list.
        url: PeersUrl,
        /// The error from the JSON parser, with its position.
        #[source]
        source: serde_json::Error,
    },
    /// The file of remembered peers cannot be written.
    #[error(
        "cannot save remembered peers in {}: {source}; check that its folder exists and is writable",
        path.display()
    )]
    Remember {
        /// The path of the file.
        path: PathBuf,
        /// The I/O error.
        #[source]
        source: std::io::Error,
    },
}

impl Fails for BootstrapError {
    fn failure(&self) -> Failure {
        match self {
            Self::Address { .. } | Self::NoTransport(_) | Self::Url(_) => Failure::Usage,
            Self::Fetch { .. } | Self::Status { .. } => Failure::Network,
            Self::Remember { .. } => Failure::Store,
            _ => Failure::Input,
        }
    }
}
