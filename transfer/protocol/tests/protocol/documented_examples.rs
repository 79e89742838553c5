//! Tests that the byte examples in `docs/protocol.md` are the bytes that Phase encodes.

use std::collections::BTreeMap;

use bytes::Bytes;
use phase_core::dht::{Authority, Contact, DhtKey, DhtRecord, Pointer, SignedRecord};
use phase_core::envelope::{Envelope, Payload};
use phase_core::index::{ArtifactIndex, ChunkEntry};
use phase_core::keys::SigningKey;
use phase_core::manifest::{ArtifactEntry, Manifest};
use phase_core::trust::TrustRoot;
use phase_core::{ChunkIndex, ChunkRange, ChunkSet, ChunkerParams, Cid, Codec, HashAlgorithm, Name};
use phase_protocol::wire::{
    PeerAddrs, Refusal, Reply, ReplyHeader, Request, RequestHeader, RequestId, decode_reply, decode_request,
    encode_reply, encode_request,
};
use serde_bytes::ByteBuf;

/// The document with the examples.
const DOCUMENT: &str = include_str!("../../../../docs/protocol.md");
/// The content of the example artifact, which has only one chunk. All examples belong to a release with only this
/// artifact.
const CHUNK: &[u8] = b"hello, world\n";
const VERSION: u64 = 7;
const ISSUED_AT: u64 = 1_800_000_000;
const EXPIRES_AT: u64 = 1_900_000_000;
/// The beginning of the line that names an example in the document.
const MARK: &str = "; example: ";

/// Returns the bytes of each example in the document, by the name of the example. They are written in hexadecimal in a
/// code block, with comments and white space.
fn documented() -> BTreeMap<String, Vec<u8>> {
    let mut examples = BTreeMap::new();
    for block in DOCUMENT.split("```").skip(1).step_by(2) {
        let Some((name, lines)) = block.split_once(MARK).and_then(|(_, rest)| rest.split_once('\n')) else { continue };
        let digits: String =
            lines.lines().flat_map(|line| line.split(';').next()).flat_map(str::split_whitespace).collect();
        let bytes = hex::decode(&digits).unwrap_or_else(|error| panic!("example {name}: {error}"));
        assert!(examples.insert(name.to_owned(), bytes).is_none(), "example {name} occurs twice");
    }
    examples
}

fn key() -> SigningKey {
    SigningKey::from_secret_bytes(&[1; 32])
}

fn name() -> Name {
    "stable/x86_64".parse().unwrap()
}

fn chunk() -> ChunkEntry {
    ChunkEntry { digest: HashAlgorithm::Blake3.digest(CHUNK), len: CHUNK.len() as u32 }
}

fn index_of(chunks: Vec<ChunkEntry>) -> ArtifactIndex {
    let sha256 = HashAlgorithm::Sha2_256.digest(CHUNK);
    ArtifactIndex::new(ChunkerParams::default(), HashAlgorithm::Blake3, sha256, chunks).unwrap()
}

/// Returns the second leaf block of an index that has two leaf blocks. The second leaf block lists only one chunk.
fn leaf() -> Vec<u8> {
    let full = ChunkEntry { len: ChunkerParams::default().min(), ..chunk() };
    let mut chunks = vec![full; 26_213];
    chunks.push(chunk());
    let encoded = index_of(chunks).encode();
    assert_eq!(encoded.blocks.len(), 3, "a root and two leaves");
    encoded.blocks[2].1.clone()
}

fn manifest() -> Manifest {
    let index = index_of(vec![chunk()]);
    let entry = ArtifactEntry::new("kernel".parse().unwrap(), "vmlinuz".parse().unwrap(), index.encode().root, &index);
    Manifest { release: "2027.1".to_owned(), ..Manifest::new(&name(), VERSION, ISSUED_AT, EXPIRES_AT, vec![entry]) }
}

