//! The state, the source and the events of a known peer.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

/// The state of this node's connection to a peer of the peer table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PeerState {
    /// Discovery found the peer, and the peer has not been connected since.
    Discovered,
    /// The peer is connected.
    Connected,
    /// The peer is connected, and identify has received its protocols and addresses.
    Identified,
    /// The peer is identified, and a transfer stream is open.
    Transferring,
    /// The last connection to the peer has ended.
    Disconnected,
    /// The peer was removed from the peer table.
    Expired,
}

/// How this node first learned of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Source {
    /// The peer is a configured peer.
    Configured,
    /// The peer is a bootstrap peer.
    Bootstrap,
    /// The DHT returned the peer, or the source of the peer is unknown.
    Dht,
    /// The peer was announced on the local network, by mDNS or DNS-SD.
    LocalNetwork,
    /// Another peer named this peer in its reply to a `Peers` request.
    Peer,
    /// The peer dialled this node.
    Inbound,
}

/// A change of the state of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerEvent {
    /// The id of the peer.
    pub peer: PeerId,
    /// The new state of the peer.
    pub state: PeerState,
    /// How this node first learned of the peer.
    pub source: Source,
}

/// An entry of the peer table.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// The id of the peer.
    pub peer: PeerId,
    /// The state of this node's connection to the peer.
    pub state: PeerState,
    /// How this node first learned of the peer.
    pub source: Source,
    /// Addresses at which the peer can be dialled, at most 8. The address that last worked comes first.
    pub addresses: Vec<Multiaddr>,
    /// The agent version that the peer announces, cut to 64 characters.
    pub agent: Option<String>,
    /// Whether the peer is a DHT server.
    pub is_dht_server: bool,
    /// The round-trip time of the last ping.
    pub round_trip: Option<Duration>,
    /// The time at which the peer entered its current state.
    pub since: Instant,
}

impl PeerInfo {
    /// Returns whether the peer is connected.
    pub fn is_connected(&self) -> bool {
        matches!(self.state, PeerState::Connected | PeerState::Identified | PeerState::Transferring)
    }
}

impl PeerState {
    /// Returns the name of the state in lower case, as it appears in output and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Discovered => "discovered",
            Self::Connected => "connected",
            Self::Identified => "identified",
            Self::Transferring => "transferring",
            Self::Disconnected => "disconnected",
            Self::Expired => "expired",
        }
    }
}

impl Source {
    /// Returns the name of the source in lower case, as it appears in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configured => "given",
            Self::Bootstrap => "bootstrap",
            Self::Dht => "dht",
            Self::LocalNetwork => "local network",
            Self::Peer => "peer",
            Self::Inbound => "inbound",
        }
    }
}
