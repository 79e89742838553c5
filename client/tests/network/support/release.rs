//! A publisher with two keys, both of which must sign, and what it publishes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use phase_client::Trust;
use phase_core::codec::V1;
use phase_core::{
    Artifact, ArtifactEntry, ChannelRole, ChunkerParams, Cid, Envelope, FileStore, ImportOptions, Manifest, Name,
    Pointer, RootRole, SigningKey, Store, TrustRoot, TrustedTime,
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
        let ids: BTreeSet<_> = keys.iter().map(SigningKey::id).collect();
        let role = ChannelRole { keys: ids.clone(), threshold: 2, pointer_keys: ids.clone() };
        let root = TrustRoot {
            v: V1,
            version: 1,
            issued_at: ISSUED,
            expires_at: EXPIRES,
            keys: keys.iter().map(|key| (key.id(), key.public())).collect(),
            root: RootRole { keys: ids, threshold: 1 },
            channels: ["stable", "edge"].map(|channel| (channel.parse().unwrap(), role.clone())).into(),
        };
        Self { keys, trust: Trust { root, time: TrustedTime(NOW) } }
    }

    /// Signs a manifest with both keys, and a pointer to it.
    pub(crate) fn sign(&self, manifest: &Manifest) -> Release {
        let mut envelope = Envelope::unsigned(manifest).unwrap();
        self.keys.iter().for_each(|key| envelope.sign::<Manifest>(key).unwrap());
        self.point(manifest, envelope)
    }

    /// A signed pointer to an envelope, however that is signed.
    pub(crate) fn point(&self, manifest: &Manifest, envelope: Envelope) -> Release {
        let pointer = Pointer {
            v: V1,
            name: manifest.name(),
            manifest: Some(envelope.cid()),
            version: manifest.version,
            issued_at: manifest.issued_at,
            expires_at: manifest.expires_at,
            urls: Vec::new(),
        };
        let mut signed = Envelope::unsigned(&pointer).unwrap();
        signed.sign::<Pointer>(&self.keys[0]).unwrap();
        Release { manifest: manifest.clone(), envelope, pointer: signed }
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
    let Name { channel, arch } = name();
    Manifest {
        v: V1,
        channel,
        arch,
        board: None,
        version: 2,
        release: "two".to_owned(),
        issued_at: ISSUED,
        expires_at: EXPIRES,
        artifacts,
        cmdline: None,
    }
}

/// Imports files, in small chunks so that small files have many.
pub(crate) fn import(store: &FileStore, folder: &Path, files: &BTreeMap<String, Vec<u8>>) -> Vec<ArtifactEntry> {
    let chunker = ChunkerParams::new(4 << 10, 16 << 10, 64 << 10).unwrap();
    let options = ImportOptions::default().with_chunker(chunker);
    let source = folder.join("source");
    let entries = files.iter().map(|(filename, bytes)| {
        std::fs::write(&source, bytes).unwrap();
        let artifact: Arc<dyn Artifact> = store.import(&source, &options, &mut |_| {}).unwrap();
        ArtifactEntry {
            role: "file".parse().unwrap(),
            filename: filename.parse().unwrap(),
            size: artifact.index().size(),
            cid: artifact.cid(),
            sha256: artifact.index().sha256(),
        }
    });
    entries.collect()
}

/// Bytes that look random; the same for the same seed.
pub(crate) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
}
