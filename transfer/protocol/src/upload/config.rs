//! The limits and times of an upload queue.

use std::time::Duration;

/// The limits and times of an upload queue.
#[derive(Clone, Debug)]
pub struct Config {
    /// The maximum number of jobs that run at a time. A job is a run of chunks that are read and sent together. Default
    /// 64, so that uploads with jobs of 1 MiB take at most 64 MiB of RAM.
    pub max_jobs: usize,
    /// The maximum number of jobs of one peer that run at a time. Default 2, so that one job is read while the other is
    /// sent. A slow peer has at most one job.
    pub max_jobs_per_peer: usize,
    /// The maximum number of transfers (accepted requests for chunks) of one peer that may wait. Default 512, so that a
    /// client can request many small artifacts at once.
    pub max_transfers_per_peer: usize,
    /// The maximum number of transfers of all peers that may wait. Default 16384.
    pub max_transfers: usize,
    /// The maximum waiting time of the last peer in the queue. A request is refused if more bytes wait than can be sent
    /// in this time. Of each peer, at most one turn is counted, because the next peer is served after one turn. If more
    /// than half of the permitted bytes wait, each peer may have only one waiting transfer, so that new peers find
    /// space in the queue. Default 10 s. With a longer time, a seed can choose rarer chunks, but peers that wait too
    /// long cancel their requests.
    pub max_wait: Duration,
    /// The number of bytes that may always wait in all, even if sending them takes longer than `max_wait`. Default 8
    /// MiB.
    pub min_waiting_bytes: u64,
    /// The maximum number of bytes that may wait in all, however fast they can be sent. Default 128 MiB.
    pub max_waiting_bytes: u64,
    /// The maximum length of one job, in bytes. Default 1 MiB. A longer chunk is a job of its own.
    pub max_job_bytes: u64,
    /// The limit of the upload rate, in bytes per second. Default `None`, which means no limit.
    pub max_rate: Option<u64>,
    /// The number of upload slots, which is the maximum number of jobs of quick peers that run at a time. Default 2.
    /// With few slots, each job ends soon, and the receiving peer can serve its chunks to other peers. With 8 slots, a
    /// simulated flash crowd of 300 clients took 3 % longer. With 1 slot, the uplink would be idle between two jobs.
    pub slots: usize,
    /// The slot time: how long a job may occupy an upload slot. A job that needs longer continues without a slot, and
    /// its peer becomes a slow peer. If the measured rate is low, the slot time is longer: the time in which `max_jobs`
    /// jobs of this size are sent. Default 250 ms.
    pub slot_time: Duration,
    /// The maximum time for which a job may occupy an upload slot, however low the measured rate is. Default 15 s.
    pub max_slot_time: Duration,
    /// The time after which a running job may be evicted if a peer waits for its end. It is at least four times the
    /// slot time of the job. Default 15 s.
    pub evict_after: Duration,
    /// The time after which a peer that waits for a job counts as starved. Starved peers are served before all other
    /// peers. Default 10 s.
    pub starved_after: Duration,
    /// The minimum time after which a refused peer is asked to retry. Default 100 ms.
    pub min_retry: Duration,
    /// The maximum time after which a refused peer is asked to retry. The time is always less than
    /// [`MAX_RETRY_AFTER_MS`](crate::wire::MAX_RETRY_AFTER_MS). Default 10 s.
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

/// The number of bursts into which a rate limit divides the bytes of one second. A burst is never shorter than the
/// largest job.
const BURSTS_PER_SECOND: u64 = 10;

impl Config {
    /// Returns the maximum length of a job, in bytes, unless a single chunk is longer. A low rate limit makes jobs
    /// shorter.
    pub(super) fn job_bytes(&self) -> u64 {
        self.max_rate.map_or(self.max_job_bytes, |rate| self.max_job_bytes.min(rate / BURSTS_PER_SECOND))
    }

    /// Returns the maximum length of any job, in bytes, including a job with a single long chunk.
    pub(super) fn largest_job(&self) -> u64 {
        self.job_bytes().max(u64::from(phase_core::MAX_CHUNK_LEN))
    }

    /// Returns the length of one burst, in bytes, for a rate limit of `rate` bytes per second.
    pub(super) fn burst(&self, rate: u64) -> u64 {
        (rate / BURSTS_PER_SECOND).max(self.largest_job())
    }

    /// Returns how many of the `max_jobs` jobs are reserved for quick peers.
    pub(super) fn reserved_jobs(&self) -> usize {
        self.slots.min(self.max_jobs / 2)
    }
}
