//! The running DHT queries. Keeps a deadline for each query, and the channel for its results.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use libp2p::PeerId;
use libp2p::kad::{self, QueryId, QueryStats, Record};
use phase_core::Cause;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::discovery::dht::query::{FoundProvider, FoundValue, MAX_REPORTED, QueryError, QueryReport};
use crate::discovery::dht::search::{QueryReply, SearchSender};
use crate::metrics::{QueryKind, QueryOutcome};

/// The purpose of a query, with the channel to which its results are sent.
pub(crate) enum Sink {
    Providers(SearchSender<FoundProvider>),
    Closest(SearchSender<FoundProvider>),
    Values(SearchSender<FoundValue>),
    /// The first phase of a put: searches for the nodes that should store the record.
    PutSearch(Record, QueryReply),
    /// The second phase of a put: sends the record to the nodes with these peer ids.
    Put(Vec<PeerId>, QueryReply),
    /// A query that places or withdraws a provider record.
    Provide(QueryReply),
}

impl Sink {
    fn kind(&self) -> QueryKind {
        match self {
            Self::Providers(_) => QueryKind::GetProviders,
            Self::Closest(_) => QueryKind::Closest,
            Self::Values(_) => QueryKind::Get,
            Self::PutSearch(..) | Self::Put(..) => QueryKind::Put,
            Self::Provide(_) => QueryKind::Provide,
        }
    }

    /// Returns whether the query must continue. A search ends early when its receiving end is dropped, but an
    /// announcement always runs to its end.
    fn is_wanted(&self) -> bool {
        match self {
            Self::Providers(search) | Self::Closest(search) => search.is_wanted(),
            Self::Values(search) => search.is_wanted(),
            Self::PutSearch(..) | Self::Put(..) | Self::Provide(_) => true,
        }
    }

    fn end(self, outcome: Result<QueryReport, QueryError>) {
        match self {
            Self::Providers(search) | Self::Closest(search) => search.end(outcome),
            Self::Values(search) => search.end(outcome),
            Self::PutSearch(_, reply) | Self::Put(_, reply) | Self::Provide(reply) => {
                // Sending fails if the caller has stopped waiting. Then the outcome is not needed.
                let _ = reply.send(outcome);
            }
        }
    }
}

/// How much earlier than its timeout a query may end and still count as timed out. Kademlia's timeout for a single peer
/// is a separate timer, which may fire slightly earlier.
const SLACK: Duration = Duration::from_millis(50);
/// The reason that a report gives for a connected peer that did not answer.
const SILENT: &str = "has not answered";

/// The state of a running query.
pub(crate) struct Pending {
    sink: Sink,
    started: Instant,
    /// When this module ends the query, unless Kademlia ends it earlier.
    deadline: Instant,
    /// The number of results that the query has returned so far.
    results: usize,
    /// The requests in the first phase of a put: how many were sent, were answered and have failed. Zeros until the
    /// second phase begins. Always zeros if the query is not a put.
    earlier: [u32; 3],
    /// The peers that could not be reached, each with the causes.
    unreachable: Vec<(PeerId, Vec<Cause>)>,
    /// The peers that Kademlia is dialling, for this query or for another query.
    dialled: BTreeSet<PeerId>,
    /// The peers to which this query has sent a request and which have not answered yet.
    asked: BTreeSet<PeerId>,
    /// The nodes that have acknowledged the record, if the query is a put.
    acknowledged: BTreeSet<PeerId>,
    /// A permit that limits the number of running queries. Held until this query ends.
    _permit: OwnedSemaphorePermit,
}

impl Pending {
    fn note_unreachable(&mut self, peer: PeerId, causes: &[Cause]) {
        let is_new = self.unreachable.iter().all(|(other, _)| *other != peer);
        if is_new && self.unreachable.len() < MAX_REPORTED {
            self.unreachable.push((peer, causes.to_owned()));
        }
    }

    /// Returns whether an answer may be missing, because a peer was unreachable, has not answered or is being dialled.
    fn is_answer_missing(&self) -> bool {
        !(self.unreachable.is_empty() && self.asked.is_empty() && self.dialled.is_empty())
    }

    /// Counts all peers that have not answered as unreachable. To be called after a timeout.
    fn note_unanswered(&mut self) {
        for peer in std::mem::take(&mut self.asked) {
            self.note_unreachable(peer, &[Cause::new(SILENT)]);
        }
        for peer in std::mem::take(&mut self.dialled) {
            self.note_unreachable(peer, &[Cause::new("is still being dialled")]);
        }
    }
}

/// The result of [`Queries::finish`]. Either the whole query has ended, or only the first phase of a put.
pub(crate) enum Finished {
    /// The whole query has ended.
    Ended(Ended),
    /// The first phase of a put has ended. The caller starts the second phase: a new Kademlia query that sends this
    /// record to these nodes.
    Store(Record, Vec<PeerId>, Box<Pending>),
}

