//! The storage backend: the few file operations that the store uses, behind a trait so that tests can inject faults.
//!
//! The store writes only through [`Backend`], so a test can make any write short, let any call fail with ENOSPC or EIO,
//! or simulate a power cut after any call. Callers rely on two guarantees. After [`BackendFile::sync`], the content of
//! a file survives a power cut. After [`Backend::sync_dir`], the names in a folder survive a power cut.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;

/// The mode in which [`Backend::open`] opens a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Opens an existing regular file, for reading only. A symbolic link is refused.
    Read,
    /// Opens a file for reading and writing, and creates it if it does not exist.
    Create,
    /// Creates a file for reading and writing, and fails if it exists.
    CreateNew,
    /// Like [`OpenMode::CreateNew`], but only the owner can read the file (mode 0600).
    CreateNewPrivate,
}

/// The state of a file. While [`FileStat::same_content`] is true for two states, the content counts as unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileStat {
    /// The length of the file in bytes.
    pub len: u64,
    /// The modification time, in nanoseconds since the Unix epoch. Any program can set it.
    pub mtime_ns: i64,
    /// The time of the last change of the content, the mode, the owner or the number of names, in nanoseconds since the
    /// Unix epoch. Only the kernel sets it, so it reveals a change after which the modification time was restored.
    pub ctime_ns: i64,
    /// The inode number, which identifies the file within its file system.
    pub inode: u64,
    /// The disk space that the file uses, in bytes. Holes use no space.
    pub allocated: u64,
    /// The number of hard links to the file, which is 0 after the file was removed.
    pub links: u64,
    /// The user id of the owner.
    pub owner: u32,
    /// The permission bits, for instance `0o644`.
    pub mode: u32,
    /// What the file is.
    pub kind: FileKind,
}

/// What a name in a folder belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    #[default]
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A block device.
    BlockDevice,
    /// A character device, a pipe or a socket.
    Other,
}

impl FileStat {
    /// Returns whether this is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == FileKind::File
    }

    /// Returns whether this is a folder.
    pub fn is_folder(&self) -> bool {
        self.kind == FileKind::Folder
    }

    /// Returns whether a file that had the state `self` and now has the state `other` was not changed in between: its
    /// length, its inode number and both times are the same.
    pub fn same_content(&self, other: &Self) -> bool {
        let key = |stat: &Self| (stat.len, stat.mtime_ns, stat.ctime_ns, stat.inode);
        key(self) == key(other)
    }
}

/// The free space of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// The free disk space that this user can use, in bytes.
    pub bytes: u64,
    /// The number of files that can still be created, or `None` if the file system has no such limit.
    pub files: Option<u64>,
    /// The length of the longest file that this process can write, in bytes.
    pub max_len: u64,
    /// Whether the file system keeps its files in RAM, as tmpfs does. [`Space::bytes`] is then at most the free RAM.
    pub is_in_ram: bool,
}

/// A file system: the real one, or a replacement for it in a test.
pub trait Backend: fmt::Debug + Send + Sync {
    /// Opens a file.
    ///
    /// # Errors
    /// An error from the operating system, for instance [`io::ErrorKind::NotFound`], or
    /// [`io::ErrorKind::AlreadyExists`] for [`OpenMode::CreateNew`].
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn BackendFile>>;

