//! Tests of what can be imported: sparse files, pipes, and files that change while they are read.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use phase_core::store::Shortage;
use phase_core::store::backend::Backend;
use phase_core::{FileStore, ImportMode, ImportOptions, MemStore, Store, StoreError};

use crate::data::{bytes, content, import_options, index_of};
use crate::fault_backend::FaultBackend;

fn store() -> (tempfile::TempDir, FileStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path().join("store")).unwrap();
    (folder, store)
}

fn pipe(folder: &Path) -> PathBuf {
    let path = folder.join("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    path
}

/// Imports a named pipe while another thread writes `parts` to it.
fn import_pipe(store: &dyn Store, options: &ImportOptions, parts: &[&[u8]]) -> Result<Vec<u8>, StoreError> {
    let folder = tempfile::tempdir().unwrap();
    let path = pipe(folder.path());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut pipe = OpenOptions::new().write(true).open(&path).unwrap();
            // The import may end early. The pipe is closed then.
            let _ = parts.iter().try_for_each(|part| pipe.write_all(part));
        });
        let artifact = store.import(&path, options, &mut |_| {})?;
        Ok(content(&*artifact))
    })
}

/// Makes a file with data at the start, in the middle and at the end of holes. Returns its path and its content.
fn sparse_file(folder: &Path) -> (PathBuf, Vec<u8>) {
    let path = folder.join("sparse");
    let mut content = vec![0; 24 << 20];
    let file = File::create(&path).unwrap();
    file.set_len(content.len() as u64).unwrap();
    for (seed, offset, len) in [(1, 0, 10), (2, (8 << 20) + 5, 300_000), (3, 20 << 20, 4096)] {
        let data = bytes(seed, len);
        file.write_all_at(&data, offset as u64).unwrap();
        content[offset..offset + len].copy_from_slice(&data);
    }
    (path, content)
}

fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn the_holes_of_a_file_are_holes_in_the_store() {
    let (folder, store) = store();
    let (path, expected) = sparse_file(folder.path());
    let artifact = store.import(&path, &import_options(), &mut |_| {}).unwrap();
    assert!(content(&*artifact) == expected);
    assert_eq!(artifact.cid(), index_of(&expected).0, "holes have the same index as zeros");
    let copy = artifact.path().unwrap();
    assert_eq!(fs::metadata(&copy).unwrap().len(), expected.len() as u64);
    assert!(allocated(&copy) < 1 << 20, "{} bytes are allocated", allocated(&copy));
    assert!(allocated(&path) < 1 << 20, "this file system has no holes, so the test shows nothing");
}

#[test]
fn a_file_that_is_too_long_for_an_index_is_refused_before_it_is_read() {
    let (folder, store) = store();
    let path = folder.path().join("sparse");
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let error = store.import(&path, &import_options(), &mut |_| panic!("the file is read")).map(drop).unwrap_err();
    assert!(matches!(error, StoreError::NoIndex { .. }), "{error}");
}

#[test]
fn zeros_that_come_through_a_pipe_are_holes_in_the_store() {
    let (_folder, store) = store();
    let (first, last, zeros) = (bytes(1, 5_000), bytes(2, 5_000), vec![0; 16 << 20]);
    let expected = [&first[..], &zeros, &last, &zeros].concat();
    let actual = import_pipe(&store, &import_options(), &[&first, &zeros, &last, &zeros]).unwrap();
    assert!(actual == expected);
    let copy = store.path().join("artifacts").join(index_of(&expected).0.to_string());
    assert_eq!(fs::metadata(&copy).unwrap().len(), expected.len() as u64);
    assert!(allocated(&copy) < 1 << 20, "{} bytes are allocated", allocated(&copy));
}

#[test]
fn a_pipe_can_be_imported_but_not_by_reference() {
    let (_folder, store) = store();
    let bytes = bytes(1, 3 << 20);
    assert!(import_pipe(&store, &import_options(), &[&bytes]).unwrap() == bytes);
    assert!(import_pipe(&MemStore::new(), &import_options(), &[&bytes]).unwrap() == bytes);
    assert!(import_pipe(&store, &import_options(), &[]).unwrap().is_empty());
    let error = import_pipe(&store, &import_options().with_mode(ImportMode::Reference), &[&bytes]).unwrap_err();
    assert!(matches!(error, StoreError::NotByReference(_)), "{error}");
}

