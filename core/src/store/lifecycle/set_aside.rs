//! Setting aside a damaged artifact, so that a fetch can replace it.
//!
//! A damaged file inside the store is moved to `damaged/<cid>.<n>`, where a person can look at it. A file that was
//! imported by reference is outside the store and stays as it is: only its seal is removed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::cid::{Cid, Codec};
use crate::name::Name;
use crate::store::backend::{Backend, FileStat, OpenMode};
use crate::store::damage::Damage;
use crate::store::error::StoreError;
use crate::store::layout::Layout;
use crate::store::lock::StoreLock;
use crate::store::os::OsFile;
use crate::store::seal::Seal;
use crate::store::{artifact, blocks, refs, temp};

/// The maximum number of files in `damaged/`. Each can be as large as an artifact, and only the newest are of use to a
/// person who looks for the cause.
const MAX_DAMAGED: usize = 4;
/// The maximum number of attempts to verify a file. Another attempt is needed if the file is replaced while it is
/// verified.
const ATTEMPTS: u32 = 4;

/// Where the damaged content of an artifact is.
enum Damaged {
    /// A file inside the store, with its state when it was verified.
    Owned(FileStat),
    /// A file outside the store, with its seal.
    Reference(Seal, PathBuf),
}

/// The result of verifying an artifact.
enum Found {
    Missing,
    Undamaged,
    Damaged(Damaged),
    /// The file was changed while it was verified.
    Changing,
}

