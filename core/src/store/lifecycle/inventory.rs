//! What a store has: its releases, their artifacts, and what no release needs.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::plan::{self, RemovedFile, Rules};
use super::release::StoredRelease;
use super::scan::{self, Block, Scan};
use crate::cid::Cid;
use crate::manifest::{ArtifactEntry, Manifest};
use crate::store::backend::Backend;
use crate::store::error::StoreError;
use crate::store::layout::Layout;
use crate::store::seal::Seal;
use crate::store::{artifact, partial};

/// What a store has.
#[derive(Debug)]
#[non_exhaustive]
pub struct Inventory {
    /// The releases, sorted by name. The newest version of a name is first.
    pub releases: Vec<ReleaseUsage>,
    /// The pinned CIDs.
    pub pins: BTreeSet<Cid>,
    /// The files that no release and no pin needs, whatever their age. Empty if there are problems.
    pub orphans: Vec<RemovedFile>,
    /// The disk space of all blocks and artifacts, in bytes.
    pub bytes: u64,
    /// The blocks and refs that cannot be read. Releases may be missing from the list because of them.
    pub problems: Vec<StoreError>,
}

/// A release, and how much of it the store has.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReleaseUsage {
    /// The release.
    pub release: StoredRelease,
    /// The number of different artifacts of the release.
    pub artifacts: usize,
    /// The number of artifacts for which the store has a whole file or a reference. They were not hashed.
    pub complete: usize,
    /// The sum of the sizes of all files of the release, in bytes.
    pub size: u64,
    /// The disk space of its artifacts in the store, in bytes. Several releases can share an artifact.
    pub bytes: u64,
}

impl ReleaseUsage {
    /// Returns whether the store has a whole file or a reference for every artifact.
    pub fn is_complete(&self) -> bool {
        self.complete == self.artifacts
    }
}

/// An artifact of a release, and how much of it the store has.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoredArtifact {
    /// The entry in the manifest.
    pub entry: ArtifactEntry,
    /// How much of it the store has.
    pub state: ArtifactState,
    /// The disk space that it uses in the store, in bytes.
    pub bytes: u64,
    /// Whether the artifact is pinned.
    pub is_pinned: bool,
}

/// How much of an artifact a store has. Nothing was hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArtifactState {
    /// A file with the whole artifact.
    Complete,
    /// The artifact was imported by reference from this file, which exists.
    Reference(PathBuf),
    /// Some chunks.
    Partial {
        /// The number of chunks that the last checkpoint listed.
        stored: u32,
        /// The number of chunks of the artifact, or 0 if its index is not in the store.
        chunks: u32,
    },
    /// Nothing.
    Missing,
    /// The file is damaged for certain: it has the wrong length or is no regular file, or the file outside the store
    /// is gone.
    Damaged,
}

/// Reads what a store has.
pub(crate) fn read(backend: &dyn Backend, layout: &Layout) -> Result<Inventory, StoreError> {
    let mut scan = Scan::read(backend, layout)?;
    let mut problems = std::mem::take(&mut scan.problems);
    let releases = scan.releases.iter().map(|scanned| {
        let files = || scan.artifacts_of(scanned).filter_map(|cid| scan.files.get(cid));
        ReleaseUsage {
            release: scanned.release.clone(),
            artifacts: scanned.artifacts.len(),
            complete: files().filter(|files| files.file.is_some() || files.is_reference).count(),
            size: scanned.size,
            bytes: files().map(scan::ArtifactFiles::allocated).sum(),
        }
    });
    let releases = releases.collect();
    let bytes = scan.allocated();
    let rules = Rules {
        releases: BTreeSet::new(),
        even_current: false,
        orphans: true,
        now_ns: i64::MAX,
        grace_ns: 0,
        part_age_ns: i64::MAX,
    };
    let mut orphans = Vec::new();
    if problems.is_empty() {
        match plan::plan(backend, layout, &mut scan, &rules, &BTreeSet::new()) {
            Ok(plan) => orphans = plan.files().cloned().collect(),
            Err(error) => problems.push(error),
        }
    }
    Ok(Inventory { releases, pins: scan.pins, orphans, bytes, problems })
}

/// Returns the manifest of a release, or `None` if the store does not have it.
pub(crate) fn manifest(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> Result<Option<Manifest>, StoreError> {
    Ok(match scan::read_manifest(backend, layout, cid)? {
        Some(Block::Manifest(manifest)) => Some(*manifest),
        _ => None,
    })
}

/// Returns how much of an artifact the store has.
pub(crate) fn artifact(
    backend: &dyn Backend,
    layout: &Layout,
    entry: ArtifactEntry,
    pins: &BTreeSet<Cid>,
) -> Result<StoredArtifact, StoreError> {
    let cid = entry.cid;
    let paths = [layout.artifact(&cid), layout.part(&cid), layout.seal(&cid), layout.have(&cid)];
    let mut stats = [None; 4];
    for (stat, path) in stats.iter_mut().zip(&paths) {
        *stat = scan::stat(backend, path)?;
    }
    let bytes = stats.iter().flatten().map(|stat| stat.allocated).sum();
    let state = match stats {
        [Some(file), ..] if file.is_file() && file.len == entry.size => ArtifactState::Complete,
        [Some(_), ..] => ArtifactState::Damaged,
        [None, part, seal, _] => {
            let reference = if seal.is_some() { Seal::read(backend, layout, &cid)? } else { None };
            match reference.and_then(|seal| seal.path()) {
                Some(path) if path.metadata().is_ok_and(|meta| meta.len() == entry.size) => {
                    ArtifactState::Reference(path)
                }
                Some(_) => ArtifactState::Damaged,
                None if part.is_some() => partial_state(backend, layout, &cid),
                None => ArtifactState::Missing,
            }
        }
    };
    Ok(StoredArtifact { state, bytes, is_pinned: pins.contains(&cid), entry })
}

fn partial_state(backend: &dyn Backend, layout: &Layout, cid: &Cid) -> ArtifactState {
    let chunks = artifact::load_index(backend, layout, cid).map_or(0, |index| index.len());
    let stored = partial::claimed(backend, layout, cid, chunks).ok().flatten().map_or(0, |set| set.count());
    ArtifactState::Partial { stored, chunks }
}
