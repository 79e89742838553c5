//! The store in RAM, for tests and for nodes without a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::artifact::check_bounds;
use super::backend::Space;
use super::error::StoreError;
use super::input::{self, InputFile};
use super::interface::{Artifact, Partial, Store};
use super::lock::NameLock;
use super::shortage::Shortage;
use super::space::{self, Need};
use super::{blocks, os, refs};
use crate::chunkset::ChunkSet;
use crate::cid::{Cid, Codec, Digest};
use crate::envelope::Envelope;
use crate::import::{self, ImportOptions, ScanError};
use crate::index::{ArtifactIndex, ByteRange, Chunk, ChunkIndex, ChunkRange};
use crate::name::Name;

/// The path in the errors of a [`MemStore`], which has no files.
const MEMORY_PATH: &str = "(memory)";

/// A store in RAM. A clone shares the content of the original.
#[derive(Clone, Debug, Default)]
pub struct MemStore {
    state: Arc<Mutex<State>>,
    names: Arc<LockedNames>,
}

/// The names that publishers have locked.
#[derive(Debug, Default)]
struct LockedNames {
    locked: Mutex<BTreeSet<Name>>,
    released: Condvar,
}

/// A name that a publisher has locked. It is released when dropped.
struct LockedName {
    names: Arc<LockedNames>,
    name: Name,
}

impl Drop for LockedName {
    fn drop(&mut self) {
        lock(&self.names.locked).remove(&self.name);
        self.names.released.notify_all();
    }
}

#[derive(Debug, Default)]
struct State {
    blocks: BTreeMap<Cid, Vec<u8>>,
    artifacts: BTreeMap<Cid, Arc<MemArtifact>>,
    /// Partial artifacts that are not open.
    parts: BTreeMap<Cid, Part>,
    /// The CIDs of the partial artifacts that are open.
    open: BTreeSet<Cid>,
    refs: BTreeMap<Name, Envelope>,
}

impl MemStore {
    /// Returns an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Store for MemStore {
    fn put_block(&self, cid: &Cid, bytes: &[u8]) -> Result<(), StoreError> {
        blocks::check(cid, bytes)?;
        self.state().blocks.entry(*cid).or_insert_with(|| bytes.to_vec());
        Ok(())
    }

