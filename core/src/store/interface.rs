//! The traits that every store implements, on disk or in RAM.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::StoreError;
use super::import_space::{self, ImportSource};
use super::lock::NameLock;
use super::space::Need;
use crate::chunkset::ChunkSet;
use crate::cid::{Cid, Digest};
use crate::envelope::Envelope;
use crate::import::ImportOptions;
use crate::index::{ArtifactIndex, ChunkIndex, ChunkRange};
use crate::name::Name;

/// A store of blocks, artifacts and refs. It is shared as `Arc<dyn Store>`.
pub trait Store: Send + Sync {
    /// Returns the folder of the store, or `None` if the store is in RAM.
    fn folder(&self) -> Option<&Path> {
        None
    }

    /// Stores a block. It is not an error if the block is in the store already.
    ///
    /// # Errors
    /// [`StoreError::BadBlock`] if `bytes` do not hash to `cid`, [`StoreError::BlockTooLarge`], or an error from the
    /// operating system.
    fn put_block(&self, cid: &Cid, bytes: &[u8]) -> Result<(), StoreError>;

    /// Returns the bytes of a block, or `None` if the store does not have it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the bytes on disk do not hash to `cid`, or an error from the operating system.
    fn block(&self, cid: &Cid) -> Result<Option<Vec<u8>>, StoreError>;

    /// Opens a complete artifact, or returns `None` if the store does not have it.
    ///
    /// A file that differs from its seal is verified again. A file that was found wrong is hashed again only after its
    /// state has changed.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the file is damaged or refused. [`Store::partial`] or [`Store::import`] can replace
    /// the artifact then. [`StoreError::BadIndex`], or an error from the operating system.
    fn artifact(&self, cid: &Cid) -> Result<Option<Arc<dyn Artifact>>, StoreError>;

    /// Hashes a complete artifact, whatever its seal says, and takes it out of the store if it is damaged, so that
    /// [`Store::partial`] can fetch it again. An undamaged artifact is left alone.
    ///
    /// Returns `None` if the artifact is undamaged or not in the store. Otherwise, returns where the damaged file is
    /// now: in the folder `damaged/` of the store, which keeps a few such files; or, for an artifact that was imported
    /// by reference, where it was before, because the store only forgets it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] or [`StoreError::BadIndex`] if an index block is missing or damaged, without which the
    /// artifact cannot be verified, or if another program keeps changing the file; or an error from the operating
    /// system. The artifact is left alone then.
    fn set_aside(&self, cid: &Cid) -> Result<Option<PathBuf>, StoreError>;

    /// Returns the paths of the files on which an artifact depends, whether they exist or not. If [`Store::artifact`]
    /// fails, it can succeed later only after one of these files, or the file in the error, has changed. A store that
    /// has no files returns none.
    ///
    /// # Errors
    /// An error from the operating system.
    fn files(&self, _artifact: &Cid) -> Result<Vec<PathBuf>, StoreError> {
        Ok(Vec::new())
    }

    /// Opens the partial artifact that an earlier fetch left in the store, or creates an empty one. Stores the blocks
    /// of `index`.
    ///
    /// All chunks on disk are verified. Only chunks that match the index count as stored.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if the partial artifact is open already, in this or another process;
    /// [`StoreError::Complete`] if the artifact is complete; [`StoreError::OtherIndex`] if `index` belongs to another
    /// artifact; [`StoreError::NoSpace`] if the whole artifact does not fit; or an error from the operating system.
    fn partial(&self, cid: &Cid, index: Arc<ArtifactIndex>) -> Result<Arc<dyn Partial>, StoreError>;

