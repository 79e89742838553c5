//! Tests of the guarantees that only the store on disk gives: several processes can use it, damaged files are detected,
//! and errors name the file. The guarantees of every store are tested in [`crate::conformance`].

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use phase_core::{ChunkIndex, Cid, Fails, Failure, FileStore, Store, StoreError};

use crate::data::{self, bytes, content, fetch, index_of, name, pointer};

fn store() -> (tempfile::TempDir, FileStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path().join("store")).unwrap();
    (folder, store)
}

fn artifact_file(store: &FileStore, cid: &Cid) -> PathBuf {
    store.path().join("artifacts").join(cid.to_string())
}

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

#[test]
fn another_handle_sees_every_change_at_once() {
    let (_folder, store) = store();
    let other = FileStore::open(store.path()).unwrap();
    let bytes = bytes(1, 50_000);
    let artifact = fetch(&store, &bytes);
    assert_eq!(content(&*other.artifact(&artifact.cid()).unwrap().unwrap()), bytes);
    assert_eq!(artifact.path(), Some(artifact_file(&other, &artifact.cid())));

    let name = name("stable/x86_64");
    let manifest = Cid::of_block(b"manifest");
    store.put_block(&manifest, b"manifest").unwrap();
    store.set_ref(&name, &pointer(&name, manifest, 1)).unwrap();
    assert_eq!(other.pointer(&name).unwrap(), store.pointer(&name).unwrap());
    assert_eq!(other.names().unwrap(), [name]);
}

#[test]
fn a_partial_artifact_is_exclusive_between_handles() {
    let (_folder, store) = store();
    let other = FileStore::open(store.path()).unwrap();
    let (cid, index) = index_of(&bytes(1, 50_000));
    let partial = store.partial(&cid, index.clone()).unwrap();
    let error = other.partial(&cid, index.clone()).map(drop).unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }) && error.to_string().contains(".part"), "{error}");
    drop(partial);
    other.partial(&cid, index).unwrap();
}

#[test]
fn only_one_provider_can_lock_a_store() {
    let (_folder, store) = store();
    let other = FileStore::open(store.path()).unwrap();
    let lock = store.lock_provider().unwrap();
    let error = other.lock_provider().unwrap_err();
    assert!(
        matches!(error, StoreError::ProviderRunning { pid: Some(pid), .. } if pid == std::process::id()),
        "{error}"
    );
    assert!(error.to_string().contains("provider.lock"), "{error}");
    assert_eq!(error.failure(), Failure::Store);
    drop(lock);
    other.lock_provider().unwrap();
}

#[test]
fn the_identity_is_created_once_and_only_its_owner_can_read_it() {
    let (_folder, store) = store();
    let key = store.identity().unwrap();
    assert_eq!(FileStore::open(store.path()).unwrap().identity().unwrap().id(), key.id());
    let path = store.path().join("identity.key");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&path, "no key").unwrap();
    let error = store.identity().unwrap_err();
    assert!(matches!(error, StoreError::Identity { .. }) && error.to_string().contains("identity.key"), "{error}");
}

#[test]
fn resuming_hashes_every_chunk_and_does_not_trust_the_checkpoint() {
    let (_folder, store) = store();
    let bytes = bytes(1, 50_000);
    let (cid, index) = index_of(&bytes);
    let partial = store.partial(&cid, index.clone()).unwrap();
    data::write(&*partial, &bytes, [0, 1, 2]);
    partial.checkpoint().unwrap();
    data::write(&*partial, &bytes, [5]);
    drop(partial);
    // The saved bitmap lists chunk 1, whose bytes are made wrong. Chunk 5 was written after the checkpoint, and its
    // bytes are right. Chunk 6 was never written, and wrong bytes are put in its place.
    let part = artifact_file(&store, &cid).with_extension("part");
    flip(&part, index.chunk(ChunkIndex(1)).unwrap().offset);
    flip(&part, index.chunk(ChunkIndex(6)).unwrap().offset);
    let have: Vec<u32> = store.partial(&cid, index.clone()).unwrap().have().iter().map(|chunk| chunk.0).collect();
    assert_eq!(have, [0, 2, 5]);
    // No stored chunk is lost if the `.have` file, which holds the saved bitmap, is missing or unreadable.
    for garbage in [None, Some("garbage")] {
        let path = part.with_extension("have");
        garbage.map_or_else(|| fs::remove_file(&path), |text| fs::write(&path, text)).unwrap();
        assert_eq!(store.partial(&cid, index.clone()).unwrap().have().count(), 3);
    }
    // No stored chunk is lost if the `.part` file, which holds the chunks, has become longer.
    OpenOptions::new().write(true).open(&part).unwrap().set_len(60_000).unwrap();
    let partial = store.partial(&cid, index.clone()).unwrap();
    assert_eq!(partial.have().count(), 3);
    data::write(&*partial, &bytes, 0..index.len());
    assert_eq!(content(&*partial.finish().unwrap()), bytes);
}

