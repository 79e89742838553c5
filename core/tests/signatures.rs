//! Tests that a manifest, pointer or trust root is trusted only if enough of the right keys have signed it, if it is
//! for the requested name, and if it has not expired.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use ipld_core::ipld::Ipld;
use phase_core::codec::{V1, to_dag_cbor};
use phase_core::{
    ArtifactEntry, ChannelRole, Cid, Digest, Envelope, EnvelopeError, KeyId, Manifest, Name, Payload, Pointer,
    PublicKey, RootRole, SigningKey, TrustError, TrustRoot, TrustedTime,
};
use proptest::prelude::*;

const ISSUED: u64 = 1_700_000_000;
const EXPIRES: u64 = 1_800_000_000;
const NOW: TrustedTime = TrustedTime(1_750_000_000);

/// Returns a trust root. For the channel `stable`, two of the keys 1 to 3 must sign manifests, and key 4 signs
/// pointers. For the channel `edge`, key 5 signs manifests and pointers. Keys 6 and 7 must both sign the root.
fn root() -> TrustRoot {
    TrustRoot {
        v: V1,
        version: 1,
        issued_at: ISSUED,
        expires_at: EXPIRES,
        keys: keys(&[1, 2, 3, 4, 5, 6, 7]),
        root: RootRole { keys: ids(&[6, 7]), threshold: 2 },
        channels: BTreeMap::from([
            ("stable".parse().unwrap(), ChannelRole { keys: ids(&[1, 2, 3]), threshold: 2, pointer_keys: ids(&[4]) }),
            ("edge".parse().unwrap(), ChannelRole { keys: ids(&[5]), threshold: 1, pointer_keys: ids(&[5]) }),
        ]),
    }
}

fn manifest() -> Manifest {
    let kernel = ArtifactEntry {
        role: "kernel".parse().unwrap(),
        filename: "vmlinuz".parse().unwrap(),
        size: 5,
        cid: Cid::of_block(b"index"),
        sha256: Digest::new([1; 32]),
    };
    Manifest {
        v: V1,
        channel: "stable".parse().unwrap(),
        arch: "x86_64".parse().unwrap(),
        board: None,
        version: 7,
        release: "2025.1".to_owned(),
        issued_at: ISSUED,
        expires_at: EXPIRES,
        artifacts: vec![kernel],
        cmdline: None,
    }
}

fn pointer() -> Pointer {
    Pointer {
        v: V1,
        name: stable(),
        manifest: Some(signed(&manifest(), &[1, 2]).cid()),
        version: 7,
        issued_at: ISSUED,
        expires_at: EXPIRES,
        urls: Vec::new(),
    }
}

fn stable() -> Name {
    "stable/x86_64".parse().unwrap()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_secret_bytes(&[seed; 32])
}

fn keys(seeds: &[u8]) -> BTreeMap<KeyId, PublicKey> {
    seeds.iter().map(|&seed| (key(seed).id(), key(seed).public())).collect()
}

fn ids(seeds: &[u8]) -> BTreeSet<KeyId> {
    seeds.iter().map(|&seed| key(seed).id()).collect()
}

fn signed<P: Payload>(payload: &P, seeds: &[u8]) -> Envelope {
    let mut envelope = Envelope::unsigned(payload).unwrap();
    seeds.iter().for_each(|&seed| envelope.sign::<P>(&key(seed)).unwrap());
    envelope
}

fn verify(envelope: &Envelope) -> Result<Manifest, TrustError> {
    root().verify_manifest(envelope, &stable(), NOW)
}

/// Decodes an envelope, changes its fields as an attacker could, and decodes the changed bytes as an envelope.
fn tampered(envelope: &Envelope, change: impl FnOnce(&mut BTreeMap<String, Ipld>)) -> Result<Envelope, EnvelopeError> {
    let mut tree: Ipld = serde_ipld_dagcbor::from_slice(&envelope.encode()).unwrap();
    let Ipld::Map(fields) = &mut tree else { panic!("an envelope is a map") };
    change(fields);
    Envelope::decode(&to_dag_cbor(&tree))
}

