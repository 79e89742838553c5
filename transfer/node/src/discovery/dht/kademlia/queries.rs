//! The DHT queries in flight: whom each result goes to, and when it is given up.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use libp2p::PeerId;
use libp2p::kad::{self, QueryId, QueryStats, Record};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::discovery::dht::query::{FoundProvider, FoundValue, MAX_REPORTED, QueryError, QueryReport};
use crate::discovery::dht::search::{QueryReply, SearchSender};
use crate::metrics::{QueryKind, QueryOutcome};

/// Where the results of a query go.
pub(crate) enum Sink {
    Providers(SearchSender<FoundProvider>),
    Closest(SearchSender<FoundProvider>),
    Values(SearchSender<FoundValue>),
    /// Looks for those that are to keep a value.
    PutSearch(Record, QueryReply),
    /// Gives it to them.
    Put(Vec<PeerId>, QueryReply),
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

    /// Whether anybody still waits for what it finds. Announcements are made whether or not somebody waits.
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
                // Whoever asked may have stopped waiting.
                let _ = reply.send(outcome);
            }
        }
    }
}

/// How much earlier than the whole query the time of a single peer may seem to be over: their timers run apart.
const SLACK: Duration = Duration::from_millis(50);
/// Why a connected peer is among those that could not be reached.
const SILENT: &str = "has not answered";

/// A query in flight.
pub(crate) struct Pending {
    sink: Sink,
    started: Instant,
    /// When we give it up.
    deadline: Instant,
    results: usize,
    /// Requests sent, answered and failed in the phase before.
    earlier: [u32; 3],
    unreachable: Vec<(PeerId, String)>,
    /// Those that are being dialled, for this query or another.
    dialled: BTreeSet<PeerId>,
    /// Those that have been asked and have not answered.
    asked: BTreeSet<PeerId>,
    /// Those of the targets of a value that have acknowledged it.
    acknowledged: BTreeSet<PeerId>,
    /// Held until the query ends: bounds how many run.
    _permit: OwnedSemaphorePermit,
}

impl Pending {
    fn note_unreachable(&mut self, peer: PeerId, reason: &str) {
        let is_new = self.unreachable.iter().all(|(other, _)| *other != peer);
        if is_new && self.unreachable.len() < MAX_REPORTED {
            self.unreachable.push((peer, reason.to_owned()));
        }
    }

    /// Whether somebody who was asked, or was to be, has not answered.
    fn is_anybody_missing(&self) -> bool {
        !(self.unreachable.is_empty() && self.asked.is_empty() && self.dialled.is_empty())
    }

    /// Time is over: notes those who were waited for.
    fn note_late(&mut self) {
        for peer in std::mem::take(&mut self.asked) {
            self.note_unreachable(peer, SILENT);
        }
        for peer in std::mem::take(&mut self.dialled) {
            self.note_unreachable(peer, "is still being dialled");
        }
    }
}

/// What comes after a query.
pub(crate) enum Finished {
    Ended(Ended),
    /// The value is to be given to these nodes, in a query of its own.
    Store(Record, Vec<PeerId>, Box<Pending>),
}

/// A query that has ended, and that nobody has been told of yet: first it is counted, so that whoever is told finds it in
/// the metrics.
#[must_use]
pub(crate) struct Ended {
    pub(crate) kind: QueryKind,
    pub(crate) outcome: QueryOutcome,
    pub(crate) took: Duration,
    sink: Sink,
    answer: Result<QueryReport, QueryError>,
}

impl Ended {
    /// Tells whoever waits for it.
    pub(crate) fn tell(self) {
        self.sink.end(self.answer);
    }
}

/// Queries by id. Bounded by the permits of [`NodeHandle`](crate::NodeHandle).
pub(crate) struct Queries {
    pending: HashMap<QueryId, Pending>,
    timeout: Duration,
}

impl Queries {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { pending: HashMap::new(), timeout }
    }

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

    /// Goes on with the second phase of a query. It has half of the time in any case: the search may have used all of it to
    /// wait for a peer that is silent.
    pub(crate) fn resume(&mut self, now: Instant, id: QueryId, mut pending: Pending) {
        pending.deadline = pending.deadline.max(now + self.timeout / 2);
        self.pending.insert(id, pending);
    }

    /// Where one more result of a query goes, and how many there have been with it; `None` if nobody wants it.
    pub(crate) fn sink(&mut self, id: &QueryId) -> Option<(&Sink, usize)> {
        let pending = self.pending.get_mut(id)?;
        pending.results += 1;
        Some((&pending.sink, pending.results))
    }

    /// Notes that a peer could not be reached while these queries ran. Whose it was, Kademlia does not tell.
    pub(crate) fn handle_unreachable(&mut self, peer: PeerId, reason: &str) {
        for pending in self.pending.values_mut() {
            pending.dialled.remove(&peer);
            pending.note_unreachable(peer, reason);
        }
    }

    /// A peer is being dialled. For which of these queries, Kademlia does not tell.
    pub(crate) fn handle_dialled(&mut self, peer: PeerId) {
        for pending in self.pending.values_mut().filter(|pending| pending.dialled.len() < MAX_REPORTED) {
            pending.dialled.insert(peer);
        }
    }

    /// A peer is connected.
    pub(crate) fn handle_reached(&mut self, peer: &PeerId) {
        for pending in self.pending.values_mut() {
            pending.dialled.remove(peer);
        }
    }

    /// A query has asked a connected peer.
    pub(crate) fn handle_asked(&mut self, id: &QueryId, peer: PeerId) {
        if let Some(pending) = self.pending.get_mut(id).filter(|pending| pending.asked.len() < MAX_REPORTED) {
            pending.asked.insert(peer);
        }
    }

    /// It has answered, or will not any more.
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
            pending.note_unreachable(peer, SILENT);
        }
    }

    /// Ends a query by what Kademlia says of it.
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

    /// Queries that have run out of time although Kademlia has not noticed, or that nobody waits for any more. The
    /// caller ends them in Kademlia too.
    pub(crate) fn expired(&self, now: Instant) -> Vec<QueryId> {
        // Kademlia looks at each of the two phases of an announcement apart.
        let is_over = |p: &Pending| now >= p.deadline || !p.sink.is_wanted();
        self.pending.iter().filter(|(_, pending)| is_over(pending)).map(|(id, _)| *id).collect()
    }

    /// Ends one of the [`expired`](Self::expired).
    pub(crate) fn give_up(&mut self, now: Instant, id: &QueryId, stats: &QueryStats) -> Option<Ended> {
        let pending = self.pending.remove(id)?;
        let stored_at = pending.acknowledged.iter().copied().collect();
        let verdict = Verdict { is_timeout: pending.sink.is_wanted(), stored_at, ..Verdict::default() };
        Some(self.end(now, pending, verdict, stats))
    }

    fn end(&self, now: Instant, mut pending: Pending, verdict: Verdict, stats: &QueryStats) -> Ended {
        let took = now.saturating_duration_since(pending.started);
        // Kademlia gives up single peers after the same time as the whole query, and then says that it has finished.
        let is_timeout = verdict.is_timeout || took + SLACK >= self.timeout && pending.is_anybody_missing();
        if is_timeout {
            pending.note_late();
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
            // A value that somebody keeps is put, even if others did not answer in time.
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

/// How much later than Kademlia itself we give up: it knows more about the query.
const GRACE: Duration = Duration::from_millis(400);

#[derive(Default)]
struct Verdict {
    is_timeout: bool,
    closest: Vec<PeerId>,
    stored_at: Vec<PeerId>,
}

/// What Kademlia says about a finished query.
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
