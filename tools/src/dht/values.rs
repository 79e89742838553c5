//! Decodes and verifies the values that the DHT stores under a key.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use phase_cli::Fault;
use phase_core::dht::Pointer;
use phase_core::dht::decode_envelope;
use phase_core::envelope::Payload;
use phase_core::time::TrustedTime;
use phase_core::trust::TrustRoot;
use phase_core::{Authority, Contact, DhtKey, Name, SignedRecord};
use phase_node::{FoundValue, PeerId, public_key_of};

/// One distinct value that was found in the DHT.
pub(super) struct Value {
    /// The length of the encoded value in bytes.
    pub(super) len: usize,
    /// The decoded value; `None` if it cannot be decoded.
    pub(super) content: Option<Content>,
    pub(super) verdict: Verdict,
    /// The nodes that store the value. `None` stands for this node.
    pub(super) holders: BTreeSet<Option<PeerId>>,
    /// The DHT keys under which the value was found, for instance several copies of the DHT key of a name.
    pub(super) keys: BTreeSet<DhtKey>,
}

/// A decoded value, whether or not it verifies.
pub(super) enum Content {
    Pointer(Pointer),
    Contact(Contact),
    Authority(Authority),
    Record(SignedRecord),
}

/// Whether a value verifies. The variants are ordered from the best to the worst.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    Verified,
    /// The value is well-formed. Its signatures cannot be verified, because no trust root was given.
    NotVerified,
    /// The value does not verify. The text is the reason.
    Refused(String),
}

/// Verifies the values at the time `at`. Combines equal values, and sorts the values by verdict, then by age with the
/// newest first.
pub(super) fn judge(
    found: impl IntoIterator<Item = (DhtKey, FoundValue)>,
    root: Option<&TrustRoot>,
    at: TrustedTime,
) -> Vec<Value> {
    let mut values: BTreeMap<Vec<u8>, Value> = BTreeMap::new();
    for (key, FoundValue { holder, value }) in found {
        let entry = values.entry(value).or_insert_with_key(|bytes| {
            let (content, verdict) = read(&key, bytes, root, at);
            Value { len: bytes.len(), content, verdict, holders: BTreeSet::new(), keys: BTreeSet::new() }
        });
        entry.holders.insert(holder);
        entry.keys.insert(key);
    }
    let mut values: Vec<_> = values.into_values().collect();
    values.sort_by_cached_key(|value| (value.verdict.clone(), Reverse(value.content.as_ref().map(Content::rank))));
    values
}

/// Decodes and verifies one value.
fn read(key: &DhtKey, bytes: &[u8], root: Option<&TrustRoot>, at: TrustedTime) -> (Option<Content>, Verdict) {
    match key {
        DhtKey::Name(name) | DhtKey::NameCopy(name, _) => pointer(name, bytes, root, at),
        DhtKey::Contact(peer) => {
            let key = peer.as_str().parse().ok().and_then(|peer| public_key_of(&peer));
            let opened = match key {
                Some(key) => Contact::open(bytes, peer, &key, at).map_err(Fault::from),
                None => Err(Fault::new(phase_core::Failure::Untrusted, "no Ed25519 key belongs to that peer id")),
            };
            self_signed(opened, bytes, Content::Contact)
        }
        DhtKey::Authority(id) => {
            self_signed(Authority::open(bytes, id, at).map_err(Fault::from), bytes, Content::Authority)
        }
        DhtKey::Record { owner, label } => {
            self_signed(SignedRecord::open(bytes, owner, label, at).map_err(Fault::from), bytes, Content::Record)
        }
        DhtKey::Content(_) => (None, Verdict::Refused("the DHT stores no values under a CID".to_owned())),
    }
}

fn self_signed<R: Payload>(
    opened: Result<R, Fault>,
    bytes: &[u8],
    content: fn(R) -> Content,
) -> (Option<Content>, Verdict) {
    match opened {
        Ok(record) => (Some(content(record)), Verdict::Verified),
        // The content is returned even if the record does not verify, so that it can be shown.
        Err(error) => (unverified(bytes).map(content), Verdict::Refused(error.chain())),
    }
}

fn unverified<P: Payload>(bytes: &[u8]) -> Option<P> {
    decode_envelope(bytes).ok()?.payload_unverified().ok()
}

fn pointer(name: &Name, bytes: &[u8], root: Option<&TrustRoot>, at: TrustedTime) -> (Option<Content>, Verdict) {
    let envelope = match decode_envelope(bytes) {
        Ok(envelope) => envelope,
        Err(error) => return (None, Verdict::Refused(Fault::from(error).chain())),
    };
    let claimed: Pointer = match envelope.payload_unverified() {
        Ok(pointer) => pointer,
        Err(error) => return (None, Verdict::Refused(Fault::from(error).chain())),
    };
    let verdict = match root.map(|root| root.verify_pointer(&envelope, name, at)) {
        Some(Ok(_)) => Verdict::Verified,
        Some(Err(error)) => Verdict::Refused(Fault::from(error).chain()),
        None if claimed.name != *name => Verdict::Refused(format!("a pointer record of {}", claimed.name)),
        None if claimed.expires_at <= at.0 => {
            Verdict::Refused(format!("expired at {}", TrustedTime(claimed.expires_at)))
        }
        None => Verdict::NotVerified,
    };
    (Some(Content::Pointer(claimed)), verdict)
}

impl Content {
    /// Returns the version and the time of issue, which decide which of two values is newer.
    fn rank(&self) -> (u64, u64) {
        match self {
            Self::Pointer(pointer) => (pointer.version, pointer.issued_at),
            Self::Contact(contact) => (contact.version, contact.issued_at),
            Self::Authority(authority) => (authority.version, authority.issued_at),
            Self::Record(record) => (record.version, record.issued_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use phase_core::codec::V1;
    use phase_core::{DhtRecord as _, SigningKey};

    use super::*;

    fn record(version: u64) -> (DhtKey, Vec<u8>) {
        let key = SigningKey::from_secret_bytes(&[1; 32]);
        let (label, value) = ("motd".parse().unwrap(), version.to_string().into_bytes());
        let record = SignedRecord { v: V1, key: key.public(), label, value, version, issued_at: 1, expires_at: 100 };
        (record.dht_key(), record.seal(&key).unwrap())
    }

    fn found(key: &DhtKey, value: Vec<u8>) -> (DhtKey, FoundValue) {
        (key.clone(), FoundValue { holder: Some(PeerId::random()), value })
    }

    #[test]
    fn equal_values_are_combined_and_the_newest_that_verifies_is_first() {
        let ((key, old), (_, new)) = (record(1), record(2));
        let all = [found(&key, b"nonsense".to_vec()), found(&key, old.clone()), found(&key, new), found(&key, old)];
        let values = judge(all.clone(), None, TrustedTime(50));
        let seen: Vec<_> =
            values.iter().map(|value| (value.verdict == Verdict::Verified, value.holders.len())).collect();
        assert_eq!(seen, [(true, 1), (true, 2), (false, 1)]);
        assert!(matches!(&values[0].content, Some(Content::Record(record)) if record.version == 2));
        let values = judge(all, None, TrustedTime(100));
        assert!(
            values.iter().all(|value| matches!(value.verdict, Verdict::Refused(_))),
            "an expired value is not refused"
        );
        assert!(values.iter().any(|value| value.content.is_some()), "no content of an expired value is shown");
    }
}
