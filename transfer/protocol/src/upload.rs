//! The upload queue. It decides which peer's chunks are read and sent next, and how fast.
//!
//! It does no I/O and reads no clock, because `now` is passed in.
//!
//! # How it works
//! Each accepted request for chunks is a *transfer*. The queue cuts transfers into *jobs*. A job is a run of adjacent
//! chunks that are read and sent together, by default at most 1 MiB. For each job, the queue chooses a peer, and then
//! one of the peer's transfers.
//!
//! - **Fair shares.** Peers take turns by bytes (self-clocked fair queueing, Golestani 1994). A peer's next *turn* is
//!   the bytes that the peer waits for, but at most the largest job. For each peer, the queue adds the next turn to the
//!   bytes that the peer has been served. The next job goes to the peer with the lowest sum. A new peer is counted as
//!   if it had been served as much as the peers in the queue. So over time all waiting peers get the same number of
//!   bytes, whatever the number and sizes of their requests. A peer gains nothing by leaving and coming back. A peer
//!   that was not served has credit, which means that it is served earlier than a new peer. The credit is limited to
//!   one turn plus the 1 MiB of the next rule.
//! - **Rarest chunks first.** Peers whose sums differ by at most 1 MiB are compared by rarity. The next job goes to the
//!   peer that waits for the chunk that has been sent least often to any peer. Among the transfers of this peer, the
//!   one that begins with the rarest chunk goes first. So when many clients fetch an artifact from one seed, each
//!   client gets different chunks, which it can serve to the other clients.
//! - **Slots.** Only [`Config::slots`] jobs of quick peers run at a time, so that each job ends soon and the receiving
//!   peer can serve its chunks to other peers. A peer that takes too long for a job becomes a slow peer, and its job
//!   continues without a slot. A slow peer has one job at a time, outside the slots, until it completes a job quickly.
//!   So slow peers delay only each other.
//! - **Eviction.** If a peer waits only because [`Config::max_jobs`] jobs are running, the queue evicts a job. The job
//!   must run outside the slots and have run for at least [`Config::evict_after`].
//! - **Starvation.** A peer that has waited longer than [`Config::starved_after`] is starved. Starved peers are served
//!   before all other peers.
//! - **Bounds.** A request that would wait longer than [`Config::max_wait`] is refused with `Busy`, which states when
//!   to send the request again.
//!
//! # Contract
//! Add requests with [`push`](UploadQueue::push) when they arrive. After each call:
//!
//! 1. call [`pop`](UploadQueue::pop) until it returns `None`, and carry out each [`Job`];
//! 2. carry out the [`Eviction`] that [`poll_eviction`](UploadQueue::poll_eviction) returns, if any;
//! 3. begin again at the time that [`poll_timeout`](UploadQueue::poll_timeout) returns.
//!
//! Call [`complete`](UploadQueue::complete) once for every job, however it ended.
//!
//! # Invariants
//! [`UploadQueue::check`] asserts most of them.
//!
//! - At most [`Config::max_jobs`] jobs are running, and at most [`Config::max_jobs_per_peer`] for one peer.
//! - At most [`Config::slots`] jobs occupy a slot.
//! - Every chunk of a transfer is in exactly one job, in the order of the transfer, unless the transfer is cancelled.
//! - The job with `last` set is the last job of its transfer.
//! - A peer is in a queue exactly while it has a waiting transfer and may have a further job.

mod config;
mod jobs;
mod meter;
mod sent;
#[cfg(test)]
mod tests;
mod transfer;
mod turn_queue;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use phase_core::{ArtifactIndex, ChunkRange, TokenBucket};

use crate::peer::PeerKey;
use crate::wire::{MAX_RETRY_AFTER_MS, Refusal};
pub use config::Config;
pub use jobs::{Eviction, Job, JobId, TransferKey};
use jobs::{Jobs, RunningJob};
use meter::{Meter, time_of};
use sent::Sent;
use transfer::Transfer;
use turn_queue::{Rank, TurnQueue, Urgency};

/// The maximum number of transfers of one peer that are searched for the rarest chunk. The search begins with the
/// oldest transfer.
const LOOKAHEAD: usize = 64;
/// The maximum number of peers that are compared to find the peer that waits for the rarest chunk.
const RAREST_SEARCH: usize = 256;
/// A peer that waits for rarer chunks is served before other peers. For this reason it may receive at most this many
/// bytes more than another peer.
const RAREST_LEAD: u64 = 1 << 20;
/// The time after which a client is asked to send a refused request again if the upload rate is not known yet.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// The number of slot times (see [`Config::slot_time`]) for which a job must have run before it may be evicted. It must
/// also have run for [`Config::evict_after`].
const EVICT_FACTOR: u32 = 4;

