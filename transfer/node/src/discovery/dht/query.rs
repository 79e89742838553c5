//! What a query of the DHT finds, what it did, and why it failed.

use std::fmt;
use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use phase_core::{DhtKey, Fails, Failure};

/// Peers named in a report; a query rarely asks more.
pub(crate) const MAX_REPORTED: usize = 32;
/// Peers that a report shows of each kind.
const SHOWN: usize = 5;

/// A place in the DHT that nodes are close to or far from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DhtTarget {
    /// That of a key, where the records under it are kept.
    Key(DhtKey),
    /// That of a node.
    Peer(PeerId),
}

impl DhtTarget {
    /// The bytes whose SHA-256 is the position, as libp2p's specification of Kademlia says.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Key(key) => key.to_bytes(),
            Self::Peer(peer) => peer.to_bytes(),
        }
    }
}

impl From<DhtKey> for DhtTarget {
    fn from(key: DhtKey) -> Self {
        Self::Key(key)
    }
}

impl From<PeerId> for DhtTarget {
    fn from(peer: PeerId) -> Self {
        Self::Peer(peer)
    }
}

/// A peer that somebody says provides a key, or that is close to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundProvider {
    /// Who.
    pub peer: PeerId,
    /// Where, as far as that can be dialled from here; at most eight.
    pub addresses: Vec<Multiaddr>,
}

/// A value that somebody holds. Nothing about it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundValue {
    /// Who holds it; `None` is ourselves.
    pub holder: Option<PeerId>,
    /// The value.
    pub value: Vec<u8>,
}

/// A peer in our routing table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingPeer {
    /// Who.
    pub peer: PeerId,
    /// Where.
    pub addresses: Vec<Multiaddr>,
    /// Whether we are connected with it.
    pub is_connected: bool,
    /// The number of the bucket it is in: the position of the highest bit in which its key differs from ours, 0 to 255.
    pub bucket: u32,
}

/// What a query did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryReport {
    /// How long it took.
    pub took: Duration,
    /// Requests sent.
    pub requests: u32,
    /// Those that were answered.
    pub answered: u32,
    /// Those that were not.
    pub failed: u32,
    /// The nodes closest to the key that answered, the closest first. Empty if enough was known before the end.
    pub closest: Vec<PeerId>,
    /// Nodes that hold the value: those that were asked to and said so.
    pub stored_at: Vec<PeerId>,
    /// Peers that could not be reached meanwhile, and why; if time ran out, also those that had not answered by then.
    pub unreachable: Vec<(PeerId, String)>,
}

impl fmt::Display for QueryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests, {} answered, {} failed", self.requests, self.answered, self.failed)?;
        if !self.closest.is_empty() {
            let closest: Vec<_> = self.closest.iter().take(SHOWN).map(ToString::to_string).collect();
            write!(f, "; the closest nodes that answered: {}", closest.join(", "))?;
            if self.closest.len() > SHOWN {
                write!(f, " and {} more", self.closest.len() - SHOWN)?;
            }
        }
        for (peer, reason) in self.unreachable.iter().take(SHOWN) {
            write!(f, "; {peer} {reason}")?;
        }
        Ok(())
    }
}

/// Why our own part of the DHT does not take a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordStoreError {
    /// There is no room for more values.
    #[error("the store cannot contain any more records")]
    Values,
    /// There is no room for more provider records.
    #[error("the store cannot contain any more provider records")]
    Providers,
    /// The value is longer than any may be.
    #[error("the value is too large to be stored")]
    TooLong,
}

/// Why a DHT query failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// Not finished in time.
    #[error("DHT query timeout after {} s ({report})", timeout.as_secs_f32())]
    Timeout {
        /// The time it had.
        timeout: Duration,
        /// What was done until then.
        report: QueryReport,
    },
    /// No DHT node took it.
    #[error("no DHT node accepted it ({report})")]
    NotStored {
        /// Who was asked.
        report: QueryReport,
    },
    /// Our own store is full, or the value is too long for any.
    #[error("the local record store does not take it: {0}")]
    Full(#[source] RecordStoreError),
    /// There is no DHT.
    #[error("the DHT is switched off: start without --no-dht, with a binary that has the feature dht")]
    Off,
    /// The node has been stopped.
    #[error("the node has been stopped")]
    Stopped,
}

impl Fails for QueryError {
    fn failure(&self) -> Failure {
        match self {
            Self::Timeout { .. } | Self::NotStored { .. } | Self::Stopped => Failure::Network,
            Self::Full(_) => Failure::Other,
            Self::Off => Failure::Usage,
        }
    }
}

impl QueryError {
    /// What was done until it failed.
    pub fn report(&self) -> Option<&QueryReport> {
        match self {
            Self::Timeout { report, .. } | Self::NotStored { report } => Some(report),
            _ => None,
        }
    }
}
