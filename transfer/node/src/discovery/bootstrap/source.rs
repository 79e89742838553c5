//! Sources of bootstrap peers. A source is the address of a peer or the URL of a peer list.

use std::fmt;
use std::str::FromStr;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::discovery::bootstrap::error::BootstrapError;
use crate::discovery::bootstrap::url::PeersUrl;

/// A bootstrap peer, or a peer list with bootstrap peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootstrapSource {
    /// A peer to dial.
    Peer(BootstrapPeer),
    /// A peer list to fetch, see [`fetch_list`](super::fetch_list).
    Url(PeersUrl),
}

impl FromStr for BootstrapSource {
    type Err = BootstrapError;

    /// Parses a text that contains `://` as a [`PeersUrl`], and any other text as a [`BootstrapPeer`].
    fn from_str(text: &str) -> Result<Self, BootstrapError> {
        if text.contains("://") { Ok(Self::Url(text.parse()?)) } else { text.parse().map(Self::Peer) }
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

/// A bootstrap peer or configured peer: an address to dial, and optionally the peer that must answer there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapPeer {
    /// The peer that must answer at the address. With `None`, any peer may answer.
    pub peer: Option<PeerId>,
    /// The address to dial, without `/p2p`.
    pub address: Multiaddr,
}

impl FromStr for BootstrapPeer {
    type Err = BootstrapError;

    /// Parses a multiaddr, with or without `/p2p/<peer id>` at its end. `/dnsaddr/<name>` needs no transport, because
    /// the TXT records of the name contain complete multiaddrs.
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
        let has_transport = address.iter().any(|part| {
            matches!(part, Protocol::Tcp(_) | Protocol::Udp(_) | Protocol::Dnsaddr(_) | Protocol::Memory(_))
        });
        if !has_transport {
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

/// Returns `parsed` with the peer id `peer`, or `None` if `parsed` already has another peer id.
pub(crate) fn peer_at(peer: PeerId, parsed: BootstrapPeer) -> Option<BootstrapPeer> {
    let names_other = parsed.peer.is_some_and(|other| other != peer);
    (!names_other).then_some(BootstrapPeer { peer: Some(peer), ..parsed })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";

    #[test]
    fn an_address_is_accepted_with_and_without_a_peer_id() {
        for address in [
            "/ip4/127.0.0.1/tcp/1",
            "/ip6/::1/udp/1/quic-v1",
            "/dns/seed.test/tcp/1",
            "/dns4/seed.test/udp/1/quic-v1",
            "/dns6/seed.test/tcp/1",
            "/dnsaddr/seed.test",
            "/memory/1",
        ] {
            let unnamed: BootstrapPeer = address.parse().unwrap();
            assert_eq!((unnamed.peer, unnamed.to_string()), (None, address.to_owned()));
            let named: BootstrapPeer = format!("{address}/p2p/{PEER}").parse().unwrap();
            assert_eq!(named, BootstrapPeer { peer: Some(PEER.parse().unwrap()), address: unnamed.address });
            assert_eq!(named.to_string(), format!("{address}/p2p/{PEER}"));
        }
    }

    #[test]
    fn an_address_without_a_transport_is_refused() {
        for address in [&format!("/p2p/{PEER}"), "/ip4/127.0.0.1", "/dns4/seed.test", ""] {
            let error = address.parse::<BootstrapSource>().unwrap_err();
            assert!(matches!(error, BootstrapError::NoTransport(_)), "{address}: {error}");
        }
        let error = "seed.test:4001".parse::<BootstrapSource>().unwrap_err();
        assert!(matches!(error, BootstrapError::Address { .. }), "{error}");
    }
}
