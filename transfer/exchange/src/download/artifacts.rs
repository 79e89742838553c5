//! The artifacts of a download, and how far each of them is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use phase_core::store::Partial;
use phase_core::{Cid, Digest};
use phase_protocol::scheduler::ArtifactSlot;
use tokio::sync::watch;

use crate::catalog::Catalog;
use crate::download::inputs::Wanted;

/// How far an artifact is.
enum Stage {
    Waiting,
    Opening,
    Active { partial: Arc<dyn Partial>, changed: watch::Sender<u64>, dirty: bool },
    Finishing,
    Complete,
}

impl Stage {
    /// How many of the artifact's `chunks` have not been verified.
    fn missing(&self, chunks: u32) -> u64 {
        match self {
            Self::Waiting | Self::Opening => u64::from(chunks),
            Self::Active { partial, .. } => u64::from(chunks - partial.have().count()),
            Self::Finishing | Self::Complete => 0,
        }
    }
}

/// All artifacts of a download, by their slot: the position in the order in which they are opened.
pub(super) struct Artifacts {
    catalog: Arc<Catalog>,
    wanted: Vec<Wanted>,
    stages: Vec<Stage>,
    slots: BTreeMap<Cid, ArtifactSlot>,
    /// The first artifact that may still be [`Stage::Waiting`].
    next: usize,
    /// Artifacts between [`Stage::Opening`] and [`Stage::Complete`].
    active: usize,
    complete: usize,
}

impl Artifacts {
    pub(super) fn new(catalog: Arc<Catalog>, wanted: Vec<Wanted>) -> Self {
        let stages = wanted.iter().map(|_| Stage::Waiting).collect();
        let slots = wanted.iter().enumerate().map(|(position, wanted)| (wanted.cid, slot(position))).collect();
        Self { catalog, wanted, stages, slots, next: 0, active: 0, complete: 0 }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.complete == self.wanted.len()
    }

    /// The digests of all chunks, each once.
    pub(super) fn digests(&self) -> Vec<Digest> {
        let chunks = self.wanted.iter().flat_map(|wanted| wanted.index.chunks());
        chunks.map(|chunk| chunk.digest).collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub(super) fn wanted(&self, slot: ArtifactSlot) -> &Wanted {
        &self.wanted[slot.0 as usize]
    }

    /// The artifacts to open next: as many of those that wait as `together` says of the first of them, at most so many that
    /// `max_active` are under way.
    pub(super) fn open_next(
        &mut self,
        max_active: usize,
        together: impl FnOnce(&[Wanted]) -> usize,
    ) -> Vec<(ArtifactSlot, Wanted)> {
        let room = max_active.saturating_sub(self.active).min(self.wanted.len() - self.next);
        if room == 0 {
            return Vec::new();
        }
        let positions = self.next..self.next + together(&self.wanted[self.next..][..room]);
        self.next = positions.end;
        self.active += positions.len();
        self.stages[positions.clone()].fill_with(|| Stage::Opening);
        positions.map(|at| (slot(at), self.wanted[at].clone())).collect()
    }

    /// An artifact is fetched, and served meanwhile, from now on.
    pub(super) fn begin(&mut self, slot: ArtifactSlot, partial: Arc<dyn Partial>) {
        let changed = self.catalog.begin(partial.clone());
        self.stages[slot.0 as usize] = Stage::Active { partial, changed, dirty: false };
    }

    /// Where the chunks of an artifact are written to; `None` unless it is being fetched.
    pub(super) fn partial(&self, slot: ArtifactSlot) -> Option<&Arc<dyn Partial>> {
        match &self.stages[slot.0 as usize] {
            Stage::Active { partial, .. } => Some(partial),
            _ => None,
        }
    }

    /// The slot of an artifact that is being fetched.
    pub(super) fn active_slot(&self, artifact: &Cid) -> Option<ArtifactSlot> {
        self.slots.get(artifact).copied().filter(|slot| self.partial(*slot).is_some())
    }

    /// All artifacts that are being fetched.
    pub(super) fn active_slots(&self) -> Vec<ArtifactSlot> {
        (0..self.next).map(slot).filter(|slot| self.partial(*slot).is_some()).collect()
    }

    /// A new chunk of an artifact has been written: peers that follow the artifact are told.
    pub(super) fn note_written(&mut self, slot: ArtifactSlot) {
        if let Stage::Active { changed, dirty, .. } = &mut self.stages[slot.0 as usize] {
            *dirty = true;
            changed.send_modify(|count| *count += 1);
        }
    }

    /// All chunks of an artifact are there: gives back what is to be put in its place.
    pub(super) fn take_finished(&mut self, slot: ArtifactSlot) -> Option<Arc<dyn Partial>> {
        match std::mem::replace(&mut self.stages[slot.0 as usize], Stage::Finishing) {
            Stage::Active { partial, .. } => Some(partial),
            _ => None,
        }
    }

    /// An artifact is in its place.
    pub(super) fn complete(&mut self, slot: ArtifactSlot) {
        self.stages[slot.0 as usize] = Stage::Complete;
        self.catalog.end(&self.wanted(slot).cid);
        self.active -= 1;
        self.complete += 1;
    }

    /// What has been written to since this was last called.
    pub(super) fn take_dirty(&mut self) -> Vec<Arc<dyn Partial>> {
        let dirty = self.stages.iter_mut().filter_map(|stage| match stage {
            Stage::Active { partial, dirty, .. } => std::mem::take(dirty).then(|| partial.clone()),
            _ => None,
        });
        dirty.collect()
    }

    /// Chunks that have not been verified.
    pub(super) fn missing_chunks(&self) -> u64 {
        self.wanted.iter().zip(&self.stages).map(|(wanted, stage)| stage.missing(wanted.index.len())).sum()
    }

    /// Chunks in all.
    pub(super) fn total_chunks(&self) -> u64 {
        self.wanted.iter().map(|wanted| u64::from(wanted.index.len())).sum()
    }

    /// Artifacts that are not complete and may be being served: [`Catalog::abandon`] ends that.
    pub(super) fn unfinished(&self) -> Vec<Cid> {
        let unfinished = |stage: &Stage| matches!(stage, Stage::Active { .. } | Stage::Finishing);
        self.wanted
            .iter()
            .zip(&self.stages)
            .filter(|(_, stage)| unfinished(stage))
            .map(|(wanted, _)| wanted.cid)
            .collect()
    }
}

fn slot(position: usize) -> ArtifactSlot {
    ArtifactSlot(u32::try_from(position).expect("a manifest has at most 16384 artifacts"))
}
