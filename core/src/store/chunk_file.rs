//! A file into which the verified chunks of one artifact are written, each at its place.
//!
//! Invariants:
//!
//! - Bytes are written only after they were verified.
//! - A chunk is added to the chunk set only after its bytes were written.
//! - No chunk is written after [`ChunkFile::close`].

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::artifact::check_bounds;
use super::backend::BackendFile;
use super::error::StoreError;
use crate::chunkset::ChunkSet;
use crate::cid::Cid;
use crate::index::{ArtifactIndex, ByteRange, ChunkIndex};

/// An open file with some of the chunks of an artifact.
#[derive(Debug)]
pub(crate) struct ChunkFile {
    cid: Cid,
    index: Arc<ArtifactIndex>,
    file: Box<dyn BackendFile>,
    path: PathBuf,
    have: Mutex<ChunkSet>,
    /// Whether the file accepts no more chunks. A read lock is held while chunks are written.
    closed: RwLock<bool>,
}

impl ChunkFile {
    /// Makes a chunk file of an open file, in which the chunks of `have` were verified.
    pub(crate) fn new(
        cid: Cid,
        index: Arc<ArtifactIndex>,
        file: Box<dyn BackendFile>,
        path: PathBuf,
        have: ChunkSet,
    ) -> Self {
        Self { cid, index, file, path, have: Mutex::new(have), closed: RwLock::new(false) }
    }

    pub(crate) fn cid(&self) -> Cid {
        self.cid
    }

    pub(crate) fn index(&self) -> &Arc<ArtifactIndex> {
        &self.index
    }

    pub(crate) fn file(&self) -> &dyn BackendFile {
        &*self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a copy of the set of chunks that were verified and written.
    pub(crate) fn have(&self) -> ChunkSet {
        self.lock_have().clone()
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `finish`, and closes the file if `finish` succeeds. No chunk is written meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Finished`] if the file is closed, [`StoreError::Incomplete`] if chunks are missing, or the error
    /// from `finish`.
    pub(crate) fn close<T>(
        &self,
        finish: impl FnOnce(&dyn BackendFile) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut closed = self.closed.write().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return Err(StoreError::Finished(self.cid));
        }
        let have = self.have();
        if !have.is_full() {
            let missing = u64::from(have.len() - have.count());
            return Err(StoreError::Incomplete { cid: self.cid, missing });
        }
        let finished = finish(&*self.file)?;
        *closed = true;
        Ok(finished)
    }

    /// Verifies chunks and then writes them with as few writes as possible, as
    /// [`Partial::write_chunks`](super::Partial::write_chunks) describes.
    pub(crate) fn write_chunks(&self, chunks: &[(ChunkIndex, &[u8])]) -> Vec<Result<(), StoreError>> {
        let closed = self.closed.read().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return chunks.iter().map(|_| Err(StoreError::Finished(self.cid))).collect();
        }
        let verified = chunks.iter().map(|(chunk, bytes)| {
            let bad = |source| StoreError::BadChunk { cid: self.cid, source };
            self.index.verify_chunk(*chunk, bytes).map_err(bad)
        });
        let mut results: Vec<_> = verified.collect();
        let new: Vec<usize> = {
            let have = self.lock_have();
            let is_new = |position: &usize| results[*position].is_ok() && !have.contains(chunks[*position].0);
            (0..chunks.len()).filter(is_new).collect()
        };
        for run in new.chunk_by(|a, b| chunks[*a].0.0.checked_add(1) == Some(chunks[*b].0.0)) {
            if let Err(error) = self.write_run(run.iter().map(|position| &chunks[*position])) {
                for position in run {
                    results[*position] = Err(StoreError::write("write", &self.path, copy_of(&error)));
                }
            }
        }
        results
    }

    /// Fills `buf` with the bytes at `offset`, if all of them are in verified chunks.
    pub(crate) fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        check_bounds(self.cid, self.index.size(), offset, buf.len())?;
        let range = ByteRange { start: offset, end: offset + buf.len() as u64 };
        let Some(chunks) = self.index.covering(range) else { return Ok(()) };
        let have = self.lock_have();
        if !chunks.iter().all(|chunk| have.contains(chunk)) {
            return Err(StoreError::NotThere { cid: self.cid, start: range.start, end: range.end });
        }
        drop(have);
        self.file.read_exact_at(buf, offset).map_err(|e| StoreError::read("read", &self.path, e))
    }

    fn lock_have(&self) -> MutexGuard<'_, ChunkSet> {
        self.have.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes verified chunks that are adjacent in the artifact with one call.
    fn write_run<'a>(&self, run: impl Iterator<Item = &'a (ChunkIndex, &'a [u8])> + Clone) -> io::Result<()> {
        let Some((first, _)) = run.clone().next() else { return Ok(()) };
        let offset = self.index.chunk(*first).expect("a verified chunk is in the index").offset;
        let mut slices: Vec<_> = run.clone().map(|(_, bytes)| IoSlice::new(bytes)).collect();
        self.file.write_all_vectored_at(&mut slices, offset)?;
        let mut have = self.lock_have();
        for (chunk, _) in run {
            have.insert(*chunk);
        }
        Ok(())
    }
}

/// Returns a copy of an I/O error, because a failed write of several chunks returns its error for each chunk.
fn copy_of(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}
