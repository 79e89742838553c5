//! Inbound requests from peers. Limits how many requests each peer may send, and decides which records are stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use libp2p::PeerId;
use libp2p::kad::store::RecordStore as _;
use libp2p::kad::{InboundRequest, ProviderRecord, Record};
use libp2p::swarm::ConnectionId;
use tokio::time::Instant;

use crate::discovery::dht::config::DhtConfig;
use crate::discovery::dht::kademlia::connections::Connections;
use crate::discovery::dht::kademlia::limits::{Admission, Limiter};
use crate::discovery::dht::kademlia::messages::{self, FromPeer, ToPeer};
use crate::discovery::dht::kademlia::store::Store;
use crate::discovery::dht::kademlia::validate::{self, ProviderVerdict, Refusal, Validator};
use crate::metrics::Metrics;

/// The limits and checks for inbound requests.
pub(crate) struct Inbound {
    validator: Validator,
    limiter: Limiter,
    /// The delayed empty replies to requests from ignored peers. A reply is sent when its peer is no longer ignored, so
    /// that the stream of the request becomes free. A connection has at most 32 of these replies, because libp2p
    /// permits no more open requests.
    held_back: BTreeMap<PeerId, Vec<(ConnectionId, ToPeer)>>,
    refused: u64,
    metrics: Arc<Metrics>,
}

impl Inbound {
    pub(crate) fn new(config: &DhtConfig, metrics: Arc<Metrics>) -> Self {
        Self {
            validator: Validator { roots: config.roots.clone(), clock: config.clock.clone() },
            limiter: Limiter::new(config.limits),
            held_back: BTreeMap::new(),
            refused: 0,
            metrics,
        }
    }

    /// Returns the total number of refused requests and records.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// Returns the number of currently ignored peers.
    pub(crate) fn ignored(&self, now: Instant) -> usize {
        self.limiter.ignored(now)
    }

    /// Returns whether an event from a peer may be passed to Kademlia. Returns `false` only for a request that exceeds
    /// the peer's limit or comes from an ignored peer. For such a request, counts a refusal and queues an empty reply,
    /// which is sent when the peer is no longer ignored.
    pub(crate) fn admits(&mut self, now: Instant, peer: PeerId, id: ConnectionId, event: &FromPeer) -> bool {
        let Some((request, empty_reply)) = messages::inbound_request(event) else { return true };
        let refusal = match self.limiter.admit(now, peer, request) {
            Admission::Accepted => return true,
            Admission::Exceeded => {
                tracing::warn!(%peer, ?request, "ignoring a peer for a while, because it sends too many DHT requests");
                Refusal::RateLimit
            }
            Admission::Ignored => Refusal::Ignored,
        };
        self.count_refusal(refusal);
        self.held_back.entry(peer).or_default().extend(empty_reply.map(|reply| (id, reply)));
        false
    }

    /// Removes and returns the queued empty replies to peers that are no longer ignored.
    pub(crate) fn take_released(&mut self, now: Instant) -> Vec<(PeerId, ConnectionId, ToPeer)> {
        let mut released = Vec::new();
        for (peer, replies) in std::mem::take(&mut self.held_back) {
            if self.limiter.is_ignored(now, &peer) {
                self.held_back.insert(peer, replies);
            } else {
                released.extend(replies.into_iter().map(|(id, reply)| (peer, id, reply)));
            }
        }
        released
    }

    /// Drops the queued empty replies for a closed connection.
    pub(crate) fn handle_closed(&mut self, peer: &PeerId, id: ConnectionId) {
        if let Some(replies) = self.held_back.get_mut(peer) {
            replies.retain(|(other, _)| *other != id);
        }
    }

    /// Stores a record that a peer has sent. If the record is invalid or the store is full, counts a refusal.
    pub(crate) fn handle_record(&mut self, connections: &Connections, store: &mut Store, request: InboundRequest) {
        let kept = match request {
            InboundRequest::AddProvider { record: Some(record) } => {
                keep_provider(Instant::now(), connections, store, record)
            }
            InboundRequest::PutRecord { source, record: Some(record), .. } => {
                self.keep_value(connections, store, source, record)
            }
            // Kademlia answers queries itself, so their events need no action.
            _ => Ok(()),
        };
        if let Err(refusal) = kept {
            tracing::debug!(reason = refusal.as_str(), "refusing a DHT record of a peer");
            self.count_refusal(refusal);
        }
    }

    fn keep_value(
        &self,
        connections: &Connections,
        store: &mut Store,
        source: PeerId,
        record: Record,
    ) -> Result<(), Refusal> {
        let held = store.get(&record.key).map(|held| held.into_owned());
        self.validator.judge_value(&record, held.as_ref())?;
        let subnet = connections.subnet_of(&source).ok_or(Refusal::Gone)?;
        // The field `publisher` is a peer id that no signature proves, so it is not stored.
        store.keep_value(Record { publisher: None, ..record }, source, subnet)
    }

    fn count_refusal(&mut self, refusal: Refusal) {
        self.refused += 1;
        self.metrics.refused(refusal.as_str());
    }
}

fn keep_provider(
    now: Instant,
    connections: &Connections,
    store: &mut Store,
    record: ProviderRecord,
) -> Result<(), Refusal> {
    let (key, provider) = (record.key.clone(), record.provider);
    let from = connections.scope_of(&provider);
    match validate::judge_provider(record, from)? {
        ProviderVerdict::Keep(record) => {
            let subnet = connections.subnet_of(&provider).ok_or(Refusal::Gone)?;
            store.keep_provider(now, record, subnet)
        }
        ProviderVerdict::Withdraw => {
            store.withdraw_provider(&key, &provider);
            Ok(())
        }
    }
}
