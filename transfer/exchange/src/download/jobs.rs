//! The part of a download that may block: opening, writing, checkpointing and finishing artifacts.

use std::collections::BTreeMap;
use std::sync::Arc;

use phase_core::store::{Artifact, Partial, Store, StoreError};
use phase_core::{ChunkIndex, Cid, Digest};
use phase_protocol::scheduler::ArtifactSlot;
use phase_protocol::{PeerKey, RequestId};

use crate::buffers::Buffer;
use crate::catalog::Catalog;
use crate::download::inputs::Wanted;

/// The most bytes of artifacts that one job opens together: small ones cost more to hand to a thread than to open. Those that
/// are resumed are hashed first.
const OPENED_TOGETHER: u64 = 1 << 20;

/// What opening an artifact found.
pub(super) enum Opened {
    /// It is complete already.
    Whole,
    /// It has to be fetched; `Partial::have` tells what is there.
    Part(Arc<dyn Partial>),
}

/// A chunk as it came from a peer.
pub(super) struct Received {
    pub(super) peer: PeerKey,
    pub(super) request: RequestId,
    pub(super) slot: ArtifactSlot,
    pub(super) index: ChunkIndex,
    pub(super) bytes: Buffer,
    pub(super) partial: Arc<dyn Partial>,
}

/// What became of a [`Received`] chunk.
pub(super) struct Written {
    pub(super) peer: PeerKey,
    pub(super) request: RequestId,
    pub(super) slot: ArtifactSlot,
    pub(super) index: ChunkIndex,
    pub(super) len: u64,
    /// `Ok(false)`: the bytes are not those of the chunk.
    pub(super) verified: Result<bool, StoreError>,
}

/// What a job ends with.
pub(super) enum Outcome {
    Opened(Vec<(ArtifactSlot, Result<Opened, StoreError>)>),
    Written(Vec<Written>),
    Checkpointed(Result<(), StoreError>),
    Finished(Vec<(ArtifactSlot, Result<(), StoreError>)>),
}

/// Where chunks are that other artifacts of the store have.
pub(super) type Known = BTreeMap<Digest, (Cid, ChunkIndex)>;

/// Looks up the chunks of all artifacts at once: every look-up by itself would open the store's map of chunks anew. A
/// failure costs nothing but the saving.
pub(super) fn survey(catalog: &Catalog, digests: Vec<Digest>) -> Known {
    let found = catalog.store().find_chunks(&digests).unwrap_or_else(|error| {
        tracing::info!(%error, "cannot look for chunks that are here already");
        Vec::new()
    });
    digests.into_iter().zip(found).filter_map(|(digest, place)| Some((digest, place?))).collect()
}

/// How many of the first of `wanted`, of which there is one at least, one job opens.
pub(super) fn opened_together(wanted: &[Wanted]) -> usize {
    let mut bytes = 0;
    let fits = wanted.iter().take_while(|wanted| {
        bytes += wanted.index.size();
        bytes <= OPENED_TOGETHER
    });
    fits.count().max(1)
}

/// Looks for artifacts in the store, or begins or resumes them there, with what other artifacts have in common with them.
pub(super) fn open(catalog: &Catalog, wanted: &[(ArtifactSlot, Wanted)], known: &Known) -> Outcome {
    let store = catalog.store().as_ref();
    Outcome::Opened(wanted.iter().map(|(slot, wanted)| (*slot, open_one(store, wanted, known))).collect())
}

fn open_one(store: &dyn Store, wanted: &Wanted, known: &Known) -> Result<Opened, StoreError> {
    match store.artifact(&wanted.cid) {
        Ok(Some(_)) => Ok(Opened::Whole),
        Ok(None) => begin(store, wanted, known),
        Err(error) => {
            tracing::warn!(artifact = %wanted.cid, %error, "the stored copy is not usable: fetched anew");
            begin(store, wanted, known)
        }
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
        // Another process has finished it this moment.
        Err(StoreError::Complete(_)) => Ok(Opened::Whole),
        Err(error) => Err(error),
    }
}

/// Copies the missing chunks that other artifacts have; each is verified as if it came from a peer.
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
            tracing::info!(%error, "a chunk that should be here already is not");
        }
    }
}

/// Verifies chunks and writes those that are good, adjacent ones together.
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

/// Makes what has been written survive a power cut.
pub(super) fn checkpoint(partials: &[Arc<dyn Partial>]) -> Outcome {
    Outcome::Checkpointed(partials.iter().try_for_each(|partial| partial.checkpoint()))
}

/// Puts complete artifacts in their places.
pub(super) fn finish(complete: Vec<(ArtifactSlot, Arc<dyn Partial>)>) -> Outcome {
    Outcome::Finished(complete.into_iter().map(|(slot, partial)| (slot, partial.finish().map(drop))).collect())
}

/// What a download leaves: verified chunks survive a power cut, and nothing holds an artifact that is not complete. Waits for
/// peers that are being sent something of it.
pub(super) fn close(catalog: &Catalog, dirty: &[Arc<dyn Partial>], unfinished: &[Cid]) {
    if let Err(error) = dirty.iter().try_for_each(|partial| partial.checkpoint()) {
        tracing::warn!(%error, "last checkpoint failed");
    }
    unfinished.iter().for_each(|artifact| catalog.abandon(artifact));
}