#[test]
fn an_endless_pipe_ends_at_the_free_space_with_both_figures() {
    let backend = FaultBackend::new();
    let store = FileStore::with_backend("/store", Arc::new(backend.clone())).unwrap();
    backend.set_available(3 << 20);
    let bytes = bytes(1, 1 << 20);
    let error = import_pipe(&store, &import_options(), &[&bytes[..]; 100]).unwrap_err();
    assert!(matches!(error, StoreError::DoesNotFit { shortage: Shortage::Endless { .. }, .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("has not ended after") && message.contains("3.0 MiB can be used"), "{message}");
    assert_eq!(backend.read_dir(Path::new("/store/tmp")).unwrap(), Vec::<String>::new());
}

#[test]
fn endless_devices_and_sockets_are_refused_by_name() {
    let (folder, store) = store();
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (path, what) in [(Path::new("/dev/zero"), "a character device"), (&*socket, "a socket")] {
        let error = store.import(path, &import_options(), &mut |_| {}).map(drop).unwrap_err();
        assert!(matches!(error, StoreError::NotImportable { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(what) && message.contains(path.to_str().unwrap()), "{message}");
    }
}

#[test]
fn a_file_whose_modification_time_was_restored_after_a_change_is_refused() {
    for options in [import_options(), import_options().with_mode(ImportMode::Reference)] {
        let (folder, store) = store();
        let path = folder.path().join("source");
        fs::write(&path, bytes(1, 20 << 20)).unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let mut is_changed = false;
        let result = store.import(&path, &options, &mut |_| {
            if !std::mem::replace(&mut is_changed, true) {
                let file = OpenOptions::new().write(true).open(&path).unwrap();
                file.write_all_at(b"changed", 0).unwrap();
                file.set_modified(modified).unwrap();
            }
        });
        let error = result.map(drop).unwrap_err();
        assert!(matches!(error, StoreError::SourceChanged(_)), "{error}");
        assert_eq!(fs::read_dir(store.path().join("artifacts")).unwrap().count(), 0);
    }
}

#[test]
fn files_that_fit_one_by_one_and_not_together_are_refused_before_the_first_byte() {
    let backend = FaultBackend::new();
    let store = FileStore::with_backend("/store", Arc::new(backend.clone())).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<_> = (0..5)
        .map(|number| {
            let path = folder.path().join(format!("file-{number}"));
            fs::write(&path, bytes(number, 300_000)).unwrap();
            phase_core::ReleaseFile::new("file".parse().unwrap(), format!("{number}").parse().unwrap(), path).unwrap()
        })
        .collect();
    let name = crate::data::name("stable/any");
    let draft = phase_core::Draft::new(&name, files, 1, 2);
    backend.set_available(1 << 20);
    let error = draft.import(&store, 1, &mut |_| panic!("a file is read")).unwrap_err();
    assert!(matches!(error, StoreError::DoesNotFit { shortage: Shortage::Bytes { .. }, .. }), "{error}");
    backend.set_available(2 << 20);
    draft.import(&store, 1, &mut |_| {}).unwrap();
    // The store has the files now, so publishing them again needs only the space of one copy.
    backend.set_available(400_000);
    draft.import(&store, 2, &mut |_| {}).unwrap();
}

#[test]
fn a_file_system_out_of_inodes_says_so() {
    let backend = FaultBackend::new();
    let store = FileStore::with_backend("/store", Arc::new(backend.clone())).unwrap();
    backend.set_available(1 << 30);
    backend.set_free_files(0);
    let operation = backend.operations() + 1;
    backend.inject(operation, crate::fault_backend::Fault::Fail(std::io::ErrorKind::StorageFull));
    let error = store.put_block(&phase_core::Cid::of_block(b"block"), b"block").unwrap_err();
    assert!(error.to_string().contains("out of inodes"), "{error}");
}

/// The variable that is set in the process in which a test uses up all file descriptors. Other tests need a process in
/// which files can be opened.
const WITHOUT_DESCRIPTORS: &str = "PHASE_TEST_WITHOUT_DESCRIPTORS";

#[test]
fn too_many_open_files_are_never_taken_for_damage() {
    if std::env::var_os(WITHOUT_DESCRIPTORS).is_some() {
        return use_up_all_descriptors();
    }
    let test = "inputs::too_many_open_files_are_never_taken_for_damage";
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).env(WITHOUT_DESCRIPTORS, "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn use_up_all_descriptors() {
    let (folder, store) = store();
    let limit = rustix::process::Rlimit { current: Some(64), maximum: Some(64) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    let path = folder.path().join("source");
    for (seed, mode) in [(1, ImportMode::Copy), (2, ImportMode::Reference)] {
        fs::write(&path, bytes(seed, 50_000)).unwrap();
        let cid = store.import(&path, &import_options().with_mode(mode), &mut |_| {}).unwrap().cid();
        let mut held: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        // Descriptors become free one by one, until the store can open the artifact.
        let mut failed = 0;
        while let Err(error) = store.artifact(&cid) {
            assert!(error.is_temporary(), "{mode:?}: {error:?}");
            failed += 1;
            held.pop().unwrap();
        }
        assert!(failed > 0);
        drop(held);
        assert!(store.artifact(&cid).unwrap().is_some());
    }
}
