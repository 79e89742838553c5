//! Blocks on disk. Each block is a file whose name is the CID of the block.

use std::path::Path;

use super::backend::{Backend, OpenMode};
use super::damage::Damage;
use super::error::StoreError;
use super::layout::Layout;
use super::temp;
use crate::cid::Cid;
use crate::index::MAX_BLOCK_LEN;

/// Checks the length and the hash of a block before it is stored.
pub(crate) fn check(cid: &Cid, bytes: &[u8]) -> Result<(), StoreError> {
    if bytes.len() > MAX_BLOCK_LEN {
        return Err(StoreError::BlockTooLarge { cid: *cid, len: bytes.len(), cap: MAX_BLOCK_LEN });
    }
    cid.verify(bytes).map_err(|source| StoreError::BadBlock { cid: *cid, source })
}

/// Stores a block. An existing file of the block is replaced only if it is damaged.
pub(crate) fn put(backend: &dyn Backend, layout: &Layout, cid: &Cid, bytes: &[u8]) -> Result<(), StoreError> {
    check(cid, bytes)?;
    match read(backend, layout, cid) {
        Ok(Some(_)) => {
            touch(backend, &layout.block(cid));
            Ok(())
        }
        Ok(None) | Err(StoreError::Damaged { .. }) => temp::replace(backend, &layout.tmp(), &layout.block(cid), bytes),
        Err(error) => Err(error),
    }
}

/// Renews the change time of a block that is stored again, so that it is not removed as an orphan before it is
/// referenced. A failure is ignored, because the block is as good as before.
fn touch(backend: &dyn Backend, path: &Path) {
    if let Ok(file) = backend.open(path, OpenMode::Read)
        && let Ok(stat) = file.stat()
    {
        let _ = file.set_mode(stat.mode);
    }
}

/// Reads and verifies a block. Returns `None` if the store does not have it.
pub(crate) fn read(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<Option<Vec<u8>>, StoreError> {
    let path = layout.block(cid);
    let Some(bytes) = temp::read_small(backend, &path, MAX_BLOCK_LEN)? else { return Ok(None) };
    match cid.verify(&bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(_) => Err(StoreError::damaged(&path, Damage::OtherBytes)),
    }
}
