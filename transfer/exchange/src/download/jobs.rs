//! The blocking jobs of a download. They open artifacts, write chunks, make checkpoints and finish artifacts.

use std::collections::BTreeMap;
use std::sync::Arc;

use phase_core::store::{Artifact, Partial, Store, StoreError};
use phase_core::{ChunkIndex, Cid, Digest};
use phase_protocol::scheduler::ArtifactSlot;
use phase_protocol::{PeerKey, RequestId};

use crate::buffers::Buffer;
use crate::catalog::Catalog;
use crate::download::inputs::Wanted;

/// The limit on the total size of the artifacts that one job opens, in bytes. Small artifacts share a job, because
/// starting a job costs more than opening a small artifact. A larger artifact has a job of its own, because opening it
/// may take long: chunks from an earlier download are hashed.
const MAX_OPEN_BATCH: u64 = 1 << 20;

/// The result of opening an artifact.
pub(super) enum Opened {
    /// The artifact is complete in the store.
    Whole,
    /// The artifact has to be fetched. `Partial::have` returns the chunks that the store already has.
    Part(Arc<dyn Partial>),
}

/// A chunk received from a peer, not yet verified.
pub(super) struct Received {
    pub(super) peer: PeerKey,
    pub(super) request: RequestId,
    pub(super) slot: ArtifactSlot,
    pub(super) index: ChunkIndex,
    pub(super) bytes: Buffer,
    pub(super) partial: Arc<dyn Partial>,
}

/// The result of verifying and writing a [`Received`] chunk.
pub(super) struct Written {
    pub(super) peer: PeerKey,
    pub(super) request: RequestId,
    pub(super) slot: ArtifactSlot,
    pub(super) index: ChunkIndex,
    pub(super) len: u64,
    /// Whether the bytes match the digest of the chunk, or the error from writing the chunk.
    pub(super) verified: Result<bool, StoreError>,
}

/// The result of a blocking job of a download.
pub(super) enum Outcome {
    Opened(Vec<(ArtifactSlot, Result<Opened, StoreError>)>),
    Written(Vec<Written>),
    Checkpointed(Result<(), StoreError>),
    Finished(Vec<(ArtifactSlot, Result<(), StoreError>)>),
}

/// The locations of wanted chunks in other artifacts of the store. Maps a digest to an artifact and the chunk index in
/// it.
pub(super) type Known = BTreeMap<Digest, (Cid, ChunkIndex)>;

/// Finds wanted chunks in other artifacts of the store. Looks up all digests at once, because every look-up opens the
/// chunk map of the store again. If the look-up fails, the chunks are fetched from peers.
pub(super) fn survey(catalog: &Catalog, digests: Vec<Digest>) -> Known {
    let found = catalog.store().find_chunks(&digests).unwrap_or_else(|error| {
        tracing::info!(%error, "cannot look up chunks in the store: they are fetched instead");
        Vec::new()
    });
    digests.into_iter().zip(found).filter_map(|(digest, location)| Some((digest, location?))).collect()
}

/// Returns the number of artifacts that one job opens: the first artifacts of `wanted`, as many as fit into
/// [`MAX_OPEN_BATCH`], and at least one.
pub(super) fn open_batch_len(wanted: &[Wanted]) -> usize {
    let mut bytes = 0;
    let fits = wanted.iter().take_while(|wanted| {
        bytes += wanted.index.size();
        bytes <= MAX_OPEN_BATCH
    });
    fits.count().max(1)
}

/// Opens artifacts. An artifact that is not complete in the store is begun or resumed, and chunks that other artifacts
/// of the store have are copied into it.
pub(super) fn open(catalog: &Catalog, wanted: &[(ArtifactSlot, Wanted)], known: &Known) -> Outcome {
    let store = catalog.store().as_ref();
    Outcome::Opened(wanted.iter().map(|(slot, wanted)| (*slot, open_one(store, wanted, known))).collect())
}

