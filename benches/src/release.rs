//! A signed release, and the trust root that accepts it.

use std::path::{Path, PathBuf};

use phase_core::envelope::Envelope;
use phase_core::manifest::Role;
use phase_core::publish::{Draft, Publisher, ReleaseFile};
use phase_core::store::{FileStore, Store};
use phase_core::trust::TrustRoot;
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
        let artifact = store.artifact(&entry.cid)?.ok_or("an artifact that was just published is gone")?;
        artifacts.push(artifact.path().ok_or("an artifact of a file store has a file")?);
    }
    Ok(artifacts)
}
