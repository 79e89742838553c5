//! Removes releases and orphans.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::plan::{self, FileKind, Plan, RemovedFile, Rules};
use super::prune::{self, Prune};
use super::release::StoredRelease;
use super::scan::{self, Scan};
use super::served;
use crate::cid::Cid;
use crate::name::Name;
use crate::store::backend::Backend;
use crate::store::error::StoreError;
use crate::store::layout::Layout;
use crate::store::lock::StoreLock;
use crate::store::{refs, temp};

/// The default of [`Removal::grace`].
pub const GRACE: Duration = Duration::from_secs(60 * 60);
/// The default of [`Removal::part_age`].
pub const PART_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What to remove from a store.
#[derive(Clone, Debug)]
pub struct Removal {
    /// Which content goes.
    pub goal: Goal,
    /// The current time, as Unix time in seconds.
    pub now: u64,
    /// The time for which an orphan stays after it was stored, because a process that has just stored it may be about
    /// to reference it. Default: 1 h.
    pub grace: Duration,
    /// The time for which a partial artifact stays after it was last written, and a damaged file after it was set
    /// aside. Default: 7 days.
    pub part_age: Duration,
}

impl Removal {
    /// Makes a removal with the default times. `now` is the current Unix time in seconds.
    pub fn new(goal: Goal, now: u64) -> Self {
        Self { goal, now, grace: GRACE, part_age: PART_AGE }
    }
}

/// Which content of a store goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Orphans: what no release and no pin needs, old partial artifacts, temporary files, old damaged files.
    Orphans,
    /// One release, with what nothing else needs. Nothing goes while the release is current or pinned.
    Release(Cid),
    /// Old releases, and orphans.
    Prune(Prune),
}

/// What was removed, or what would be.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Removed {
    /// The releases.
    pub releases: Vec<StoredRelease>,
    /// The files, in the order in which they go.
    pub files: Vec<RemovedFile>,
    /// The disk space that the removal frees, in bytes.
    pub bytes: u64,
    /// The disk space that blocks and artifacts use after the removal, in bytes.
    pub left: u64,
    /// The content that stays only because the running provider has not withdrawn it yet. The same removal can be made
    /// again after that.
    pub announced: Vec<Cid>,
}

/// Removes what `removal` says.
pub(crate) fn remove(backend: &dyn Backend, layout: &Layout, removal: &Removal) -> Result<Removed, StoreError> {
    // The lock is held from reading what is needed until everything else is removed, so that no ref can be set, no
    // manifest stored and no artifact installed in between.
    let _lock = StoreLock::take(backend, layout)?;
    let (scan, plan) = decide(backend, layout, removal, false)?;
    carry_out(backend, layout, &plan)?;
    Ok(report(scan, plan))
}

/// Returns what [`remove`] would remove, and changes nothing. A release that is current is treated as if its ref were
/// removed.
pub(crate) fn preview(backend: &dyn Backend, layout: &Layout, removal: &Removal) -> Result<Removed, StoreError> {
    let (scan, plan) = decide(backend, layout, removal, true)?;
    Ok(report(scan, plan))
}

/// Removes the ref of `name` if it leads to `manifest`. Returns whether it did.
pub(crate) fn remove_ref(
    backend: &dyn Backend,
    layout: &Layout,
    name: &Name,
    manifest: &Cid,
) -> Result<bool, StoreError> {
    let _lock = StoreLock::take(backend, layout)?;
    let Some(pointer) = refs::read(backend, layout, name)? else { return Ok(false) };
    if refs::accept(name, &pointer)?.manifest != *manifest {
        return Ok(false);
    }
    let path = layout.ref_file(name);
    backend.remove(&path).map_err(|e| StoreError::write("remove", &path, e))?;
    temp::sync_parent(backend, &path)?;
    Ok(true)
}

fn decide(
    backend: &dyn Backend,
    layout: &Layout,
    removal: &Removal,
    is_preview: bool,
) -> Result<(Scan, Plan), StoreError> {
    let mut scan = Scan::read(backend, layout)?;
    // A preview takes no lock, so it must not try the lock of the provider.
    let announced = if is_preview { BTreeSet::new() } else { served::read(backend, layout)? };
    let ns = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    let mut rules = Rules {
        releases: BTreeSet::new(),
        even_current: false,
        orphans: true,
        now_ns: ns(Duration::from_secs(removal.now)),
        grace_ns: ns(removal.grace),
        part_age_ns: ns(removal.part_age),
    };
    let plan = match &removal.goal {
        Goal::Orphans => plan::plan(backend, layout, &mut scan, &rules, &announced)?,
        Goal::Release(manifest) => {
            rules.releases.insert(*manifest);
            (rules.even_current, rules.orphans) = (is_preview, false);
            plan::plan(backend, layout, &mut scan, &rules, &announced)?
        }
        Goal::Prune(limits) => prune::plan(backend, layout, &mut scan, rules, &announced, limits)?,
    };
    Ok((scan, plan))
}

/// Removes the files of a plan. Each step is synced before the next one, so that a power cut leaves no release without
/// some of its artifacts, and no artifact without its index.
fn carry_out(backend: &dyn Backend, layout: &Layout, plan: &Plan) -> Result<(), StoreError> {
    let steps =
        [(&plan.manifests, layout.blocks()), (&plan.artifacts, layout.artifacts()), (&plan.blocks, layout.blocks())];
    for (files, folder) in steps {
        for file in files {
            remove_file(backend, file)?;
        }
        if !files.is_empty() {
            temp::sync_folder(backend, &folder)?;
        }
    }
    plan.others.iter().try_for_each(|file| remove_file(backend, file))
}

fn remove_file(backend: &dyn Backend, file: &RemovedFile) -> Result<(), StoreError> {
    let path = &file.path;
    // These files change without the store's lock: a process may have opened a partial artifact, or stored a block
    // again.
    let _guard = match file.kind {
        FileKind::Partial | FileKind::Temporary => match lock(backend, path)? {
            Some(guard) => Some(guard),
            None => return Ok(()),
        },
        FileKind::Block if scan::stat(backend, path)?.is_none_or(|now| !now.same_content(&file.stat)) => return Ok(()),
        _ => None,
    };
    match backend.remove(path) {
        // A folder in the place of a file was not made by the store. It is left to the operator.
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => {
            Err(StoreError::write("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Locks a file, so that no other process can begin to use it. Returns `None` if another process uses it.
fn lock(backend: &dyn Backend, path: &Path) -> Result<Option<Box<dyn crate::store::backend::BackendFile>>, StoreError> {
    match temp::try_lock(backend, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map_err(|e| StoreError::read("lock", path, e)),
    }
}

fn report(mut scan: Scan, plan: Plan) -> Removed {
    let left = scan.allocated().saturating_sub(plan.allocated());
    let mut positions = plan.releases.clone();
    positions.sort_unstable();
    let releases = positions.iter().map(|position| scan.releases[*position].release.clone()).collect();
    scan.releases.clear();
    let bytes = plan.files().map(|file| file.bytes).sum();
    let announced = plan.announced.iter().copied().collect();
    let Plan { manifests, artifacts, blocks, others, .. } = plan;
    let files = [manifests, artifacts, blocks, others].into_iter().flatten().collect();
    Removed { releases, files, bytes, left, announced }
}
