//! Tests of imports of files into the store on disk.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};

use phase_core::{FileStore, ImportMode, ImportOptions, Store, StoreError};

use crate::data::{self, bytes, content, file_with, import_options, index_of};

fn store() -> (tempfile::TempDir, FileStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path().join("store")).unwrap();
    (folder, store)
}

fn reference() -> ImportOptions {
    import_options().with_mode(ImportMode::Reference)
}

#[test]
fn an_artifact_by_reference_is_read_from_the_original_file() {
    let (_store_folder, store) = store();
    let bytes = bytes(1, 50_000);
    let (_folder, path) = file_with(&bytes);
    let artifact = store.import(&path, &reference(), &mut |_| {}).unwrap();
    assert_eq!(artifact.path().as_deref(), Some(&*path));
    assert!(!store.path().join("artifacts").join(artifact.cid().to_string()).exists());
    assert_eq!(content(&*store.artifact(&artifact.cid()).unwrap().unwrap()), bytes);
}

#[test]
fn a_changed_file_is_an_error_until_its_bytes_are_back() {
    let changes: [fn(&std::path::Path); 4] = [
        |path| fs::write(path, bytes(2, 50_000)).unwrap(),
        |path| OpenOptions::new().write(true).open(path).unwrap().set_len(49_999).unwrap(),
        |path| fs::remove_file(path).unwrap(),
        |path| {
            // Replace the file with another one of the same length and modification time.
            let modified = fs::metadata(path).unwrap().modified().unwrap();
            let other = path.with_extension("other");
            fs::write(&other, bytes(2, 50_000)).unwrap();
            OpenOptions::new().write(true).open(&other).unwrap().set_modified(modified).unwrap();
            fs::rename(other, path).unwrap();
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let (_store_folder, store) = store();
        let bytes = bytes(1, 50_000);
        let (_folder, path) = file_with(&bytes);
        let artifact = store.import(&path, &reference(), &mut |_| {}).unwrap();
        let cid = artifact.cid();
        let seal = store.path().join("artifacts").join(format!("{cid}.seal"));
        change(&path);
        let error = artifact.read_at(0, &mut [0; 10]).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{number}: {error}");
        let error = store.artifact(&cid).map(drop).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{number}: {error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{number}: {error}");

        // The file is hashed again, because its state is not that in the seal. It then gets a new seal.
        fs::write(&path, &bytes).unwrap();
        let before = fs::read(&seal).unwrap();
        assert_eq!(content(&*store.artifact(&cid).unwrap().unwrap()), bytes, "{number}");
        assert_ne!(fs::read(&seal).unwrap(), before, "{number}");
        store.import(&path, &reference(), &mut |_| {}).unwrap();
        assert_eq!(content(&*store.artifact(&cid).unwrap().unwrap()), bytes, "{number}");
    }
}

#[test]
fn a_copy_replaces_a_reference_but_a_reference_never_replaces_a_copy() {
    let (_store_folder, store) = store();
    let bytes = bytes(1, 50_000);
    let (_folder, path) = file_with(&bytes);
    store.import(&path, &reference(), &mut |_| {}).unwrap();
    let copy = store.import(&path, &import_options(), &mut |_| {}).unwrap();
    assert!(copy.path().unwrap().starts_with(store.path()));
    let again = store.import(&path, &reference(), &mut |_| {}).unwrap();
    assert!(again.path().unwrap().starts_with(store.path()));
    fs::remove_file(&path).unwrap();
    assert_eq!(content(&*store.artifact(&copy.cid()).unwrap().unwrap()), bytes);
}

#[test]
fn importing_repairs_a_damaged_artifact() {
    for options in [import_options(), reference()] {
        let (_store_folder, store) = store();
        let bytes = bytes(1, 50_000);
        let (_folder, path) = file_with(&bytes);
        let cid = data::fetch(&store, &bytes).cid();
        fs::write(store.path().join("artifacts").join(cid.to_string()), "garbage").unwrap();
        assert!(store.artifact(&cid).is_err());
        store.import(&path, &options, &mut |_| {}).unwrap();
        assert_eq!(content(&*store.artifact(&cid).unwrap().unwrap()), bytes);
    }
}

#[test]
fn a_source_that_changes_during_its_import_is_an_error() {
    let changes: [fn(&mut fs::File); 3] = [
        |file| {
            file.seek(SeekFrom::Start(10)).unwrap();
            file.write_all(b"x").unwrap();
        },
        |file| {
            file.seek(SeekFrom::End(0)).unwrap();
            file.write_all(&bytes(3, 8 << 20)).unwrap();
        },
        |file| file.set_len(5 << 20).unwrap(),
    ];
    for options in [import_options(), reference()] {
        for change in changes {
            let (_store_folder, store) = store();
            // The file is longer than one read, so the change happens in the middle of the import.
            let (_folder, path) = file_with(&bytes(1, 20 << 20));
            let mut file = Some(OpenOptions::new().write(true).open(&path).unwrap());
            let result = store.import(&path, &options, &mut |_| {
                if let Some(mut file) = file.take() {
                    change(&mut file);
                }
            });
            let error = result.map(drop).unwrap_err();
            assert!(matches!(error, StoreError::SourceChanged(_)), "{error}");
            assert_eq!(fs::read_dir(store.path().join("artifacts")).unwrap().count(), 0);
            assert_eq!(fs::read_dir(store.path().join("tmp")).unwrap().count(), 0);
        }
    }
}

#[test]
fn a_large_file_has_the_same_index_as_its_bytes_in_memory() {
    let (_store_folder, store) = store();
    let bytes = bytes(5, (17 << 20) + 123);
    let (_folder, path) = file_with(&bytes);
    let mut last = 0;
    let artifact = store
        .import(&path, &import_options(), &mut |read| {
            assert!(read > last);
            last = read;
        })
        .unwrap();
    assert_eq!(last, bytes.len() as u64);
    let (cid, index) = index_of(&bytes);
    assert_eq!((artifact.cid(), artifact.index()), (cid, &index));
    assert_eq!(content(&*artifact), bytes);
}
