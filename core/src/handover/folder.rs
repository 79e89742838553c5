//! The output in a folder, or in one file: files are staged, and become visible together.
//!
//! How they become visible depends on what the target is:
//!
//! - It does not exist: the staged folder is renamed to it.
//! - It is a symbolic link: the staged folder gets a name beside it, and the link is switched to that folder.
//! - It is a folder: its other files get a second name in the staged folder, and the two folders exchange their names.
//! - It is a folder that cannot be exchanged (a mount point, the working directory, a file system without hard links):
//!   the staged files take their places one after the other, and a failure undoes those before it. Only a crash between
//!   two of them leaves files of two releases.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::backend::OutputBackend;
use super::error::HandoverError;
use super::staging::{Staging, is_staging_name, remove_tree};
use crate::manifest::FileName;
use crate::store::backend::{BackendFile, FileKind, FileStat, OpenMode};
use crate::store::cannot_sync_folders;

/// The maximum number of other files in the target folder that get a second name. With more files, the staged files
/// take their places one after the other.
const MAX_CARRIED: usize = 100_000;

/// The way in which the staged files become visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// The only staged file is renamed to the target.
    File,
    /// The staged folder is renamed to the target, which does not exist.
    New,
    /// The target is a symbolic link, which is switched.
    Switch,
    /// The staged folder and the target exchange their names.
    Exchange,
    /// The staged files are moved into the target one after the other.
    OneByOne,
}

/// Staged files, and the target in which they will be visible.
#[derive(Debug)]
pub(super) struct FolderOutput {
    backend: Arc<dyn OutputBackend>,
    staging: Staging,
    target: PathBuf,
    how: How,
    names: BTreeSet<FileName>,
}

impl FolderOutput {
    /// Prepares to write the files `names` into the folder `target`, and creates them empty. With `resume`, continues
    /// with the files that a crash left.
    pub(super) fn in_folder(
        backend: &Arc<dyn OutputBackend>,
        target: &Path,
        names: BTreeSet<FileName>,
        resume: bool,
    ) -> Result<Self, HandoverError> {
        let (target, how) = plan_folder(&**backend, target)?;
        if let How::Exchange | How::OneByOne = how {
            check_target(&**backend, &target, &names)?;
        }
        let parent = if how == How::OneByOne { &*target } else { parent_of(&target) };
        let name = target.file_name().unwrap_or_default();
        let (staging, how) = match Staging::open(backend, parent, name, resume) {
            // The folder above the target cannot be written to, but perhaps the target can.
            Err(HandoverError::Io { .. }) if how == How::Exchange => {
                (Staging::open(backend, &target, name, resume)?, How::OneByOne)
            }
            other => (other?, how),
        };
        let mut output = Self { backend: backend.clone(), staging, target, how, names };
        if how == How::Switch && resume {
            output.undo_switch()?;
        }
        output.create_files(resume)
    }

    /// Prepares to write one file. An existing file is replaced when the new one is complete.
    pub(super) fn one_file(
        backend: &Arc<dyn OutputBackend>,
        target: &Path,
        name: FileName,
        resume: bool,
    ) -> Result<Self, HandoverError> {
        let target = std::path::absolute(target).map_err(HandoverError::io("find", target))?;
        if backend.stat(&target).is_ok_and(|stat| stat.kind == FileKind::Folder) {
            return Err(HandoverError::InTheWay { path: target, found: "a folder", needed: "a file" });
        }
        let parent = parent_of(&target);
        create_folder(&**backend, parent)?;
        let staging = Staging::open(backend, parent, target.file_name().unwrap_or_default(), resume)?;
        let names = BTreeSet::from([name]);
        Self { backend: backend.clone(), staging, target, how: How::File, names }.create_files(resume)
    }

    /// Returns the folder whose free space the files need.
    pub(super) fn folder(&self) -> PathBuf {
        self.staging.files()
    }

    /// Returns the target.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Returns the path of a staged file.
    pub(super) fn path(&self, name: &FileName) -> PathBuf {
        self.staging.files().join(name.as_path())
    }

    /// Opens a staged file for reading and writing.
    pub(super) fn open(&self, name: &FileName) -> Result<Box<dyn BackendFile>, HandoverError> {
        let path = self.path(name);
        self.backend.open(&path, OpenMode::Create).map_err(HandoverError::io("open", &path))
    }

    /// Replaces a staged file by a second name of `original`.
    pub(super) fn link(&self, name: &FileName, original: &Path) -> io::Result<()> {
        let path = self.path(name);
        self.backend.remove(&path)?;
        self.backend.link(original, &path)
    }

