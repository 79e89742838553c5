//! Tests of where a store may lie: on read-only media, at another place than before, and on file systems that differ from
//! a local disk.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use phase_core::store::backend::{Backend as _, OpenMode};
use phase_core::store::{Damage, StoreWarning};
use phase_core::{ChunkIndex, Cid, FileStore, Store, StoreError};
use rustix::io::Errno;

use crate::data::{self, bytes, content, fetch, index_of, name, pointer};
use crate::fault_backend::{Fault, FaultBackend};
use crate::quirks::Quirks;

const LEN: usize = 50_000;

fn open(backend: &FaultBackend) -> Result<FileStore, StoreError> {
    FileStore::with_backend("/store", Arc::new(backend.clone()))
}

fn open_with_state(backend: &FaultBackend, state: &str) -> Result<FileStore, StoreError> {
    FileStore::with_backend_and_state("/store", state, Arc::new(backend.clone()))
}

/// Returns a store in memory with one artifact, and the CID and the bytes of the artifact.
fn store() -> (FaultBackend, Cid, Vec<u8>) {
    let backend = FaultBackend::new();
    let bytes = bytes(1, LEN);
    let store = open(&backend).unwrap();
    let cid = fetch(&store, &bytes).cid();
    let name = name("stable/x86_64");
    let manifest = Cid::of_block(b"manifest");
    store.put_block(&manifest, b"manifest").unwrap();
    store.set_ref(&name, &pointer(&name, manifest, 1)).unwrap();
    (backend, cid, bytes)
}

fn read_only() -> Quirks {
    Quirks { read_only: Some("/store".into()), ..Quirks::default() }
}

fn below(tree: &[(PathBuf, Vec<u8>)], folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
    tree.iter().filter(|(path, _)| path.starts_with(folder)).cloned().collect()
}

#[test]
fn two_providers_serve_one_read_only_store_and_write_only_to_their_state_folders() {
    let (backend, cid, bytes) = store();
    let before = below(&backend.tree(), "/store");
    backend.set_quirks(read_only());
    let stores = ["/one", "/other"].map(|state| open_with_state(&backend, state).unwrap());
    let locks: Vec<_> = stores.iter().map(|store| store.lock_provider().unwrap()).collect();
    assert_ne!(stores[0].identity().unwrap().id(), stores[1].identity().unwrap().id());
    for store in &stores {
        let artifact = store.artifact(&cid).unwrap().unwrap();
        assert_eq!(content(&*artifact), bytes);
        assert!(store.pointer(&name("stable/x86_64")).unwrap().is_some());
        assert_eq!(store.names().unwrap(), [name("stable/x86_64")]);
        let digest = artifact.index().chunk(ChunkIndex(3)).unwrap().digest;
        assert_eq!(store.find_chunks(&[digest]).unwrap(), [Some((cid, ChunkIndex(3)))]);
        assert_eq!(store.warnings(), []);
    }
    assert!(stores[0].peers_file().starts_with("/one"));
    let again = open_with_state(&backend, "/one").unwrap();
    assert!(matches!(again.lock_provider(), Err(StoreError::ProviderRunning { .. })));
    drop(locks);
    again.lock_provider().unwrap();
    let after = backend.tree();
    assert!(below(&after, "/store") == before, "the store was written to");
    for file in ["identity.key", "provider.lock", "store.lock", "chunks.redb"] {
        assert!(after.iter().any(|(path, _)| path == &Path::new("/one").join(file)), "{file}");
    }
}