/// The outcome of a query that has ended. The caller first counts the query in the metrics, and then calls
/// [`deliver`](Self::deliver). In this order, the receiver of the outcome finds the query in the metrics.
#[must_use]
pub(crate) struct Ended {
    pub(crate) kind: QueryKind,
    pub(crate) outcome: QueryOutcome,
    pub(crate) took: Duration,
    sink: Sink,
    answer: Result<QueryReport, QueryError>,
}

impl Ended {
    /// Sends the outcome to the caller of the query.
    pub(crate) fn deliver(self) {
        self.sink.end(self.answer);
    }
}

/// The running queries by id. Their number is limited by the permits that [`NodeHandle`](crate::NodeHandle) issues.
pub(crate) struct Queries {
    pending: HashMap<QueryId, Pending>,
    timeout: Duration,
}

impl Queries {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { pending: HashMap::new(), timeout }
    }

    /// Adds a query that Kademlia has just started.
    pub(crate) fn insert(&mut self, now: Instant, id: QueryId, sink: Sink, permit: OwnedSemaphorePermit) {
        let pending = Pending {
            sink,
            started: now,
            deadline: now + self.timeout + GRACE,
            results: 0,
            earlier: [0; 3],
            unreachable: Vec::new(),
            dialled: BTreeSet::new(),
            asked: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            _permit: permit,
        };
        self.pending.insert(id, pending);
    }

    /// Adds the second phase of a put. This phase has at least half of the query timeout, because the first phase may
    /// have used the whole timeout to wait for a silent peer.
    pub(crate) fn resume(&mut self, now: Instant, id: QueryId, mut pending: Pending) {
        pending.deadline = pending.deadline.max(now + self.timeout / 2);
        self.pending.insert(id, pending);
    }

    /// Counts a new result of a query. Returns the channel to which the result must be sent, and the number of results
    /// so far. Returns `None` if this table does not contain the query.
    pub(crate) fn sink(&mut self, id: &QueryId) -> Option<(&Sink, usize)> {
        let pending = self.pending.get_mut(id)?;
        pending.results += 1;
        Some((&pending.sink, pending.results))
    }

    /// Notes in every query that `peer` could not be reached, because Kademlia does not report which query needed the
    /// peer.
    pub(crate) fn handle_unreachable(&mut self, peer: PeerId, causes: &[Cause]) {
        for pending in self.pending.values_mut() {
            pending.dialled.remove(&peer);
            pending.note_unreachable(peer, causes);
        }
    }

    /// Notes in every query that `peer` is being dialled, because Kademlia does not report which query needs the peer.
    pub(crate) fn handle_dialled(&mut self, peer: PeerId) {
        for pending in self.pending.values_mut().filter(|pending| pending.dialled.len() < MAX_REPORTED) {
            pending.dialled.insert(peer);
        }
    }

    /// Notes in every query that `peer` is connected and no longer being dialled.
    pub(crate) fn handle_reached(&mut self, peer: &PeerId) {
        for pending in self.pending.values_mut() {
            pending.dialled.remove(peer);
        }
    }

    /// Notes that a query has sent a request to a connected peer.
    pub(crate) fn handle_asked(&mut self, id: &QueryId, peer: PeerId) {
        if let Some(pending) = self.pending.get_mut(id).filter(|pending| pending.asked.len() < MAX_REPORTED) {
            pending.asked.insert(peer);
        }
    }

    /// Notes that `peer` has answered a query. If `is_answer` is `false`, the request to `peer` has failed instead.
    pub(crate) fn handle_answered(&mut self, id: &QueryId, peer: PeerId, is_answer: bool) {
        let Some(pending) = self.pending.get_mut(id) else { return };
        pending.asked.remove(&peer);
        if is_answer
            && let Sink::Put(targets, _) = &pending.sink
            && targets.contains(&peer)
        {
            pending.acknowledged.insert(peer);
        }
        if !is_answer {
            pending.note_unreachable(peer, &[Cause::new(SILENT)]);
        }
    }

    /// Ends a query, or the first phase of a put, with the result from Kademlia. Returns `None` if this table does not
    /// contain the query.
    pub(crate) fn finish(
        &mut self,
        now: Instant,
        id: &QueryId,
        result: &kad::QueryResult,
        stats: &QueryStats,
    ) -> Option<Finished> {
        let mut pending = self.pending.remove(id)?;
        let mut verdict = verdict(result);
        match pending.sink {
            Sink::PutSearch(record, reply) if !verdict.closest.is_empty() => {
                pending.earlier = [stats.num_requests(), stats.num_successes(), stats.num_failures()];
                pending.sink = Sink::Put(verdict.closest.clone(), reply);
                return Some(Finished::Store(record, verdict.closest, Box::new(pending)));
            }
            Sink::Put(ref targets, _) if matches!(result, kad::QueryResult::PutRecord(Ok(_))) => {
                verdict.stored_at = targets.clone();
            }
            _ => {}
        }
        Some(Finished::Ended(self.end(now, pending, verdict, stats)))
    }

    /// Returns the ids of the queries whose deadline has passed, and of the searches whose receiving end was dropped.
    /// The caller passes each id to [`give_up`](Self::give_up) and then ends the query in Kademlia.
    pub(crate) fn expired(&self, now: Instant) -> Vec<QueryId> {
        // Kademlia gives each of the two phases of an announcement a full timeout, so an announcement could take two
        // timeouts. `deadline` limits both phases together.
        let is_over = |p: &Pending| now >= p.deadline || !p.sink.is_wanted();
        self.pending.iter().filter(|(_, pending)| is_over(pending)).map(|(id, _)| *id).collect()
    }

    /// Ends one of the [`expired`](Self::expired) queries. Returns `None` if this table does not contain the query.
    pub(crate) fn give_up(&mut self, now: Instant, id: &QueryId, stats: &QueryStats) -> Option<Ended> {
        let pending = self.pending.remove(id)?;
        let stored_at = pending.acknowledged.iter().copied().collect();
        let verdict = Verdict { is_timeout: pending.sink.is_wanted(), stored_at, ..Verdict::default() };
        Some(self.end(now, pending, verdict, stats))
    }

    fn end(&self, now: Instant, mut pending: Pending, verdict: Verdict, stats: &QueryStats) -> Ended {
        let took = now.saturating_duration_since(pending.started);
        // Kademlia's timeout for a single peer is as long as its timeout for a query. If both pass, Kademlia may report
        // that the query has finished. So a query counts as timed out if it ends at its timeout and an answer is
        // missing.
        let is_timeout = verdict.is_timeout || took + SLACK >= self.timeout && pending.is_answer_missing();
        if is_timeout {
            pending.note_unanswered();
        }
        let Pending { sink, results, earlier, unreachable, .. } = pending;
        let [requests, answered, failed] = earlier;
        let report = QueryReport {
            took,
            requests: requests + stats.num_requests(),
            answered: answered + stats.num_successes(),
            failed: failed + stats.num_failures(),
            closest: verdict.closest,
            stored_at: verdict.stored_at,
            unreachable,
        };
        let (kind, is_put) = (sink.kind(), matches!(sink, Sink::PutSearch(..) | Sink::Put(..)));
        let (outcome, answer) = match () {
            // A put that one node has acknowledged succeeds, even if other nodes did not answer in time.
            () if is_timeout && report.stored_at.is_empty() => {
                (QueryOutcome::Timeout, Err(QueryError::Timeout { timeout: self.timeout, report }))
            }
            () if is_put && report.stored_at.is_empty() => {
                (QueryOutcome::Failed, Err(QueryError::NotStored { report }))
            }
            () if matches!(kind, QueryKind::Get | QueryKind::GetProviders) && results == 0 => {
                (QueryOutcome::NotFound, Ok(report))
            }
            () => (QueryOutcome::Ok, Ok(report)),
        };
        Ended { kind, outcome, took, sink, answer }
    }
}

