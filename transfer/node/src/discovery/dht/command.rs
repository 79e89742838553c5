//! Commands to the DHT. Every query fails with [`QueryError::Off`] if the DHT is switched off, or the binary was built
//! without the feature `dht`.

use phase_core::DhtKey;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::discovery::dht::query::{DhtTarget, FoundProvider, FoundValue, QueryError, RoutingPeer};
use crate::discovery::dht::search::{QueryReply, SearchSender};
use crate::metrics::DhtStats;

/// A command to the event loop that concerns the DHT.
pub(crate) enum DhtCommand {
    /// Starts a query. The query holds the permit until it ends, which limits the number of running queries.
    Query(DhtQuery, OwnedSemaphorePermit),
    /// Returns the peers in the routing table.
    Routing { reply: oneshot::Sender<Vec<RoutingPeer>> },
    /// Returns the DHT statistics of this node.
    Stats { reply: oneshot::Sender<DhtStats> },
}

/// A query that this node sends to other DHT nodes.
pub(crate) enum DhtQuery {
    FindProviders {
        key: DhtKey,
        search: SearchSender<FoundProvider>,
    },
    FindValues {
        key: DhtKey,
        search: SearchSender<FoundValue>,
    },
    FindClosest {
        target: DhtTarget,
        search: SearchSender<FoundProvider>,
    },
    Put {
        key: DhtKey,
        value: Vec<u8>,
        reply: QueryReply,
    },
    Provide {
        key: DhtKey,
        reply: QueryReply,
    },
    /// Stops providing `key` and removes this node's own value under `key`. Sends a provider record without addresses
    /// to the closest DHT nodes, because Phase nodes treat such a record as a withdrawal.
    Withdraw {
        key: DhtKey,
        /// If `true`, sends the withdrawal only if this node provides `key`.
        only_provided: bool,
        reply: QueryReply,
    },
}

impl DhtCommand {
    /// Ends the command on a node without the DHT. A query fails with [`QueryError::Off`].
    pub(crate) fn refuse(self) {
        match self {
            Self::Query(query, _) => query.refuse(),
            // Dropping `reply` ends the wait of the caller, which then returns an empty routing table or no statistics.
            Self::Routing { .. } | Self::Stats { .. } => {}
        }
    }
}

impl DhtQuery {
    fn refuse(self) {
        match self {
            Self::FindProviders { search, .. } | Self::FindClosest { search, .. } => search.end(Err(QueryError::Off)),
            Self::FindValues { search, .. } => search.end(Err(QueryError::Off)),
            Self::Put { reply, .. } | Self::Provide { reply, .. } | Self::Withdraw { reply, .. } => {
                let _ = reply.send(Err(QueryError::Off));
            }
        }
    }
}
