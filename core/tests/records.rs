//! Tests that a DHT record is accepted only if the one key that may sign it has signed it, if the record is for the DHT
//! key under which it was found, and if the record has not expired.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use phase_core::codec::V1;
use phase_core::{
    Authority, Contact, DhtKey, DhtRecord, Envelope, EnvelopeError, Label, MAX_RECORD_LEN, Payload, PeerText, Pointer,
    RecordError, SignedRecord, SigningKey, TrustedTime,
};
use proptest::prelude::*;

const ISSUED: u64 = 1_700_000_000;
const EXPIRES: u64 = 1_800_000_000;
const NOW: TrustedTime = TrustedTime(1_750_000_000);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_secret_bytes(&[seed; 32])
}

fn peer() -> PeerText {
    "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN".parse().unwrap()
}

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

fn contact() -> Contact {
    let addresses = vec!["/ip4/192.0.2.1/tcp/4001".to_owned()];
    Contact { v: V1, peer: peer(), addresses, version: 7, issued_at: ISSUED, expires_at: EXPIRES }
}

fn authority() -> Authority {
    Authority {
        v: V1,
        key: key(1).public(),
        names: vec!["stable/x86_64".parse().unwrap()],
        providers: vec!["/dns4/example.org/tcp/4001".to_owned()],
        version: 7,
        issued_at: ISSUED,
        expires_at: EXPIRES,
    }
}

fn record() -> SignedRecord {
    SignedRecord {
        v: V1,
        key: key(1).public(),
        label: label("motd"),
        value: b"hello".to_vec(),
        version: 7,
        issued_at: ISSUED,
        expires_at: EXPIRES,
    }
}

fn open_contact(bytes: &[u8], at: TrustedTime) -> Result<Contact, RecordError> {
    Contact::open(bytes, &peer(), &key(1).public(), at)
}

fn open_authority(bytes: &[u8], at: TrustedTime) -> Result<Authority, RecordError> {
    Authority::open(bytes, &key(1).id(), at)
}

fn open_record(bytes: &[u8], at: TrustedTime) -> Result<SignedRecord, RecordError> {
    SignedRecord::open(bytes, &key(1).id(), &label("motd"), at)
}

/// Asserts the rules that hold for every kind of record. `other` must be a different record with the same DHT key and
/// the same encoded length.
fn check<R: DhtRecord + Clone + PartialEq + std::fmt::Debug>(
    record: &R,
    other: &R,
    open: impl Fn(&[u8], TrustedTime) -> Result<R, RecordError>,
) {
    let sealed = record.seal(&key(1)).unwrap();
    assert_eq!(open(&sealed, NOW).unwrap(), *record);
    assert_eq!(DhtKey::from_bytes(&record.dht_key().to_bytes()), Ok(record.dht_key()));

    assert!(open(&sealed, TrustedTime(EXPIRES - 1)).is_ok());
    assert!(matches!(open(&sealed, TrustedTime(EXPIRES)), Err(RecordError::Expired { .. })));

    let mut twice = Envelope::decode(&sealed).unwrap();
    twice.sign::<R>(&key(2)).unwrap();
    assert!(matches!(open(&twice.encode(), NOW), Err(RecordError::Signatures { count: 2 })));
    let unsigned = Envelope::unsigned(record).unwrap();
    assert!(matches!(open(&unsigned.encode(), NOW), Err(RecordError::Signatures { count: 0 })));

    let mut by_another = Envelope::unsigned(record).unwrap();
    by_another.sign::<R>(&key(2)).unwrap();
    let refused = open(&by_another.encode(), NOW);
    assert!(matches!(refused, Err(RecordError::Envelope(EnvelopeError::Signatures { unknown: 1, .. }))), "{refused:?}");

    let of_other = other.seal(&key(1)).unwrap();
    assert_eq!(of_other.len(), sealed.len());
    // The payload comes first in an envelope. In `swapped`, the payload of `record` is followed by the signature of
    // `other`.
    let payload = sealed.windows(10).rposition(|window| window == b"signatures").unwrap();
    let swapped = [&sealed[..payload], &of_other[payload..]].concat();
    let refused = open(&swapped, NOW);
    assert!(matches!(refused, Err(RecordError::Envelope(EnvelopeError::Signatures { unknown: 0, .. }))), "{refused:?}");

    assert!(open(&[&sealed[..], &[0]].concat(), NOW).is_err(), "trailing bytes");
    let large = open(&vec![0; MAX_RECORD_LEN + 1], NOW);
    assert!(matches!(large, Err(RecordError::Envelope(EnvelopeError::TooLarge { len: 8193, max: MAX_RECORD_LEN }))));
}

