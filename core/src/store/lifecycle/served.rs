//! The file `served`: the CIDs that a running provider announces, or whose withdrawal has not ended.
//!
//! The provider writes the file before it announces a CID, and again after it has withdrawn one, so that the file always
//! lists every CID that this provider may still have announced. After writing the file and before announcing, the
//! provider reads the refs again. A process that removes a ref and then reads this file therefore either finds the CIDs
//! in it, or the provider sees that the ref is gone.

use std::collections::BTreeSet;

use crate::cid::Cid;
use crate::store::backend::Backend;
use crate::store::damage::Damage;
use crate::store::error::StoreError;
use crate::store::layout::Layout;
use crate::store::temp;

/// The maximum length of the file, in bytes. It is enough for more CIDs than a provider announces.
const MAX_LEN: usize = 16 << 20;

/// Replaces the list of announced CIDs. The file is not synced: after a power cut, no provider runs.
pub(crate) fn write<'a>(
    backend: &dyn Backend,
    layout: &Layout,
    cids: impl IntoIterator<Item = &'a Cid>,
) -> Result<(), StoreError> {
    let text: String = cids.into_iter().map(|cid| format!("{cid}\n")).collect();
    temp::write_unsynced(backend, &layout.tmp(), text.as_bytes(), false)?.rename(&layout.served()).map(drop)
}

/// Returns the announced CIDs if a provider is running on the store, and no CIDs otherwise. The caller must hold the
/// store's lock, because a provider that starts at the same time could not take its own lock otherwise.
pub(crate) fn read(backend: &dyn Backend, layout: &Layout) -> Result<BTreeSet<Cid>, StoreError> {
    if !is_provider_running(backend, layout)? {
        return Ok(BTreeSet::new());
    }
    let path = layout.served();
    let Some(bytes) = temp::read_small(backend, &path, MAX_LEN)? else { return Ok(BTreeSet::new()) };
    let text = std::str::from_utf8(&bytes).map_err(|_| StoreError::damaged(&path, Damage::OtherBytes))?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

fn is_provider_running(backend: &dyn Backend, layout: &Layout) -> Result<bool, StoreError> {
    let path = layout.provider_lock();
    match temp::try_lock(backend, &path) {
        Ok(lock) => Ok(lock.is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::read("lock", &path, error)),
    }
}
