//! The scenario of these tests: a sequence of store operations with every kind of write, which tests interrupt. It is
//! not a scenario of a testnet.

use std::path::PathBuf;
use std::sync::Arc;

use phase_core::{ArtifactIndex, ChunkIndex, Cid, FileStore, ImportMode, KeyId, Store, StoreError};

use crate::data::{self, bytes, chunk, content, file_with, import_options, index_of, name, pointer};
use crate::fault_backend::FaultBackend;

const STORE: &str = "/new/folders/store";
const NAME: &str = "stable/x86_64";
const MANIFEST: &[u8] = b"manifest";
/// The number of chunks that the scenario writes between two checkpoints.
const CHECKPOINT: usize = 3;

/// The scenario: the artifacts that it stores, and the files that it imports.
pub(crate) struct Scenario {
    fetched: Content,
    imported: Content,
    referenced: Content,
    sources: [(tempfile::TempDir, PathBuf); 2],
}

/// The bytes of an artifact, with its CID and its index. The CID and the index are computed only once, because they are
/// needed often.
struct Content {
    bytes: Vec<u8>,
    cid: Cid,
    index: Arc<ArtifactIndex>,
}

impl Content {
    fn new(bytes: Vec<u8>) -> Self {
        let (cid, index) = index_of(&bytes);
        Self { bytes, cid, index }
    }
}

/// The results of the operations that have succeeded. They must survive any fault.
#[derive(Debug, Default)]
pub(crate) struct Confirmed {
    manifest: bool,
    checkpointed: Vec<u32>,
    fetched: bool,
    imported: bool,
    referenced: bool,
    version: u64,
    identity: Option<KeyId>,
}

impl Scenario {
    pub(crate) fn new() -> Self {
        // The artifact has chunks of zeros, which look like holes in its sparse file, and equal chunks.
        let fetched = Content::new([bytes(1, 6_000), vec![0; 20_000], bytes(2, 5_000).repeat(3)].concat());
        assert!(fetched.index.repeats().has_copies());
        assert_ne!(fetched.index.len() as usize % CHECKPOINT, 0, "some chunks are written after the last checkpoint");
        let (imported, referenced) = (bytes(3, 9_000), bytes(4, 9_000));
        let sources = [file_with(&imported), file_with(&referenced)];
        Self { fetched, imported: Content::new(imported), referenced: Content::new(referenced), sources }
    }

    /// Performs the operations until one of them fails. The results of the operations that succeed are added to
    /// `confirmed`.
    pub(crate) fn run(&self, backend: &FaultBackend, confirmed: &mut Confirmed) -> Result<(), StoreError> {
        let store = FileStore::with_backend(STORE, Arc::new(backend.clone()))?;
        let manifest = Cid::of_block(MANIFEST);
        store.put_block(&manifest, MANIFEST)?;
        confirmed.manifest = true;
        self.fetch(&store, confirmed)?;
        confirmed.fetched = true;
        let [(_, imported), (_, referenced)] = &self.sources;
        store.import(imported, &import_options(), &mut |_| {})?;
        confirmed.imported = true;
        let options = import_options().with_mode(ImportMode::Reference);
        store.import(referenced, &options, &mut |_| {})?;
        confirmed.referenced = true;
        for version in 1..=2 {
            match store.set_ref(&name(NAME), &pointer(&name(NAME), manifest, version)) {
                // An earlier run, which was interrupted, has set the ref to the later version.
                Err(StoreError::RefIsNewer { .. }) => {}
                other => other?,
            }
            confirmed.version = confirmed.version.max(version);
        }
        confirmed.identity = Some(store.identity()?.id());
        Ok(())
    }

    fn fetch(&self, store: &FileStore, confirmed: &mut Confirmed) -> Result<(), StoreError> {
        let Content { bytes, cid, index } = &self.fetched;
        let partial = match store.partial(cid, index.clone()) {
            Err(StoreError::Complete(_)) => return Ok(()),
            other => other?,
        };
        let positions: Vec<u32> = (0..index.len()).rev().collect();
        for part in positions.chunks(CHECKPOINT) {
            for position in part {
                partial.write_chunk(ChunkIndex(*position), chunk(bytes, index, *position))?;
            }
            // The last chunks need no checkpoint, because `finish` syncs them.
            if part.len() == CHECKPOINT {
                partial.checkpoint()?;
                confirmed.checkpointed.extend(part);
            }
        }
        partial.finish().map(drop)
    }

    /// Asserts that the store can be opened, that every result in `confirmed` is in it, and that it has no wrong data.
    pub(crate) fn check(&self, backend: &FaultBackend, confirmed: &Confirmed, context: &str) {
        let store = FileStore::with_backend(STORE, Arc::new(backend.clone())).unwrap();
        let manifest = store.block(&Cid::of_block(MANIFEST)).unwrap();
        assert!(manifest.is_some() || !confirmed.manifest, "{context}: the manifest is lost");
        self.check_artifact(&store, &self.fetched, confirmed.fetched, context);
        self.check_artifact(&store, &self.imported, confirmed.imported, context);
        self.check_artifact(&store, &self.referenced, confirmed.referenced, context);
        self.check_partial(&store, confirmed, context);
        self.check_ref(&store, confirmed, context);
        let identity = store.identity().unwrap().id();
        assert!(confirmed.identity.is_none_or(|before| before == identity), "{context}: the identity has changed");
    }

    fn check_artifact(&self, store: &FileStore, expected: &Content, confirmed: bool, context: &str) {
        let artifact = store.artifact(&expected.cid).unwrap();
        assert!(artifact.is_some() || !confirmed, "{context}: an artifact is lost");
        if let Some(artifact) = artifact {
            assert!(content(&*artifact) == expected.bytes, "{context}: an artifact has wrong bytes");
        }
    }

    fn check_partial(&self, store: &FileStore, confirmed: &Confirmed, context: &str) {
        let Content { bytes, cid, index } = &self.fetched;
        let partial = match store.partial(cid, index.clone()) {
            Err(StoreError::Complete(_)) => return,
            other => other.unwrap(),
        };
        let have = partial.have();
        let kept = confirmed.checkpointed.iter().all(|position| have.contains(ChunkIndex(*position)));
        assert!(kept, "{context}: of the checkpointed chunks {:?}, only {have:?} are left", confirmed.checkpointed);
        for position in have.iter() {
            let expected = chunk(bytes, index, position.0);
            let mut actual = vec![0; expected.len()];
            partial.read_at(index.chunk(position).unwrap().offset, &mut actual).unwrap();
            assert!(actual == expected, "{context}: chunk {position} counts as stored and has wrong bytes");
        }
    }

    fn check_ref(&self, store: &FileStore, confirmed: &Confirmed, context: &str) {
        let version = store.pointer(&name(NAME)).unwrap().map_or(0, |pointer| data::version(&pointer));
        let possible = [confirmed.version, confirmed.version + 1];
        assert!(possible.contains(&version), "{context}: the ref has version {version}, not one of {possible:?}");
        assert_eq!(store.names().unwrap().len(), usize::from(version > 0), "{context}");
    }
}