/// A peer that has waiting transfers or running jobs.
#[derive(Default)]
struct Peer {
    /// The waiting transfers of the peer, by the numbers that they got in the order of their requests.
    waiting: BTreeMap<u64, TransferKey>,
    /// The bytes of the peer's waiting transfers.
    waiting_bytes: u64,
    /// The number of the peer's running jobs.
    running: usize,
    /// The number of the peer's jobs that occupy an upload slot.
    in_slot: usize,
    /// Whether the peer is slow, because it has taken too long for a job and has not completed a job quickly since.
    is_slow: bool,
    /// The virtual time at which the peer was added, plus the bytes that the peer has been served since. The credit of
    /// the peer is the number of bytes by which this value is below the virtual time. To limit the credit, a value that
    /// is too low is raised when the peer enters a queue. Fair queueing calls this value the start tag.
    served: u64,
    /// The rank of the peer in its queue (the queue of quick peers or the queue of slow peers); `None` if the peer is
    /// in no queue.
    rank: Option<Rank>,
}

/// The transfers of all peers, and the order in which they are served. The [module](self) describes the rules and the
/// contract.
pub struct UploadQueue {
    config: Config,
    transfers: BTreeMap<TransferKey, Transfer>,
    peers: BTreeMap<PeerKey, Peer>,
    /// The queue of quick peers, whose jobs need an upload slot.
    queue: TurnQueue,
    /// The queue of slow peers, whose jobs need no upload slot.
    slow_queue: TurnQueue,
    /// The virtual time of fair queueing: about the bytes that a peer has been served if it has always waited. When a
    /// job starts, it rises to the lowest [`finish`](Rank::finish) in the queue. The `served` value of a new peer
    /// starts at the virtual time.
    virtual_time: u64,
    jobs: Jobs,
    /// The number of jobs that occupy an upload slot.
    used_slots: usize,
    /// The sum of the waiting bytes of all peers. Of each peer, at most the bytes of its next turn are counted.
    waiting_bytes: u64,
    rate_limit: Option<TokenBucket>,
    meter: Meter,
    sent: Sent,
    /// The last number that was given to a transfer or a rank.
    last_number: u64,
}

impl UploadQueue {
    /// Creates an empty queue.
    pub fn new(config: Config) -> Self {
        let rate_limit = config.max_rate.map(|rate| TokenBucket::new(rate, config.burst(rate)));
        Self {
            config,
            transfers: BTreeMap::new(),
            peers: BTreeMap::new(),
            queue: TurnQueue::default(),
            slow_queue: TurnQueue::default(),
            virtual_time: 0,
            jobs: Jobs::default(),
            used_slots: 0,
            waiting_bytes: 0,
            rate_limit,
            meter: Meter::default(),
            sent: Sent::default(),
            last_number: 0,
        }
    }

    /// Adds a request for chunks of the artifact with this `index`.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if a limit is reached. [`Refusal::Malformed`] if `ranges` is empty, or if a range is empty or
    /// not in the artifact.
    pub fn push(
        &mut self,
        now: Instant,
        peer: PeerKey,
        transfer: TransferKey,
        index: Arc<ArtifactIndex>,
        ranges: Vec<ChunkRange>,
    ) -> Result<(), Refusal> {
        let number = self.number();
        let asked = Transfer::new(peer, number, index, ranges).ok_or(Refusal::Malformed)?;
        if self.is_full_for(peer) {
            return Err(self.busy());
        }
        self.sent.remember(&asked.index);
        let newcomer = Peer { served: self.virtual_time, ..Peer::default() };
        self.peers.entry(peer).or_insert(newcomer).waiting.insert(number, transfer);
        self.count_waiting(peer, |waiting| waiting + asked.bytes());
        self.transfers.insert(transfer, asked);
        self.update_rank(now, peer);
        Ok(())
    }

    /// Returns the refusal for a request that cannot be accepted now. It asks the peer to send the request again after
    /// the time in which every waiting peer gets one turn.
    pub fn busy(&self) -> Refusal {
        let Config { min_retry, max_retry, .. } = self.config;
        let wait = self.rate().map_or(FIRST_RETRY, |rate| time_of(self.waiting_bytes, rate));
        let wait = wait.clamp(min_retry, max_retry.max(min_retry)).as_millis();
        Refusal::Busy { retry_after_ms: u32::try_from(wait).unwrap_or(u32::MAX).min(MAX_RETRY_AFTER_MS - 1) }
    }

