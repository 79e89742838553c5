//! Tests of the users that a store trusts: files of another user, secret files, and files outside the store.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use phase_core::store::{Damage, StoreWarning};
use phase_core::{ChunkRange, Cid, FileStore, ImportMode, ImportOptions, Store, StoreError};

use crate::data::{bytes, content, fetch, file_with, import_options, name, pointer};
use crate::fault_backend::FaultBackend;
use crate::quirks::Quirks;

const LEN: usize = 50_000;
/// A user who is neither root nor the user of these tests.
const STRANGER: u32 = 54_321;

fn reference() -> ImportOptions {
    import_options().with_mode(ImportMode::Reference)
}

fn is_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        use std::io::Write as _;
        drop(writeln!(std::io::stderr(), "SKIPPED {test}: only root can give a file to another user"));
    }
    is_root
}

fn store() -> (tempfile::TempDir, FileStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path().join("store")).unwrap();
    (folder, store)
}

fn seal(store: &FileStore, cid: &Cid) -> PathBuf {
    store.path().join("artifacts").join(format!("{cid}.seal"))
}

#[test]
fn the_seals_of_a_store_of_another_user_are_not_trusted() {
    let backend = FaultBackend::new();
    let open = || FileStore::with_backend("/store", Arc::new(backend.clone())).unwrap();
    let cid = fetch(&open(), &bytes(1, LEN)).cid();
    let is_hashed = |store: &FileStore| {
        let before = backend.bytes_read();
        store.artifact(&cid).unwrap().unwrap();
        backend.bytes_read() - before >= LEN as u64
    };
    assert!(!is_hashed(&open()));
    assert_eq!(open().warnings(), []);
    backend.set_quirks(Quirks { owner: Some(STRANGER), ..Quirks::default() });
    let store = open();
    assert!(matches!(store.warnings(), [StoreWarning::OtherOwner { owner: STRANGER, .. }]), "{:?}", store.warnings());
    assert!(is_hashed(&store), "the seal of a stranger's store is trusted");
    assert!(!is_hashed(&store), "the same process hashes the file again");
    assert!(is_hashed(&open()), "another process trusts what a stranger can have written");
    let with_state = || FileStore::with_backend_and_state("/store", "/state", Arc::new(backend.clone()));
    let error = with_state().unwrap_err();
    assert!(matches!(error, StoreError::OtherOwner { owner: STRANGER, .. }), "{error}");
}

#[test]
fn a_seal_of_another_user_is_ignored_and_a_wrong_file_is_not_served() {
    if !is_root("a_seal_of_another_user_is_ignored_and_a_wrong_file_is_not_served") {
        return;
    }
    for forged in ["seal", "artifact", "store folder"] {
        let (_folder, store) = store();
        let artifact = fetch(&store, &bytes(1, LEN));
        let (cid, file) = (artifact.cid(), artifact.path().unwrap());
        // The bytes are wrong, and the seal says that they are right. The change time is part of the forged seal.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        OpenOptions::new().write(true).open(&file).unwrap().write_all_at(b"wrong", 100).unwrap();
        match forged {
            "artifact" => chown(&file, Some(STRANGER), None).unwrap(),
            "store folder" => chown(store.path(), Some(STRANGER), None).unwrap(),
            _ => {}
        }
        forge_seal(&store, &cid, &file);
        if forged == "seal" {
            chown(seal(&store, &cid), Some(STRANGER), None).unwrap();
        }
        let error = FileStore::open(store.path()).unwrap().artifact(&cid).map(drop).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{forged}: {error}");
        assert!(error.to_string().contains(file.to_str().unwrap()), "{forged}: {error}");
    }
}

/// Writes a seal that says that the file was verified in its present state.
fn forge_seal(store: &FileStore, cid: &Cid, file: &Path) {
    forge(store, cid, file, false);
}

