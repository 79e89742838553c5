//! Tests of Phase's encodings with another CBOR library, ciborium, which does not know Phase's types. It must decode
//! the expected values from Phase's bytes. It must encode these values as the same bytes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};

use ciborium::value::{CanonicalValue, Value};
use phase_core::codec::V1;
use phase_core::index::ChunkEntry;
use phase_core::{
    ArtifactEntry, ArtifactIndex, Authority, ChannelRole, ChunkerParams, Cid, Contact, Digest, Envelope, HashAlgorithm,
    Manifest, Payload, Pointer, RootRole, SignedRecord, SigningKey, TrustRoot,
};

/// The tag of a CID link in DAG-CBOR.
const CID_TAG: u64 = 42;

fn decode(bytes: &[u8]) -> Value {
    let value: Value = ciborium::from_reader(bytes).unwrap();
    let mut again = Vec::new();
    ciborium::into_writer(&sorted(value.clone()), &mut again).unwrap();
    assert_eq!(hex::encode(again), hex::encode(bytes), "the other library encodes the value as the same bytes");
    value
}

/// Returns `value` with the fields of every map in the canonical order of ciborium.
fn sorted(value: Value) -> Value {
    match value {
        Value::Map(mut fields) => {
            fields.sort_by_cached_key(|(key, _)| CanonicalValue::from(key.clone()));
            Value::Map(fields.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn decode_payload<P: Payload>(payload: &P) -> Value {
    let envelope = Envelope::unsigned(payload).unwrap();
    decode(&payload_of(&envelope))
}

fn payload_of(envelope: &Envelope) -> Vec<u8> {
    field(&decode(&envelope.encode()), "payload").clone().into_bytes().unwrap()
}

fn field<'a>(map: &'a Value, name: &str) -> &'a Value {
    let fields = map.as_map().unwrap();
    &fields.iter().find(|(key, _)| key.as_text() == Some(name)).unwrap().1
}

fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    sorted(Value::Map(fields.into_iter().map(|(key, value)| (text(key), value)).collect()))
}

fn list<const N: usize>(values: [Value; N]) -> Value {
    Value::Array(values.into())
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn int(value: u64) -> Value {
    Value::Integer(value.into())
}

fn digest(digest: &Digest) -> Value {
    Value::Bytes(digest.as_bytes().to_vec())
}

fn link(cid: Cid) -> Value {
    // In DAG-CBOR, the bytes of a CID follow a zero byte, which is the multibase prefix of binary data.
    let bytes = [vec![0], cid.to_bytes()].concat();
    Value::Tag(CID_TAG, Box::new(Value::Bytes(bytes)))
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_secret_bytes(&[seed; 32])
}

fn chunker_fields() -> Value {
    map([("min", int(32 << 10)), ("avg", int(128 << 10)), ("max", int(512 << 10))])
}

#[test]
fn another_library_reads_an_index_of_one_block() {
    let hash = HashAlgorithm::Blake3;
    let (first, second) = (hash.digest(b"first"), hash.digest(b"second"));
    let chunks = vec![ChunkEntry { digest: first, len: 40_000 }, ChunkEntry { digest: second, len: 3 }];
    let sha256 = HashAlgorithm::Sha2_256.digest(b"whole");
    let index = ArtifactIndex::new(ChunkerParams::default(), hash, sha256, chunks).unwrap();
    let expected = map([
        ("v", int(1)),
        ("size", int(40_003)),
        ("chunker", chunker_fields()),
        ("hash", text("blake3")),
        ("sha256", digest(&sha256)),
        ("count", int(2)),
        ("chunks", list([list([digest(&first), int(40_000)]), list([digest(&second), int(3)])])),
    ]);
    let encoded = index.encode();
    assert_eq!(encoded.blocks.len(), 1);
    assert_eq!(decode(&encoded.blocks[0].1), expected);
}

#[test]
fn another_library_reads_an_index_of_several_blocks() {
    const COUNT: usize = 30_000;
    let hash = HashAlgorithm::Sha2_256;
    let entry = |i: usize| ChunkEntry { digest: hash.digest(&i.to_le_bytes()), len: 40_000 };
    let chunks: Vec<_> = (0..COUNT).map(entry).collect();
    let index = ArtifactIndex::new(ChunkerParams::default(), hash, hash.digest(b"whole"), chunks.clone()).unwrap();
    let blocks = index.encode().blocks;

    let links: Vec<Value> = blocks[1..].iter().map(|(cid, _)| link(*cid)).collect();
    let expected = map([
        ("v", int(1)),
        ("size", int(40_000 * COUNT as u64)),
        ("chunker", chunker_fields()),
        ("hash", text("sha2-256")),
        ("sha256", digest(&hash.digest(b"whole"))),
        ("count", int(COUNT as u64)),
        ("leaves", Value::Array(links)),
    ]);
    assert_eq!(decode(&blocks[0].1), expected);

    let mut listed = Vec::new();
    for (_, leaf) in &blocks[1..] {
        let leaf = decode(leaf);
        let entries = field(&leaf, "chunks").clone();
        assert_eq!(leaf, map([("v", int(1)), ("chunks", entries.clone())]));
        listed.extend(entries.into_array().unwrap());
    }
    assert_eq!(listed, chunks.iter().map(|entry| list([digest(&entry.digest), int(40_000)])).collect::<Vec<_>>());
}

#[test]
fn another_library_reads_an_envelope_with_a_manifest() {
    let cid = Cid::of_block(b"index");
    let sha256 = HashAlgorithm::Sha2_256.digest(b"kernel");
    let entry = ArtifactEntry {
        role: "kernel".parse().unwrap(),
        filename: "boot/vmlinuz".parse().unwrap(),
        size: 6,
        cid,
        sha256,
    };
    let manifest = Manifest {
        v: V1,
        channel: "stable".parse().unwrap(),
        arch: "x86_64".parse().unwrap(),
        board: Some("rpi,4".to_owned()),
        version: 300,
        release: "2025.1".to_owned(),
        issued_at: 1_700_000_000,
        expires_at: u64::MAX,
        artifacts: vec![entry],
        cmdline: Some("quiet".to_owned()),
    };
    let expected = map([
        ("v", int(1)),
        ("channel", text("stable")),
        ("arch", text("x86_64")),
        ("board", text("rpi,4")),
        ("version", int(300)),
        ("release", text("2025.1")),
        ("issued_at", int(1_700_000_000)),
        ("expires_at", int(u64::MAX)),
        ("cmdline", text("quiet")),
        (
            "artifacts",
            list([map([
                ("role", text("kernel")),
                ("filename", text("boot/vmlinuz")),
                ("size", int(6)),
                ("cid", link(cid)),
                ("sha256", digest(&sha256)),
            ])]),
        ),
    ]);
    assert_eq!(decode_payload(&manifest), expected);

    let mut envelope = Envelope::unsigned(&manifest).unwrap();
    let payload = payload_of(&envelope);
    envelope.sign::<Manifest>(&key(1)).unwrap();
    let signed = [format!("DSSEv1 17 phase/manifest/v1 {} ", payload.len()).into_bytes(), payload.clone()].concat();
    let signature = map([
        ("key_id", digest(key(1).id().digest())),
        ("alg", text("ed25519")),
        ("sig", Value::Bytes(key(1).sign(&signed).to_vec())),
    ]);
    let expected = map([("payload", Value::Bytes(payload)), ("signatures", list([signature]))]);
    assert_eq!(decode(&envelope.encode()), expected);
}

#[test]
fn another_library_reads_a_trust_root() {
    let ids = |seeds: &[u8]| seeds.iter().map(|&seed| key(seed).id()).collect::<BTreeSet<_>>();
    let channel = ChannelRole { keys: ids(&[1, 2]), threshold: 2, pointer_keys: ids(&[3]) };
    let root = TrustRoot {
        v: V1,
        version: 1,
        issued_at: 5,
        expires_at: 9,
        keys: [1, 2, 3].map(|seed| (key(seed).id(), key(seed).public())).into(),
        root: RootRole { keys: ids(&[1]), threshold: 1 },
        channels: BTreeMap::from([("stable".parse().unwrap(), channel)]),
    };
    let id_list = |seeds: &[u8]| Value::Array(ids(seeds).iter().map(|id| digest(id.digest())).collect());
    let listed = root.keys.values().map(|key| Value::Bytes(key.to_bytes().to_vec())).collect();
    let stable = map([("keys", id_list(&[1, 2])), ("threshold", int(2)), ("pointer_keys", id_list(&[3]))]);
    let expected = map([
        ("v", int(1)),
        ("version", int(1)),
        ("issued_at", int(5)),
        ("expires_at", int(9)),
        ("keys", Value::Array(listed)),
        ("root", map([("keys", id_list(&[1])), ("threshold", int(1))])),
        ("channels", map([("stable", stable)])),
    ]);
    assert_eq!(decode_payload(&root), expected);
}

#[test]
fn another_library_reads_a_pointer() {
    let manifest = Cid::of_block(b"envelope");
    let pointer = Pointer {
        v: V1,
        name: "edge/aarch64".parse().unwrap(),
        manifest: Some(manifest),
        version: 7,
        issued_at: 5,
        expires_at: 9,
        urls: vec!["http://example.org/".to_owned()],
    };
    let expected = map([
        ("v", int(1)),
        ("name", map([("channel", text("edge")), ("arch", text("aarch64"))])),
        ("manifest", link(manifest)),
        ("version", int(7)),
        ("issued_at", int(5)),
        ("expires_at", int(9)),
        ("urls", list([text("http://example.org/")])),
    ]);
    assert_eq!(decode_payload(&pointer), expected);
}

#[test]
fn another_library_reads_a_contact() {
    let contact = Contact {
        v: V1,
        peer: "12D3KooW".parse().unwrap(),
        addresses: vec!["/ip4/192.0.2.1/tcp/4001".to_owned()],
        version: 7,
        issued_at: 5,
        expires_at: 9,
    };
    let expected = map([
        ("v", int(1)),
        ("peer", text("12D3KooW")),
        ("addresses", list([text("/ip4/192.0.2.1/tcp/4001")])),
        ("version", int(7)),
        ("issued_at", int(5)),
        ("expires_at", int(9)),
    ]);
    assert_eq!(decode_payload(&contact), expected);
}

#[test]
fn another_library_reads_an_authority() {
    let authority = Authority {
        v: V1,
        key: key(1).public(),
        names: vec!["edge/aarch64".parse().unwrap()],
        providers: vec!["/dns4/example.org/tcp/4001".to_owned()],
        version: 7,
        issued_at: 5,
        expires_at: 9,
    };
    let expected = map([
        ("v", int(1)),
        ("key", Value::Bytes(key(1).public().to_bytes().to_vec())),
        ("names", list([map([("channel", text("edge")), ("arch", text("aarch64"))])])),
        ("providers", list([text("/dns4/example.org/tcp/4001")])),
        ("version", int(7)),
        ("issued_at", int(5)),
        ("expires_at", int(9)),
    ]);
    assert_eq!(decode_payload(&authority), expected);
}

#[test]
fn another_library_reads_a_signed_record() {
    let record = SignedRecord {
        v: V1,
        key: key(1).public(),
        label: "motd".parse().unwrap(),
        value: vec![0, 255],
        version: 7,
        issued_at: 5,
        expires_at: 9,
    };
    let expected = map([
        ("v", int(1)),
        ("key", Value::Bytes(key(1).public().to_bytes().to_vec())),
        ("label", text("motd")),
        ("value", Value::Bytes(vec![0, 255])),
        ("version", int(7)),
        ("issued_at", int(5)),
        ("expires_at", int(9)),
    ]);
    assert_eq!(decode_payload(&record), expected);
}
