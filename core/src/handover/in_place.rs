//! The store of a fetch that keeps nothing but its output: chunks are written where they will be used.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use super::output::{Kind, Output, Planned};
use super::verify;
use crate::chunkset::ChunkSet;
use crate::cid::{Cid, Digest};
use crate::envelope::Envelope;
use crate::import::ImportOptions;
use crate::index::{ArtifactIndex, ChunkIndex};
use crate::name::Name;
use crate::store::backend::{BackendFile, FileStat};
use crate::store::chunk_file::ChunkFile;
use crate::store::{Artifact, Damage, MemStore, NameLock, Need, Partial, Store, StoreError};

/// A store that keeps blocks and refs in RAM, and writes the artifacts of one [`Output`] to their final place. A clone
/// shares the content of the original.
#[derive(Clone, Debug, Default)]
pub struct InPlaceStore {
    mem: MemStore,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    output: OnceLock<Arc<Output>>,
    /// The artifacts that are being written.
    open: Mutex<BTreeSet<Cid>>,
    done: Mutex<BTreeMap<Cid, Placed>>,
}

impl InPlaceStore {
    /// Returns a store without an output. Until [`InPlaceStore::set_output`], artifacts are kept in RAM.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the output to which the artifacts are written. Only the first call has an effect.
    pub fn set_output(&self, output: Arc<Output>) {
        let _ = self.shared.output.set(output);
    }

    /// Returns the output and the plan of an artifact, if the artifact belongs to the output.
    fn planned(&self, cid: &Cid) -> Option<(&Arc<Output>, &Planned)> {
        let output = self.shared.output.get()?;
        Some((output, output.artifacts.get(cid)?))
    }

    /// Begins to write an artifact to the output.
    fn begin(
        &self,
        output: &Arc<Output>,
        planned: &Planned,
        cid: Cid,
        index: Arc<ArtifactIndex>,
    ) -> Result<Arc<dyn Partial>, StoreError> {
        let (file, path): (Box<dyn BackendFile>, PathBuf) = match &output.kind {
            Kind::Stream(stream) => return Ok(Arc::new(stream.begin(cid, index))),
            Kind::Device(device) => {
                device.set_index(index.clone());
                let file = device.file().map_err(|e| StoreError::write("open", device.path(), e))?;
                (file, device.path().to_owned())
            }
            Kind::Files(files) => {
                let path = files.path(&planned.names[0]);
                let open = crate::store::backend::OpenMode::Create;
                let file = output.backend.open(&path, open).map_err(|e| StoreError::write("open", &path, e))?;
                (file, path)
            }
        };
        let have = prepare(&*file, &path, &index)?;
        let chunks = ChunkFile::new(cid, index, file, path, have);
        chunks.fill()?;
        let store = Arc::downgrade(&self.shared);
        Ok(Arc::new(InPlacePartial { chunks, store, output: output.clone() }))
    }
}

/// Sets the length of a file, and returns the chunks that an earlier hand-over or an earlier release left in it.
fn prepare(file: &dyn BackendFile, path: &Path, index: &ArtifactIndex) -> Result<ChunkSet, StoreError> {
    let stat = file.stat().map_err(|e| StoreError::read("read", path, e))?;
    if stat.len != index.size() {
        file.set_len(index.size()).map_err(|e| StoreError::write("write", path, e).needing(index.size()))?;
    }
    match stat.len {
        0 => {
            let mut holes = ChunkSet::new(index.len());
            index.repeats().zeros().iter().for_each(|range| holes.insert_range(*range));
            Ok(holes)
        }
        _ => verify::matching(file, index).map_err(|e| StoreError::read("read", path, e)),
    }
}

impl Store for InPlaceStore {
    fn put_block(&self, cid: &Cid, bytes: &[u8]) -> Result<(), StoreError> {
        self.mem.put_block(cid, bytes)
    }

