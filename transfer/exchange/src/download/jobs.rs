//! The blocking jobs of a download. They open artifacts, write chunks, make checkpoints and finish artifacts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use phase_core::store::{Artifact, Partial, Store, StoreError};
use phase_core::{ChunkIndex, ChunkSet, Cid, Digest};
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
    /// The artifact has to be fetched.
    Part(Begun),
}

/// A partial artifact whose fetch begins.
pub(super) struct Begun {
    pub(super) partial: Arc<dyn Partial>,
    /// The chunks that need not be requested: those that are stored, and those that are equal to a missing chunk before
    /// them.
    pub(super) not_requested: ChunkSet,
    /// The length of the stored chunks, in bytes.
    pub(super) stored: u64,
    /// The part of `stored` that an earlier run fetched or that came from other artifacts.
    pub(super) resumed: u64,
    /// The bytes of the artifact that are not fetched because they are zeros or equal to earlier chunks.
    pub(super) repeated: u64,
}

impl Begun {
    fn new(partial: Arc<dyn Partial>) -> Self {
        let (index, have, copies) = (partial.index().clone(), partial.have(), partial.copies_equal_chunks());
        let repeats = index.repeats();
        let is_repeat = |chunk| repeats.is_zeros(chunk) || (copies && repeats.first(chunk) != chunk);
        let len = |chunk| index.chunk(chunk).map_or(0, |chunk| u64::from(chunk.len));
        let stored = have.ranges().filter_map(|range| index.byte_range(range)).map(|bytes| bytes.len()).sum();
        let resumed = have.iter().filter(|chunk| !is_repeat(*chunk)).map(len).sum();
        let repeated = repeats.zero_bytes() + if copies { repeats.copied_bytes() } else { 0 };
        let mut not_requested = have.clone();
        if copies {
            let copied = repeats.later_and_first().filter(|(_, first)| !have.contains(*first));
            copied.for_each(|(later, _)| {
                not_requested.insert(later);
            });
        }
        Self { partial, not_requested, stored, resumed, repeated }
    }
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

/// The locations of wanted chunks in other artifacts of the store.
#[derive(Default)]
pub(super) struct Known {
    /// Maps a digest to an artifact and the chunk index in it.
    locations: BTreeMap<Digest, (Cid, ChunkIndex)>,
    /// The artifacts that could not be read. They are not read again, because each attempt may hash a whole file.
    unusable: Mutex<BTreeSet<Cid>>,
}

impl Known {
    fn unusable(&self) -> MutexGuard<'_, BTreeSet<Cid>> {
        self.unusable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks up in which artifacts of the store wanted chunks are. All chunks are looked up at once, because each look-up
/// opens the chunk map of the store again. If the look-up fails, the chunks are fetched from peers.
pub(super) fn survey(catalog: &Catalog, digests: Vec<Digest>) -> Known {
    let found = catalog.store().find_chunks(&digests).unwrap_or_else(|error| {
        tracing::info!(%error, "cannot look up chunks in the store: they are fetched instead");
        Vec::new()
    });
    let located = digests.into_iter().zip(found).filter_map(|(digest, location)| Some((digest, location?)));
    Known { locations: located.collect(), unusable: Mutex::default() }
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
        // The stored copy may be good, so it is not fetched again.
        Err(error) if error.is_temporary() => Err(error),
        Err(error) => {
            tracing::warn!(artifact = %wanted.cid, %error, "the stored copy cannot be used: fetching it again");
            // The damaged file is kept for people to look at. If it cannot be moved, the new file replaces it.
            if let Err(error) = store.set_aside(&wanted.cid) {
                tracing::info!(artifact = %wanted.cid, %error, "cannot set the stored copy aside");
            }
            begin(store, wanted, known)
        }
    }
}

fn begin(store: &dyn Store, wanted: &Wanted, known: &Known) -> Result<Opened, StoreError> {
    match store.partial(&wanted.cid, wanted.index.clone()) {
        Ok(partial) => {
            if !known.locations.is_empty() {
                reuse(store, partial.as_ref(), known)?;
            }
            Ok(Opened::Part(Begun::new(partial)))
        }
        // Another process has just completed the artifact.
        Err(StoreError::Complete(_)) => Ok(Opened::Whole),
        Err(error) => Err(error),
    }
}

/// Copies missing chunks from other artifacts of the store. Each copy is verified like a chunk from a peer. The chunks
/// are copied artifact by artifact, so each artifact is opened once. Of an artifact that cannot be read, no further chunk
/// is read.
///
/// # Errors
/// The error from opening an artifact, if the system lacks a resource such as file descriptors. Other errors are logged,
/// and the chunks are fetched instead.
fn reuse(store: &dyn Store, partial: &dyn Partial, known: &Known) -> Result<(), StoreError> {
    let (index, have) = (partial.index().clone(), partial.have());
    let first = |chunk| if partial.copies_equal_chunks() { index.repeats().first(chunk) } else { chunk };
    // A chunk that is equal to an earlier missing chunk is copied with that chunk.
    let missing = have.iter_missing().filter(|chunk| first(*chunk) == *chunk || have.contains(first(*chunk)));
    let located = missing.filter_map(|chunk| Some((*known.locations.get(&index.chunk(chunk)?.digest)?, chunk)));
    let mut located: Vec<((Cid, ChunkIndex), ChunkIndex)> = located.collect();
    located.sort_unstable();
    for of_one in located.chunk_by(|a, b| a.0.0 == b.0.0) {
        let cid = &of_one[0].0.0;
        if known.unusable().contains(cid) {
            continue;
        }
        let copied = match store.artifact(cid) {
            Ok(Some(source)) => copy_chunks(source.as_ref(), partial, of_one),
            Ok(None) => continue,
            Err(error) if error.is_temporary() => return Err(error),
            Err(error) => Err(error),
        };
        if let Err(error) = copied {
            tracing::info!(artifact = %cid, %error, "cannot reuse chunks of another artifact: they are fetched instead");
            known.unusable().insert(*cid);
        }
    }
    Ok(())
}

/// Copies chunks of `source` to `partial`. Each entry of `chunks` has the chunk index in `source` and the one in
/// `partial`.
fn copy_chunks(
    source: &dyn Artifact,
    partial: &dyn Partial,
    chunks: &[((Cid, ChunkIndex), ChunkIndex)],
) -> Result<(), StoreError> {
    let mut bytes = Vec::new();
    for ((_, from), to) in chunks {
        let (Some(from), Some(chunk)) = (source.index().chunk(*from), partial.index().chunk(*to)) else { continue };
        if from.len == chunk.len {
            bytes.resize(chunk.len as usize, 0);
            source.read_at(from.offset, &mut bytes)?;
            partial.write_chunk(*to, &bytes)?;
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests;
