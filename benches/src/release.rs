//! A signed release, and the trust root that accepts it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use phase_core::codec::V1;
use phase_core::dht::Pointer;
use phase_core::envelope::{Envelope, Payload};
use phase_core::import::ImportOptions;
use phase_core::manifest::{ArtifactEntry, Manifest, Role};
use phase_core::store::{Artifact, FileStore, Store};
use phase_core::trust::{ChannelRole, RootRole, TrustRoot};
use phase_core::{Name, SigningKey};

use crate::Result;

/// What it is published as.
pub const NAME: &str = "bench/any";
/// When everything is signed and used, and when it expires: Unix seconds. Nothing here needs the clock.
pub const NOW: u64 = 1;
const EXPIRES: u64 = 2;

/// Publishes `files` as the artifacts of a release in a new store, and writes the trust root that accepts it. Returns the
/// files of the artifacts.
///
/// # Errors
/// If a file cannot be read, or the store not be written.
pub fn publish(store: &Path, files: &[PathBuf], trust_root: &Path) -> Result<Vec<PathBuf>> {
    let key = SigningKey::generate()?;
    let name: Name = NAME.parse()?;
    std::fs::write(trust_root, signed(&root(&key, &name), &key)?.encode())?;
    let store = FileStore::open(store)?;
    let mut artifacts = Vec::new();
    for file in files {
        artifacts.push(store.import(file, &ImportOptions::default(), &mut |_| {})?);
    }
    let manifest = manifest(&name, &artifacts)?;
    let envelope = signed(&manifest, &key)?;
    store.put_block(&envelope.cid(), &envelope.encode())?;
    let pointer = Pointer {
        v: V1,
        name: name.clone(),
        manifest: Some(envelope.cid()),
        version: manifest.version,
        issued_at: NOW,
        expires_at: EXPIRES,
        urls: Vec::new(),
    };
    store.set_ref(&name, &signed(&pointer, &key)?)?;
    let file = |artifact: &Arc<dyn Artifact>| artifact.path().expect("an artifact of a file store has a file");
    Ok(artifacts.iter().map(file).collect())
}

fn root(key: &SigningKey, name: &Name) -> TrustRoot {
    let keys = BTreeSet::from([key.id()]);
    let channel = ChannelRole { keys: keys.clone(), threshold: 1, pointer_keys: keys.clone() };
    TrustRoot {
        v: V1,
        version: 1,
        issued_at: NOW,
        expires_at: EXPIRES,
        keys: BTreeMap::from([(key.id(), key.public())]),
        root: RootRole { keys, threshold: 1 },
        channels: BTreeMap::from([(name.channel.clone(), channel)]),
    }
}

fn manifest(name: &Name, artifacts: &[Arc<dyn Artifact>]) -> Result<Manifest> {
    let mut entries = Vec::new();
    for (number, artifact) in artifacts.iter().enumerate() {
        entries.push(ArtifactEntry {
            role: Role::FILE.parse()?,
            filename: format!("noise-{number}").parse()?,
            size: artifact.index().size(),
            cid: artifact.cid(),
            sha256: artifact.index().sha256(),
        });
    }
    Ok(Manifest {
        v: V1,
        channel: name.channel.clone(),
        arch: name.arch.clone(),
        board: None,
        version: 1,
        release: "bench".to_owned(),
        issued_at: NOW,
        expires_at: EXPIRES,
        artifacts: entries,
        cmdline: None,
    })
}

fn signed<P: Payload>(payload: &P, key: &SigningKey) -> Result<Envelope> {
    let mut envelope = Envelope::unsigned(payload)?;
    envelope.sign::<P>(key)?;
    Ok(envelope)
}
