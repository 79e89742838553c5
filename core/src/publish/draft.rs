//! A release before it is signed.

use std::sync::Arc;

use super::file::ReleaseFile;
use super::import::{self, Progress};
use crate::cid::{Cid, Digest};
use crate::envelope::{Envelope, EnvelopeError};
use crate::import::ImportOptions;
use crate::manifest::{ArtifactEntry, Manifest};
use crate::name::Name;
use crate::store::{Artifact, Store, StoreError};

/// A release whose files have been found and not been read yet.
#[derive(Clone, Debug)]
pub struct Draft {
    files: Vec<ReleaseFile>,
    /// All but the version, the label that follows from it, and the artifacts.
    manifest: Manifest,
    version: Option<u64>,
    label: Option<String>,
    options: ImportOptions,
}

impl Draft {
    /// A release of `name` with these files. Times are in seconds of Unix time. It gets the version above the one that
    /// the store has, people call it by its version, it is for any board, and it has no kernel command line.
    pub fn new(name: &Name, files: Vec<ReleaseFile>, issued_at: u64, expires_at: u64) -> Self {
        Self {
            files,
            manifest: Manifest::new(name, 0, issued_at, expires_at, Vec::new()),
            version: None,
            label: None,
            options: ImportOptions::default(),
        }
    }

    /// Gives it this version, which must be above the one that the store has.
    #[must_use]
    pub fn with_version(self, version: u64) -> Self {
        Self { version: Some(version), ..self }
    }

    /// What people call it.
    #[must_use]
    pub fn with_label(self, label: impl Into<String>) -> Self {
        Self { label: Some(label.into()), ..self }
    }

    /// The one board it is for.
    #[must_use]
    pub fn with_board(mut self, board: impl Into<String>) -> Self {
        self.manifest.board = Some(board.into());
        self
    }

    /// What the kernel is started with.
    #[must_use]
    pub fn with_cmdline(mut self, cmdline: impl Into<String>) -> Self {
        self.manifest.cmdline = Some(cmdline.into());
        self
    }

    /// How the files become artifacts.
    #[must_use]
    pub fn with_import(self, options: ImportOptions) -> Self {
        Self { options, ..self }
    }

    /// What it is a release of.
    pub fn name(&self) -> Name {
        self.manifest.name()
    }

    /// The version that was given, if one was.
    pub fn version(&self) -> Option<u64> {
        self.version
    }

    /// Checks all that can be told before the files are read: their names and number, the texts, the lifetime.
    ///
    /// # Errors
    /// [`EnvelopeError::Invalid`], or [`EnvelopeError::PayloadTooLarge`] for too many files.
    pub fn check(&self) -> Result<(), EnvelopeError> {
        Envelope::unsigned(&self.preview()).map(drop)
    }

    /// Imports the files into `store`, several at a time. Returns the manifest of them, which nobody has signed yet.
    ///
    /// # Errors
    /// Of the files and of the store: those of [`Store::import`]. Artifacts that were complete before the error stay in
    /// the store.
    pub fn import(
        &self,
        store: &dyn Store,
        version: u64,
        progress: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<Manifest, StoreError> {
        let artifacts = import::import(store, &self.files, &self.options, progress)?;
        let entry = |(file, artifact): (&ReleaseFile, &Arc<dyn Artifact>)| {
            ArtifactEntry::new(file.role().clone(), file.filename().clone(), artifact.cid(), artifact.index())
        };
        Ok(self.manifest(version, self.files.iter().zip(&artifacts).map(entry).collect()))
    }

    /// The manifest as it will be, but for the content of the files.
    pub(super) fn preview(&self) -> Manifest {
        let entry = |file: &ReleaseFile| ArtifactEntry {
            role: file.role().clone(),
            filename: file.filename().clone(),
            size: file.len(),
            cid: Cid::of_block(&[]),
            sha256: Digest::new([0; 32]),
        };
        self.manifest(self.version.unwrap_or(1), self.files.iter().map(entry).collect())
    }

    fn manifest(&self, version: u64, artifacts: Vec<ArtifactEntry>) -> Manifest {
        let release = self.label.clone().unwrap_or_else(|| version.to_string());
        Manifest { version, release, artifacts, ..self.manifest.clone() }
    }
}
