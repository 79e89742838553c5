//! Decides which records from peers a node stores.
//!
//! | key | stored if |
//! |---|---|
//! | `/phase/<channel>/<arch>/manifest`, and its copies `…/manifest/<n>` | a pointer for that name, signed, not expired, and accepted by a trust root of this node if any root has the channel |
//! | `/phase/contact/<peer id>` | signed by the key of that peer, not expired |
//! | `/phase/authority/<key id>` | signed by that key, not expired |
//! | `/phase/record/<key id>/<label>` | signed by that key, not expired |
//!
//! Any other record is refused. A record that is older than the stored record of the same key is refused too.
//!
//! A node without the trust root of a channel cannot verify the signature of a pointer, because the pointer contains
//! only the hash of the public key. The client that reads the pointer verifies it.

use libp2p::PeerId;
use libp2p::kad::{ProviderRecord, Record};
use phase_core::dht::{DhtRecord, MAX_RECORD_LEN, Pointer, Rank, decode_envelope};
use phase_core::envelope::Envelope;
use phase_core::time::TrustedTime;
use phase_core::trust::TrustRoot;
use phase_core::{Authority, Contact, DhtKey, Name, SignedRecord};

use crate::address::{self, Scope};
use crate::discovery::dht::config::Clock;
use crate::identity;

/// The maximum length of a stored value, in bytes. It leaves space for the other fields of a Kademlia message, which
/// has at most 16 KiB.
pub(crate) const MAX_VALUE_LEN: usize = MAX_RECORD_LEN;

/// The reason for refusing a record or request from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The type of the DHT key is unknown, or does not permit this type of record.
    Namespace,
    /// The value is longer than [`MAX_VALUE_LEN`].
    TooLong,
    /// The value is malformed, or belongs under another DHT key.
    Malformed,
    /// The value has no valid signature by a required key.
    Unsigned,
    /// The expiry time in the value has passed.
    Expired,
    /// The value is older than the stored value.
    Older,
    /// The provider record contains no address that is accepted from its sender.
    NoAddress,
    /// The store is full, and no stored record may be evicted for the new record.
    Full,
    /// The sender has disconnected, so its subnet is unknown.
    Gone,
    /// This request exceeds a rate limit of the peer.
    RateLimit,
    /// The peer is ignored, because an earlier request exceeded a rate limit.
    Ignored,
}

impl Refusal {
    /// Returns the label of the reason in metrics and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Unsigned => "unsigned",
            Self::Expired => "expired",
            Self::Older => "older",
            Self::NoAddress => "no_address",
            Self::Full => "full",
            Self::Gone => "gone",
            Self::RateLimit => "rate_limit",
            Self::Ignored => "ignored",
        }
    }
}

/// The decision about a provider record from a peer.
#[derive(Debug)]
pub(crate) enum ProviderVerdict {
    /// The caller stores this record, which contains only the accepted addresses.
    Keep(ProviderRecord),
    /// The caller removes the provider's stored record, because a record without addresses is a withdrawal.
    Withdraw,
}

/// Decides which values from peers are stored.
pub(crate) struct Validator {
    pub(crate) roots: Vec<TrustRoot>,
    pub(crate) clock: Option<Clock>,
}

impl Validator {
    /// Checks a value from a peer. `held` is the stored value of the same key, which the new value would replace.
    ///
    /// # Errors
    /// A [`Refusal`] if the value must not be stored.
    pub(crate) fn judge_value(&self, record: &Record, held: Option<&Record>) -> Result<(), Refusal> {
        if record.value.len() > MAX_VALUE_LEN {
            return Err(Refusal::TooLong);
        }
        let key = DhtKey::from_bytes(record.key.as_ref()).map_err(|_| Refusal::Namespace)?;
        let new = self.judge(&key, &record.value)?;
        match held.and_then(rank) {
            Some(old) if new < old => Err(Refusal::Older),
            _ => Ok(()),
        }
    }

