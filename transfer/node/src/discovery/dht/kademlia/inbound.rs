//! What other nodes ask of our part of the DHT, and what of theirs is kept.

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

/// See the module's documentation.
pub(crate) struct Inbound {
    validator: Validator,
    limiter: Limiter,
    /// What ends the streams of those that are ignored, when they no longer are: at most 32 of each connection.
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

    /// How many requests and records were refused, for whatever reason.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// Peers that are being ignored.
    pub(crate) fn ignored(&self, now: Instant) -> usize {
        self.limiter.ignored(now)
    }

    /// Whether what comes from a peer is within its share. Of what is not, the answer is held back.
    pub(crate) fn admits(&mut self, now: Instant, peer: PeerId, id: ConnectionId, event: &FromPeer) -> bool {
        let Some((request, nothing)) = messages::asked_of_us(event) else { return true };
        let refusal = match self.limiter.admit(now, peer, request) {
            Admission::Accepted => return true,
            Admission::Exceeded => {
                tracing::warn!(%peer, ?request, "asks too much of the DHT and is ignored for a while");
                Refusal::RateLimit
            }
            Admission::Ignored => Refusal::Ignored,
        };
        self.count_refusal(refusal);
        self.held_back.entry(peer).or_default().extend(nothing.map(|nothing| (id, nothing)));
        false
    }

    /// What ends the streams of those that are no longer ignored.
    pub(crate) fn take_released(&mut self, now: Instant) -> Vec<(PeerId, ConnectionId, ToPeer)> {
        let mut released = Vec::new();
        for (peer, answers) in std::mem::take(&mut self.held_back) {
            if self.limiter.is_ignored(now, &peer) {
                self.held_back.insert(peer, answers);
            } else {
                released.extend(answers.into_iter().map(|(id, answer)| (peer, id, answer)));
            }
        }
        released
    }

    /// A connection has ended, and its streams with it.
    pub(crate) fn handle_closed(&mut self, peer: &PeerId, id: ConnectionId) {
        if let Some(answers) = self.held_back.get_mut(peer) {
            answers.retain(|(other, _)| *other != id);
        }
    }

    /// Keeps a record that a peer has sent, if it may be kept.
    pub(crate) fn handle_record(&mut self, connections: &Connections, store: &mut Store, request: InboundRequest) {
        let kept = match request {
            InboundRequest::AddProvider { record: Some(record) } => {
                keep_provider(Instant::now(), connections, store, record)
            }
            InboundRequest::PutRecord { source, record: Some(record), .. } => {
                self.keep_value(connections, store, source, record)
            }
            // Kademlia answers questions by itself.
            _ => Ok(()),
        };
        if let Err(refusal) = kept {
            tracing::debug!(reason = refusal.as_str(), "a record for the DHT is refused");
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
        // Who is said to have published it first is not known to be true, and means nothing here.
        let subnet = connections.subnet_of(&source).ok_or(Refusal::Gone)?;
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