fn signatures(fields: &mut BTreeMap<String, Ipld>) -> &mut Vec<Ipld> {
    match fields.get_mut("signatures") {
        Some(Ipld::List(signatures)) => signatures,
        other => panic!("{other:?} is not a list of signatures"),
    }
}

fn signature(fields: &mut BTreeMap<String, Ipld>, position: usize) -> &mut BTreeMap<String, Ipld> {
    match &mut signatures(fields)[position] {
        Ipld::Map(signature) => signature,
        other => panic!("{other:?} is not a signature"),
    }
}

/// Returns the text of an error, followed by the texts of all its causes.
fn report(error: &dyn Error) -> String {
    std::iter::successors(Some(error), |error| (*error).source()).map(|e| e.to_string()).collect::<Vec<_>>().join(": ")
}

#[test]
fn enough_signatures_are_accepted_and_too_few_are_not() {
    assert_eq!(verify(&signed(&manifest(), &[1, 2])).unwrap(), manifest());
    assert_eq!(verify(&signed(&manifest(), &[3, 2, 1])).unwrap(), manifest());
    let cases: [(&[u8], &str); 4] = [
        (&[], "manifest has 0 of 2 required signatures"),
        (&[1], "manifest has 1 of 2 required signatures"),
        (&[1, 5], "manifest has 1 of 2 required signatures (1 is by a key that may not sign it)"),
        (&[4, 6, 9], "manifest has 0 of 2 required signatures (3 are by keys that may not sign it)"),
    ];
    for (seeds, expected) in cases {
        assert_eq!(report(&verify(&signed(&manifest(), seeds)).unwrap_err()), expected);
    }
}

#[test]
fn a_changed_payload_or_signature_does_not_count() {
    let good = signed(&manifest(), &[1, 2]);
    let other = signed(&Manifest { version: 8, ..manifest() }, &[]);
    let Ipld::Map(other) = serde_ipld_dagcbor::from_slice(&other.encode()).unwrap() else { panic!("a map") };
    let swapped = tampered(&good, |fields| {
        fields.insert("payload".to_owned(), other["payload"].clone());
    });
    assert!(report(&verify(&swapped.unwrap()).unwrap_err()).contains("0 of 2"));
    for position in [0, 1] {
        let broken = tampered(&good, |fields| match signature(fields, position).get_mut("sig") {
            Some(Ipld::Bytes(sig)) => sig[10] ^= 1,
            other => panic!("{other:?} is not the bytes of a signature"),
        });
        assert!(report(&verify(&broken.unwrap()).unwrap_err()).contains("1 of 2"));
    }
}

#[test]
fn bad_signatures_beside_enough_good_ones_do_no_harm() {
    let spoil: [fn(&mut BTreeMap<String, Ipld>); 3] = [
        |signature| drop(signature.insert("sig".to_owned(), Ipld::Bytes(vec![0; 64]))),
        |signature| drop(signature.insert("sig".to_owned(), Ipld::Bytes(vec![1; 3]))),
        |signature| drop(signature.insert("alg".to_owned(), Ipld::String("rot13".to_owned()))),
    ];
    for spoil in spoil {
        for position in 0..3 {
            let envelope = tampered(&signed(&manifest(), &[1, 2, 3]), |fields| spoil(signature(fields, position)));
            assert_eq!(verify(&envelope.unwrap()).unwrap(), manifest());
            let envelope = tampered(&signed(&manifest(), &[1, 2, 9]), |fields| spoil(signature(fields, position)));
            assert_eq!(verify(&envelope.unwrap()).is_ok(), is_by_unknown_key(position));
        }
    }
}

