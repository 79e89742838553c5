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

mod error;
mod file;
mod list;
pub(crate) mod lists;
pub(crate) mod meetings;
mod remembered;
pub(crate) mod schedule;
mod url;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

pub use error::BootstrapError;
pub use list::{fetch_list, peers_document};
pub use remembered::RememberedPeers;
pub use url::PeersUrl;

/// The list that is used when no other source names a peer. Whoever builds binaries for a network of their own
/// fills in this file.
const EMBEDDED: &str = include_str!("../../bootstrap-nodes.toml");
/// The name looked for in the working directory when no file is given.
pub const DEFAULT_FILE: &str = "bootstrap-nodes.toml";
/// Bootstrap peers that are used of one list; more add nothing but dials.
const MAX_PEERS: usize = 64;
/// The longest list that is read, in bytes, from a file or from the network: [`MAX_PEERS`] need a tenth of it.
const MAX_LIST_LEN: u64 = 256 * 1024;

/// Something that leads to first peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootstrapSource {
    /// A peer to dial.
    Peer(BootstrapPeer),
    /// A list to ask for, see [`fetch_list`].
    Url(PeersUrl),
}

impl FromStr for BootstrapSource {
    type Err = BootstrapError;

    /// Parses a multiaddr as [`BootstrapPeer`] does, or a URL as [`PeersUrl`] does.
    fn from_str(text: &str) -> Result<Self, BootstrapError> {
        if text.contains("://") { text.parse().map(Self::Url) } else { text.parse().map(Self::Peer) }
    }
}

impl fmt::Display for BootstrapSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(peer) => peer.fmt(f),
            Self::Url(url) => url.fmt(f),
        }
    }
}

impl From<BootstrapPeer> for BootstrapSource {
    fn from(peer: BootstrapPeer) -> Self {
        Self::Peer(peer)
    }
}

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

    /// Parses a multiaddr, with or without `/p2p/<peer id>` at its end. `/dnsaddr/<name>` needs no transport: its TXT
    /// records name that.
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
        let leads_somewhere = address.iter().any(|part| {
            matches!(part, Protocol::Tcp(_) | Protocol::Udp(_) | Protocol::Dnsaddr(_) | Protocol::Memory(_))
        });
        if !leads_somewhere {
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

/// The bootstrap sources to use: `given` if there are any, else those of `file` (or of [`DEFAULT_FILE`] in the working
/// directory, if it exists), else the embedded ones.
///
/// # Errors
/// A file that was named but cannot be read, or any list that is malformed.
pub fn choose(given: &[BootstrapSource], file: Option<&Path>) -> Result<Vec<BootstrapSource>, BootstrapError> {
    if !given.is_empty() {
        return Ok(given.iter().take(MAX_PEERS).cloned().collect());
    }
    let default = Path::new(DEFAULT_FILE);
    match file {
        Some(path) => file::read(path, MAX_PEERS),
        None if default.is_file() => file::read(default, MAX_PEERS),
        None => file::parse(EMBEDDED, Path::new("the embedded list"), MAX_PEERS),
    }
}

/// An address of `peer` that says of itself where it leads, or `None` where its `/p2p` names somebody else.
fn peer_at(peer: PeerId, parsed: BootstrapPeer) -> Option<BootstrapPeer> {
    let is_other = parsed.peer.is_some_and(|other| other != peer);
    (!is_other).then_some(BootstrapPeer { peer: Some(peer), ..parsed })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";

    #[test]
    fn given_sources_come_before_a_file_before_the_embedded_list() {
        let given: BootstrapSource = format!("/ip4/127.0.0.1/tcp/1/p2p/{PEER}").parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.toml");
        let entries = format!(
            "[[bootstrap]]\npeer_id = \"{PEER}\"\naddress = \"/ip4/127.0.0.1/tcp/2\"\n\
             [[bootstrap]]\nurl = \"http://127.0.0.1:3/peers\"\n"
        );
        std::fs::write(&path, entries).unwrap();
        assert_eq!(choose(std::slice::from_ref(&given), Some(&path)).unwrap(), [given]);
        let listed: Vec<_> = choose(&[], Some(&path)).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(listed, [format!("/ip4/127.0.0.1/tcp/2/p2p/{PEER}"), "http://127.0.0.1:3/peers".to_owned()]);
        assert_eq!(choose(&[], None).unwrap(), file::parse(EMBEDDED, Path::new(""), MAX_PEERS).unwrap());
        assert!(choose(&[], Some(Path::new("/nonexistent/list.toml"))).is_err());
    }

    #[test]
    fn addresses_with_names_are_accepted_with_and_without_a_peer() {
        for address in [
            "/ip4/127.0.0.1/tcp/1",
            "/ip6/::1/udp/1/quic-v1",
            "/dns/seed.test/tcp/1",
            "/dns4/seed.test/udp/1/quic-v1",
            "/dns6/seed.test/tcp/1",
            "/dnsaddr/seed.test",
            "/memory/1",
        ] {
            let anybody: BootstrapPeer = address.parse().unwrap();
            assert_eq!((anybody.peer, anybody.to_string()), (None, address.to_owned()));
            let known: BootstrapPeer = format!("{address}/p2p/{PEER}").parse().unwrap();
            assert_eq!(known, BootstrapPeer { peer: Some(PEER.parse().unwrap()), address: anybody.address });
            assert_eq!(known.to_string(), format!("{address}/p2p/{PEER}"));
        }
    }

    #[test]
    fn an_address_without_a_way_to_dial_it_is_refused() {
        for address in [&format!("/p2p/{PEER}"), "/ip4/127.0.0.1", "/dns4/seed.test", ""] {
            let error = address.parse::<BootstrapSource>().unwrap_err();
            assert!(matches!(error, BootstrapError::NoTransport(_)), "{address}: {error}");
        }
        let error = "seed.test:4001".parse::<BootstrapSource>().unwrap_err();
        assert!(matches!(error, BootstrapError::Address { .. }), "{error}");
    }
}
