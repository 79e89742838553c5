//! What other nodes ask of our part of the DHT.

use libp2p::PeerId;
use libp2p::kad::store::RecordStore as _;
use libp2p::kad::{InboundRequest, ProviderRecord, Record};
use tokio::time::Instant;

use crate::discovery::dht::Behaviour;
use crate::discovery::dht::limits::{Admission, Request};
use crate::discovery::dht::validate::{self, ProviderVerdict, Refusal};

impl Behaviour {
    /// Whether what `peer` asks is within its share.
    pub(crate) fn admits(&mut self, peer: PeerId, request: Request) -> bool {
        let refusal = match self.limiter.admit(Instant::now(), peer, request) {
            Admission::Accepted => return true,
            Admission::Exceeded => {
                tracing::warn!(%peer, ?request, "asks too much of the DHT and is ignored for a while");
                Refusal::RateLimit
            }
            Admission::Ignored => Refusal::Ignored,
        };
        self.count_refusal(refusal);
        false
    }

    /// Keeps a record that a peer has sent, if it may be kept.
    pub(crate) fn handle_record(&mut self, request: InboundRequest) {
        let kept = match request {
            InboundRequest::AddProvider { record: Some(record) } => self.handle_provider(Instant::now(), record),
            InboundRequest::PutRecord { source, record: Some(record), .. } => self.handle_value(source, record),
            // Kademlia answers questions by itself.
            _ => Ok(()),
        };
        if let Err(refusal) = kept {
            tracing::debug!(reason = refusal.as_str(), "a record for the DHT is refused");
            self.count_refusal(refusal);
        }
    }

    fn handle_value(&mut self, source: PeerId, record: Record) -> Result<(), Refusal> {
        let held = self.kad.store_mut().get(&record.key).map(|held| held.into_owned());
        self.validator.judge_value(&record, held.as_ref())?;
        // Who is said to have published it first is not known to be true, and means nothing here.
        let subnet = self.subnet_of(&source).ok_or(Refusal::Gone)?;
        self.kad.store_mut().keep_value(Record { publisher: None, ..record }, source, subnet)
    }

    fn handle_provider(&mut self, now: Instant, record: ProviderRecord) -> Result<(), Refusal> {
        let (key, provider) = (record.key.clone(), record.provider);
        let from = self.scope_of(&provider);
        match validate::judge_provider(record, from)? {
            ProviderVerdict::Keep(record) => {
                let subnet = self.subnet_of(&provider).ok_or(Refusal::Gone)?;
                self.kad.store_mut().keep_provider(now, record, subnet)
            }
            ProviderVerdict::Withdraw => {
                self.kad.store_mut().withdraw_provider(&key, &provider);
                Ok(())
            }
        }
    }

    fn count_refusal(&mut self, refusal: Refusal) {
        self.refused += 1;
        self.metrics.refused(refusal.as_str());
    }
}