    /// Cancels the chunks of a transfer that are not in a job yet. The running jobs of the transfer continue. Returns
    /// whether any chunk was cancelled.
    pub fn cancel(&mut self, transfer: TransferKey) -> bool {
        let Some(left) = self.transfers.remove(&transfer) else { return false };
        if let Some(state) = self.peers.get_mut(&left.peer) {
            state.waiting.remove(&left.number);
        }
        self.count_waiting(left.peer, |waiting| waiting - left.bytes());
        self.recompute_rank(left.peer);
        self.remove_if_done(left.peer);
        true
    }

    /// Cancels all transfers of a peer that has disconnected. The caller must still [`complete`](Self::complete) the
    /// running jobs of the peer.
    pub fn peer_lost(&mut self, peer: PeerKey) {
        let waiting = self.peers.get_mut(&peer).map(|state| std::mem::take(&mut state.waiting)).unwrap_or_default();
        for transfer in waiting.into_values() {
            self.transfers.remove(&transfer);
        }
        self.count_waiting(peer, |_| 0);
        self.remove_if_done(peer);
    }

    /// Returns the next job. Returns `None` if no peer waits, or if a limit does not permit a job now.
    pub fn pop(&mut self, now: Instant) -> Option<Job> {
        self.free_overdue_slots(now);
        let peer = self.next_peer(now)?;
        let (transfer, run, bytes) = self.next_run(peer)?;
        if let Some(rate_limit) = &mut self.rate_limit
            && !rate_limit.take(now, bytes)
        {
            return None;
        }
        Some(self.start_job(now, peer, transfer, run, bytes))
    }

    /// Removes a job that has ended, because its chunks have been sent or will not be sent.
    pub fn complete(&mut self, now: Instant, job: JobId) {
        let Some((job, in_slot)) = self.jobs.remove(job) else { return };
        self.meter.end(now, job.bytes, self.jobs.len() == 0);
        if in_slot {
            self.leave_slot(job.peer);
        }
        if let Some(state) = self.peers.get_mut(&job.peer) {
            state.running -= 1;
        }
        self.set_slow(job.peer, now >= job.slow_at);
        self.update_rank(now, job.peer);
    }

    /// Returns a job to evict if a job has taken too long and a peer waits for its end. Only one job is evicted at a
    /// time. The caller must still [`complete`](Self::complete) the evicted job.
    pub fn poll_eviction(&mut self, now: Instant) -> Option<Eviction> {
        self.free_overdue_slots(now);
        if self.is_blocked() { self.jobs.evict(now) } else { None }
    }

