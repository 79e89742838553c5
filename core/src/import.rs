//! Turning a file into an artifact: read once, cut, hashed, and copied along the way where a copy is wanted.
//!
//! [`Store::import`](crate::store::Store::import) is the way in; here is what all stores share. Memory is bounded, whatever
//! the size of the file, apart from the index itself (about 45 bytes per chunk).

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::chunker::ChunkerParams;
use crate::cid::HashAlgorithm;
use crate::store::backend::{BackendFile, FileStat};
use crate::store::{OsFile, StoreError};

mod pipeline;

pub use pipeline::{ScanError, Sink, scan};

/// Whether the store gets its own copy of an imported file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImportMode {
    /// The store has its own file. Where the file system can share the content between two files, that is done
    /// instead of copying.
    #[default]
    Copy,
    /// The store refers to the file where it is, which must not be changed from then on: once it is, the artifact
    /// is not served any more.
    Reference,
}

/// How a file becomes an artifact.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportOptions {
    /// Whether the store gets its own copy. Default: it does.
    pub mode: ImportMode,
    /// The chunk sizes. They decide the artifact's CID, and which data it shares with others.
    pub chunker: ChunkerParams,
    /// The hash of chunks and index. Default: BLAKE3.
    pub hash: HashAlgorithm,
}

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
