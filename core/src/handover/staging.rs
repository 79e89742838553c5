//! Staging folders: private folders in which the files of a hand-over are written before they become visible.
//!
//! ```text
//! <parent>/.phase-<random>/      mode 0700
//!   lock                         the name of the target; locked by the process that uses the folder
//!   files                        the inode numbers of the files that a fetch in place created in `new`
//!   new/                         the files, under the names that they will have
//! ```
//!
//! A staging folder whose `lock` is not locked was left by a crash. The next hand-over to the same target continues with
//! its files, or removes it. It never writes to a file that is not listed in `files`, because a crash while the files
//! became visible leaves files of the target in `new`: second names of its other files, or the old release, which
//! programs may still use.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::backend::OutputBackend;
use super::error::HandoverError;
use crate::store::backend::{BackendFile, FileKind, OpenMode};

/// The beginning of the name of each staging folder. A random part of eight characters follows.
const PREFIX: &str = ".phase-";
/// The maximum length of the content of `lock`, in bytes: a name, which Linux file systems limit to 255 bytes, and a line
/// break.
const MAX_LOCK_LEN: usize = 256;
/// The maximum number of attempts to create a folder with a new random name.
const ATTEMPTS: u32 = 16;

/// The maximum length of the list of files that is read, in bytes. Files that it does not list are fetched again.
const MAX_LIST_LEN: u64 = 1 << 20;

/// A locked staging folder. It is removed when dropped, unless it is [kept](Staging::keep).
#[derive(Debug)]
pub(super) struct Staging {
    backend: Arc<dyn OutputBackend>,
    folder: PathBuf,
    keep: AtomicBool,
    /// The open lock file. Closing it releases the lock.
    _lock: Box<dyn BackendFile>,
}

impl Staging {
    /// Creates a staging folder in `parent` for the target with the name `target`. With `resume`, takes over a folder
    /// that a crash left there. Removes all other folders that crashes left there, except those of other targets.
    pub(super) fn open(
        backend: &Arc<dyn OutputBackend>,
        parent: &Path,
        target: &OsStr,
        resume: bool,
    ) -> Result<Self, HandoverError> {
        let mut abandoned = abandoned(backend, parent, target);
        let taken = if resume { abandoned.pop() } else { None };
        drop(abandoned);
        match taken {
            Some(taken) => Ok(taken),
            None => Self::create(backend, parent, target),
        }
    }

    fn create(backend: &Arc<dyn OutputBackend>, parent: &Path, target: &OsStr) -> Result<Self, HandoverError> {
        if let Ok(Some(part)) = backend.exposed_part(parent) {
            return Err(HandoverError::Exposed { path: parent.to_owned(), part });
        }
        for _ in 0..ATTEMPTS {
            let folder = parent.join(random_name());
            match backend.create_private_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other.map_err(HandoverError::io("create a folder in", parent))?,
            }
            let path = folder.join("lock");
            let locked = match backend.open(&path, OpenMode::CreateNew) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
                other => other.and_then(|lock| match lock.try_lock()? {
                    true => lock.write_all_at(&[target.as_bytes(), b"\n"].concat(), 0).map(|()| Some(lock)),
                    false => Ok(None),
                }),
            };
            let locked = locked.map_err(HandoverError::io("create", &path)).inspect_err(|_| {
                let _ = remove_tree(&**backend, &folder);
            })?;
            // Another process took the new folder for one that a crash had left, and uses it now.
            let Some(lock) = locked else { continue };
            let staging = Self { backend: backend.clone(), folder, keep: AtomicBool::new(false), _lock: lock };
            backend.create_dir(&staging.files()).map_err(HandoverError::io("create", &staging.files()))?;
            return Ok(staging);
        }
        Err(HandoverError::io("create a folder in", parent)(io::ErrorKind::AlreadyExists.into()))
    }

    /// Returns the name of the staging folder, which begins with a dot.
    pub(super) fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Returns the path of the folder with the files.
    pub(super) fn files(&self) -> PathBuf {
        self.folder.join("new")
    }

    /// Creates an empty file beside the files, which nothing else uses.
    pub(super) fn probe(&self) -> io::Result<Box<dyn BackendFile>> {
        self.backend.open(&self.folder.join("probe"), OpenMode::Create)
    }

    /// Stores which files in the folder `new` the next hand-over may continue with if this one crashes.
    pub(super) fn set_own_files(&self, inodes: &BTreeSet<u64>) -> Result<(), HandoverError> {
        let path = self.list();
        let bytes: Vec<u8> = inodes.iter().flat_map(|inode| inode.to_le_bytes()).collect();
        let written = self.backend.open(&path, OpenMode::Create).and_then(|file| {
            file.set_len(0)?;
            file.write_all_at(&bytes, 0)
        });
        written.map_err(HandoverError::io("write", &path))
    }

    /// Returns the inode numbers of the files that [`Staging::set_own_files`] stored. If they cannot be read, there are
    /// none.
    pub(super) fn own_files(&self) -> BTreeSet<u64> {
        let read = || -> io::Result<Vec<u8>> {
            let file = self.backend.open(&self.list(), OpenMode::Read)?;
            let mut bytes = vec![0; file.stat()?.len.min(MAX_LIST_LEN) as usize];
            file.read_exact_at(&mut bytes, 0).map(|()| bytes)
        };
        let bytes = read().unwrap_or_default();
        bytes.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect()
    }

    fn list(&self) -> PathBuf {
        self.folder.join("files")
    }

    /// Keeps the folder when this value is dropped, so that the next hand-over continues with its files.
    pub(super) fn keep(&self) {
        self.keep.store(true, Ordering::Relaxed);
    }

    /// Removes the folder and its files.
    pub(super) fn discard(&self) {
        // A failure is ignored, because the next hand-over removes the folder.
        let _ = remove_tree(&*self.backend, &self.folder);
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.keep.load(Ordering::Relaxed) {
            self.discard();
        }
    }
}