    fn judge(&self, key: &DhtKey, value: &[u8]) -> Result<Rank, Refusal> {
        // Without a clock, use Unix time 0, so that no record counts as expired.
        let now = TrustedTime(self.clock.as_ref().map_or(0, |clock| clock()));
        match key {
            DhtKey::Name(name) | DhtKey::NameCopy(name, _) => self.judge_pointer(name, value, now),
            DhtKey::Contact(peer) => {
                let id: PeerId = peer.as_str().parse().map_err(|_| Refusal::Namespace)?;
                let signer = identity::public_key_of(&id).ok_or(Refusal::Namespace)?;
                Ok(Contact::open(value, peer, &signer, now)?.rank())
            }
            DhtKey::Authority(id) => Ok(Authority::open(value, id, now)?.rank()),
            DhtKey::Record { owner, label } => Ok(SignedRecord::open(value, owner, label, now)?.rank()),
            // Content is announced with provider records, so no value belongs under its DHT key.
            DhtKey::Content(_) => Err(Refusal::Namespace),
        }
    }

    fn judge_pointer(&self, name: &Name, value: &[u8], now: TrustedTime) -> Result<Rank, Refusal> {
        let envelope = decode_envelope(value).map_err(|_| Refusal::Malformed)?;
        let pointer: Pointer = envelope.payload_unverified().map_err(|_| Refusal::Malformed)?;
        if pointer.name != *name {
            return Err(Refusal::Malformed);
        }
        if envelope.signatures().is_empty() {
            return Err(Refusal::Unsigned);
        }
        if pointer.expires_at <= now.0 {
            return Err(Refusal::Expired);
        }
        let mut roots = self.roots.iter().filter(|root| root.channels.contains_key(&name.channel)).peekable();
        if roots.peek().is_some() && !roots.any(|root| root.verify_pointer(&envelope, name, now).is_ok()) {
            return Err(Refusal::Unsigned);
        }
        Ok(pointer.rank())
    }
}

impl From<phase_core::RecordError> for Refusal {
    fn from(error: phase_core::RecordError) -> Self {
        use phase_core::RecordError;
        use phase_core::envelope::EnvelopeError;
        match error {
            RecordError::Expired { .. } => Self::Expired,
            RecordError::Signatures { .. }
            | RecordError::Signer { .. }
            | RecordError::Envelope(EnvelopeError::Signatures { .. }) => Self::Unsigned,
            _ => Self::Malformed,
        }
    }
}

/// Returns the rank of a stored record, which decides which of two records is newer. Returns `None` if the record
/// cannot be decoded.
pub(crate) fn rank(record: &Record) -> Option<Rank> {
    let envelope = decode_envelope(&record.value).ok()?;
    match DhtKey::from_bytes(record.key.as_ref()).ok()? {
        DhtKey::Name(_) | DhtKey::NameCopy(..) => rank_of::<Pointer>(&envelope),
        DhtKey::Contact(_) => rank_of::<Contact>(&envelope),
        DhtKey::Authority(_) => rank_of::<Authority>(&envelope),
        DhtKey::Record { .. } => rank_of::<SignedRecord>(&envelope),
        DhtKey::Content(_) => None,
    }
}

fn rank_of<R: DhtRecord>(envelope: &Envelope) -> Option<Rank> {
    envelope.payload_unverified::<R>().ok().map(|record| record.rank())
}

/// Decides whether to store a provider record. `from` is the scope of the provider's connection, and only addresses
/// that are accepted from this scope are kept. Kademlia has already checked that the provider itself sent the record.
///
/// # Errors
/// A [`Refusal`] if the record must not be stored.
pub(crate) fn judge_provider(mut record: ProviderRecord, from: Scope) -> Result<ProviderVerdict, Refusal> {
    if !matches!(
        DhtKey::from_bytes(record.key.as_ref()),
        Ok(DhtKey::Name(_) | DhtKey::NameCopy(..) | DhtKey::Content(_))
    ) {
        return Err(Refusal::Namespace);
    }
    if record.addresses.is_empty() {
        return Ok(ProviderVerdict::Withdraw);
    }
    record.addresses = address::believable(record.addresses, from);
    if record.addresses.is_empty() { Err(Refusal::NoAddress) } else { Ok(ProviderVerdict::Keep(record)) }
}
