//! Artifacts and pointers for the tests.

use std::path::PathBuf;
use std::sync::Arc;

use phase_core::codec::V1;
use phase_core::index::ChunkEntry;
use phase_core::{
    Artifact, ArtifactIndex, ChunkIndex, Chunker, ChunkerParams, Cid, Envelope, HashAlgorithm, ImportOptions, Name,
    Partial, Pointer, Segment, SigningKey, Store,
};

/// Returns chunker parameters for small chunks, so that small artifacts have many chunks.
pub(crate) fn chunker() -> ChunkerParams {
    ChunkerParams::new(256, 1024, 4096).unwrap()
}

pub(crate) fn import_options() -> ImportOptions {
    ImportOptions::default().with_chunker(chunker())
}

/// Returns `len` pseudorandom bytes. The same RNG seed gives the same bytes.
pub(crate) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Returns the CID and the index of an artifact with these bytes.
pub(crate) fn index_of(bytes: &[u8]) -> (Cid, Arc<ArtifactIndex>) {
    let hash = HashAlgorithm::Blake3;
    let mut chunks = Vec::new();
    let (mut cutter, mut segment) = (Chunker::new(bytes, chunker()), Segment::default());
    while cutter.read_segment(&mut segment).unwrap() {
        let entry = |chunk: &[u8]| ChunkEntry { digest: hash.digest(chunk), len: chunk.len() as u32 };
        chunks.extend(segment.chunks().map(entry));
    }
    let index = ArtifactIndex::new(chunker(), hash, HashAlgorithm::Sha2_256.digest(bytes), chunks).unwrap();
    (index.encode().root, Arc::new(index))
}

/// Returns the bytes of the chunk at a position of an artifact.
pub(crate) fn chunk<'a>(bytes: &'a [u8], index: &ArtifactIndex, position: u32) -> &'a [u8] {
    let chunk = index.chunk(ChunkIndex(position)).unwrap();
    &bytes[chunk.offset as usize..][..chunk.len as usize]
}

/// Writes the chunks at these positions to a partial artifact.
pub(crate) fn write(partial: &dyn Partial, bytes: &[u8], positions: impl IntoIterator<Item = u32>) {
    for position in positions {
        partial.write_chunk(ChunkIndex(position), chunk(bytes, partial.index(), position)).unwrap();
    }
}

/// Reads all bytes of an artifact.
pub(crate) fn content(artifact: &dyn Artifact) -> Vec<u8> {
    let mut bytes = vec![0; artifact.index().size() as usize];
    artifact.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Stores a complete artifact chunk by chunk, as a fetch does.
pub(crate) fn fetch(store: &dyn Store, bytes: &[u8]) -> Arc<dyn Artifact> {
    let (cid, index) = index_of(bytes);
    let partial = store.partial(&cid, index.clone()).unwrap();
    write(&*partial, bytes, 0..index.len());
    partial.finish().unwrap()
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Returns a signed pointer. Its expiry time is in the past.
pub(crate) fn pointer(name: &Name, manifest: Cid, version: u64) -> Envelope {
    signed(&Pointer {
        v: V1,
        name: name.clone(),
        manifest: Some(manifest),
        version,
        issued_at: 1,
        expires_at: 2,
        urls: Vec::new(),
    })
}

/// Returns a signed pointer that has URLs and no manifest.
pub(crate) fn pointer_to_urls(name: &Name) -> Envelope {
    let urls = vec!["https://example.org/".to_owned()];
    signed(&Pointer { v: V1, name: name.clone(), manifest: None, version: 1, issued_at: 1, expires_at: 2, urls })
}

fn signed(pointer: &Pointer) -> Envelope {
    let mut envelope = Envelope::unsigned(pointer).unwrap();
    envelope.sign::<Pointer>(&SigningKey::from_secret_bytes(&[1; 32])).unwrap();
    envelope
}

/// Returns the version that a pointer states.
pub(crate) fn version(envelope: &Envelope) -> u64 {
    envelope.payload_unverified::<Pointer>().unwrap().version
}

/// Creates a file in a new folder. The folder is deleted when its handle is dropped.
pub(crate) fn file_with(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// Reads all bytes of an artifact, which may be damaged.
pub(crate) fn try_content(artifact: &dyn Artifact) -> Result<Vec<u8>, phase_core::StoreError> {
    let mut bytes = vec![0; artifact.index().size() as usize];
    artifact.read_at(0, &mut bytes).map(|()| bytes)
}