    /// Renames a file. A file that already has the new name is replaced atomically.
    ///
    /// # Errors
    /// An error from the operating system. The names are unchanged then.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. A process that has the file open can still read it.
    ///
    /// # Errors
    /// An error from the operating system, for instance [`io::ErrorKind::NotFound`] if there is no such file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Creates a folder and its missing parents. It is not an error if the folder exists.
    ///
    /// # Errors
    /// An error from the operating system.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Returns the names in a folder, sorted.
    ///
    /// # Errors
    /// An error from the operating system, for instance [`io::ErrorKind::NotFound`] if there is no such folder.
    fn entries(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// Returns the names in a folder, sorted. Names that are not UTF-8 are left out, because the store creates none.
    ///
    /// # Errors
    /// The errors of [`Backend::entries`].
    fn read_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        Ok(self.entries(path)?.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    /// Returns the free space of the file system of a folder.
    ///
    /// # Errors
    /// An error from the operating system.
    fn space(&self, folder: &Path) -> io::Result<Space>;

    /// Returns the state of a file or folder. If `path` is a symbolic link, this is the state of the link.
    ///
    /// # Errors
    /// An error from the operating system, for instance [`io::ErrorKind::NotFound`].
    fn stat(&self, path: &Path) -> io::Result<FileStat>;

    /// Returns the name of the type of the file system of a folder, for instance `nfs`, if it is known.
    fn file_system(&self, _folder: &Path) -> Option<String> {
        None
    }

    /// Syncs a folder to disk (fsync), so that the names in it survive a power cut.
    ///
    /// # Errors
    /// An error from the operating system. The names may not survive a power cut then.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
}

/// An open file. Every call takes a position, so threads may share the file.
pub trait BackendFile: fmt::Debug + Send + Sync {
    /// Reads up to `buf.len()` bytes at `offset`. Returns the number of bytes read, which is 0 at the end of the file.
    ///
    /// # Errors
    /// An error from the operating system.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes a prefix of `bytes` at `offset`. Returns the length of the prefix.
    ///
    /// # Errors
    /// An error from the operating system, for instance [`io::ErrorKind::StorageFull`] if there is no space.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Writes a prefix of the concatenated `slices` at `offset`. Returns the length of the prefix.
    ///
    /// # Errors
    /// The errors of [`BackendFile::write_at`].
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        first.map_or(Ok(0), |slice| self.write_at(slice, offset))
    }

    /// Sets the length of the file to `len` bytes. Bytes that were never written read as zeros and use no disk space.
    ///
    /// # Errors
    /// An error from the operating system.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Syncs the content to disk, with the metadata that is needed to read it (fdatasync).
    ///
    /// # Errors
    /// An error from the operating system. The content may not survive a power cut then.
    fn sync_data(&self) -> io::Result<()>;

    /// Syncs the content and all metadata to disk (fsync).
    ///
    /// # Errors
    /// An error from the operating system. The content may not survive a power cut then.
    fn sync(&self) -> io::Result<()>;

    /// Sets the permission bits of the file.
    ///
    /// # Errors
    /// An error from the operating system.
    fn set_mode(&self, mode: u32) -> io::Result<()>;

    /// Returns the state of the open file.
    ///
    /// # Errors
    /// An error from the operating system.
    fn stat(&self) -> io::Result<FileStat>;

    /// Tries to take the exclusive lock on the file. Returns false if the lock is already held, in this process or
    /// another. Closing the file releases the lock.
    ///
    /// # Errors
    /// An error from the operating system. A lock that is already held is not an error.
    fn try_lock(&self) -> io::Result<bool>;

    /// Waits for the exclusive lock on the file, and takes it.
    ///
    /// # Errors
    /// An error from the operating system.
    fn lock(&self) -> io::Result<()>;

    /// Replaces the content of this file with a reflink of `original`, so that both files share the data on disk.
    ///
    /// # Errors
    /// If the file system does not support reflinks, or the files are on different file systems. Nothing is changed
    /// then.
    fn clone_from_file(&self, original: &File) -> io::Result<()>;

    /// Returns the file of the operating system, or `None` if this is a file of a replacement file system.
    fn os_file(&self) -> Option<&File> {
        None
    }

    /// Returns the next byte range at or after `offset` that is not a hole, or `None` if only holes follow.
    ///
    /// # Errors
    /// An error from the operating system.
    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>>;

    /// Reads exactly `buf.len()` bytes at `offset`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the file has fewer bytes, and the errors of [`BackendFile::read_at`].
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

    /// Writes all `bytes` at `offset`.
    ///
    /// # Errors
    /// The errors of [`BackendFile::write_all_vectored_at`].
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_vectored_at(&mut [IoSlice::new(bytes)], offset)
    }

    /// Writes all `slices` at `offset`, one after the other.
    ///
    /// # Errors
    /// [`io::ErrorKind::WriteZero`] if a write makes no progress, and the errors of [`BackendFile::write_vectored_at`].
    /// Some of the bytes may have been written.
    fn write_all_vectored_at(&self, mut slices: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        // This skips empty slices at the front, because a write of 0 bytes would count as no progress.
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match self.write_vectored_at(slices, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    IoSlice::advance_slices(&mut slices, written);
                    offset += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes the content of the file, and gives it `len` bytes of zeros that use no disk space.
    ///
    /// # Errors
    /// An error from the operating system. The file may be empty then.
    fn reset(&self, len: u64) -> io::Result<()> {
        self.set_len(0)?;
        self.set_len(len)
    }

    /// Writes `bytes` at `offset` of a file that has zeros there, such as after [`BackendFile::reset`]. Runs of zeros are not written, so that they stay holes
    /// and use no disk space.
    ///
    /// # Errors
    /// The errors of [`BackendFile::write_all_at`].
    fn write_sparse_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut start = 0;
        for run in bytes.chunks(HOLE).collect::<Vec<_>>().chunk_by(|a, b| is_zero(a) == is_zero(b)) {
            let len: usize = run.iter().map(|part| part.len()).sum();
            if !is_zero(run[0]) {
                self.write_all_at(&bytes[start..start + len], offset + start as u64)?;
            }
            start += len;
        }
        Ok(())
    }
}

/// The length of the shortest run of zeros that becomes a hole, in bytes. It is the block size of most file systems.
const HOLE: usize = 4096;

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
