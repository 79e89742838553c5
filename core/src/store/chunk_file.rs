//! A file into which the verified chunks of one artifact are written, each at its place.
//!
//! Invariants:
//!
//! - Bytes are written only after they were verified.
//! - A chunk is added to the chunk set only after its bytes were written, together with all chunks that are equal to it.
//!   So after [`ChunkFile::fill`], the chunk set has all chunks of a group of equal chunks or none.
//! - No chunk is written after [`ChunkFile::close`].

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::artifact::check_bounds;
use super::backend::BackendFile;
use super::error::StoreError;
use crate::chunkset::ChunkSet;
use crate::cid::Cid;
use crate::index::{ArtifactIndex, ByteRange, ChunkIndex, ChunkRange};

/// The maximum number of adjacent copies of a chunk that are written with one call.
const MAX_COPIES: usize = 64;

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

    /// Verifies chunks and then writes them, and all chunks that are equal to them, with as few writes as possible, as
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

    /// Writes the missing chunks whose bytes are known without a peer: chunks of zeros, and chunks that are equal to a
    /// chunk of this file.
    ///
    /// # Errors
    /// An error from the operating system. Some of these chunks may have been written.
    pub(crate) fn fill(&self) -> Result<(), StoreError> {
        let index = self.index.clone();
        let repeats = index.repeats();
        let have = self.have();
        let missing = |chunk: &ChunkIndex| !have.contains(*chunk);
        let failed = |e: io::Error| StoreError::write("write", &self.path, e);
        let mut buf = Vec::new();
        for chunk in repeats.zeros().iter().flat_map(ChunkRange::iter).filter(missing) {
            buf.clear();
            buf.resize(self.len_of(chunk), 0);
            self.write_run([(chunk, &buf[..])].iter()).map_err(failed)?;
        }
        for first in repeats.groups() {
            let Some(source) = repeats.equal(first).find(|chunk| have.contains(*chunk)) else { continue };
            if !repeats.equal(first).any(|chunk| missing(&chunk)) {
                continue;
            }
            buf.resize(self.len_of(source), 0);
            let offset = self.offset_of(source);
            self.file.read_exact_at(&mut buf, offset).map_err(|e| StoreError::read("read", &self.path, e))?;
            // The bytes may have changed since the source was verified. The copies are fetched then.
            if self.index.verify_chunk(source, &buf).is_ok() {
                let copies = self.write_copies(source, &buf).map_err(failed)?;
                self.insert(copies);
            }
        }
        Ok(())
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

    /// Adds chunks whose bytes were written to the chunk set.
    fn insert(&self, chunks: impl IntoIterator<Item = ChunkIndex>) {
        let mut have = self.lock_have();
        for chunk in chunks {
            have.insert(chunk);
        }
    }

    fn offset_of(&self, chunk: ChunkIndex) -> u64 {
        self.index.chunk(chunk).expect("a verified chunk is in the index").offset
    }

    fn len_of(&self, chunk: ChunkIndex) -> usize {
        self.index.chunk(chunk).expect("the repeats of an index are in the index").len as usize
    }

    /// Writes verified chunks that are adjacent in the artifact with one call, and then the chunks that are equal to
    /// them.
    fn write_run<'a>(&self, run: impl Iterator<Item = &'a (ChunkIndex, &'a [u8])> + Clone) -> io::Result<()> {
        let Some((first, _)) = run.clone().next() else { return Ok(()) };
        let mut slices: Vec<_> = run.clone().map(|(_, bytes)| IoSlice::new(bytes)).collect();
        self.file.write_all_vectored_at(&mut slices, self.offset_of(*first))?;
        let mut copies = Vec::new();
        for (chunk, bytes) in run.clone() {
            copies.extend(self.write_copies(*chunk, bytes)?);
        }
        self.insert(run.map(|(chunk, _)| *chunk).chain(copies));
        Ok(())
    }

    /// Writes the bytes of a verified chunk at all missing chunks that are equal to it. Returns these chunks.
    fn write_copies(&self, chunk: ChunkIndex, bytes: &[u8]) -> io::Result<Vec<ChunkIndex>> {
        let repeats = self.index.repeats();
        if !repeats.has_copies() {
            return Ok(Vec::new());
        }
        let copies: Vec<_> = {
            let have = self.lock_have();
            repeats.equal(chunk).filter(|copy| *copy != chunk && !have.contains(*copy)).collect()
        };
        for run in copies.chunk_by(|a, b| a.0.checked_add(1) == Some(b.0)).flat_map(|run| run.chunks(MAX_COPIES)) {
            self.file.write_all_vectored_at(&mut vec![IoSlice::new(bytes); run.len()], self.offset_of(run[0]))?;
        }
        Ok(copies)
    }
}

/// Returns a copy of an I/O error, because a failed write of several chunks returns its error for each chunk.
fn copy_of(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}
