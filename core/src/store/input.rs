//! The input of an import: a regular file, which must not change while it is read.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::backend::{BackendFile, FileStat};
use super::error::StoreError;
use super::os::OsFile;

/// An open file that is imported. After reading it, the import checks whether the file has changed.
#[derive(Debug)]
pub(crate) struct InputFile {
    path: PathBuf,
    file: OsFile,
    before: FileStat,
}

impl InputFile {
    /// Opens a regular file.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        // The type is checked first, because opening a pipe or a device may block or have side effects.
        let meta = std::fs::metadata(path).map_err(|e| failed("open", path, e))?;
        if !meta.is_file() {
            return Err(StoreError::NotAFile(path.to_owned()));
        }
        let path = std::path::absolute(path).map_err(|e| failed("find", path, e))?;
        let file = OsFile::from(File::open(&path).map_err(|e| failed("open", &path, e))?);
        let before = file.stat().map_err(|e| failed("read", &path, e))?;
        Ok(Self { path, file, before })
    }

    /// Returns the absolute path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the open file.
    pub(crate) fn file(&self) -> &OsFile {
        &self.file
    }

    /// Returns the state of the file when it was opened.
    pub(crate) fn stat(&self) -> FileStat {
        self.before
    }

    /// Returns a reader for the file, which reads at most one byte more than the file had when it was opened. This byte
    /// shows that the file has grown. Without the limit, the import could not end while another process appends bytes.
    pub(crate) fn reader(&self) -> impl Read + '_ {
        ReadAt::start(&self.file).take(self.before.len.saturating_add(1))
    }

    /// Checks that the file has not changed since it was opened, and that its length is `read`, the number of bytes
    /// that were read.
    pub(crate) fn check_unchanged(&self, read: u64) -> Result<(), StoreError> {
        let now = self.file.stat().map_err(|e| failed("read", &self.path, e))?;
        let before = self.before;
        if now.same_content(&before) && read == before.len {
            Ok(())
        } else {
            Err(StoreError::SourceChanged(self.path.clone()))
        }
    }
}

/// A reader that starts at the beginning of a file and does not move the file's position.
pub(crate) struct ReadAt<'a> {
    file: &'a dyn BackendFile,
    offset: u64,
}

impl<'a> ReadAt<'a> {
    pub(crate) fn start(file: &'a dyn BackendFile) -> Self {
        Self { file, offset: 0 }
    }
}

impl Read for ReadAt<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buf, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Makes the error for a failed operation on the file to import.
pub(crate) fn failed(action: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Source { action, path: path.to_owned(), source }
}