/// Returns whether key 9 made the signature at `position`. The keys 1, 2 and 9 have signed the envelope, and key 9 is
/// not in the trust root.
fn is_by_unknown_key(position: usize) -> bool {
    signed(&manifest(), &[1, 2, 9]).signatures()[position].key_id() == key(9).id()
}

#[test]
fn a_key_counts_once_however_often_it_signs() {
    let good = signed(&manifest(), &[1]);
    let repeated = tampered(&good, |fields| {
        let again = signatures(fields)[0].clone();
        signatures(fields).push(again);
    });
    assert!(matches!(repeated, Err(EnvelopeError::Order)));
    // The envelope `renamed` has two copies of the signature by key 1: under the id of key 1 and under the id of key 2.
    let both = signed(&manifest(), &[1, 2]);
    let position = |seed| both.signatures().iter().position(|signature| signature.key_id() == key(seed).id()).unwrap();
    let renamed = tampered(&both, |fields| {
        let sig = signature(fields, position(1))["sig"].clone();
        signature(fields, position(2)).insert("sig".to_owned(), sig);
    });
    let renamed = renamed.unwrap();
    assert!(report(&verify(&renamed).unwrap_err()).contains("1 of 2"));

    // The caller passes the same public key under two key ids. A signature by this key still counts only once.
    let twice = BTreeMap::from([(key(1).id(), key(1).public()), (key(2).id(), key(1).public())]);
    assert!(renamed.verify::<Manifest>(&twice, 1).is_ok() && renamed.verify::<Manifest>(&twice, 2).is_err());
    assert!(both.verify::<Manifest>(&BTreeMap::new(), 0).is_err(), "a threshold of 0 accepts nothing");
}

#[test]
fn a_root_whose_ids_or_thresholds_are_wrong_is_refused() {
    type Change = fn(&mut TrustRoot);
    let cases: [(Change, &str); 8] = [
        (|root| _ = root.keys.insert(key(1).id(), key(2).public()), "is not the hash of its key"),
        (|root| _ = root.keys.remove(&key(1).id()), "is named by a role but not listed"),
        (|root| _ = root.keys.remove(&key(4).id()), "is named by a role but not listed"),
        (|root| _ = root.keys.remove(&key(6).id()), "is named by a role but not listed"),
        (|root| root.root.threshold = 0, "root requires 0 signatures: the threshold must be at least 1"),
        (|root| root.root.threshold = 3, "root requires 3 signatures, but has only 2 keys"),
        (
            |root| root.channels.values_mut().for_each(|role| role.threshold = 0),
            "channel edge requires 0 signatures: the threshold must be at least 1",
        ),
        (|root| root.expires_at = root.issued_at, "it expires before it is issued"),
    ];
    for (change, expected) in cases {
        let mut root = root();
        change(&mut root);
        let error = Envelope::unsigned(&root).unwrap_err();
        assert!(report(&error).contains(expected), "{}", report(&error));
    }
}

#[test]
fn a_root_is_trusted_only_if_its_own_keys_sign_it() {
    let good = signed(&root(), &[6, 7]);
    assert_eq!(TrustRoot::decode_trusted(&good.encode()).unwrap(), root());
    for seeds in [&[][..], &[6], &[1, 2, 6]] {
        let error = TrustRoot::decode_trusted(&signed(&root(), seeds).encode()).unwrap_err();
        assert!(report(&error).contains("of 2 required signatures"), "{}", report(&error));
    }
}

#[test]
fn a_root_that_lists_a_key_twice_is_refused() {
    let envelope = signed(&root(), &[6, 7]);
    let Ipld::Map(mut fields) = payload_of(&envelope) else { panic!("a root is a map") };
    let Some(Ipld::List(keys)) = fields.get_mut("keys") else { panic!("a root lists keys") };
    keys.push(keys[0].clone());
    let error = TrustRoot::decode_trusted(&signed_tree::<TrustRoot>(fields, &[6, 7]).encode()).unwrap_err();
    assert!(report(&error).contains("a key is listed twice"), "{}", report(&error));
}

