//! What is known about a peer, and what happens to it.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

/// Where a peer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PeerState {
    /// Somebody has told us of it.
    Discovered,
    /// There is a connection.
    Connected,
    /// It has said who and what it is.
    Identified,
    /// A transfer stream is open.
    Transferring,
    /// The last connection has ended.
    Disconnected,
    /// It is forgotten.
    Expired,
}

/// Who has told us of a peer first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Source {
    /// We were started with its address, to ask it directly.
    Given,
    /// We were started with its address, to join the network.
    Bootstrap,
    /// The DHT.
    Dht,
    /// mDNS or DNS-SD on the local network.
    LocalNetwork,
    /// Another peer, on a transfer stream.
    Peer,
    /// Itself, by dialling us.
    Inbound,
}

/// Something that happened to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerEvent {
    /// Which.
    pub peer: PeerId,
    /// What it is now.
    pub state: PeerState,
    /// Who told us of it first.
    pub source: Source,
}

/// What is known about a peer.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Who.
    pub peer: PeerId,
    /// Where it stands.
    pub state: PeerState,
    /// Who told us of it first.
    pub source: Source,
    /// Where it can be dialled, the best first.
    pub addresses: Vec<Multiaddr>,
    /// What it says its program is; at most 64 characters.
    pub agent: Option<String>,
    /// Whether it is a DHT server.
    pub is_dht_server: bool,
    /// The last time a ping took to it and back.
    pub round_trip: Option<Duration>,
    /// Since when it is in this state.
    pub since: Instant,
}

impl PeerInfo {
    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        matches!(self.state, PeerState::Connected | PeerState::Identified | PeerState::Transferring)
    }
}

impl PeerState {
    /// In small letters, as it is shown.
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
    /// In small letters, as it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Bootstrap => "bootstrap",
            Self::Dht => "dht",
            Self::LocalNetwork => "local network",
            Self::Peer => "peer",
            Self::Inbound => "inbound",
        }
    }
}
