//! The real file system as a [`Backend`].

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::backend::{Backend, BackendFile, FileStat, OpenMode};

/// The maximum number of slices that the operating system writes in one call (`IOV_MAX`).
const MAX_SLICES: usize = 1024;

/// The [`Backend`] that uses the real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsBackend;

impl Backend for OsBackend {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn BackendFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => &mut options,
            OpenMode::Create => options.write(true).create(true),
            OpenMode::CreateNew => options.write(true).create_new(true),
            OpenMode::CreateNewPrivate => options.write(true).create_new(true).mode(0o600),
        };
        Ok(Box::new(OsFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    fn available(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// An open file of the real file system.
#[derive(Debug)]
pub(crate) struct OsFile(File);

impl OsFile {
    /// Returns the underlying [`File`].
    pub(crate) fn as_file(&self) -> &File {
        &self.0
    }
}

impl From<File> for OsFile {
    fn from(file: File) -> Self {
        Self(file)
    }
}

impl BackendFile for OsFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn write_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(&self.0, &slices[..slices.len().min(MAX_SLICES)], offset)?)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn stat(&self) -> io::Result<FileStat> {
        let meta = self.0.metadata()?;
        let mtime_ns = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
        // `st_blocks` is in units of 512 bytes on every file system.
        let allocated = meta.blocks().saturating_mul(512);
        Ok(FileStat { len: meta.len(), mtime_ns, inode: meta.ino(), allocated, links: meta.nlink() })
    }

    fn try_lock(&self) -> io::Result<bool> {
        match self.0.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn lock(&self) -> io::Result<()> {
        self.0.lock()
    }

    fn clone_from_file(&self, original: &File) -> io::Result<()> {
        Ok(rustix::fs::ioctl_ficlone(&self.0, original)?)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        // Seeking moves the position of the file, which no other code uses.
        let start = match rustix::fs::seek(&self.0, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let end = rustix::fs::seek(&self.0, SeekFrom::Hole(start))?;
        Ok(Some(start..end))
    }
}
