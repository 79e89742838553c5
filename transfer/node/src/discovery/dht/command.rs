//! What the DHT can be asked. Without the DHT in the binary, or with it switched off, every question is answered with
//! [`QueryError::Off`].

use phase_core::DhtKey;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::discovery::dht::query::{DhtTarget, FoundProvider, FoundValue, QueryError, RoutingPeer};
use crate::discovery::dht::search::{QueryReply, SearchSender};
use crate::metrics::DhtStats;

/// What the DHT can be asked to do.
pub(crate) enum DhtCommand {
    /// Asks other nodes. The permit is held until the query ends: it bounds how many run.
    Query(DhtQuery, OwnedSemaphorePermit),
    /// The peers in our routing table.
    Routing { reply: oneshot::Sender<Vec<RoutingPeer>> },
    /// Figures about our part of the DHT.
    Stats { reply: oneshot::Sender<DhtStats> },
}

/// What other nodes of the DHT are asked.
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
    /// Stops providing, and forgets our own value. That we no longer provide it is announced, without addresses, which
    /// Phase nodes take as a withdrawal.
    Withdraw {
        key: DhtKey,
        /// Says nothing about what is not provided.
        only_provided: bool,
        reply: QueryReply,
    },
}

impl DhtCommand {
    /// Answers that there is no DHT.
    pub(crate) fn refuse(self) {
        match self {
            Self::Query(query, _) => query.refuse(),
            // Dropped replies read as nothing.
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
