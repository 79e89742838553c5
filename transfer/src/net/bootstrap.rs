//! Where the first peers come from: those that are given, a TOML file, the list embedded in the binary.
//!
//! ```toml
//! [[bootstrap]]
//! peer_id = "12D3KooW…"
//! address = "/ip4/192.0.2.7/tcp/4001"
//! ```

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// The list that is used when no other source names a peer. Whoever builds binaries for a network of their own
/// fills in this file.
const EMBEDDED: &str = include_str!("../../bootstrap-nodes.toml");
/// The name looked for in the working directory when no file is given.
pub const DEFAULT_FILE: &str = "bootstrap-nodes.toml";
/// Bootstrap peers that are used; more add nothing but dials.
const MAX_PEERS: usize = 64;
/// The longest bootstrap file that is read, in bytes.
const MAX_FILE_LEN: u64 = 256 * 1024;

/// A first peer to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapPeer {
    /// Who must answer there; `None` accepts whoever does.
    pub peer: Option<PeerId>,
    /// Where, without `/p2p`.
    pub address: Multiaddr,
}

impl FromStr for BootstrapPeer {
    type Err = BootstrapError;

    /// Parses a multiaddr, with or without `/p2p/<peer id>` at its end.
    fn from_str(text: &str) -> Result<Self, BootstrapError> {
        let mut address: Multiaddr =
            text.parse().map_err(|source| BootstrapError::Address { text: text.to_owned(), source })?;
        let peer = match address.iter().last() {
            Some(Protocol::P2p(peer)) => {
                address.pop();
                Some(peer)
            }
            _ => None,
        };
        if address.is_empty() {
            return Err(BootstrapError::NoTransport(text.to_owned()));
        }
        Ok(Self { peer, address })
    }
}

impl fmt::Display for BootstrapPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peer {
            Some(peer) => write!(f, "{}/p2p/{peer}", self.address),
            None => write!(f, "{}", self.address),
        }
    }
}

/// The bootstrap peers to use: `given` if there are any, else those of `file` (or of [`DEFAULT_FILE`] in the working
/// directory, if it exists), else the embedded ones.
///
/// # Errors
/// A file that was named but cannot be read, or any list that is malformed.
pub fn choose(given: &[BootstrapPeer], file: Option<&Path>) -> Result<Vec<BootstrapPeer>, BootstrapError> {
    if !given.is_empty() {
        return Ok(given.iter().take(MAX_PEERS).cloned().collect());
    }
    let default = Path::new(DEFAULT_FILE);
    match file {
        Some(path) => read(path),
        None if default.is_file() => read(default),
        None => parse(EMBEDDED, Path::new("the embedded list")),
    }
}

fn read(path: &Path) -> Result<Vec<BootstrapPeer>, BootstrapError> {
    let unreadable = |source| BootstrapError::Read { path: path.to_owned(), source };
    let len = std::fs::metadata(path).map_err(unreadable)?.len();
    if len > MAX_FILE_LEN {
        return Err(BootstrapError::TooLong { path: path.to_owned(), len });
    }
    parse(&std::fs::read_to_string(path).map_err(unreadable)?, path)
}

fn parse(text: &str, path: &Path) -> Result<Vec<BootstrapPeer>, BootstrapError> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        bootstrap: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Entry {
        peer_id: String,
        address: String,
    }
    let file: File = toml::from_str(text).map_err(|source| BootstrapError::Toml { path: path.to_owned(), source })?;
    let peers = file.bootstrap.into_iter().take(MAX_PEERS).map(|entry| {
        let peer = entry
            .peer_id
            .parse()
            .map_err(|_| BootstrapError::PeerId { path: path.to_owned(), text: entry.peer_id.clone() })?;
        let parsed: BootstrapPeer = entry.address.parse()?;
        match parsed.peer {
            Some(other) if other != peer => {
                Err(BootstrapError::TwoPeers { path: path.to_owned(), text: entry.address })
            }
            _ => Ok(BootstrapPeer { peer: Some(peer), ..parsed }),
        }
    });
    peers.collect()
}

/// Why a bootstrap list cannot be used.
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
    /// A peer id alone.
    #[error("{0:?} names a peer but no address to dial")]
    NoTransport(String),
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
    #[error("{} is {len} bytes long: a bootstrap list has at most 256 KiB", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
    },
    /// Not TOML, or not of the expected form.
    #[error("{} is not a list of [[bootstrap]] entries with peer_id and address", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: toml::de::Error,
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
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";

    #[test]
    fn given_peers_come_before_a_file_before_the_embedded_list() {
        let given: BootstrapPeer = format!("/ip4/127.0.0.1/tcp/1/p2p/{PEER}").parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.toml");
        let entry = format!("[[bootstrap]]\npeer_id = \"{PEER}\"\naddress = \"/ip4/127.0.0.1/tcp/2\"\n");
        std::fs::write(&path, entry).unwrap();
        assert_eq!(choose(std::slice::from_ref(&given), Some(&path)).unwrap(), [given]);
        let listed = choose(&[], Some(&path)).unwrap();
        assert_eq!(listed[0].to_string(), format!("/ip4/127.0.0.1/tcp/2/p2p/{PEER}"));
        assert_eq!(choose(&[], None).unwrap(), parse(EMBEDDED, Path::new("")).unwrap());
    }

    #[test]
    fn a_malformed_list_is_refused() {
        for text in [
            "bootstrap = 3",
            "[[bootstrap]]\npeer_id = \"x\"\naddress = \"/ip4/127.0.0.1/tcp/2\"",
            "[[bootstrap]]\naddress = \"/ip4/127.0.0.1/tcp/2\"",
            "[[bootstrap]]\npeer_id = \"12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X\"\naddress = \"localhost:2\"",
        ] {
            assert!(parse(text, Path::new("list.toml")).is_err(), "{text}");
        }
        assert!(choose(&[], Some(Path::new("/nonexistent/list.toml"))).is_err());
        assert!(format!("/p2p/{PEER}").parse::<BootstrapPeer>().is_err());
    }
}