    /// Returns whether a reflink of `original` can be made in the folder of the staged files.
    pub(super) fn can_clone_from(&self, original: &Path) -> bool {
        let Ok(original) = std::fs::File::open(original) else { return false };
        self.staging.probe().is_ok_and(|probe| probe.clone_from_file(&original).is_ok())
    }

    /// Returns whether the staged files are on the same file system as `folder`.
    pub(super) fn is_on_disk_of(&self, folder: &Path) -> bool {
        let device = |path: &Path| std::fs::metadata(path).map(|meta| meta.dev());
        matches!((device(folder), device(&self.staging.files())), (Ok(a), Ok(b)) if a == b)
    }

    /// Keeps the staged files when this value is dropped, so that the next hand-over continues with them.
    pub(super) fn keep(&self) {
        let has_data = |name: &FileName| self.backend.stat(&self.path(name)).is_ok_and(|stat| stat.allocated > 0);
        if self.names.iter().any(has_data) {
            self.staging.keep();
        }
    }

    /// Removes the staged files.
    pub(super) fn discard(&self) {
        self.staging.discard();
    }

    /// Makes the files visible. They must be synced. After an error, none of them is visible, unless
    /// only syncing them failed.
    pub(super) fn commit(&self) -> Result<(), HandoverError> {
        self.sync_folders()?;
        self.make_visible()?;
        self.staging.discard();
        Ok(())
    }

    fn make_visible(&self) -> Result<(), HandoverError> {
        match self.how {
            How::File => self.rename_file(),
            How::New => self.rename_folder(),
            How::Switch => self.switch(),
            How::Exchange => match self.exchange()? {
                true => Ok(()),
                // The other files cannot get a second name, or the file system cannot exchange folders.
                false => self.place_one_by_one(),
            },
            How::OneByOne => self.place_one_by_one(),
        }
    }

    /// Creates the files, or takes over those that a crash left. Checks that the file system keeps the names as they
    /// are.
    fn create_files(self, resume: bool) -> Result<Self, HandoverError> {
        let new = self.staging.files();
        self.backend.create_dir(&new).map_err(HandoverError::io("create", &new))?;
        let mut left = BTreeSet::new();
        let kept = self.keep_own(Path::new(""), &self.staging.own_files(), &mut left);
        kept.map_err(HandoverError::io("empty", &new))?;
        let created: Result<(), HandoverError> = self.names.iter().try_for_each(|name| self.create_file(name, &left));
        created?;
        let present = list(&*self.backend, &new)?;
        if let Some(name) = self.names.iter().find(|name| !present.contains(name.as_path())) {
            let problem = format!("does not keep the name {name:?} as it is", name = name.as_str());
            return Err(HandoverError::Names { path: self.target.clone(), problem });
        }
        if resume {
            let inode = |name| self.backend.stat(&self.path(name)).map(|stat| stat.inode);
            let inodes = self.names.iter().map(inode).collect::<io::Result<_>>();
            self.staging.set_own_files(&inodes.map_err(HandoverError::io("open", &new))?)?;
        }
        Ok(self)
    }

    /// Removes from a folder below the staged folder what no interrupted hand-over of these files created there. Adds the
    /// files that stay to `left`.
    fn keep_own(&self, inner: &Path, own: &BTreeSet<u64>, left: &mut BTreeSet<PathBuf>) -> io::Result<()> {
        let new = self.staging.files();
        for name in self.backend.entries(&new.join(inner))? {
            let inner = inner.join(name);
            let path = new.join(&inner);
            let stat = self.backend.stat(&path)?;
            let is_named =
                || inner.to_str().and_then(|name| name.parse().ok()).is_some_and(|name| self.names.contains(&name));
            if stat.kind == FileKind::Folder {
                self.keep_own(&inner, own, left)?;
                if !left.iter().any(|file| file.starts_with(&inner)) {
                    self.backend.remove_dir(&path)?;
                }
            } else if stat.is_file() && stat.links == 1 && own.contains(&stat.inode) && is_named() {
                left.insert(inner);
            } else {
                self.backend.remove(&path)?;
            }
        }
        Ok(())
    }

