//! Which DHT records of others a node keeps.
//!
//! A node cannot check a pointer's signature without the trust root of its channel, which a stranger's DHT node
//! does not have. What it can do is refuse what is certainly useless: wrong namespace, malformed, about another
//! name, older than what is held. Whoever reads a pointer verifies it.

use libp2p::Multiaddr;
use libp2p::kad::{ProviderRecord, Record};
use phase_core::pointer::{MAX_POINTER_LEN, Pointer};

/// The longest value that is stored, in bytes. Kademlia's packets hold 16 KiB.
pub(super) const MAX_VALUE_LEN: usize = MAX_POINTER_LEN;
/// The longest key that is stored: a name key takes at most 145 bytes, a CID 36.
const MAX_KEY_LEN: usize = 160;
/// Addresses kept of one provider record.
const MAX_ADDRESSES: usize = 8;

/// What to do with an inbound provider record.
pub(super) enum ProviderVerdict {
    /// Keep this.
    Store(ProviderRecord),
    /// The provider says it no longer has the content: an announcement without an address.
    Withdraw,
    /// Drop it.
    Refuse,
}

/// Whether an inbound value may replace `held`, the value stored under the same key.
pub(super) fn accepts_value(record: &Record, held: Option<&Record>) -> bool {
    let Some(new) = pointer_of(record) else { return false };
    match held.and_then(pointer_of) {
        Some(old) => (new.version, new.issued_at) >= (old.version, old.issued_at),
        None => true,
    }
}

/// The unverified pointer in a record, if it is well formed and about the name that the key spells.
fn pointer_of(record: &Record) -> Option<Pointer> {
    if record.value.len() > MAX_VALUE_LEN || record.key.as_ref().len() > MAX_KEY_LEN {
        return None;
    }
    let pointer: Pointer = Pointer::decode_envelope(&record.value).ok()?.payload_unverified().ok()?;
    (pointer.name.key().as_bytes() == record.key.as_ref()).then_some(pointer)
}

/// What to do with an inbound provider record. Kademlia has already checked that the provider sent it itself.
pub(super) fn judge_provider(mut record: ProviderRecord) -> ProviderVerdict {
    if record.key.as_ref().len() > MAX_KEY_LEN {
        return ProviderVerdict::Refuse;
    }
    if record.addresses.is_empty() {
        return ProviderVerdict::Withdraw;
    }
    record.addresses.retain(is_dialable);
    record.addresses.truncate(MAX_ADDRESSES);
    if record.addresses.is_empty() { ProviderVerdict::Refuse } else { ProviderVerdict::Store(record) }
}

/// Whether an address can be dialled at all: it names a host and a port, and not the unspecified ones.
pub(super) fn is_dialable(address: &Multiaddr) -> bool {
    use libp2p::multiaddr::Protocol;
    let mut host = false;
    let mut port = false;
    for part in address {
        match part {
            Protocol::Ip4(ip) => host = !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
            Protocol::Ip6(ip) => host = !ip.is_unspecified() && !ip.is_multicast(),
            Protocol::Tcp(0) | Protocol::Udp(0) => return false,
            Protocol::Tcp(_) | Protocol::Udp(_) => port = true,
            _ => {}
        }
    }
    host && port
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::PeerId;
    use libp2p::kad::RecordKey;
    use phase_core::Cid;
    use phase_core::codec::V1;
    use phase_core::envelope::Envelope;
    use phase_core::keys::SigningKey;

    fn record(name: &str, key: &str, version: u64) -> Record {
        let pointer = Pointer {
            v: V1,
            name: name.parse().unwrap(),
            manifest: Cid::of_block(b"manifest"),
            version,
            issued_at: 10,
            expires_at: 20,
            urls: Vec::new(),
        };
        let mut envelope = Envelope::unsigned(&pointer).unwrap();
        envelope.sign::<Pointer>(&SigningKey::generate().unwrap()).unwrap();
        Record::new(RecordKey::new(&key), envelope.encode())
    }

    #[test]
    fn only_pointers_about_their_own_key_are_kept() {
        let key = "/phase/stable/x86_64/manifest";
        assert!(accepts_value(&record("stable/x86_64", key, 1), None));
        assert!(!accepts_value(&record("edge/x86_64", key, 1), None));
        assert!(!accepts_value(&Record::new(RecordKey::new(&key), b"junk".to_vec()), None));
    }

    #[test]
    fn a_pointer_never_goes_back() {
        let key = "/phase/stable/x86_64/manifest";
        let (old, new) = (record("stable/x86_64", key, 4), record("stable/x86_64", key, 5));
        assert!(accepts_value(&new, Some(&old)));
        assert!(!accepts_value(&old, Some(&new)));
    }

    #[test]
    fn providers_need_an_address_that_can_be_dialled() {
        let judge = |addresses: &[&str]| {
            judge_provider(ProviderRecord {
                key: RecordKey::new(&"key"),
                provider: PeerId::random(),
                expires: None,
                addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            })
        };
        assert!(matches!(judge(&[]), ProviderVerdict::Withdraw));
        assert!(matches!(judge(&["/ip4/0.0.0.0/tcp/1", "/ip4/1.2.3.4/tcp/0", "/tcp/3"]), ProviderVerdict::Refuse));
        let many: Vec<String> = (1..100).map(|n| format!("/ip4/10.0.0.{n}/tcp/4001")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let ProviderVerdict::Store(kept) = judge(&many) else { panic!("refused") };
        assert_eq!(kept.addresses.len(), MAX_ADDRESSES);
    }
}
