//! Gives fetched artifacts their file names in a folder, without a second copy where the file system allows.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use phase_core::manifest::ArtifactEntry;
use phase_core::store::{Artifact, Store, StoreError};
use phase_core::{Fails, Failure};

/// How much of an artifact that is in no file is written at a time, in bytes.
const PIECE: u64 = 1 << 20;

/// Puts `entries` under their file names into `folder`: a hard link to the store's file, or a copy where links are not
/// possible. An existing file of that name is replaced, at once and whole.
///
/// A link shares the store's bytes: they are read-only, and a store notices when they are changed all the same.
///
/// # Errors
/// [`ExportError`], naming the file.
pub fn export(store: &dyn Store, entries: &[ArtifactEntry], folder: &Path) -> Result<(), ExportError> {
    for entry in entries {
        let artifact = store.artifact(&entry.cid)?;
        let artifact = artifact.ok_or_else(|| ExportError::Missing(entry.filename.to_string()))?;
        place(&*artifact, &folder.join(entry.filename.as_str()))?;
    }
    Ok(())
}

fn place(artifact: &dyn Artifact, target: &Path) -> Result<(), ExportError> {
    let failed = |source| ExportError::Write { path: target.to_owned(), source };
    let parent = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(failed)?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let temporary = parent.join(format!(".{name}.phase-{}", std::process::id()));
    let _ = fs::remove_file(&temporary);
    let made = match artifact.path() {
        Some(source) => link_or_copy(&source, &temporary).map_err(failed),
        None => write_out(artifact, &temporary, failed),
    };
    let placed = made.and_then(|()| fs::rename(&temporary, target).map_err(failed));
    // Renaming a link onto another link of the same file does nothing and leaves it there.
    let _ = fs::remove_file(&temporary);
    placed
}

fn link_or_copy(source: &Path, target: &Path) -> io::Result<()> {
    fs::hard_link(source, target).or_else(|_| fs::copy(source, target).and_then(|_| fs::File::open(target)?.sync_all()))
}

/// Writes what is in memory only.
fn write_out(
    artifact: &dyn Artifact,
    target: &Path,
    failed: impl Fn(io::Error) -> ExportError,
) -> Result<(), ExportError> {
    let mut file = fs::File::create_new(target).map_err(&failed)?;
    let size = artifact.index().size();
    let mut piece = vec![0; PIECE.min(size) as usize];
    let mut offset = 0;
    while offset < size {
        let len = PIECE.min(size - offset);
        let piece = &mut piece[..len as usize];
        artifact.read_at(offset, piece)?;
        file.write_all(piece).map_err(&failed)?;
        offset += len;
    }
    file.sync_all().map_err(&failed)
}

/// Why artifacts could not be put into a folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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

impl Fails for ExportError {
    fn failure(&self) -> Failure {
        match self {
            Self::Write { .. } => Failure::Input,
            Self::Missing(_) => Failure::Store,
            Self::Store(error) => error.failure(),
        }
    }
}
