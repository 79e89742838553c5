//! What every store can do, wherever it keeps things.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::StoreError;
use crate::chunkset::ChunkSet;
use crate::cid::{Cid, Digest};
use crate::envelope::Envelope;
use crate::import::ImportOptions;
use crate::index::{ArtifactIndex, ChunkIndex};
use crate::name::Name;

/// A place for blocks, artifacts and refs. Shared as `Arc<dyn Store>`.
pub trait Store: Send + Sync {
    /// Keeps a block. Not an error if it is there already.
    ///
    /// # Errors
    /// [`StoreError::BadBlock`] if `bytes` do not hash to `cid`.
    fn put_block(&self, cid: &Cid, bytes: &[u8]) -> Result<(), StoreError>;

    /// A block; its bytes hash to `cid`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the bytes on disk do not hash to `cid`, or what the operating system says.
    fn block(&self, cid: &Cid) -> Result<Option<Vec<u8>>, StoreError>;

    /// Opens a complete artifact. A file that is not in the state in which it was verified is verified again first,
    /// which takes as long as reading it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it is not what it was. [`Store::partial`] or [`Store::import`] replace it.
    fn artifact(&self, cid: &Cid) -> Result<Option<Arc<dyn Artifact>>, StoreError>;

    /// Begins or resumes an artifact: what is on disk already is hashed and counts where it is right.
    ///
    /// Puts the blocks of `index`.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if it is open already, here or in another process; [`StoreError::Complete`] if there is
    /// nothing left to do; [`StoreError::NoSpace`] if the whole artifact does not fit.
    fn partial(&self, cid: &Cid, index: Arc<ArtifactIndex>) -> Result<Arc<dyn Partial>, StoreError>;

    /// Makes an artifact of the file at `source`. `progress` gets the number of bytes read so far.
    ///
    /// # Errors
    /// [`StoreError::Source`], [`StoreError::NotAFile`], [`StoreError::SourceChanged`] or [`StoreError::NoIndex`] for the file;
    /// [`StoreError::NoSpace`] and others for the store.
    fn import(
        &self,
        source: &Path,
        options: &ImportOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Arc<dyn Artifact>, StoreError>;

    /// Sets what `name` points at: a signed [`Pointer`](crate::dht::Pointer) for that name whose manifest is in
    /// the store; one without a manifest is refused. Its signatures are the caller's to check.
    ///
    /// # Errors
    /// [`StoreError::BadPointer`], [`StoreError::NoManifest`], or what the operating system says. The ref is what it was before.
    fn set_ref(&self, name: &Name, pointer: &Envelope) -> Result<(), StoreError>;

    /// What `name` points at.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it cannot be read, or what the operating system says.
    fn pointer(&self, name: &Name) -> Result<Option<Envelope>, StoreError>;

    /// The names that have a ref, sorted.
    ///
    /// # Errors
    /// What the operating system says.
    fn names(&self) -> Result<Vec<Name>, StoreError>;

    /// For each digest a complete artifact and the position at which it has that chunk, as far as known. The file
    /// may have changed since: hash what you take.
    ///
    /// # Errors
    /// [`StoreError::ChunkMap`], or what the operating system says.
    fn find_chunks(&self, digests: &[Digest]) -> Result<Vec<Option<(Cid, ChunkIndex)>>, StoreError>;
}

/// A complete artifact, open for reading.
pub trait Artifact: Send + Sync {
    /// The artifact's CID.
    fn cid(&self) -> Cid;

    /// Its chunks.
    fn index(&self) -> &Arc<ArtifactIndex>;

    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the file is not in the state in which it was verified: withdraw the artifact, or
    /// open it again. [`StoreError::NotThere`] past the end.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError>;

    /// The file with the whole content, where there is one. It must not be written to.
    fn path(&self) -> Option<PathBuf>;
}

/// An artifact that is being put together. Dropped without [`Partial::finish`], what was written stays for the next
/// [`Store::partial`].
pub trait Partial: Send + Sync {
    /// The artifact's CID.
    fn cid(&self) -> Cid;

    /// Its chunks.
    fn index(&self) -> &Arc<ArtifactIndex>;

    /// The chunks that are written and verified.
    fn have(&self) -> ChunkSet;

    /// Verifies and writes a chunk. Not an error if it is there already. Threads may write at the same time.
    ///
    /// # Errors
    /// [`StoreError::BadChunk`] if it is not what the index says; then nothing was written.
    fn write_chunk(&self, chunk: ChunkIndex, bytes: &[u8]) -> Result<(), StoreError>;

    /// As [`Partial::write_chunk`] for each of several chunks, with as few writes as possible: those that are adjacent in
    /// `chunks` and in the artifact are written together, after all of them were verified. One result for each, in
    /// their order; where a write fails, all of its chunks count as not written.
    ///
    /// # Errors
    /// For each chunk those of [`Partial::write_chunk`].
    fn write_chunks(&self, chunks: &[(ChunkIndex, &[u8])]) -> Vec<Result<(), StoreError>>;

    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    /// [`StoreError::NotThere`] if not all of them are in verified chunks.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError>;

    /// Makes what was written so far survive a power cut. Writing may go on meanwhile.
    ///
    /// # Errors
    /// What the operating system says. What was written stays, and may not survive a power cut.
    fn checkpoint(&self) -> Result<(), StoreError>;

    /// Makes it a complete artifact, which other processes see from then on.
    ///
    /// # Errors
    /// [`StoreError::Incomplete`] while chunks are missing.
    fn finish(self: Arc<Self>) -> Result<Arc<dyn Artifact>, StoreError>;
}
