//! Outbound queries. Starts queries, passes their results to the callers, and dials the providers that these queries
//! find.

use std::sync::Arc;
use std::time::Duration;

use libp2p::core::Endpoint;
use libp2p::kad::store::RecordStore as _;
use libp2p::kad::{self, QueryId, QueryStats, Quorum, Record, RecordKey};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, NetworkBehaviour as _};
use libp2p::{Multiaddr, PeerId};
use phase_core::DhtKey;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::discovery::dht::command::DhtQuery;
use crate::discovery::dht::config::DhtConfig;
use crate::discovery::dht::kademlia::connections::Connections;
use crate::discovery::dht::kademlia::queries::{Ended, Finished, Queries, Sink};
use crate::discovery::dht::kademlia::store::Kademlia;
use crate::discovery::dht::query::{FoundProvider, FoundValue, QueryError, QueryReport, RecordStoreError};
use crate::discovery::dht::search::QueryReply;
use crate::metrics::{Metrics, QueryKind, QueryOutcome};
use crate::peer::Source;
use crate::peer_table::PeerTable;

/// The maximum number of providers that one search dials. This is enough for any fetch, but too few for an attacker who
/// wants to make many nodes connect to a victim.
const MAX_DIALS: usize = 32;

/// The outbound queries of this node.
pub(crate) struct Outbound {
    pub(crate) queries: Queries,
    local: PeerId,
    refresh_interval: Duration,
    /// When the routing table was last refreshed successfully, which means that at least one peer answered.
    refreshed_at: Option<Instant>,
    /// The queued dials of providers that searches have found. [`take_dials`](Self::take_dials) empties this queue.
    dials: Vec<DialOpts>,
    peers: Arc<PeerTable>,
    metrics: Arc<Metrics>,
}

impl Outbound {
    pub(crate) fn new(local: PeerId, config: &DhtConfig, peers: Arc<PeerTable>, metrics: Arc<Metrics>) -> Self {
        Self {
            queries: Queries::new(config.query_timeout),
            local,
            refresh_interval: config.refresh_interval,
            refreshed_at: None,
            dials: Vec::new(),
            peers,
            metrics,
        }
    }

    /// Refreshes the routing table if the last refresh is older than the refresh interval. To be called when this node
    /// was connected to no DHT server and has connected to one.
    ///
    /// A node that has only lost its idle connections still has its routing table, so it does not need a refresh. A
    /// refresh costs one lookup for each bucket, and opens connections that soon become idle.
    pub(crate) fn handle_joined(&mut self, now: Instant, kad: &mut Kademlia) {
        if self.refreshed_at.is_none_or(|at| now >= at + self.refresh_interval) {
            // This call fails only if the routing table is empty, because no address of the server is usable. Then
            // libp2p starts a refresh as soon as a peer is added to the table.
            let _ = kad.bootstrap();
        }
    }

    /// Starts a query. The query holds `permit` until it ends.
    pub(crate) fn start(&mut self, now: Instant, kad: &mut Kademlia, query: DhtQuery, permit: OwnedSemaphorePermit) {
        match query {
            DhtQuery::FindProviders { key, search } => {
                let id = kad.get_providers(record_key(&key));
                self.queries.insert(now, id, Sink::Providers(search), permit);
            }
            DhtQuery::FindValues { key, search } => {
                let id = kad.get_record(record_key(&key));
                self.queries.insert(now, id, Sink::Values(search), permit);
            }
            DhtQuery::FindClosest { target, search } => {
                let id = kad.get_closest_peers(target.to_bytes());
                self.queries.insert(now, id, Sink::Closest(search), permit);
            }
            DhtQuery::Put { key, value, reply } => self.put(now, kad, &key, value, reply, permit),
            DhtQuery::Provide { key, reply } => {
                let started = kad.start_providing(record_key(&key));
                self.provide(now, started, reply, permit);
            }
            DhtQuery::Withdraw { key, only_provided, reply } => {
                let key = record_key(&key);
                let was_provided = remove_own(kad, &key);
                if was_provided || !only_provided {
                    self.withdraw(now, kad, &key, reply, permit);
                } else {
                    let _ = reply.send(Ok(QueryReport::default()));
                }
            }
        }
    }

