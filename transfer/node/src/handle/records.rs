//! Signed records in the DHT beyond names: where a node is, what a publisher signs for, values of other applications.
//!
//! Each is verified when it is found; of several the one with the highest version counts.

use std::fmt;
use std::time::Duration;

use libp2p::PeerId;
use phase_core::dht::MAX_ADDRESSES;
use phase_core::keys::{KeyId, SigningKey};
use phase_core::time::TrustedTime;
use phase_core::{
    Authority, Contact, DhtKey, DhtRecord, Fails, Failure, Label, PeerText, RecordError, SignedRecord, V1,
};

use crate::address::{Scope, believable};
use crate::discovery::dht::query::{QueryError, QueryReport};
use crate::discovery::first_peers::BootstrapPeer;
use crate::error::ConnectError;
use crate::handle::NodeHandle;
use crate::identity::public_key_of;

/// How long a contact record is valid, in seconds: twice the time until it is renewed.
const CONTACT_LIFETIME: u64 = 2 * 60 * 60;
/// How often a node renews its contact record.
pub const CONTACT_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Wrong answers that an error names.
const MAX_REFUSED: usize = 8;

/// A record that verified.
#[derive(Clone, Debug)]
pub struct FoundRecord<R> {
    /// The newest one.
    pub record: R,
    /// How many nodes hold it or an older one.
    pub holders: usize,
    /// What the search did.
    pub report: QueryReport,
}

impl NodeHandle {
    /// Puts a signed record where others look for it.
    ///
    /// # Errors
    /// If `key` cannot sign it, or no node takes it.
    pub async fn put_record<R: DhtRecord>(&self, record: &R, key: &SigningKey) -> Result<QueryReport, RecordsError> {
        let value = record.seal(key)?;
        Ok(self.put(&record.dht_key(), value).await?)
    }

    /// Says where we are, signed by our identity, valid for two hours. `now`: Unix time in seconds, which also is the
    /// record's version.
    ///
    /// # Errors
    /// If we have no address that others could dial, or no node takes the record.
    pub async fn advertise_contact(&self, now: u64) -> Result<QueryReport, RecordsError> {
        let mut addresses: Vec<_> = self.external_addresses().await.iter().map(ToString::to_string).collect();
        addresses.truncate(MAX_ADDRESSES);
        if addresses.is_empty() {
            return Err(RecordsError::NoAddress);
        }
        let contact = Contact {
            v: V1,
            peer: peer_text(&self.peer_id()),
            addresses,
            version: now,
            issued_at: now,
            expires_at: now + CONTACT_LIFETIME,
        };
        self.put_record(&contact, &self.identity().signing_key()).await
    }

    /// Where a peer says it is.
    ///
    /// # Errors
    /// [`RecordsError::NotFound`] or [`RecordsError::NoneValid`], which say who was asked.
    pub async fn find_contact(&self, peer: PeerId, at: TrustedTime) -> Result<FoundRecord<Contact>, RecordsError> {
        let signer = public_key_of(&peer).ok_or(RecordsError::NoKey(peer))?;
        let text = peer_text(&peer);
        let key = DhtKey::Contact(text.clone());
        self.find_record(&key, |value| Contact::open(value, &text, &signer, at)).await
    }

    /// Connects to where a contact record says that its peer is: only that peer can answer there.
    ///
    /// # Errors
    /// If it does not.
    pub async fn verify_contact(&self, contact: &Contact) -> Result<(), ConnectError> {
        let peer = contact.peer.as_str().parse().map_err(|_| ConnectError::NoAddress)?;
        let parsed = contact.addresses.iter().filter_map(|text| text.parse::<BootstrapPeer>().ok());
        // Only that peer can have signed it; what is only dialled from this machine is as much as we can check.
        let addresses = believable(parsed.map(|parsed| parsed.address), Scope::Loopback);
        self.connect(peer, addresses).await
    }

