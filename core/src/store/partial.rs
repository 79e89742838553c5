//! Partial artifacts on disk. The file `<cid>.part` contains the chunks. The file `<cid>.have` contains the bitmap of
//! the chunks that were written and synced.
//!
//! Invariants:
//!
//! - A chunk is added to the `.have` file only after its bytes were synced.
//! - The `.part` file is sparse and has its full length from the beginning. The free disk space is checked when the
//!   file is opened. It is not reserved with fallocate, because that makes writing slower on tmpfs and on ext4.
//! - When a partial artifact is opened again, a chunk counts as stored only if its hash is right. The store hashes each
//!   chunk that the `.have` file lists or that is not in a hole of the `.part` file. A chunk of zeros that is in a hole
//!   counts as stored without hashing, because a hole reads as zeros.
//! - A chunk of zeros is never written, unless other bytes are in its place. So it stays a hole.
//! - The `.part` file is locked while the [`FilePartial`] exists. It is never written to after it was renamed.
//! - An artifact is sealed after its file was renamed, because renaming changes the state in the seal.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::artifact;
use super::backend::{Backend, BackendFile, FileStat, OpenMode};
use super::chunk_file::ChunkFile;
use super::damage::Damage;
use super::error::StoreError;
use super::interface::{Artifact, Partial};
use super::layout::Layout;
use super::lock::StoreLock;
use super::seal::Seal;
use super::temp;
use crate::chunkset::ChunkSet;
use crate::cid::Cid;
use crate::codec::{V1, from_dag_cbor_exact, to_dag_cbor};
use crate::index::{ArtifactIndex, ByteRange, ChunkIndex, ChunkRange, MAX_CHUNKS};

/// The maximum number of attempts to open and lock the `.part` file. Another attempt is needed if the file is renamed
/// or removed before it is locked.
const OPEN_ATTEMPTS: u32 = 16;
/// The maximum length of a `.have` file, in bytes. The file has one bit for each chunk, and a few other fields.
const MAX_HAVE_LEN: usize = MAX_CHUNKS as usize / 8 + 256;

/// A partial artifact on disk, open for writing.
#[derive(Debug)]
pub(crate) struct FilePartial {
    backend: Arc<dyn Backend>,
    layout: Layout,
    chunks: ChunkFile,
    /// The number of chunks in the last `.have` file that this object wrote, or 0 if it wrote none. The mutex is locked
    /// while the file is replaced.
    saved: Mutex<u32>,
}

impl FilePartial {
    /// Opens the partial artifact that an earlier fetch left in the store, or creates an empty one. The blocks of
    /// `index` must be in the store.
    pub(crate) fn open(
        backend: Arc<dyn Backend>,
        layout: Layout,
        cid: Cid,
        index: Arc<ArtifactIndex>,
    ) -> Result<Self, StoreError> {
        let path = layout.part(&cid);
        let file = {
            // A process that removes old partial artifacts locks them for a moment while it holds the store's lock.
            let _lock = StoreLock::take(&*backend, &layout)?;
            open_locked(&*backend, &path, cid)?
        };
        if is_complete(&*backend, &layout, &cid)? {
            let _ = backend.remove(&path);
            let _ = backend.remove(&layout.have(&cid));
            return Err(StoreError::Complete(cid));
        }
        let have = prepare(&*backend, &layout, &cid, &index, &*file)?;
        let chunks = ChunkFile::new(cid, index, file, path, have);
        chunks.fill()?;
        Ok(Self { backend, layout, chunks, saved: Mutex::new(0) })
    }

    fn write_have(&self, have: &ChunkSet) -> Result<(), StoreError> {
        let record = HaveFile { v: V1, chunks: have.len(), have: ByteBuf::from(have.to_bytes()) };
        temp::replace(&*self.backend, &self.layout.tmp(), &self.layout.have(&self.cid()), &to_dag_cbor(&record))
    }

    /// Renames the synced `.part` file, and seals it. Returns the state of the file after that.
    fn install(&self, file: &dyn BackendFile) -> Result<FileStat, StoreError> {
        let (cid, path) = (self.cid(), self.chunks.path());
        let _lock = StoreLock::take(&*self.backend, &self.layout)?;
        let target = self.layout.artifact(&cid);
        self.backend.rename(path, &target).map_err(|e| StoreError::write("create", &target, e))?;
        temp::sync_parent(&*self.backend, &target)?;
        let stat = file.stat().map_err(|e| StoreError::read("read", &target, e))?;
        // A failure is ignored, because a file without a seal is only hashed again when it is opened the next time.
        let _ = Seal::owned(stat).write(&*self.backend, &self.layout, &cid);
        Ok(stat)
    }
}

impl Partial for FilePartial {
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
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        // The set is copied before the sync, so chunks that are written during the sync belong to the next checkpoint.
        let have = self.have();
        if self.chunks.is_closed() || have.count() == *saved {
            return Ok(());
        }
        self.chunks.file().sync_data().map_err(|e| StoreError::write("sync", self.chunks.path(), e))?;
        // This also syncs the folder, so that the name of the `.part` file survives a power cut.
        self.write_have(&have)?;
        *saved = have.count();
        Ok(())
    }

    fn finish(self: Arc<Self>) -> Result<Arc<dyn Artifact>, StoreError> {
        // The locks are taken in the same order as in `checkpoint`, so that the two functions cannot deadlock.
        let _saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let cid = self.cid();
        let stat = self.chunks.close(|file| {
            // Nothing writes to the file after this point, and its mode says so.
            temp::make_read_only(file, self.chunks.path())?;
            file.sync().map_err(|e| StoreError::write("sync", self.chunks.path(), e))?;
            // The `.have` file goes first, so that a crash does not leave it beside a complete artifact. The chunks of a
            // `.part` file are found without it. A failure is ignored, because a `.have` file that remains does no harm:
            // the chunks that it lists are hashed before they count as stored.
            let _ = self.backend.remove(&self.layout.have(&cid));
            self.install(file)
        })?;
        let index = self.index().clone();
        if let Some(opened) = artifact::open_verified(&*self.backend, &self.layout, &cid, index, stat)? {
            return Ok(Arc::new(opened));
        }
        let gone = || StoreError::read("open", &self.layout.artifact(&cid), io::ErrorKind::NotFound.into());
        Ok(Arc::new(artifact::open(&*self.backend, &self.layout, &cid)?.ok_or_else(gone)?))
    }
}

