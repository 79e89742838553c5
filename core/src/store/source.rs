//! Files that are imported: regular files, watched for changes while they are read.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::backend::{BackendFile, FileStat};
use super::error::StoreError;
use super::os::OsFile;

/// A file to import, watched for changes while it is read.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    file: OsFile,
    before: FileStat,
}

impl Source {
    /// Opens a regular file.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        // Opening a pipe or device may wait or have effects.
        let meta = std::fs::metadata(path).map_err(|e| failed("open", path, e))?;
        if !meta.is_file() {
            return Err(StoreError::NotAFile(path.to_owned()));
        }
        let path = std::path::absolute(path).map_err(|e| failed("find", path, e))?;
        let file = OsFile::from(File::open(&path).map_err(|e| failed("open", &path, e))?);
        let before = file.stat().map_err(|e| failed("read", &path, e))?;
        Ok(Self { path, file, before })
    }

    /// Where it is: an absolute path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub(crate) fn file(&self) -> &File {
        self.file.as_file()
    }

    /// The state it was opened in.
    pub(crate) fn stat(&self) -> FileStat {
        self.before
    }

    /// A reader from the beginning on. It ends even if somebody keeps appending to the file.
    pub(crate) fn reader(&self) -> impl Read + '_ {
        ReadAt::start(&self.file).take(self.before.len.saturating_add(1))
    }

    /// Checks that nothing was written while `read` bytes were read.
    pub(crate) fn unchanged(&self, read: u64) -> Result<(), StoreError> {
        let now = self.file.stat().map_err(|e| failed("read", &self.path, e))?;
        let before = self.before;
        let same = (now.len, now.mtime_ns, now.inode) == (before.len, before.mtime_ns, before.inode);
        if same && read == before.len { Ok(()) } else { Err(StoreError::SourceChanged(self.path.clone())) }
    }
}

/// Reads a file from its beginning, without moving its position.
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

/// An error of the operating system about the file to import.
pub(crate) fn failed(action: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Source { action, path: path.to_owned(), source }
}
