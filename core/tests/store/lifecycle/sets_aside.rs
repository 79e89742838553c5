//! Tests that a damaged artifact is set aside, so that it can be fetched again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use phase_core::{Cid, FileStore, ImportMode, MemStore, Store, StoreError};

use crate::data::{bytes, content, fetch, file_with, import_options};

/// The maximum number of files in the folder `damaged/`.
const MAX_DAMAGED: usize = 4;

fn store() -> (tempfile::TempDir, FileStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path().join("store")).unwrap();
    (folder, store)
}

fn artifact_file(store: &FileStore, cid: &Cid) -> PathBuf {
    store.path().join("artifacts").join(cid.to_string())
}

/// Changes one byte of a file, and makes a seal that says that the file was verified in this state.
fn damage(store: &FileStore, cid: &Cid) {
    let path = artifact_file(store, cid);
    let mut content = fs::read(&path).unwrap();
    content[1234] ^= 1;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&path, content).unwrap();
    let seal = path.with_extension("seal");
    fs::write(seal, false_seal(&path)).unwrap();
}

/// Returns the encoded seal of a file in its current state.
fn false_seal(path: &Path) -> Vec<u8> {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::metadata(path).unwrap();
    let time = |seconds: i64, ns: i64| seconds * 1_000_000_000 + ns;
    phase_core::codec::to_dag_cbor(&std::collections::BTreeMap::from([
        ("v", 1),
        ("size", meta.len() as i64),
        ("mtime_ns", time(meta.mtime(), meta.mtime_nsec())),
        ("ctime_ns", time(meta.ctime(), meta.ctime_nsec())),
        ("inode", meta.ino() as i64),
    ]))
}

#[test]
fn a_damaged_artifact_is_set_aside_although_its_seal_holds_and_can_be_fetched_again() {
    let (_folder, store) = store();
    let bytes = bytes(1, 50_000);
    let cid = fetch(&store, &bytes).cid();
    damage(&store, &cid);
    assert_ne!(content(&*store.artifact(&cid).unwrap().unwrap()), bytes, "the seal is believed");

    let moved = store.set_aside(&cid).unwrap().unwrap();
    assert_eq!(moved, store.path().join("damaged").join(format!("{cid}.1")));
    assert_eq!(fs::read(&moved).unwrap().len(), bytes.len());
    assert!(store.artifact(&cid).unwrap().is_none());
    assert!(!artifact_file(&store, &cid).with_extension("seal").exists());
    assert_eq!(content(&*fetch(&store, &bytes)), bytes);
    assert!(store.set_aside(&cid).unwrap().is_none());
}

#[test]
fn an_undamaged_artifact_is_left_alone() {
    let (_folder, store) = store();
    let bytes = bytes(1, 50_000);
    let cid = fetch(&store, &bytes).cid();
    fs::remove_file(artifact_file(&store, &cid).with_extension("seal")).unwrap();
    for store in [&store as &dyn Store, &MemStore::new()] {
        let cid = if store.artifact(&cid).unwrap().is_some() { cid } else { fetch(store, &bytes).cid() };
        assert!(store.set_aside(&cid).unwrap().is_none());
        assert_eq!(content(&*store.artifact(&cid).unwrap().unwrap()), bytes);
        assert!(store.set_aside(&Cid::of_block(b"other")).unwrap().is_none());
    }
}

#[test]
fn a_link_in_the_place_of_an_artifact_is_set_aside_and_its_target_stays() {
    let (folder, store) = store();
    let bytes = bytes(1, 50_000);
    let cid = fetch(&store, &bytes).cid();
    let (path, target) = (artifact_file(&store, &cid), folder.path().join("target"));
    fs::rename(&path, &target).unwrap();
    std::os::unix::fs::symlink(&target, &path).unwrap();
    let moved = store.set_aside(&cid).unwrap().unwrap();
    assert!(moved.is_symlink());
    assert_eq!(fs::read(&target).unwrap(), bytes);
    assert_eq!(content(&*fetch(&store, &bytes)), bytes);
}

#[test]
fn a_changed_or_removed_reference_is_forgotten_and_not_touched() {
    let (_folder, store) = store();
    let bytes = bytes(1, 50_000);
    let options = import_options().with_mode(ImportMode::Reference);
    for is_removed in [false, true] {
        let (_source, path) = file_with(&bytes);
        let cid = store.import(&path, &options, &mut |_| {}).unwrap().cid();
        assert!(store.set_aside(&cid).unwrap().is_none());
        let changed = bytes.iter().map(|byte| byte ^ 1).collect::<Vec<_>>();
        if is_removed {
            fs::remove_file(&path).unwrap()
        } else {
            fs::write(&path, &changed).unwrap()
        };
        assert_eq!(store.set_aside(&cid).unwrap().as_ref(), Some(&path));
        assert!(store.artifact(&cid).unwrap().is_none());
        assert!(is_removed || fs::read(&path).unwrap() == changed);
        assert!(!store.path().join("damaged").exists());
    }
}

#[test]
fn only_a_few_damaged_files_are_kept_and_the_oldest_go() {
    let (_folder, store) = store();
    let bytes = bytes(1, 50_000);
    for round in 1..=6 {
        let cid = fetch(&store, &bytes).cid();
        damage(&store, &cid);
        let moved = store.set_aside(&cid).unwrap().unwrap();
        assert_eq!(moved.extension().unwrap().to_str(), Some(round.to_string().as_str()));
        let kept = fs::read_dir(store.path().join("damaged")).unwrap().count();
        assert_eq!(kept, round.min(MAX_DAMAGED));
        assert!(moved.exists());
    }
}

#[test]
fn an_artifact_whose_index_is_missing_is_not_set_aside() {
    let (_folder, store) = store();
    let bytes = bytes(1, 50_000);
    let cid = fetch(&store, &bytes).cid();
    damage(&store, &cid);
    fs::remove_file(store.path().join("blocks").join(cid.to_string())).unwrap();
    let error = store.set_aside(&cid).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }) && error.to_string().contains("index block"), "{error}");
    assert!(artifact_file(&store, &cid).exists());
    assert!(Arc::new(store).artifact(&cid).is_err());
}