#[test]
fn a_store_that_is_opened_with_a_state_folder_is_never_written_to() {
    let (backend, cid, bytes) = store();
    let (other, index) = index_of(&data::bytes(2, LEN));
    let store = open_with_state(&backend, "/state").unwrap();
    let before = below(&backend.tree(), "/store");
    let (_folder, source) = data::file_with(&bytes);
    let name = name("stable/x86_64");
    let errors = [
        store.put_block(&Cid::of_block(b"block"), b"block").unwrap_err(),
        store.partial(&other, index).map(drop).unwrap_err(),
        store.import(&source, &data::import_options(), &mut |_| {}).map(drop).unwrap_err(),
        store.set_ref(&name, &pointer(&name, Cid::of_block(b"manifest"), 2)).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, StoreError::OnlyRead(_)) && error.to_string().contains("--state"), "{error}");
    }
    assert_eq!(content(&*store.artifact(&cid).unwrap().unwrap()), bytes);
    assert!(below(&backend.tree(), "/store") == before, "the store was written to");
}

#[test]
fn a_state_folder_that_cannot_be_meant_is_refused_by_name() {
    let (backend, ..) = store();
    FileStore::with_backend("/second", Arc::new(backend.clone())).unwrap();
    for state in ["/store/state", "/", "/second"] {
        let error = open_with_state(&backend, state).unwrap_err();
        assert!(error.to_string().contains("--state") && error.to_string().contains(state), "{state}: {error}");
    }
    let error = FileStore::with_backend_and_state("/none", "/state", Arc::new(backend.clone())).unwrap_err();
    assert!(matches!(error, StoreError::NoStore(_)), "{error}");
    assert!(backend.tree().iter().all(|(path, _)| !path.starts_with("/none")));
}

#[test]
fn a_copied_store_is_hashed_once_and_its_state_folder_remembers_it() {
    let (backend, cid, bytes) = store();
    copy_artifact(&backend, &cid);
    backend.set_quirks(read_only());
    let read = |store: &FileStore| {
        let before = backend.bytes_read();
        drop(store.artifact(&cid).unwrap().unwrap());
        (backend.bytes_read() - before) as usize
    };
    // Without a state folder, each process hashes the file once.
    let store = open(&backend).unwrap();
    assert!(read(&store) >= LEN);
    assert!(read(&store) < LEN);
    assert!(read(&open(&backend).unwrap()) >= LEN);
    // With one, only the first process does.
    assert!(read(&open_with_state(&backend, "/state").unwrap()) >= LEN);
    let store = open_with_state(&backend, "/state").unwrap();
    assert!(read(&store) < LEN);
    assert_eq!(content(&*store.artifact(&cid).unwrap().unwrap()), bytes);
}

#[test]
fn a_moved_store_that_can_be_written_to_is_hashed_once() {
    let (backend, cid, _) = store();
    copy_artifact(&backend, &cid);
    for is_first in [true, false] {
        let before = backend.bytes_read();
        open(&backend).unwrap().artifact(&cid).unwrap().unwrap();
        assert_eq!(backend.bytes_read() - before >= LEN as u64, is_first);
    }
}

/// Replaces an artifact's file with a copy, which has another inode number and other times.
fn copy_artifact(backend: &FaultBackend, cid: &Cid) {
    let path = Path::new("/store/artifacts").join(cid.to_string());
    let mut bytes = vec![0; LEN];
    backend.open(&path, OpenMode::Read).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    backend.remove(&path).unwrap();
    backend.open(&path, OpenMode::CreateNew).unwrap().write_all_at(&bytes, 0).unwrap();
}

#[test]
fn a_file_system_without_locks_is_refused_by_name_but_serves_with_a_state_folder_elsewhere() {
    for errno in [Errno::BADF, Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS] {
        let (backend, cid, bytes) = store();
        backend.set_quirks(Quirks { lock_error: Some(("/store".into(), errno)), ..Quirks::default() });
        let error = open(&backend).unwrap_err();
        assert!(matches!(error, StoreError::NoLocks { .. }), "{error}");
        for part in ["/store", "faultfs", "file locks", "--state DIR"] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        let store = open_with_state(&backend, "/state").unwrap();
        let _lock = store.lock_provider().unwrap();
        assert_eq!(content(&*store.artifact(&cid).unwrap().unwrap()), bytes);
    }
}

