//! Tests of opening artifacts, and of copying chunks from other artifacts of the store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use phase_core::store::NameLock;
use phase_core::{ArtifactIndex, ChunkEntry, ChunkerParams, Envelope, FileStore, HashAlgorithm, ImportOptions, Name};
use phase_test_support::bytes;

use super::*;

const CHUNK: usize = 1000;

/// A store on disk that counts how often complete artifacts are opened, and can fail to open them.
struct Counting {
    inner: FileStore,
    opened: AtomicU32,
    /// The error number with which opening fails.
    fails: Option<i32>,
    _folder: tempfile::TempDir,
}

impl Counting {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let inner = FileStore::open(folder.path().join("store")).unwrap();
        Self { inner, opened: AtomicU32::new(0), fails: None, _folder: folder }
    }
}

impl Store for Counting {
    fn put_block(&self, cid: &Cid, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.put_block(cid, bytes)
    }

    fn block(&self, cid: &Cid) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.block(cid)
    }

    fn artifact(&self, cid: &Cid) -> Result<Option<Arc<dyn Artifact>>, StoreError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        match self.fails {
            None => self.inner.artifact(cid),
            Some(errno) => {
                let source = io::Error::from_raw_os_error(errno);
                Err(StoreError::Io { action: "open", path: PathBuf::from("artifact"), source })
            }
        }
    }

    fn set_aside(&self, cid: &Cid) -> Result<Option<PathBuf>, StoreError> {
        self.inner.set_aside(cid)
    }

    fn lock_name(&self, name: &Name) -> Result<NameLock, StoreError> {
        self.inner.lock_name(name)
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

/// Returns an artifact with chunks of [`CHUNK`] bytes.
fn wanted(bytes: &[u8]) -> Wanted {
    let hash = HashAlgorithm::Blake3;
    let entry = |chunk: &[u8]| ChunkEntry { digest: hash.digest(chunk), len: chunk.len() as u32 };
    let chunks = bytes.chunks(CHUNK).map(entry).collect();
    let chunker = ChunkerParams::new(64, 1000, 1024).unwrap();
    let index = ArtifactIndex::new(chunker, hash, HashAlgorithm::Sha2_256.digest(bytes), chunks).unwrap();
    Wanted { cid: index.encode().root, priority: 0, index: Arc::new(index) }
}

fn stored(store: &dyn Store, bytes: &[u8]) -> Arc<dyn Artifact> {
    let Wanted { cid, index, .. } = wanted(bytes);
    let partial = store.partial(&cid, index).unwrap();
    for (chunk, position) in bytes.chunks(CHUNK).zip(0..) {
        partial.write_chunk(ChunkIndex(position), chunk).unwrap();
    }
    partial.finish().unwrap()
}

fn known(store: &dyn Store, wanted: &[Wanted]) -> Known {
    let digests: Vec<_> = wanted.iter().flat_map(|w| w.index.chunks()).map(|chunk| chunk.digest).collect();
    let found = store.find_chunks(&digests).unwrap();
    let located = digests.into_iter().zip(found).filter_map(|(digest, location)| Some((digest, location?)));
    Known { locations: located.collect(), unusable: Mutex::default() }
}

fn begun(opened: Opened) -> Begun {
    match opened {
        Opened::Part(begun) => begun,
        Opened::Whole => panic!("the artifact is not stored"),
    }
}

#[test]
fn chunks_of_other_artifacts_are_copied_and_each_of_these_is_opened_once() {
    let store = Counting::new();
    let (one, two) = (bytes(1, 20 * CHUNK), bytes(2, 20 * CHUNK));
    stored(&store, &one);
    stored(&store, &two);
    // The chunks of the two artifacts alternate, and each occurs twice.
    let mixed: Vec<u8> = one.chunks(CHUNK).zip(two.chunks(CHUNK)).flat_map(|(a, b)| [a, b].concat()).collect();
    let wanted = wanted(&[mixed.clone(), bytes(3, CHUNK), mixed].concat());
    let known = known(&store, std::slice::from_ref(&wanted));
    let begun = begun(open_one(&store, &wanted, &known).unwrap());
    assert_eq!(store.opened.load(Ordering::Relaxed), 3, "the wanted artifact and the two others");
    assert_eq!(begun.partial.have().iter_missing().collect::<Vec<_>>(), [ChunkIndex(40)]);
    assert_eq!((begun.stored, begun.resumed, begun.repeated), (80_000, 40_000, 40_000));
}

#[test]
fn a_damaged_artifact_is_not_read_again_for_each_chunk_or_artifact() {
    let store = Counting::new();
    let shared = bytes(1, 20 * CHUNK);
    let damaged = stored(&store, &shared).path().unwrap();
    let wanted: Vec<_> = (2..5).map(|seed| wanted(&[bytes(seed, CHUNK), shared.clone()].concat())).collect();
    let known = known(&store, &wanted);
    std::fs::remove_file(&damaged).unwrap();
    std::fs::write(&damaged, bytes(9, 20 * CHUNK)).unwrap();
    for wanted in &wanted {
        let begun = begun(open_one(&store, wanted, &known).unwrap());
        assert_eq!((begun.stored, begun.not_requested.count()), (0, 0));
    }
    assert_eq!(store.opened.load(Ordering::Relaxed), 4, "the damaged artifact is opened once");
}

#[test]
fn a_lack_of_file_descriptors_is_not_taken_for_damage() {
    let store = Counting { fails: Some(24), ..Counting::new() };
    let wanted = wanted(&bytes(1, 5 * CHUNK));
    let error = open_one(&store, &wanted, &Known::default()).map(drop).unwrap_err();
    assert!(error.is_temporary(), "{error}");
    // An I/O error of the disk is a reason to fetch the artifact again.
    let store = Counting { fails: Some(5), ..Counting::new() };
    assert_eq!(begun(open_one(&store, &wanted, &Known::default()).unwrap()).stored, 0);
}

#[test]
fn zeros_and_later_equal_chunks_are_not_requested() {
    let store = Counting::new();
    let (one, zeros) = (bytes(1, CHUNK), vec![0; CHUNK]);
    let wanted = wanted(&[&one[..], &zeros, &one, &bytes(2, CHUNK), &one, &zeros].concat());
    let begun = begun(open_one(&store, &wanted, &Known::default()).unwrap());
    assert_eq!(begun.not_requested.iter_missing().collect::<Vec<_>>(), [ChunkIndex(0), ChunkIndex(3)]);
    assert_eq!((begun.stored, begun.resumed, begun.repeated), (2000, 0, 4000));
}
