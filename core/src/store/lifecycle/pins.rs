//! Pins: the empty file `pins/<cid>` keeps a release or an artifact.

use std::collections::BTreeSet;
use std::io;

use crate::cid::Cid;
use crate::store::backend::Backend;
use crate::store::error::StoreError;
use crate::store::layout::Layout;
use crate::store::temp;

/// Returns the pinned CIDs. Files whose name is not a CID are ignored.
pub(crate) fn list(backend: &dyn Backend, layout: &Layout) -> Result<BTreeSet<Cid>, StoreError> {
    let folder = layout.pins();
    match backend.read_dir(&folder) {
        Ok(names) => Ok(names.iter().filter_map(|name| name.parse().ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(StoreError::read("list", &folder, error)),
    }
}

/// Pins a CID. It is not an error if the CID is pinned already.
pub(crate) fn add(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<(), StoreError> {
    let folder = layout.pins();
    backend.create_dir(&folder).map_err(|e| StoreError::write("create", &folder, e))?;
    temp::sync_parent(backend, &folder)?;
    temp::replace(backend, &layout.tmp(), &layout.pin(cid), &[])
}

/// Removes the pin of a CID. Returns whether the CID was pinned.
pub(crate) fn remove(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<bool, StoreError> {
    let path = layout.pin(cid);
    match backend.remove(&path) {
        Ok(()) => temp::sync_parent(backend, &path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::write("remove", &path, error)),
    }
}
