//! The errors of store operations.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use rustix::io::Errno;

use super::damage::{Damage, RefProblem};
use super::denied::User;
use super::errno::{has_no_locks, is_link};
use super::shortage::{Shortage, Size};
use crate::cid::{Cid, CidError};
use crate::failure::{Fails, Failure};
use crate::index::IndexError;
use crate::keys::KeyError;
use crate::manifest::FileName;
use crate::name::Name;

/// An error from a store operation. The message names the file or artifact, the cause and, if there is one, the next
/// step.
///
/// Blocks and verified chunks that a failed operation wrote before the error stay in the store. If only the last sync
/// failed, the change is made, but it may not survive a power cut. Otherwise, the content of the store is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system returned an error that no other variant describes.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// The action that failed, as a verb.
        action: &'static str,
        /// The path of the file or folder.
        path: PathBuf,
        /// The error from the operating system.
        source: io::Error,
    },
    /// The disk is full, or the user's disk quota is used up.
    #[error("no space left for {path}{}; free some space, or put the store on another disk", Needs(*.needed))]
    NoSpace {
        /// The path of the file that does not fit.
        path: PathBuf,
        /// The disk space that the file needs, in bytes, if known.
        needed: Option<u64>,
        /// The error from the operating system.
        source: io::Error,
    },
    /// The operation does not fit into the file system of the store. Nothing was written, unless the limit was hit in
    /// the middle of an operation whose size was not known beforehand.
    #[error("{}: {shortage}", folder.display())]
    DoesNotFit {
        /// The folder in the store's file system.
        folder: PathBuf,
        /// What is missing.
        shortage: Shortage,
    },
    /// The store can be read but not written to.
    #[error("cannot {action} {path}: {source}; make the store writable for this user, or use another store")]
    ReadOnly {
        /// The action that failed, as a verb.
        action: &'static str,
        /// The path of the file or folder.
        path: PathBuf,
        /// The error from the operating system.
        source: io::Error,
    },
    /// The folder is not empty and is not a store.
    #[error("{0} is not a store: it is not empty and has no file `format`; use an empty or new folder")]
    NotAStore(PathBuf),
    /// The path of the store, or a folder above it, is a file.
    #[error("cannot use {path} as a store: {file} is a file, not a folder")]
    NotAFolder {
        /// The path of the store.
        path: PathBuf,
        /// The path of the file.
        file: PathBuf,
    },
    /// The file `format` does not contain a store format.
    #[error("{0} does not name a store format; check that its folder is a store of Phase")]
    UnknownFormat(PathBuf),
    /// The store was made by a later version of Phase.
    #[error(
        "{path} has store format {found}, but this version supports only format {known}; use a newer version of Phase"
    )]
    NewerFormat {
        /// The path of the store's folder.
        path: PathBuf,
        /// The format in which the store was made.
        found: u32,
        /// The format that this version of Phase supports.
        known: u32,
    },
    /// The store was made by an earlier version of Phase, and this version cannot read it.
    #[error(
        "{path} has the old store format {found}, but this version supports only format {known}; publish or fetch into \
         a new store"
    )]
    OlderFormat {
        /// The path of the store's folder.
        path: PathBuf,
        /// The format in which the store was made.
        found: u32,
        /// The format that this version of Phase supports.
        known: u32,
    },
    /// There is no store in the folder, and none may be created, because it is opened only for reading.
    #[error("{0} is not a store: it has no file `format`; publish or fetch into it first, without --state")]
    NoStore(PathBuf),
    /// The store was opened only for reading, with another folder for the files that are written meanwhile.
    #[error("cannot write to {0}: it was opened with --state, and is only read; open it without --state")]
    OnlyRead(PathBuf),
    /// The folder of the run-time files and the store's folder contain each other.
    #[error("cannot use {path} for --state: it and the store {store} contain each other; use another folder")]
    StateInStore {
        /// The path of the folder.
        path: PathBuf,
        /// The path of the store's folder.
        store: PathBuf,
    },
    /// The folder of the run-time files is a store itself.
    #[error("cannot use {0} for --state: it is a store; use another folder")]
    StateIsStore(PathBuf),
    /// A folder of the store is a symbolic link or a file.
    #[error(
        "{0} is a symbolic link or a file, not a folder; Phase follows no links inside a store: move the whole store, \
         and name the new folder"
    )]
    NotAStoreFolder(PathBuf),
    /// A file of the store, or a folder in its path, is a symbolic link.
    #[error(
        "cannot {action} {path}: it, or a folder of the store above it, is a symbolic link; Phase follows no links \
         inside a store; remove the link"
    )]
    Link {
        /// The action that failed, as a verb.
        action: &'static str,
        /// The path of the file or folder.
        path: PathBuf,
    },
    /// The folders of the store are on several file systems, so that a file cannot be renamed into its place.
    #[error("cannot {action} {path}: it is on another file system than the folder tmp; put the whole store on one")]
    OtherFileSystem {
        /// The action that failed, as a verb.
        action: &'static str,
        /// The path of the file.
        path: PathBuf,
        /// The error from the operating system.
        source: io::Error,
    },
    /// The file system has no file locks, so that several processes cannot share a store.
    #[error(
        "the file system{} of {path} has no file locks ({source}); serve the store with --state DIR on a local disk, \
         or put it on another file system",
        Kind(.file_system)
    )]
    NoLocks {
        /// The path of the folder or of the lock file.
        path: PathBuf,
        /// The type of the file system, if it is known.
        file_system: Option<String>,
        /// The error from the operating system.
        source: io::Error,
    },
    /// A provider cannot lock the store, because the store can only be read.
    #[error(
        "cannot lock {path}: {source}; to serve a store that can only be read, name a folder for locks and keys with \
         --state DIR"
    )]
    NeedsState {
        /// The path of the lock file.
        path: PathBuf,
        /// The error from the operating system.
        source: io::Error,
    },
    /// A secret file or the folder of the run-time files belongs to another user.
    #[error(
        "cannot trust {path}: it belongs to {}, and this process runs as {}; run it as the owner, or name another \
         folder for locks and keys with --state DIR",
        User(*.owner),
        User(*.user)
    )]
    OtherOwner {
        /// The path of the file or folder.
        path: PathBuf,
        /// The user id of its owner.
        owner: u32,
        /// The user id of this process.
        user: u32,
    },
    /// Other users can read or change a file or folder that only its owner may use.
    #[error("cannot trust {path}: other users can use it (mode {mode:04o}); run `chmod go= {path}`")]
    OpenToOthers {
        /// The path of the file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The artifact is open for writing, in this or another process.
    #[error(
        "another fetch is writing artifact {cid} and holds the lock on {}; wait until it ends, or stop it",
        lock.display()
    )]
    Busy {
        /// The artifact CID.
        cid: Cid,
        /// The path of the locked file.
        lock: PathBuf,
    },
    /// Another provider is running on the store.
    #[error(
        "another provider{} is running on this store and holds the lock on {}; stop it, or use another store",
        Process(pid),
        lock.display()
    )]
    ProviderRunning {
        /// The path of the locked file.
        lock: PathBuf,
        /// The id of the other process, if the lock file contains it.
        pid: Option<u32>,
    },
    /// A file of the store, or a file that was imported by reference, is damaged. It is not served.
    #[error("{path} is damaged: {damage}")]
    Damaged {
        /// The path of the damaged file.
        path: PathBuf,
        /// The kind of damage.
        #[source]
        damage: Box<Damage>,
    },
    /// The bytes of a block to be stored do not match its CID.
    #[error("cannot store block {cid}")]
    BadBlock {
        /// The CID that the caller passed for the block.
        cid: Cid,
        /// The error from verifying the block.
        source: CidError,
    },
    /// A block to be stored is too long.
    #[error("block {cid} has {len} bytes, more than the maximum of {cap}")]
    BlockTooLarge {
        /// The CID that the caller passed for the block.
        cid: Cid,
        /// The length of the block in bytes.
        len: usize,
        /// The maximum length of a block in bytes.
        cap: usize,
    },
    /// A chunk to be stored does not match the index. The chunk was not written.
    #[error("cannot store a chunk of artifact {cid}")]
    BadChunk {
        /// The artifact CID.
        cid: Cid,
        /// The error from verifying the chunk.
        source: IndexError,
    },
    /// The index of a stored artifact cannot be decoded from its blocks.
    #[error("cannot use the index of artifact {cid}")]
    BadIndex {
        /// The artifact CID.
        cid: Cid,
        /// The error from decoding the index.
        source: IndexError,
    },
    /// The index that the caller passed belongs to another artifact.
    #[error("the index passed for artifact {cid} belongs to artifact {actual}")]
    OtherIndex {
        /// The CID of the requested artifact.
        cid: Cid,
        /// The CID of the artifact to which the index belongs.
        actual: Cid,
    },
    /// The artifact is complete already, so [`Store::artifact`](crate::store::Store::artifact) must be used to open it.
    #[error("artifact {0} is complete already")]
    Complete(Cid),
    /// The partial artifact was finished and accepts no more chunks.
    #[error("artifact {0} is finished and accepts no more chunks")]
    Finished(Cid),
    /// Chunks of the artifact are missing.
    #[error("artifact {cid} is incomplete: {missing} of its chunks missing")]
    Incomplete {
        /// The artifact CID.
        cid: Cid,
        /// The number of missing chunks.
        missing: u64,
    },
    /// The requested byte range ends past the end of the artifact, or some of its bytes are not in verified chunks.
    #[error("artifact {cid} has no verified bytes {start}..{end}")]
    NotThere {
        /// The artifact CID.
        cid: Cid,
        /// The position of the first requested byte.
        start: u64,
        /// The exclusive end of the requested byte range.
        end: u64,
    },
    /// The store does not have the manifest to which the pointer record leads.
    #[error(
        "{name} leads to manifest {manifest}, which is not in the store; run `phase store repair`, or publish or fetch \
         {name} again"
    )]
    NoManifest {
        /// The name in the pointer record.
        name: Name,
        /// The manifest CID in the pointer record.
        manifest: Cid,
    },
    /// The store does not have an artifact of the release to which the pointer record leads.
    #[error(
        "cannot point {name} at its release: the artifact {cid} ({filename}) is not in the store, or was removed \
         meanwhile; publish or fetch the release again"
    )]
    NoArtifact {
        /// The name in the pointer record.
        name: Name,
        /// The file name of the artifact.
        filename: FileName,
        /// The artifact CID.
        cid: Cid,
    },
    /// The envelope is not a pointer record that can be the ref of the name.
    #[error("not a pointer record for {name}: {problem}")]
    BadPointer {
        /// The name whose ref was to be set.
        name: Name,
        /// The reason why the envelope cannot be the ref.
        problem: Box<RefProblem>,
    },
    /// The ref has a higher version, or the same version and another manifest. It is unchanged.
    #[error("cannot point {name} at version {version}: the store already has version {held}{}", OtherManifest(*.version == *.held))]
    RefIsNewer {
        /// The name whose ref was to be set.
        name: Name,
        /// The version of the pointer that was to be set.
        version: u64,
        /// The version of the ref.
        held: u64,
    },
    /// The file to import cannot be read.
    #[error("cannot {action} {path}: {source}")]
    Source {
        /// The action that failed, as a verb.
        action: &'static str,
        /// The path of the file.
        path: PathBuf,
        /// The error from the operating system.
        source: io::Error,
    },
    /// The file to import is neither a regular file, nor a block device, nor a pipe.
    #[error("{path} is {what}: give a regular file, a block device or a pipe")]
    NotImportable {
        /// The path of the file.
        path: PathBuf,
        /// What it is, for instance `a folder`.
        what: &'static str,
    },
    /// The store cannot refer to a device, a pipe or standard input, because it could not read the content again.
    #[error(
        "{0} cannot be imported by reference, because it is not a regular file with a lasting name; copy it instead"
    )]
    NotByReference(PathBuf),
    /// The file to import was changed while it was read.
    #[error("{0} changed while it was read; try again when no program writes to it")]
    SourceChanged(PathBuf),
    /// The file to import cannot have an index, because it has too many chunks of the chosen size.
    #[error("cannot make an artifact of {path}")]
    NoIndex {
        /// The path of the file.
        path: PathBuf,
        /// The error from making the index.
        source: IndexError,
    },
    /// The node's identity key cannot be generated or read.
    #[error("cannot use the node's key {path}")]
    Identity {
        /// The path of the key file.
        path: PathBuf,
        /// The error from parsing or generating the key.
        source: KeyError,
    },
    /// The chunk map cannot be used. It may be deleted at any time, because the store creates it again.
    #[error("cannot use chunk map {path}; delete it, and it is created again")]
    ChunkMap {
        /// The path of the chunk map.
        path: PathBuf,
        /// The error from the database.
        source: Box<redb::Error>,
    },
}