/// Locks the staging folders for `target` in `parent` that no process uses. Folders of other users are left alone.
fn abandoned(backend: &Arc<dyn OutputBackend>, parent: &Path, target: &OsStr) -> Vec<Staging> {
    let names = backend.read_dir(parent).unwrap_or_default();
    let lock = |name: String| {
        let folder = parent.join(name);
        let stat = backend.stat(&folder).ok()?;
        if stat.kind != FileKind::Folder || stat.owner != rustix::process::geteuid().as_raw() {
            return None;
        }
        // If there is none, a power cut has lost it, or another process is about to create it, and will notice.
        let lock = backend.open(&folder.join("lock"), OpenMode::Create).ok()?;
        // A name without its line break is not whole: the process crashed just after it had created the folder.
        let mut name = vec![0; usize::try_from(lock.stat().ok()?.len).ok().filter(|len| *len <= MAX_LOCK_LEN)?];
        lock.read_exact_at(&mut name, 0).ok()?;
        let is_of_target = name.strip_suffix(b"\n").is_none_or(|name| name == target.as_bytes());
        let is_ours = is_of_target && lock.try_lock().ok()?;
        let backend = backend.clone();
        is_ours.then(|| Staging { backend, folder, keep: AtomicBool::new(false), _lock: lock })
    };
    names.into_iter().filter(|name| is_staging_name(name)).filter_map(lock).collect()
}

/// Returns whether a name is that of a staging folder.
pub(super) fn is_staging_name(name: &str) -> bool {
    let random = name.strip_prefix(PREFIX);
    random.is_some_and(|random| random.len() == 8 && random.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn random_name() -> String {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).expect("the operating system has random bytes");
    format!("{PREFIX}{}", hex::encode(bytes))
}

/// Removes a folder and everything in it. Symbolic links are removed, not followed. What is mounted there stays.
pub(super) fn remove_tree(backend: &dyn OutputBackend, folder: &Path) -> io::Result<()> {
    if backend.stat(folder)?.kind != FileKind::Folder || backend.is_mount_point(folder)? {
        return Err(io::ErrorKind::ResourceBusy.into());
    }
    for name in backend.entries(folder)? {
        let path = folder.join(name);
        match backend.stat(&path)?.kind {
            FileKind::Folder => remove_tree(backend, &path)?,
            _ => backend.remove(&path)?,
        }
    }
    backend.remove_dir(folder)
}