    /// Puts a value in two phases: finds the nodes closest to the key, and sends the value to these nodes. With two
    /// phases, the report can name the nodes that stored the value.
    fn put(
        &mut self,
        now: Instant,
        kad: &mut Kademlia,
        key: &DhtKey,
        value: Vec<u8>,
        reply: QueryReply,
        permit: OwnedSemaphorePermit,
    ) {
        let record = Record { publisher: Some(self.local), ..Record::new(record_key(key), value) };
        if let Err(error) = kad.store_mut().put(record.clone()) {
            let _ = reply.send(Err(QueryError::Full(store_error(&error))));
            return;
        }
        let id = kad.get_closest_peers(key.to_bytes());
        self.queries.insert(now, id, Sink::PutSearch(record, reply), permit);
    }

    fn provide(
        &mut self,
        now: Instant,
        started: Result<QueryId, kad::store::Error>,
        reply: QueryReply,
        permit: OwnedSemaphorePermit,
    ) {
        match started {
            Ok(id) => self.queries.insert(now, id, Sink::Provide(reply), permit),
            Err(error) => {
                let _ = reply.send(Err(QueryError::Full(store_error(&error))));
            }
        }
    }

    /// Withdraws a key: sends a provider record without addresses. Kademlia sends the record after the call of
    /// `stop_providing`. At that time this node does not provide the key, so [`Behaviour`](super::Behaviour) removes
    /// the addresses from the record.
    fn withdraw(
        &mut self,
        now: Instant,
        kad: &mut Kademlia,
        key: &RecordKey,
        reply: QueryReply,
        permit: OwnedSemaphorePermit,
    ) {
        let started = kad.start_providing(key.clone());
        kad.stop_providing(key);
        self.provide(now, started, reply, permit);
    }

    /// Removes and returns the queued dials.
    pub(crate) fn take_dials(&mut self) -> Vec<DialOpts> {
        std::mem::take(&mut self.dials)
    }

    /// Handles an event from Kademlia about the progress of a query.
    pub(crate) fn handle_event(&mut self, kad: &mut Kademlia, connections: &Connections, event: kad::Event) {
        if let kad::Event::OutboundQueryProgressed { id, result, stats, step } = event {
            self.handle_results(kad, connections, &id, &result);
            if step.last {
                self.handle_finished(kad, &id, &result, &stats);
            }
        }
    }

