//! Decides which files of a store go. Changes nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::scan::{self, ArtifactFiles, Scan, ScannedRelease};
use super::set_aside;
use crate::cid::Cid;
use crate::store::backend::{Backend, FileStat};
use crate::store::error::StoreError;
use crate::store::layout::Layout;
use crate::store::temp;

/// The time between writing an artifact's file and its seal, in nanoseconds, after which the seal counts as written by
/// a later import of the same content.
const RESEAL_NS: i64 = 1_000_000_000;

/// What kind of file is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FileKind {
    /// The manifest of a release.
    Manifest,
    /// The content of an artifact.
    Artifact,
    /// The seal of an artifact. For an artifact that was imported by reference, the seal is all that the store has.
    Seal,
    /// A partial artifact.
    Partial,
    /// The bitmap of a partial artifact.
    Bitmap,
    /// A block of an index, or another block that no release needs.
    Block,
    /// A temporary file that no process writes.
    Temporary,
    /// A damaged file that was set aside.
    Damaged,
}

/// A file that is removed, or that would be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemovedFile {
    /// The path of the file.
    pub path: PathBuf,
    /// What the file is.
    pub kind: FileKind,
    /// The disk space that the removal frees, in bytes. It is 0 for a file that has another name, for instance in a
    /// folder to which it was exported as a link.
    pub bytes: u64,
    /// The state of the file when its removal was decided.
    pub(crate) stat: FileStat,
}

/// Which files may go.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// The manifests of the releases to remove.
    pub(crate) releases: BTreeSet<Cid>,
    /// Whether a release in `releases` goes although a ref leads to it, because the ref is removed first.
    pub(crate) even_current: bool,
    /// Whether orphans go too: files that no release needs, besides those of the releases that are removed.
    pub(crate) orphans: bool,
    /// The current time, in nanoseconds since the Unix epoch.
    pub(crate) now_ns: i64,
    /// The time for which an orphan stays after it was stored, in nanoseconds.
    pub(crate) grace_ns: i64,
    /// The time for which a partial artifact or a damaged file stays, in nanoseconds.
    pub(crate) part_age_ns: i64,
}

/// The files that go, in the order in which they go.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// The positions in [`Scan::releases`] of the releases that go.
    pub(crate) releases: Vec<usize>,
    /// The manifests.
    pub(crate) manifests: Vec<RemovedFile>,
    /// The files of artifacts.
    pub(crate) artifacts: Vec<RemovedFile>,
    /// The index blocks.
    pub(crate) blocks: Vec<RemovedFile>,
    /// Temporary and damaged files.
    pub(crate) others: Vec<RemovedFile>,
    /// The content that stays only because a running provider announces it.
    pub(crate) announced: BTreeSet<Cid>,
}

impl Plan {
    /// Returns all files that go.
    pub(crate) fn files(&self) -> impl Iterator<Item = &RemovedFile> {
        self.manifests.iter().chain(&self.artifacts).chain(&self.blocks).chain(&self.others)
    }

    /// Returns the disk space of the blocks and artifacts that go, in bytes, whether or not they have another name.
    pub(crate) fn allocated(&self) -> u64 {
        let files = self.manifests.iter().chain(&self.artifacts).chain(&self.blocks);
        files.map(|file| file.stat.allocated).sum()
    }
}

/// Decides which files go. `announced` has the CIDs that a running provider announces.
///
/// # Errors
/// The first problem of the scan, because a manifest or a ref that cannot be read may need any artifact; or an error
/// from the operating system.
pub(crate) fn plan(
    backend: &dyn Backend,
    layout: &Layout,
    scan: &mut Scan,
    rules: &Rules,
    announced: &BTreeSet<Cid>,
) -> Result<Plan, StoreError> {
    if !scan.problems.is_empty() {
        return Err(scan.problems.remove(0));
    }
    if let Some((name, manifest)) = scan.refs.iter().find(|(_, manifest)| !scan.blocks.contains_key(manifest)) {
        return Err(StoreError::NoManifest { name: name.clone(), manifest: *manifest });
    }
    scan.read_leaves(backend, layout)?;
    let mut planner = Planner { backend, layout, scan, rules, announced, plan: Plan::default() };
    let (released, needed) = planner.choose_releases();
    let keeps_index = planner.plan_artifacts(&released, &needed);
    planner.plan_blocks(&released, &needed, &keeps_index);
    if rules.orphans {
        planner.plan_others()?;
    }
    Ok(planner.plan)
}

