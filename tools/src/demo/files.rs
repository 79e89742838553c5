//! Which files a demo publishes.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use phase_core::Digest;

/// Where this machine's own files are taken from, in this order.
const FOLDERS: [&str; 5] = ["/usr/lib", "/usr/bin", "/usr/share", "/usr/local", "/opt"];
/// Files looked at: more would only take longer to choose from.
const MAX_SEEN: usize = 50_000;
/// Files published.
const MAX_FILES: usize = 256;
/// Folders within folders.
const MAX_DEPTH: usize = 16;

/// A file to publish.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// Its name in the manifest.
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// The files to publish.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) files: Vec<Source>,
    pub(super) bytes: u64,
}

/// Why there is nothing to publish.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    #[error("cannot read {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "{} readable files with {found} bytes were found, the demo takes at least {least}: give a larger folder with --path",
        count
    )]
    TooLittle { count: usize, found: u64, least: u64 },
}

/// The largest files below `folder`, or below this machine's own folders, up to `most` bytes.
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
        return Err(FilesError::TooLittle { count: files.len(), found: bytes, least });
    }
    Ok(Chosen { files, bytes })
}

/// Collects regular files. What cannot be read is passed over: the machine's own folders hold plenty.
fn walk(folder: &Path, root: &Path, depth: usize, seen: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if seen.len() >= MAX_SEEN {
            return;
        }
        // Of the link itself: what it leads to would be published twice.
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

/// The SHA-256 of a file, read from beginning to end.
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
