//! The few file operations the store is built from, behind a trait so that tests can inject faults.
//!
//! Everything the store writes goes through [`Backend`]: a test can make any write short, any call fail with ENOSPC
//! or EIO, or cut the power after any of them. Two promises matter to the callers: what [`BackendFile::sync`]
//! confirmed survives a power cut, and so does a name once [`Backend::sync_dir`] confirmed its folder.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;

/// How [`Backend::open`] treats a file that is or is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Reading only; the file must exist.
    Read,
    /// Reading and writing; created empty when absent.
    Create,
    /// Reading and writing; the file must not exist yet.
    CreateNew,
    /// As [`OpenMode::CreateNew`], readable by the owner alone (mode 0600).
    CreateNewPrivate,
}

/// What identifies one state of one file: when it is unchanged, so is the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStat {
    /// Length in bytes.
    pub len: u64,
    /// Time of the last modification, in nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
    /// Number of the file within its file system.
    pub inode: u64,
    /// How many bytes it takes on the disk, holes left out.
    pub allocated: u64,
    /// How many names the file has; 0 once it was removed.
    pub links: u64,
}

/// A file system, or what a test puts in its place.
pub trait Backend: fmt::Debug + Send + Sync {
    /// Opens a file.
    ///
    /// # Errors
    /// What the operating system says: for instance [`io::ErrorKind::NotFound`], or [`io::ErrorKind::AlreadyExists`] for
    /// [`OpenMode::CreateNew`].
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn BackendFile>>;

    /// Renames a file, atomically replacing what had the new name.
    ///
    /// # Errors
    /// What the operating system says; then the names are as before.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the name of a file.
    ///
    /// # Errors
    /// What the operating system says: [`io::ErrorKind::NotFound`] if there is no such file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Creates a folder and its parents; not an error when it is there.
    ///
    /// # Errors
    /// What the operating system says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder, sorted; names that are not UTF-8 are left out, as the store makes none.
    ///
    /// # Errors
    /// What the operating system says: [`io::ErrorKind::NotFound`] if there is no such folder.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<String>>;

    /// How many more bytes can be written below a folder, by this user.
    ///
    /// # Errors
    /// What the operating system says.
    fn available(&self, path: &Path) -> io::Result<u64>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// What the operating system says; then the names may not survive a power cut.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
}

/// An open file. Positions are explicit, so threads may share one.
pub trait BackendFile: fmt::Debug + Send + Sync {
    /// Reads up to `buf.len()` bytes; fewer than asked for, possibly 0, at the end of the file.
    ///
    /// # Errors
    /// What the operating system says.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes a prefix of `bytes` and returns its length.
    ///
    /// # Errors
    /// What the operating system says: [`io::ErrorKind::StorageFull`] if there is no space.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Writes a prefix of all `pieces` together, one after the other, and returns its length.
    ///
    /// # Errors
    /// Those of [`BackendFile::write_at`].
    fn write_vectored_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let first = pieces.iter().find(|piece| !piece.is_empty());
        first.map_or(Ok(0), |piece| self.write_at(piece, offset))
    }

    /// Makes the file `len` bytes long; what was not written reads as zeros and takes no space.
    ///
    /// # Errors
    /// What the operating system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the content durable, and of the metadata what is needed to read it.
    ///
    /// # Errors
    /// What the operating system says; then the content may not survive a power cut.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes content and metadata durable.
    ///
    /// # Errors
    /// What the operating system says; then the content may not survive a power cut.
    fn sync(&self) -> io::Result<()>;

    /// The state of the open file.
    ///
    /// # Errors
    /// What the operating system says.
    fn stat(&self) -> io::Result<FileStat>;

    /// Takes the file's exclusive lock unless somebody else, of this process or another, has it. The lock goes when
    /// the file is closed.
    ///
    /// # Errors
    /// What the operating system says. That somebody else has the lock is no error.
    fn try_lock(&self) -> io::Result<bool>;

    /// Waits for the file's exclusive lock.
    ///
    /// # Errors
    /// What the operating system says.
    fn lock(&self) -> io::Result<()>;

    /// Makes the file share the content of `source` without copying, where the file system can.
    ///
    /// # Errors
    /// If the file system cannot share content, or the two files are on different ones; then nothing was changed.
    fn clone_from_file(&self, source: &File) -> io::Result<()>;

    /// The next range at or after `offset` that may hold anything but zeros.
    ///
    /// # Errors
    /// What the operating system says.
    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>>;

    /// Reads the whole of `buf`, or fails with [`io::ErrorKind::UnexpectedEof`].
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`], and those of [`BackendFile::read_at`].
    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.read_at(buf, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    buf = &mut buf[read..];
                    offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes the whole of `bytes`.
    ///
    /// # Errors
    /// Those of [`BackendFile::write_all_vectored_at`].
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_vectored_at(&mut [IoSlice::new(bytes)], offset)
    }

    /// Writes the whole of all `pieces`, one after the other.
    ///
    /// # Errors
    /// [`io::ErrorKind::WriteZero`] if nothing more is written, and those of [`BackendFile::write_vectored_at`]. A part may be
    /// written.
    fn write_all_vectored_at(&self, mut pieces: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        // Leaves out empty pieces at the front.
        IoSlice::advance_slices(&mut pieces, 0);
        while !pieces.is_empty() {
            match self.write_vectored_at(pieces, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    IoSlice::advance_slices(&mut pieces, written);
                    offset += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
