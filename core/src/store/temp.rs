//! Temporary files, and atomic replacement of files.
//!
//! A temporary file is in the store's `tmp/` folder and is locked by the process that writes it. An unlocked file in
//! this folder was left by a crash, and [`clean`] removes it.

use std::path::{Path, PathBuf};

use super::backend::{Backend, BackendFile, FileStat, OpenMode};
use super::damage::Damage;
use super::errno::{cannot_sync_folders, has_no_locks};
use super::error::StoreError;
use super::space;

/// The maximum number of attempts to create a temporary file. Names are random, so another attempt is needed only if
/// [`clean`] in another process removes the new file before it is locked.
const NAME_ATTEMPTS: u32 = 16;

/// A locked temporary file. It is removed when dropped, unless it was [persisted](TempFile::persist).
#[derive(Debug)]
pub(crate) struct TempFile<'a> {
    backend: &'a dyn Backend,
    path: PathBuf,
    file: Option<Box<dyn BackendFile>>,
}

impl<'a> TempFile<'a> {
    /// Creates an empty temporary file in `folder`. If `private` is set, only its owner can read it.
    pub(crate) fn create(backend: &'a dyn Backend, folder: &Path, private: bool) -> Result<Self, StoreError> {
        let mode = if private { OpenMode::CreateNewPrivate } else { OpenMode::CreateNew };
        for _ in 0..NAME_ATTEMPTS {
            let path = folder.join(random_name());
            let file = backend.open(&path, mode).map_err(|e| space::create_failed(backend, &path, e))?;
            let locked = file.try_lock().map_err(|e| StoreError::write("lock", &path, e))?;
            let links = || file.stat().map(|stat| stat.links).map_err(|e| StoreError::read("read", &path, e));
            // Before the lock was taken, `clean` in another process may have removed the file. Such a file has no hard
            // link, and the loop creates another file.
            if locked && links()? > 0 {
                return Ok(Self { backend, path, file: Some(file) });
            }
        }
        Err(StoreError::write("lock a new file in", folder, std::io::ErrorKind::ResourceBusy.into()))
    }

    /// Returns the open file.
    pub(crate) fn file(&self) -> &dyn BackendFile {
        &**self.file.as_ref().expect("only `rename` takes the file")
    }

    /// Returns the current path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Renames the file to `target`, and syncs the folder so that the new name survives a power cut. Returns the open
    /// file.
    pub(crate) fn persist(self, target: &Path) -> Result<Box<dyn BackendFile>, StoreError> {
        let backend = self.backend;
        let file = self.rename(target)?;
        sync_parent(backend, target)?;
        Ok(file)
    }

    /// Renames the file to `target` without syncing the folder, so a power cut may undo the renaming. Returns the open
    /// file.
    pub(crate) fn rename(mut self, target: &Path) -> Result<Box<dyn BackendFile>, StoreError> {
        self.backend.rename(&self.path, target).map_err(|e| StoreError::write("create", target, e))?;
        Ok(self.file.take().expect("only this function takes the file, and it takes `self`"))
    }
}

impl Drop for TempFile<'_> {
    fn drop(&mut self) {
        if self.file.is_some() {
            // A failure is ignored, because `clean` removes the file when the store is opened the next time.
            let _ = self.backend.remove(&self.path);
        }
    }
}

/// Removes all permissions to write to a file.
pub(crate) fn make_read_only(file: &dyn BackendFile, path: &Path) -> Result<(), StoreError> {
    let stat = file.stat().map_err(|e| StoreError::read("read", path, e))?;
    file.set_mode(stat.mode & !0o222).map_err(|e| StoreError::write("change the mode of", path, e))
}

/// Returns whether `path` is still the path of `file`. Another process may have renamed or removed the file after it
/// was opened and before it was locked.
pub(crate) fn still_named(backend: &dyn Backend, file: &dyn BackendFile, path: &Path) -> Result<bool, StoreError> {
    let ours = file.stat().map_err(|e| StoreError::read("read", path, e))?;
    let inode = || backend.open(path, OpenMode::Read)?.stat();
    match inode() {
        Ok(named) if named.inode == ours.inode => Ok(true),
        // On a file system without stable inode numbers, the numbers differ each time, and the rest of the state decides.
        Ok(named) if inode().is_ok_and(|again| again.inode != named.inode) => {
            Ok(ours.links > 0 && named.same_content(&FileStat { inode: named.inode, ..ours }))
        }
        Ok(_) => Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::read("read", path, error)),
    }
}

/// Atomically replaces the content of `target` with `bytes`, or creates `target`. A crash during the call leaves either
/// the old or the new content. A crash after the call leaves the new content.
pub(crate) fn replace(backend: &dyn Backend, tmp: &Path, target: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    write_whole(backend, tmp, bytes, false).map_err(|e| e.needing(bytes.len() as u64))?.persist(target).map(drop)
}