fn forge(store: &FileStore, cid: &Cid, file: &Path, is_reference: bool) {
    use std::os::unix::ffi::OsStrExt as _;
    let meta = fs::metadata(file).unwrap();
    let ns = |seconds: i64, rest: i64| serde_value(seconds * 1_000_000_000 + rest);
    let mut fields = vec![
        ("v", serde_value(1)),
        ("size", serde_value(meta.len() as i64)),
        ("inode", serde_value(meta.ino() as i64)),
        ("ctime_ns", ns(meta.ctime(), meta.ctime_nsec())),
        ("mtime_ns", ns(meta.mtime(), meta.mtime_nsec())),
    ];
    if is_reference {
        fields.push(("path", ciborium::Value::Bytes(file.as_os_str().as_bytes().to_vec())));
    }
    // DAG-CBOR sorts keys by their length, then by their bytes.
    fields.sort_by_key(|(key, _)| (key.len(), *key));
    let map = fields.into_iter().map(|(key, value)| (ciborium::Value::Text(key.to_owned()), value)).collect();
    let mut out = Vec::new();
    ciborium::into_writer(&ciborium::Value::Map(map), &mut out).unwrap();
    fs::write(seal(store, cid), out).unwrap();
}

fn serde_value(number: i64) -> ciborium::Value {
    ciborium::Value::Integer(number.into())
}

#[test]
fn a_forged_seal_does_not_make_the_store_open_a_file_that_its_author_does_not_own() {
    if !is_root("a_forged_seal_does_not_make_the_store_open_a_file_that_its_author_does_not_own") {
        return;
    }
    let (folder, store) = store();
    let secret = folder.path().join("shadow");
    fs::write(&secret, bytes(1, LEN)).unwrap();
    let artifact = fetch(&store, &bytes(1, LEN));
    let cid = artifact.cid();
    fs::remove_file(artifact.path().unwrap()).unwrap();
    forge(&store, &cid, &secret, true);
    chown(seal(&store, &cid), Some(STRANGER), None).unwrap();
    let open = || FileStore::open(store.path()).unwrap().artifact(&cid);
    let error = open().map(drop).unwrap_err();
    assert!(
        matches!(&error, StoreError::Damaged { damage, .. }
            if matches!(**damage, Damage::ForeignReference { importer: STRANGER, .. })),
        "{error}"
    );
    // Users can share what they own. The file is hashed, whatever the seal says.
    chown(&secret, Some(STRANGER), None).unwrap();
    assert_eq!(content(&*open().unwrap().unwrap()), bytes(1, LEN));
    fs::write(&secret, bytes(2, LEN)).unwrap();
    forge(&store, &cid, &secret, true);
    assert!(matches!(open(), Err(StoreError::Damaged { .. })));
}

#[test]
fn a_reference_leads_only_to_the_file_that_was_named_at_its_import() {
    let (_store_folder, store) = store();
    let bytes = bytes(1, LEN);
    let (folder, path) = file_with(&bytes);
    let folder_path = folder.path().canonicalize().unwrap();
    let link = folder_path.join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    // The user names a link. The store remembers the file to which the link leads at that time.
    let artifact = store.import(&link, &reference(), &mut |_| {}).unwrap();
    assert_eq!(artifact.path().unwrap(), path.canonicalize().unwrap());
    let cid = artifact.cid();
    fs::remove_file(&link).unwrap();
    assert!(store.artifact(&cid).unwrap().is_some());
    // A link in the place of the file or of a folder above it is not followed.
    let moved = folder_path.join("moved");
    fs::rename(&path, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &path).unwrap();
    let error = store.artifact(&cid).map(drop).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    // A pipe in its place does not make the store wait.
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o644), 0)
        .unwrap();
    assert!(matches!(store.artifact(&cid), Err(StoreError::Damaged { .. })));
    fs::remove_file(&path).unwrap();
    fs::rename(&moved, &path).unwrap();
    assert_eq!(content(&*store.artifact(&cid).unwrap().unwrap()), bytes);
}

