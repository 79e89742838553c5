//! A store that hands out bytes only when the test lets it: how a test decides what happens before what.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use phase_core::{
    Artifact, ArtifactIndex, ChunkIndex, Cid, Digest, Envelope, ImportOptions, Name, Partial, Store, StoreError,
};
use tokio::sync::watch;

/// A reader that waits longer waits for nothing.
const LIMIT: Duration = Duration::from_secs(30);

/// How far a gate has been used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passed {
    /// Bytes let through.
    pub bytes: u64,
    /// Readers that wait.
    pub waiting: usize,
}

/// Lets a number of bytes through, then nothing until it is opened.
pub struct Gate {
    budget: Mutex<u64>,
    changed: Condvar,
    passed: watch::Sender<Passed>,
}

impl Gate {
    /// A gate that lets `budget` bytes through.
    pub fn new(budget: u64) -> Arc<Self> {
        Arc::new(Self { budget: Mutex::new(budget), changed: Condvar::new(), passed: watch::Sender::default() })
    }

    /// Lets everything through from now on.
    pub fn open(&self) {
        *self.budget.lock().expect("no code panics while it holds the lock") = u64::MAX;
        self.changed.notify_all();
    }

    /// Waits until a reader waits, and says how much got through before.
    pub async fn blocked(&self) -> u64 {
        self.passed.subscribe().wait_for(|passed| passed.waiting > 0).await.expect("the gate holds the sender").bytes
    }

    /// Blocks until there is any budget, then takes `bytes` of it.
    fn pass(&self, bytes: u64) {
        let budget = self.budget.lock().expect("no code panics while it holds the lock");
        self.passed.send_modify(|passed| passed.waiting += 1);
        let (mut budget, waited) = self
            .changed
            .wait_timeout_while(budget, LIMIT, |budget| *budget == 0)
            .expect("no code panics while it holds the lock");
        assert!(!waited.timed_out(), "nobody opens the gate");
        *budget = budget.saturating_sub(bytes);
        self.passed.send_modify(|passed| {
            passed.waiting -= 1;
            passed.bytes += bytes;
        });
    }
}

/// A store with a gate before the bytes of its artifacts and before one block.
pub struct GatedStore {
    /// The store behind the gate.
    pub inner: Arc<dyn Store>,
    /// What every read of an artifact has to pass.
    pub gate: Arc<Gate>,
    /// A block whose reads have to pass too.
    pub block: Option<Cid>,
}

impl Store for GatedStore {
    fn put_block(&self, cid: &Cid, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.put_block(cid, bytes)
    }

    fn block(&self, cid: &Cid) -> Result<Option<Vec<u8>>, StoreError> {
        if self.block == Some(*cid) {
            self.gate.pass(0);
        }
        self.inner.block(cid)
    }

    fn artifact(&self, cid: &Cid) -> Result<Option<Arc<dyn Artifact>>, StoreError> {
        let gated = |inner| Arc::new(GatedArtifact { inner, gate: self.gate.clone() }) as Arc<dyn Artifact>;
        Ok(self.inner.artifact(cid)?.map(gated))
    }

    fn partial(&self, cid: &Cid, index: Arc<ArtifactIndex>) -> Result<Arc<dyn Partial>, StoreError> {
        self.inner.partial(cid, index)
    }

    fn import(
        &self,
        source: &Path,
        options: &ImportOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Arc<dyn Artifact>, StoreError> {
        self.inner.import(source, options, progress)
    }

    fn set_ref(&self, name: &Name, pointer: &Envelope) -> Result<(), StoreError> {
        self.inner.set_ref(name, pointer)
    }

    fn pointer(&self, name: &Name) -> Result<Option<Envelope>, StoreError> {
        self.inner.pointer(name)
    }

    fn names(&self) -> Result<Vec<Name>, StoreError> {
        self.inner.names()
    }

    fn find_chunks(&self, digests: &[Digest]) -> Result<Vec<Option<(Cid, ChunkIndex)>>, StoreError> {
        self.inner.find_chunks(digests)
    }
}

struct GatedArtifact {
    inner: Arc<dyn Artifact>,
    gate: Arc<Gate>,
}

impl Artifact for GatedArtifact {
    fn cid(&self) -> Cid {
        self.inner.cid()
    }

    fn index(&self) -> &Arc<ArtifactIndex> {
        self.inner.index()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        self.gate.pass(buf.len() as u64);
        self.inner.read_at(offset, buf)
    }

    fn path(&self) -> Option<PathBuf> {
        self.inner.path()
    }
}
