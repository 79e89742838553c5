//! A publisher with two keys, and its releases. A manifest needs the signatures of both keys.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use phase_client::Trust;
use phase_core::{
    Artifact, ArtifactEntry, ChunkerParams, Cid, Envelope, FileStore, ImportOptions, Manifest, Name, Pointer,
    SigningKey, Store, TrustRoot, TrustedTime,
};

/// The Unix time in seconds at which the tests take place.
pub(crate) const NOW: u64 = 1_000;
const ISSUED: u64 = 500;
pub(crate) const EXPIRES: u64 = 5_000;

/// The keys for the channels `stable` and `edge`, and the trust root that contains the keys.
pub(crate) struct Publisher {
    pub(crate) keys: [SigningKey; 2],
    pub(crate) trust: Trust,
}

/// A signed release: the manifest, its envelope, and the envelope of the pointer.
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

    /// Makes a release: signs the manifest with both keys, and makes a signed pointer to it.
    pub(crate) fn sign(&self, manifest: &Manifest) -> Release {
        self.point(manifest, Envelope::signed(manifest, &self.keys).unwrap())
    }

    /// Makes a release from a manifest and its envelope, and signs a pointer to the manifest. The envelope may lack
    /// signatures.
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

    /// Puts the manifest and the ref into a store, without the artifacts.
    pub(crate) fn publish(&self, store: &dyn Store) {
        store.put_block(&self.cid(), &self.envelope.encode()).unwrap();
        store.set_ref(&self.manifest.name(), &self.pointer).unwrap();
    }
}

pub(crate) fn name() -> Name {
    "stable/x86_64".parse().unwrap()
}

/// Returns a manifest with version 2.
pub(crate) fn manifest(artifacts: Vec<ArtifactEntry>) -> Manifest {
    Manifest { release: "two".to_owned(), ..Manifest::new(&name(), 2, ISSUED, EXPIRES, artifacts) }
}

/// Imports files with a small chunk size, so that small files have several chunks.
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

/// Returns pseudorandom bytes, which are the same for the same RNG seed.
pub(crate) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
}
