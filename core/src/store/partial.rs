//! Artifacts that are being fetched: `<cid>.part`, written in place, and `<cid>.have`, which says what of it is there.
//!
//! Invariants:
//!
//! - A chunk is in `have` only after its verified bytes were written; it is in the `.have` file only after they were
//!   synced.
//! - The file has its full length from the beginning, with holes. Whether it will fit is checked then; reserving the
//!   space (fallocate) would make writing slower, on tmpfs and ext4 alike.
//! - Nothing on disk is trusted: on resuming, everything that may hold data is hashed. The `.have` file only adds to
//!   what is looked at.
//! - The `.part` file is locked as long as the [`FilePartial`] lives, and after it was renamed nothing writes to it.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::artifact::{self, check_bounds};
use super::backend::{Backend, BackendFile, OpenMode};
use super::error::StoreError;
use super::interface::{Artifact, Partial};
use super::layout::Layout;
use super::lock::StoreLock;
use super::seal::Seal;
use super::temp;
use crate::chunkset::ChunkSet;
use crate::cid::Cid;
use crate::codec::{V1, from_dag_cbor_exact, to_dag_cbor};
use crate::index::{ArtifactIndex, ByteRange, ChunkIndex, MAX_CHUNKS};

/// How often opening is repeated when the file is renamed or removed in the moment before it is locked.
const OPEN_ATTEMPTS: u32 = 16;
/// The most a `.have` file may hold, in bytes: a bit per chunk and the rest.
const MAX_HAVE_LEN: usize = MAX_CHUNKS as usize / 8 + 256;

/// An artifact that is being put together on disk.
#[derive(Debug)]
pub(crate) struct FilePartial {
    backend: Arc<dyn Backend>,
    layout: Layout,
    cid: Cid,
    index: Arc<ArtifactIndex>,
    file: Box<dyn BackendFile>,
    path: PathBuf,
    have: Mutex<ChunkSet>,
    /// How many chunks the `.have` file has; held while it is replaced.
    saved: Mutex<u32>,
    /// Held for reading while a chunk is written, so that nothing is written after finishing.
    finished: RwLock<bool>,
}

impl FilePartial {
    /// Begins or resumes an artifact whose index blocks are in the store.
    pub(crate) fn open(
        backend: Arc<dyn Backend>,
        layout: Layout,
        cid: Cid,
        index: Arc<ArtifactIndex>,
    ) -> Result<Self, StoreError> {
        let path = layout.part(&cid);
        let file = open_locked(&*backend, &path, cid)?;
        if is_complete(&*backend, &layout, &cid)? {
            let _ = backend.remove(&path);
            let _ = backend.remove(&layout.have(&cid));
            return Err(StoreError::Complete(cid));
        }
        let have = prepare(&*backend, &layout, &cid, &index, &*file)?;
        let (have, saved, finished) = (Mutex::new(have), Mutex::new(0), RwLock::new(false));
        Ok(Self { backend, layout, cid, index, file, path, have, saved, finished })
    }

    fn lock_have(&self) -> MutexGuard<'_, ChunkSet> {
        self.have.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes adjacent verified chunks.
    fn write_run<'a>(&self, run: impl Iterator<Item = &'a (ChunkIndex, &'a [u8])> + Clone) -> io::Result<()> {
        let Some((first, _)) = run.clone().next() else { return Ok(()) };
        let offset = self.index.chunk(*first).expect("a verified chunk is in the index").offset;
        let mut pieces: Vec<_> = run.clone().map(|(_, bytes)| IoSlice::new(bytes)).collect();
        self.file.write_all_vectored_at(&mut pieces, offset)?;
        let mut have = self.lock_have();
        for (chunk, _) in run {
            have.insert(*chunk);
        }
        Ok(())
    }

    fn write_have(&self, have: &ChunkSet) -> Result<(), StoreError> {
        let record = HaveRecord { v: V1, chunks: have.len(), have: ByteBuf::from(have.to_bytes()) };
        temp::replace(&*self.backend, &self.layout.tmp(), &self.layout.have(&self.cid), &to_dag_cbor(&record))
    }
}

impl Partial for FilePartial {
    fn cid(&self) -> Cid {
        self.cid
    }

    fn index(&self) -> &Arc<ArtifactIndex> {
        &self.index
    }

    fn have(&self) -> ChunkSet {
        self.lock_have().clone()
    }

    fn write_chunk(&self, chunk: ChunkIndex, bytes: &[u8]) -> Result<(), StoreError> {
        self.write_chunks(&[(chunk, bytes)]).pop().expect("one result for one chunk")
    }

