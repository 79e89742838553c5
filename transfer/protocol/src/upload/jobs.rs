//! The running jobs, and the times at which they lose their slots and may be evicted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use phase_core::ChunkRange;

use crate::peer::PeerKey;

/// The key that identifies a transfer. The caller chooses the key and uses it for one transfer only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferKey(pub u64);

/// The id of a [`Job`] of the upload queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u64);

/// A run of adjacent chunks to read and send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The id to pass to [`UploadQueue::complete`](super::UploadQueue::complete).
    pub id: JobId,
    /// The transfer that the job belongs to.
    pub transfer: TransferKey,
    /// The peer to send the chunks to.
    pub peer: PeerKey,
    /// The chunks to read and send.
    pub run: ChunkRange,
    /// The length of all chunks of the job, in bytes.
    pub bytes: u64,
    /// Whether this is the last job of its transfer.
    pub last: bool,
}

/// A job to end early, because its peer takes too long and other peers wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// The job to end. It counts as running until [`UploadQueue::complete`](super::UploadQueue::complete) is called for
    /// it.
    pub job: JobId,
    /// The transfer that the job belongs to.
    pub transfer: TransferKey,
    /// The peer that the chunks of the job are sent to.
    pub peer: PeerKey,
}

/// A job that has been started and has not ended.
#[derive(Clone, Copy)]
pub(super) struct RunningJob {
    pub(super) peer: PeerKey,
    pub(super) transfer: TransferKey,
    pub(super) bytes: u64,
    /// The time at which the job loses its upload slot and its peer becomes slow.
    pub(super) slow_at: Instant,
    /// The time from which the job may be evicted.
    pub(super) evict_at: Instant,
}

/// All running jobs. Each job occupies an upload slot, or runs outside the slots, or is being evicted.
#[derive(Default)]
pub(super) struct Jobs {
    all: BTreeMap<JobId, RunningJob>,
    /// The jobs that occupy an upload slot, by the time at which they lose the slot.
    in_slots: BTreeSet<(Instant, JobId)>,
    /// The jobs that occupy no upload slot and are not being evicted, by the time from which they may be evicted.
    outside_slots: BTreeSet<(Instant, JobId)>,
    /// The job that is being evicted. No other job is evicted before this job has ended.
    evicted: Option<JobId>,
    next: u64,
}

impl Jobs {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Adds a job that starts. `in_slot` states whether the job occupies an upload slot.
    pub(super) fn add(&mut self, job: RunningJob, in_slot: bool) -> JobId {
        let id = JobId(self.next);
        self.next += 1;
        self.all.insert(id, job);
        if in_slot {
            self.in_slots.insert((job.slow_at, id));
        } else {
            self.outside_slots.insert((job.evict_at, id));
        }
        id
    }

    /// Removes a job that has ended. Returns the job, and whether it occupied an upload slot until now.
    pub(super) fn remove(&mut self, id: JobId) -> Option<(RunningJob, bool)> {
        let job = self.all.remove(&id)?;
        let in_slot = self.in_slots.remove(&(job.slow_at, id));
        self.outside_slots.remove(&(job.evict_at, id));
        if self.evicted == Some(id) {
            self.evicted = None;
        }
        Some((job, in_slot))
    }

    /// Frees the slot of one job that has occupied the slot for too long. Returns the job's peer, or `None` if there is
    /// no such job.
    pub(super) fn free_overdue_slot(&mut self, now: Instant) -> Option<PeerKey> {
        let (slow_at, id) = *self.in_slots.first()?;
        if now < slow_at {
            return None;
        }
        self.in_slots.remove(&(slow_at, id));
        let job = &self.all[&id];
        self.outside_slots.insert((job.evict_at, id));
        Some(job.peer)
    }

    /// Returns a job to evict; `None` if no job has taken too long, or if another job is being evicted.
    pub(super) fn evict(&mut self, now: Instant) -> Option<Eviction> {
        let (evict_at, id) = *self.outside_slots.first()?;
        if now < evict_at || self.evicted.is_some() {
            return None;
        }
        self.outside_slots.remove(&(evict_at, id));
        self.evicted = Some(id);
        let RunningJob { transfer, peer, .. } = self.all[&id];
        Some(Eviction { job: id, transfer, peer })
    }

    /// Returns the time at which the next job loses its upload slot if it does not end before.
    pub(super) fn next_overdue_at(&self) -> Option<Instant> {
        self.in_slots.first().map(|(at, _)| *at)
    }

    /// Returns the time from which the next job may be evicted; `None` if there is no such job, or while another job is
    /// being evicted.
    pub(super) fn next_eviction_at(&self) -> Option<Instant> {
        let first = self.outside_slots.first().filter(|_| self.evicted.is_none());
        first.map(|(at, _)| *at)
    }

    /// Asserts that the fields agree. Returns, for each peer with jobs, the number of its jobs, and how many of these
    /// occupy an upload slot.
    pub(super) fn check(&self) -> BTreeMap<PeerKey, (usize, usize)> {
        let mut peers = BTreeMap::new();
        for (id, job) in &self.all {
            let in_slot = self.in_slots.contains(&(job.slow_at, *id));
            let is_outside = self.outside_slots.contains(&(job.evict_at, *id));
            let states = usize::from(in_slot) + usize::from(is_outside) + usize::from(self.evicted == Some(*id));
            assert_eq!(states, 1, "a job is in exactly one state");
            let (jobs, slots) = peers.entry(job.peer).or_insert((0, 0));
            *jobs += 1;
            *slots += usize::from(in_slot);
        }
        let states = self.in_slots.len() + self.outside_slots.len() + usize::from(self.evicted.is_some());
        assert_eq!(states, self.all.len(), "only running jobs have a state");
        peers
    }
}
