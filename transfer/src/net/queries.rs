//! The DHT queries in flight: whom each result goes to, and when it is given up.

use std::collections::HashMap;

use libp2p::PeerId;
use libp2p::kad::{self, QueryId};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

use super::command::{QUERY_TIMEOUT, QueryError, QueryReply};

/// Where the results of a query go.
pub(super) enum Sink {
    /// Providers, one by one.
    Providers(mpsc::Sender<PeerId>),
    /// Values, one by one.
    Values(mpsc::Sender<Vec<u8>>),
    /// The outcome alone.
    Outcome(QueryReply),
}

struct Pending {
    sink: Sink,
    deadline: Instant,
    /// Held until the query ends: bounds how many run.
    _permit: OwnedSemaphorePermit,
}

/// Queries by id. Bounded by the permits of [`NodeHandle`](super::NodeHandle).
#[derive(Default)]
pub(super) struct Queries {
    pending: HashMap<QueryId, Pending>,
}

impl Queries {
    pub(super) fn insert(&mut self, now: Instant, id: QueryId, sink: Sink, permit: OwnedSemaphorePermit) {
        // Kademlia gives up by itself after the same time, but looks only when it is polled.
        let deadline = now + QUERY_TIMEOUT;
        self.pending.insert(id, Pending { sink, deadline, _permit: permit });
    }

    /// The sink of a query that is still wanted.
    pub(super) fn sink(&self, id: &QueryId) -> Option<&Sink> {
        self.pending.get(id).map(|pending| &pending.sink)
    }

    /// Ends a query. A search's channel closes; an outcome is told.
    pub(super) fn finish(&mut self, id: &QueryId, outcome: Result<(), QueryError>) {
        if let Some(Pending { sink: Sink::Outcome(reply), .. }) = self.pending.remove(id) {
            // Whoever asked may have stopped waiting.
            let _ = reply.send(outcome);
        }
    }

    /// Queries that have run out of time; they are ended here and must be ended in Kademlia too.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<QueryId> {
        let late: Vec<_> = self.pending.iter().filter(|(_, p)| p.deadline <= now).map(|(id, _)| *id).collect();
        for id in &late {
            self.finish(id, Err(QueryError::Timeout));
        }
        late
    }
}

/// What a finished query means for whoever asked.
pub(super) fn outcome(result: &kad::QueryResult) -> Result<(), QueryError> {
    use kad::{AddProviderError, PutRecordError, QueryResult};
    match result {
        QueryResult::PutRecord(Err(PutRecordError::Timeout { .. }))
        | QueryResult::StartProviding(Err(AddProviderError::Timeout { .. })) => Err(QueryError::Timeout),
        QueryResult::PutRecord(Err(PutRecordError::QuorumFailed { .. })) => Err(QueryError::NotStored),
        _ => Ok(()),
    }
}