#[test]
fn the_error_names_the_wrong_channel_or_architecture() {
    let of = |channel: &str, arch: &str, seeds: &[u8]| {
        let manifest = Manifest { channel: channel.parse().unwrap(), arch: arch.parse().unwrap(), ..manifest() };
        report(&verify(&signed(&manifest, seeds)).unwrap_err())
    };
    assert_eq!(of("edge", "x86_64", &[5]), "manifest is for channel edge, not stable");
    assert_eq!(of("edge", "x86_64", &[1, 2]), "manifest is for channel edge, not stable");
    assert_eq!(of("stable", "riscv64", &[1, 2]), "manifest is for architecture riscv64, not x86_64");
    let error =
        root().verify_manifest(&signed(&manifest(), &[1, 2]), &"beta/x86_64".parse().unwrap(), NOW).unwrap_err();
    assert_eq!(report(&error), "trust root version 1 has no channel beta; it has: edge, stable");
}

#[test]
fn a_payload_of_one_type_is_not_accepted_as_another() {
    // Each envelope is verified as a manifest, a root and a pointer, always with the same key. Only the payload type
    // can therefore cause a refusal.
    let same_keys = || keys(&[1]);
    let envelopes = [signed(&manifest(), &[1]), signed(&root(), &[1]), signed(&pointer(), &[1])];
    for (position, envelope) in envelopes.iter().enumerate() {
        let accepted = [
            envelope.verify::<Manifest>(&same_keys(), 1).is_ok(),
            envelope.verify::<TrustRoot>(&same_keys(), 1).is_ok(),
            envelope.verify::<Pointer>(&same_keys(), 1).is_ok(),
        ];
        assert_eq!(accepted.map(usize::from).iter().sum::<usize>(), 1);
        assert!(accepted[position]);
    }

    /// A payload with the fields of a manifest and the type of a trust root.
    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(transparent)]
    struct Disguise(Manifest);
    impl Payload for Disguise {
        const TYPE: &'static str = "phase/root/v1";
        type Invalid = std::convert::Infallible;
        fn check(&self) -> Result<(), Self::Invalid> {
            Ok(())
        }
    }
    let disguised = signed(&Disguise(manifest()), &[1, 2]);
    assert!(report(&verify(&disguised).unwrap_err()).contains("0 of 2"), "the signature covers the type");
}

#[test]
fn a_payload_that_has_expired_at_the_trusted_time_is_refused() {
    let at = |seconds| root().verify_manifest(&signed(&manifest(), &[1, 2]), &stable(), TrustedTime(seconds));
    assert!(at(0).is_ok() && at(EXPIRES - 1).is_ok());
    let longer_root = TrustRoot { expires_at: EXPIRES + 100, ..root() };
    let error =
        longer_root.verify_manifest(&signed(&manifest(), &[1, 2]), &stable(), TrustedTime(EXPIRES)).unwrap_err();
    assert_eq!(
        report(&error),
        "manifest expired at 2027-01-15T08:00:00Z; now it is 2027-01-15T08:00:00Z or later: get a newer one from the \
         publisher, or check this machine's clock"
    );
    let longer_manifest = signed(&Manifest { expires_at: EXPIRES + 100, ..manifest() }, &[1, 2]);
    let error = root().verify_manifest(&longer_manifest, &stable(), TrustedTime(EXPIRES)).unwrap_err();
    assert!(matches!(error, TrustError::Expired { what: "trust root", .. }), "{error}");
    let error = longer_root.verify_pointer(&signed(&pointer(), &[4]), &stable(), TrustedTime(EXPIRES)).unwrap_err();
    assert!(matches!(error, TrustError::Expired { what: "pointer", .. }), "{error}");
}

