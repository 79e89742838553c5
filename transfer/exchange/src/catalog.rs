//! The content that a node can serve: complete artifacts of its store, and artifacts that it is still fetching.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard};

use bytes::Bytes;
use phase_core::envelope::Envelope;
use phase_core::store::{Artifact, Partial, Store, StoreError};
use phase_core::{ArtifactIndex, ChunkRange, ChunkSet, Cid, Name};
use tokio::sync::watch;

use crate::buffers::Buffers;

/// At most this many bytes of unused buffers are kept for later reads. They are enough for eight upload jobs of 1 MiB.
const KEPT_BUFFERS: usize = 8 << 20;
/// At most this many complete artifacts are kept open, because each open artifact occupies a file descriptor, and
/// memory for its index.
const MAX_OPEN: usize = 128;

/// An artifact that is served while it is being fetched.
#[derive(Clone)]
pub struct Fetching {
    cid: Cid,
    index: Arc<ArtifactIndex>,
    /// The partial artifact, or `None` after the fetch has ended early. It is released at once, because the next fetch
    /// needs exclusive access. A transfer of its chunks to a slow peer does not delay this.
    partial: Arc<RwLock<Option<Arc<dyn Partial>>>>,
    changed: watch::Receiver<u64>,
}

impl Fetching {
    fn have(&self) -> ChunkSet {
        self.lock().as_ref().map_or_else(|| ChunkSet::new(self.index.len()), |partial| partial.have())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        match self.lock().as_ref() {
            Some(partial) => partial.read_at(offset, buf),
            None => Err(StoreError::NotThere { cid: self.cid, start: offset, end: offset + buf.len() as u64 }),
        }
    }

    /// Releases the partial artifact. Waits until reads in progress have ended.
    fn release(&self) {
        *self.partial.write().expect("no code panics while it holds a partial artifact") = None;
    }

    fn lock(&self) -> RwLockReadGuard<'_, Option<Arc<dyn Partial>>> {
        self.partial.read().expect("no code panics while it holds a partial artifact")
    }
}

/// An artifact whose chunks can be read.
#[derive(Clone)]
pub enum Content {
    /// A complete artifact of the store.
    Whole(Arc<dyn Artifact>),
    /// A partial artifact that is still being fetched.
    Part(Fetching),
}

impl Content {
    /// Returns the ordered list of the artifact's chunks.
    pub fn index(&self) -> &Arc<ArtifactIndex> {
        match self {
            Self::Whole(artifact) => artifact.index(),
            Self::Part(fetching) => &fetching.index,
        }
    }

    /// Returns the chunks that can be read, or `None` if all chunks can be read.
    pub fn have(&self) -> Option<ChunkSet> {
        match self {
            Self::Whole(_) => None,
            Self::Part(fetching) => Some(fetching.have()),
        }
    }

    /// Returns a receiver that is notified whenever chunks are added, or `None` for a complete artifact.
    pub(super) fn changes(&self) -> Option<watch::Receiver<u64>> {
        match self {
            Self::Whole(_) => None,
            Self::Part(fetching) => Some(fetching.changed.clone()),
        }
    }

    /// Reads a run of adjacent chunks into a buffer from `buffers`. Blocks on disk I/O.
    ///
    /// # Panics
    /// If `run` goes beyond the last chunk. The caller must check `run` before.
    pub(super) fn read(&self, run: ChunkRange, buffers: &Buffers) -> Result<Bytes, StoreError> {
        let bytes = self.index().byte_range(run).expect("the caller has checked the run");
        let mut buffer = buffers.take(usize::try_from(bytes.len()).expect("a run of chunks is at most a few MiB long"));
        match self {
            Self::Whole(artifact) => artifact.read_chunks(run, &mut buffer)?,
            Self::Part(fetching) => fetching.read_at(bytes.start, &mut buffer)?,
        }
        Ok(Bytes::from_owner(buffer))
    }
}

/// An LRU cache of open artifacts, with at most [`MAX_OPEN`] entries.
#[derive(Default)]
struct OpenArtifacts {
    clock: u64,
    entries: BTreeMap<Cid, (u64, Arc<dyn Artifact>)>,
}

impl OpenArtifacts {
    /// Returns an open artifact and marks it as the most recently used one.
    fn touch(&mut self, cid: &Cid) -> Option<Arc<dyn Artifact>> {
        self.clock += 1;
        let (used, artifact) = self.entries.get_mut(cid)?;
        *used = self.clock;
        Some(artifact.clone())
    }

    fn insert(&mut self, artifact: Arc<dyn Artifact>) {
        if self.entries.len() >= MAX_OPEN {
            let oldest = self.entries.iter().min_by_key(|(_, (used, _))| *used).map(|(cid, _)| *cid);
            oldest.map(|cid| self.entries.remove(&cid));
        }
        self.clock += 1;
        self.entries.insert(artifact.cid(), (self.clock, artifact));
    }
}

/// The reason why a complete artifact is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawn {
    /// The path of the damaged file.
    pub path: PathBuf,
    /// The damage, as a message that contains the path.
    pub reason: String,
}