#[test]
fn every_kind_of_record_is_verified() {
    check(&contact(), &Contact { version: 8, ..contact() }, open_contact);
    check(&authority(), &Authority { version: 8, ..authority() }, open_authority);
    check(&record(), &SignedRecord { version: 8, ..record() }, open_record);
}

#[test]
fn a_record_under_another_dht_key_is_refused() {
    let other_peer: PeerText = "12D3KooW".parse().unwrap();
    let contact = contact().seal(&key(1)).unwrap();
    let error = Contact::open(&contact, &other_peer, &key(1).public(), NOW).unwrap_err();
    assert_eq!(error.to_string(), format!("record is for contact:{}, not contact:12D3KooW", peer()));

    let authority = authority().seal(&key(1)).unwrap();
    let error = Authority::open(&authority, &key(2).id(), NOW).unwrap_err();
    assert_eq!(error.to_string(), format!("record is for authority:{}, not authority:{}", key(1).id(), key(2).id()));

    let record = record().seal(&key(1)).unwrap();
    for (owner, label) in [(key(2).id(), label("motd")), (key(1).id(), label("other"))] {
        let error = SignedRecord::open(&record, &owner, &label, NOW).unwrap_err();
        assert!(matches!(error, RecordError::OtherKey { .. }), "{error}");
    }
}

#[test]
fn a_contact_must_be_signed_by_the_key_of_its_node() {
    // This contact has the peer id of the node, but is signed by another key.
    let forged = contact().seal(&key(2)).unwrap();
    assert!(matches!(open_contact(&forged, NOW), Err(RecordError::Envelope(EnvelopeError::Signatures { .. }))));
}

#[test]
fn a_record_that_another_key_must_sign_cannot_be_sealed() {
    for error in [authority().seal(&key(2)).unwrap_err(), record().seal(&key(2)).unwrap_err()] {
        assert!(matches!(error, RecordError::Signer { .. }), "{error}");
    }
}

#[test]
fn an_invalid_record_is_neither_sealed_nor_opened() {
    let reserved = SignedRecord { label: label("manifest"), ..record() };
    assert!(matches!(reserved.seal(&key(1)), Err(RecordError::Envelope(EnvelopeError::Invalid { .. }))));

    /// A contact record whose content is not checked, so that an invalid one can be signed.
    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(transparent)]
    struct Unchecked(Contact);
    impl Payload for Unchecked {
        const TYPE: &'static str = Contact::TYPE;
        type Invalid = std::convert::Infallible;
        fn check(&self) -> Result<(), Self::Invalid> {
            Ok(())
        }
    }
    let mut envelope = Envelope::unsigned(&Unchecked(Contact { addresses: Vec::new(), ..contact() })).unwrap();
    envelope.sign::<Unchecked>(&key(1)).unwrap();
    assert!(matches!(open_contact(&envelope.encode(), NOW), Err(RecordError::Envelope(EnvelopeError::Invalid { .. }))));
}

#[test]
fn a_record_of_one_kind_is_not_accepted_as_another() {
    let types = [Contact::TYPE, Authority::TYPE, SignedRecord::TYPE, Pointer::TYPE];
    for (position, ty) in types.iter().enumerate() {
        assert!(!types[..position].contains(ty));
    }
    let sealed = [contact().seal(&key(1)), authority().seal(&key(1)), record().seal(&key(1))];
    for (position, bytes) in sealed.into_iter().map(Result::unwrap).enumerate() {
        let opened =
            [open_contact(&bytes, NOW).is_ok(), open_authority(&bytes, NOW).is_ok(), open_record(&bytes, NOW).is_ok()];
        assert_eq!(opened, std::array::from_fn(|kind| kind == position));
    }
}

proptest! {
    #[test]
    fn a_record_with_a_changed_byte_is_refused(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let sealed = record().seal(&key(1)).unwrap();
        let mut bytes = sealed.clone();
        let at = at.index(bytes.len());
        bytes[at] = value;
        prop_assert_eq!(open_record(&bytes, NOW).is_ok(), bytes == sealed, "only the unchanged bytes are accepted");
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(open_contact(&bytes, NOW).is_err());
        prop_assert!(open_authority(&bytes, NOW).is_err());
        prop_assert!(open_record(&bytes, NOW).is_err());
    }
}