#[test]
fn a_pointer_needs_a_pointer_key_of_its_channel() {
    let verify = |seeds: &[u8]| root().verify_pointer(&signed(&pointer(), seeds), &stable(), NOW);
    assert_eq!(verify(&[4]).unwrap(), pointer());
    assert_eq!(verify(&[1, 4, 9]).unwrap(), pointer());
    for seeds in [&[][..], &[1, 2, 3], &[5]] {
        assert!(report(&verify(seeds).unwrap_err()).contains("0 of 1"));
    }
    let edge = Pointer { name: "edge/x86_64".parse().unwrap(), ..pointer() };
    let error = root().verify_pointer(&signed(&edge, &[5]), &stable(), NOW).unwrap_err();
    assert_eq!(report(&error), "pointer is for channel edge, not stable");
}

#[test]
fn unknown_fields_are_accepted_and_covered_by_the_signatures() {
    let Ipld::Map(mut fields) = payload_of(&signed(&manifest(), &[])) else { panic!("a manifest is a map") };
    fields.insert("mood".to_owned(), Ipld::List(vec![Ipld::Null, Ipld::Integer(-1)]));
    let envelope = signed_tree::<Manifest>(fields.clone(), &[1, 2]);
    assert_eq!(verify(&envelope).unwrap(), manifest());
    let again = Envelope::decode(&envelope.encode()).unwrap();
    assert_eq!(again.cid(), envelope.cid(), "the unknown field is kept");
    fields.insert("mood".to_owned(), Ipld::Null);
    let changed = signed_tree::<Manifest>(fields, &[]);
    let mixed = tampered(&envelope, |fields| {
        let Ipld::Map(other) = serde_ipld_dagcbor::from_slice(&changed.encode()).unwrap() else { panic!("a map") };
        fields.insert("payload".to_owned(), other["payload"].clone());
    });
    assert!(report(&verify(&mixed.unwrap()).unwrap_err()).contains("0 of 2"));

    let in_the_envelope = tampered(&envelope, |fields| drop(fields.insert("mood".to_owned(), Ipld::Null)));
    assert!(matches!(in_the_envelope, Err(EnvelopeError::Decode(_))), "no signature covers a field of the envelope");
}

#[test]
fn bytes_that_are_not_canonical_are_refused() {
    let good = signed(&manifest(), &[1, 2]).encode();
    assert!(Envelope::decode(&good).is_ok());
    assert!(Envelope::decode(&[&good[..], &[0]].concat()).is_err(), "trailing bytes");
    assert!(Envelope::decode(&good[..good.len() - 1]).is_err(), "truncated");
    let mut longer_length = good.clone();
    // The payload is shorter than 256 bytes, so its length fits in one byte. Here it is encoded in two bytes.
    assert_eq!(longer_length[9], 0x58);
    longer_length.splice(9..10, [0x59, 0]);
    assert!(Envelope::decode(&longer_length).is_err(), "a length encoded in more bytes than needed");

    // These payloads are signed, but not canonical. One has a map key twice, one has the map keys in another order, and
    // one has a trailing byte.
    let payload = to_dag_cbor(&manifest());
    let (v, rest) = (&payload[1..4], &payload[4..]);
    assert_eq!(v, [0x61, b'v', 1]);
    let doubled = [&[payload[0] + 1][..], v, v, rest].concat();
    let moved = [&payload[..1], rest, v].concat();
    for payload in [doubled, moved, [&payload[..], &[0]].concat()] {
        let envelope = signed_bytes::<Manifest>(payload, &[1, 2]);
        assert!(matches!(verify(&envelope), Err(TrustError::Envelope(EnvelopeError::Payload { .. }))));
    }
}

