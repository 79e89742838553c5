//! Chooses the files that the demo publishes.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use phase_cli::{Bytes, counted};
use phase_core::Digest;

/// The system folders in which the demo looks for files, in this order.
const FOLDERS: [&str; 5] = ["/usr/lib", "/usr/bin", "/usr/share", "/usr/local", "/opt"];
/// The search ends after it has found this many files, so that it stays short.
const MAX_SEEN: usize = 50_000;
/// The demo publishes at most this many files.
const MAX_FILES: usize = 256;
/// The search skips folders that are more than this many levels deep.
const MAX_DEPTH: usize = 16;

/// A file that may be published.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// The artifact's file name in the manifest.
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// The files to publish, and their total size.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) files: Vec<Source>,
    pub(super) bytes: u64,
}

/// An error from choosing the files to publish.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    #[error("cannot read {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "only {} found, in {}, but the demo needs {}: give a larger folder with --path",
        Bytes(*found), counted(*count, "readable file", "readable files"), Bytes(*least)
    )]
    TooSmall { count: usize, found: u64, least: u64 },
}

/// Chooses the largest files in `folder`, or in [`FOLDERS`] if it is `None`, up to `most` bytes in total.
///
/// # Errors
/// If `folder` cannot be read, or the files have fewer than `least` bytes.
pub(super) fn choose(folder: Option<&Path>, most: u64, least: u64) -> Result<Chosen, FilesError> {
    let mut seen = Vec::new();
    match folder {
        Some(folder) => {
            fs::read_dir(folder).map_err(|source| FilesError::Unreadable { path: folder.to_owned(), source })?;
            walk(folder, folder, 0, &mut seen);
        }
        None => FOLDERS.iter().for_each(|folder| walk(Path::new(folder), Path::new("/"), 0, &mut seen)),
    }
    seen.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    let mut bytes = 0;
    let mut files = Vec::new();
    for file in seen {
        if files.len() < MAX_FILES && bytes + file.bytes <= most && fs::File::open(&file.path).is_ok() {
            bytes += file.bytes;
            files.push(file);
        }
    }
    if bytes < least {
        return Err(FilesError::TooSmall { count: files.len(), found: bytes, least });
    }
    Ok(Chosen { files, bytes })
}

/// Adds the regular files in `folder` and its subfolders to `seen`. Skips folders that cannot be read.
fn walk(folder: &Path, root: &Path, depth: usize, seen: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if seen.len() >= MAX_SEEN {
            return;
        }
        // Symbolic links are not followed, because their targets would be published twice.
        let Ok(meta) = entry.path().symlink_metadata() else { continue };
        if meta.is_dir() && depth < MAX_DEPTH {
            walk(&entry.path(), root, depth + 1, seen);
        } else if meta.is_file()
            && let Ok(relative) = entry.path().strip_prefix(root)
            && let Some(name) = relative.to_str()
            && name.parse::<phase_core::manifest::FileName>().is_ok()
        {
            seen.push(Source { path: entry.path(), name: name.to_owned(), bytes: meta.len() });
        }
    }
}

/// Reads a file and returns its SHA-256.
pub(super) fn sha256(path: &Path) -> io::Result<Digest> {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    let mut file = fs::File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::new(hash.finalize().into())),
            read => hash.update(&buffer[..read]),
        }
    }
}
