//! The results, reports and errors of DHT queries.

use std::fmt;
use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use phase_core::dht::MAX_RECORD_LEN;
use phase_core::{Attempt, Cause, DhtKey, Fails, Failure};

/// The maximum number of unreachable peers in a report. A query rarely asks more peers than this.
pub(crate) const MAX_REPORTED: usize = 32;

/// A position in the DHT. Nodes are sorted by their distance from this position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DhtTarget {
    /// The position of a DHT key. The nodes closest to this position store the records of the key.
    Key(DhtKey),
    /// The position of a node.
    Peer(PeerId),
}

impl DhtTarget {
    /// Returns the bytes whose SHA-256 is the position, as specified for libp2p's Kademlia.
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

/// A peer that a search has found: a claimed provider of a key, or a node close to the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundProvider {
    /// The peer id of the peer.
    pub peer: PeerId,
    /// The addresses of the peer that this node can dial, at most eight.
    pub addresses: Vec<Multiaddr>,
}

/// A value that a DHT node stores. The value is not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundValue {
    /// The peer that stores the value. `None` if this node stores it.
    pub holder: Option<PeerId>,
    /// The bytes of the value.
    pub value: Vec<u8>,
}

/// A peer in the routing table of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingPeer {
    /// The peer id of the peer.
    pub peer: PeerId,
    /// The known addresses of the peer.
    pub addresses: Vec<Multiaddr>,
    /// Whether this node is connected to the peer.
    pub is_connected: bool,
    /// The number of the peer's bucket, 0 to 255: the index of the highest bit that is set in the XOR distance between
    /// the peer and this node.
    pub bucket: u32,
}

/// The report of a query: how long it took, how many requests it sent, and which peers it reached or failed to reach.
/// Displayed as the numbers of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryReport {
    /// The duration of the query.
    pub took: Duration,
    /// The number of requests sent.
    pub requests: u32,
    /// The number of requests that were answered.
    pub answered: u32,
    /// The number of requests that failed.
    pub failed: u32,
    /// The nodes that answered and are closest to the key, closest first. Empty if the query ended before it had found
    /// them.
    pub closest: Vec<PeerId>,
    /// The nodes that acknowledged the value of a put.
    pub stored_at: Vec<PeerId>,
    /// The peers that could not be reached during the query, each with the causes. After a timeout, this includes the
    /// peers that had not answered yet.
    pub unreachable: Vec<(PeerId, Vec<Cause>)>,
}

impl QueryReport {
    /// Returns what was tried, for an error message: the peers that could not be reached, and then the closest nodes
    /// that answered.
    pub fn attempts(&self) -> Vec<Attempt> {
        let unreachable = self.unreachable.iter().map(|(peer, causes)| Attempt::new(peer, causes.clone()));
        let answered = self.closest.iter().map(|peer| Attempt::new(peer, vec![Cause::new("answered")]));
        Attempt::merged(unreachable.chain(answered))
    }
}

impl fmt::Display for QueryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = if self.requests == 1 { "request" } else { "requests" };
        write!(f, "{} {requests}, {} answered, {} failed", self.requests, self.answered, self.failed)
    }
}

/// An error from storing one of this node's own records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordStoreError {
    /// The record store already holds the maximum number of this node's own values.
    #[error("the record store already holds its maximum number of values")]
    Values,
    /// This node already provides the maximum number of keys.
    #[error("the record store already holds its maximum number of provider records")]
    Providers,
    /// The value is longer than [`MAX_RECORD_LEN`] bytes.
    #[error("the value is longer than {MAX_RECORD_LEN} bytes")]
    TooLong,
}

/// An error from a DHT query.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The query did not finish in time.
    #[error("DHT query timeout after {} s ({report})", timeout.as_secs_f32())]
    Timeout {
        /// The configured timeout of the query.
        timeout: Duration,
        /// The report of the query, up to its timeout.
        report: QueryReport,
    },
    /// No DHT node acknowledged the value.
    #[error("no DHT node accepted the value ({report})")]
    NotStored {
        /// The report of the query.
        report: QueryReport,
    },
    /// This node cannot store its own record, because the record store is full or the value is too long.
    #[error("this node cannot keep the record: {0}")]
    Full(#[source] RecordStoreError),
    /// The DHT is switched off, or the binary was built without the feature `dht`.
    #[error("the DHT is switched off: start without --no-dht, and use a binary built with the feature dht")]
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

    fn attempts(&self) -> Vec<Attempt> {
        self.report().map(QueryReport::attempts).unwrap_or_default()
    }
}

impl QueryError {
    /// Returns the report of the failed query, if the error contains one.
    pub fn report(&self) -> Option<&QueryReport> {
        match self {
            Self::Timeout { report, .. } | Self::NotStored { report } => Some(report),
            _ => None,
        }
    }
}