/// Returns a synced temporary file with the content `bytes`.
pub(crate) fn write_whole<'a>(
    backend: &'a dyn Backend,
    tmp: &Path,
    bytes: &[u8],
    private: bool,
) -> Result<TempFile<'a>, StoreError> {
    let temp = write_unsynced(backend, tmp, bytes, private)?;
    temp.file().sync().map_err(|e| StoreError::write("sync", &temp.path, e))?;
    Ok(temp)
}

/// Returns an unsynced temporary file with the content `bytes`. After a power cut, its content is undefined.
pub(crate) fn write_unsynced<'a>(
    backend: &'a dyn Backend,
    tmp: &Path,
    bytes: &[u8],
    private: bool,
) -> Result<TempFile<'a>, StoreError> {
    let temp = TempFile::create(backend, tmp, private)?;
    temp.file().write_all_at(bytes, 0).map_err(|e| StoreError::write("write", &temp.path, e))?;
    Ok(temp)
}

/// Reads a small file. Returns `None` if it does not exist, and an error if it is longer than `cap` bytes.
pub(crate) fn read_small(backend: &dyn Backend, path: &Path, cap: usize) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(read_small_with_stat(backend, path, cap)?.map(|(bytes, _)| bytes))
}

/// Reads a small file like [`read_small`]. Also returns the state that the file had when it was opened.
pub(crate) fn read_small_with_stat(
    backend: &dyn Backend,
    path: &Path,
    cap: usize,
) -> Result<Option<(Vec<u8>, FileStat)>, StoreError> {
    let Some(file) = open_file(backend, path)? else { return Ok(None) };
    let stat = file.stat().map_err(|e| StoreError::read("read", path, e))?;
    let len = stat.len;
    if len > cap as u64 {
        return Err(StoreError::damaged(path, Damage::TooLong { len, cap }));
    }
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0).map_err(|e| StoreError::read("read", path, e))?;
    Ok(Some((bytes, stat)))
}

/// Opens a file of the store for reading. Returns `None` if it does not exist. A symbolic link, a folder or another kind
/// of file in its place counts as damage.
pub(crate) fn open_file(backend: &dyn Backend, path: &Path) -> Result<Option<Box<dyn BackendFile>>, StoreError> {
    match backend.open(path, OpenMode::Read) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => match backend.stat(path) {
            Ok(stat) if !stat.is_file() => Err(StoreError::damaged(path, Damage::NotRegular)),
            _ => Err(StoreError::read("open", path, error)),
        },
    }
}

/// Checks that the disk has space for `needed` more bytes at `path`, so that a full disk is reported before the work
/// begins.
pub(crate) fn check_space(backend: &dyn Backend, path: &Path, needed: u64) -> Result<(), StoreError> {
    let folder = path.parent().expect("every file of the store is in a folder");
    // If the free space is unknown, a later write reports a full disk instead.
    if backend.space(folder).is_ok_and(|space| space.bytes < needed) {
        let full = std::io::ErrorKind::StorageFull.into();
        return Err(StoreError::write("write", path, full).needing(needed));
    }
    Ok(())
}

/// Syncs the folder that contains `path`, so that the name survives a power cut.
pub(crate) fn sync_parent(backend: &dyn Backend, path: &Path) -> Result<(), StoreError> {
    sync_folder(backend, path.parent().expect("every file of the store is in a folder"))
}

/// Syncs a folder of the store, so that the names in it survive a power cut.
pub(crate) fn sync_folder(backend: &dyn Backend, folder: &Path) -> Result<(), StoreError> {
    match backend.sync_dir(folder) {
        // `Place::examine` has warned of a file system that cannot sync folders.
        Err(error) if cannot_sync_folders(&error) => Ok(()),
        other => other.map_err(|e| StoreError::write("sync", folder, e)),
    }
}

/// Removes the files that crashes left in `tmp`. Files that are being written are locked and are not removed. Failures
/// are ignored, because the store works in spite of old temporary files.
pub(crate) fn clean(backend: &dyn Backend, tmp: &Path) {
    for name in backend.read_dir(tmp).unwrap_or_default() {
        let path = tmp.join(name);
        if try_lock(backend, &path).is_ok_and(|lock| lock.is_some()) {
            let _ = backend.remove(&path);
        }
    }
}

/// Opens and locks an existing file. Returns `None` if another process has the lock.
pub(crate) fn try_lock(backend: &dyn Backend, path: &Path) -> std::io::Result<Option<Box<dyn BackendFile>>> {
    let file = backend.open(path, OpenMode::Read)?;
    match file.try_lock() {
        // On NFS, only a file that is open for writing can be locked.
        Err(error) if has_no_locks(&error) => {
            let file = backend.open(path, OpenMode::Create)?;
            Ok(file.try_lock()?.then_some(file))
        }
        is_free => Ok(is_free?.then_some(file)),
    }
}

fn random_name() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system has random bytes");
    hex::encode(bytes)
}