/// How long this module waits after the query timeout before it ends a query itself. Kademlia usually ends the query
/// first, and its result has more details.
const GRACE: Duration = Duration::from_millis(400);

/// The result of a finished query in a form that is the same for all types of queries.
#[derive(Default)]
struct Verdict {
    is_timeout: bool,
    closest: Vec<PeerId>,
    stored_at: Vec<PeerId>,
}

/// Converts the result that Kademlia reports for a finished query.
fn verdict(result: &kad::QueryResult) -> Verdict {
    use kad::{GetClosestPeersError, GetProvidersError, GetProvidersOk, GetRecordError, PutRecordError, QueryResult};
    let timeout = Verdict { is_timeout: true, ..Verdict::default() };
    match result {
        QueryResult::PutRecord(Err(PutRecordError::Timeout { success, .. })) => {
            Verdict { stored_at: success.clone(), ..timeout }
        }
        QueryResult::PutRecord(Err(PutRecordError::QuorumFailed { success, .. })) => {
            Verdict { stored_at: success.clone(), ..Verdict::default() }
        }
        QueryResult::StartProviding(Err(_)) | QueryResult::GetRecord(Err(GetRecordError::Timeout { .. })) => timeout,
        QueryResult::GetRecord(Err(GetRecordError::NotFound { closest_peers, .. }))
        | QueryResult::GetProviders(Ok(GetProvidersOk::FinishedWithNoAdditionalRecord { closest_peers })) => {
            Verdict { closest: closest_peers.clone(), ..Verdict::default() }
        }
        QueryResult::GetProviders(Err(GetProvidersError::Timeout { closest_peers, .. })) => {
            Verdict { closest: closest_peers.clone(), ..timeout }
        }
        QueryResult::GetClosestPeers(Ok(found)) => {
            Verdict { closest: found.peers.iter().map(|peer| peer.peer_id).collect(), ..Verdict::default() }
        }
        QueryResult::GetClosestPeers(Err(GetClosestPeersError::Timeout { peers, .. })) => {
            Verdict { closest: peers.iter().map(|peer| peer.peer_id).collect(), ..timeout }
        }
        _ => Verdict::default(),
    }
}
