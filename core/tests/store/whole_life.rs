//! Every file operation of the life of a release fails once: publishing with the library that `phase publish` uses, a
//! second release, damage, repair by a fetch, pruning and an export. After that, nothing that was published is lost,
//! nothing false is claimed, nothing wrong is handed over, and the same steps succeed.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use phase_core::handover::{HandoverError, Mode, Output, Target};
use phase_core::publish::{Draft, Publisher, ReleaseFile};
use phase_core::store::{Goal, Prune, Removal};
use phase_core::{Envelope, FileStore, Manifest, Pointer, SigningKey, Store, TrustRoot};

use crate::data::{bytes, chunk, import_options, index_of, name};
use crate::fault_backend::{Fault, FaultBackend};
use crate::handover::files_in;

const STORE: &str = "/store";
const OUT: &str = "/out";
const NAME: &str = "stable/x86_64";
const NOW: u64 = 1_000;
/// A time at which everything in the store is old.
const LATER: u64 = 1_000_000;

/// The files of two releases, which have the second file in common, and a publisher.
struct Life {
    folder: tempfile::TempDir,
    publisher: Publisher,
}

/// What has succeeded.
#[derive(Debug, Default)]
struct Confirmed {
    version: u64,
    exported: u64,
}

type Failed = Box<dyn std::error::Error>;

impl Life {
    fn new() -> Self {
        let key = || SigningKey::from_secret_bytes(&[1; 32]);
        let root = TrustRoot::of_one_key(key().public(), [name(NAME).channel], 1, 2_000_000);
        let root = Envelope::signed(&root, [&key()]).unwrap().encode();
        Self { folder: tempfile::tempdir().unwrap(), publisher: Publisher::new(&root, vec![key()]).unwrap() }
    }

