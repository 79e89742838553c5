//! The files of a release, before their content is read.

use std::io;
use std::path::{Path, PathBuf};

use super::refused::Refused;
use crate::failure::{Fails, Failure};
use crate::manifest::{FileName, MAX_ARTIFACTS, Role};
use crate::store::{self, ImportSource, Probe, STANDARD_INPUT, StoreError};

/// A file to be imported as an artifact of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseFile {
    role: Role,
    filename: FileName,
    path: PathBuf,
    size: Probe,
}

impl ReleaseFile {
    /// Makes an entry for the file at `path`, whose name in the release is `filename`. The file is a regular file, a
    /// block device or a pipe. Only its size is read.
    ///
    /// # Errors
    /// [`FilesError::Read`] if the metadata of the file cannot be read, or [`FilesError::Kind`].
    pub fn new(role: Role, filename: FileName, path: impl Into<PathBuf>) -> Result<Self, FilesError> {
        let path = path.into();
        match store::probe(&path) {
            Ok(size) => Ok(Self { role, filename, path, size }),
            Err(StoreError::Source { path, source, .. }) => Err(FilesError::Read { path, source }),
            Err(error) => Err(FilesError::Kind(Box::new(error))),
        }
    }

    /// Makes an entry for standard input, whose name in the release is `filename`.
    ///
    /// # Errors
    /// The errors of [`ReleaseFile::new`], for instance if standard input is a terminal.
    pub fn standard_input(role: Role, filename: FileName) -> Result<Self, FilesError> {
        Self::new(role, filename, STANDARD_INPUT)
    }

    /// Makes an entry for a regular file in a folder.
    pub(super) fn in_folder(filename: FileName, path: PathBuf, size: Probe) -> Self {
        Self { role: Role::FILE.parse().expect("`file` is a valid role"), filename, path, size }
    }

    /// Returns the role of the file.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// Returns the name of the file in the release.
    pub fn filename(&self) -> &FileName {
        &self.filename
    }

    /// Returns the path of the file on disk.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the size in bytes that the file had when this entry was made, or `None` if the size is known only at the
    /// end, as with a pipe.
    pub fn len(&self) -> Option<u64> {
        self.size.len
    }

    /// Returns whether the file was empty when this entry was made.
    pub fn is_empty(&self) -> bool {
        self.size.len == Some(0)
    }

    /// Checks that the store can refer to the file, instead of copying it.
    ///
    /// # Errors
    /// [`FilesError::Kind`] if the file is a block device, a pipe or standard input.
    pub fn check_reference(&self) -> Result<(), FilesError> {
        match store::can_be_referred_to(&self.path) {
            true => Ok(()),
            false => Err(FilesError::Kind(Box::new(StoreError::NotByReference(self.path.clone())))),
        }
    }

    /// Returns what the import of the file needs.
    pub(super) fn source(&self) -> ImportSource<'_> {
        ImportSource { path: &self.path, len: self.size.len.unwrap_or(0), data: self.size.data }
    }
}

/// An error from listing the files of a release.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// The metadata of a file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The error from the operating system.
        source: io::Error,
    },
    /// The folder cannot be listed.
    #[error("cannot list {}", path.display())]
    List {
        /// The path of the folder.
        path: PathBuf,
        /// The error from the operating system.
        source: io::Error,
    },
    /// The file is neither a regular file, nor a block device, nor a pipe.
    #[error(transparent)]
    Kind(Box<StoreError>),
    /// Entries of the folder cannot be published.
    #[error("{folder} cannot be published: {refused}", folder = folder.display())]
    Refused {
        /// The path of the folder.
        folder: PathBuf,
        /// The entries.
        refused: Refused,
    },
    /// The folder has more files than a manifest can list.
    #[error("there are more than {MAX_ARTIFACTS} files, which is the maximum of a manifest")]
    TooMany,
}

impl Fails for FilesError {
    fn failure(&self) -> Failure {
        Failure::Input
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::TooMany => Some("publish an image of the folder instead"),
            Self::Refused { .. } => Some("remove or rename these entries, or publish an image of the folder"),
            _ => None,
        }
    }
}