/// All content that a server can serve: the artifacts of a store, and the partial artifacts of running fetches. A
/// method may block on disk I/O unless its documentation says otherwise.
pub struct Catalog {
    store: Arc<dyn Store>,
    /// The pool of buffers for chunks that are read from the store.
    buffers: Buffers,
    open: Mutex<OpenArtifacts>,
    fetching: Mutex<BTreeMap<Cid, Fetching>>,
    /// The number of failed reads of artifacts.
    damaged: watch::Sender<u64>,
    /// The artifacts that are not served until [`Catalog::recheck`] finds them right.
    withdrawn: watch::Sender<BTreeMap<Cid, Withdrawn>>,
    /// Whether a caller watches the files and calls [`Catalog::recheck`].
    is_watched: AtomicBool,
}

impl Catalog {
    /// Creates a catalog of the content of `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        let buffers = Buffers::new(KEPT_BUFFERS);
        let (damaged, withdrawn) = (watch::Sender::new(0), watch::Sender::default());
        let (open, fetching, is_watched) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        Self { store, buffers, open, fetching, damaged, withdrawn, is_watched }
    }

    /// Declares that the caller watches the files of the store. From now on, an artifact with a damaged file is withdrawn:
    /// it is not opened again before [`recheck`](Self::recheck) is called for it. Without this, each request for a
    /// damaged artifact opens it again.
    pub fn set_watched(&self) {
        self.is_watched.store(true, Ordering::Relaxed);
    }

    /// Returns a receiver of the withdrawn artifacts.
    pub fn withdrawn(&self) -> watch::Receiver<BTreeMap<Cid, Withdrawn>> {
        self.withdrawn.subscribe()
    }

    /// Returns whether an artifact is withdrawn.
    pub fn is_withdrawn(&self, artifact: &Cid) -> bool {
        self.withdrawn.borrow().contains_key(artifact)
    }

    /// Withdraws an artifact because of the file `path`.
    pub fn withdraw(&self, artifact: &Cid, path: &Path, reason: String) {
        lock(&self.open).entries.remove(artifact);
        let withdrawn = Withdrawn { path: path.to_owned(), reason };
        self.withdrawn.send_if_modified(|all| {
            let is_new = !all.contains_key(artifact);
            all.insert(*artifact, withdrawn);
            is_new
        });
    }

    /// Opens an artifact again, after one of its files has changed. If it can be served, it is no longer withdrawn. If
    /// its file is damaged, it is withdrawn. Returns whether it can be served. Blocks while the file is hashed.
    ///
    /// # Errors
    /// If the store fails with an error that says nothing about the file, such as too many open files. Nothing is
    /// changed then.
    pub fn recheck(&self, artifact: &Cid) -> Result<bool, StoreError> {
        let opened = match self.store.artifact(artifact) {
            Err(error) if damaged_file(&error).is_none() => return Err(error),
            other => other,
        };
        lock(&self.open).entries.remove(artifact);
        match opened {
            Ok(Some(opened)) => {
                lock(&self.open).insert(opened);
                self.withdrawn.send_if_modified(|all| all.remove(artifact).is_some());
                Ok(true)
            }
            Ok(None) => {
                let path = self.store.files(artifact)?.into_iter().next().unwrap_or_default();
                let reason = format!("{} was removed", path.display());
                self.withdraw(artifact, &path, reason);
                Ok(false)
            }
            Err(error) => {
                self.report(artifact, &error);
                Ok(false)
            }
        }
    }

    /// Forgets the withdrawn artifacts that are not in `artifacts`, because no release contains them any more.
    pub fn retain_withdrawn(&self, artifacts: &BTreeSet<Cid>) {
        self.withdrawn.send_if_modified(|all| {
            let before = all.len();
            all.retain(|artifact, _| artifacts.contains(artifact));
            all.len() != before
        });
    }

    /// Returns the store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Returns the pool of buffers for [`Content::read`].
    pub(super) fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// Starts to serve an artifact that is being fetched. The caller must change the value of the returned channel
    /// whenever it has added chunks, so that subscribers are notified. An artifact that does not keep its chunks is not
    /// served.
    pub fn begin(&self, partial: Arc<dyn Partial>) -> watch::Sender<u64> {
        let (sender, changed) = watch::channel(0);
        let (cid, index) = (partial.cid(), partial.index().clone());
        self.withdrawn.send_if_modified(|all| all.remove(&cid).is_some());
        if partial.keeps_chunks() {
            let fetching = Fetching { cid, index, partial: Arc::new(RwLock::new(Some(partial))), changed };
            lock(&self.fetching).insert(cid, fetching);
        }
        sender
    }

    /// Stops serving a partial artifact because its fetch is complete. New requests are served from the store, and
    /// transfers that have started continue.
    pub fn end(&self, artifact: &Cid) {
        lock(&self.fetching).remove(artifact);
    }

    /// Returns an artifact that is being fetched or is already open. Never blocks on disk I/O.
    pub(super) fn open_content(&self, artifact: &Cid) -> Option<Content> {
        if let Some(fetching) = lock(&self.fetching).get(artifact) {
            return Some(Content::Part(fetching.clone()));
        }
        lock(&self.open).touch(artifact).map(Content::Whole)
    }

    /// Stops serving a partial artifact because its fetch has ended early, and releases it so that the next fetch can
    /// open it. Waits until reads in progress have ended.
    pub fn abandon(&self, artifact: &Cid) {
        let fetching = lock(&self.fetching).remove(artifact);
        fetching.iter().for_each(Fetching::release);
    }

    /// Returns an artifact that can be served, or `None` if it is withdrawn, or neither in the store nor being fetched.
    ///
    /// # Errors
    /// If the store cannot be read or is damaged.
    pub fn content(&self, artifact: &Cid) -> Result<Option<Content>, StoreError> {
        if let Some(content) = self.open_content(artifact) {
            return Ok(Some(content));
        }
        if self.is_withdrawn(artifact) {
            return Ok(None);
        }
        let opened = self.store.artifact(artifact).or_else(|error| {
            if !error.is_temporary() {
                return Err(error);
            }
            // The process has too many files open. The artifacts that are kept open for later reads are some of them.
            lock(&self.open).entries.clear();
            self.store.artifact(artifact)
        });
        match opened {
            Ok(Some(opened)) => {
                lock(&self.open).insert(opened.clone());
                Ok(Some(Content::Whole(opened)))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.report(artifact, &error);
                Err(error)
            }
        }
    }

    /// Returns a block from the store, or `None` if the store does not have it.
    ///
    /// # Errors
    /// If the store cannot be read or is damaged.
    pub fn block(&self, cid: &Cid) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.block(cid)
    }

    /// Returns the current release of a name: the signed pointer record, and the encoded envelope of the manifest to
    /// which the pointer record leads. Returns `None` unless the store has both.
    ///
    /// # Errors
    /// If the store cannot be read or is damaged.
    pub fn head(&self, name: &Name) -> Result<Option<(Envelope, Vec<u8>)>, StoreError> {
        let Some(pointer) = self.store.pointer(name)? else { return Ok(None) };
        let Ok(unverified) = pointer.payload_unverified::<phase_core::dht::Pointer>() else { return Ok(None) };
        let Some(manifest) = unverified.manifest else { return Ok(None) };
        Ok(self.store.block(&manifest)?.map(|envelope| (pointer, envelope)))
    }

    /// Handles a failed read of an artifact: logs the error, closes the artifact and notifies the receivers of
    /// [`damaged`](Self::damaged).
    pub(super) fn report(&self, artifact: &Cid, error: &StoreError) {
        if matches!(error, StoreError::NotThere { .. }) {
            // The fetch has ended early, so the chunks were released. The store is not damaged.
            return;
        }
        if error.is_temporary() {
            tracing::warn!(%artifact, %error, "cannot serve this artifact at the moment");
            return;
        }
        tracing::warn!(%artifact, %error, "cannot serve this artifact");
        lock(&self.open).entries.remove(artifact);
        if let Some(path) = damaged_file(error)
            && self.is_watched.load(Ordering::Relaxed)
        {
            let path = match path {
                Some(path) => path.to_owned(),
                None => self.store.files(artifact).ok().and_then(|files| files.into_iter().next()).unwrap_or_default(),
            };
            self.withdraw(artifact, &path, error.to_string());
        }
        self.damaged.send_modify(|count| *count += 1);
    }

    /// Closes the open artifacts that were removed from the store, so that their disk space is freed, and new requests
    /// for them are refused. Transfers in progress continue. Returns whether there were any.
    pub fn close_removed(&self) -> bool {
        let open: Vec<_> = lock(&self.open).entries.values().map(|(_, artifact)| artifact.clone()).collect();
        let removed: Vec<_> = open.iter().filter(|artifact| artifact.is_removed()).map(|open| open.cid()).collect();
        let mut open = lock(&self.open);
        for cid in &removed {
            open.entries.remove(cid);
        }
        !removed.is_empty()
    }

    /// Returns a receiver of the number of failed reads of artifacts. It is notified of every failure.
    pub fn damaged(&self) -> watch::Receiver<u64> {
        self.damaged.subscribe()
    }
}

/// Returns `Some` if an error of the store says that a file cannot be used as it is, with the path of the file if the
/// error contains it. Returns `None` for an error that another attempt may not have.
fn damaged_file(error: &StoreError) -> Option<Option<&Path>> {
    use std::io::ErrorKind;
    /// The error number for a failed disk (EIO).
    const EIO: i32 = 5;
    match error {
        StoreError::Damaged { path, .. } | StoreError::Link { path, .. } => Some(Some(path)),
        StoreError::BadIndex { .. } => Some(None),
        StoreError::Io { path, source, .. } => {
            let is_lasting = source.raw_os_error() == Some(EIO)
                || matches!(source.kind(), ErrorKind::PermissionDenied | ErrorKind::StaleNetworkFileHandle);
            is_lasting.then_some(Some(path))
        }
        _ => None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code panics while it holds a catalog lock")
}
