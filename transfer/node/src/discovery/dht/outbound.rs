//! What we ask of the DHT, and what comes of it.

use libp2p::core::Endpoint;
use libp2p::kad::store::RecordStore as _;
use libp2p::kad::{self, QueryId, QueryStats, Quorum, Record, RecordKey};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, NetworkBehaviour as _, ToSwarm};
use libp2p::{Multiaddr, PeerId};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::address;
use crate::discovery::dht::queries::{Ended, Finished, Sink};
use crate::discovery::dht::{Behaviour, usable};
use crate::discovery::dht_command::{
    DhtCommand, DhtStats, FoundProvider, FoundValue, QueryError, QueryReply, QueryReport, RoutingPeer,
};
use crate::metrics::{QueryKind, QueryOutcome};
use crate::peer_table::Source;

/// Providers that one search dials: enough for any fetch, too few to aim a network at somebody.
const MAX_DIALS: usize = 32;

impl Behaviour {
    pub(crate) fn command(&mut self, now: Instant, command: DhtCommand) {
        match command {
            DhtCommand::FindProviders { key, search, permit } => {
                let id = self.kad.get_providers(RecordKey::new(&key));
                self.queries.insert(now, id, Sink::Providers(search), permit);
            }
            DhtCommand::FindValues { key, search, permit } => {
                let id = self.kad.get_record(RecordKey::new(&key));
                self.queries.insert(now, id, Sink::Values(search), permit);
            }
            DhtCommand::FindClosest { key, search, permit } => {
                let id = self.kad.get_closest_peers(key);
                self.queries.insert(now, id, Sink::Closest(search), permit);
            }
            DhtCommand::Put { key, value, reply, permit } => self.put(now, key, value, reply, permit),
            DhtCommand::Provide { key, reply, permit } => {
                let started = self.kad.start_providing(RecordKey::new(&key));
                self.provide(now, started, reply, permit);
            }
            DhtCommand::Withdraw { key, only_provided, reply, permit } => {
                let was_provided = self.forget(&key);
                if was_provided || !only_provided {
                    self.withdraw(now, &key, reply, permit);
                } else {
                    let _ = reply.send(Ok(QueryReport::default()));
                }
            }
            DhtCommand::Routing { reply } => {
                let _ = reply.send(self.routing_table());
            }
            DhtCommand::Stats { reply } => {
                let _ = reply.send(self.stats(now));
            }
        }
    }