    /// Sends the results of a query to the search that waits for them. Dials providers at once, because Kademlia
    /// forgets their addresses at the end of the query.
    fn handle_results(
        &mut self,
        kad: &mut Kademlia,
        connections: &Connections,
        id: &QueryId,
        result: &kad::QueryResult,
    ) {
        let is_wanted = match result {
            kad::QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders { key, providers })) => {
                providers.iter().all(|provider| self.handle_provider_found(kad, connections, id, key, *provider))
            }
            kad::QueryResult::GetRecord(Ok(kad::GetRecordOk::FoundRecord(found))) => match self.queries.sink(id) {
                Some((Sink::Values(search), _)) => {
                    search.send(FoundValue { holder: found.peer, value: found.record.value.clone() })
                }
                _ => true,
            },
            kad::QueryResult::GetClosestPeers(
                Ok(kad::GetClosestPeersOk { peers, .. }) | Err(kad::GetClosestPeersError::Timeout { peers, .. }),
            ) => peers.iter().all(|found| {
                let addresses = addresses_of(kad, connections, found.peer_id, &found.addrs);
                match self.queries.sink(id) {
                    Some((Sink::Closest(search), _)) => search.send(FoundProvider { peer: found.peer_id, addresses }),
                    _ => true,
                }
            }),
            _ => true,
        };
        if !is_wanted {
            finish_in_kademlia(kad, id);
        }
    }

    /// Sends a provider to the search that waits for it, and queues a dial. Returns whether the search needs more
    /// results.
    fn handle_provider_found(
        &mut self,
        kad: &mut Kademlia,
        connections: &Connections,
        id: &QueryId,
        key: &RecordKey,
        peer: PeerId,
    ) -> bool {
        if peer == self.local {
            return true;
        }
        let stored = kad.store_mut().providers(key);
        let held = stored.into_iter().find(|record| record.provider == peer).map(|record| record.addresses);
        let addresses = addresses_of(kad, connections, peer, &held.unwrap_or_default());
        let Some((Sink::Providers(search), results)) = self.queries.sink(id) else { return true };
        let is_wanted = search.send(FoundProvider { peer, addresses: addresses.clone() });
        self.peers.discovered(Instant::now(), peer, Source::Dht, &addresses);
        if results <= MAX_DIALS && !addresses.is_empty() {
            let options = DialOpts::peer_id(peer).condition(PeerCondition::DisconnectedAndNotDialing);
            self.dials.push(options.addresses(addresses).build());
        }
        is_wanted
    }

    fn handle_finished(&mut self, kad: &mut Kademlia, id: &QueryId, result: &kad::QueryResult, stats: &QueryStats) {
        let now = Instant::now();
        match self.queries.finish(now, id, result, stats) {
            Some(Finished::Ended(ended)) => self.end(ended),
            Some(Finished::Store(record, peers, pending)) => {
                let id = kad.put_record_to(record, peers.into_iter(), Quorum::All);
                self.queries.resume(now, id, *pending);
            }
            None => {
                if let kad::QueryResult::Bootstrap(outcome) = result {
                    if outcome.is_ok() && stats.num_successes() > 0 {
                        self.refreshed_at = Some(now);
                    }
                    let outcome = if outcome.is_ok() { QueryOutcome::Ok } else { QueryOutcome::Timeout };
                    self.metrics.query_ended(QueryKind::Refresh, outcome, stats.duration().unwrap_or_default());
                }
            }
        }
    }

    /// Ends the queries that are past their deadline, and the searches whose receiving end was dropped.
    pub(crate) fn end_expired(&mut self, now: Instant, kad: &mut Kademlia) {
        for id in self.queries.expired(now) {
            let stats = kad.query(&id).map_or_else(QueryStats::empty, |query| *query.stats());
            if let Some(ended) = self.queries.give_up(now, &id, &stats) {
                self.end(ended);
            }
            finish_in_kademlia(kad, &id);
        }
    }

    fn end(&self, ended: Ended) {
        self.metrics.query_ended(ended.kind, ended.outcome, ended.took);
        ended.deliver();
    }
}

fn store_error(error: &kad::store::Error) -> RecordStoreError {
    match error {
        kad::store::Error::MaxRecords => RecordStoreError::Values,
        kad::store::Error::MaxProvidedKeys => RecordStoreError::Providers,
        kad::store::Error::ValueTooLarge => RecordStoreError::TooLong,
    }
}

fn record_key(key: &DhtKey) -> RecordKey {
    RecordKey::from(key.to_bytes())
}

/// Removes this node's own value and provider record under a key. Returns whether this node provided the key.
fn remove_own(kad: &mut Kademlia, key: &RecordKey) -> bool {
    let was_provided = kad.store_mut().provided().any(|record| record.key == *key);
    kad.store_mut().remove(key);
    kad.stop_providing(key);
    was_provided
}

/// Returns at most eight addresses of a peer that this node may dial: those in `also`, and then those that Kademlia
/// knows.
fn addresses_of(kad: &mut Kademlia, connections: &Connections, peer: PeerId, also: &[Multiaddr]) -> Vec<Multiaddr> {
    // `handle_pending_outbound_connection` returns the addresses in Kademlia's routing table and running queries. It
    // starts no dial, so the connection id does not matter.
    let id = ConnectionId::new_unchecked(0);
    let known = kad.handle_pending_outbound_connection(id, Some(peer), &[], Endpoint::Dialer);
    connections.usable(also.iter().cloned().chain(known.unwrap_or_default()))
}

fn finish_in_kademlia(kad: &mut Kademlia, id: &QueryId) {
    if let Some(mut query) = kad.query_mut(id) {
        query.finish();
    }
}
