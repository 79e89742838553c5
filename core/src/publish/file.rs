//! The files of a release, before their content is read.

use std::io;
use std::path::{Path, PathBuf};

use crate::failure::{Fails, Failure};
use crate::manifest::{FileName, FileNameError, MAX_ARTIFACTS, Role};

/// A file to be imported as an artifact of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseFile {
    role: Role,
    filename: FileName,
    path: PathBuf,
    len: u64,
}

impl ReleaseFile {
    /// Makes an entry for the file at `path`, whose name in the release is `filename`. Only the size of the file is
    /// read.
    ///
    /// # Errors
    /// [`FilesError::Read`] if the metadata of the file cannot be read.
    pub fn new(role: Role, filename: FileName, path: impl Into<PathBuf>) -> Result<Self, FilesError> {
        let path = path.into();
        match path.metadata() {
            Ok(meta) => Ok(Self { role, filename, len: meta.len(), path }),
            Err(source) => Err(FilesError::Read { path, source }),
        }
    }

    /// Returns all files below a folder, sorted. Each file has the role [`Role::FILE`]. Its name in the release is its
    /// path relative to the folder.
    ///
    /// Symbolic links to files are followed. Any other entry that is neither a file nor a folder is an error, so that
    /// no file is silently missing in the release.
    ///
    /// # Errors
    /// Every variant of [`FilesError`] is possible.
    pub fn all_in(folder: &Path) -> Result<Vec<Self>, FilesError> {
        let mut found = Vec::new();
        walk(folder, "", &mut found)?;
        Ok(found)
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

    /// Returns the size in bytes that the file had when this entry was made.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns whether the file was empty when this entry was made.
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
            let role = Role::FILE.parse().expect("`file` is a valid role");
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
    /// A folder cannot be listed.
    #[error("cannot list {}", path.display())]
    List {
        /// The path of the folder.
        path: PathBuf,
        /// The error from the operating system.
        source: io::Error,
    },
    /// A file name is not UTF-8.
    #[error("{}: its name is not UTF-8", .0.display())]
    NotText(PathBuf),
    /// A file name is not permitted in a release.
    #[error("{}: {error}", path.display())]
    Name {
        /// The path of the file.
        path: PathBuf,
        /// The error from parsing the file name.
        error: FileNameError,
    },
    /// An entry is neither a file nor a folder, for instance a device, a pipe or a symbolic link to a folder.
    #[error("{}: neither a regular file nor a folder; remove it, or publish an image of the folder", .0.display())]
    Kind(PathBuf),
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
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_in_lists_files_in_order_and_refuses_other_kinds_of_entry() {
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
