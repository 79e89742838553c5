//! Gives fetched artifacts their file names in a folder, without a second copy where the file system allows.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use phase_core::Failure;
use phase_core::manifest::ArtifactEntry;
use phase_core::store::{Store, StoreError};

/// Puts `entries` under their file names into `folder`: a hard link to the store's file, or a copy where links are not
/// possible. An existing file of that name is replaced, at once and whole.
///
/// A link shares the store's bytes: they are read-only, and a store notices when they are changed all the same.
///
/// # Errors
/// [`ExportError`], naming the file.
pub fn export(store: &dyn Store, entries: &[ArtifactEntry], folder: &Path) -> Result<(), ExportError> {
    for entry in entries {
        let source = store.artifact(&entry.cid)?.and_then(|artifact| artifact.path());
        let source = source.ok_or_else(|| ExportError::Missing(entry.filename.to_string()))?;
        let target = folder.join(entry.filename.as_str());
        place(&source, &target).map_err(|error| ExportError::Write { path: target, source: error })?;
    }
    Ok(())
}

fn place(source: &Path, target: &Path) -> io::Result<()> {
    let parent = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let temporary = parent.join(format!(".{name}.phase-{}", std::process::id()));
    let _ = fs::remove_file(&temporary);
    let placed = fs::hard_link(source, &temporary)
        .or_else(|_| fs::copy(source, &temporary).and_then(|_| fs::File::open(&temporary)?.sync_all()))
        .and_then(|()| fs::rename(&temporary, target));
    // Renaming a link onto another link of the same file does nothing and leaves it there.
    let _ = fs::remove_file(&temporary);
    placed
}

/// Why artifacts could not be put into a folder.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Not in the store.
    #[error("{0} is not in the store")]
    Missing(String),
    /// The file cannot be made.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The store cannot be read.
    #[error("cannot read the store")]
    Store(#[from] StoreError),
}

impl ExportError {
    /// The kind of failure, for exit codes.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Write { .. } => Failure::Input,
            Self::Missing(_) => Failure::Store,
            Self::Store(error) => error.failure(),
        }
    }
}