    /// What a publisher's key says it signs for, and where that is served.
    ///
    /// # Errors
    /// [`RecordsError::NotFound`] or [`RecordsError::NoneValid`], which say who was asked.
    pub async fn find_authority(&self, key: KeyId, at: TrustedTime) -> Result<FoundRecord<Authority>, RecordsError> {
        self.find_record(&DhtKey::Authority(key), |value| Authority::open(value, &key, at)).await
    }

    /// A value of another application.
    ///
    /// # Errors
    /// [`RecordsError::NotFound`] or [`RecordsError::NoneValid`], which say who was asked.
    pub async fn find_signed(
        &self,
        owner: KeyId,
        label: &Label,
        at: TrustedTime,
    ) -> Result<FoundRecord<SignedRecord>, RecordsError> {
        let key = DhtKey::Record { owner, label: label.clone() };
        self.find_record(&key, |value| SignedRecord::open(value, &owner, label, at)).await
    }

    async fn find_record<R: DhtRecord>(
        &self,
        key: &DhtKey,
        open: impl Fn(&[u8]) -> Result<R, RecordError>,
    ) -> Result<FoundRecord<R>, RecordsError> {
        let (values, outcome) = self.find_values(key).await.collect().await;
        let (mut best, mut holders, mut refused) = (None::<R>, 0, Vec::new());
        for found in values {
            match open(&found.value) {
                Ok(record) => {
                    holders += 1;
                    if best.as_ref().is_none_or(|best| record.rank() > best.rank()) {
                        best = Some(record);
                    }
                }
                Err(error) if refused.len() < MAX_REFUSED => {
                    refused.push(RefusedRecord { holder: found.holder, error });
                }
                Err(_) => {}
            }
        }
        match (best, outcome) {
            // What verifies counts, even if not everybody answered in time.
            (Some(record), outcome) => Ok(FoundRecord { record, holders, report: outcome.unwrap_or_default() }),
            (None, Err(error)) => Err(error.into()),
            (None, Ok(report)) if refused.is_empty() => {
                Err(RecordsError::NotFound { key: Box::new(key.clone()), report: Box::new(report) })
            }
            (None, Ok(_)) => Err(RecordsError::NoneValid { key: Box::new(key.clone()), refused }),
        }
    }
}

fn peer_text(peer: &PeerId) -> PeerText {
    peer.to_string().parse().expect("a peer id of an Ed25519 key is written in base58, shorter than 64 characters")
}

/// A record that does not verify, and who holds it.
#[derive(Debug)]
pub struct RefusedRecord {
    /// Who holds it; `None` is ourselves.
    pub holder: Option<PeerId>,
    /// What is wrong with it.
    pub error: RecordError,
}

impl fmt::Display for RefusedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.holder {
            Some(peer) => write!(f, "{peer}: {}", self.error),
            None => write!(f, "this node: {}", self.error),
        }
    }
}

fn joined(refused: &[RefusedRecord]) -> String {
    refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Why a record was not put or found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordsError {
    /// It cannot be made.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The DHT did not answer as it should.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Nobody has it.
    #[error("the DHT holds nothing under {key} ({report})")]
    NotFound {
        /// What was looked for.
        key: Box<DhtKey>,
        /// Who was asked.
        report: Box<QueryReport>,
    },
    /// What is there does not verify.
    #[error("what the DHT holds under {key} does not verify: {}", joined(refused))]
    NoneValid {
        /// What was looked for.
        key: Box<DhtKey>,
        /// Who answered what.
        refused: Vec<RefusedRecord>,
    },
    /// Nothing to tell.
    #[error("this node has no address that others could dial: listen on one")]
    NoAddress,
    /// A peer id that is only the hash of a key.
    #[error("{0} is not the peer id of an Ed25519 key, so that nothing it signs can be verified")]
    NoKey(PeerId),
}

impl Fails for RecordsError {
    fn failure(&self) -> Failure {
        match self {
            Self::Record(error) => error.failure(),
            Self::Query(error) => error.failure(),
            Self::NotFound { .. } => Failure::NotFound,
            Self::NoneValid { .. } => Failure::Untrusted,
            Self::NoAddress => Failure::Usage,
            Self::NoKey(_) => Failure::Input,
        }
    }
}