impl Fails for StoreError {
    fn failure(&self) -> Failure {
        match self {
            Self::Source { .. }
            | Self::NotImportable { .. }
            | Self::NotByReference(_)
            | Self::SourceChanged(_)
            | Self::NoIndex { .. }
            | Self::BadPointer { .. } => Failure::Input,
            Self::BadBlock { .. }
            | Self::BlockTooLarge { .. }
            | Self::BadChunk { .. }
            | Self::BadIndex { .. }
            | Self::RefIsNewer { .. }
            | Self::OtherIndex { .. } => Failure::Untrusted,
            _ => Failure::Store,
        }
    }
}

impl StoreError {
    /// Returns whether the operation may succeed later, because the system lacks open files or memory at the moment.
    /// Such an error says nothing about the content of the store: it never means that something is damaged or missing.
    pub fn is_temporary(&self) -> bool {
        let io = match self {
            Self::Io { source, .. } | Self::ReadOnly { source, .. } | Self::Source { source, .. } => source,
            Self::ChunkMap { source, .. } => match &**source {
                redb::Error::Io(error) => error,
                _ => return false,
            },
            _ => return false,
        };
        is_temporary(io)
    }

    /// Makes the error for a failed operation that writes to the store.
    pub(crate) fn write(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            _ if action == "lock" && has_no_locks(&source) => Self::NoLocks { path, file_system: None, source },
            _ if is_link(&source) => Self::Link { action, path },
            io::ErrorKind::CrossesDevices => Self::OtherFileSystem { action, path, source },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path, needed: None, source },
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                Self::ReadOnly { action, path, source }
            }
            _ => Self::Io { action, path, source },
        }
    }

    /// Makes the error for a failed operation that reads from the store.
    pub(crate) fn read(action: &'static str, path: &Path, source: io::Error) -> Self {
        if is_link(&source) {
            return Self::Link { action, path: path.to_owned() };
        }
        Self::Io { action, path: path.to_owned(), source }
    }

    /// Makes the error for a damaged file.
    pub(crate) fn damaged(path: &Path, damage: Damage) -> Self {
        Self::Damaged { path: path.to_owned(), damage: Box::new(damage) }
    }

    /// Sets the needed disk space of a [`StoreError::NoSpace`]. Every other error is returned unchanged.
    pub(crate) fn needing(self, bytes: u64) -> Self {
        match self {
            Self::NoSpace { path, source, .. } => Self::NoSpace { path, needed: Some(bytes), source },
            other => other,
        }
    }
}