    fn block(&self, cid: &Cid) -> Result<Option<Vec<u8>>, StoreError> {
        self.mem.block(cid)
    }

    fn artifact(&self, cid: &Cid) -> Result<Option<Arc<dyn Artifact>>, StoreError> {
        match lock(&self.shared.done).get(cid) {
            Some(placed) => Ok(Some(Arc::new(placed.clone()))),
            None => self.mem.artifact(cid),
        }
    }

    fn partial(&self, cid: &Cid, index: Arc<ArtifactIndex>) -> Result<Arc<dyn Partial>, StoreError> {
        let Some((output, planned)) = self.planned(cid) else { return self.mem.partial(cid, index) };
        let encoded = index.encode();
        if encoded.root != *cid {
            return Err(StoreError::OtherIndex { cid: *cid, actual: encoded.root });
        }
        for (cid, bytes) in &encoded.blocks {
            self.mem.put_block(cid, bytes)?;
        }
        if lock(&self.shared.done).contains_key(cid) {
            return Err(StoreError::Complete(*cid));
        }
        if !lock(&self.shared.open).insert(*cid) {
            return Err(StoreError::Busy { cid: *cid, lock: output.path().to_owned() });
        }
        self.begin(output, planned, *cid, index).inspect_err(|_| {
            lock(&self.shared.open).remove(cid);
        })
    }

    fn import(
        &self,
        path: &Path,
        options: &ImportOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Arc<dyn Artifact>, StoreError> {
        self.mem.import(path, options, progress)
    }

    fn needed_to_fetch(&self, cid: &Cid, index: &ArtifactIndex) -> Need {
        let mut need = Need::default();
        let Some((output, planned)) = self.planned(cid) else { return self.mem.needed_to_fetch(cid, index) };
        if let Kind::Files(files) = &output.kind {
            let data = index.size() - index.repeats().zero_bytes();
            for name in &planned.names {
                let there = output.backend.stat(&files.path(name)).map_or(0, |stat| stat.allocated);
                need.add_file(index.size(), data.saturating_sub(there));
            }
            // The files are created already.
            need.files = 0;
        }
        need
    }

    fn check_space(&self, need: &Need) -> Result<(), StoreError> {
        match self.shared.output.get() {
            Some(output) => output.check_space(need),
            None => self.mem.check_space(need),
        }
    }

    fn set_aside(&self, cid: &Cid) -> Result<Option<PathBuf>, StoreError> {
        self.mem.set_aside(cid)
    }

    fn lock_name(&self, name: &Name) -> Result<NameLock, StoreError> {
        self.mem.lock_name(name)
    }

    fn set_ref(&self, name: &Name, pointer: &Envelope) -> Result<(), StoreError> {
        self.mem.set_ref(name, pointer)
    }

    fn pointer(&self, name: &Name) -> Result<Option<Envelope>, StoreError> {
        self.mem.pointer(name)
    }

    fn names(&self) -> Result<Vec<Name>, StoreError> {
        self.mem.names()
    }

    fn find_chunks(&self, digests: &[Digest]) -> Result<Vec<Option<(Cid, ChunkIndex)>>, StoreError> {
        self.mem.find_chunks(digests)
    }
}

/// An artifact that is written to its final place.
#[derive(Debug)]
struct InPlacePartial {
    chunks: ChunkFile,
    /// The store, which refers to this value when the artifact is complete.
    store: Weak<Shared>,
    output: Arc<Output>,
}

impl InPlacePartial {
    /// Copies the complete file to the other names of the artifact. The copies are hashed.
    fn copy_to_other_names(&self, file: &dyn BackendFile) -> Result<(), StoreError> {
        let Kind::Files(files) = &self.output.kind else { return Ok(()) };
        let names = self.output.artifacts.get(&self.chunks.cid()).map_or(&[][..], |planned| &planned.names[1..]);
        names.iter().try_for_each(|name| self.copy_to(file, &files.path(name)))
    }

