//! The ways in which the file system of the tests can differ from a local disk, and the choice of the data that survives
//! a power cut.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// The ways in which a file system differs from a local disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quirks {
    /// A folder, and the error of every attempt to lock a file in it.
    pub(crate) lock_error: Option<(PathBuf, Errno)>,
    /// Whether only a file that is open for writing can be locked, as on NFS.
    pub(crate) locks_need_writing: bool,
    /// Whether a file has another inode number each time it is opened, as on some FUSE file systems.
    pub(crate) has_unstable_inodes: bool,
    /// The error of every attempt to sync a folder.
    pub(crate) folder_sync_error: Option<Errno>,
    /// Whether names are the same if they differ only in case, as on vfat.
    pub(crate) folds_case: bool,
    /// The length after which a name is cut off without an error, as on old FAT file systems.
    pub(crate) cuts_names_at: Option<usize>,
    /// A folder that is a mount point, and so cannot be renamed.
    pub(crate) mount_point: Option<PathBuf>,
    /// A folder that can only be read.
    pub(crate) read_only: Option<PathBuf>,
    /// A folder on another disk, into which nothing can be renamed.
    pub(crate) other_disk: Option<PathBuf>,
    /// The owner of new files and of all folders; `None` is the user of this process.
    pub(crate) owner: Option<u32>,
}

impl Quirks {
    pub(crate) fn is_read_only(&self, path: &Path) -> bool {
        self.read_only.as_ref().is_some_and(|folder| path.starts_with(folder))
    }
}

/// A random number generator that decides which unsynced data survives a power cut. With RNG seed 0, no such data
/// survives. With RNG seed 1, all of it survives.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(if seed > 1 { seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) } else { seed })
    }

    pub(crate) fn keep(&mut self) -> bool {
        if self.0 > 1 {
            // One step of the random number generator xorshift64.
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
        }
        match self.0 {
            0 => false,
            1 => true,
            bits => bits >> 60 & 1 == 1,
        }
    }
}
