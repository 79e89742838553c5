//! Publishes a signed release and creates a trust root that accepts it.

use std::path::{Path, PathBuf};

use phase_core::envelope::Envelope;
use phase_core::manifest::Role;
use phase_core::publish::{Draft, Publisher, ReleaseFile};
use phase_core::store::{FileStore, Store};
use phase_core::trust::TrustRoot;
use phase_core::{Name, SigningKey};

use crate::Result;

/// The name under which the release is published.
pub const NAME: &str = "bench/any";
/// The time at which signatures are made and verified, in Unix seconds. It is fixed, so that the clock is never read.
pub const NOW: u64 = 1;
/// The time at which signatures expire, in Unix seconds.
const EXPIRES: u64 = 2;

/// Publishes `files` as the artifacts of one release in a new store, and writes a trust root that accepts the release.
/// Returns the paths of the artifacts in the store.
///
/// # Errors
/// If a file cannot be read, or the store cannot be written.
pub fn publish(store: &Path, files: &[PathBuf], trust_root: &Path) -> Result<Vec<PathBuf>> {
    let key = SigningKey::generate()?;
    let name: Name = NAME.parse()?;
    let root = TrustRoot::of_one_key(key.public(), [name.channel.clone()], NOW, EXPIRES);
    let root = Envelope::signed(&root, [&key])?.encode();
    std::fs::write(trust_root, &root)?;
    let store = FileStore::open(store)?;
    let mut noise = Vec::new();
    for (number, file) in files.iter().enumerate() {
        noise.push(ReleaseFile::new(Role::FILE.parse()?, format!("noise-{number}").parse()?, file)?);
    }
    let draft = Draft::new(&name, noise, NOW, EXPIRES).with_label("bench");
    let release = Publisher::new(&root, vec![key])?.publish(&store, &draft, NOW, &mut |_| {})?;
    let mut artifacts = Vec::new();
    for entry in &release.manifest().artifacts {
        let artifact = store.artifact(&entry.cid)?.ok_or("a published artifact is missing")?;
        artifacts.push(artifact.path().ok_or("the artifact has no file")?);
    }
    Ok(artifacts)
}