    fn create_file(&self, name: &FileName, left: &BTreeSet<PathBuf>) -> Result<(), HandoverError> {
        let path = self.path(name);
        let parent = parent_of(&path);
        self.backend.create_dir(parent).map_err(|error| self.bad_name(name, parent, error))?;
        match self.backend.open(&path, OpenMode::CreateNew) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && left.contains(name.as_path()) => Ok(()),
            Err(error) => Err(self.bad_name(name, &path, error)),
        }
    }

    /// Makes the error for a file that cannot be created: the file system does not permit its name, or another cause.
    fn bad_name(&self, name: &FileName, path: &Path, error: io::Error) -> HandoverError {
        let problem = match error.kind() {
            io::ErrorKind::AlreadyExists => {
                format!("cannot tell {:?} from another name of the release", name.as_str())
            }
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => {
                format!("does not permit the name {:?}", name.as_str())
            }
            _ => return HandoverError::io("create", path)(error),
        };
        HandoverError::Names { path: self.target.clone(), problem }
    }

    fn sync_folders(&self) -> Result<(), HandoverError> {
        let new = self.staging.files();
        let inner = self.names.iter().flat_map(FileName::folders).collect::<BTreeSet<_>>();
        let folders = inner.iter().map(|folder| new.join(folder)).chain([new.clone()]);
        folders.into_iter().try_for_each(|folder| self.sync(&folder))
    }

    fn sync(&self, folder: &Path) -> Result<(), HandoverError> {
        sync_dir(&*self.backend, folder)
    }

    fn rename_file(&self) -> Result<(), HandoverError> {
        let name = self.names.first().expect("there is one file");
        self.backend.rename(&self.path(name), &self.target).map_err(HandoverError::io("create", &self.target))?;
        self.sync(parent_of(&self.target))
    }

    fn rename_folder(&self) -> Result<(), HandoverError> {
        let renamed = self.backend.rename_new(&self.staging.files(), &self.target);
        renamed.map_err(HandoverError::io("create", &self.target))?;
        self.sync(parent_of(&self.target))
    }

    /// Undoes the first step of a switch that a crash interrupted. If the switch was made, a new staging folder is needed,
    /// because the name that belongs to this one is taken.
    fn undo_switch(&mut self) -> Result<(), HandoverError> {
        let (path, new) = (self.beside_link(), self.staging.files());
        if self.backend.stat(&path).is_err() {
            return Ok(());
        }
        let current = self.backend.read_link(&self.target).ok();
        if current.as_deref().and_then(Path::file_name) == path.file_name() {
            self.staging.discard();
            let name = self.target.file_name().unwrap_or_default();
            self.staging = Staging::open(&self.backend, parent_of(&self.target), name, false)?;
            return Ok(());
        }
        match self.backend.stat(&new) {
            Ok(_) => remove_tree(&*self.backend, &path).map_err(HandoverError::io("remove", &path)),
            Err(_) => self.backend.rename_new(&path, &new).map_err(HandoverError::io("create", &new)),
        }
    }

    /// Returns the path beside the symbolic link that the staged folder will have.
    fn beside_link(&self) -> PathBuf {
        let link = self.target.file_name().unwrap_or_default().to_string_lossy();
        self.target.with_file_name(format!("{link}{}", self.staging.name()))
    }

    /// Gives the staged folder a name beside the symbolic link, and switches the link to it. Of the folders that
    /// earlier calls made, the previous one is kept, because programs may still read its files.
    fn switch(&self) -> Result<(), HandoverError> {
        let (parent, staging, path) = (parent_of(&self.target), self.staging.files(), self.beside_link());
        let folder = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let link_name = self.target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (previous, link) = (self.backend.read_link(&self.target).ok(), staging.with_file_name("link"));
        self.backend.rename_new(&staging, &path).map_err(HandoverError::io("create", &path))?;
        // A crash may have left a link.
        let _ = self.backend.remove(&link);
        let switched = self
            .backend
            .symlink(Path::new(&folder), &link)
            .and_then(|()| self.backend.rename(&link, &self.target))
            .map_err(HandoverError::io("switch", &self.target));
        if switched.is_err() {
            let _ = self.backend.rename(&path, &staging);
            return switched;
        }
        self.sync(parent)?;
        for name in self.backend.read_dir(parent).unwrap_or_default() {
            let previous = previous.as_deref().and_then(Path::file_name);
            let is_previous = previous.is_some_and(|previous| previous == Path::new(&name));
            let is_ours = name.strip_prefix(&link_name).is_some_and(is_staging_name);
            let is_older = is_ours && name != folder && !is_previous;
            let path = parent.join(name);
            // A folder of another user was not made by an earlier call.
            let is_own = |stat: FileStat| stat.owner == rustix::process::geteuid().as_raw();
            if is_older && self.backend.stat(&path).is_ok_and(is_own) {
                let _ = remove_tree(&*self.backend, &path);
            }
        }
        Ok(())
    }

    /// Gives the other files of the target a second name in the staged folder, and exchanges the two folders. Returns
    /// false if that is not possible. The target is unchanged then.
    fn exchange(&self) -> Result<bool, HandoverError> {
        let (new, target) = (self.staging.files(), &*self.target);
        let mut room = MAX_CARRIED;
        if carry(&*self.backend, target, &new, &mut room).is_err() {
            return Ok(false);
        }
        self.sync_folders()?;
        if self.backend.exchange(&new, target).is_err() {
            return Ok(false);
        }
        self.sync(parent_of(target))?;
        // Files that other programs created in the meantime are in the old folder. Move them.
        let moved = keep_strays(&*self.backend, &new, target, &self.names);
        moved.map_err(HandoverError::io("move files of other programs to", target)).inspect_err(|_| {
            // Such files must not be removed.
            self.staging.keep();
        })?;
        Ok(true)
    }

    /// Moves the staged files to their places, and undoes it if one of them cannot be moved.
    fn place_one_by_one(&self) -> Result<(), HandoverError> {
        let place = |name: &FileName| self.backend.place(&self.path(name), &self.target, name.as_path());
        let mut placed = Vec::new();
        for name in &self.names {
            let is_new = self.backend.stat(&self.target.join(name.as_path())).is_err();
            match place(name) {
                Ok(exchanged) => placed.push((name, exchanged, is_new)),
                Err(error) => {
                    for (name, exchanged, is_new) in placed.into_iter().rev() {
                        // Without an exchange, the old file is gone, and the new one is better than none.
                        let _ = match (exchanged, is_new) {
                            (true, _) => place(name).map(drop),
                            (false, true) => self.backend.remove(&self.target.join(name.as_path())),
                            (false, false) => Ok(()),
                        };
                    }
                    return Err(HandoverError::io("replace", &self.target.join(name.as_path()))(error));
                }
            }
        }
        let folders = self.names.iter().flat_map(FileName::folders).collect::<BTreeSet<_>>();
        let folders = folders.iter().map(|folder| self.target.join(folder)).chain([self.target.clone()]);
        folders.into_iter().try_for_each(|folder| self.sync(&folder))
    }
}

