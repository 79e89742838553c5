//! Seals: in which state an artifact's file was verified.
//!
//! `artifacts/<cid>.seal` is DAG-CBOR `{v: 1, size, mtime_ns, inode, path?}`. A file in that state need not be hashed
//! again. With `path`, the artifact is a file elsewhere that was imported in place.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::backend::{Backend, FileStat};
use super::error::StoreError;
use super::layout::Layout;
use super::temp;
use crate::cid::Cid;
use crate::codec::{V1, from_dag_cbor_exact, to_dag_cbor};

/// The most a seal may hold, in bytes: a path of 4096 and the rest.
const MAX_SEAL_LEN: usize = 8 << 10;

/// The state in which a file was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Seal {
    v: V1,
    size: u64,
    mtime_ns: i64,
    inode: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    path: Option<ByteBuf>,
}

impl Seal {
    /// The seal of the store's own file.
    pub(crate) fn owned(stat: FileStat) -> Self {
        Self { v: V1, size: stat.len, mtime_ns: stat.mtime_ns, inode: stat.inode, path: None }
    }

    /// The seal of a file elsewhere.
    pub(crate) fn reference(stat: FileStat, path: &Path) -> Self {
        Self { path: Some(ByteBuf::from(path.as_os_str().as_bytes())), ..Self::owned(stat) }
    }

    /// The file elsewhere, if it is one.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.path.as_ref().map(|bytes| PathBuf::from(OsStr::from_bytes(bytes)))
    }

    /// Whether a file is still in this state.
    pub(crate) fn holds(&self, stat: FileStat) -> bool {
        (self.size, self.mtime_ns, self.inode) == (stat.len, stat.mtime_ns, stat.inode)
    }

    /// Replaces the seal of an artifact. That of the store's own file is not synced, which matters with many small
    /// files: if a power cut damages it, the file is hashed again.
    pub(crate) fn write(&self, backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<(), StoreError> {
        let (target, bytes) = (layout.seal(cid), to_dag_cbor(self));
        match self.path {
            Some(_) => temp::replace(backend, &layout.tmp(), &target, &bytes),
            None => temp::write_unsynced(backend, &layout.tmp(), &bytes, false)?.rename(&target),
        }
    }

    /// Reads the seal of an artifact. One that is damaged, or of another version, says nothing.
    pub(crate) fn read(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<Option<Self>, StoreError> {
        match temp::read_small(backend, &layout.seal(cid), MAX_SEAL_LEN) {
            Ok(bytes) => Ok(bytes.and_then(|bytes| from_dag_cbor_exact(&bytes).ok())),
            Err(StoreError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
