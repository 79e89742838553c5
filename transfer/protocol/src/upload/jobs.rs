//! The jobs that are under way, and for how long they have been.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use phase_core::ChunkRange;

use crate::peer::PeerKey;

/// Names a transfer; the caller chooses it, and uses it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferKey(pub u64);

/// Names a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u64);

/// A run of adjacent chunks to read and send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// For [`UploadQueue::complete`](super::UploadQueue::complete).
    pub id: JobId,
    /// The transfer it belongs to.
    pub transfer: TransferKey,
    /// Who gets it.
    pub peer: PeerKey,
    /// The chunks.
    pub run: ChunkRange,
    /// Their length in bytes.
    pub bytes: u64,
    /// Whether nothing of the transfer is left after it.
    pub last: bool,
}

/// A job whose place others need: its peer takes too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// The job. It is under way until it is complete.
    pub job: JobId,
    /// Its transfer.
    pub transfer: TransferKey,
    /// Its peer.
    pub peer: PeerKey,
}

/// A job under way.
#[derive(Clone, Copy)]
pub(super) struct UnderWay {
    pub(super) peer: PeerKey,
    pub(super) transfer: TransferKey,
    pub(super) bytes: u64,
    /// When it has taken too long for a slot.
    pub(super) slow_at: Instant,
    /// When it may be given up.
    pub(super) evict_at: Instant,
}

/// Every job under way occupies a slot, or is late, or is being given up.
#[derive(Default)]
pub(super) struct Jobs {
    all: BTreeMap<JobId, UnderWay>,
    /// Those that occupy slots, by when they have done so for too long.
    in_slots: BTreeSet<(Instant, JobId)>,
    /// Those that do not, by when they may be given up.
    late: BTreeSet<(Instant, JobId)>,
    /// The one that is being given up. Others are not before that has ended.
    evicted: Option<JobId>,
    next: u64,
}

impl Jobs {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn add(&mut self, job: UnderWay, in_slot: bool) -> JobId {
        let id = JobId(self.next);
        self.next += 1;
        self.all.insert(id, job);
        if in_slot {
            self.in_slots.insert((job.slow_at, id));
        } else {
            self.late.insert((job.evict_at, id));
        }
        id
    }

    /// Also returns whether it occupied a slot until now.
    pub(super) fn remove(&mut self, id: JobId) -> Option<(UnderWay, bool)> {
        let job = self.all.remove(&id)?;
        let in_slot = self.in_slots.remove(&(job.slow_at, id));
        self.late.remove(&(job.evict_at, id));
        if self.evicted == Some(id) {
            self.evicted = None;
        }
        Some((job, in_slot))
    }

    /// Takes its slot from a job that has had it for too long. Returns its peer.
    pub(super) fn next_late(&mut self, now: Instant) -> Option<PeerKey> {
        let (slow_at, id) = *self.in_slots.first()?;
        if now < slow_at {
            return None;
        }
        self.in_slots.remove(&(slow_at, id));
        let job = &self.all[&id];
        self.late.insert((job.evict_at, id));
        Some(job.peer)
    }

    /// Gives a job up, if one is late enough and none is being given up already.
    pub(super) fn evict(&mut self, now: Instant) -> Option<Eviction> {
        let (evict_at, id) = *self.late.first()?;
        if now < evict_at || self.evicted.is_some() {
            return None;
        }
        self.late.remove(&(evict_at, id));
        self.evicted = Some(id);
        let UnderWay { transfer, peer, .. } = self.all[&id];
        Some(Eviction { job: id, transfer, peer })
    }

    /// When the next job gives its slot back for taking too long.
    pub(super) fn late_at(&self) -> Option<Instant> {
        self.in_slots.first().map(|(at, _)| *at)
    }

    /// When a job can be given up next.
    pub(super) fn evict_at(&self) -> Option<Instant> {
        let late = self.late.first().filter(|_| self.evicted.is_none());
        late.map(|(at, _)| *at)
    }

    /// Asserts what the fields say of each other; returns how many jobs a peer has, and how many of them in slots.
    pub(super) fn check(&self) -> BTreeMap<PeerKey, (usize, usize)> {
        let mut peers = BTreeMap::new();
        for (id, job) in &self.all {
            let in_slot = self.in_slots.contains(&(job.slow_at, *id));
            let is_late = self.late.contains(&(job.evict_at, *id));
            let states = usize::from(in_slot) + usize::from(is_late) + usize::from(self.evicted == Some(*id));
            assert_eq!(states, 1, "a job is in one state");
            let (jobs, slots) = peers.entry(job.peer).or_insert((0, 0));
            *jobs += 1;
            *slots += usize::from(in_slot);
        }
        let states = self.in_slots.len() + self.late.len() + usize::from(self.evicted.is_some());
        assert_eq!(states, self.all.len(), "only what is under way has a state");
        peers
    }
}
