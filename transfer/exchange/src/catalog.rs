//! What a node can serve right now: the artifacts of its store, and those it is still fetching.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard};

use bytes::Bytes;
use phase_core::envelope::Envelope;
use phase_core::store::{Artifact, Partial, Store, StoreError};
use phase_core::{ArtifactIndex, ChunkRange, ChunkSet, Cid, Name};
use tokio::sync::watch;

use crate::buffers::Buffers;

/// Bytes in buffers that are kept for the next runs of chunks: what a handful of peers have under way.
const KEPT_BUFFERS: usize = 8 << 20;
/// Complete artifacts that are kept open: each takes a file descriptor and its index.
const MAX_OPEN: usize = 128;

/// An artifact that is being fetched and already served.
#[derive(Clone)]
pub struct Fetching {
    cid: Cid,
    index: Arc<ArtifactIndex>,
    /// `None`: the fetch has ended early. Whoever resumes it needs the artifact for himself, however long a peer takes to
    /// read what is being sent of it.
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

    /// Waits for reads under way.
    fn let_go(&self) {
        *self.partial.write().expect("no code panics while it holds a partial artifact") = None;
    }

    fn lock(&self) -> RwLockReadGuard<'_, Option<Arc<dyn Partial>>> {
        self.partial.read().expect("no code panics while it holds a partial artifact")
    }
}

/// Something that chunks can be read from.
#[derive(Clone)]
pub enum Content {
    /// All of it is here.
    Whole(Arc<dyn Artifact>),
    /// Some of it is here.
    Part(Fetching),
}

impl Content {
    /// The chunk list.
    pub fn index(&self) -> &Arc<ArtifactIndex> {
        match self {
            Self::Whole(artifact) => artifact.index(),
            Self::Part(fetching) => &fetching.index,
        }
    }

    /// Which chunks are here; `None`: all.
    pub fn have(&self) -> Option<ChunkSet> {
        match self {
            Self::Whole(_) => None,
            Self::Part(fetching) => Some(fetching.have()),
        }
    }

    /// Changes whenever chunks are added; `None` if nothing can be added.
    pub(super) fn changes(&self) -> Option<watch::Receiver<u64>> {
        match self {
            Self::Whole(_) => None,
            Self::Part(fetching) => Some(fetching.changed.clone()),
        }
    }

    /// Reads a run of adjacent chunks into one of `buffers`. Blocks.
    pub(super) fn read(&self, run: ChunkRange, buffers: &Buffers) -> Result<Bytes, StoreError> {
        let bytes = self.index().byte_range(run).expect("the caller has checked the run");
        let mut buffer = buffers.take(usize::try_from(bytes.len()).expect("a run is at most a few MiB"));
        match self {
            Self::Whole(artifact) => artifact.read_at(bytes.start, &mut buffer)?,
            Self::Part(fetching) => fetching.read_at(bytes.start, &mut buffer)?,
        }
        Ok(Bytes::from_owner(buffer))
    }
}

/// Complete artifacts kept open, the least recently used one closed first.
#[derive(Default)]
struct OpenArtifacts {
    clock: u64,
    entries: BTreeMap<Cid, (u64, Arc<dyn Artifact>)>,
}

impl OpenArtifacts {
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

/// A store and what is being fetched into it, as the server sees them. Methods may block on the disk unless they say otherwise.
pub struct Catalog {
    store: Arc<dyn Store>,
    /// For what is read from it.
    buffers: Buffers,
    open: Mutex<OpenArtifacts>,
    fetching: Mutex<BTreeMap<Cid, Fetching>>,
    /// Counts the artifacts found damaged.
    damaged: watch::Sender<u64>,
}

impl Catalog {
    /// A catalog of what `store` holds.
    pub fn new(store: Arc<dyn Store>) -> Self {
        let buffers = Buffers::new(KEPT_BUFFERS);
        Self { store, buffers, open: Mutex::default(), fetching: Mutex::default(), damaged: watch::Sender::new(0) }
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// What the runs of chunks are read into.
    pub(super) fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// Serves an artifact from now on while it is being fetched. Send to the returned channel when chunks were added.
    pub fn begin(&self, partial: Arc<dyn Partial>) -> watch::Sender<u64> {
        let (sender, changed) = watch::channel(0);
        let (cid, index) = (partial.cid(), partial.index().clone());
        let fetching = Fetching { cid, index, partial: Arc::new(RwLock::new(Some(partial))), changed };
        lock(&self.fetching).insert(cid, fetching);
        sender
    }

    /// The fetch is complete: from now on the artifact is served from the store. What is being sent goes on.
    pub fn end(&self, artifact: &Cid) {
        lock(&self.fetching).remove(artifact);
    }

    /// What can be served of an artifact without a look at the disk: what is being fetched, or open already. Never blocks.
    pub(super) fn open_content(&self, artifact: &Cid) -> Option<Content> {
        if let Some(fetching) = lock(&self.fetching).get(artifact) {
            return Some(Content::Part(fetching.clone()));
        }
        lock(&self.open).touch(artifact).map(Content::Whole)
    }

    /// The fetch has ended early: nothing more is sent of the artifact, and nothing holds it any more.
    pub fn abandon(&self, artifact: &Cid) {
        let fetching = lock(&self.fetching).remove(artifact);
        fetching.iter().for_each(Fetching::let_go);
    }

    /// What can be served of an artifact; `None` if nothing is known of it.
    ///
    /// # Errors
    /// The store cannot be read, or what it holds is damaged.
    pub fn content(&self, artifact: &Cid) -> Result<Option<Content>, StoreError> {
        if let Some(content) = self.open_content(artifact) {
            return Ok(Some(content));
        }
        match self.store.artifact(artifact) {
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

    /// A small block.
    ///
    /// # Errors
    /// The store cannot be read, or what it holds is damaged.
    pub fn block(&self, cid: &Cid) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.block(cid)
    }

    /// The current release of a name: the signed pointer, and the envelope it points to.
    ///
    /// # Errors
    /// The store cannot be read, or what it holds is damaged.
    pub fn head(&self, name: &Name) -> Result<Option<(Envelope, Vec<u8>)>, StoreError> {
        let Some(pointer) = self.store.pointer(name)? else { return Ok(None) };
        let Ok(unverified) = pointer.payload_unverified::<phase_core::dht::Pointer>() else { return Ok(None) };
        let Some(manifest) = unverified.manifest else { return Ok(None) };
        Ok(self.store.block(&manifest)?.map(|envelope| (pointer, envelope)))
    }

    /// Notes that reading an artifact failed: it is closed, and whoever watches [`damaged`](Self::damaged) is told.
    pub(super) fn report(&self, artifact: &Cid, error: &StoreError) {
        if matches!(error, StoreError::NotThere { .. }) {
            // A fetch has ended early: nothing is damaged.
            return;
        }
        tracing::warn!(%artifact, %error, "cannot serve");
        lock(&self.open).entries.remove(artifact);
        self.damaged.send_modify(|count| *count += 1);
    }

    /// Changes whenever an artifact is found to be damaged.
    pub fn damaged(&self) -> watch::Receiver<u64> {
        self.damaged.subscribe()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code panics while it holds a catalog lock")
}
