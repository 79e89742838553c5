//! Limits and times of an upload queue.

use std::time::Duration;

/// Limits of an upload queue.
#[derive(Clone, Debug)]
pub struct Config {
    /// Jobs under way at a time. Default 64: at 1 MiB each, the memory that uploads take.
    pub max_jobs: usize,
    /// Jobs of one peer under way at a time. Default 2: one is read while the other is sent. A peer that is slow to take
    /// them in has one.
    pub max_jobs_per_peer: usize,
    /// Transfers of one peer that may wait. Default 512: as many small artifacts as it may ask for at once.
    pub max_transfers_per_peer: usize,
    /// Transfers that may wait in all. Default 16384.
    pub max_transfers: usize,
    /// How long the last in line may have to wait: whoever comes when there is more than goes out in this time is refused. Of
    /// each peer at most one turn counts, which is the most that others wait for it. Beyond half of it, a peer may have one
    /// transfer waiting, so that whoever is in line does not stay there while others are sent away. Default 10 s: the more
    /// wait, the better a seed can choose what nobody has; who waits in vain takes its request back.
    pub max_wait: Duration,
    /// Bytes that may wait in all however long they take. Default 8 MiB.
    pub min_waiting_bytes: u64,
    /// Bytes that may wait in all however fast they go out. Default 128 MiB.
    pub max_waiting_bytes: u64,
    /// The most bytes of one job. Default 1 MiB; a chunk larger than that is a job of its own.
    pub max_job_bytes: u64,
    /// The most bytes per second to send. Default: no limit.
    pub max_rate: Option<u64>,
    /// Jobs of peers that are not slow under way at a time. Default 2: the fewer leave together, the sooner each can be passed
    /// on (with 8, a simulated crowd of 300 took 3 % longer); with a single one the uplink would rest between two.
    pub slots: usize,
    /// A job that takes longer than this occupies no slot any more, and its peer counts as slow: its further jobs occupy
    /// none either. If everything under way takes longer at the measured rate, that time counts instead. Default 250 ms.
    pub slot_time: Duration,
    /// The longest time for which a job can occupy a slot. Default 15 s.
    pub max_slot_time: Duration,
    /// A job that takes longer than this, and four times as long as it could occupy a slot, is given up when others wait
    /// for its place. Default 15 s.
    pub evict_after: Duration,
    /// Who has waited longer than this for a job goes before everybody who has not. Default 10 s.
    pub starved_after: Duration,
    /// The shortest wait that a refused peer is told. Default 100 ms.
    pub min_retry: Duration,
    /// The longest wait that a refused peer is told, below [`MAX_RETRY_AFTER_MS`](crate::wire::MAX_RETRY_AFTER_MS). Default
    /// 10 s.
    pub max_retry: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_jobs: 64,
            max_jobs_per_peer: 2,
            max_transfers_per_peer: 512,
            max_transfers: 16384,
            max_wait: Duration::from_secs(10),
            min_waiting_bytes: 8 << 20,
            max_waiting_bytes: 128 << 20,
            max_job_bytes: 1 << 20,
            max_rate: None,
            slots: 2,
            slot_time: Duration::from_millis(250),
            max_slot_time: Duration::from_secs(15),
            evict_after: Duration::from_secs(15),
            starved_after: Duration::from_secs(10),
            min_retry: Duration::from_millis(100),
            max_retry: Duration::from_secs(10),
        }
    }
}

/// How much a cap lets out at once after a pause, as a part of a second's worth.
const BURSTS_PER_SECOND: u64 = 10;

impl Config {
    /// The most bytes of one job, unless a single chunk has more. Under a low cap no more than goes out at once.
    pub(super) fn job_bytes(&self) -> u64 {
        self.max_rate.map_or(self.max_job_bytes, |rate| self.max_job_bytes.min(rate / BURSTS_PER_SECOND))
    }

    /// The most bytes that any job can have.
    pub(super) fn largest_job(&self) -> u64 {
        self.job_bytes().max(u64::from(phase_core::MAX_CHUNK_LEN))
    }

    /// The bytes that a cap of `rate` bytes per second lets out at once after a pause.
    pub(super) fn burst(&self, rate: u64) -> u64 {
        (rate / BURSTS_PER_SECOND).max(self.largest_job())
    }

    /// Places that slow peers leave to the others.
    pub(super) fn reserved(&self) -> usize {
        self.slots.min(self.max_jobs / 2)
    }
}