fn sealed<P: Payload>(payload: &P) -> Envelope {
    Envelope::signed(payload, [&key()]).unwrap()
}

fn payload<P: Payload>(payload: &P) -> Vec<u8> {
    payload.check().unwrap();
    phase_core::codec::to_dag_cbor(payload)
}

/// Returns the binary peer id of the example key, which is an identity multihash of the public key in libp2p's
/// encoding.
fn peer_id() -> Vec<u8> {
    [hex::decode("002408011220").unwrap(), key().public().to_bytes().to_vec()].concat()
}

fn data_examples() -> Vec<(&'static str, Vec<u8>)> {
    let index = index_of(vec![chunk()]).encode();
    let manifest = manifest();
    let envelope = sealed(&manifest);
    let pointer = Pointer::to(&manifest, envelope.cid(), ISSUED_AT);
    let root = TrustRoot::of_one_key(key().public(), [name().channel], ISSUED_AT, EXPIRES_AT);
    let prefix = format!("DSSEv1 17 phase/manifest/v1 {} ", payload(&manifest).len());
    let signed = [prefix.as_bytes(), &payload(&manifest)].concat();
    assert!(key().public().verify(&signed, &signature_in(&envelope)), "the signature covers these bytes");
    let chunk_cid = Cid::new(Codec::Raw, HashAlgorithm::Blake3, chunk().digest);
    let bitmap = {
        let mut have = ChunkSet::new(9);
        for chunk in [0, 2, 8] {
            have.insert(ChunkIndex(chunk));
        }
        have.to_bytes()
    };
    vec![
        ("public-key", key().public().to_bytes().to_vec()),
        ("key-id", key().id().digest().as_bytes().to_vec()),
        ("chunk-cid", chunk_cid.to_bytes()),
        ("index-root", index.blocks[0].1.clone()),
        ("index-leaf", leaf()),
        ("artifact-cid", index.root.to_bytes()),
        ("manifest-signed-prefix", prefix.into_bytes()),
        ("manifest-payload", payload(&manifest)),
        ("manifest-envelope", envelope.encode()),
        ("manifest-cid", envelope.cid().to_bytes()),
        ("pointer-payload", payload(&pointer)),
        ("pointer-envelope", sealed(&pointer).encode()),
        ("root-payload", payload(&root)),
        ("root-envelope", sealed(&root).encode()),
        ("bitmap", bitmap),
        ("peer-id", peer_id()),
    ]
}

/// Returns the bytes of the only signature in an envelope. The signature is followed only by the key id.
fn signature_in(envelope: &Envelope) -> Vec<u8> {
    let bytes = envelope.encode();
    let end = bytes.len() - (1 + "key_id".len() + 2 + 32);
    bytes[end - 64..end].to_vec()
}

fn dht_examples() -> Vec<(&'static str, Vec<u8>)> {
    let (public, artifact) = (key().public(), index_of(vec![chunk()]).encode().root);
    let peer: phase_core::dht::PeerText = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5".parse().unwrap();
    let address = "/ip4/192.0.2.7/tcp/4001".to_owned();
    let v = phase_core::codec::V1;
    let (version, issued_at, expires_at) = (1, ISSUED_AT, EXPIRES_AT);
    let providers = vec![format!("{address}/p2p/{peer}")];
    let contact = Contact { v, peer, addresses: vec![address], version, issued_at, expires_at };
    let authority = Authority { v, key: public, names: vec![name()], providers, version, issued_at, expires_at };
    let label = "motd".parse().unwrap();
    let record = SignedRecord { v, key: public, label, value: b"hi".to_vec(), version, issued_at, expires_at };
    vec![
        ("contact-payload", payload(&contact)),
        ("authority-payload", payload(&authority)),
        ("record-payload", payload(&record)),
        ("dht-key-name", DhtKey::Name(name()).to_bytes()),
        ("dht-key-name-copy", DhtKey::NameCopy(name(), 2).to_bytes()),
        ("dht-key-contact", contact.dht_key().to_bytes()),
        ("dht-key-authority", authority.dht_key().to_bytes()),
        ("dht-key-record", record.dht_key().to_bytes()),
        ("dht-key-content", DhtKey::Content(artifact).to_bytes()),
    ]
}

