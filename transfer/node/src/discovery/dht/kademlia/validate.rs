//! Which records of others a node keeps.
//!
//! | key | kept if |
//! |---|---|
//! | `/phase/<channel>/<arch>/manifest`, and its copies | a pointer about that name, signed, not expired, and accepted by our trust root if we have one for the channel |
//! | `/phase/contact/<peer id>` | signed by that peer's own key, not expired |
//! | `/phase/authority/<key id>` | signed by that key, not expired |
//! | `/phase/record/<key id>/<label>` | signed by that key, not expired |
//!
//! Everything else is refused, and so is what is older than what is held. Without the trust root of a channel, which a
//! stranger's node does not have, the signature of a pointer cannot be verified: the record names its key by a hash.
//! Whoever reads a pointer verifies it.

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

/// The longest value that is stored, in bytes. Kademlia's packets hold 16 KiB.
pub(crate) const MAX_VALUE_LEN: usize = MAX_RECORD_LEN;

/// Why something of others is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The key is of no kind we know.
    Namespace,
    /// Longer than any value.
    TooLong,
    /// Not what belongs under its key, not well formed, or about something else.
    Malformed,
    /// Not signed by whom it should be.
    Unsigned,
    /// Its own time is over.
    Expired,
    /// Older than what is held.
    Older,
    /// A provider record without an address that its sender could have.
    NoAddress,
    /// There is no room.
    Full,
    /// Its sender has gone: where it was seen is not known.
    Gone,
    /// The peer asked too much.
    RateLimit,
    /// The peer is being ignored because it asked too much.
    Ignored,
}

impl Refusal {
    /// As a label of the metrics.
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

/// What to do with a provider record of somebody else.
#[derive(Debug)]
pub(crate) enum ProviderVerdict {
    /// Keep this.
    Keep(ProviderRecord),
    /// The provider says it no longer has the content: an announcement without an address.
    Withdraw,
}

/// Knows what may be kept.
pub(crate) struct Validator {
    pub(crate) roots: Vec<TrustRoot>,
    pub(crate) clock: Option<Clock>,
}

impl Validator {
    /// Whether a value of somebody else may replace `held`, the value under the same key.
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
        // Without a clock it is the beginning of time, at which nothing has expired.
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
            // Whoever has content says so with a provider record.
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

/// How new a record that is held says it is; `None` if it says nothing.
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

/// What to do with a provider record of somebody else, who is connected from `from`. Kademlia has already checked that
/// the provider sent it itself.
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
