//! The files of a release, before anything of them is read.

use std::io;
use std::path::{Path, PathBuf};

use crate::failure::{Fails, Failure};
use crate::manifest::{FileName, FileNameError, MAX_ARTIFACTS, Role};

/// A file that becomes an artifact of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseFile {
    role: Role,
    filename: FileName,
    path: PathBuf,
    len: u64,
}

impl ReleaseFile {
    /// The file at `path`, which the release calls `filename`. Of the file itself only the size is read.
    ///
    /// # Errors
    /// [`FilesError::Read`] if there is no such file.
    pub fn new(role: Role, filename: FileName, path: impl Into<PathBuf>) -> Result<Self, FilesError> {
        let path = path.into();
        match path.metadata() {
            Ok(meta) => Ok(Self { role, filename, len: meta.len(), path }),
            Err(source) => Err(FilesError::Read { path, source }),
        }
    }

    /// All files below a folder, sorted, with role [`Role::FILE`] and their paths below the folder as names. Symbolic
    /// links to files are followed. Everything else that is no file or folder is an error: a file that is left out
    /// without a word would be worse.
    ///
    /// # Errors
    /// Any of [`FilesError`].
    pub fn all_in(folder: &Path) -> Result<Vec<Self>, FilesError> {
        let mut found = Vec::new();
        walk(folder, "", &mut found)?;
        Ok(found)
    }

    /// What it is for.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// What the release calls it.
    pub fn filename(&self) -> &FileName {
        &self.filename
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The size that it had when it was found, in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it had no content when it was found.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<ReleaseFile>) -> Result<(), FilesError> {
    let listed = folder.read_dir().and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut entries = listed.map_err(|source| FilesError::List { path: folder.to_owned(), source })?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let meta = match path.metadata() {
            Ok(meta) => meta,
            Err(source) => return Err(FilesError::Read { path, source }),
        };
        let Ok(name) = entry.file_name().into_string() else { return Err(FilesError::NotText(path)) };
        let relative = format!("{prefix}{name}");
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if meta.is_file() {
            let filename = match relative.parse() {
                Ok(filename) => filename,
                Err(error) => return Err(FilesError::Name { path, error }),
            };
            let role = Role::FILE.parse().expect("it is a valid role");
            found.push(ReleaseFile { role, filename, path, len: meta.len() });
        } else if meta.is_dir() && !is_link {
            walk(&path, &format!("{relative}/"), found)?;
        } else {
            return Err(FilesError::Kind(path));
        }
        if found.len() > MAX_ARTIFACTS {
            return Err(FilesError::TooMany);
        }
    }
    Ok(())
}

/// Why files cannot be published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// A file cannot be looked at.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A folder cannot be listed.
    #[error("cannot list {}", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A file name that is not text.
    #[error("{}: its name is not UTF-8", .0.display())]
    NotText(PathBuf),
    /// A file name that a release cannot have.
    #[error("{}: {error}", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// What is wrong with its name.
        error: FileNameError,
    },
    /// A device, a pipe, a link to a folder.
    #[error("{}: neither a file nor a folder; move it away or publish an image of the folder", .0.display())]
    Kind(PathBuf),
    /// More files than a manifest can list.
    #[error("more than {MAX_ARTIFACTS} files: a manifest cannot list them")]
    TooMany,
}

impl Fails for FilesError {
    fn failure(&self) -> Failure {
        Failure::Input
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::TooMany => Some("publish an image of the folder instead"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_walked_in_order_and_strange_things_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("b/c")).unwrap();
        for name in ["b/c/2", "b/1", "a", "z"] {
            std::fs::write(at(name), name).unwrap();
        }
        std::os::unix::fs::symlink("a", at("link")).unwrap();
        let found = ReleaseFile::all_in(folder.path()).unwrap();
        let names: Vec<_> = found.iter().map(|file| file.filename().as_str()).collect();
        assert_eq!(names, ["a", "b/1", "b/c/2", "link", "z"]);
        assert_eq!(found[2].len(), 5);

        std::os::unix::fs::symlink("c", at("b/loop")).unwrap();
        assert!(matches!(ReleaseFile::all_in(folder.path()), Err(FilesError::Kind(path)) if path == at("b/loop")));
        std::fs::remove_file(at("b/loop")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
        assert!(matches!(ReleaseFile::all_in(folder.path()), Err(FilesError::Read { .. })));
    }
}
