//! Every file operation of an export fails once.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use phase_core::handover::backend::OutputBackend;
use phase_core::handover::{HandoverError, Mode, Output, Target};
use phase_core::manifest::ArtifactEntry;
use phase_core::store::backend::{Backend, OpenMode};
use phase_core::{FileStore, MemStore, Store as _};

use super::{entry, files_in};
use crate::data::{bytes, fetch};
use crate::fault_backend::{Fault, FaultBackend};
use crate::quirks::Quirks;

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
    at_every_operation_with(fault, &Quirks::default())
}

fn at_every_operation_with(fault: Fault, quirks: &Quirks) -> u64 {
    let releases = Releases::new();
    let prepared = |releases| {
        let backend = prepared(releases);
        backend.set_quirks(quirks.clone());
        backend
    };
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
            let found = files_in(&after, Path::new(OUT));
            assert!(
                found == expected(11, true) || (found == expected(1, true) && result.is_err()),
                "{context}: {:?}",
                found.keys()
            );
            releases.export(&after, &releases.new).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(files_in(&after, Path::new("/new")).len(), 3, "{context}: something is left");
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
fn a_failed_operation_in_a_folder_that_cannot_be_exchanged_is_undone() {
    let quirks = Quirks { mount_point: Some(OUT.into()), ..Quirks::default() };
    let faults = [ErrorKind::StorageFull, ErrorKind::Other, ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied];
    let runs: u64 = faults.into_iter().map(|kind| at_every_operation_with(Fault::Fail(kind), &quirks)).sum();
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
    let found = files_in(&backend, Path::new(OUT));
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
    assert!(files_in(&backend, Path::new(OUT)).into_iter().eq([("kernel".to_owned(), bytes(1, 9_000))]));
}

/// Exports files with these names to a file system with quirks, in which `OUT` has a file `own`.
fn export_names(quirks: Quirks, names: &[&str]) -> (FaultBackend, Result<(), HandoverError>) {
    let store = MemStore::new();
    let artifact = fetch(&store, &bytes(1, 9_000));
    let backend = FaultBackend::new();
    backend.create_dir(Path::new(OUT)).unwrap();
    backend.open(&Path::new(OUT).join("own"), OpenMode::CreateNew).unwrap().write_all_at(b"own", 0).unwrap();
    backend.set_quirks(quirks);
    let entries: Vec<_> = names.iter().map(|name| entry(name, &*artifact)).collect();
    let target = Target::Folder(OUT.into());
    let output = Output::with_backend(&target, &entries, false, Arc::new(backend.clone()));
    let result = output.and_then(|output| output.export(&store, Mode::Copy).and_then(|()| output.commit()));
    (backend, result)
}

#[test]
fn names_that_the_file_system_does_not_keep_are_an_error_before_anything_is_overwritten() {
    let folds = || Quirks { folds_case: true, ..Quirks::default() };
    let cuts = Quirks { cuts_names_at: Some(12), ..Quirks::default() };
    for (quirks, names, text) in [
        (folds(), &["kernel", "Kernel"][..], "cannot tell \"kernel\""),
        // A file of the folder would be overwritten under another name.
        (folds(), &["OWN"][..], "cannot tell \"OWN\" from the name of another file"),
        (cuts, &["a-long-file-name"][..], "does not keep the name"),
    ] {
        let (backend, result) = export_names(quirks, names);
        let error = result.unwrap_err();
        assert!(matches!(error, HandoverError::Names { .. }) && error.to_string().contains(text), "{error}");
        assert!(files_in(&backend, Path::new(OUT)).into_iter().eq([("own".to_owned(), b"own".to_vec())]), "{names:?}");
    }
    let (backend, result) = export_names(folds(), &["kernel", "own"]);
    result.unwrap();
    assert_eq!(files_in(&backend, Path::new(OUT)).len(), 2);
}
