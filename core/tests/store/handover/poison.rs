//! For each file that a store can hold: one byte changed, the end cut off, exchanged for another file of its kind, or
//! replaced by a symbolic link. Whatever is handed over or served after that is what was published.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use phase_core::handover::{HandoverError, Mode, Target, export};
use phase_core::manifest::ArtifactEntry;
use phase_core::{ChunkIndex, Cid, FileStore, ImportMode, Store, StoreError};

use super::{entry, files};
use crate::data::{bytes, content, fetch, file_with, import_options, index_of, name, pointer};

const MANIFEST: &[u8] = b"manifest";

#[derive(Clone, Copy, Debug)]
enum Poison {
    Flip,
    Truncate,
    Empty,
    Swap,
    Link,
    Folder,
}

/// A store with every kind of file: two artifacts that were fetched, one that was imported by reference, a partial
/// artifact, blocks, a ref, an identity and a chunk map.
struct Poisoned {
    folder: tempfile::TempDir,
    source: (tempfile::TempDir, PathBuf),
    contents: Vec<(Cid, Vec<u8>)>,
    entries: Vec<ArtifactEntry>,
}

impl Poisoned {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::open(folder.path().join("store")).unwrap();
        let source = file_with(&bytes(3, 50_000));
        let options = import_options().with_mode(ImportMode::Reference);
        let artifacts = [
            fetch(&store, &bytes(1, 50_000)),
            fetch(&store, &bytes(2, 50_000)),
            store.import(&source.1, &options, &mut |_| {}).unwrap(),
        ];
        let contents = artifacts.iter().map(|artifact| (artifact.cid(), content(&**artifact))).collect();
        let named = artifacts.iter().zip(["a", "b", "c"]);
        let entries = named.map(|(artifact, name)| entry(name, &**artifact)).collect();
        let manifest = Cid::of_block(MANIFEST);
        store.put_block(&manifest, MANIFEST).unwrap();
        store.set_ref(&name("stable/a"), &pointer(&name("stable/a"), manifest, 1)).unwrap();
        store.set_ref(&name("stable/b"), &pointer(&name("stable/b"), manifest, 1)).unwrap();
        store.identity().unwrap();
        store.find_chunks(&[artifacts[0].index().chunk(ChunkIndex(0)).unwrap().digest]).unwrap();
        let (cid, index) = index_of(&bytes(4, 50_000));
        let partial = store.partial(&cid, index).unwrap();
        crate::data::write(&*partial, &bytes(4, 50_000), [0, 1, 2]);
        partial.checkpoint().unwrap();
        Self { folder, source, contents, entries }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Returns every file of the store, and the file that was imported by reference.
    fn all(&self) -> Vec<PathBuf> {
        let mut all: Vec<_> = files(&self.store()).into_keys().map(|file| self.store().join(file)).collect();
        all.push(self.source.1.clone());
        all
    }

    /// Uses the store in every way. Each result is right or an error.
    fn check(&self, poisoned: &Path, context: &str) {
        let store = match FileStore::open(self.store()) {
            Ok(store) => store,
            Err(error) => return check_names(&error, poisoned, context),
        };
        for (cid, expected) in &self.contents {
            match store.artifact(cid) {
                Ok(Some(artifact)) => match crate::data::try_content(&*artifact) {
                    Ok(served) => assert!(served == *expected, "{context}: wrong bytes are served"),
                    Err(error) => check_names(&error, poisoned, context),
                },
                Ok(None) => {}
                Err(error) => check_names(&error, poisoned, context),
            }
        }
        for entry in &self.entries {
            self.check_export(&store, entry, poisoned, context);
        }
        let (cid, index) = index_of(&bytes(4, 50_000));
        if let Ok(partial) = store.partial(&cid, index.clone()) {
            for chunk in partial.have().iter() {
                let expected = crate::data::chunk(&bytes(4, 50_000), &index, chunk.0).to_vec();
                let mut read = vec![0; expected.len()];
                partial.read_at(index.chunk(chunk).unwrap().offset, &mut read).unwrap();
                assert!(read == expected, "{context}: a chunk of the partial artifact is wrong");
            }
        }
        for name in [name("stable/a"), name("stable/b")] {
            if let Ok(Some(found)) = store.pointer(&name) {
                assert_eq!(found, pointer(&name, Cid::of_block(MANIFEST), 1), "{context}");
            }
        }
        let _ = (store.names(), store.identity(), store.block(&Cid::of_block(MANIFEST)));
        self.check_import(&store, poisoned, context);
        self.check_repair(&store, context);
    }