    /// Looks for the closest nodes first, then gives them the value: so it is known who has it.
    fn put(&mut self, now: Instant, key: Vec<u8>, value: Vec<u8>, reply: QueryReply, permit: OwnedSemaphorePermit) {
        let record = Record { publisher: Some(self.local), ..Record::new(RecordKey::new(&key), value) };
        if let Err(error) = self.kad.store_mut().put(record.clone()) {
            let _ = reply.send(Err(QueryError::Full(error.to_string())));
            return;
        }
        let id = self.kad.get_closest_peers(key);
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
                let _ = reply.send(Err(QueryError::Full(error.to_string())));
            }
        }
    }

    /// Forgets what is our own under a key; returns whether we provided it.
    fn forget(&mut self, key: &[u8]) -> bool {
        let key = RecordKey::new(&key);
        let was_provided = self.kad.store_mut().provided().any(|record| record.key == key);
        self.kad.store_mut().remove(&key);
        self.kad.stop_providing(&key);
        was_provided
    }

    /// Announces without addresses: [`handle`](Behaviour::handle) removes those of what we do not provide.
    fn withdraw(&mut self, now: Instant, key: &[u8], reply: QueryReply, permit: OwnedSemaphorePermit) {
        let key = RecordKey::new(&key);
        let started = self.kad.start_providing(key.clone());
        self.kad.stop_providing(&key);
        self.provide(now, started, reply, permit);
    }

    pub(crate) fn handle_event(&mut self, event: kad::Event) {
        if let kad::Event::OutboundQueryProgressed { id, result, stats, step } = event {
            self.handle_results(&id, &result);
            if step.last {
                self.handle_finished(&id, &result, &stats);
            }
        }
    }

    /// Passes on what a search has found. Providers are dialled here, while the query still knows their addresses.
    fn handle_results(&mut self, id: &QueryId, result: &kad::QueryResult) {
        let is_wanted = match result {
            kad::QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders { key, providers })) => {
                providers.iter().all(|provider| self.handle_provider_found(id, key, *provider))
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
                let addresses = self.addresses_of(found.peer_id, &found.addrs);
                match self.queries.sink(id) {
                    Some((Sink::Closest(search), _)) => search.send(FoundProvider { peer: found.peer_id, addresses }),
                    _ => true,
                }
            }),
            _ => true,
        };
        if !is_wanted {
            self.finish_in_kademlia(id);
        }
    }

    /// Returns whether more are wanted.
    fn handle_provider_found(&mut self, id: &QueryId, key: &RecordKey, peer: PeerId) -> bool {
        if peer == self.local {
            return true;
        }
        let stored = self.kad.store_mut().providers(key);
        let held = stored.into_iter().find(|record| record.provider == peer).map(|record| record.addresses);
        let addresses = self.addresses_of(peer, &held.unwrap_or_default());
        let Some((Sink::Providers(search), results)) = self.queries.sink(id) else { return true };
        let is_wanted = search.send(FoundProvider { peer, addresses: addresses.clone() });
        self.peers.discovered(Instant::now(), peer, Source::Dht, &addresses);
        if results <= MAX_DIALS && !addresses.is_empty() {
            let options = DialOpts::peer_id(peer).condition(PeerCondition::DisconnectedAndNotDialing);
            self.out.push_back(ToSwarm::Dial { opts: options.addresses(addresses).build() });
        }
        is_wanted
    }

    /// Everything that is known about where a peer is, as far as it can be dialled from here.
    fn addresses_of(&mut self, peer: PeerId, also: &[Multiaddr]) -> Vec<Multiaddr> {
        // What Kademlia would dial: the addresses in its routing table and in the queries under way.
        let id = ConnectionId::new_unchecked(0);
        let known = self.kad.handle_pending_outbound_connection(id, Some(peer), &[], Endpoint::Dialer);
        usable(also.iter().cloned().chain(known.unwrap_or_default()), self.horizon)
    }

    fn handle_finished(&mut self, id: &QueryId, result: &kad::QueryResult, stats: &QueryStats) {
        let now = Instant::now();
        match self.queries.finish(now, id, result, stats) {
            Some(Finished::Ended(ended)) => self.end(ended),
            Some(Finished::Store(record, peers, pending)) => {
                let id = self.kad.put_record_to(record, peers.into_iter(), Quorum::All);
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

    pub(crate) fn end_expired_queries(&mut self, now: Instant) {
        for id in self.queries.expired(now) {
            let stats = self.kad.query(&id).map_or_else(QueryStats::empty, |query| *query.stats());
            if let Some(ended) = self.queries.give_up(now, &id, &stats) {
                self.end(ended);
            }
            self.finish_in_kademlia(&id);
        }
    }

    fn finish_in_kademlia(&mut self, id: &QueryId) {
        if let Some(mut query) = self.kad.query_mut(id) {
            query.finish();
        }
    }

    fn end(&self, ended: Ended) {
        self.metrics.query_ended(ended.kind, ended.outcome, ended.took);
        ended.tell();
    }

    fn routing_table(&mut self) -> Vec<RoutingPeer> {
        let buckets = self.kad.kbuckets();
        let peers = buckets.flat_map(|bucket| {
            let number = bucket.range().0.ilog2().unwrap_or(0);
            let peers = bucket.iter().map(move |entry| RoutingPeer {
                peer: *entry.node.key.preimage(),
                addresses: entry.node.value.iter().cloned().map(address::without_peer).collect(),
                is_connected: entry.status == kad::NodeStatus::Connected,
                bucket: number,
            });
            peers.collect::<Vec<_>>()
        });
        peers.collect()
    }

    pub(crate) fn stats(&mut self, now: Instant) -> DhtStats {
        let counts = self.kad.store_mut().counts();
        DhtStats {
            is_server: self.kad.mode() == kad::Mode::Server,
            routing_peers: self.kad.kbuckets().map(|bucket| bucket.num_entries()).sum(),
            connected_peers: self.servers.len(),
            own_values: counts.own_values,
            own_provided: counts.own_provided,
            values: counts.values,
            providers: counts.providers,
            refused: self.refused,
            ignored_peers: self.limiter.ignored(now),
            queries: self.kad.iter_queries().count(),
        }
    }
}
