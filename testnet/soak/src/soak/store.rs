//! The store of a long-lived client. It can be emptied before a fetch, and its simulated disk can stall.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use phase_core::store::{NameLock, Need};
use phase_core::{
    Artifact, ArtifactIndex, ChunkIndex, ChunkSet, Cid, Digest, Envelope, ImportOptions, MemStore, Name, Partial,
    Store, StoreError,
};

/// A store in memory that can be emptied. Its clones share the content and the simulated disk.
#[derive(Clone, Default)]
pub(super) struct FreshStore {
    inner: Arc<Mutex<MemStore>>,
    disk: Arc<Disk>,
}

impl FreshStore {
    /// Empties the store. Artifacts that are already open stay usable.
    pub(super) fn clear(&self) {
        *lock(&self.inner) = MemStore::new();
    }

    /// Stalls the simulated disk: every write of a chunk waits until the returned guard is dropped.
    pub(super) fn stall(&self) -> Stalled {
        *lock(&self.disk.is_stalled) = true;
        Stalled(self.disk.clone())
    }

    fn inner(&self) -> MemStore {
        lock(&self.inner).clone()
    }
}

/// A simulated disk that can stall.
#[derive(Default)]
struct Disk {
    is_stalled: Mutex<bool>,
    changed: Condvar,
}

impl Disk {
    fn wait(&self) {
        let stalled = lock(&self.is_stalled);
        drop(self.changed.wait_while(stalled, |stalled| *stalled).unwrap_or_else(PoisonError::into_inner));
    }
}

/// A guard that keeps the disk stalled. Dropping it ends the stall. See [`FreshStore::stall`].
pub(super) struct Stalled(Arc<Disk>);

impl Drop for Stalled {
    fn drop(&mut self) {
        *lock(&self.0.is_stalled) = false;
        self.0.changed.notify_all();
    }
}

impl Store for FreshStore {
    fn put_block(&self, cid: &Cid, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner().put_block(cid, bytes)
    }

    fn block(&self, cid: &Cid) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner().block(cid)
    }

    fn artifact(&self, cid: &Cid) -> Result<Option<Arc<dyn Artifact>>, StoreError> {
        self.inner().artifact(cid)
    }

    fn files(&self, artifact: &Cid) -> Result<Vec<PathBuf>, StoreError> {
        self.inner().files(artifact)
    }

    fn set_aside(&self, cid: &Cid) -> Result<Option<PathBuf>, StoreError> {
        self.inner().set_aside(cid)
    }

    fn partial(&self, cid: &Cid, index: Arc<ArtifactIndex>) -> Result<Arc<dyn Partial>, StoreError> {
        let inner = self.inner().partial(cid, index)?;
        Ok(Arc::new(SlowPartial { inner, disk: self.disk.clone() }))
    }

    fn import(
        &self,
        source: &Path,
        options: &ImportOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Arc<dyn Artifact>, StoreError> {
        self.inner().import(source, options, progress)
    }

    fn needed_to_fetch(&self, cid: &Cid, index: &ArtifactIndex) -> Need {
        self.inner().needed_to_fetch(cid, index)
    }

    fn check_space(&self, need: &Need) -> Result<(), StoreError> {
        self.inner().check_space(need)
    }

    fn lock_name(&self, name: &Name) -> Result<NameLock, StoreError> {
        self.inner().lock_name(name)
    }

    fn set_ref(&self, name: &Name, pointer: &Envelope) -> Result<(), StoreError> {
        self.inner().set_ref(name, pointer)
    }

    fn pointer(&self, name: &Name) -> Result<Option<Envelope>, StoreError> {
        self.inner().pointer(name)
    }

    fn names(&self) -> Result<Vec<Name>, StoreError> {
        self.inner().names()
    }

    fn find_chunks(&self, digests: &[Digest]) -> Result<Vec<Option<(Cid, ChunkIndex)>>, StoreError> {
        self.inner().find_chunks(digests)
    }
}

struct SlowPartial {
    inner: Arc<dyn Partial>,
    disk: Arc<Disk>,
}

impl Partial for SlowPartial {
    fn cid(&self) -> Cid {
        self.inner.cid()
    }

    fn index(&self) -> &Arc<ArtifactIndex> {
        self.inner.index()
    }

    fn have(&self) -> ChunkSet {
        self.inner.have()
    }

    fn write_chunk(&self, chunk: ChunkIndex, bytes: &[u8]) -> Result<(), StoreError> {
        self.disk.wait();
        self.inner.write_chunk(chunk, bytes)
    }

    fn write_chunks(&self, chunks: &[(ChunkIndex, &[u8])]) -> Vec<Result<(), StoreError>> {
        self.disk.wait();
        self.inner.write_chunks(chunks)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        self.inner.read_at(offset, buf)
    }

    fn checkpoint(&self) -> Result<(), StoreError> {
        self.inner.checkpoint()
    }

    fn finish(self: Arc<Self>) -> Result<Arc<dyn Artifact>, StoreError> {
        self.inner.clone().finish()
    }
}

/// Locks a mutex. Ignores that a thread may have panicked while it held the lock, because every change leaves the
/// values consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
