//! A read gate: the reads of a store wait at it until the test opens it, so that the test decides the order of events.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use phase_core::store::{NameLock, Need};
use phase_core::{
    Artifact, ArtifactIndex, ChunkIndex, ChunkRange, Cid, Digest, Envelope, ImportOptions, Name, Partial, Store,
    StoreError,
};
use tokio::sync::watch;

/// The timeout of a read that waits at a read gate. A read that times out panics, which fails the test.
const LIMIT: Duration = Duration::from_secs(30);

/// The state of a read gate: how many bytes have passed it, and how many reads wait at it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passed {
    /// The number of bytes that have passed the read gate.
    pub bytes: u64,
    /// The number of reads that wait at the read gate.
    pub waiting: usize,
}

/// A read gate. It lets a number of bytes pass from a store, and then blocks all reads of the store until it is opened.
pub struct Gate {
    /// The number of bytes that may still pass; `u64::MAX` once the read gate is open.
    budget: Mutex<u64>,
    changed: Condvar,
    passed: watch::Sender<Passed>,
}

impl Gate {
    /// Makes a read gate that lets `budget` bytes pass before it blocks reads.
    pub fn new(budget: u64) -> Arc<Self> {
        Arc::new(Self { budget: Mutex::new(budget), changed: Condvar::new(), passed: watch::Sender::default() })
    }

    /// Opens the read gate for all reads, including those that already wait.
    pub fn open(&self) {
        *self.budget.lock().expect("no code panics while it holds the lock") = u64::MAX;
        self.changed.notify_all();
    }

    /// Waits until a read is blocked at the read gate. Returns the number of bytes that have passed.
    pub async fn blocked(&self) -> u64 {
        self.passed.subscribe().wait_for(|passed| passed.waiting > 0).await.expect("the gate holds the sender").bytes
    }

    /// Lets a read of `bytes` bytes pass. Blocks while the budget is 0. A read that is larger than the budget passes,
    /// and leaves a budget of 0.
    fn pass(&self, bytes: u64) {
        let budget = self.budget.lock().expect("no code panics while it holds the lock");
        self.passed.send_modify(|passed| passed.waiting += 1);
        let (mut budget, waited) = self
            .changed
            .wait_timeout_while(budget, LIMIT, |budget| *budget == 0)
            .expect("no code panics while it holds the lock");
        assert!(!waited.timed_out(), "the gate was not opened in time");
        *budget = budget.saturating_sub(bytes);
        self.passed.send_modify(|passed| {
            passed.waiting -= 1;
            passed.bytes += bytes;
        });
    }
}

/// A store in which the reads of artifacts must pass a read gate. The test can choose one block whose reads must pass
/// it too.
pub struct GatedStore {
    /// The store whose reads must pass the read gate.
    pub inner: Arc<dyn Store>,
    /// The read gate that every read of an artifact has to pass.
    pub gate: Arc<Gate>,
    /// The CID of the chosen block; `None` if the reads of all blocks are free.
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

    fn set_aside(&self, cid: &Cid) -> Result<Option<PathBuf>, StoreError> {
        self.inner.set_aside(cid)
    }

    fn files(&self, artifact: &Cid) -> Result<Vec<PathBuf>, StoreError> {
        self.inner.files(artifact)
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

    fn needed_to_fetch(&self, cid: &Cid, index: &ArtifactIndex) -> Need {
        self.inner.needed_to_fetch(cid, index)
    }

    fn check_space(&self, need: &Need) -> Result<(), StoreError> {
        self.inner.check_space(need)
    }

    fn lock_name(&self, name: &Name) -> Result<NameLock, StoreError> {
        self.inner.lock_name(name)
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

    fn read_chunks(&self, run: ChunkRange, buf: &mut [u8]) -> Result<(), StoreError> {
        self.gate.pass(buf.len() as u64);
        self.inner.read_chunks(run, buf)
    }

    fn is_removed(&self) -> bool {
        self.inner.is_removed()
    }

    fn path(&self) -> Option<PathBuf> {
        self.inner.path()
    }
}
