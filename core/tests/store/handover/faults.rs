//! Every file operation of an export fails once.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use phase_core::handover::backend::OutputBackend;
use phase_core::handover::{HandoverError, Mode, Output, Target};
use phase_core::manifest::ArtifactEntry;
use phase_core::store::backend::{Backend, FileKind, OpenMode};
use phase_core::{FileStore, MemStore, Store as _};

use super::entry;
use crate::data::{bytes, fetch};
use crate::fault_backend::{Fault, FaultBackend};

const OUT: &str = "/new/out";

/// Two releases, each with two files.
struct Releases {
    store: MemStore,
    old: Vec<ArtifactEntry>,
    new: Vec<ArtifactEntry>,
}

impl Releases {
    fn new() -> Self {
        let store = MemStore::new();
        let release = |seed| {
            let names = ["kernel", "sub/initrd"];
            names.iter().zip(seed..).map(|(name, seed)| entry(name, &*fetch(&store, &bytes(seed, 9_000)))).collect()
        };
        let (old, new) = (release(1), release(11));
        Self { store, old, new }
    }

    fn export(&self, backend: &FaultBackend, entries: &[ArtifactEntry]) -> Result<(), HandoverError> {
        let target = Target::Folder(OUT.into());
        let output = Output::with_backend(&target, entries, false, Arc::new(backend.clone()))?;
        output.export(&self.store, Mode::Copy)?;
        output.commit()
    }
}

/// Returns the content of all files below a folder.
fn files(backend: &FaultBackend, folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        for name in backend.entries(&path).unwrap_or_default() {
            let path = path.join(name);
            if backend.stat(&path).unwrap().kind == FileKind::Folder {
                open.push(path);
            } else {
                let file = backend.open(&path, OpenMode::Read).unwrap();
                let mut content = vec![0; file.stat().unwrap().len as usize];
                file.read_exact_at(&mut content, 0).unwrap();
                found.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned(), content);
            }
        }
    }
    found
}

fn expected(seed: u64, own: bool) -> BTreeMap<String, Vec<u8>> {
    let mut files =
        BTreeMap::from([("kernel".to_owned(), bytes(seed, 9_000)), ("sub/initrd".to_owned(), bytes(seed + 1, 9_000))]);
    if own {
        files.insert("own".to_owned(), b"own".to_vec());
    }
    files
}

/// Returns a file system with the old release and a file of its own in the output folder.
fn prepared(releases: &Releases) -> FaultBackend {
    let backend = FaultBackend::new();
    releases.export(&backend, &releases.old).unwrap();
    let own = backend.open(&Path::new(OUT).join("own"), OpenMode::CreateNew).unwrap();
    own.write_all_at(b"own", 0).unwrap();
    own.sync().unwrap();
    backend.sync_dir(Path::new(OUT)).unwrap();
    backend
}

/// Injects the fault at each operation of an export of the new release over the old one. After that, one of the two
/// releases is visible as a whole, and the next export succeeds and leaves nothing behind.
fn at_every_operation(fault: Fault) -> u64 {
    let releases = Releases::new();
    let undisturbed = prepared(&releases);
    let before = undisturbed.operations();
    releases.export(&undisturbed, &releases.new).unwrap();
    let operations = undisturbed.operations() - before;
    for operation in 1..=operations {
        let backend = prepared(&releases);
        backend.inject(backend.operations() + operation, fault);
        let result = releases.export(&backend, &releases.new);
        let seeds = if fault == Fault::PowerCut { 0..4 } else { 1..2 };
        for seed in seeds {
            let after = if fault == Fault::PowerCut { backend.after_power_cut(seed) } else { backend.clone() };
            let context = format!("{fault:?} at operation {operation}, seed {seed}: {result:?}");
            let found = files(&after, Path::new(OUT));
            assert!(
                found == expected(11, true) || (found == expected(1, true) && result.is_err()),
                "{context}: {:?}",
                found.keys()
            );
            releases.export(&after, &releases.new).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(files(&after, Path::new("/new")).len(), 3, "{context}: something is left");
        }
    }
    operations
}

#[test]
fn a_failed_operation_leaves_one_whole_release_visible() {
    let faults = [ErrorKind::StorageFull, ErrorKind::Other, ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied];
    let runs: u64 = faults.into_iter().map(|kind| at_every_operation(Fault::Fail(kind))).sum();
    let runs = runs + at_every_operation(Fault::Short);
    println!("{runs} runs");
}

#[test]
fn a_power_cut_leaves_one_whole_release_visible() {
    println!("{} runs", at_every_operation(Fault::PowerCut) * 4);
}

#[test]
fn a_store_on_a_disk_that_fails_hands_nothing_wrong_over() {
    let backend = FaultBackend::new();
    let store = FileStore::with_backend("/store", Arc::new(backend.clone())).unwrap();
    let entries = [entry("kernel", &*fetch(&store, &bytes(1, 9_000)))];
    let target = Target::Folder(OUT.into());
    let output = Output::with_backend(&target, &entries, false, Arc::new(backend.clone())).unwrap();
    output.export(&store, Mode::Copy).unwrap();
    output.commit().unwrap();
    let found = files(&backend, Path::new(OUT));
    assert!(found.into_iter().eq([("kernel".to_owned(), bytes(1, 9_000))]));
    assert!(!backend.is_mount_point(Path::new(OUT)).unwrap());
}

#[test]
fn damage_that_no_time_reveals_is_found_on_the_way_out() {
    let backend = FaultBackend::new();
    let store = FileStore::with_backend("/store", Arc::new(backend.clone())).unwrap();
    let artifact = fetch(&store, &bytes(1, 9_000));
    let entries = [entry("kernel", &*artifact)];
    let output = || {
        let target = Target::Folder(OUT.into());
        Output::with_backend(&target, &entries, false, Arc::new(backend.clone())).unwrap()
    };
    backend.rot(&artifact.path().unwrap(), 4_000);
    assert!(store.artifact(&artifact.cid()).unwrap().is_some(), "the seal still holds");
    let first = output();
    let error = first.export(&store, Mode::Copy).unwrap_err();
    assert!(matches!(&error, HandoverError::Damaged { cid, .. } if *cid == artifact.cid()), "{error}");
    assert!(error.to_string().contains("/store/artifacts/"), "{error}");

    // Set aside, fetched again, and exported again into the same output.
    assert!(store.set_aside(&artifact.cid()).unwrap().is_some());
    fetch(&store, &bytes(1, 9_000));
    first.export(&store, Mode::Copy).unwrap();
    first.commit().unwrap();
    assert!(files(&backend, Path::new(OUT)).into_iter().eq([("kernel".to_owned(), bytes(1, 9_000))]));
}