/// Returns the absolute path of a target folder, and the way in which files become visible in it. Creates the folders
/// above a target that does not exist.
fn plan_folder(backend: &dyn OutputBackend, target: &Path) -> Result<(PathBuf, How), HandoverError> {
    let target = std::path::absolute(target).map_err(HandoverError::io("find", target))?;
    // Without the slash at the end, a symbolic link is found instead of its target.
    let target: PathBuf = target.components().collect();
    match backend.stat(&target).map(|stat| stat.kind) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_folder(backend, parent_of(&target))?;
            Ok((target, How::New))
        }
        Err(error) => Err(HandoverError::io("open", &target)(error)),
        Ok(FileKind::Link) => Ok((target, How::Switch)),
        Ok(FileKind::Folder) => {
            let is_fixed = target.file_name().is_none()
                || std::env::current_dir().is_ok_and(|current| current.starts_with(&target))
                || backend.is_mount_point(&target).map_err(HandoverError::io("open", &target))?;
            Ok((target, if is_fixed { How::OneByOne } else { How::Exchange }))
        }
        Ok(_) => Err(HandoverError::InTheWay { path: target, found: "a file", needed: "a folder" }),
    }
}

/// Creates a folder and its missing parents, whose names survive a power cut after that.
fn create_folder(backend: &dyn OutputBackend, folder: &Path) -> Result<(), HandoverError> {
    let missing: Vec<_> = folder.ancestors().take_while(|folder| backend.stat(folder).is_err()).collect();
    backend.create_dir(folder).map_err(HandoverError::io("create", folder))?;
    missing.into_iter().map(parent_of).try_for_each(|folder| sync_dir(backend, folder))
}

/// Syncs a folder. Some file systems cannot do that, and keep names in another way or not at all.
fn sync_dir(backend: &dyn OutputBackend, folder: &Path) -> Result<(), HandoverError> {
    match backend.sync_dir(folder) {
        Err(error) if cannot_sync_folders(&error) => Ok(()),
        other => other.map_err(HandoverError::io("sync", folder)),
    }
}

