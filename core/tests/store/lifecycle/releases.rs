//! Releases for the tests.

use phase_core::store::{Goal, Prune, Removal};
use phase_core::{ArtifactEntry, Cid, Envelope, FileStore, Manifest, Pointer, Role, SigningKey, Store};

use crate::data::{content, fetch, index_of, name};

/// The current time in the tests, in seconds. It is long after everything in the stores on a simulated disk, and long
/// before everything in the stores on a real disk.
pub(crate) const LATER: u64 = 1_000_000;

/// A release that a test has stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) manifest: Cid,
    pub(crate) files: Vec<Vec<u8>>,
}

impl Stored {
    /// Returns the CID of the file at a position.
    pub(crate) fn cid(&self, position: usize) -> Cid {
        index_of(&self.files[position]).0
    }

    /// Asserts that the store has the whole release with the right bytes.
    pub(crate) fn assert_whole(&self, store: &FileStore, context: &str) {
        assert!(store.block(&self.manifest).unwrap().is_some(), "{context}: a manifest is lost");
        for bytes in &self.files {
            let artifact = store.artifact(&index_of(bytes).0).unwrap();
            let artifact = artifact.unwrap_or_else(|| panic!("{context}: an artifact is lost"));
            assert!(content(&*artifact) == *bytes, "{context}: an artifact has wrong bytes");
        }
    }
}

/// Stores the artifacts and the manifest of a release, without a ref.
pub(crate) fn store_release(store: &FileStore, of: &str, version: u64, files: &[Vec<u8>]) -> Stored {
    for bytes in files {
        if store.artifact(&index_of(bytes).0).unwrap().is_none() {
            fetch(store, bytes);
        }
    }
    let manifest = envelope(of, version, files);
    store.put_block(&manifest.cid(), &manifest.encode()).unwrap();
    Stored { manifest: manifest.cid(), files: files.to_vec() }
}

/// Returns the signed manifest of a release.
pub(crate) fn envelope(of: &str, version: u64, files: &[Vec<u8>]) -> Envelope {
    let entries = files.iter().enumerate().map(|(position, bytes)| {
        let (cid, index) = index_of(bytes);
        let filename = format!("file-{position}").parse().unwrap();
        ArtifactEntry::new(Role::FILE.parse().unwrap(), filename, cid, &index)
    });
    let manifest = Manifest::new(&name(of), version, version, version + 10, entries.collect());
    Envelope::signed(&manifest, [&SigningKey::from_secret_bytes(&[1; 32])]).unwrap()
}

/// Stores a release, and makes it current.
pub(crate) fn publish(store: &FileStore, of: &str, version: u64, files: &[Vec<u8>]) -> Stored {
    let stored = store_release(store, of, version, files);
    set_ref(store, of, &stored, version);
    stored
}

pub(crate) fn set_ref(store: &FileStore, of: &str, stored: &Stored, version: u64) {
    let manifest = store.manifest(&stored.manifest).unwrap().unwrap();
    let pointer = Pointer::to(&manifest, stored.manifest, version);
    let pointer = Envelope::signed(&pointer, [&SigningKey::from_secret_bytes(&[1; 32])]).unwrap();
    store.set_ref(&name(of), &pointer).unwrap();
}

/// A removal at a time at which everything in the store is old.
pub(crate) fn removal(goal: Goal) -> Removal {
    Removal::new(goal, LATER)
}

pub(crate) fn keep(count: u32) -> Goal {
    Goal::Prune(Prune { keep: Some(count), max_bytes: None })
}

/// Returns the names and versions of the releases in a store.
pub(crate) fn versions(store: &FileStore) -> Vec<String> {
    store.releases().unwrap().iter().map(ToString::to_string).collect()
}
