//! What can go wrong with a store.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use super::damage::{Damage, RefProblem};
use crate::cid::{Cid, CidError};
use crate::failure::{Fails, Failure};
use crate::index::IndexError;
use crate::keys::KeyError;
use crate::name::Name;

/// Why a store operation failed. Each text names the thing, the cause and, where there is one, the next step.
///
/// After any of these the store is as it was before the operation, apart from chunks of a partial artifact that
/// were written and verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system refused something that has no variant of its own.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The disk or the quota is full.
    #[error("no space left for {path}{}; free some, or put the store on another disk", Needs(*.needed))]
    NoSpace {
        /// The file that did not fit.
        path: PathBuf,
        /// Its whole size in bytes, where that is known.
        needed: Option<u64>,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The store may be read but not written.
    #[error("cannot {action} {path}: {source}; make the store writable for this user, or use another one")]
    ReadOnly {
        /// What was attempted, as a verb.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The folder holds other things than a store.
    #[error("{0} is not a store: it is not empty and has no file `format`; give an empty or new folder")]
    NotAStore(PathBuf),
    /// The file `format` is not one of ours.
    #[error("{0} does not say which format the store has; is it a store?")]
    UnknownFormat(PathBuf),
    /// A later version of Phase made the store.
    #[error("{path} has store format {found}, this version knows up to {known}; use a newer version of Phase")]
    NewerFormat {
        /// The store's folder.
        path: PathBuf,
        /// The store's format.
        found: u32,
        /// The latest format this version knows.
        known: u32,
    },
    /// The artifact is being written by somebody else.
    #[error("artifact {cid} is being written by another fetch, which holds the lock on {}; wait for it, or stop it", lock.display())]
    Busy {
        /// The artifact.
        cid: Cid,
        /// The locked file.
        lock: PathBuf,
    },
    /// Another provider runs on the store.
    #[error("another provider{} runs on this store: it holds the lock on {}", Process(pid), lock.display())]
    ProviderRunning {
        /// The locked file.
        lock: PathBuf,
        /// What the lock file says about the other process, its number usually.
        pid: Option<u32>,
    },
    /// A file of the store, or one it refers to, is not what was verified. It is not served.
    #[error("{path} is damaged: {damage}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and the next step.
        #[source]
        damage: Box<Damage>,
    },
    /// A block that was handed in is not what its CID says, or not a block.
    #[error("refused block {cid}")]
    BadBlock {
        /// The CID it was to have.
        cid: Cid,
        /// What is wrong.
        source: CidError,
    },
    /// A block that was handed in exceeds the cap.
    #[error("block {cid} has {len} bytes, the cap is {cap}")]
    BlockTooLarge {
        /// The CID it was to have.
        cid: Cid,
        /// Its length.
        len: usize,
        /// The cap.
        cap: usize,
    },
    /// A chunk that was handed in is not what the index says. Nothing was written.
    #[error("refused chunk of artifact {cid}")]
    BadChunk {
        /// The artifact.
        cid: Cid,
        /// What is wrong.
        source: IndexError,
    },
    /// The index is not the one of this artifact, or is damaged.
    #[error("index of artifact {cid} is not usable")]
    BadIndex {
        /// The artifact.
        cid: Cid,
        /// What is wrong.
        source: IndexError,
    },
    /// The index that came with an artifact's CID is another one's.
    #[error("the index given for artifact {cid} is that of {actual}")]
    OtherIndex {
        /// The artifact that was asked for.
        cid: Cid,
        /// The artifact the index belongs to.
        actual: Cid,
    },
    /// The artifact is complete already: [`Store::artifact`](crate::store::Store::artifact) opens it.
    #[error("artifact {0} is complete already")]
    Complete(Cid),
    /// The artifact was finished; its partial form takes no more chunks.
    #[error("artifact {0} is finished: no more chunks are taken")]
    Finished(Cid),
    /// Chunks are missing.
    #[error("artifact {cid} lacks {missing} of its chunks")]
    Incomplete {
        /// The artifact.
        cid: Cid,
        /// How many.
        missing: u64,
    },
    /// A range was read that is not there (yet).
    #[error("artifact {cid} has no verified bytes {start}..{end}")]
    NotThere {
        /// The artifact.
        cid: Cid,
        /// The first byte.
        start: u64,
        /// The byte after the last.
        end: u64,
    },
    /// A ref was set to something the store cannot serve.
    #[error("cannot point {name} at {manifest}: the store does not have that manifest")]
    NoManifest {
        /// The name.
        name: Name,
        /// The manifest.
        manifest: Cid,
    },
    /// A ref was set to a pointer that is not one, or is for another name.
    #[error("not a pointer record for {name}: {problem}")]
    BadPointer {
        /// The name.
        name: Name,
        /// What is wrong.
        problem: Box<RefProblem>,
    },
    /// The file to import cannot be read.
    #[error("cannot {action} {path}: {source}")]
    Source {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The file to import is a folder, device or pipe.
    #[error("{0} is not a regular file")]
    NotAFile(PathBuf),
    /// The file to import was written to meanwhile.
    #[error("{0} changed while it was read; try again when nothing writes to it")]
    SourceChanged(PathBuf),
    /// The file to import has no index: it is too large for its chunk sizes.
    #[error("cannot make an artifact of {path}")]
    NoIndex {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: IndexError,
    },
    /// The node's key cannot be made or read.
    #[error("key {path} is not usable")]
    Identity {
        /// The key file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// The derived chunk map failed. It may be deleted at any time: it is made anew.
    #[error("cannot use chunk map {path}; it may be deleted and is then made anew")]
    ChunkMap {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        source: Box<redb::Error>,
    },
}

impl Fails for StoreError {
    fn failure(&self) -> Failure {
        match self {
            Self::Source { .. }
            | Self::NotAFile(_)
            | Self::SourceChanged(_)
            | Self::NoIndex { .. }
            | Self::BadPointer { .. } => Failure::Input,
            Self::BadBlock { .. }
            | Self::BlockTooLarge { .. }
            | Self::BadChunk { .. }
            | Self::BadIndex { .. }
            | Self::OtherIndex { .. } => Failure::Untrusted,
            _ => Failure::Store,
        }
    }
}

impl StoreError {
    /// An error of the operating system while the store was written.
    pub(crate) fn write(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path, needed: None, source },
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                Self::ReadOnly { action, path, source }
            }
            _ => Self::Io { action, path, source },
        }
    }

    /// An error of the operating system while the store was read.
    pub(crate) fn read(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    /// A file that is not what was verified.
    pub(crate) fn damaged(path: &Path, damage: Damage) -> Self {
        Self::Damaged { path: path.to_owned(), damage: Box::new(damage) }
    }

    /// Adds to a full disk how much was needed.
    pub(crate) fn needing(self, bytes: u64) -> Self {
        match self {
            Self::NoSpace { path, source, .. } => Self::NoSpace { path, needed: Some(bytes), source },
            other => other,
        }
    }
}

/// `: needs 1.2 GiB`, or nothing.
struct Needs(Option<u64>);

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(bytes) = self.0 else { return Ok(()) };
        let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match units.into_iter().find(|(_, size)| bytes >= *size) {
            Some((unit, size)) => write!(f, ": needs {:.1} {unit}", bytes as f64 / size as f64),
            None => write!(f, ": needs {bytes} bytes"),
        }
    }
}

/// ` (process 123)`, or nothing.
struct Process<'a>(&'a Option<u32>);

impl fmt::Display for Process<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |pid| write!(f, " (process {pid})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_how_much_is_needed() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let error = StoreError::write("write", Path::new("/s/a"), full());
        assert_eq!(error.to_string(), "no space left for /s/a; free some, or put the store on another disk");
        let error = StoreError::write("write", Path::new("/s/a"), full()).needing(1_288_490_189);
        assert!(error.to_string().contains("needs 1.2 GiB"), "{error}");
        assert_eq!(error.failure(), Failure::Store);
    }

    #[test]
    fn a_read_only_store_is_told_from_other_errors() {
        for kind in [io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::PermissionDenied] {
            let error = StoreError::write("create", Path::new("/s"), kind.into());
            assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
        }
    }
}
