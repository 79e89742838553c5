//! Drafts. A draft is a release whose files are not read yet, and whose manifest is not signed yet.

use super::error::PublishError;
use super::file::ReleaseFile;
use super::import::{self, Progress};
use crate::cid::{Cid, Digest};
use crate::envelope::Envelope;
use crate::import::ImportOptions;
use crate::manifest::{ArtifactEntry, Manifest};
use crate::name::Name;
use crate::store::{Store, StoreError};

/// A draft: a release that is prepared. Its files have not been read, and its manifest is not signed.
#[derive(Clone, Debug)]
pub struct Draft {
    files: Vec<ReleaseFile>,
    /// The manifest. Its version, artifacts and release label are set later.
    manifest: Manifest,
    version: Option<u64>,
    label: Option<String>,
    options: ImportOptions,
}

/// Checks that another version can follow `version`.
pub(super) fn check_version(name: &Name, version: u64) -> Result<(), PublishError> {
    match version {
        u64::MAX => Err(PublishError::LastVersion { name: name.clone(), version }),
        _ => Ok(()),
    }
}

impl Draft {
    /// Makes a draft of a release of `name` with these files. Times are Unix times in seconds. By default, the version
    /// is the version in the store plus 1, the release label is the version, the release is for every board, and it has
    /// no kernel command line.
    pub fn new(name: &Name, files: Vec<ReleaseFile>, issued_at: u64, expires_at: u64) -> Self {
        Self {
            files,
            manifest: Manifest::new(name, 0, issued_at, expires_at, Vec::new()),
            version: None,
            label: None,
            options: ImportOptions::default(),
        }
    }

    /// Sets the version, which must be higher than the version in the store.
    #[must_use]
    pub fn with_version(self, version: u64) -> Self {
        Self { version: Some(version), ..self }
    }

    /// Sets the release label, which is shown to people.
    #[must_use]
    pub fn with_label(self, label: impl Into<String>) -> Self {
        Self { label: Some(label.into()), ..self }
    }

    /// Sets the only board for which the release is made.
    #[must_use]
    pub fn with_board(mut self, board: impl Into<String>) -> Self {
        self.manifest.board = Some(board.into());
        self
    }

    /// Sets the kernel command line.
    #[must_use]
    pub fn with_cmdline(mut self, cmdline: impl Into<String>) -> Self {
        self.manifest.cmdline = Some(cmdline.into());
        self
    }

    /// Sets the options of the import.
    #[must_use]
    pub fn with_import(self, options: ImportOptions) -> Self {
        Self { options, ..self }
    }

    /// Returns the name of the release.
    pub fn name(&self) -> Name {
        self.manifest.name()
    }

    /// Returns the version that was set with [`with_version`](Self::with_version), if any.
    pub fn version(&self) -> Option<u64> {
        self.version
    }

    /// Checks everything that can be checked before the files are read: the names and number of the files, the texts,
    /// and the lifetime.
    ///
    /// # Errors
    /// [`PublishError::Envelope`] if the manifest is invalid or lists too many files, or [`PublishError::LastVersion`].
    pub fn check(&self) -> Result<(), PublishError> {
        check_version(&self.name(), self.version.unwrap_or(0))?;
        Ok(Envelope::unsigned(&self.preview()).map(drop)?)
    }

    /// Imports the files into `store`, several at a time. Returns the manifest that lists them, without signatures.
    ///
    /// # Errors
    /// [`StoreError::DoesNotFit`] before a file is read if there is no space for all of them, and the errors of
    /// [`Store::import`]. Artifacts that were complete before the error stay in the store.
    pub fn import(
        &self,
        store: &dyn Store,
        version: u64,
        progress: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<Manifest, StoreError> {
        Ok(self.manifest(version, self.import_files(store, progress)?))
    }

    /// Imports the files, and returns the entries of their artifacts in the same order.
    pub(super) fn import_files(
        &self,
        store: &dyn Store,
        progress: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<Vec<ArtifactEntry>, StoreError> {
        import::import(store, &self.files, &self.options, progress)
    }

    /// Returns the manifest of the release, with placeholders for the CID and the SHA-256 of each file.
    pub(super) fn preview(&self) -> Manifest {
        let entry = |file: &ReleaseFile| ArtifactEntry {
            role: file.role().clone(),
            filename: file.filename().clone(),
            size: file.len().unwrap_or(0),
            cid: Cid::of_block(&[]),
            sha256: Digest::new([0; 32]),
        };
        self.manifest(self.version.unwrap_or(1), self.files.iter().map(entry).collect())
    }

    /// Returns the manifest of the release, without signatures. `artifacts` are the entries of its files.
    pub(super) fn manifest(&self, version: u64, artifacts: Vec<ArtifactEntry>) -> Manifest {
        let release = self.label.clone().unwrap_or_else(|| version.to_string());
        Manifest { version, release, artifacts, ..self.manifest.clone() }
    }
}