    fn copy_to(&self, file: &dyn BackendFile, path: &Path) -> Result<(), StoreError> {
        let write = |e| StoreError::write("write", path, e);
        let mode = crate::store::backend::OpenMode::Create;
        let copy = self.output.backend.open(path, mode).map_err(write)?;
        let index = self.chunks.index();
        let cloned = file.os_file().is_some_and(|original| copy.clone_from_file(original).is_ok());
        if cloned {
            if let Some(chunk) = verify::first_wrong(&*copy, index).map_err(write)? {
                return Err(StoreError::damaged(path, Damage::Chunk(chunk)));
            }
        } else {
            // An earlier hand-over may have left other bytes in the file.
            copy.reset(index.size()).map_err(write)?;
            let mut buf = vec![0; index.chunker().max() as usize];
            for (chunk, position) in index.chunks().zip((0..).map(ChunkIndex)) {
                let bytes = &mut buf[..chunk.len as usize];
                file.read_exact_at(bytes, chunk.offset).map_err(write)?;
                let bad = |_| StoreError::damaged(self.chunks.path(), Damage::Chunk(position));
                index.verify_chunk(position, bytes).map_err(bad)?;
                copy.write_sparse_at(bytes, chunk.offset).map_err(write)?;
            }
        }
        copy.sync().map_err(|e| StoreError::write("sync", path, e))
    }
}

impl Partial for InPlacePartial {
    fn cid(&self) -> Cid {
        self.chunks.cid()
    }

    fn index(&self) -> &Arc<ArtifactIndex> {
        self.chunks.index()
    }

    fn have(&self) -> ChunkSet {
        self.chunks.have()
    }

    fn write_chunk(&self, chunk: ChunkIndex, bytes: &[u8]) -> Result<(), StoreError> {
        self.write_chunks(&[(chunk, bytes)]).pop().expect("there is one result for each chunk")
    }

    fn write_chunks(&self, chunks: &[(ChunkIndex, &[u8])]) -> Vec<Result<(), StoreError>> {
        self.chunks.write_chunks(chunks)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        self.chunks.read_at(offset, buf)
    }

    fn checkpoint(&self) -> Result<(), StoreError> {
        // Nothing lists the chunks that are there, so nothing has to be synced before the end.
        Ok(())
    }

    fn finish(self: Arc<Self>) -> Result<Arc<dyn Artifact>, StoreError> {
        let stat = self.chunks.close(|file| {
            self.copy_to_other_names(file)?;
            file.sync().map_err(|e| StoreError::write("sync", self.chunks.path(), e))?;
            file.stat().map_err(|e| StoreError::read("read", self.chunks.path(), e))
        })?;
        let placed = Placed { partial: self.clone(), stat };
        if let Some(store) = self.store.upgrade() {
            lock(&store.done).insert(self.cid(), placed.clone());
        }
        Ok(Arc::new(placed))
    }
}

impl Drop for InPlacePartial {
    fn drop(&mut self) {
        if let Some(store) = self.store.upgrade() {
            lock(&store.open).remove(&self.chunks.cid());
        }
    }
}

/// An artifact that is complete in its final place.
#[derive(Clone, Debug)]
struct Placed {
    partial: Arc<InPlacePartial>,
    stat: FileStat,
}

impl Artifact for Placed {
    fn cid(&self) -> Cid {
        self.partial.cid()
    }

    fn index(&self) -> &Arc<ArtifactIndex> {
        self.partial.index()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        self.partial.read_at(offset, buf)?;
        let (file, path) = (self.partial.chunks.file(), self.partial.chunks.path());
        let now = file.stat().map_err(|e| StoreError::read("read", path, e))?;
        if now.same_content(&self.stat) { Ok(()) } else { Err(StoreError::damaged(path, Damage::Changed)) }
    }

    fn path(&self) -> Option<PathBuf> {
        None
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