#[test]
fn a_new_part_file_takes_no_disk_space_and_is_gone_after_finishing() {
    let (_folder, store) = store();
    let bytes = bytes(1, 1 << 20);
    let (cid, index) = index_of(&bytes);
    let partial = store.partial(&cid, index.clone()).unwrap();
    let part = artifact_file(&store, &cid).with_extension("part");
    let meta = fs::metadata(&part).unwrap();
    assert_eq!((meta.len(), meta.blocks()), (1 << 20, 0));
    data::write(&*partial, &bytes, 0..index.len());
    partial.checkpoint().unwrap();
    partial.finish().unwrap();
    let mut left: Vec<_> =
        fs::read_dir(store.path().join("artifacts")).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [cid.to_string(), format!("{cid}.seal")].map(std::ffi::OsString::from));
    assert_eq!(fs::read_dir(store.path().join("tmp")).unwrap().count(), 0);
}

/// A change to a file: its name, whether the file still has the right bytes when the change is made, and the function
/// that makes the change.
type Change = (&'static str, bool, fn(&Path));

const CHANGES: [Change; 5] = [
    ("touched", true, |path| {
        OpenOptions::new().write(true).open(path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    }),
    ("one bit flipped", false, |path| flip(path, 12_345)),
    ("truncated", false, |path| OpenOptions::new().write(true).open(path).unwrap().set_len(30_000).unwrap()),
    ("longer", false, |path| OpenOptions::new().write(true).open(path).unwrap().set_len(60_000).unwrap()),
    ("swapped", false, |path| {
        let other = path.with_extension("other");
        fs::write(&other, bytes(2, 50_000)).unwrap();
        fs::rename(other, path).unwrap();
    }),
];

#[test]
fn a_changed_artifact_is_not_served() {
    for (change, is_right, apply) in CHANGES {
        let (_folder, store) = store();
        let bytes = bytes(1, 50_000);
        let artifact = fetch(&store, &bytes);
        let (cid, path) = (artifact.cid(), artifact.path().unwrap());
        let mut buf = vec![0; 100];
        artifact.read_at(0, &mut buf).unwrap();
        apply(&path);
        if artifact.is_removed() {
            // Another file has the name now. The open file is the one that was verified.
            assert_eq!(content(&*artifact), bytes, "{change}");
        } else {
            let error = artifact.read_at(0, &mut buf).unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "{change}: {error}");
        }

        let opened = store.artifact(&cid);
        if is_right {
            // The store has hashed the file again, found it unchanged, and written a new seal.
            assert_eq!(content(&*opened.unwrap().unwrap()), bytes, "{change}");
            continue;
        }
        let error = opened.map(drop).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{change}: {error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{change}: {error}");
        // A new fetch repairs the artifact.
        assert_eq!(content(&*fetch(&store, &bytes)), bytes, "{change}");
        assert_eq!(content(&*store.artifact(&cid).unwrap().unwrap()), bytes, "{change}");
    }
}

#[test]
fn an_artifact_whose_file_is_removed_is_not_in_the_store() {
    let (_folder, store) = store();
    let artifact = fetch(&store, &bytes(1, 50_000));
    fs::remove_file(artifact.path().unwrap()).unwrap();
    assert!(artifact.is_removed());
    assert!(store.artifact(&artifact.cid()).unwrap().is_none());
}

#[test]
fn a_lost_or_damaged_seal_is_made_again() {
    let (_folder, store) = store();
    let bytes = bytes(1, 50_000);
    let cid = fetch(&store, &bytes).cid();
    let seal = artifact_file(&store, &cid).with_extension("seal");
    let sealed = fs::read(&seal).unwrap();
    for content in [None, Some(&b"garbage"[..]), Some(&[])] {
        content.map_or_else(|| fs::remove_file(&seal), |bytes| fs::write(&seal, bytes)).unwrap();
        assert!(store.artifact(&cid).unwrap().is_some());
        assert_eq!(fs::read(&seal).unwrap(), sealed);
    }
}

#[test]
fn the_error_names_a_damaged_block_and_the_block_can_be_replaced() {
    let (_folder, store) = store();
    let bytes = bytes(1, 50_000);
    let cid = fetch(&store, &bytes).cid();
    let path = store.path().join("blocks").join(cid.to_string());
    flip(&path, 10);
    let error = store.block(&cid).unwrap_err();
    assert!(
        matches!(error, StoreError::Damaged { .. }) && error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
    assert!(store.artifact(&cid).is_err());
    fs::remove_file(&path).unwrap();
    let error = store.artifact(&cid).map(drop).unwrap_err();
    assert!(
        matches!(error, StoreError::Damaged { .. }) && error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
    fs::write(&path, "garbage").unwrap();
    let (_, index) = index_of(&bytes);
    store.put_block(&cid, &index.encode().blocks[0].1).unwrap();
    assert_eq!(content(&*store.artifact(&cid).unwrap().unwrap()), bytes);
}

#[test]
fn damaged_refs_are_errors_and_foreign_files_are_ignored() {
    let (_folder, store) = store();
    let name = name("stable/x86_64");
    let manifest = Cid::of_block(b"manifest");
    store.put_block(&manifest, b"manifest").unwrap();
    store.set_ref(&name, &pointer(&name, manifest, 1)).unwrap();
    let refs = store.path().join("refs");
    fs::write(refs.join("README"), "").unwrap();
    fs::write(refs.join("stable/.hidden"), "").unwrap();
    fs::create_dir(refs.join("Upper Case")).unwrap();
    assert_eq!(store.names().unwrap(), std::slice::from_ref(&name));
    // A ref that is copied to another name is not accepted under that name.
    fs::create_dir(refs.join("edge")).unwrap();
    fs::copy(refs.join("stable/x86_64"), refs.join("edge/x86_64")).unwrap();
    assert!(matches!(store.pointer(&crate::data::name("edge/x86_64")), Err(StoreError::Damaged { .. })));
    fs::write(refs.join("stable/x86_64"), "garbage").unwrap();
    assert!(matches!(store.pointer(&name), Err(StoreError::Damaged { .. })));
}

#[test]
fn a_folder_or_file_that_is_not_a_store_is_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("letter.txt"), "dear").unwrap();
    let error = FileStore::open(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::NotAStore(_)), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    for path in ["letter.txt", "letter.txt/store"] {
        let error = FileStore::open(folder.path().join(path)).unwrap_err();
        assert!(matches!(error, StoreError::NotAFolder { .. }), "{error}");
        assert!(error.to_string().ends_with("letter.txt is a file, not a folder"), "{error}");
    }
}

#[test]
fn a_store_of_a_newer_format_is_refused() {
    let (_folder, store) = store();
    let format = store.path().join("format");
    assert_eq!(fs::read_to_string(&format).unwrap(), "phase-store 1\n");
    fs::write(&format, "phase-store 2\nwhatever else\n").unwrap();
    let error = FileStore::open(store.path()).unwrap_err();
    assert!(matches!(error, StoreError::NewerFormat { found: 2, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("newer version of Phase"), "{error}");
    fs::write(&format, "something else").unwrap();
    assert!(matches!(FileStore::open(store.path()), Err(StoreError::UnknownFormat(_))));
}

#[test]
fn opening_removes_temporary_files_that_are_not_in_use() {
    let (_folder, store) = store();
    let tmp = store.path().join("tmp");
    fs::write(tmp.join("left"), "").unwrap();
    fs::write(tmp.join("used"), "").unwrap();
    let used = fs::File::open(tmp.join("used")).unwrap();
    used.try_lock().unwrap();
    FileStore::open(store.path()).unwrap();
    let left: Vec<_> = fs::read_dir(&tmp).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["used"]);
}

#[test]
fn a_deleted_damaged_or_outdated_chunk_map_is_rebuilt() {
    let (_folder, store) = store();
    let (first, second) = (bytes(1, 50_000), bytes(2, 50_000));
    let gone = fetch(&store, &first);
    let kept = fetch(&store, &second);
    let digest = |artifact: &dyn phase_core::Artifact| artifact.index().chunk(ChunkIndex(3)).unwrap().digest;
    let digests = [digest(&*gone), digest(&*kept)];
    let positions = [gone.cid(), kept.cid()].map(|cid| Some((cid, ChunkIndex(3))));
    assert_eq!(store.find_chunks(&digests).unwrap(), positions);
    let map = store.path().join("chunks.redb");
    fs::remove_file(&map).unwrap();
    assert_eq!(store.find_chunks(&digests).unwrap(), positions);
    fs::write(&map, vec![7; 100_000]).unwrap();
    assert_eq!(store.find_chunks(&digests).unwrap(), positions);
    fs::remove_file(gone.path().unwrap()).unwrap();
    fs::remove_file(gone.path().unwrap().with_extension("seal")).unwrap();
    assert_eq!(store.find_chunks(&digests).unwrap(), [None, positions[1]]);
    assert_eq!(content(&*fetch(&store, &first)), first);
    assert_eq!(store.find_chunks(&digests).unwrap(), positions);
}

#[test]
fn a_changed_artifact_is_detected_although_its_modification_time_was_restored() {
    let (_folder, store) = store();
    let artifact = fetch(&store, &bytes(1, 50_000));
    let path = artifact.path().unwrap();
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    flip(&path, 12_345);
    OpenOptions::new().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    let error = store.artifact(&artifact.cid()).map(drop).unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { path: named, .. } if *named == path), "{error}");
}
