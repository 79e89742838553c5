//! Signed DHT records other than pointer records: contact records, authority records, and records of other
//! applications.
//!
//! Every record that a search finds is verified. If several records verify, the newest one is returned.

use std::time::Duration;

use libp2p::PeerId;
use phase_core::dht::MAX_ADDRESSES;
use phase_core::keys::{KeyId, SigningKey};
use phase_core::time::TrustedTime;
use phase_core::{
    Attempt, Authority, Cause, Contact, DhtKey, DhtRecord, Fails, Failure, Label, PeerText, RecordError, SignedRecord,
    V1,
};

use crate::address::{Scope, believable};
use crate::discovery::bootstrap::BootstrapPeer;
use crate::discovery::dht::query::{QueryError, QueryReport};
use crate::error::ConnectError;
use crate::handle::NodeHandle;
use crate::identity::public_key_of;

/// How long a contact record is valid, in seconds. This is twice [`CONTACT_INTERVAL`].
const CONTACT_LIFETIME: u64 = 2 * 60 * 60;
/// The time between two renewals of a node's contact record.
pub const CONTACT_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// An error lists at most this many refused records.
const MAX_REFUSED: usize = 8;

/// The result of a search for a record.
#[derive(Clone, Debug)]
pub struct FoundRecord<R> {
    /// The newest verified record.
    pub record: R,
    /// The number of nodes that hold a valid record. Some of these records may be older than `record`.
    pub holders: usize,
    /// The report of the search.
    pub report: QueryReport,
}

impl NodeHandle {
    /// Signs a record with `key` and puts it into the DHT.
    ///
    /// # Errors
    /// If `key` cannot sign the record, or no node accepts it.
    pub async fn put_record<R: DhtRecord>(&self, record: &R, key: &SigningKey) -> Result<QueryReport, RecordsError> {
        let value = record.seal(key)?;
        Ok(self.put(&record.dht_key(), value).await?)
    }

    /// Puts the contact record of this node into the DHT. The record contains the external addresses, is signed by the
    /// identity of the node, and is valid for two hours. `now` is the Unix time in seconds and becomes the version of
    /// the record.
    ///
    /// # Errors
    /// If this node has no external address, or no node accepts the record.
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

    /// Finds the contact record of a peer.
    ///
    /// # Errors
    /// [`RecordsError::NoKey`] if the peer id does not contain an Ed25519 key; [`RecordsError::NotFound`] if no node
    /// has a record; [`RecordsError::NoneValid`] if no record verifies; [`RecordsError::Query`] if the search fails.
    pub async fn find_contact(&self, peer: PeerId, at: TrustedTime) -> Result<FoundRecord<Contact>, RecordsError> {
        let signer = public_key_of(&peer).ok_or(RecordsError::NoKey(peer))?;
        let text = peer_text(&peer);
        let key = DhtKey::Contact(text.clone());
        self.find_record(&key, |value| Contact::open(value, &text, &signer, at)).await
    }

    /// Checks that the peer of a contact record can be reached: connects to it unless it is already connected. Dials
    /// the addresses in the record and the addresses of the peer in the peer table. A connection is a proof, because
    /// only this peer can complete the handshake.
    ///
    /// # Errors
    /// If the peer cannot be reached.
    pub async fn verify_contact(&self, contact: &Contact) -> Result<(), ConnectError> {
        let peer = contact.peer.as_str().parse().map_err(|_| ConnectError::NoAddress)?;
        let parsed = contact.addresses.iter().filter_map(|text| text.parse::<BootstrapPeer>().ok());
        // Loopback addresses are accepted, because the peer has signed them itself and may be on this machine.
        let addresses = believable(parsed.map(|parsed| parsed.address), Scope::Loopback);
        self.connect(peer, addresses).await
    }

    /// Finds the authority record of a publisher's key. The record lists the names that the key signs, and where they
    /// are served.
    ///
    /// # Errors
    /// [`RecordsError::NotFound`] if no node has a record; [`RecordsError::NoneValid`] if no record verifies;
    /// [`RecordsError::Query`] if the search fails.
    pub async fn find_authority(&self, key: KeyId, at: TrustedTime) -> Result<FoundRecord<Authority>, RecordsError> {
        self.find_record(&DhtKey::Authority(key), |value| Authority::open(value, &key, at)).await
    }

    /// Finds a signed record of another application.
    ///
    /// # Errors
    /// [`RecordsError::NotFound`] if no node has a record; [`RecordsError::NoneValid`] if no record verifies;
    /// [`RecordsError::Query`] if the search fails.
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
            // A verified record is returned even if the search failed, for instance because some nodes did not answer
            // in time.
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

/// A record that does not verify.
#[derive(Debug)]
pub struct RefusedRecord {
    /// The peer that holds the record, or `None` if this node holds it.
    pub holder: Option<PeerId>,
    /// The error from verifying the record.
    pub error: RecordError,
}

impl RefusedRecord {
    fn attempt(&self) -> Attempt {
        let holder = self.holder.map_or_else(|| "this node".to_owned(), |peer| peer.to_string());
        Attempt::new(holder, vec![Cause::new(&self.error)])
    }
}

/// An error from putting or finding a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordsError {
    /// The record could not be signed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The DHT query failed.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// No DHT node has a record under the DHT key.
    #[error("the DHT holds nothing under {key} ({report})")]
    NotFound {
        /// The DHT key that was searched for.
        key: Box<DhtKey>,
        /// The report of the search.
        report: Box<QueryReport>,
    },
    /// Records were found, but none verifies.
    #[error("no record in the DHT under {key} verifies")]
    NoneValid {
        /// The DHT key that was searched for.
        key: Box<DhtKey>,
        /// At most 8 of the records that do not verify, with the peers that hold them.
        refused: Vec<RefusedRecord>,
    },
    /// This node has no external address.
    #[error("this node has no address that peers can dial: start it with a listen address")]
    NoAddress,
    /// The peer id does not contain an Ed25519 key, for instance because it is the hash of a key of another type.
    #[error("{0} is not the peer id of an Ed25519 key, so its records cannot be verified")]
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

    fn attempts(&self) -> Vec<Attempt> {
        match self {
            Self::Query(error) => error.attempts(),
            Self::NotFound { report, .. } => report.attempts(),
            Self::NoneValid { refused, .. } => Attempt::merged(refused.iter().map(RefusedRecord::attempt)),
            _ => Vec::new(),
        }
    }
}
