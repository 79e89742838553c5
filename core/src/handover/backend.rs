//! The file operations of a hand-over, beyond those of a store, behind a trait so that tests can inject faults.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, ResolveFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use crate::store::OsBackend;
use crate::store::backend::Backend;

/// The file system to which artifacts are handed over: the real one, or a replacement for it in a test.
pub trait OutputBackend: Backend {
    /// Creates a folder that only its owner can open (mode 0700).
    ///
    /// # Errors
    /// An error from the operating system, for instance [`io::ErrorKind::AlreadyExists`].
    fn create_private_dir(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// An error from the operating system.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Gives the folder `to` the permission bits, the owner and the group of the folder `from`.
    ///
    /// # Errors
    /// If the process may not do so, or if `from` has an access control list, which cannot be copied; or another error from
    /// the operating system.
    fn copy_dir_mode(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Renames a file or folder, and fails if the new name exists.
    ///
    /// # Errors
    /// An error from the operating system, for instance [`io::ErrorKind::AlreadyExists`].
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Atomically exchanges the names of two files or folders.
    ///
    /// # Errors
    /// An error from the operating system, for instance if the file system does not support it.
    fn exchange(&self, a: &Path, b: &Path) -> io::Result<()>;

    /// Gives a file a second name (a hard link). If `original` is a symbolic link, the link gets the second name.
    ///
    /// # Errors
    /// An error from the operating system.
    fn link(&self, original: &Path, path: &Path) -> io::Result<()>;

    /// Creates a symbolic link that contains `target`.
    ///
    /// # Errors
    /// An error from the operating system.
    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()>;

    /// Returns the content of a symbolic link.
    ///
    /// # Errors
    /// An error from the operating system.
    fn read_link(&self, path: &Path) -> io::Result<PathBuf>;

    /// Returns the part of the path of `folder` in which another user could exchange folders for links while root works
    /// there, or `None` if there is none. Processes of other users than root have no more rights than that user.
    ///
    /// # Errors
    /// An error from the operating system.
    fn exposed_part(&self, folder: &Path) -> io::Result<Option<PathBuf>>;

    /// Returns whether a folder is the root of a mounted file system, so that it cannot be renamed.
    ///
    /// # Errors
    /// An error from the operating system.
    fn is_mount_point(&self, folder: &Path) -> io::Result<bool>;

    /// Moves a file to the path `relative` beneath the folder `root`. Missing folders in between are created. If the
    /// path has a file already, the two files exchange their names if possible; otherwise it is replaced. Returns
    /// whether they were exchanged.
    ///
    /// # Errors
    /// If one of the folders in between is a symbolic link, so that no file is written outside `root`; or another error
    /// from the operating system.
    fn place(&self, from: &Path, root: &Path, relative: &Path) -> io::Result<bool>;
}

impl OutputBackend for OsBackend {
    fn create_private_dir(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn copy_dir_mode(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (wanted, has) = (fs::symlink_metadata(from)?, fs::symlink_metadata(to)?);
        if (wanted.uid(), wanted.gid()) != (has.uid(), has.gid()) {
            std::os::unix::fs::lchown(to, Some(wanted.uid()), Some(wanted.gid()))?;
        }
        if has_acl(from)? {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the folder has an access control list"));
        }
        fs::set_permissions(to, Permissions::from_mode(wanted.mode() & 0o7777))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // The file system does not support the flag. The name is checked before, which is not atomic.
            Err(Errno::INVAL | Errno::NOSYS) if fs::symlink_metadata(to).is_err() => fs::rename(from, to),
            other => Ok(other?),
        }
    }

    fn exchange(&self, a: &Path, b: &Path) -> io::Result<()> {
        Ok(rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
    }

    fn link(&self, original: &Path, path: &Path) -> io::Result<()> {
        fs::hard_link(original, path)
    }

    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(target, path)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        fs::read_link(path)
    }

    fn exposed_part(&self, folder: &Path) -> io::Result<Option<PathBuf>> {
        if !rustix::process::geteuid().is_root() || !is_initial_user_namespace() {
            return Ok(None);
        }
        for part in folder.canonicalize()?.ancestors() {
            let meta = fs::symlink_metadata(part)?;
            let (mode, is_sticky) = (meta.mode(), meta.mode() & 0o1000 != 0);
            let is_writable = mode & 0o002 != 0 || (mode & 0o020 != 0 && meta.gid() != 0);
            if meta.uid() != 0 || (is_writable && !is_sticky) {
                return Ok(Some(part.to_owned()));
            }
        }
        Ok(None)
    }

    fn is_mount_point(&self, folder: &Path) -> io::Result<bool> {
        let attributes = rustix::fs::statx(CWD, folder, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS);
        if let Ok(stat) = attributes
            && stat.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT)
        {
            return Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
        }
        // Kernels before 5.8 do not say it. The root of another file system has another device number than its parent.
        let device = |path: &Path| fs::symlink_metadata(path).map(|meta| meta.dev());
        Ok(device(folder)? != device(folder.parent().unwrap_or(folder))?)
    }

    fn place(&self, from: &Path, root: &Path, relative: &Path) -> io::Result<bool> {
        let (parent, name) = open_beneath(root, relative)?;
        let there = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW);
        if there.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        match rustix::fs::renameat_with(CWD, from, &parent, name, RenameFlags::EXCHANGE) {
            Ok(()) => return Ok(true),
            // There is no such file, or the file system does not support the exchange.
            Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        rustix::fs::renameat(CWD, from, &parent, name)?;
        Ok(false)
    }
}

/// Returns whether user ids in this process are those of the machine. In a container with its own user ids, root is not
/// the root of the machine, and the owners of the machine's folders have no user ids in the container.
fn is_initial_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Returns whether a folder has an access control list.
fn has_acl(folder: &Path) -> io::Result<bool> {
    let mut names = vec![0; 64 << 10];
    let len = match rustix::fs::llistxattr(folder, &mut names) {
        Ok(len) => len,
        // The file system has no extended attributes.
        Err(Errno::OPNOTSUPP) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    Ok(names[..len].split(|byte| *byte == 0).any(|name| name.starts_with(b"system.posix_acl")))
}

/// Opens the folder of the file `relative` beneath `root`, and returns it with the name of the file. Missing folders are
/// created. No symbolic link beneath `root` is followed.
fn open_beneath<'a>(root: &Path, relative: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
    let name = relative.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    let mut folder = rustix::fs::open(root, flags, Mode::empty())?;
    let between = relative.parent().filter(|parent| !parent.as_os_str().is_empty());
    let Some(between) = between else { return Ok((folder, name)) };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    if let Ok(opened) = rustix::fs::openat2(&folder, between, flags, Mode::empty(), resolve) {
        return Ok((opened, name));
    }
    // The folders are missing, one of them is a symbolic link, or the kernel is older than 5.6: go step by step.
    for part in between.components() {
        let Component::Normal(part) = part else { return Err(io::ErrorKind::InvalidInput.into()) };
        match rustix::fs::mkdirat(&folder, part, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        folder = rustix::fs::openat(&folder, part, flags | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok((folder, name))
}