#[test]
fn leftover_files_are_removed_where_only_a_file_that_is_open_for_writing_can_be_locked() {
    let (backend, ..) = store();
    backend.set_quirks(Quirks { locks_need_writing: true, ..Quirks::default() });
    let path = Path::new("/store/tmp/left");
    let held = Path::new("/store/tmp/held");
    drop(backend.open(path, OpenMode::CreateNew).unwrap());
    let file = backend.open(held, OpenMode::CreateNew).unwrap();
    assert!(file.try_lock().unwrap());
    let store = open(&backend).unwrap();
    assert!(backend.stat(path).is_err());
    assert!(backend.stat(held).is_ok());
    fetch(&store, &bytes(3, LEN));
}

#[test]
fn a_file_system_without_stable_inode_numbers_works_and_trusts_no_seal() {
    let (backend, cid, bytes) = store();
    backend.set_quirks(Quirks { has_unstable_inodes: true, ..Quirks::default() });
    let store = open(&backend).unwrap();
    assert!(matches!(store.warnings(), [StoreWarning::NoStableInodes { .. }]), "{:?}", store.warnings());
    assert!(store.warnings()[0].to_string().contains("faultfs"));
    assert_eq!(content(&*store.artifact(&cid).unwrap().unwrap()), bytes);
    // Nothing waits in vain for the lock on a file that seems to be another one each time.
    let other = data::bytes(2, LEN);
    let fetched = fetch(&store, &other);
    assert_eq!(content(&*fetched), other);
    let digest = fetched.index().chunk(ChunkIndex(0)).unwrap().digest;
    assert_eq!(store.find_chunks(&[digest]).unwrap(), [Some((fetched.cid(), ChunkIndex(0)))]);
    let before = backend.bytes_read();
    store.artifact(&cid).unwrap().unwrap();
    assert!(backend.bytes_read() - before >= LEN as u64);
}

#[test]
fn a_file_system_that_cannot_sync_folders_is_accepted_with_a_warning() {
    for errno in [Errno::INVAL, Errno::OPNOTSUPP, Errno::BADF] {
        let (backend, ..) = store();
        backend.set_quirks(Quirks { folder_sync_error: Some(errno), ..Quirks::default() });
        let store = open(&backend).unwrap();
        assert!(matches!(store.warnings(), [StoreWarning::NoFolderSync { .. }]), "{:?}", store.warnings());
        let text = store.warnings()[0].to_string();
        assert!(text.contains("faultfs") && text.contains("power cut"), "{text}");
        fetch(&store, &bytes(3, LEN));
    }
    // Any other error is a failure, because the disk may be broken.
    let (backend, ..) = store();
    let store = open(&backend).unwrap();
    backend.set_quirks(Quirks { folder_sync_error: Some(Errno::IO), ..Quirks::default() });
    let error = store.put_block(&Cid::of_block(b"block"), b"block").unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
}

#[test]
fn folders_of_a_store_on_two_file_systems_are_refused_by_name() {
    let (backend, ..) = store();
    backend.set_quirks(Quirks { other_disk: Some("/store/blocks".into()), ..Quirks::default() });
    let error = open(&backend).unwrap().put_block(&Cid::of_block(b"block"), b"block").unwrap_err();
    assert!(matches!(error, StoreError::OtherFileSystem { .. }), "{error}");
    assert!(error.to_string().contains("/store/blocks"), "{error}");
}

#[test]
fn a_read_only_store_may_lack_its_empty_folders() {
    let (backend, cid, bytes) = store();
    // Tools that copy a store to read-only media may leave out empty folders.
    let backend_without_tmp = backend.after_power_cut(1);
    backend_without_tmp.remove(Path::new("/store/tmp")).unwrap();
    backend_without_tmp.set_quirks(read_only());
    let store = open(&backend_without_tmp).unwrap();
    assert_eq!(content(&*store.artifact(&cid).unwrap().unwrap()), bytes);
}

