//! Seals. A seal says that the file of an artifact was verified, and which state the file had then.
//!
//! `artifacts/<cid>.seal` is DAG-CBOR `{v: 1, size, mtime_ns, ctime_ns, inode, path?}`. A file that still has this state
//! need not be hashed again before it is served. If `path` is present, the artifact is a file outside the store that was
//! imported by reference. Earlier versions wrote no `ctime_ns`. Such a seal never holds, so the file is hashed again.
//!
//! A store that is opened with another folder for its run-time files has two seals for an artifact: one in the store,
//! which is only read, and one in the other folder.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::backend::{Backend, FileStat};
use super::error::StoreError;
use super::layout::Layout;
use super::place::Place;
use super::temp;
use crate::cid::Cid;
use crate::codec::{V1, from_dag_cbor_exact, to_dag_cbor};

/// The maximum length of a seal, in bytes. A seal contains a path of up to 4096 bytes, and a few other fields.
const MAX_SEAL_LEN: usize = 8 << 10;

/// The seal of an artifact: the state in which its file was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Seal {
    v: V1,
    size: u64,
    mtime_ns: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    ctime_ns: Option<i64>,
    inode: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    path: Option<ByteBuf>,
}

impl Seal {
    /// Makes the seal of a file that belongs to the store.
    pub(crate) fn owned(stat: FileStat) -> Self {
        let FileStat { len, mtime_ns, ctime_ns, inode, .. } = stat;
        Self { v: V1, size: len, mtime_ns, ctime_ns: Some(ctime_ns), inode, path: None }
    }

    /// Makes the seal of a file outside the store, which was imported by reference.
    pub(crate) fn reference(stat: FileStat, path: &Path) -> Self {
        Self { path: Some(ByteBuf::from(path.as_os_str().as_bytes())), ..Self::owned(stat) }
    }

    /// Returns the path of the file outside the store, if the artifact was imported by reference.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.path.as_ref().map(|bytes| PathBuf::from(OsStr::from_bytes(bytes)))
    }

    /// Returns whether `stat` equals the state of the file when it was verified.
    pub(crate) fn holds(&self, stat: FileStat) -> bool {
        *self == Self { path: self.path.clone(), ..Self::owned(stat) }
    }

    /// Replaces the seal that this process writes for an artifact. The seal of a file inside the store is not synced, because syncing many small
    /// files is slow. If a power cut damages such a seal, the file is hashed again.
    pub(crate) fn write(&self, backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<(), StoreError> {
        let (target, bytes) = (layout.own_seal(cid), to_dag_cbor(self));
        match self.path {
            Some(_) => temp::replace(backend, &layout.tmp(), &target, &bytes),
            None => temp::write_unsynced(backend, &layout.tmp(), &bytes, false)?.rename(&target).map(drop),
        }
    }

    /// Writes the seal of an artifact again, because the artifact was imported again. The new change time of the seal
    /// keeps the artifact from being removed as an orphan before the importing process has referenced it.
    pub(crate) fn renew(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<(), StoreError> {
        Self::read(backend, layout, cid)?.map_or(Ok(()), |seal| seal.write(backend, layout, cid))
    }

    /// Removes the seal of an artifact, if there is one.
    pub(crate) fn remove(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<(), StoreError> {
        let path = layout.seal(cid);
        match backend.remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::write("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    /// Reads the seal of an artifact in the store. A seal that is damaged or has another version counts as missing.
    pub(crate) fn read(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<Option<Self>, StoreError> {
        Ok(Self::read_file(backend, &layout.seal(cid))?.map(|(seal, _)| seal))
    }

    /// Reads a seal, and returns it with the user id of its owner. A seal that is damaged or has another version counts
    /// as missing.
    fn read_file(backend: &dyn Backend, path: &Path) -> Result<Option<(Self, u32)>, StoreError> {
        match temp::read_small_with_stat(backend, path, MAX_SEAL_LEN) {
            Ok(read) => Ok(read.and_then(|(bytes, stat)| Some((from_dag_cbor_exact(&bytes).ok()?, stat.owner)))),
            Err(StoreError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The seals of one artifact.
#[derive(Debug)]
pub(crate) struct Seals {
    /// The seal in the store, with the user id of its owner.
    in_store: Option<(Seal, u32)>,
    /// The seal in the separate folder of the run-time files, which only this user can write to.
    in_state: Option<Seal>,
}

impl Seals {
    pub(crate) fn read(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<Self, StoreError> {
        let in_store = Seal::read_file(backend, &layout.seal(cid))?;
        let in_state = if layout.has_state() { Seal::read_file(backend, &layout.own_seal(cid))? } else { None };
        Ok(Self { in_store, in_state: in_state.map(|(seal, _)| seal) })
    }

    /// Returns the path of the file outside the store, with the user id of the owner of the seal that names it.
    pub(crate) fn reference(&self) -> Option<(PathBuf, u32)> {
        let (seal, owner) = self.in_store.as_ref()?;
        Some((seal.path()?, *owner))
    }

    /// Returns whether a trusted seal says that the file with the state `stat` was verified. `path` is its path if it is
    /// outside the store.
    pub(crate) fn hold(&self, place: &Place, stat: FileStat, path: Option<&Path>) -> bool {
        let holds = |seal: &Seal| seal.path().as_deref() == path && seal.holds(stat);
        place.has_stable_inodes()
            && (self.in_state.as_ref().is_some_and(holds)
                || self.in_store.as_ref().is_some_and(|(seal, owner)| place.trusts(*owner) && holds(seal)))
    }
}