/// The content of a `.have` file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HaveFile {
    v: V1,
    chunks: u32,
    have: ByteBuf,
}

/// Opens and locks the `.part` file of an artifact, and creates it if it does not exist.
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

/// Returns whether the store has the complete artifact. A damaged artifact counts as missing, because it has to be
/// fetched again.
fn is_complete(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<bool, StoreError> {
    match artifact::open(backend, layout, cid) {
        Ok(artifact) => Ok(artifact.is_some()),
        Err(StoreError::Damaged { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sets the length of the `.part` file, and returns the chunks that it contains.
fn prepare(
    backend: &dyn Backend,
    layout: &Layout,
    cid: &Cid,
    index: &ArtifactIndex,
    file: &dyn BackendFile,
) -> Result<ChunkSet, StoreError> {
    let path = layout.part(cid);
    let stat = file.stat().map_err(|e| StoreError::read("read", &path, e))?;
    let needed = index.size() - index.repeats().zero_bytes();
    temp::check_space(backend, &path, needed.saturating_sub(stat.allocated))?;
    if stat.len != index.size() {
        file.set_len(index.size()).map_err(|e| StoreError::write("write", &path, e).needing(index.size()))?;
    }
    let data = match stat.len {
        0 => ChunkSet::new(index.len()),
        _ => data_chunks(index, file).map_err(|e| StoreError::read("read", &path, e))?,
    };
    let mut possible = data.clone();
    if stat.len > 0 {
        let claimed = claimed_chunks(backend, layout, cid, index)?;
        claimed.iter().filter(|chunk| !index.repeats().is_zeros(*chunk)).for_each(|chunk| {
            possible.insert(chunk);
        });
    }
    let mut have = verified(file, index, &possible).map_err(|e| StoreError::read("read", &path, e))?;
    let zeros = index.repeats().zeros().iter().flat_map(ChunkRange::iter);
    zeros.filter(|chunk| !data.contains(*chunk)).for_each(|chunk| {
        have.insert(chunk);
    });
    Ok(have)
}

/// Returns the chunks that the `.have` file of an artifact with `len` chunks lists, or `None` if there is no such file.
///
/// # Errors
/// [`StoreError::Damaged`] if the file cannot be decoded, or an error from the operating system.
pub(crate) fn claimed(
    backend: &dyn Backend,
    layout: &Layout,
    cid: &Cid,
    len: u32,
) -> Result<Option<ChunkSet>, StoreError> {
    let path = layout.have(cid);
    let Some(bytes) = temp::read_small(backend, &path, MAX_HAVE_LEN)? else { return Ok(None) };
    let record = from_dag_cbor_exact::<HaveFile>(&bytes).ok();
    let set = record.and_then(|record| ChunkSet::from_bytes(len, &record.have).ok());
    set.map(Some).ok_or_else(|| StoreError::damaged(&path, Damage::Bitmap))
}

/// Returns the chunks that the `.have` file lists. A damaged file counts as empty.
fn claimed_chunks(
    backend: &dyn Backend,
    layout: &Layout,
    cid: &Cid,
    index: &ArtifactIndex,
) -> Result<ChunkSet, StoreError> {
    match claimed(backend, layout, cid, index.len()) {
        Ok(set) => Ok(set.unwrap_or_else(|| ChunkSet::new(index.len()))),
        Err(StoreError::Damaged { .. }) => Ok(ChunkSet::new(index.len())),
        Err(error) => Err(error),
    }
}

/// Returns the chunks that have a byte outside the holes of the file.
fn data_chunks(index: &ArtifactIndex, file: &dyn BackendFile) -> io::Result<ChunkSet> {
    let mut set = ChunkSet::new(index.len());
    let mut offset = 0;
    while offset < index.size() {
        let Some(data) = file.next_data(offset)? else { break };
        let range = ByteRange { start: data.start, end: data.end.min(index.size()) };
        if let Some(chunks) = index.covering(range) {
            set.insert_range(chunks);
        }
        offset = data.end;
    }
    Ok(set)
}

/// Returns the chunks of `possible` whose bytes match their digests in the index.
pub(crate) fn verified(file: &dyn BackendFile, index: &ArtifactIndex, possible: &ChunkSet) -> io::Result<ChunkSet> {
    let mut have = ChunkSet::new(index.len());
    let mut buf = vec![0; index.chunker().max() as usize];
    for position in possible.iter() {
        let chunk = index.chunk(position).expect("the set has one position for each chunk of the index");
        let bytes = &mut buf[..chunk.len as usize];
        file.read_exact_at(bytes, chunk.offset)?;
        if index.hash().digest(bytes) == chunk.digest {
            have.insert(position);
        }
    }
    Ok(have)
}