#[test]
fn an_older_format_is_not_called_newer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    FileStore::open(&path).unwrap();
    for (number, word) in [(0, "old"), (2, "newer")] {
        fs::write(path.join("format"), format!("phase-store {number}\n")).unwrap();
        let error = FileStore::open(&path).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains(&format!("format {number}")), "{error}");
        assert_eq!(error.contains("newer"), word == "newer", "{error}");
    }
}

#[test]
fn a_folder_of_the_store_that_is_a_link_is_refused_by_name() {
    for name in ["artifacts", "blocks", "refs", "tmp"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        FileStore::open(&path).unwrap();
        let (inside, outside) = (path.join(name), folder.path().join("outside"));
        fs::rename(&inside, &outside).unwrap();
        std::os::unix::fs::symlink(&outside, &inside).unwrap();
        let error = FileStore::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::NotAStoreFolder(_)), "{error}");
        assert!(error.to_string().contains(inside.to_str().unwrap()), "{error}");
        // The store itself may be reached through a link, because the user named it.
        let link = folder.path().join("link");
        fs::remove_file(&inside).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        FileStore::open(&link).unwrap();
    }
}

#[test]
fn a_folder_that_becomes_a_link_while_the_store_is_open_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = FileStore::open(&path).unwrap();
    let bytes = bytes(1, LEN);
    let cid = fetch(&store, &bytes).cid();
    let name = name("stable/x86_64");
    let manifest = Cid::of_block(b"manifest");
    store.put_block(&manifest, b"manifest").unwrap();
    store.set_ref(&name, &pointer(&name, manifest, 1)).unwrap();
    for inside in ["artifacts", "blocks", "refs/stable"] {
        let (inside, outside) = (path.join(inside), folder.path().join("outside"));
        fs::rename(&inside, &outside).unwrap();
        std::os::unix::fs::symlink(&outside, &inside).unwrap();
        let errors = [
            store.artifact(&cid).map(drop).err(),
            store.put_block(&Cid::of_block(b"new"), b"new").err(),
            store.pointer(&name).map(drop).err(),
            store.names().map(drop).err(),
        ];
        let links = errors.iter().flatten().filter(|error| matches!(error, StoreError::Link { .. })).count();
        assert!(links > 0, "{inside:?}: {errors:?}");
        assert!(fs::read_dir(&outside).unwrap().all(|entry| entry.unwrap().file_name() != "new"));
        fs::remove_file(&inside).unwrap();
        fs::rename(&outside, &inside).unwrap();
    }
}

#[test]
fn a_link_in_the_place_of_a_file_is_damage_and_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = FileStore::open(&path).unwrap();
    let bytes = bytes(1, LEN);
    let artifact = fetch(&store, &bytes);
    let (cid, file) = (artifact.cid(), artifact.path().unwrap());
    let outside = folder.path().join("outside");
    fs::rename(&file, &outside).unwrap();
    std::os::unix::fs::symlink(&outside, &file).unwrap();
    let error = store.artifact(&cid).map(drop).unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { damage, .. } if matches!(**damage, Damage::NotRegular)), "{error}");
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    assert_eq!(content(&*fetch(&store, &bytes)), bytes);
    assert!(fs::symlink_metadata(&file).unwrap().is_file());
    assert_eq!(fs::read(&outside).unwrap(), bytes);
}

#[test]
fn every_fault_in_a_state_folder_leaves_the_store_as_it_was() {
    let (backend, cid, bytes) = store();
    for operation in 1.. {
        let backend = backend.after_power_cut(1);
        let before = below(&backend.tree(), "/store");
        backend.inject(operation, Fault::Fail(ErrorKind::StorageFull));
        let use_it = || -> Result<(), StoreError> {
            let store = open_with_state(&backend, "/state")?;
            let _lock = store.lock_provider()?;
            store.identity()?;
            assert_eq!(content(&*store.artifact(&cid)?.unwrap()), bytes);
            Ok(())
        };
        let used = use_it();
        assert!(below(&backend.tree(), "/store") == before, "the store was written to");
        if backend.operations() < operation {
            used.unwrap();
            assert!(operation > 5);
            return;
        }
        use_it().unwrap();
    }
}
