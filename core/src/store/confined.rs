//! The real file system as the [`Backend`] of a store. It follows no symbolic link inside the store, creates files with
//! the permissions of a shared store, and says in an error of missing permission which file or folder is the reason.
//!
//! Every call resolves its path from the store's folder downwards, one folder at a time. The store's folder itself may
//! be reached through symbolic links, because the user named it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::backend::{Backend, BackendFile, FileStat, OpenMode, Space};
use super::denied;
use super::os::{OsBackend, OsFile, stat_of};

/// The set-group-ID bit. New files in a folder with this bit belong to the folder's group.
const SETGID: u32 = 0o2000;
/// The permissions of the group to read, write and search a folder.
const GROUP: u32 = 0o070;

/// The [`Backend`] of a store on the real file system.
#[derive(Debug)]
pub(crate) struct Confined {
    /// The absolute paths of the folders below which no symbolic link is followed.
    roots: Vec<PathBuf>,
}

impl Confined {
    pub(crate) fn new(roots: Vec<PathBuf>) -> Self {
        Self { roots }
    }

    /// Returns the root that contains `path`, with the rest of the path, or `None` if `path` is not below a root.
    fn split<'a>(&self, path: &'a Path) -> Option<(&Path, &'a Path)> {
        let below = |root: &'_ PathBuf| path.strip_prefix(root).ok().filter(|rest| *rest != Path::new(""));
        self.roots.iter().find_map(|root| below(root).map(|rest| (root.as_path(), rest)))
    }

    /// Opens the folder that contains `path`. Returns it with the last component of `path`. Outside the roots, this is
    /// the current folder and the whole path.
    fn parent<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let Some((root, rest)) = self.split(path) else { return Ok((open_root(Path::new("."))?, path.as_os_str())) };
        let name = rest.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = rest.parent().unwrap_or(Path::new(""));
        Ok((open_folder(open_root(root)?, parent)?, name))
    }

    /// Opens the folder `path` for reading.
    fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        let readable = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Some((root, rest)) = self.split(path) else {
            return Ok(rustix::fs::openat(CWD, path, readable, Mode::empty())?);
        };
        let folder = open_folder(open_root(root)?, rest)?;
        Ok(rustix::fs::openat(folder, ".", readable, Mode::empty())?)
    }

    /// Returns the mode of new folders in a store that is shared with a group, or `None` if `path` is in no such store.
    /// A store is shared if its folder has the set-group-ID bit and its group has permissions.
    fn shared_mode(&self, path: &Path) -> Option<u32> {
        let (root, _) = self.split(path)?;
        let mode = std::fs::metadata(root).ok().map(|meta| stat_of(&meta).mode)?;
        (mode & SETGID != 0 && mode & GROUP != 0).then_some(mode & (SETGID | 0o777))
    }

    fn open_file(&self, path: &Path, mode: OpenMode) -> io::Result<OsFile> {
        let (parent, name) = self.parent(path)?;
        // Without O_NONBLOCK, opening a pipe would wait for another process.
        let always = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let new = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let (flags, permissions) = match mode {
            OpenMode::Read => (OFlags::RDONLY, 0),
            OpenMode::Create => (OFlags::RDWR | OFlags::CREATE, 0o666),
            OpenMode::CreateNew => (new, 0o666),
            OpenMode::CreateNewPrivate => (new, 0o600),
        };
        let file = File::from(rustix::fs::openat(parent, name, flags | always, Mode::from_raw_mode(permissions))?);
        let stat = stat_of(&file.metadata()?);
        if !stat.is_file() {
            return Err(not_regular());
        }
        if matches!(mode, OpenMode::Create | OpenMode::CreateNew) {
            self.share(path, &file, &stat)?;
        }
        Ok(OsFile::from(file))
    }

    /// Gives a file that was just created the permissions of a shared store, whatever the umask is.
    fn share(&self, path: &Path, file: &File, stat: &FileStat) -> io::Result<()> {
        let Some(shared) = self.shared_mode(path) else { return Ok(()) };
        let wanted = shared & 0o666;
        // Only the owner may change the mode. A file of another owner was not created by this call.
        if wanted != stat.mode && stat.len == 0 && stat.owner == rustix::process::geteuid().as_raw() {
            rustix::fs::fchmod(file, Mode::from_raw_mode(wanted))?;
        }
        Ok(())
    }

    /// Creates one folder, whose parent exists. It is not an error if the folder exists.
    fn create_one(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o777)) {
            Ok(()) => {}
            Err(errno) => {
                // On a read-only file system, creating a folder that exists fails with EROFS.
                return open_folder(parent, Path::new(name)).map(drop).map_err(|_| errno.into());
            }
        }
        if let Some(shared) = self.shared_mode(path) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let created = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
            rustix::fs::fchmod(&created, Mode::from_raw_mode(shared))?;
        }
        Ok(())
    }
}

