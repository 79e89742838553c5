//! What a store knows about the place where it lies: whose files are trusted, which guarantees its file system gives,
//! and which files this process has hashed already.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::backend::{Backend, FileStat, OpenMode};
use super::denied::User;
use super::errno::{cannot_sync_folders, has_no_locks};
use super::error::StoreError;
use crate::cid::Cid;

/// The maximum number of files whose state is remembered. If there are more, all are forgotten and hashed again.
const MAX_CHECKED: usize = 1 << 16;
/// The user id of root, whose files every user trusts.
const ROOT: u32 = 0;

/// A property of the place of a store that makes the store slower or less safe than usual.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreWarning {
    /// A folder of the store belongs to another user, so its seals are not trusted.
    OtherOwner {
        /// The path of the folder.
        path: PathBuf,
        /// The user id of its owner.
        owner: u32,
    },
    /// The file system cannot sync a folder, so a power cut may undo changes that were reported as done.
    NoFolderSync {
        /// The path of the store's folder.
        path: PathBuf,
        /// The type of the file system, if it is known.
        file_system: Option<String>,
    },
    /// The file system gives a file another inode number each time, so a replaced file cannot be told apart.
    NoStableInodes {
        /// The path of the store's folder.
        path: PathBuf,
        /// The type of the file system, if it is known.
        file_system: Option<String>,
    },
}

impl fmt::Display for StoreWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let system = |kind: &Option<String>| kind.as_ref().map(|kind| format!(" ({kind})")).unwrap_or_default();
        match self {
            Self::OtherOwner { path, owner } => write!(
                f,
                "{} belongs to {}, so the store is not trusted: each artifact is hashed when it is opened; change the \
                 owner, or serve the store with --state DIR, which remembers the result",
                path.display(),
                User(*owner)
            ),
            Self::NoFolderSync { path, file_system } => write!(
                f,
                "the file system{} of {} cannot sync folders: a power cut may undo changes that were reported as done",
                system(file_system),
                path.display()
            ),
            Self::NoStableInodes { path, file_system } => write!(
                f,
                "the file system{} of {} has no stable inode numbers: each artifact is hashed when it is opened",
                system(file_system),
                path.display()
            ),
        }
    }
}

/// The place of a store.
#[derive(Debug)]
pub(crate) struct Place {
    user: u32,
    /// Whether the folders of the store belong to this user or to root.
    has_trusted_folders: bool,
    has_stable_inodes: bool,
    warnings: Vec<StoreWarning>,
    checked: Mutex<Checked>,
}

/// The states in which this process has hashed the files of artifacts.
#[derive(Debug, Default)]
struct Checked {
    right: BTreeMap<Cid, FileStat>,
    wrong: BTreeMap<Cid, FileStat>,
}

impl Place {
    /// Examines the owners of a store's folders, and the file system to which the store writes. `lock` is the path of
    /// its lock file, and `synced` is a folder that it syncs.
    pub(crate) fn examine(
        backend: &dyn Backend,
        root: &Path,
        folders: &[PathBuf],
        lock: &Path,
        synced: &Path,
        has_state: bool,
    ) -> Result<Self, StoreError> {
        let user = rustix::process::geteuid().as_raw();
        let mut place = Self {
            user,
            has_trusted_folders: true,
            has_stable_inodes: true,
            warnings: Vec::new(),
            checked: Mutex::default(),
        };
        place.check_owners(backend, folders, has_state);
        place.check_inodes(backend, root);
        place.check_writing(backend, lock, synced)?;
        Ok(place)
    }

    fn check_owners(&mut self, backend: &dyn Backend, folders: &[PathBuf], has_state: bool) {
        let owner = |path: &PathBuf| backend.stat(path).ok().map(|stat| (path.clone(), stat.owner));
        let foreign = folders.iter().filter_map(owner).find(|(_, owner)| !self.is_trusted_user(*owner));
        let Some((path, owner)) = foreign else { return };
        self.has_trusted_folders = false;
        if !has_state {
            self.warnings.push(StoreWarning::OtherOwner { path, owner });
        }
    }

    /// Opens the same file twice. If its inode numbers differ, they cannot show that a file was replaced.
    fn check_inodes(&mut self, backend: &dyn Backend, root: &Path) {
        let inode = || backend.open(&root.join("format"), OpenMode::Read)?.stat().map(|stat| stat.inode);
        let numbers: io::Result<[u64; 2]> = inode().and_then(|first| Ok([first, inode()?]));
        if numbers.is_ok_and(|[first, second]| first != second) {
            self.has_stable_inodes = false;
            let file_system = backend.file_system(root);
            self.warnings.push(StoreWarning::NoStableInodes { path: root.to_owned(), file_system });
        }
    }

    /// Checks that file locks work, and whether folders can be synced. A store that this process cannot write to needs
    /// neither.
    fn check_writing(&mut self, backend: &dyn Backend, lock: &Path, synced: &Path) -> Result<(), StoreError> {
        let Ok(file) = backend.open(lock, OpenMode::Create) else { return Ok(()) };
        if let Err(source) = file.try_lock()
            && has_no_locks(&source)
        {
            let folder = lock.parent().unwrap_or(lock);
            return Err(StoreError::NoLocks {
                path: folder.to_owned(),
                file_system: backend.file_system(folder),
                source,
            });
        }
        drop(file);
        if backend.sync_dir(synced).is_err_and(|error| cannot_sync_folders(&error)) {
            let file_system = backend.file_system(synced);
            self.warnings.push(StoreWarning::NoFolderSync { path: synced.to_owned(), file_system });
        }
        Ok(())
    }

    pub(crate) fn warnings(&self) -> &[StoreWarning] {
        &self.warnings
    }

    /// Returns whether the files of a user are trusted: those of this process's user and of root.
    pub(crate) fn is_trusted_user(&self, owner: u32) -> bool {
        owner == self.user || owner == ROOT
    }

    /// Returns whether a file in the store's folders is trusted, so that nothing else than damage can have changed it.
    pub(crate) fn trusts(&self, owner: u32) -> bool {
        self.has_trusted_folders && self.is_trusted_user(owner)
    }

    /// Returns whether a state of a file that was recorded by another process can be compared with its present state.
    pub(crate) fn has_stable_inodes(&self) -> bool {
        self.has_stable_inodes
    }

    /// Returns whether this process has hashed the file of an artifact in this state and found it right.
    pub(crate) fn is_right(&self, cid: &Cid, stat: &FileStat) -> bool {
        self.has_stable_inodes && self.checked().right.get(cid).is_some_and(|right| right.same_content(stat))
    }

    /// Returns whether this process has hashed the file of an artifact in this state and found it wrong.
    pub(crate) fn is_wrong(&self, cid: &Cid, stat: &FileStat) -> bool {
        self.has_stable_inodes && self.checked().wrong.get(cid).is_some_and(|wrong| wrong.same_content(stat))
    }

    pub(crate) fn note_right(&self, cid: &Cid, stat: FileStat) {
        let mut checked = self.checked();
        checked.wrong.remove(cid);
        insert(&mut checked.right, cid, stat);
    }

    pub(crate) fn note_wrong(&self, cid: &Cid, stat: FileStat) {
        let mut checked = self.checked();
        checked.right.remove(cid);
        insert(&mut checked.wrong, cid, stat);
    }

    fn checked(&self) -> MutexGuard<'_, Checked> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn insert(map: &mut BTreeMap<Cid, FileStat>, cid: &Cid, stat: FileStat) {
    if map.len() >= MAX_CHECKED {
        map.clear();
    }
    map.insert(*cid, stat);
}