proptest! {
    #[test]
    fn a_changed_byte_never_changes_the_trusted_manifest(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut bytes = signed(&manifest(), &[1, 2, 3]).encode();
        let at = at.index(bytes.len());
        bytes[at] = value;
        if let Ok(trusted) = Envelope::decode(&bytes).map_err(TrustError::from).and_then(|envelope| verify(&envelope)) {
            prop_assert_eq!(trusted, manifest());
        }
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Envelope::decode(&bytes).is_err());
        let envelope = signed_bytes::<Manifest>(bytes, &[1, 2]);
        prop_assert!(verify(&envelope).is_err());
    }
}

#[test]
fn cids_of_other_kinds_are_refused_in_a_manifest() {
    let hash = |code: u64, digest: &[u8]| cid::Cid::new_v1(0x71, multihash::Multihash::wrap(code, digest).unwrap());
    let chunk = cid::Cid::new_v1(0x55, multihash::Multihash::wrap(0x1e, &[7; 32]).unwrap());
    for cid in [hash(0x00, &[7; 32]), hash(0x11, &[7; 20]), hash(0x1e, &[7; 16]), hash(0x12, &[7; 20]), chunk] {
        let Ipld::Map(mut fields) = payload_of(&signed(&manifest(), &[])) else { panic!("a manifest is a map") };
        let Some(Ipld::List(artifacts)) = fields.get_mut("artifacts") else { panic!("a manifest lists artifacts") };
        let Ipld::Map(artifact) = &mut artifacts[0] else { panic!("an artifact is a map") };
        artifact.insert("cid".to_owned(), Ipld::Link(cid));
        assert!(verify(&signed_tree::<Manifest>(fields, &[1, 2])).is_err(), "{cid} is accepted");
    }
}

#[test]
fn the_error_for_a_newer_format_asks_for_an_update() {
    let Ipld::Map(mut fields) = payload_of(&signed(&manifest(), &[])) else { panic!("a manifest is a map") };
    fields.insert("v".to_owned(), Ipld::Integer(2));
    let error = verify(&signed_tree::<Manifest>(fields, &[1, 2])).unwrap_err();
    assert!(
        report(&error).contains("format version 2 is not supported, only version 1: update Phase"),
        "{}",
        report(&error)
    );
}

fn payload_of(envelope: &Envelope) -> Ipld {
    let Ipld::Map(mut fields) = serde_ipld_dagcbor::from_slice(&envelope.encode()).unwrap() else { panic!("a map") };
    let Some(Ipld::Bytes(payload)) = fields.remove("payload") else { panic!("a payload is bytes") };
    serde_ipld_dagcbor::from_slice(&payload).unwrap()
}

/// Returns a signed envelope whose payload is a map with these fields. They need not be the fields of the type `P`.
fn signed_tree<P: Payload>(fields: BTreeMap<String, Ipld>, seeds: &[u8]) -> Envelope {
    signed_bytes::<P>(to_dag_cbor(&Ipld::Map(fields)), seeds)
}

/// Returns an envelope with these bytes as its payload, and with valid signatures.
fn signed_bytes<P: Payload>(payload: Vec<u8>, seeds: &[u8]) -> Envelope {
    let message = [format!("DSSEv1 {} {} {} ", P::TYPE.len(), P::TYPE, payload.len()).into_bytes(), payload.clone()];
    let sign = |seed: &u8| {
        let field = |name: &str, value| (name.to_owned(), value);
        Ipld::Map(BTreeMap::from([
            field("key_id", Ipld::Bytes(key(*seed).id().digest().as_bytes().to_vec())),
            field("alg", Ipld::String("ed25519".to_owned())),
            field("sig", Ipld::Bytes(key(*seed).sign(&message.concat()).to_vec())),
        ]))
    };
    let mut seeds = seeds.to_vec();
    seeds.sort_by_key(|&seed| key(seed).id());
    let fields = BTreeMap::from([
        ("payload".to_owned(), Ipld::Bytes(payload)),
        ("signatures".to_owned(), Ipld::List(seeds.iter().map(sign).collect())),
    ]);
    Envelope::decode(&to_dag_cbor(&Ipld::Map(fields))).unwrap()
}