#[test]
fn every_chunk_of_a_reference_is_hashed_before_it_is_sent() {
    let (_store_folder, store) = store();
    let bytes = bytes(1, LEN);
    let (_folder, path) = file_with(&bytes);
    let artifact = store.import(&path, &reference(), &mut |_| {}).unwrap();
    let all = ChunkRange { start: 0, end: artifact.index().len() };
    let mut buf = vec![0; LEN];
    artifact.read_chunks(all, &mut buf).unwrap();
    assert_eq!(buf, bytes);
    // A seal that was made of a wrong file stands for a write through a memory mapping: the state of the file says
    // nothing about it.
    let cid = artifact.cid();
    OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"wrong", 20_000).unwrap();
    forge(&store, &cid, &path.canonicalize().unwrap(), true);
    let opened = FileStore::open(store.path()).unwrap().artifact(&cid).unwrap().unwrap();
    let wrong = opened.index().covering(phase_core::ByteRange { start: 20_000, end: 20_001 }).unwrap();
    let error = opened.read_chunks(all, &mut buf).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }) && error.to_string().contains("source"), "{error}");
    let before = ChunkRange { start: 0, end: wrong.start };
    let len = opened.index().byte_range(before).unwrap().len() as usize;
    opened.read_chunks(before, &mut buf[..len]).unwrap();
}

#[test]
fn a_wrong_reference_is_hashed_once_and_not_for_every_request() {
    let (_store_folder, store) = store();
    let (_folder, path) = file_with(&bytes(1, 20 << 20));
    let cid =
        store.import(&path, &ImportOptions::default().with_mode(ImportMode::Reference), &mut |_| {}).unwrap().cid();
    OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"wrong", (20 << 20) - 10).unwrap();
    let accessed = || read_bytes();
    let mut costs = Vec::new();
    for _ in 0..3 {
        let before = accessed();
        assert!(matches!(store.artifact(&cid), Err(StoreError::Damaged { .. })));
        costs.push(accessed() - before);
    }
    assert!(costs[0] >= 20 << 20, "{costs:?}");
    assert!(costs[1] < 10 << 20 && costs[2] < 10 << 20, "{costs:?}");
}

/// Returns the number of bytes that this thread has read.
fn read_bytes() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/io").unwrap();
    text.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

#[test]
fn a_key_that_other_users_can_read_or_own_is_refused_by_name() {
    let (_folder, store) = store();
    store.identity().unwrap();
    let path = store.path().join("identity.key");
    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = store.identity().map(drop).unwrap_err();
        assert!(matches!(error, StoreError::OpenToOthers { .. }), "{error}");
        assert!(error.to_string().contains("identity.key") && error.to_string().contains("chmod"), "{error}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    store.identity().unwrap();
    if is_root("a_key_that_other_users_can_read_or_own_is_refused_by_name") {
        chown(&path, Some(STRANGER), None).unwrap();
        let error = store.identity().map(drop).unwrap_err();
        assert!(matches!(error, StoreError::OtherOwner { owner: STRANGER, .. }), "{error}");
        assert!(error.to_string().contains("identity.key"), "{error}");
    }
}

#[test]
fn files_of_a_store_that_is_shared_with_a_group_have_the_permissions_of_its_folder() {
    for (folder_mode, file_mode, sub_folder_mode) in [(0o2770, 0o660, 0o2770), (0o2750, 0o640, 0o2750)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(folder_mode)).unwrap();
        let store = FileStore::open(&path).unwrap();
        let artifact = fetch(&store, &bytes(1, LEN));
        let (_source_folder, source) = file_with(&bytes(2, LEN));
        store.import(&source, &import_options(), &mut |_| {}).unwrap();
        let name = name("stable/x86_64");
        let manifest = Cid::of_block(b"manifest");
        store.put_block(&manifest, b"manifest").unwrap();
        store.set_ref(&name, &pointer(&name, manifest, 1)).unwrap();
        store.identity().unwrap();
        drop(store.lock_provider().unwrap());
        let mode = |name: &str| fs::metadata(path.join(name)).unwrap().mode() & 0o7777;
        for folder in ["artifacts", "blocks", "refs", "refs/stable", "tmp"] {
            assert_eq!(mode(folder), sub_folder_mode, "{folder}");
        }
        for file in ["format", "store.lock", "provider.lock", "refs/stable/x86_64", &format!("blocks/{manifest}")] {
            assert_eq!(mode(file), file_mode, "{file}");
        }
        let cid = artifact.cid();
        assert_eq!(mode(&format!("artifacts/{cid}")), file_mode & !0o222);
        assert_eq!(mode("identity.key"), 0o600);
    }
}