    fn write_chunks(&self, chunks: &[(ChunkIndex, &[u8])]) -> Vec<Result<(), StoreError>> {
        let finished = self.finished.read().unwrap_or_else(PoisonError::into_inner);
        if *finished {
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

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
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

    fn checkpoint(&self) -> Result<(), StoreError> {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let finished = *self.finished.read().unwrap_or_else(PoisonError::into_inner);
        // Taken before the sync: what is written meanwhile belongs to the next checkpoint.
        let have = self.have();
        if finished || have.count() == *saved {
            return Ok(());
        }
        self.file.sync_data().map_err(|e| StoreError::write("sync", &self.path, e))?;
        // Syncs the folder as well, and thereby the name of the `.part` file.
        self.write_have(&have)?;
        *saved = have.count();
        Ok(())
    }

    fn finish(self: Arc<Self>) -> Result<Arc<dyn Artifact>, StoreError> {
        // In the order in which `checkpoint` takes them.
        let _saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let mut finished = self.finished.write().unwrap_or_else(PoisonError::into_inner);
        let have = self.have();
        if *finished {
            return Err(StoreError::Finished(self.cid));
        }
        if !have.is_full() {
            let missing = u64::from(have.len() - have.count());
            return Err(StoreError::Incomplete { cid: self.cid, missing });
        }
        self.file.sync().map_err(|e| StoreError::write("sync", &self.path, e))?;
        let stat = self.file.stat().map_err(|e| StoreError::read("read", &self.path, e))?;
        let lock = StoreLock::take(&*self.backend, &self.layout)?;
        Seal::owned(stat).write(&*self.backend, &self.layout, &self.cid)?;
        let target = self.layout.artifact(&self.cid);
        self.backend.rename(&self.path, &target).map_err(|e| StoreError::write("create", &target, e))?;
        *finished = true;
        temp::sync_parent(&*self.backend, &target)?;
        drop(lock);
        // One that stays behind claims nothing that would be believed.
        let _ = self.backend.remove(&self.layout.have(&self.cid));
        let index = self.index.clone();
        if let Some(opened) = artifact::open_verified(&*self.backend, &self.layout, &self.cid, index, stat)? {
            return Ok(Arc::new(opened));
        }
        let gone = || StoreError::read("open", &target, io::ErrorKind::NotFound.into());
        Ok(Arc::new(artifact::open(&*self.backend, &self.layout, &self.cid)?.ok_or_else(gone)?))
    }
}

/// What a `.have` file holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HaveRecord {
    v: V1,
    chunks: u32,
    have: ByteBuf,
}

/// The same error once more: it is that of several chunks.
fn copy_of(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// Opens and locks the `.part` file.
fn open_locked(backend: &dyn Backend, path: &Path, cid: Cid) -> Result<Box<dyn BackendFile>, StoreError> {
    for _ in 0..OPEN_ATTEMPTS {
        let file = backend.open(path, OpenMode::Create).map_err(|e| StoreError::write("create", path, e))?;
        if !file.try_lock().map_err(|e| StoreError::write("lock", path, e))? {
            break;
        }
        if temp::still_named(backend, &*file, path)? {
            return Ok(file);
        }
    }
    Err(StoreError::Busy { cid, lock: path.to_owned() })
}

/// Whether somebody finished the artifact. A damaged one is to be fetched again.
fn is_complete(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<bool, StoreError> {
    match artifact::open(backend, layout, cid) {
        Ok(artifact) => Ok(artifact.is_some()),
        Err(StoreError::Damaged { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives the file its size, and finds out which chunks it has.
fn prepare(
    backend: &dyn Backend,
    layout: &Layout,
    cid: &Cid,
    index: &ArtifactIndex,
    file: &dyn BackendFile,
) -> Result<ChunkSet, StoreError> {
    let path = layout.part(cid);
    let stat = file.stat().map_err(|e| StoreError::read("read", &path, e))?;
    temp::check_space(backend, &path, index.size().saturating_sub(stat.allocated))?;
    if stat.len != index.size() {
        file.set_len(index.size()).map_err(|e| StoreError::write("write", &path, e).needing(index.size()))?;
    }
    if stat.len == 0 {
        return Ok(ChunkSet::new(index.len()));
    }
    let candidates = candidates(backend, layout, cid, index, file)?;
    verified(file, index, &candidates).map_err(|e| StoreError::read("read", &path, e))
}

/// The chunks that may be there: claimed, or not in a hole.
fn candidates(
    backend: &dyn Backend,
    layout: &Layout,
    cid: &Cid,
    index: &ArtifactIndex,
    file: &dyn BackendFile,
) -> Result<ChunkSet, StoreError> {
    let claimed = match temp::read_small(backend, &layout.have(cid), MAX_HAVE_LEN) {
        Ok(bytes) => bytes.and_then(|bytes| from_dag_cbor_exact::<HaveRecord>(&bytes).ok()),
        Err(StoreError::Damaged { .. }) => None,
        Err(error) => return Err(error),
    };
    let mut set = claimed
        .and_then(|record| ChunkSet::from_bytes(index.len(), &record.have).ok())
        .unwrap_or_else(|| ChunkSet::new(index.len()));
    let mut offset = 0;
    while offset < index.size() {
        let data = file.next_data(offset).map_err(|e| StoreError::read("read", &layout.part(cid), e))?;
        let Some(data) = data else { break };
        let range = ByteRange { start: data.start, end: data.end.min(index.size()) };
        if let Some(chunks) = index.covering(range) {
            set.insert_range(chunks);
        }
        offset = data.end;
    }
    Ok(set)
}

/// Those of `candidates` whose bytes are right.
fn verified(file: &dyn BackendFile, index: &ArtifactIndex, candidates: &ChunkSet) -> io::Result<ChunkSet> {
    let mut have = ChunkSet::new(index.len());
    let mut buf = vec![0; index.chunker().max() as usize];
    for position in candidates.iter() {
        let chunk = index.chunk(position).expect("a set over the index's positions");
        let bytes = &mut buf[..chunk.len as usize];
        file.read_exact_at(bytes, chunk.offset)?;
        if index.hash().digest(bytes) == chunk.digest {
            have.insert(position);
        }
    }
    Ok(have)
}
