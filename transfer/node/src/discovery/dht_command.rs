//! What the DHT can be asked, and what it answers. Without the DHT in the binary, or with it switched off, every
//! question is answered with [`QueryError::Off`].

use std::fmt;
use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use phase_core::{Fails, Failure};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// Results of one search that may wait for its reader.
const RESULT_QUEUE: usize = 64;
/// Peers named in a report; a query rarely asks more.
pub(crate) const MAX_REPORTED: usize = 32;

/// Peers that a report shows of each kind.
const SHOWN: usize = 5;

/// What the DHT can be asked to do.
pub(crate) enum DhtCommand {
    FindProviders {
        key: Vec<u8>,
        search: SearchSender<FoundProvider>,
        permit: OwnedSemaphorePermit,
    },
    FindValues {
        key: Vec<u8>,
        search: SearchSender<FoundValue>,
        permit: OwnedSemaphorePermit,
    },
    FindClosest {
        key: Vec<u8>,
        search: SearchSender<FoundProvider>,
        permit: OwnedSemaphorePermit,
    },
    Put {
        key: Vec<u8>,
        value: Vec<u8>,
        reply: QueryReply,
        permit: OwnedSemaphorePermit,
    },
    Provide {
        key: Vec<u8>,
        reply: QueryReply,
        permit: OwnedSemaphorePermit,
    },
    /// Stops providing, and forgets our own value. That we no longer provide it is announced, without addresses, which
    /// Phase nodes take as a withdrawal.
    Withdraw {
        key: Vec<u8>,
        /// Says nothing about what is not provided.
        only_provided: bool,
        reply: QueryReply,
        permit: OwnedSemaphorePermit,
    },
    Routing {
        reply: oneshot::Sender<Vec<RoutingPeer>>,
    },
    Stats {
        reply: oneshot::Sender<DhtStats>,
    },
}

/// Where a query's outcome goes.
pub(crate) type QueryReply = oneshot::Sender<Result<QueryReport, QueryError>>;

/// A peer that somebody says provides a key, that is close to one, or that the node was started with.
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

/// Figures about our part of the DHT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DhtStats {
    /// Whether we keep records for others.
    pub is_server: bool,
    /// Peers in our routing table.
    pub routing_peers: usize,
    /// Connected peers that are DHT servers.
    pub connected_peers: usize,
    /// Our own values.
    pub own_values: usize,
    /// Keys we provide.
    pub own_provided: usize,
    /// Values kept for others.
    pub values: usize,
    /// Provider records kept for others.
    pub providers: usize,
    /// Records of others that were refused, for whatever reason.
    pub refused: u64,
    /// Peers that are ignored at present because they asked too much.
    pub ignored_peers: usize,
    /// Queries of ours under way, also those that refresh the routing table.
    pub queries: usize,
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

/// Why a DHT query failed.
#[derive(Clone, Debug, thiserror::Error)]
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
    Full(String),
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

/// A search that goes on: what is found comes one by one. Dropping it ends it.
#[derive(Debug)]
pub struct Search<T> {
    found: mpsc::Receiver<T>,
    outcome: oneshot::Receiver<Result<QueryReport, QueryError>>,
}

impl<T> Search<T> {
    /// The next result; `None` when the search is over.
    pub async fn recv(&mut self) -> Option<T> {
        self.found.recv().await
    }

    /// Waits for the end; what is still found is dropped.
    ///
    /// # Errors
    /// Whatever ended it before its time.
    pub async fn finish(mut self) -> Result<QueryReport, QueryError> {
        while self.found.recv().await.is_some() {}
        self.outcome.await.unwrap_or(Err(QueryError::Stopped))
    }

    /// Everything that is found, and what the search did.
    pub async fn collect(mut self) -> (Vec<T>, Result<QueryReport, QueryError>) {
        let mut all = Vec::new();
        while let Some(found) = self.recv().await {
            all.push(found);
        }
        (all, self.outcome.await.unwrap_or(Err(QueryError::Stopped)))
    }
}

/// The other end of a [`Search`].
#[derive(Debug)]
pub(crate) struct SearchSender<T> {
    found: mpsc::Sender<T>,
    outcome: QueryReply,
}

impl<T> SearchSender<T> {
    /// Passes on a result. `false`: nobody wants more.
    pub(crate) fn send(&self, found: T) -> bool {
        match self.found.try_send(found) {
            // A reader that has not read 64 results has enough for now.
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    pub(crate) fn is_wanted(&self) -> bool {
        !self.found.is_closed()
    }

    pub(crate) fn end(self, outcome: Result<QueryReport, QueryError>) {
        // Whoever asked may have stopped waiting.
        let _ = self.outcome.send(outcome);
    }
}

/// Both ends of a search.
pub(crate) fn search<T>() -> (SearchSender<T>, Search<T>) {
    let (sender, found) = mpsc::channel(RESULT_QUEUE);
    let (reply, outcome) = oneshot::channel();
    (SearchSender { found: sender, outcome: reply }, Search { found, outcome })
}

impl DhtCommand {
    /// Answers that there is no DHT.
    pub(crate) fn refuse(self) {
        match self {
            Self::FindProviders { search, .. } | Self::FindClosest { search, .. } => search.refuse(),
            Self::FindValues { search, .. } => search.refuse(),
            Self::Put { reply, .. } | Self::Provide { reply, .. } | Self::Withdraw { reply, .. } => {
                let _ = reply.send(Err(QueryError::Off));
            }
            // Dropped replies read as nothing.
            Self::Routing { .. } | Self::Stats { .. } => {}
        }
    }
}

impl<T> SearchSender<T> {
    fn refuse(self) {
        let _ = self.outcome.send(Err(QueryError::Off));
    }
}
