//! Exports fetched artifacts to a folder under their file names, without a second copy if the file system supports hard
//! links.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use phase_core::manifest::ArtifactEntry;
use phase_core::store::{Artifact, Store, StoreError};
use phase_core::{Fails, Failure};

/// The size in bytes of the buffer for the export of an artifact that the store keeps in RAM.
const BUFFER_LEN: u64 = 1 << 20;

/// Exports the artifacts of `entries` to `folder` under their file names. Each file becomes a hard link to the file in
/// the store, or a copy if a hard link is not possible. An existing file with the same name is replaced atomically.
///
/// An exported hard link shares its bytes with the store, so it must not be modified. The files in the store are
/// read-only, and the store detects a file that was modified anyway.
///
/// # Errors
/// [`ExportError`] if an artifact is not in the store, or a file cannot be written.
pub fn export(store: &dyn Store, entries: &[ArtifactEntry], folder: &Path) -> Result<(), ExportError> {
    for entry in entries {
        let artifact = store.artifact(&entry.cid)?;
        let artifact = artifact.ok_or_else(|| ExportError::Missing(entry.filename.to_string()))?;
        write_file(&*artifact, &folder.join(entry.filename.as_str()))?;
    }
    Ok(())
}

/// Writes a temporary file and renames it to `target`, so that `target` is never an incomplete file.
fn write_file(artifact: &dyn Artifact, target: &Path) -> Result<(), ExportError> {
    let failed = |source| ExportError::Write { path: target.to_owned(), source };
    let parent = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(failed)?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let temporary = parent.join(format!(".{name}.phase-{}", std::process::id()));
    let _ = fs::remove_file(&temporary);
    let written = match artifact.path() {
        Some(source) => link_or_copy(&source, &temporary).map_err(failed),
        None => copy_from_ram(artifact, &temporary, failed),
    };
    let renamed = written.and_then(|()| fs::rename(&temporary, target).map_err(failed));
    // The temporary file is left after an error. It is also left if `target` is already a hard link to the same file,
    // because `rename` then does nothing.
    let _ = fs::remove_file(&temporary);
    renamed
}

fn link_or_copy(source: &Path, target: &Path) -> io::Result<()> {
    fs::hard_link(source, target).or_else(|_| fs::copy(source, target).and_then(|_| fs::File::open(target)?.sync_all()))
}

/// Writes an artifact that the store keeps in RAM to a new file, and fsyncs the file.
fn copy_from_ram(
    artifact: &dyn Artifact,
    target: &Path,
    failed: impl Fn(io::Error) -> ExportError,
) -> Result<(), ExportError> {
    let mut file = fs::File::create_new(target).map_err(&failed)?;
    let size = artifact.index().size();
    let mut buffer = vec![0; BUFFER_LEN.min(size) as usize];
    let mut offset = 0;
    while offset < size {
        let len = BUFFER_LEN.min(size - offset);
        let bytes = &mut buffer[..len as usize];
        artifact.read_at(offset, bytes)?;
        file.write_all(bytes).map_err(&failed)?;
        offset += len;
    }
    file.sync_all().map_err(&failed)
}

/// An error from [`export`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The artifact with this file name is not in the store.
    #[error("{0} is not in the store")]
    Missing(String),
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The path of the file.
        path: PathBuf,
        /// The I/O error.
        #[source]
        source: io::Error,
    },
    /// The store cannot be read.
    #[error("cannot read the store")]
    Store(#[from] StoreError),
}

impl Fails for ExportError {
    fn failure(&self) -> Failure {
        match self {
            Self::Write { .. } => Failure::Input,
            Self::Missing(_) => Failure::Store,
            Self::Store(error) => error.failure(),
        }
    }
}
