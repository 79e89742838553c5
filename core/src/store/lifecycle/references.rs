//! Checks that what a ref leads to is in the store, under the same lock under which files are removed.

use std::io;

use crate::cid::Cid;
use crate::envelope::Envelope;
use crate::manifest::Manifest;
use crate::name::Name;
use crate::store::backend::Backend;
use crate::store::blocks;
use crate::store::error::StoreError;
use crate::store::layout::Layout;
use crate::store::seal::Seal;

/// Checks that the store has the manifest to which the ref of `name` shall lead, and the artifacts of the manifest. The
/// artifacts are not hashed. The caller must hold the store's lock until the ref is set, so that nothing is removed
/// meanwhile.
pub(crate) fn check(backend: &dyn Backend, layout: &Layout, name: &Name, manifest: &Cid) -> Result<(), StoreError> {
    let Some(block) = blocks::read(backend, layout, manifest)? else {
        return Err(StoreError::NoManifest { name: name.clone(), manifest: *manifest });
    };
    // A block that is no manifest is refused where it is used: by publishers and by clients.
    let decoded = Envelope::decode(&block).and_then(|envelope| envelope.payload_unverified::<Manifest>());
    let Ok(decoded) = decoded else { return Ok(()) };
    for entry in &decoded.artifacts {
        if !has_artifact(backend, layout, &entry.cid)? {
            return Err(StoreError::NoArtifact {
                name: name.clone(),
                filename: entry.filename.clone(),
                cid: entry.cid,
            });
        }
    }
    Ok(())
}

/// Returns whether the store has a file or a reference for an artifact, and the root block of its index.
fn has_artifact(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<bool, StoreError> {
    let exists = |path: &std::path::Path| match backend.stat(path) {
        Ok(stat) => Ok(stat.is_file()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::read("read", path, error)),
    };
    if !exists(&layout.block(cid))? {
        return Ok(false);
    }
    Ok(exists(&layout.artifact(cid))? || Seal::read(backend, layout, cid)?.is_some_and(|seal| seal.path().is_some()))
}