impl Backend for Confined {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn BackendFile>> {
        let file = self.open_file(path, mode).map_err(|error| denied::explain(path, error))?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let rename = || {
            let ((old, from), (new, to)) = (self.parent(from)?, self.parent(to)?);
            Ok(rustix::fs::renameat(old, from, new, to)?)
        };
        rename().map_err(|error| denied::explain(to, error))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let remove = || {
            let (parent, name) = self.parent(path)?;
            Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?)
        };
        remove().map_err(|error| denied::explain(path, error))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let Some((root, rest)) = self.split(path) else {
            return OsBackend.create_dir(path).map_err(|error| denied::explain(path, error));
        };
        let mut folder = root.to_owned();
        for part in rest.components() {
            folder.push(part);
            self.create_one(&folder).map_err(|error| denied::explain(&folder, error))?;
        }
        Ok(())
    }

    fn entries(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let read = || {
            let mut names = Vec::new();
            for entry in Dir::new(self.folder(path)?)? {
                names.push(OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned());
            }
            names.retain(|name| name != "." && name != "..");
            names.sort();
            Ok(names)
        };
        read().map_err(|error| denied::explain(path, error))
    }

    fn space(&self, folder: &Path) -> io::Result<Space> {
        OsBackend.space(folder)
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        let stat = || {
            let (parent, name) = self.parent(path)?;
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            Ok(stat_of(&File::from(rustix::fs::openat(parent, name, flags, Mode::empty())?).metadata()?))
        };
        stat().map_err(|error| denied::explain(path, error))
    }

    fn file_system(&self, folder: &Path) -> Option<String> {
        OsBackend.file_system(folder)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let sync = || Ok(rustix::fs::fsync(self.folder(path)?)?);
        sync().map_err(|error| denied::explain(path, error))
    }
}

/// Opens a regular file outside the store for reading. `path` must be absolute. No part of it may be a symbolic link.
pub(crate) fn open_outside(path: &Path) -> io::Result<OsFile> {
    let confined = Confined::new(vec![PathBuf::from("/")]);
    // Opening a device can have effects, so the type of the file is checked before it is opened, and again afterwards.
    if !confined.stat(path)?.is_file() {
        return Err(not_regular());
    }
    confined.open_file(path, OpenMode::Read).map_err(|error| denied::explain(path, error))
}

fn open_root(root: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens a folder below another folder, and follows no symbolic link.
fn open_folder(mut folder: OwnedFd, below: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for part in below.components() {
        let Component::Normal(name) = part else { return Err(io::ErrorKind::InvalidInput.into()) };
        folder = match rustix::fs::openat(&folder, name, flags, Mode::empty()) {
            Ok(opened) => opened,
            Err(Errno::NOTDIR) if is_link(&folder, name) => return Err(Errno::LOOP.into()),
            Err(errno) => return Err(errno.into()),
        };
    }
    Ok(folder)
}

fn is_link(folder: &OwnedFd, name: &OsStr) -> bool {
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}
