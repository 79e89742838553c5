//! The artifacts of a download, and the stage of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use phase_core::store::Partial;
use phase_core::{ChunkIndex, Cid, Digest};
use phase_protocol::scheduler::ArtifactSlot;
use tokio::sync::watch;

use crate::catalog::Catalog;
use crate::download::inputs::Wanted;

/// The stage of an artifact in a download.
enum Stage {
    /// The artifact is not opened yet.
    Waiting,
    /// A job looks for the artifact in the store.
    Opening,
    /// The chunks of the artifact are being fetched. `dirty` is true if chunks were written since the last checkpoint.
    Active { partial: Arc<dyn Partial>, changed: watch::Sender<u64>, dirty: bool },
    /// The artifact has all chunks, and a job turns it into a complete artifact of the store.
    Finishing,
    /// The artifact is complete in the store.
    Complete,
}

impl Stage {
    /// Returns how many chunks are not verified yet. `chunks` is the number of all chunks of the artifact.
    fn missing(&self, chunks: u32) -> u64 {
        match self {
            Self::Waiting | Self::Opening => u64::from(chunks),
            Self::Active { partial, .. } => u64::from(chunks - partial.have().count()),
            Self::Finishing | Self::Complete => 0,
        }
    }
}

/// All artifacts of a download, in the order in which they are opened. The position of an artifact in this order is its
/// artifact slot.
pub(super) struct Artifacts {
    catalog: Arc<Catalog>,
    wanted: Vec<Wanted>,
    stages: Vec<Stage>,
    slots: BTreeMap<Cid, ArtifactSlot>,
    /// The position of the next artifact to open. All artifacts from this position on are [`Stage::Waiting`].
    next: usize,
    /// How many artifacts are opening, active or finishing.
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

    /// Returns the digests of the chunks of all artifacts, without duplicates.
    pub(super) fn digests(&self) -> Vec<Digest> {
        let chunks = self.wanted.iter().flat_map(|wanted| wanted.index.chunks());
        chunks.map(|chunk| chunk.digest).collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub(super) fn wanted(&self, slot: ArtifactSlot) -> &Wanted {
        &self.wanted[slot.0 as usize]
    }

    /// Marks the next waiting artifacts as opening and returns them. `max_active` is the limit on artifacts that are
    /// opening, active or finishing. `batch_len` receives the artifacts that this limit permits, and returns how many
    /// of them are opened now.
    pub(super) fn open_next(
        &mut self,
        max_active: usize,
        batch_len: impl FnOnce(&[Wanted]) -> usize,
    ) -> Vec<(ArtifactSlot, Wanted)> {
        let room = max_active.saturating_sub(self.active).min(self.wanted.len() - self.next);
        if room == 0 {
            return Vec::new();
        }
        let positions = self.next..self.next + batch_len(&self.wanted[self.next..][..room]);
        self.next = positions.end;
        self.active += positions.len();
        self.stages[positions.clone()].fill_with(|| Stage::Opening);
        positions.map(|at| (slot(at), self.wanted[at].clone())).collect()
    }

    /// Marks an artifact as active and starts to serve its chunks to peers.
    pub(super) fn begin(&mut self, slot: ArtifactSlot, partial: Arc<dyn Partial>) {
        let changed = self.catalog.begin(partial.clone());
        self.stages[slot.0 as usize] = Stage::Active { partial, changed, dirty: false };
    }

    /// Returns the partial artifact to write chunks to, or `None` if the artifact is not active.
    pub(super) fn partial(&self, slot: ArtifactSlot) -> Option<&Arc<dyn Partial>> {
        match &self.stages[slot.0 as usize] {
            Stage::Active { partial, .. } => Some(partial),
            _ => None,
        }
    }

    /// Returns the artifact slot of an artifact, or `None` if the artifact is not active.
    pub(super) fn active_slot(&self, artifact: &Cid) -> Option<ArtifactSlot> {
        self.slots.get(artifact).copied().filter(|slot| self.partial(*slot).is_some())
    }

    /// Returns the artifact slots of all active artifacts.
    pub(super) fn active_slots(&self) -> Vec<ArtifactSlot> {
        (0..self.next).map(slot).filter(|slot| self.partial(*slot).is_some()).collect()
    }

    /// Notes that a chunk of an artifact was written, so that the subscribers of the artifact receive a have update.
    /// Returns the length, in bytes, of the equal chunks that were written with it.
    pub(super) fn note_written(&mut self, slot: ArtifactSlot, chunk: ChunkIndex) -> u64 {
        let Stage::Active { partial, changed, dirty } = &mut self.stages[slot.0 as usize] else { return 0 };
        *dirty = true;
        changed.send_modify(|count| *count += 1);
        let index = partial.index();
        let copies = if partial.copies_equal_chunks() { index.repeats().copies(chunk).len() } else { 0 };
        copies as u64 * index.chunk(chunk).map_or(0, |chunk| u64::from(chunk.len))
    }

    /// Marks an artifact that has all chunks as finishing. Returns its partial artifact, which the caller has to
    /// finish.
    pub(super) fn take_finished(&mut self, slot: ArtifactSlot) -> Option<Arc<dyn Partial>> {
        match std::mem::replace(&mut self.stages[slot.0 as usize], Stage::Finishing) {
            Stage::Active { partial, .. } => Some(partial),
            _ => None,
        }
    }

    /// Marks an artifact as complete. From now on, peers are served from the complete artifact in the store.
    pub(super) fn complete(&mut self, slot: ArtifactSlot) {
        self.stages[slot.0 as usize] = Stage::Complete;
        self.catalog.end(&self.wanted(slot).cid);
        self.active -= 1;
        self.complete += 1;
    }

    /// Returns the active artifacts that were written to since the last call, for the next checkpoint.
    pub(super) fn take_dirty(&mut self) -> Vec<Arc<dyn Partial>> {
        let dirty = self.stages.iter_mut().filter_map(|stage| match stage {
            Stage::Active { partial, dirty, .. } => std::mem::take(dirty).then(|| partial.clone()),
            _ => None,
        });
        dirty.collect()
    }

    /// Returns the number of chunks that are not verified yet, over all artifacts.
    pub(super) fn missing_chunks(&self) -> u64 {
        self.wanted.iter().zip(&self.stages).map(|(wanted, stage)| stage.missing(wanted.index.len())).sum()
    }

    /// Returns the number of chunks of all artifacts together.
    pub(super) fn total_chunks(&self) -> u64 {
        self.wanted.iter().map(|wanted| u64::from(wanted.index.len())).sum()
    }

    /// Returns the incomplete artifacts that the catalog may serve, so that [`Catalog::abandon`] can release them.
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