    /// Imports the file at `path` as an artifact. `progress` is called with the number of bytes read so far.
    ///
    /// A block device, a pipe or standard input ([`STANDARD_INPUT`](super::STANDARD_INPUT)) can be copied into the
    /// store, but not imported by reference. A regular file must not change while it is read.
    ///
    /// # Errors
    /// [`StoreError::Source`], [`StoreError::NotImportable`], [`StoreError::NotByReference`],
    /// [`StoreError::SourceChanged`] or [`StoreError::NoIndex`] if the file cannot be imported.
    /// [`StoreError::DoesNotFit`], [`StoreError::NoSpace`] or another variant if the store cannot be written to.
    fn import(
        &self,
        path: &Path,
        options: &ImportOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Arc<dyn Artifact>, StoreError>;

    /// Returns what a fetch of an artifact still needs: nothing if the artifact is complete, and otherwise the space for
    /// the chunks that are not stored yet. Chunks of zeros need none. The needs of several artifacts can be
    /// [added](Need::add).
    ///
    /// Default: the space of the whole artifact.
    fn needed_to_fetch(&self, cid: &Cid, index: &ArtifactIndex) -> Need {
        let _ = cid;
        let mut need = Need::default();
        need.add_artifact(index.size(), index.size() - index.repeats().zero_bytes(), &index.chunker());
        need
    }

    /// Checks that the store has space for `need`, so that a lack of space is reported before the work begins. A store
    /// that does not know its free space accepts every need.
    ///
    /// # Errors
    /// [`StoreError::DoesNotFit`], which names the needed and the free space.
    fn check_space(&self, need: &Need) -> Result<(), StoreError> {
        let _ = need;
        Ok(())
    }

    /// Checks that the store has space for the artifacts of all `sources` together.
    ///
    /// # Errors
    /// [`StoreError::DoesNotFit`], which names the needed and the free space.
    fn check_import(&self, sources: &[ImportSource<'_>], options: &ImportOptions) -> Result<(), StoreError> {
        self.check_space(&import_space::sum(sources, options))
    }

    /// Takes the lock of a publisher on a name, and waits while another publisher holds it, in this or another process.
    /// A publisher holds the lock from reading the version of the name to setting its ref, so that no two manifests get
    /// the same version. The caller must not hold the lock already.
    ///
    /// # Errors
    /// An error from the operating system.
    fn lock_name(&self, name: &Name) -> Result<NameLock, StoreError>;

    /// Sets the ref of `name` to the signed [`Pointer`](crate::dht::Pointer) in `pointer`. The pointer must be for
    /// `name`, and the store must have its manifest and all artifacts of the manifest. The caller must have verified the
    /// signatures.
    ///
    /// The ref is compared and set in one step: a ref never goes back to a lower version, and never changes to another
    /// manifest with the same version. A ref to the same manifest that was issued later is kept.
    ///
    /// # Errors
    /// [`StoreError::RefIsNewer`] if the ref has a higher version, or the same version and another manifest.
    /// [`StoreError::BadPointer`], [`StoreError::NoManifest`], [`StoreError::NoArtifact`], or an error from the operating
    /// system. The ref is unchanged after an error, unless only the last step failed: syncing the new ref.
    fn set_ref(&self, name: &Name, pointer: &Envelope) -> Result<(), StoreError>;

    /// Returns the envelope of the pointer record for `name`, or `None` if the name has no ref.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the ref cannot be decoded, or an error from the operating system.
    fn pointer(&self, name: &Name) -> Result<Option<Envelope>, StoreError>;

    /// Returns the names that have a ref, sorted.
    ///
    /// # Errors
    /// An error from the operating system.
    fn names(&self) -> Result<Vec<Name>, StoreError>;

    /// Finds chunks by their digests in the complete artifacts. For each digest, returns the artifact CID and the chunk
    /// index of one such chunk, or `None` if there is none.
    ///
    /// The caller must verify the chunk, because the artifact's file may have changed.
    ///
    /// # Errors
    /// [`StoreError::ChunkMap`], or an error from the operating system.
    fn find_chunks(&self, digests: &[Digest]) -> Result<Vec<Option<(Cid, ChunkIndex)>>, StoreError>;
}

/// A complete artifact, open for reading.
pub trait Artifact: Send + Sync {
    /// Returns the artifact CID.
    fn cid(&self) -> Cid;

    /// Returns the index of the artifact.
    fn index(&self) -> &Arc<ArtifactIndex>;

    /// Fills `buf` with the bytes of the artifact that begin at `offset`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the file has changed since it was verified. The caller must then withdraw the
    /// artifact or open it again. [`StoreError::NotThere`] if the bytes are past the end.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError>;

    /// Fills `buf` with the bytes of adjacent chunks, to send them to a peer. `buf` must have the length of the chunks.
    /// If another program may change the file at any time, the chunks are hashed.
    ///
    /// # Errors
    /// The errors of [`Artifact::read_at`].
    fn read_chunks(&self, run: ChunkRange, buf: &mut [u8]) -> Result<(), StoreError> {
        self.index().byte_range(run).map_or(Ok(()), |range| self.read_at(range.start, buf))
    }

    /// Returns whether the artifact was removed from the store since it was opened. Its content can still be read, so
    /// that transfers in progress can end.
    fn is_removed(&self) -> bool {
        false
    }

    /// Returns the path of the file with the content of the artifact, or `None` if the content is not in a file. The
    /// caller must not write to the file.
    fn path(&self) -> Option<PathBuf>;
}

/// A partial artifact that is open for writing. If it is dropped without [`Partial::finish`], the written chunks stay
/// for the next [`Store::partial`].
///
/// Chunks of zeros are stored from the beginning. Unless [`Partial::copies_equal_chunks`] returns false, the other
/// chunks are stored together with all chunks that are equal to them
/// ([`ArtifactIndex::repeats`](crate::index::ArtifactIndex::repeats)), so each group of equal chunks has to be written
/// once.
pub trait Partial: Send + Sync {
    /// Returns the artifact CID.
    fn cid(&self) -> Cid;

    /// Returns the index of the artifact.
    fn index(&self) -> &Arc<ArtifactIndex>;

    /// Returns the set of chunks that were verified and written.
    fn have(&self) -> ChunkSet;

    /// Returns whether written chunks can be read back, so that they can be served. A stream does not keep them.
    fn keeps_chunks(&self) -> bool {
        true
    }

    /// Returns whether writing a chunk also writes all chunks that are equal to it. If not, each of them has to be
    /// written. Default: true.
    fn copies_equal_chunks(&self) -> bool {
        true
    }

    /// Verifies and writes a chunk, and the chunks that are equal to it. It is not an error if the chunk was written
    /// before. Several threads may write at the same time.
    ///
    /// # Errors
    /// [`StoreError::BadChunk`] if the bytes do not match the index, [`StoreError::Finished`] after
    /// [`finish`](Self::finish), or an error from the operating system. The set of stored chunks is unchanged then.
    fn write_chunk(&self, chunk: ChunkIndex, bytes: &[u8]) -> Result<(), StoreError>;

    /// Verifies several chunks and then writes them with as few writes as possible. Chunks that are adjacent both in
    /// `chunks` and in the artifact are written together. Returns one result for each chunk, in the same order. If a
    /// write fails, all chunks of that write count as not written.
    ///
    /// # Errors
    /// For each chunk, the errors of [`Partial::write_chunk`].
    fn write_chunks(&self, chunks: &[(ChunkIndex, &[u8])]) -> Vec<Result<(), StoreError>>;

    /// Fills `buf` with the bytes of the artifact that begin at `offset`.
    ///
    /// # Errors
    /// [`StoreError::NotThere`] if not all of these bytes are in verified chunks.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError>;

    /// Makes a checkpoint: syncs the chunks that were written so far to disk and saves the bitmap, so that the chunks
    /// survive a power cut. Other threads may write at the same time.
    ///
    /// # Errors
    /// An error from the operating system. The written chunks stay in the store, but may not survive a power cut.
    fn checkpoint(&self) -> Result<(), StoreError>;

    /// Makes the partial artifact a complete artifact, which other processes can open from then on.
    ///
    /// # Errors
    /// [`StoreError::Incomplete`] if chunks are missing, [`StoreError::Finished`] if it was finished before, or an
    /// error from the operating system.
    fn finish(self: Arc<Self>) -> Result<Arc<dyn Artifact>, StoreError>;
}
