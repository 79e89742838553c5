//! Temporary files, and files that are replaced as a whole.
//!
//! A temporary file lives in the store's `tmp/` and is locked by whoever writes it. A name there whose file nobody
//! has locked was left by a crash, and [`clean`] removes it.

use std::path::{Path, PathBuf};

use super::backend::{Backend, BackendFile, OpenMode};
use super::damage::Damage;
use super::error::StoreError;

/// How often a name is drawn before giving up. Names are random: one attempt is enough unless a cleaner of
/// another process takes the file in the moment before it is locked.
const NAME_ATTEMPTS: u32 = 16;

/// A locked temporary file; removed when dropped unless it was [persisted](TempFile::persist).
#[derive(Debug)]
pub(crate) struct TempFile<'a> {
    backend: &'a dyn Backend,
    path: PathBuf,
    file: Option<Box<dyn BackendFile>>,
}

impl<'a> TempFile<'a> {
    /// Creates an empty temporary file in `folder`.
    pub(crate) fn create(backend: &'a dyn Backend, folder: &Path, private: bool) -> Result<Self, StoreError> {
        let mode = if private { OpenMode::CreateNewPrivate } else { OpenMode::CreateNew };
        for _ in 0..NAME_ATTEMPTS {
            let path = folder.join(random_name());
            let file = backend.open(&path, mode).map_err(|e| StoreError::write("create", &path, e))?;
            let locked = file.try_lock().map_err(|e| StoreError::write("lock", &path, e))?;
            let links = || file.stat().map(|stat| stat.links).map_err(|e| StoreError::read("read", &path, e));
            // Nobody but a cleaner does anything with it, so it has this name or none.
            if locked && links()? > 0 {
                return Ok(Self { backend, path, file: Some(file) });
            }
        }
        Err(StoreError::write("lock a new file in", folder, std::io::ErrorKind::ResourceBusy.into()))
    }

    /// The file.
    pub(crate) fn file(&self) -> &dyn BackendFile {
        &**self.file.as_ref().expect("only `rename` takes the file")
    }

    /// The file's present path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Renames the file to `target`, and makes the new name durable.
    pub(crate) fn persist(self, target: &Path) -> Result<(), StoreError> {
        let backend = self.backend;
        self.rename(target)?;
        sync_parent(backend, target)
    }

    /// As [`TempFile::persist`], for callers that sync the folder themselves.
    pub(crate) fn rename(mut self, target: &Path) -> Result<(), StoreError> {
        self.backend.rename(&self.path, target).map_err(|e| StoreError::write("create", target, e))?;
        self.file = None;
        Ok(())
    }
}

impl Drop for TempFile<'_> {
    fn drop(&mut self) {
        if self.file.is_some() {
            // A leftover is removed when the store is next opened.
            let _ = self.backend.remove(&self.path);
        }
    }
}

/// Whether `path` still names `file`: between opening and locking it, somebody may have renamed or removed it.
pub(crate) fn still_named(backend: &dyn Backend, file: &dyn BackendFile, path: &Path) -> Result<bool, StoreError> {
    let ours = file.stat().map_err(|e| StoreError::read("read", path, e))?;
    match backend.open(path, OpenMode::Read).and_then(|named| named.stat()) {
        Ok(named) => Ok(named.inode == ours.inode),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::read("read", path, error)),
    }
}

/// Replaces or creates `target` with `bytes`: after a crash it has its old content or this, and this alone once the
/// function has returned.
pub(crate) fn replace(backend: &dyn Backend, tmp: &Path, target: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    write_whole(backend, tmp, bytes, false).map_err(|e| e.needing(bytes.len() as u64))?.persist(target)
}

/// A synced temporary file with `bytes`.
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

/// A temporary file with `bytes`, of which a power cut may leave anything.
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

/// Reads a small file. `None` when it does not exist, an error when it is longer than `cap`.
pub(crate) fn read_small(backend: &dyn Backend, path: &Path, cap: usize) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match backend.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::read("open", path, error)),
    };
    let len = file.stat().map_err(|e| StoreError::read("read", path, e))?.len;
    if len > cap as u64 {
        return Err(StoreError::damaged(path, Damage::TooLong { len, cap }));
    }
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0).map_err(|e| StoreError::read("read", path, e))?;
    Ok(Some(bytes))
}

/// Checks that `needed` bytes fit beside `path`: better said before the work than in its middle.
pub(crate) fn check_space(backend: &dyn Backend, path: &Path, needed: u64) -> Result<(), StoreError> {
    let folder = path.parent().expect("every file of the store is in a folder");
    // Where that cannot be found out, the writes will tell.
    if backend.available(folder).is_ok_and(|available| available < needed) {
        let full = std::io::ErrorKind::StorageFull.into();
        return Err(StoreError::write("write", path, full).needing(needed));
    }
    Ok(())
}

/// Makes the name `path` durable.
pub(crate) fn sync_parent(backend: &dyn Backend, path: &Path) -> Result<(), StoreError> {
    let parent = path.parent().expect("every file of the store is in a folder");
    backend.sync_dir(parent).map_err(|e| StoreError::write("sync", parent, e))
}

/// Removes what crashes left in `tmp`. Files that are being written are locked, and stay. Failures are no reason
/// not to open the store.
pub(crate) fn clean(backend: &dyn Backend, tmp: &Path) {
    for name in backend.read_dir(tmp).unwrap_or_default() {
        let path = tmp.join(name);
        let Ok(file) = backend.open(&path, OpenMode::Read) else { continue };
        if file.try_lock().unwrap_or(false) {
            let _ = backend.remove(&path);
        }
    }
}

fn random_name() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system has random bytes");
    hex::encode(bytes)
}