    fn block(&self, cid: &Cid) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state().blocks.get(cid).cloned())
    }

    fn artifact(&self, cid: &Cid) -> Result<Option<Arc<dyn Artifact>>, StoreError> {
        Ok(self.state().artifacts.get(cid).map(|artifact| artifact.clone() as Arc<dyn Artifact>))
    }

    fn set_aside(&self, cid: &Cid) -> Result<Option<PathBuf>, StoreError> {
        let Some(artifact) = self.state().artifacts.get(cid).cloned() else { return Ok(None) };
        if artifact.is_undamaged() {
            return Ok(None);
        }
        self.state().artifacts.remove(cid);
        Ok(Some(PathBuf::from(MEMORY_PATH)))
    }

    fn partial(&self, cid: &Cid, index: Arc<ArtifactIndex>) -> Result<Arc<dyn Partial>, StoreError> {
        let encoded = index.encode();
        if encoded.root != *cid || cid.codec() != Codec::DagCbor {
            return Err(StoreError::OtherIndex { cid: *cid, actual: encoded.root });
        }
        let mut state = self.state();
        if state.artifacts.contains_key(cid) {
            return Err(StoreError::Complete(*cid));
        }
        if !state.open.insert(*cid) {
            return Err(StoreError::Busy { cid: *cid, lock: PathBuf::from(MEMORY_PATH) });
        }
        state.blocks.extend(encoded.blocks);
        let part = state.parts.remove(cid).unwrap_or_else(|| Part::new(&index));
        Ok(Arc::new(MemPartial { state: self.state.clone(), cid: *cid, index, part: Mutex::new(part) }))
    }

    fn import(
        &self,
        path: &Path,
        options: &ImportOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Arc<dyn Artifact>, StoreError> {
        let input = InputFile::open(path)?;
        input.check_importable(&options.chunker, false)?;
        let len = input.len().unwrap_or(0);
        self.check_space(&Need { bytes: len, files: 1, longest: len })?;
        let free = os::free_ram().map_or(usize::MAX, |free| free as usize);
        let bytes = Mutex::new(vec![0; len as usize]);
        let sink = |offset: u64, data: &[u8]| {
            let mut bytes = lock(&bytes);
            let end = offset as usize + data.len();
            if end > free {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[offset as usize..end].copy_from_slice(data);
            Ok(())
        };
        let index = import::scan(input.reader(), options.chunker, options.hash, Some(&sink), progress);
        let index = index.map_err(|error| match error {
            ScanError::Read(error) => input::failed("read", input.path(), error),
            ScanError::Write(_) => {
                let (read, has) = (free as u64 + 1, free as u64);
                let shortage = Shortage::Endless { read, has, is_in_ram: true };
                StoreError::DoesNotFit { folder: PathBuf::from(MEMORY_PATH), shortage }
            }
            ScanError::Index(error) => StoreError::NoIndex { path: input.path().to_owned(), source: error },
        })?;
        input.check_unchanged(index.size())?;
        let encoded = index.encode();
        let cid = encoded.root;
        let bytes = bytes.into_inner().unwrap_or_else(PoisonError::into_inner);
        let artifact = MemArtifact { cid, chunks: ChunkBytes::cut(&index, &bytes), index: Arc::new(index) };
        let mut state = self.state();
        state.blocks.extend(encoded.blocks);
        Ok(state.artifacts.entry(cid).or_insert_with(|| Arc::new(artifact)).clone())
    }

    fn needed_to_fetch(&self, cid: &Cid, index: &ArtifactIndex) -> Need {
        let state = self.state();
        let mut need = Need::default();
        if !state.artifacts.contains_key(cid) {
            let held = state.parts.get(cid).map_or(0, |part| part.chunks.held(index));
            let distinct = index.size() - index.repeats().zero_bytes() - index.repeats().copied_bytes();
            need.add_file(index.size(), distinct.saturating_sub(held));
        }
        need
    }

    fn check_space(&self, need: &Need) -> Result<(), StoreError> {
        let bytes = os::free_ram().unwrap_or(u64::MAX);
        let space = Space { bytes, files: None, max_len: usize::MAX as u64, is_in_ram: true };
        space::check_in(&space, Path::new(MEMORY_PATH), need)
    }

    fn lock_name(&self, name: &Name) -> Result<NameLock, StoreError> {
        let mut locked = lock(&self.names.locked);
        while !locked.insert(name.clone()) {
            locked = self.names.released.wait(locked).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(NameLock::new(LockedName { names: self.names.clone(), name: name.clone() }))
    }

    fn set_ref(&self, name: &Name, pointer: &Envelope) -> Result<(), StoreError> {
        let target = refs::accept(name, pointer)?;
        let mut state = self.state();
        if !state.blocks.contains_key(&target.manifest) {
            return Err(StoreError::NoManifest { name: name.clone(), manifest: target.manifest });
        }
        if refs::may_replace(name, state.refs.get(name), &target)? {
            state.refs.insert(name.clone(), pointer.clone());
        }
        Ok(())
    }

    fn pointer(&self, name: &Name) -> Result<Option<Envelope>, StoreError> {
        Ok(self.state().refs.get(name).cloned())
    }

    fn names(&self) -> Result<Vec<Name>, StoreError> {
        Ok(self.state().refs.keys().cloned().collect())
    }

    fn find_chunks(&self, digests: &[Digest]) -> Result<Vec<Option<(Cid, ChunkIndex)>>, StoreError> {
        let state = self.state();
        let mut positions = BTreeMap::new();
        for (cid, artifact) in &state.artifacts {
            for (chunk, position) in artifact.index.chunks().zip(0..) {
                positions.entry(chunk.digest).or_insert((*cid, ChunkIndex(position)));
            }
        }
        Ok(digests.iter().map(|digest| positions.get(digest).copied()).collect())
    }
}

/// The bytes of the chunks of an artifact. Equal chunks share their bytes, and chunks of zeros have none, so they take no
/// RAM.
#[derive(Clone, Debug)]
struct ChunkBytes(Vec<Option<Arc<[u8]>>>);

impl ChunkBytes {
    fn new(index: &ArtifactIndex) -> Self {
        Self(vec![None; index.len() as usize])
    }

    /// Copies the chunks of a whole artifact.
    fn cut(index: &ArtifactIndex, bytes: &[u8]) -> Self {
        let (mut chunks, repeats) = (Self::new(index), index.repeats());
        for (chunk, position) in index.chunks().zip(0..) {
            let at = ChunkIndex(position);
            if repeats.first(at) == at && !repeats.is_zeros(at) {
                chunks.set(index, at, &bytes[chunk.offset as usize..][..chunk.len as usize]);
            }
        }
        chunks
    }

    /// Returns the RAM that the chunks take, in bytes. Equal chunks count once.
    fn held(&self, index: &ArtifactIndex) -> u64 {
        let repeats = index.repeats();
        let held = (0..).map(ChunkIndex).zip(&self.0);
        let own = held.filter(|(at, bytes)| bytes.is_some() && repeats.first(*at) == *at);
        own.map(|(at, _)| index.chunk(at).map_or(0, |chunk| u64::from(chunk.len))).sum()
    }

    /// Stores the bytes of a chunk for all chunks that are equal to it.
    fn set(&mut self, index: &ArtifactIndex, chunk: ChunkIndex, bytes: &[u8]) {
        let shared: Arc<[u8]> = bytes.into();
        for equal in index.repeats().equal(chunk) {
            self.0[equal.0 as usize] = Some(shared.clone());
        }
    }

    /// Fills `buf` with the bytes at `offset`. A chunk without bytes reads as zeros. The range must be inside the
    /// artifact.
    fn read(&self, index: &ArtifactIndex, offset: u64, buf: &mut [u8]) {
        let range = ByteRange { start: offset, end: offset + buf.len() as u64 };
        for at in index.covering(range).iter().flat_map(ChunkRange::iter) {
            let Some(chunk) = index.chunk(at) else { continue };
            let (start, end) = (chunk.offset.max(range.start), (chunk.offset + u64::from(chunk.len)).min(range.end));
            let target = &mut buf[(start - offset) as usize..(end - offset) as usize];
            match &self.0[at.0 as usize] {
                Some(bytes) => target.copy_from_slice(&bytes[(start - chunk.offset) as usize..][..target.len()]),
                None => target.fill(0),
            }
        }
    }
}

#[derive(Debug)]
struct MemArtifact {
    cid: Cid,
    index: Arc<ArtifactIndex>,
    chunks: ChunkBytes,
}

impl MemArtifact {
    fn is_undamaged(&self) -> bool {
        let mut bytes = vec![0; self.index.chunker().max() as usize];
        let is_right = |(chunk, position): (Chunk, u32)| {
            let bytes = &mut bytes[..chunk.len as usize];
            self.chunks.read(&self.index, chunk.offset, bytes);
            self.index.verify_chunk(ChunkIndex(position), bytes).is_ok()
        };
        self.index.chunks().zip(0..).all(is_right)
    }
}

impl Artifact for MemArtifact {
    fn cid(&self) -> Cid {
        self.cid
    }

    fn index(&self) -> &Arc<ArtifactIndex> {
        &self.index
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        check_bounds(self.cid, self.index.size(), offset, buf.len())?;
        self.chunks.read(&self.index, offset, buf);
        Ok(())
    }

    fn path(&self) -> Option<PathBuf> {
        None
    }
}

/// The content of a partial artifact.
#[derive(Debug)]
struct Part {
    chunks: ChunkBytes,
    have: ChunkSet,
    finished: bool,
}

impl Part {
    /// Returns the content of a new partial artifact, which has only the chunks of zeros.
    fn new(index: &ArtifactIndex) -> Self {
        let mut have = ChunkSet::new(index.len());
        index.repeats().zeros().iter().for_each(|range| have.insert_range(*range));
        Self { chunks: ChunkBytes::new(index), have, finished: false }
    }
}

#[derive(Debug)]
struct MemPartial {
    state: Arc<Mutex<State>>,
    cid: Cid,
    index: Arc<ArtifactIndex>,
    part: Mutex<Part>,
}

impl Partial for MemPartial {
    fn cid(&self) -> Cid {
        self.cid
    }

    fn index(&self) -> &Arc<ArtifactIndex> {
        &self.index
    }

    fn have(&self) -> ChunkSet {
        lock(&self.part).have.clone()
    }

    fn write_chunk(&self, chunk: ChunkIndex, bytes: &[u8]) -> Result<(), StoreError> {
        if lock(&self.part).finished {
            return Err(StoreError::Finished(self.cid));
        }
        self.index.verify_chunk(chunk, bytes).map_err(|source| StoreError::BadChunk { cid: self.cid, source })?;
        let mut part = lock(&self.part);
        if !part.have.contains(chunk) {
            part.chunks.set(&self.index, chunk, bytes);
            for equal in self.index.repeats().equal(chunk) {
                part.have.insert(equal);
            }
        }
        Ok(())
    }

    fn write_chunks(&self, chunks: &[(ChunkIndex, &[u8])]) -> Vec<Result<(), StoreError>> {
        chunks.iter().map(|(chunk, bytes)| self.write_chunk(*chunk, bytes)).collect()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        check_bounds(self.cid, self.index.size(), offset, buf.len())?;
        let range = ByteRange { start: offset, end: offset + buf.len() as u64 };
        let part = lock(&self.part);
        let Some(chunks) = self.index.covering(range) else { return Ok(()) };
        if !chunks.iter().all(|chunk| part.have.contains(chunk)) {
            return Err(StoreError::NotThere { cid: self.cid, start: range.start, end: range.end });
        }
        part.chunks.read(&self.index, offset, buf);
        Ok(())
    }

    fn checkpoint(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn finish(self: Arc<Self>) -> Result<Arc<dyn Artifact>, StoreError> {
        let mut part = lock(&self.part);
        if part.finished {
            return Err(StoreError::Finished(self.cid));
        }
        if !part.have.is_full() {
            let missing = u64::from(part.have.len() - part.have.count());
            return Err(StoreError::Incomplete { cid: self.cid, missing });
        }
        part.finished = true;
        // The artifact shares the bytes with this partial artifact, which callers may still read.
        let (index, chunks) = (self.index.clone(), part.chunks.clone());
        let artifact = Arc::new(MemArtifact { cid: self.cid, index, chunks });
        lock(&self.state).artifacts.insert(self.cid, artifact.clone());
        Ok(artifact)
    }
}

impl Drop for MemPartial {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.open.remove(&self.cid);
        let part = self.part.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !part.finished {
            let none = Part { chunks: ChunkBytes(Vec::new()), have: ChunkSet::new(0), finished: true };
            state.parts.insert(self.cid, std::mem::replace(part, none));
        }
    }
}

/// Locks the mutex. A poisoned mutex is accepted, because a panic cannot leave the state inconsistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