fn request(body: Request) -> Bytes {
    let header = RequestHeader { id: RequestId(7), body };
    let frame = encode_request(&header);
    assert_eq!(decode_request(&frame[4..]), Ok(header));
    frame
}

fn reply(len: usize, body: Reply) -> Bytes {
    let header = ReplyHeader { id: RequestId(7), len: len as u32, body };
    let frame = encode_reply(&header);
    assert_eq!(decode_reply(&frame[4..]), Ok(header));
    frame
}

fn frame_examples() -> Vec<(&'static str, Bytes)> {
    let index = index_of(vec![chunk()]).encode();
    let (artifact, block) = (index.root, &index.blocks[0].1);
    let range = |start, end| vec![ChunkRange::new(start, end).unwrap()];
    let manifest = sealed(&manifest());
    let pointer = sealed(&Pointer::to(&self::manifest(), manifest.cid(), ISSUED_AT)).encode();
    let address = ByteBuf::from(hex::decode("04c0000207060fa1").unwrap());
    let peers = vec![PeerAddrs { peer: ByteBuf::from(peer_id()), addrs: vec![address] }];
    vec![
        ("request-head", request(Request::Head { name: name() })),
        ("request-block", request(Request::Block { cid: artifact })),
        ("request-have", request(Request::Have { artifact })),
        ("request-chunks", request(Request::Chunks { artifact, ranges: range(0, 1) })),
        ("request-peers", request(Request::Peers { artifact })),
        ("request-cancel", request(Request::Cancel { request: RequestId(6) })),
        (
            "reply-head",
            reply(pointer.len() + manifest.encode().len(), Reply::Head { pointer_len: pointer.len() as u32 }),
        ),
        ("reply-block", reply(block.len(), Reply::Block)),
        ("reply-have-full", reply(0, Reply::Have { chunks: 1, full: true })),
        ("reply-have-partial", reply(2, Reply::Have { chunks: 9, full: false })),
        ("reply-delta", reply(0, Reply::HaveDelta { ranges: range(3, 5) })),
        ("reply-chunk", reply(CHUNK.len(), Reply::Chunk { index: ChunkIndex(0), encoding: 0 })),
        ("reply-done", reply(0, Reply::Done)),
        ("reply-peers", reply(0, Reply::Peers { peers })),
        ("reply-refused-not-found", reply(0, Reply::Refused(Refusal::NotFound))),
        ("reply-refused-busy", reply(0, Reply::Refused(Refusal::Busy { retry_after_ms: 500 }))),
    ]
}

#[test]
fn each_example_in_the_document_is_what_phase_encodes() {
    let mut documented = documented();
    let frames = frame_examples().into_iter().map(|(name, frame)| (name, frame.to_vec()));
    for (name, encoded) in data_examples().into_iter().chain(dht_examples()).chain(frames) {
        let example = documented.remove(name).unwrap_or_else(|| panic!("docs/protocol.md has no example {name}"));
        assert_eq!(
            hex::encode(&example),
            hex::encode(&encoded),
            "example {name} in docs/protocol.md (left) is outdated"
        );
    }
    assert!(documented.is_empty(), "no code encodes the examples {:?}", documented.keys());
}

#[test]
fn the_texts_of_identifiers_in_the_document_are_right() {
    let chunk_cid = Cid::new(Codec::Raw, HashAlgorithm::Blake3, chunk().digest);
    for text in [chunk_cid, index_of(vec![chunk()]).encode().root, sealed(&manifest()).cid()].map(|cid| cid.to_string())
    {
        assert!(DOCUMENT.contains(&format!("`{text}`")), "{text} is missing");
    }
}
