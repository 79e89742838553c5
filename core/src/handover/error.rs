//! The errors of a hand-over.

use std::io;
use std::path::{Path, PathBuf};

use crate::cid::Cid;
use crate::failure::{Fails, Failure};
use crate::store::{Size, StoreError};

/// An error from handing artifacts over. The files of an earlier release are unchanged, except on a block device, or if
/// only the last step failed: syncing the new files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// The store does not have the artifact.
    #[error("{filename} is not in the store")]
    Missing {
        /// The file name in the manifest.
        filename: String,
    },
    /// The artifact in the store is damaged. Nothing of it became visible.
    #[error("{filename} is not handed over, because its copy in the store is damaged: {source}")]
    Damaged {
        /// The file name in the manifest.
        filename: String,
        /// The artifact CID.
        cid: Cid,
        /// The damage, with the path of the damaged file.
        source: Box<StoreError>,
    },
    /// A file or folder of the output cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The action that failed, as a verb.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The error from the operating system.
        source: io::Error,
    },
    /// The file system cannot tell two names apart, or cannot keep a name as it is.
    #[error("the file system of {} {problem}; nothing was overwritten; choose a folder on another file system",
        path.display())]
    Names {
        /// The folder of the output.
        path: PathBuf,
        /// What the file system does to the names.
        problem: String,
    },
    /// A file of the release has the name of an existing folder, or the other way round.
    #[error("{} is {found}, but the release needs {needed} there; rename or remove the one that is there", path.display())]
    InTheWay {
        /// The path of the existing file or folder.
        path: PathBuf,
        /// What is there.
        found: &'static str,
        /// What the release needs there.
        needed: &'static str,
    },
    /// Another user could exchange folders for links while root writes there.
    #[error("root cannot write to {} safely, because another user can change {}; run the command as that user, or choose \
        a folder that only root can change", path.display(), part.display())]
    Exposed {
        /// The folder of the output.
        path: PathBuf,
        /// The folder that another user can change.
        part: PathBuf,
    },
    /// The target can take one artifact, but more or none are selected.
    #[error("{} takes one artifact, but {count} are selected; choose one with --only", path.display())]
    NotOne {
        /// The path of the target.
        path: PathBuf,
        /// The number of selected artifacts.
        count: usize,
    },
    /// The path is nothing that an artifact can be written to.
    #[error("{} is {kind}; give a folder, a file, a block device, or - for standard output", path.display())]
    BadTarget {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// Links to the store are not possible.
    #[error("cannot link {}: {reason}; leave out --link to get a copy", path.display())]
    NoLink {
        /// The path of the output.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The block device is used by the kernel or by another process.
    #[error("{} is in use ({by}); unmount it, release it from swap, RAID or LVM, or stop that program; nothing was written", path.display())]
    DeviceBusy {
        /// The path of the device.
        path: PathBuf,
        /// What uses it.
        by: String,
    },
    /// The block device is smaller than the artifact.
    #[error("{} has {}, but {filename} has {}; use a larger device; nothing was written", path.display(), Size(*size),
        Size(*needed))]
    DeviceTooSmall {
        /// The path of the device.
        path: PathBuf,
        /// The size of the device in bytes.
        size: u64,
        /// The file name in the manifest.
        filename: String,
        /// The size of the artifact in bytes.
        needed: u64,
    },
    /// The block device did not keep what was written to it.
    #[error("chunk {chunk} is different when {} is read back: another program wrote to the device, or the device fails; its \
         content cannot be used",
        path.display())]
    DeviceLies {
        /// The path of the device.
        path: PathBuf,
        /// The position of the first wrong chunk.
        chunk: u32,
    },
    /// The store cannot be read.
    #[error("cannot read the store: {0}")]
    Store(#[source] StoreError),
}

impl HandoverError {
    /// Makes the error for a failed operation on the output.
    pub(super) fn io(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

impl Fails for HandoverError {
    fn failure(&self) -> Failure {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::Store,
                _ => Failure::Input,
            },
            Self::Missing { .. } | Self::DeviceLies { .. } => Failure::Store,
            Self::Damaged { source, .. } => source.failure(),
            Self::Store(error) => error.failure(),
            Self::NotOne { .. } | Self::BadTarget { .. } => Failure::Usage,
            _ => Failure::Input,
        }
    }
}