fn open_one(store: &dyn Store, wanted: &Wanted, known: &Known) -> Result<Opened, StoreError> {
    match store.artifact(&wanted.cid) {
        Ok(Some(_)) => Ok(Opened::Whole),
        Ok(None) => begin(store, wanted, known),
        // Any other error says nothing about the stored copy. An example is a process that has too many files open.
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::warn!(artifact = %wanted.cid, %error, "the stored copy cannot be used: fetching it again");
            begin(store, wanted, known)
        }
        Err(error) => Err(error),
    }
}

fn begin(store: &dyn Store, wanted: &Wanted, known: &Known) -> Result<Opened, StoreError> {
    match store.partial(&wanted.cid, wanted.index.clone()) {
        Ok(partial) => {
            if !known.is_empty() {
                reuse(store, partial.as_ref(), known);
            }
            Ok(Opened::Part(partial))
        }
        // Another process has just completed the artifact.
        Err(StoreError::Complete(_)) => Ok(Opened::Whole),
        Err(error) => Err(error),
    }
}

/// Copies missing chunks from other artifacts of the store. Each copy is verified like a chunk from a peer.
fn reuse(store: &dyn Store, partial: &dyn Partial, known: &Known) {
    let mut source: Option<Arc<dyn Artifact>> = None;
    let missing: Vec<_> = partial.have().iter_missing().collect();
    for index in missing {
        let Some(chunk) = partial.index().chunk(index) else { continue };
        let Some((cid, position)) = known.get(&chunk.digest) else { continue };
        if source.as_ref().is_none_or(|open| open.cid() != *cid) {
            source = store.artifact(cid).ok().flatten();
        }
        let Some(open) = &source else { continue };
        let Some(at) = open.index().chunk(*position).filter(|there| there.len == chunk.len) else { continue };
        let mut bytes = vec![0; chunk.len as usize];
        let copied = open.read_at(at.offset, &mut bytes).and_then(|()| partial.write_chunk(index, &bytes));
        if let Err(error) = copied {
            tracing::info!(%error, "cannot reuse a chunk of another artifact: it is fetched instead");
        }
    }
}

/// Verifies chunks and writes those that verify. Adjacent chunks are written together.
pub(super) fn write(mut chunks: Vec<Received>) -> Outcome {
    chunks.sort_by_key(|chunk| (chunk.slot, chunk.index));
    let mut written = Vec::with_capacity(chunks.len());
    for of_one in chunks.chunk_by(|a, b| a.slot == b.slot) {
        let bytes: Vec<_> = of_one.iter().map(|chunk| (chunk.index, &*chunk.bytes)).collect();
        let results = of_one[0].partial.write_chunks(&bytes);
        written.extend(of_one.iter().zip(results).map(|(chunk, result)| {
            let verified = match result {
                Ok(()) => Ok(true),
                Err(StoreError::BadChunk { .. }) => Ok(false),
                Err(error) => Err(error),
            };
            let Received { peer, request, slot, index, .. } = *chunk;
            Written { peer, request, slot, index, len: chunk.bytes.len() as u64, verified }
        }));
    }
    Outcome::Written(written)
}

/// Makes a checkpoint of each of these partial artifacts.
pub(super) fn checkpoint(partials: &[Arc<dyn Partial>]) -> Outcome {
    Outcome::Checkpointed(partials.iter().try_for_each(|partial| partial.checkpoint()))
}

/// Turns partial artifacts that have all chunks into complete artifacts of the store.
pub(super) fn finish(complete: Vec<(ArtifactSlot, Arc<dyn Partial>)>) -> Outcome {
    Outcome::Finished(complete.into_iter().map(|(slot, partial)| (slot, partial.finish().map(drop))).collect())
}

/// Ends a download: makes a last checkpoint of the partial artifacts in `dirty`, and releases the artifacts in
/// `unfinished`. Waits until no upload reads these artifacts.
pub(super) fn close(catalog: &Catalog, dirty: &[Arc<dyn Partial>], unfinished: &[Cid]) {
    if let Err(error) = dirty.iter().try_for_each(|partial| partial.checkpoint()) {
        tracing::warn!(%error, "last checkpoint failed");
    }
    unfinished.iter().for_each(|artifact| catalog.abandon(artifact));
}
