//! Refs on disk: `refs/<channel>/<arch>` holds the signed pointer record of a name.

use std::io::ErrorKind;

use super::backend::Backend;
use super::damage::{Damage, RefProblem};
use super::error::StoreError;
use super::layout::Layout;
use super::temp;
use crate::cid::Cid;
use crate::dht::{MAX_POINTER_LEN, Pointer};
use crate::envelope::Envelope;
use crate::name::Name;

/// The part of a pointer record that decides which of two refs is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    version: u64,
    issued_at: u64,
    pub(crate) manifest: Cid,
}

/// Checks that `pointer` is a pointer record for `name`, and returns where it leads.
fn check(name: &Name, pointer: &Envelope) -> Result<Target, RefProblem> {
    let pointer = Pointer::decode_envelope(&pointer.encode())
        .and_then(|envelope| envelope.payload_unverified::<Pointer>())
        .map_err(RefProblem::Envelope)?;
    if pointer.name != *name {
        return Err(RefProblem::OtherName(pointer.name));
    }
    let manifest = pointer.manifest.ok_or(RefProblem::NoManifest)?;
    Ok(Target { version: pointer.version, issued_at: pointer.issued_at, manifest })
}

/// Checks a pointer record that a caller passed, and returns where it leads.
pub(crate) fn accept(name: &Name, pointer: &Envelope) -> Result<Target, StoreError> {
    check(name, pointer).map_err(|problem| StoreError::BadPointer { name: name.clone(), problem: Box::new(problem) })
}

/// Returns whether the ref `held` may be replaced by a pointer that leads to `target`. Returns false if the ref leads to
/// the same manifest and was issued later. The caller must hold a lock from reading the ref to setting it.
pub(crate) fn may_replace(name: &Name, held: Option<&Envelope>, target: &Target) -> Result<bool, StoreError> {
    let Some(held) = held.and_then(|held| check(name, held).ok()) else { return Ok(true) };
    let is_same = held.version == target.version && held.manifest == target.manifest;
    if is_same {
        return Ok(held.issued_at <= target.issued_at);
    }
    if held.version >= target.version {
        return Err(StoreError::RefIsNewer { name: name.clone(), version: target.version, held: held.version });
    }
    Ok(true)
}

/// Replaces the ref of `name`, if [`may_replace`] permits it. The caller must hold the store's lock.
pub(crate) fn compare_and_set(
    backend: &dyn Backend,
    layout: &Layout,
    name: &Name,
    pointer: &Envelope,
    target: &Target,
) -> Result<(), StoreError> {
    let held = match read(backend, layout, name) {
        // A damaged ref has no version. It is replaced.
        Err(StoreError::Damaged { .. }) => None,
        other => other?,
    };
    if may_replace(name, held.as_ref(), target)? { set(backend, layout, name, pointer) } else { Ok(()) }
}

/// Replaces the ref of `name`.
fn set(backend: &dyn Backend, layout: &Layout, name: &Name, pointer: &Envelope) -> Result<(), StoreError> {
    let path = layout.ref_file(name);
    let channel = path.parent().expect("a ref is in its channel's folder");
    backend.create_dir(channel).map_err(|e| StoreError::write("create", channel, e))?;
    temp::sync_parent(backend, channel)?;
    temp::replace(backend, &layout.tmp(), &path, &pointer.encode())
}

/// Reads the ref of `name`. Returns `None` if the name has no ref.
pub(crate) fn read(backend: &dyn Backend, layout: &Layout, name: &Name) -> Result<Option<Envelope>, StoreError> {
    let path = layout.ref_file(name);
    let Some(bytes) = temp::read_small(backend, &path, MAX_POINTER_LEN)? else { return Ok(None) };
    let damaged = |damage| StoreError::damaged(&path, damage);
    let envelope =
        Pointer::decode_envelope(&bytes).map_err(|error| damaged(Damage::RefBytes { name: name.clone(), error }))?;
    match check(name, &envelope) {
        Ok(_) => Ok(Some(envelope)),
        Err(problem) => Err(damaged(Damage::Ref { name: name.clone(), problem })),
    }
}

/// Returns the names that have a ref, sorted. Files whose path is not a valid name are ignored.
pub(crate) fn names(backend: &dyn Backend, layout: &Layout) -> Result<Vec<Name>, StoreError> {
    let refs = layout.refs();
    let mut names = Vec::new();
    let channels = match backend.read_dir(&refs) {
        // A store that can only be read may lack its empty folders.
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        other => other.map_err(|e| StoreError::read("list", &refs, e))?,
    };
    for channel in channels {
        let folder = refs.join(&channel);
        let archs = match backend.read_dir(&folder) {
            Ok(archs) => archs,
            // The entry is not a folder, or was just removed.
            Err(error) if matches!(error.kind(), ErrorKind::NotADirectory | ErrorKind::NotFound) => continue,
            Err(error) => return Err(StoreError::read("list", &folder, error)),
        };
        names.extend(archs.iter().filter_map(|arch| format!("{channel}/{arch}").parse::<Name>().ok()));
    }
    names.sort();
    Ok(names)
}