    /// Returns the time at which to call [`pop`](Self::pop) and [`poll_eviction`](Self::poll_eviction) again, unless
    /// another method is called earlier. Returns `None` if no job can start or be evicted before another method is
    /// called.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        if self.queue.is_empty() && self.slow_queue.is_empty() {
            return None;
        }
        let limited = self.rate_limit.as_ref().and_then(|rate_limit| {
            let (_, _, bytes) = self.next_run(self.next_peer(now)?)?;
            Some(rate_limit.ready_at(now, bytes))
        });
        let freed = self.jobs.next_overdue_at();
        let evicted = self.jobs.next_eviction_at().filter(|_| self.is_blocked());
        // A peer that becomes starved is served next, and its job may start at once. For instance, it needs no slot, or
        // has fewer bytes than the job that waits for the rate limit.
        let starved = [&self.queue, &self.slow_queue].map(|queue| {
            let at = queue.waiting_since().map(|since| since + self.config.starved_after);
            at.filter(|at| *at > now)
        });
        [limited, freed, evicted].into_iter().chain(starved).flatten().min()
    }

    /// Asserts the invariants, for tests and simulations. The time that it takes grows with the number of waiting
    /// transfers.
    ///
    /// # Panics
    /// If an invariant does not hold.
    pub fn check(&self) {
        let jobs = self.jobs.check();
        assert!(self.jobs.len() <= self.config.max_jobs && self.used_slots <= self.config.slots.max(1));
        assert_eq!(jobs.values().map(|(_, in_slot)| in_slot).sum::<usize>(), self.used_slots, "occupied slots");
        assert!(jobs.keys().all(|peer| self.peers.contains_key(peer)), "every peer with a job has an entry");
        let mut queued = [0, 0];
        for (key, peer) in &self.peers {
            let (running, in_slot) = jobs.get(key).copied().unwrap_or_default();
            assert_eq!((peer.running, peer.in_slot), (running, in_slot), "jobs of {key}");
            assert!(running <= self.config.max_jobs_per_peer && (running > 0 || !peer.waiting.is_empty()));
            let of_peer = |transfer: &TransferKey| self.transfers[transfer].peer == *key;
            assert!(peer.waiting.values().all(of_peer), "transfers of {key}");
            let bytes: u64 = peer.waiting.values().map(|transfer| self.transfers[transfer].bytes()).sum();
            assert_eq!(bytes, peer.waiting_bytes, "waiting bytes of {key}");
            assert_eq!(peer.rank.is_some(), self.may_have_job(peer), "whether {key} has a rank");
            if let Some(rank) = peer.rank {
                queued[usize::from(peer.is_slow)] += 1;
                let queue = if peer.is_slow { &self.slow_queue } else { &self.queue };
                assert!(queue.has(*key, rank), "{key} is in its queue at its rank");
                assert_eq!(rank.finish, peer.served + self.turn_bytes(peer.waiting_bytes), "the finish of {key}");
            }
        }
        assert_eq!([self.queue.len(), self.slow_queue.len()], queued, "number of queued peers");
        assert_eq!(self.peers.values().map(|peer| peer.waiting.len()).sum::<usize>(), self.transfers.len());
        let turns: u64 = self.peers.values().map(|peer| self.turn_bytes(peer.waiting_bytes)).sum();
        assert_eq!(turns, self.waiting_bytes, "waiting bytes, with at most one turn of each peer");
    }

    /// Returns a new number for a transfer or a rank.
    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Returns whether a further request of a peer must be refused because a limit is reached.
    fn is_full_for(&self, peer: PeerKey) -> bool {
        let Config { max_transfers, max_transfers_per_peer, .. } = self.config;
        let waiting = self.peers.get(&peer).map_or(0, |peer| peer.waiting.len());
        let most_bytes = if waiting == 0 { self.most_waiting() } else { self.most_waiting() / 2 };
        waiting >= max_transfers_per_peer || self.transfers.len() >= max_transfers || self.waiting_bytes >= most_bytes
    }

    /// Returns the limit on the bytes that may wait in all. It is the number of bytes that can be sent within
    /// [`Config::max_wait`], clamped to [`Config::min_waiting_bytes`] and [`Config::max_waiting_bytes`].
    fn most_waiting(&self) -> u64 {
        let Config { min_waiting_bytes, max_waiting_bytes, max_wait, .. } = self.config;
        let in_time = self.rate().map_or(0, |rate| (rate as f64 * max_wait.as_secs_f64()) as u64);
        in_time.clamp(min_waiting_bytes.min(max_waiting_bytes), max_waiting_bytes)
    }

    /// Returns the upload rate in bytes per second, which is the lower of the measured rate and the rate limit. Returns
    /// `None` if neither is known.
    fn rate(&self) -> Option<u64> {
        let rate_limit = self.rate_limit.as_ref().map(TokenBucket::rate);
        self.meter.rate().into_iter().chain(rate_limit).min()
    }

    /// Returns how many of the `waiting_bytes` of a peer belong to its next turn.
    fn turn_bytes(&self, waiting_bytes: u64) -> u64 {
        waiting_bytes.min(self.config.largest_job())
    }

    /// Changes the waiting bytes of a peer, and updates the sum over all peers.
    fn count_waiting(&mut self, peer: PeerKey, change: impl FnOnce(u64) -> u64) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let before = state.waiting_bytes;
        let after = change(before);
        state.waiting_bytes = after;
        self.waiting_bytes = self.waiting_bytes - self.turn_bytes(before) + self.turn_bytes(after);
    }

    /// Returns the peer to serve next; `None` if no peer waits or no job may start now.
    fn next_peer(&self, now: Instant) -> Option<PeerKey> {
        let after = self.config.starved_after;
        let has_free_job = self.jobs.len() < self.config.max_jobs;
        let has_free_slot = self.used_slots < self.config.slots.max(1);
        let head = self.queue.head(now, after).filter(|_| has_free_job && has_free_slot);
        let head = head.map(|(urgency, peer)| match urgency {
            Urgency::Usual(_) => (urgency, self.rarest_peer().unwrap_or(peer)),
            Urgency::Starved(_) => (urgency, peer),
        });
        let slow = self.slow_queue.head(now, after).filter(|_| self.may_start_slow_job());
        let (_, peer) = head.into_iter().chain(slow).min()?;
        Some(peer)
    }

    /// Returns the quick peer that waits for the chunk that has been sent least often. Only peers whose `finish` is at
    /// most [`RAREST_LEAD`] above the lowest `finish` are compared.
    fn rarest_peer(&self) -> Option<PeerKey> {
        let first = self.queue.first(RAREST_LEAD).take(RAREST_SEARCH);
        // If several peers wait for equally rare chunks, the first peer in the queue is returned.
        first.min_by_key(|peer| {
            let waiting = self.peers[peer].waiting.values().take(LOOKAHEAD).map(|key| &self.transfers[key]);
            waiting.map(|asked| self.sent.times(&asked.index, asked.first())).min()
        })
    }

    /// Returns whether a further job of a slow peer may start. Some of the [`Config::max_jobs`] jobs are reserved for
    /// quick peers.
    fn may_start_slow_job(&self) -> bool {
        self.jobs.len() + self.config.reserved_jobs() < self.config.max_jobs
    }

    /// Returns whether a peer waits only because the number of running jobs has reached its limit.
    fn is_blocked(&self) -> bool {
        if self.queue.is_empty() {
            !self.slow_queue.is_empty() && !self.may_start_slow_job()
        } else {
            self.jobs.len() >= self.config.max_jobs
        }
    }

    /// Returns the next job of a peer: its transfer, its chunks, and their length in bytes.
    fn next_run(&self, peer: PeerKey) -> Option<(TransferKey, ChunkRange, u64)> {
        let waiting = self.peers.get(&peer)?.waiting.values().take(LOOKAHEAD);
        let asked = waiting.map(|key| (*key, &self.transfers[key]));
        // If several transfers begin with equally rare chunks, the oldest transfer is returned.
        let (key, transfer) = asked.min_by_key(|(_, asked)| self.sent.times(&asked.index, asked.first()))?;
        let (run, bytes) = transfer.next_run(self.config.job_bytes());
        Some((key, run, bytes))
    }

    /// Starts a job that sends the chunks of `run`.
    fn start_job(&mut self, now: Instant, peer: PeerKey, transfer: TransferKey, run: ChunkRange, bytes: u64) -> Job {
        let last = self.advance(transfer, run);
        self.count_waiting(peer, |waiting| waiting - bytes);
        let state = &self.peers[&peer];
        let queue = if state.is_slow { &self.slow_queue } else { &self.queue };
        // Use the lowest `finish` and not the `finish` of this peer. The two differ if the peer is starved or waits for
        // rarer chunks.
        self.virtual_time = self.virtual_time.max(queue.least().unwrap_or(0));
        self.leave_queue(peer);
        let slot_time = self.slot_time(bytes);
        let (slow_at, evict_at) = (now + slot_time, now + self.config.evict_after.max(slot_time * EVICT_FACTOR));
        let state = self.peers.get_mut(&peer).expect("the peer that is served has an entry");
        state.served += bytes;
        state.running += 1;
        let in_slot = !state.is_slow;
        if in_slot {
            self.used_slots += 1;
            state.in_slot += 1;
        }
        self.meter.start(now);
        let id = self.jobs.add(RunningJob { peer, transfer, bytes, slow_at, evict_at }, in_slot);
        self.update_rank(now, peer);
        Job { id, transfer, peer, run, bytes, last }
    }

    /// Removes `run` from a transfer. If no chunk is left, forgets the transfer and returns `true`.
    fn advance(&mut self, key: TransferKey, run: ChunkRange) -> bool {
        let transfer = self.transfers.get_mut(&key).expect("a job is cut from a waiting transfer");
        self.sent.count(&transfer.index, run);
        let is_over = transfer.advance(run);
        if is_over
            && let Some(transfer) = self.transfers.remove(&key)
            && let Some(state) = self.peers.get_mut(&transfer.peer)
        {
            state.waiting.remove(&transfer.number);
        }
        is_over
    }

    /// Returns the slot time of a job of `bytes`: how long the job may occupy a slot. The slot time is the time in
    /// which [`Config::max_jobs`] jobs of this size are sent at the measured rate, but at least [`Config::slot_time`]
    /// and at most [`Config::max_slot_time`].
    fn slot_time(&self, bytes: u64) -> Duration {
        let Config { slot_time, max_slot_time, max_jobs, .. } = self.config;
        let all = bytes.saturating_mul(u64::try_from(max_jobs).unwrap_or(u64::MAX));
        let usual = self.meter.rate().map_or(Duration::ZERO, |rate| time_of(all, rate));
        usual.clamp(slot_time, max_slot_time.max(slot_time))
    }

    /// Frees the slots of jobs that have taken too long, and marks the peers of these jobs as slow.
    fn free_overdue_slots(&mut self, now: Instant) {
        while let Some(peer) = self.jobs.free_overdue_slot(now) {
            self.leave_slot(peer);
            self.set_slow(peer, true);
            self.update_rank(now, peer);
        }
    }

    /// Frees one slot that a job of the peer occupied.
    fn leave_slot(&mut self, peer: PeerKey) {
        let state = self.peers.get_mut(&peer).expect("a peer with a job in a slot has an entry");
        state.in_slot -= 1;
        self.used_slots -= 1;
    }

    /// Marks a peer as slow or quick. A peer that is in a queue moves to the other queue and keeps its rank.
    fn set_slow(&mut self, peer: PeerKey, is_slow: bool) {
        let Some(state) = self.peers.get_mut(&peer).filter(|state| state.is_slow != is_slow) else { return };
        state.is_slow = is_slow;
        if let Some(rank) = state.rank {
            let (from, to) = match is_slow {
                true => (&mut self.queue, &mut self.slow_queue),
                false => (&mut self.slow_queue, &mut self.queue),
            };
            from.leave(rank);
            to.enter(peer, rank);
        }
    }

    /// Returns whether a peer has a waiting transfer and may have a further job.
    fn may_have_job(&self, peer: &Peer) -> bool {
        let most = if peer.is_slow { self.config.max_jobs_per_peer.min(1) } else { self.config.max_jobs_per_peer };
        !peer.waiting.is_empty() && peer.running < most
    }

    /// Adds a peer to its queue, moves it to its new rank, or removes it, depending on whether it may have a further
    /// job.
    fn update_rank(&mut self, now: Instant, peer: PeerKey) {
        let Some(state) = self.peers.get(&peer) else { return };
        match (self.may_have_job(state), state.rank.is_some()) {
            (true, false) => self.enter_queue(now, peer),
            (true, true) => self.recompute_rank(peer),
            (false, true) => self.leave_queue(peer),
            (false, false) => {}
        }
        self.remove_if_done(peer);
    }

    /// Limits the credit of a peer and adds the peer to its queue.
    fn enter_queue(&mut self, now: Instant, peer: PeerKey) {
        // The credit limit includes `RAREST_LEAD`, because peers that wait for rarer chunks may have been served before
        // this peer.
        let (number, most_credit) = (self.number(), self.config.largest_job() + RAREST_LEAD);
        let Some(state) = self.peers.get_mut(&peer) else { return };
        state.served = state.served.max(self.virtual_time.saturating_sub(most_credit));
        self.set_rank(peer, number, now);
    }

    /// Updates the rank of a peer after its waiting bytes have changed, because its next turn may have another length.
    fn recompute_rank(&mut self, peer: PeerKey) {
        let rank = self.peers.get(&peer).and_then(|state| state.rank);
        if let Some(Rank { number, since, .. }) = rank {
            self.leave_queue(peer);
            self.set_rank(peer, number, since);
        }
    }

    /// Computes the rank of a peer and adds the peer to its queue.
    fn set_rank(&mut self, peer: PeerKey, number: u64, since: Instant) {
        let waiting_bytes = self.peers.get(&peer).map_or(0, |state| state.waiting_bytes);
        let turn = self.turn_bytes(waiting_bytes);
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let rank = Rank { finish: state.served + turn, number, since };
        state.rank = Some(rank);
        if state.is_slow { &mut self.slow_queue } else { &mut self.queue }.enter(peer, rank);
    }

    /// Removes a peer from its queue, if it is in one.
    fn leave_queue(&mut self, peer: PeerKey) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if let Some(rank) = state.rank.take() {
            if state.is_slow { &mut self.slow_queue } else { &mut self.queue }.leave(rank);
        }
    }

    /// Removes a peer that has no waiting transfer from its queue. Forgets the peer if it has no running job.
    fn remove_if_done(&mut self, peer: PeerKey) {
        let Some(state) = self.peers.get(&peer) else { return };
        if state.waiting.is_empty() {
            let is_over = state.running == 0;
            self.leave_queue(peer);
            if is_over {
                self.peers.remove(&peer);
            }
        }
    }
}