    /// Publishes the content of the first artifact again. The import is right, or an error.
    fn check_import(&self, store: &FileStore, poisoned: &Path, context: &str) {
        let (_folder, source) = file_with(&self.contents[0].1);
        match store.import(&source, &import_options(), &mut |_| {}) {
            Ok(artifact) => assert!(content(&*artifact) == self.contents[0].1, "{context}: a wrong import"),
            Err(error) => check_names(&error, poisoned, context),
        }
    }

    fn check_export(&self, store: &FileStore, entry: &ArtifactEntry, poisoned: &Path, context: &str) {
        let out = self.folder.path().join("out");
        let _ = fs::remove_dir_all(&out);
        match export(store, std::slice::from_ref(entry), &Target::Folder(out.clone()), Mode::Copy) {
            Ok(()) => {
                let expected = &self.contents.iter().find(|(cid, _)| *cid == entry.cid).unwrap().1;
                let found = files(&out);
                assert!(found[entry.filename.as_str()] == *expected, "{context}: wrong bytes are handed over");
            }
            Err(HandoverError::Damaged { source, .. }) => check_names(&source, poisoned, context),
            Err(HandoverError::Store(error)) => check_names(&error, poisoned, context),
            Err(HandoverError::Missing { .. }) => {}
            Err(error) => panic!("{context}: {error}"),
        }
        assert!(!out.exists() || files(&out).len() == 1, "{context}");
    }

    /// Sets damaged artifacts aside and fetches them again. Everything is right then.
    fn check_repair(&self, store: &FileStore, context: &str) {
        for (cid, expected) in &self.contents {
            let (_, index) = index_of(expected);
            for block in index.encode().blocks {
                let _ = store.put_block(&block.0, &block.1);
            }
            if store.set_aside(cid).is_err() || matches!(store.artifact(cid), Ok(Some(_))) {
                continue;
            }
            if let Ok(partial) = store.partial(cid, index.clone()) {
                let missing: Vec<_> = partial.have().iter_missing().map(|chunk| chunk.0).collect();
                crate::data::write(&*partial, expected, missing);
                let artifact = partial.finish().unwrap_or_else(|error| panic!("{context}: {error}"));
                assert!(content(&*artifact) == *expected, "{context}");
            }
        }
    }
}

/// Fails if an error about damage does not name the poisoned file, the artifact, or a file beside it.
fn check_names(error: &StoreError, poisoned: &Path, context: &str) {
    let stem = poisoned.file_name().unwrap().to_str().unwrap().split('.').next().unwrap();
    let text = error.to_string();
    assert!(text.contains(stem) || text.contains(poisoned.to_str().unwrap()), "{context}: {text}");
}

fn poison(path: &Path, with: Poison, all: &[PathBuf]) -> bool {
    let content = fs::read(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    match with {
        Poison::Flip if !content.is_empty() => {
            let mut changed = content.clone();
            changed[content.len() / 2] ^= 1;
            fs::write(path, changed).unwrap();
        }
        Poison::Truncate if content.len() > 1 => fs::write(path, &content[..content.len() / 2]).unwrap(),
        Poison::Empty if !content.is_empty() => fs::write(path, "").unwrap(),
        Poison::Swap => {
            let is_alike = |other: &&PathBuf| {
                *other != path && other.parent() == path.parent() && other.extension() == path.extension()
            };
            let Some(other) = all.iter().find(is_alike) else { return false };
            fs::copy(other, path).unwrap();
        }
        Poison::Link => {
            fs::remove_file(path).unwrap();
            symlink("/etc/passwd", path).unwrap();
            return true;
        }
        Poison::Folder => {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
            return true;
        }
        _ => return false,
    }
    fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
    true
}

#[test]
fn whatever_is_damaged_in_a_store_no_wrong_byte_is_handed_over_or_served() {
    let count = Poisoned::new().all().len();
    let mut runs = 0;
    for position in 0..count {
        for with in [Poison::Flip, Poison::Truncate, Poison::Empty, Poison::Swap, Poison::Link, Poison::Folder] {
            let poisoned = Poisoned::new();
            let all = poisoned.all();
            let path = &all[position];
            if !poison(path, with, &all) {
                continue;
            }
            runs += 1;
            poisoned.check(path, &format!("{with:?} of {}", path.display()));
        }
    }
    println!("{runs} poisoned stores");
    assert!(runs > 60, "{runs}");
}