struct Planner<'a> {
    backend: &'a dyn Backend,
    layout: &'a Layout,
    scan: &'a Scan,
    rules: &'a Rules,
    announced: &'a BTreeSet<Cid>,
    plan: Plan,
}

impl Planner<'_> {
    /// Chooses the releases that go. Returns their artifacts, and the artifacts that releases and pins need.
    fn choose_releases(&mut self) -> (BTreeSet<Cid>, BTreeSet<Cid>) {
        let scan = self.scan;
        let goes = |scanned: &ScannedRelease| {
            let release = &scanned.release;
            self.rules.releases.contains(&release.manifest)
                && !release.is_pinned
                && (self.rules.even_current || !release.is_current)
        };
        let mut needed = scan.pins.clone();
        for staying in scan.releases.iter().filter(|scanned| !goes(scanned)) {
            needed.extend(scan.artifacts_of(staying));
        }
        let mut released = BTreeSet::new();
        for (position, scanned) in scan.releases.iter().enumerate().filter(|(_, scanned)| goes(scanned)) {
            let only_here = scan.artifacts_of(scanned).filter(|cid| !needed.contains(cid));
            let cids = only_here.chain([&scanned.release.manifest]);
            let announced: Vec<_> = cids.filter(|cid| self.announced.contains(cid)).copied().collect();
            // A release stays as a whole while any of its content is announced.
            if !announced.is_empty() {
                self.plan.announced.extend(announced);
                needed.extend(scan.artifacts_of(scanned));
                continue;
            }
            released.extend(scan.artifacts_of(scanned));
            let manifest = scanned.release.manifest;
            self.plan.releases.push(position);
            self.plan.manifests.push(file(self.layout.block(&manifest), FileKind::Manifest, scan.blocks[&manifest]));
        }
        released.retain(|cid| !needed.contains(cid));
        (released, needed)
    }

    /// Decides which files of artifacts go. Returns the artifacts of which some content stays, so that their index must
    /// stay.
    fn plan_artifacts(&mut self, released: &BTreeSet<Cid>, needed: &BTreeSet<Cid>) -> BTreeSet<Cid> {
        let mut keeps_index = BTreeSet::new();
        for (cid, files) in &self.scan.files {
            let (is_needed, is_released) = (needed.contains(cid), released.contains(cid));
            let mut content_goes = !is_needed && self.content_goes(files, is_released);
            if content_goes && self.announced.contains(cid) {
                self.plan.announced.insert(*cid);
                content_goes = false;
            }
            let part_goes = self.part_goes(cid, files, is_released && !is_needed);
            if content_goes {
                self.go(self.layout.artifact(cid), FileKind::Artifact, files.file);
            }
            let seal_is_left = files.file.is_none() && !files.is_reference && self.orphan_goes(files.seal);
            if content_goes || seal_is_left {
                self.go(self.layout.seal(cid), FileKind::Seal, files.seal);
            }
            if part_goes {
                self.go(self.layout.part(cid), FileKind::Partial, files.part);
            }
            if part_goes || (files.part.is_none() && self.orphan_goes(files.have)) {
                self.go(self.layout.have(cid), FileKind::Bitmap, files.have);
            }
            let content_stays = !content_goes && (files.file.is_some() || files.is_reference);
            if content_stays || (files.part.is_some() && !part_goes) {
                keeps_index.insert(*cid);
            }
        }
        keeps_index
    }

    /// Decides whether the content of an artifact that no release needs goes.
    fn content_goes(&self, files: &ArtifactFiles, is_released: bool) -> bool {
        if files.file.is_none() && !files.is_reference {
            return false;
        }
        let stats = || files.file.iter().chain(&files.seal);
        if !is_released {
            return self.rules.orphans && !stats().any(|stat| self.is_young(stat));
        }
        // The content belonged to a release that goes, so its age does not matter. It stays if it was imported again,
        // because the importing process may be about to publish it. An import renews the seal.
        let was_reused = match (files.file, files.seal) {
            (Some(file), Some(seal)) => seal.ctime_ns.saturating_sub(file.ctime_ns) > RESEAL_NS && self.is_young(&seal),
            _ => false,
        };
        !was_reused
    }

    /// Decides whether a partial artifact goes: with its release, or when it is old. It stays while a process has it
    /// open.
    fn part_goes(&self, cid: &Cid, files: &ArtifactFiles, is_released: bool) -> bool {
        let Some(part) = files.part else { return false };
        let newest = [Some(part), files.have].iter().flatten().map(changed_at).max().unwrap_or(i64::MAX);
        let is_old = newest <= self.rules.now_ns.saturating_sub(self.rules.part_age_ns);
        (is_released || (self.rules.orphans && is_old)) && is_unlocked(self.backend, &self.layout.part(cid))
    }

    /// Decides which index blocks go.
    fn plan_blocks(&mut self, released: &BTreeSet<Cid>, needed: &BTreeSet<Cid>, keeps_index: &BTreeSet<Cid>) {
        let mut stays: BTreeSet<Cid> = needed.union(keeps_index).copied().collect();
        // If the root block of an index that stays cannot be read, any block may be one of its leaf blocks.
        let leaves = |cid| self.scan.leaves.get(cid);
        let is_certain = needed.union(keeps_index).all(|cid| leaves(cid).is_none_or(|leaves| leaves.is_ok()));
        for cid in needed.union(keeps_index) {
            stays.extend(leaves(cid).iter().flat_map(|leaves| leaves.iter().flatten()));
        }
        let mut goes_now = BTreeSet::new();
        for cid in released.difference(&stays) {
            goes_now.insert(*cid);
            goes_now.extend(leaves(cid).iter().flat_map(|leaves| leaves.iter().flatten()));
        }
        let releases = self.scan.releases.iter().map(|scanned| scanned.release.manifest);
        stays.extend(releases);
        stays.extend(&self.scan.other_envelopes);
        for (cid, stat) in &self.scan.blocks {
            let goes = goes_now.contains(cid) || self.orphan_goes(Some(*stat));
            if goes && is_certain && !stays.contains(cid) {
                self.plan.blocks.push(file(self.layout.block(cid), FileKind::Block, *stat));
            }
        }
    }

    /// Decides which temporary and damaged files go.
    fn plan_others(&mut self) -> Result<(), StoreError> {
        let tmp = self.layout.tmp();
        for name in scan::list(self.backend, &tmp)? {
            let path = tmp.join(name);
            if is_unlocked(self.backend, &path) {
                let stat = scan::stat(self.backend, &path)?;
                self.plan.others.extend(stat.map(|stat| file(path, FileKind::Temporary, stat)));
            }
        }
        let folder = self.layout.damaged();
        for name in scan::list(self.backend, &folder)? {
            let path = folder.join(&name);
            let Some(stat) = scan::stat(self.backend, &path)? else { continue };
            let is_old = changed_at(&stat) <= self.rules.now_ns.saturating_sub(self.rules.part_age_ns);
            if is_old && stat.is_file() && set_aside::number_of(&name).is_some() {
                self.plan.others.push(file(path, FileKind::Damaged, stat));
            }
        }
        Ok(())
    }

    fn go(&mut self, path: PathBuf, kind: FileKind, stat: Option<FileStat>) {
        self.plan.artifacts.extend(stat.map(|stat| file(path, kind, stat)));
    }

    /// Returns whether a file that belongs to no artifact goes.
    fn orphan_goes(&self, stat: Option<FileStat>) -> bool {
        self.rules.orphans && stat.is_some_and(|stat| !self.is_young(&stat))
    }

    /// Returns whether a file was stored so recently that a process may be about to reference it. A time in the future
    /// counts as recent.
    fn is_young(&self, stat: &FileStat) -> bool {
        stat.ctime_ns > self.rules.now_ns.saturating_sub(self.rules.grace_ns)
    }
}

fn changed_at(stat: &FileStat) -> i64 {
    stat.ctime_ns.max(stat.mtime_ns)
}

fn file(path: PathBuf, kind: FileKind, stat: FileStat) -> RemovedFile {
    let bytes = if stat.links > 1 { 0 } else { stat.allocated };
    RemovedFile { path, kind, bytes, stat }
}

/// Returns whether no process has the lock on a file. A file that cannot be opened counts as locked.
fn is_unlocked(backend: &dyn Backend, path: &std::path::Path) -> bool {
    temp::try_lock(backend, path).is_ok_and(|lock| lock.is_some())
}