    fn content(version: u64) -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([("kernel".to_owned(), bytes(version, 6_000)), ("sub/initrd".to_owned(), bytes(9, 5_000))])
    }

    fn publish(&self, store: &FileStore, version: u64) -> Result<(), Failed> {
        let file = |(name, content): (&String, &Vec<u8>)| {
            let path = self.folder.path().join(name.replace('/', "-"));
            std::fs::write(&path, content).unwrap();
            ReleaseFile::new("file".parse().unwrap(), name.parse().unwrap(), path).unwrap()
        };
        let files = Self::content(version).iter().map(file).collect();
        let draft = Draft::new(&name(NAME), files, 1, 2_000_000).with_version(version).with_import(import_options());
        self.publisher.publish(store, &draft, NOW, &mut |_| {})?;
        Ok(())
    }

    /// Lives through everything, from what is there already.
    fn run(&self, backend: &FaultBackend, confirmed: &mut Confirmed) -> Result<(), Failed> {
        let store = FileStore::with_backend(STORE, Arc::new(backend.clone()))?;
        for version in 1..=2 {
            if store.pointer(&name(NAME))?.map_or(0, |pointer| crate::data::version(&pointer)) < version {
                self.publish(&store, version)?;
            }
            confirmed.version = confirmed.version.max(version);
        }
        self.export_and_repair(backend, &store, confirmed)?;
        // The disk damages a file without a trace, the export notices it, and a fetch repairs it.
        let (cid, _) = index_of(&bytes(2, 6_000));
        if store.artifact(&cid)?.is_some() {
            backend.rot(&PathBuf::from(STORE).join("artifacts").join(cid.to_string()), 3_000);
        }
        self.export_and_repair(backend, &store, confirmed)?;
        store.remove(&Removal::new(Goal::Prune(Prune { keep: Some(1), max_bytes: None }), LATER))?;
        self.export_and_repair(backend, &store, confirmed)
    }

    /// Exports the current release. If an artifact is damaged, sets it aside, fetches it and exports again.
    fn export_and_repair(
        &self,
        backend: &FaultBackend,
        store: &FileStore,
        confirmed: &mut Confirmed,
    ) -> Result<(), Failed> {
        let Err(error) = self.export(backend, store, confirmed) else { return Ok(()) };
        if !matches!(error.downcast_ref(), Some(HandoverError::Damaged { .. } | HandoverError::Missing { .. })) {
            return Err(error);
        }
        let content = bytes(2, 6_000);
        let (cid, index) = index_of(&content);
        store.set_aside(&cid)?;
        let partial = store.partial(&cid, index.clone())?;
        for position in partial.have().iter_missing().collect::<Vec<_>>() {
            partial.write_chunk(position, chunk(&content, &index, position.0))?;
        }
        partial.finish()?;
        self.export(backend, store, confirmed)
    }

    fn export(&self, backend: &FaultBackend, store: &FileStore, confirmed: &mut Confirmed) -> Result<(), Failed> {
        let pointer: Pointer = store.pointer(&name(NAME))?.ok_or("no release")?.payload_unverified()?;
        let manifest = store.block(&pointer.manifest.unwrap())?.ok_or("no manifest")?;
        let manifest: Manifest = Envelope::decode(&manifest)?.payload_unverified()?;
        let target = Target::Folder(OUT.into());
        let output = Output::with_backend(&target, &manifest.artifacts, false, Arc::new(backend.clone()))?;
        output.export(store, Mode::Copy)?;
        output.commit()?;
        confirmed.exported = pointer.version;
        Ok(())
    }

    fn check(&self, backend: &FaultBackend, confirmed: &Confirmed, context: &str) {
        let found = files_in(backend, Path::new(OUT));
        let whole = (0..=2).any(|version| found == if version == 0 { BTreeMap::new() } else { Self::content(version) });
        assert!(whole, "{context}: a part of a release is visible: {:?}", found.keys());
        assert!(confirmed.exported == 0 || !found.is_empty(), "{context}: an exported release is lost");
        let store = FileStore::with_backend(STORE, Arc::new(backend.clone())).unwrap();
        let version = store.pointer(&name(NAME)).unwrap().map_or(0, |pointer| crate::data::version(&pointer));
        assert!((confirmed.version..=2).contains(&version), "{context}: version {version}, {confirmed:?}");
        if version == 0 {
            return;
        }
        for (file, content) in Self::content(version) {
            let (cid, _) = index_of(&content);
            // Only the file that the disk damages may be missing, until it is repaired.
            let is_damaged = version == 2 && file == "kernel";
            match store.artifact(&cid) {
                Ok(Some(artifact)) if !is_damaged => {
                    assert!(crate::data::content(&*artifact) == content, "{context}: wrong bytes");
                }
                Ok(Some(_)) => {}
                other => assert!(is_damaged, "{context}: {file} is lost: {:?}", other.map(|_| ())),
            }
        }
    }
}

fn at_every_operation(fault: Fault) -> u64 {
    let life = Life::new();
    let undisturbed = FaultBackend::new();
    life.run(&undisturbed, &mut Confirmed::default()).unwrap();
    for operation in 1..=undisturbed.operations() {
        let backend = FaultBackend::new();
        backend.inject(operation, fault);
        let mut confirmed = Confirmed::default();
        let result = life.run(&backend, &mut confirmed);
        let seeds = if fault == Fault::PowerCut { 0..3 } else { 1..2 };
        for seed in seeds {
            let after = if fault == Fault::PowerCut { backend.after_power_cut(seed) } else { backend.copy() };
            let context = format!("{fault:?} at operation {operation}, seed {seed}: {result:?}");
            life.check(&after, &confirmed, &context);
            let mut again = Confirmed::default();
            life.run(&after, &mut again).unwrap_or_else(|error| panic!("{context}: then {error}"));
            assert!(files_in(&after, Path::new(OUT)) == Life::content(2), "{context}");
        }
    }
    undisturbed.operations()
}

#[test]
fn every_operation_of_the_life_of_a_release_may_fail_once() {
    let faults = [ErrorKind::StorageFull, ErrorKind::Other, ErrorKind::ReadOnlyFilesystem];
    let runs: u64 = faults.into_iter().map(|kind| at_every_operation(Fault::Fail(kind))).sum();
    println!("{} runs", runs + at_every_operation(Fault::Short));
}

#[test]
fn the_power_may_fail_at_every_operation_of_the_life_of_a_release() {
    println!("{} runs", 3 * at_every_operation(Fault::PowerCut));
}
