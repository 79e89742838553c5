//! The real file system as a [`Backend`].

use std::ffi::OsString;
use std::fs::{self, File, FileType, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;
use rustix::process::Resource;

use super::backend::{Backend, BackendFile, FileKind, FileStat, OpenMode, Space};

/// The maximum number of slices that the operating system writes in one call (`IOV_MAX`).
const MAX_SLICES: usize = 1024;
/// The types of file systems that keep their files in RAM, and of FAT (`statfs(2)`).
const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;
const VFAT: u64 = 0x4d44;
/// The length of the longest file on FAT, in bytes.
const MAX_VFAT_LEN: u64 = (4 << 30) - 1;

/// The names of file systems with unusual properties, by their type (`statfs(2)`).
const FILE_SYSTEMS: [(u64, &str); 10] = [
    (0x6969, "nfs"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb"),
    (0x6573_5546, "fuse"),
    (0x0102_1997, "9p"),
    (VFAT, "vfat"),
    (0x2011_bab0, "exfat"),
    (0x794c_7630, "overlayfs"),
    (0x7371_7368, "squashfs"),
    (0x9660, "iso9660"),
];

/// The [`Backend`] that uses the real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsBackend;

impl Backend for OsBackend {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn BackendFile>> {
        let mut options = OpenOptions::new();
        // Without O_NONBLOCK, opening a pipe would wait for another process.
        options.read(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
        match mode {
            OpenMode::Read => &mut options,
            OpenMode::Create => options.write(true).create(true),
            OpenMode::CreateNew => options.write(true).create_new(true),
            OpenMode::CreateNewPrivate => options.write(true).create_new(true).mode(0o600),
        };
        let file = options.open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Box::new(OsFile(file)))
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

    fn entries(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn space(&self, folder: &Path) -> io::Result<Space> {
        let (stat, kind) = (rustix::fs::statvfs(folder)?, rustix::fs::statfs(folder)?.f_type as u64);
        let mut bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
        let is_in_ram = matches!(kind, TMPFS | RAMFS);
        if is_in_ram {
            // ramfs has no limit of its own, and reports a size of 0.
            let limit = if stat.f_blocks == 0 { u64::MAX } else { bytes };
            bytes = limit.min(free_ram().unwrap_or(u64::MAX));
        }
        let max_len = if kind == VFAT { MAX_VFAT_LEN } else { u64::MAX };
        let limit = rustix::process::getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX);
        let files = (stat.f_files > 0).then_some(stat.f_favail);
        Ok(Space { bytes, files, max_len: max_len.min(limit), is_in_ram })
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        Ok(stat_of(&fs::symlink_metadata(path)?))
    }

    fn file_system(&self, folder: &Path) -> Option<String> {
        let kind = rustix::fs::statfs(folder).ok()?.f_type as u64;
        let known = FILE_SYSTEMS.iter().find(|(number, _)| *number == kind);
        Some(known.map_or_else(|| format!("type {kind:#x}"), |(_, name)| (*name).to_owned()))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// Returns the RAM that programs can still use without swapping, in bytes, as the kernel estimates it.
pub(super) fn free_ram() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kib = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB"))?;
    kib.trim().parse::<u64>().ok()?.checked_mul(1 << 10)
}

/// Writes as many of `slices` as the operating system takes in one call.
pub(crate) fn write_vectored_at(file: &File, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
    Ok(rustix::io::pwritev(file, &slices[..slices.len().min(MAX_SLICES)], offset)?)
}

fn kind_of(kind: FileType) -> FileKind {
    match () {
        () if kind.is_file() => FileKind::File,
        () if kind.is_dir() => FileKind::Folder,
        () if kind.is_symlink() => FileKind::Link,
        () if kind.is_block_device() => FileKind::BlockDevice,
        () => FileKind::Other,
    }
}

/// Returns the number of files that this process may have open at the same time.
pub(crate) fn descriptor_limit() -> u64 {
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

pub(crate) fn stat_of(meta: &Metadata) -> FileStat {
    let ns = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    FileStat {
        len: meta.len(),
        mtime_ns: ns(meta.mtime(), meta.mtime_nsec()),
        ctime_ns: ns(meta.ctime(), meta.ctime_nsec()),
        inode: meta.ino(),
        // `st_blocks` is in units of 512 bytes on every file system.
        allocated: meta.blocks().saturating_mul(512),
        links: meta.nlink(),
        owner: meta.uid(),
        mode: meta.mode() & 0o7777,
        kind: kind_of(meta.file_type()),
    }
}

/// An open file of the real file system.
#[derive(Debug)]
pub(crate) struct OsFile(File);

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
        write_vectored_at(&self.0, slices, offset)
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

    fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.0.set_permissions(Permissions::from_mode(mode))
    }

    fn stat(&self) -> io::Result<FileStat> {
        Ok(stat_of(&self.0.metadata()?))
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

    fn os_file(&self) -> Option<&File> {
        Some(&self.0)
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
