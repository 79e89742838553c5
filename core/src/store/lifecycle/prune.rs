//! Chooses the releases that a prune removes.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::{self, Plan, Rules};
use super::scan::{Scan, ScannedRelease};
use crate::cid::Cid;
use crate::name::Name;
use crate::store::backend::Backend;
use crate::store::error::StoreError;
use crate::store::layout::Layout;

/// Which releases stay. Current and pinned releases always stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prune {
    /// The number of releases of each name that stay: the current one, and the newest complete ones before it. A
    /// release that is newer than the current one stays, because it is being fetched. Default: all stay.
    pub keep: Option<u32>,
    /// The disk space that blocks and artifacts may use, in bytes. Further releases go, the oldest first, until the
    /// rest fits. Default: no limit.
    pub max_bytes: Option<u64>,
}

/// Decides which files a prune removes.
pub(crate) fn plan(
    backend: &dyn Backend,
    layout: &Layout,
    scan: &mut Scan,
    rules: Rules,
    announced: &BTreeSet<Cid>,
    limits: &Prune,
) -> Result<Plan, StoreError> {
    let surplus = limits.keep.map_or_else(BTreeSet::new, |keep| surplus(scan, keep));
    // The releases that the limit on the size may remove, the oldest first.
    let current = current_versions(scan);
    let mut others: Vec<_> = scan
        .releases
        .iter()
        .filter(|scanned| is_removable(&current, scanned) && !surplus.contains(&scanned.release.manifest))
        .map(|scanned| (scanned.release.issued_at, scanned.release.version, scanned.release.manifest))
        .collect();
    others.sort_unstable();
    let mut with_oldest = |count: usize| {
        let releases = surplus.iter().chain(others[..count].iter().map(|(_, _, cid)| cid)).copied().collect();
        let plan = plan::plan(backend, layout, scan, &Rules { releases, ..rules.clone() }, announced)?;
        let left = scan.allocated().saturating_sub(plan.allocated());
        Ok::<_, StoreError>((plan, limits.max_bytes.is_none_or(|max| left <= max)))
    };
    let (plan, fits) = with_oldest(0)?;
    if fits || others.is_empty() {
        return Ok(plan);
    }
    // The fewest releases that have to go. More releases never free less space, so a binary search finds them.
    let (mut low, mut high) = (1, others.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if with_oldest(middle)?.1 { high = middle } else { low = middle + 1 }
    }
    Ok(with_oldest(low)?.0)
}

/// Returns whether a prune may remove a release at all. A release that is newer than the current one stays, because it
/// is being fetched.
fn is_removable(current: &BTreeMap<Name, u64>, scanned: &ScannedRelease) -> bool {
    let release = &scanned.release;
    let is_newer = current.get(&release.name).is_some_and(|current| release.version > *current);
    !release.is_current && !release.is_pinned && !is_newer
}

/// Returns the version of the current release of each name.
fn current_versions(scan: &Scan) -> BTreeMap<Name, u64> {
    let current = scan.releases.iter().map(|scanned| &scanned.release).filter(|release| release.is_current);
    current.map(|release| (release.name.clone(), release.version)).collect()
}

/// Returns the manifests of the releases that go so that `keep` releases of each name stay. Incomplete releases do not
/// count: they stay as long as an older complete release stays. A release with the version of the current one goes in any
/// case: it was left by a publisher that crashed, and no ref can ever lead to it.
fn surplus(scan: &Scan, keep: u32) -> BTreeSet<Cid> {
    let mut surplus = BTreeSet::new();
    for same_name in scan.releases.chunk_by(|a, b| a.release.name == b.release.name) {
        let current = same_name.iter().position(|scanned| scanned.release.is_current);
        // Without a current release, the newest ones stay.
        let (mut left, first) = match current {
            Some(position) => (keep.saturating_sub(1), position + 1),
            None => (keep, 0),
        };
        let version = current.map(|position| same_name[position].release.version);
        for (position, scanned) in same_name.iter().enumerate() {
            let ScannedRelease { release, .. } = scanned;
            if Some(release.version) == version && !release.is_current && !release.is_pinned {
                surplus.insert(release.manifest);
            } else if position < first {
                continue;
            } else if left > 0 {
                left -= u32::from(is_complete(scan, scanned));
            } else if !release.is_pinned {
                surplus.insert(release.manifest);
            }
        }
    }
    surplus
}

/// Returns whether the store has a file or a reference for every artifact of a release.
fn is_complete(scan: &Scan, scanned: &ScannedRelease) -> bool {
    let has = |cid| scan.files.get(cid).is_some_and(|files| files.file.is_some() || files.is_reference);
    scan.artifacts_of(scanned).all(has)
}