/// Returns whether an error of the operating system says that it lacks open files or memory at the moment.
pub(crate) fn is_temporary(error: &io::Error) -> bool {
    let temporary = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::INTR];
    Errno::from_io_error(error).is_some_and(|errno| temporary.contains(&errno))
}

/// Displays the needed disk space, for instance `: needs 1.2 GiB`, or nothing if it is not known.
struct Needs(Option<u64>);

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |bytes| write!(f, ": needs {}", Size(bytes)))
    }
}

/// Displays that two pointers with the same version lead to different manifests, or nothing.
struct OtherManifest(bool);

impl fmt::Display for OtherManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { ", with another manifest" } else { "" })
    }
}

/// Displays the type of a file system, for instance ` (nfs)`, or nothing if it is not known.
struct Kind<'a>(&'a Option<String>);

impl fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |kind| write!(f, " ({kind})"))
    }
}

/// Displays a process id, for instance ` (process 123)`, or nothing if it is not known.
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
    fn the_error_for_a_full_disk_names_the_needed_space() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let error = StoreError::write("write", Path::new("/s/a"), full());
        assert_eq!(error.to_string(), "no space left for /s/a; free some space, or put the store on another disk");
        let error = StoreError::write("write", Path::new("/s/a"), full()).needing(1_288_490_189);
        assert!(error.to_string().contains("needs 1.2 GiB"), "{error}");
        assert_eq!(error.failure(), Failure::Store);
    }

    #[test]
    fn a_read_only_store_has_its_own_error() {
        for kind in [io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::PermissionDenied] {
            let error = StoreError::write("create", Path::new("/s"), kind.into());
            assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
        }
    }
}