/// Checks that the files `names` can take their places in an existing folder.
fn check_target(backend: &dyn OutputBackend, target: &Path, names: &BTreeSet<FileName>) -> Result<(), HandoverError> {
    let mut listed: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    for name in names {
        for folder in name.folders() {
            check_place(backend, &target.join(folder), FileKind::Folder)?;
        }
        let path = target.join(name.as_path());
        if !check_place(backend, &path, FileKind::File)? {
            continue;
        }
        let parent = parent_of(&path).to_owned();
        let present = listed
            .entry(parent)
            .or_insert_with_key(|parent| backend.read_dir(parent).unwrap_or_default().into_iter().collect());
        if !path.file_name().and_then(|name| name.to_str()).is_some_and(|name| present.contains(name)) {
            let problem = format!("cannot tell {:?} from the name of another file there", name.as_str());
            return Err(HandoverError::Names { path: target.to_owned(), problem });
        }
    }
    Ok(())
}

/// Checks that a path is free or has what is needed there. Returns whether something is there.
fn check_place(backend: &dyn OutputBackend, path: &Path, needed: FileKind) -> Result<bool, HandoverError> {
    let found = match backend.stat(path) {
        Ok(stat) => stat.kind,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(HandoverError::io("open", path)(error)),
    };
    let name = |kind| match kind {
        FileKind::Folder => "a folder",
        FileKind::Link => "a symbolic link",
        _ => "a file",
    };
    match (needed, found) {
        (FileKind::Folder, FileKind::Folder) => Ok(true),
        // Whatever else has the name is replaced.
        (FileKind::File, found) if found != FileKind::Folder => Ok(true),
        _ => Err(HandoverError::InTheWay { path: path.to_owned(), found: name(found), needed: name(needed) }),
    }
}

/// Gives everything in the folder `from` that is not in the folder `to` a second name there. `room` is the number of
/// names that may still be made.
fn carry(backend: &dyn OutputBackend, from: &Path, to: &Path, room: &mut usize) -> io::Result<()> {
    for name in backend.entries(from)? {
        *room = room.checked_sub(1).ok_or(io::ErrorKind::ArgumentListTooLong)?;
        let (old, new) = (from.join(&name), to.join(&name));
        let kind = backend.stat(&old)?.kind;
        if kind == FileKind::Folder && backend.is_mount_point(&old)? {
            // The mounted file system would move to the old folder.
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        match (kind, backend.stat(&new)) {
            (FileKind::Folder, Ok(_)) => carry(backend, &old, &new, room)?,
            (FileKind::Folder, Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                backend.create_dir(&new)?;
                carry(backend, &old, &new, room)?;
            }
            (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => backend.link(&old, &new)?,
            (_, other) => drop(other?),
        }
    }
    backend.copy_dir_mode(from, to)
}

/// Moves what other programs created or replaced in the folder `old`, after it had got a second name, to `target`.
/// `names` are the files of the release, which stay as they are.
fn keep_strays(backend: &dyn OutputBackend, old: &Path, target: &Path, names: &BTreeSet<FileName>) -> io::Result<()> {
    let mut open = vec![PathBuf::new()];
    while let Some(inner) = open.pop() {
        for name in backend.entries(&old.join(&inner))? {
            let inner = inner.join(name);
            let (from, to) = (old.join(&inner), target.join(&inner));
            let is_of_release =
                || inner.to_str().and_then(|name| name.parse().ok()).is_some_and(|name| names.contains(&name));
            let stat = backend.stat(&from)?;
            match backend.stat(&to) {
                Ok(there) if stat.kind == FileKind::Folder && there.kind == FileKind::Folder => open.push(inner),
                Err(error) if error.kind() == io::ErrorKind::NotFound => backend.rename_new(&from, &to)?,
                // A program replaced the file after it had got its second name.
                Ok(there) if there.kind == stat.kind && there.inode != stat.inode && !is_of_release() => {
                    backend.rename(&from, &to)?;
                }
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Returns the relative paths of all files below a folder. A folder that does not exist has none.
fn list(backend: &dyn OutputBackend, folder: &Path) -> Result<BTreeSet<PathBuf>, HandoverError> {
    let mut found = BTreeSet::new();
    let mut open = vec![PathBuf::new()];
    while let Some(inner) = open.pop() {
        let path = folder.join(&inner);
        let names = match backend.entries(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(HandoverError::io("list", &path))?,
        };
        for name in names {
            let inner = inner.join(name);
            let path = folder.join(&inner);
            match backend.stat(&path).map_err(HandoverError::io("open", &path))?.kind {
                FileKind::Folder => open.push(inner),
                _ => drop(found.insert(inner)),
            }
        }
    }
    Ok(found)
}

fn parent_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}