/// Verifies an artifact, and sets it aside if it is damaged, as
/// [`Store::set_aside`](crate::store::Store::set_aside) describes.
pub(crate) fn set_aside(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<Option<PathBuf>, StoreError> {
    if cid.codec() != Codec::DagCbor {
        return Ok(None);
    }
    for _ in 0..ATTEMPTS {
        let damaged = match examine(backend, layout, cid)? {
            Found::Missing | Found::Undamaged => return Ok(None),
            Found::Changing => continue,
            Found::Damaged(damaged) => damaged,
        };
        // The file was hashed without the lock, because hashing takes long. Under the lock, it is enough that the file
        // still has the state in which it was hashed.
        let _lock = StoreLock::take(backend, layout)?;
        if let Some(moved) = take_out(backend, layout, cid, damaged)? {
            return Ok(Some(moved));
        }
    }
    Err(StoreError::damaged(&layout.artifact(cid), Damage::Changed))
}

/// Takes a damaged artifact out of the store, unless it was replaced since it was verified.
fn take_out(
    backend: &dyn Backend,
    layout: &Layout,
    cid: &Cid,
    damaged: Damaged,
) -> Result<Option<PathBuf>, StoreError> {
    let path = layout.artifact(cid);
    let now = match backend.stat(&path) {
        Ok(stat) => Some(stat),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(StoreError::read("read", &path, error)),
    };
    match (damaged, now) {
        (Damaged::Owned(before), Some(now)) if now.same_content(&before) => {
            move_away(backend, layout, cid, &path).map(Some)
        }
        (Damaged::Reference(seal, outside), None) if Seal::read(backend, layout, cid)?.as_ref() == Some(&seal) => {
            Seal::remove(backend, layout, cid)?;
            temp::sync_parent(backend, &path)?;
            Ok(Some(outside))
        }
        _ => Ok(None),
    }
}

/// Moves a damaged file to `damaged/`. The seal is removed first, so that a crash leaves nothing that claims the file is
/// good.
fn move_away(backend: &dyn Backend, layout: &Layout, cid: &Cid, path: &Path) -> Result<PathBuf, StoreError> {
    Seal::remove(backend, layout, cid)?;
    move_file(backend, layout, path, &cid.to_string())
}

fn rename(backend: &dyn Backend, path: &Path, target: PathBuf) -> Result<PathBuf, StoreError> {
    backend.rename(path, &target).map_err(|e| StoreError::write("create", &target, e))?;
    temp::sync_parent(backend, path)?;
    temp::sync_parent(backend, &target)?;
    Ok(target)
}

/// Verifies a block, and moves it to `damaged/` if it is damaged.
pub(crate) fn block(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<Option<PathBuf>, StoreError> {
    let _lock = StoreLock::take(backend, layout)?;
    let is_damaged = is_damaged(backend, &layout.block(cid), blocks::read(backend, layout, cid).map(drop))?;
    is_damaged.then(|| move_file(backend, layout, &layout.block(cid), &cid.to_string())).transpose()
}

/// Moves the ref of a name to `damaged/` if it cannot be decoded.
pub(crate) fn reference(backend: &dyn Backend, layout: &Layout, name: &Name) -> Result<Option<PathBuf>, StoreError> {
    let _lock = StoreLock::take(backend, layout)?;
    let path = layout.ref_file(name);
    let is_damaged = is_damaged(backend, &path, refs::read(backend, layout, name).map(drop))?;
    let moved_name = format!("{}+{}", name.channel, name.arch);
    is_damaged.then(|| move_file(backend, layout, &path, &moved_name)).transpose()
}

/// Returns whether a file that was read with this result is damaged, or is no regular file.
fn is_damaged(backend: &dyn Backend, path: &Path, read: Result<(), StoreError>) -> Result<bool, StoreError> {
    match read {
        Ok(()) => Ok(false),
        Err(StoreError::Damaged { .. }) => Ok(true),
        Err(error) => {
            if backend.stat(path).is_ok_and(|stat| !stat.is_file()) {
                return Ok(true);
            }
            Err(error)
        }
    }
}

/// Moves a damaged file to `damaged/<name>.<n>`.
fn move_file(backend: &dyn Backend, layout: &Layout, path: &Path, name: &str) -> Result<PathBuf, StoreError> {
    let folder = layout.damaged();
    backend.create_dir(&folder).map_err(|e| StoreError::write("create", &folder, e))?;
    let number = make_place(backend, &folder)?;
    rename(backend, path, folder.join(format!("{name}.{number}")))
}

/// Removes the oldest files of `damaged/`, so that one more may be added. Returns the number of the next file.
fn make_place(backend: &dyn Backend, folder: &Path) -> Result<u64, StoreError> {
    let names = backend.read_dir(folder).map_err(|e| StoreError::read("list", folder, e))?;
    let mut kept: Vec<(u64, String)> = names.into_iter().filter_map(|name| Some((number_of(&name)?, name))).collect();
    kept.sort_unstable();
    let next = kept.last().map_or(1, |(number, _)| number + 1);
    let surplus = (kept.len() + 1).saturating_sub(MAX_DAMAGED);
    for (_, name) in &kept[..surplus] {
        let path = folder.join(name);
        match backend.remove(&path) {
            // A folder that was in the place of an artifact was moved here. It is left to the operator.
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => {
                return Err(StoreError::write("remove", &path, error));
            }
            _ => {}
        }
    }
    Ok(next)
}

/// Returns the number of a file in `damaged/`, or `None` if the store did not give the file its name.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let (_, number) = name.rsplit_once('.')?;
    number.parse::<u32>().ok().map(u64::from)
}

/// Hashes an artifact, whatever its seal says.
fn examine(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<Found, StoreError> {
    let path = layout.artifact(cid);
    let stat = match backend.stat(&path) {
        Ok(stat) => stat,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return examine_reference(backend, layout, cid),
        Err(error) => return Err(StoreError::read("read", &path, error)),
    };
    if !stat.is_file() {
        return Ok(Found::Damaged(Damaged::Owned(stat)));
    }
    let index = artifact::load_index(backend, layout, cid)?;
    let file = match backend.open(&path, OpenMode::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Changing),
        other => other.map_err(|e| StoreError::read("open", &path, e))?,
    };
    let before = file.stat().map_err(|e| StoreError::read("read", &path, e))?;
    let verified = artifact::verify(&*file, &index, &path);
    let after = file.stat().map_err(|e| StoreError::read("read", &path, e))?;
    Ok(match verified {
        _ if !before.same_content(&after) => Found::Changing,
        Ok(()) => Found::Undamaged,
        Err(StoreError::Damaged { .. }) => Found::Damaged(Damaged::Owned(after)),
        Err(error) => return Err(error),
    })
}

/// Hashes a file that was imported by reference, whatever its seal says.
fn examine_reference(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<Found, StoreError> {
    let Some(seal) = Seal::read(backend, layout, cid)? else { return Ok(Found::Missing) };
    let Some(path) = seal.path() else { return Ok(Found::Missing) };
    let index = artifact::load_index(backend, layout, cid)?;
    let verified = open_reference(&path).and_then(|file| artifact::verify(&file, &index, &path));
    Ok(match verified {
        Ok(()) => Found::Undamaged,
        Err(StoreError::Damaged { .. }) => Found::Damaged(Damaged::Reference(seal, path)),
        Err(error) => return Err(error),
    })
}

/// Opens a file outside the store. A file that does not exist is [damaged](StoreError::Damaged). An error that may go
/// away, for instance too many open files, is returned as it is.
pub(crate) fn open_reference(path: &Path) -> Result<OsFile, StoreError> {
    let gone = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            StoreError::damaged(path, Damage::ReferenceGone(error))
        }
        _ => StoreError::read("open", path, error),
    };
    // The type is checked first, because opening a pipe or a device may block or have side effects.
    if !std::fs::metadata(path).map_err(gone)?.is_file() {
        return Err(StoreError::damaged(path, Damage::ReferenceChanged));
    }
    File::open(path).map(OsFile::from).map_err(gone)
}
