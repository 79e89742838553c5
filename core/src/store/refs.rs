//! Refs on disk: `refs/<channel>/<arch>` holds the signed pointer record of a name.

use std::io::ErrorKind;

use super::backend::Backend;
use super::layout::Layout;
use super::{StoreError, temp};
use crate::cid::Cid;
use crate::envelope::Envelope;
use crate::name::Name;
use crate::pointer::{MAX_POINTER_LEN, Pointer};

/// Checks that `pointer` is one for `name`, and returns the manifest it points at.
pub(crate) fn check(name: &Name, pointer: &Envelope) -> Result<Cid, StoreError> {
    let bad = |why: String| StoreError::BadPointer { name: name.to_string(), why };
    let pointer = Pointer::decode_envelope(&pointer.encode())
        .and_then(|envelope| envelope.payload_unverified::<Pointer>())
        .map_err(|e| bad(e.to_string()))?;
    if pointer.name != *name {
        return Err(bad(format!("it is for {}", pointer.name)));
    }
    pointer
        .manifest
        .ok_or_else(|| bad("it has no manifest, only urls, and a store serves what a manifest lists".to_owned()))
}

/// Replaces the ref of `name`.
pub(crate) fn set(backend: &dyn Backend, layout: &Layout, name: &Name, pointer: &Envelope) -> Result<(), StoreError> {
    let path = layout.ref_file(name);
    let channel = path.parent().expect("a ref is in its channel's folder");
    backend.create_dir(channel).map_err(|e| StoreError::write("create", channel, e))?;
    temp::sync_parent(backend, channel)?;
    temp::replace(backend, &layout.tmp(), &path, &pointer.encode())
}

/// Reads the ref of `name`.
pub(crate) fn read(backend: &dyn Backend, layout: &Layout, name: &Name) -> Result<Option<Envelope>, StoreError> {
    let path = layout.ref_file(name);
    let Some(bytes) = temp::read_small(backend, &path, MAX_POINTER_LEN)? else { return Ok(None) };
    let damaged =
        |why: String| StoreError::Damaged { path: path.clone(), why: format!("{why}; publish or fetch {name} again") };
    let envelope = Pointer::decode_envelope(&bytes).map_err(|e| damaged(e.to_string()))?;
    check(name, &envelope).map_err(|e| damaged(e.to_string()))?;
    Ok(Some(envelope))
}

/// The names that have a ref, sorted. Names of files that are not names of releases are skipped.
pub(crate) fn names(backend: &dyn Backend, layout: &Layout) -> Result<Vec<Name>, StoreError> {
    let refs = layout.refs();
    let mut names = Vec::new();
    for channel in backend.read_dir(&refs).map_err(|e| StoreError::read("list", &refs, e))? {
        let folder = refs.join(&channel);
        let archs = match backend.read_dir(&folder) {
            Ok(archs) => archs,
            // A strange file beside the channels' folders, or one that has just gone.
            Err(error) if matches!(error.kind(), ErrorKind::NotADirectory | ErrorKind::NotFound) => continue,
            Err(error) => return Err(StoreError::read("list", &folder, error)),
        };
        names.extend(archs.iter().filter_map(|arch| format!("{channel}/{arch}").parse::<Name>().ok()));
    }
    names.sort();
    Ok(names)
}
