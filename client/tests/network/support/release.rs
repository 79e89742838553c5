//! A publisher with two keys, both of which must sign, and what it publishes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use phase_client::Trust;
use phase_core::{
    Artifact, ArtifactEntry, ChunkerParams, Cid, Envelope, FileStore, ImportOptions, Manifest, Name, Pointer,
    SigningKey, Store, TrustRoot, TrustedTime,
};

/// When the tests take place.
pub(crate) const NOW: u64 = 1_000;
const ISSUED: u64 = 500;
pub(crate) const EXPIRES: u64 = 5_000;

/// Who signs for the channels `stable` and `edge`.
pub(crate) struct Publisher {
    pub(crate) keys: [SigningKey; 2],
    pub(crate) trust: Trust,
}

/// A signed release.
#[derive(Clone)]
pub(crate) struct Release {
    pub(crate) manifest: Manifest,
    pub(crate) envelope: Envelope,
    pub(crate) pointer: Envelope,
}

impl Publisher {
    pub(crate) fn new() -> Self {
        let keys = [1, 2].map(|seed| SigningKey::from_secret_bytes(&[seed; 32]));
        let channels = ["stable", "edge"].map(|channel| channel.parse().unwrap());
        let mut root = TrustRoot::of_one_key(keys[0].public(), channels, ISSUED, EXPIRES);
        root.keys.insert(keys[1].id(), keys[1].public());
        for role in root.channels.values_mut() {
            role.keys.insert(keys[1].id());
            role.threshold = 2;
        }
        Self { keys, trust: Trust { root, time: TrustedTime(NOW) } }
    }

    /// Signs a manifest with both keys, and a pointer to it.
    pub(crate) fn sign(&self, manifest: &Manifest) -> Release {
        self.point(manifest, Envelope::signed(manifest, &self.keys).unwrap())
    }

    /// A signed pointer to an envelope, however that is signed.
    pub(crate) fn point(&self, manifest: &Manifest, envelope: Envelope) -> Release {
        let pointer = Pointer::to(manifest, envelope.cid(), manifest.issued_at);
        let pointer = Envelope::signed(&pointer, &self.keys[..1]).unwrap();
        Release { manifest: manifest.clone(), envelope, pointer }
    }
}

impl Release {
    pub(crate) fn cid(&self) -> Cid {
        self.envelope.cid()
    }

    /// Puts manifest and ref into a store; its artifacts are there or not.
    pub(crate) fn publish(&self, store: &dyn Store) {
        store.put_block(&self.cid(), &self.envelope.encode()).unwrap();
        store.set_ref(&self.manifest.name(), &self.pointer).unwrap();
    }
}

pub(crate) fn name() -> Name {
    "stable/x86_64".parse().unwrap()
}

/// A manifest of version 2.
pub(crate) fn manifest(artifacts: Vec<ArtifactEntry>) -> Manifest {
    Manifest { release: "two".to_owned(), ..Manifest::new(&name(), 2, ISSUED, EXPIRES, artifacts) }
}

/// Imports files, in small chunks so that small files have many.
pub(crate) fn import(store: &FileStore, folder: &Path, files: &BTreeMap<String, Vec<u8>>) -> Vec<ArtifactEntry> {
    let chunker = ChunkerParams::new(4 << 10, 16 << 10, 64 << 10).unwrap();
    let options = ImportOptions::default().with_chunker(chunker);
    let source = folder.join("source");
    let entries = files.iter().map(|(filename, bytes)| {
        std::fs::write(&source, bytes).unwrap();
        let artifact: Arc<dyn Artifact> = store.import(&source, &options, &mut |_| {}).unwrap();
        let (role, filename) = ("file".parse().unwrap(), filename.parse().unwrap());
        ArtifactEntry::new(role, filename, artifact.cid(), artifact.index())
    });
    entries.collect()
}

/// Bytes that look random; the same for the same seed.
pub(crate) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
}
