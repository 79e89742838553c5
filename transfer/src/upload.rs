//! Decides whose chunks are read and sent next. No I/O, no clock.
//!
//! # Contract
//! [`push`](UploadQueue::push) requests as they come; call [`pop`](UploadQueue::pop) until it gives nothing, carry out each
//! [`Job`], and say [`complete`](UploadQueue::complete) for every one of them, however it ended.
//!
//! Peers take turns by bytes (deficit round robin, Shreedhar and Varghese 1995): over time each peer that wants
//! something gets the same, whatever the sizes of its requests and however many it makes.
//!
//! Of what one peer has asked for, that goes first which has been sent least often to anybody: when many want the same
//! artifact of one seed, each gets something that the others lack, and can pass on.
//!
//! Invariants:
//! - at most [`Config::max_jobs`] jobs are under way, and [`Config::max_jobs_per_peer`] of one peer;
//! - every chunk of a transfer is in exactly one job, in the order within the transfer, unless that is cancelled;
//! - the job with `last` set is the last one of its transfer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use phase_core::{ArtifactIndex, ChunkRange, Digest};

use crate::peer::PeerKey;
use crate::wire::Refusal;

/// Limits of an upload queue.
#[derive(Clone, Debug)]
pub struct Config {
    /// Jobs under way at a time. Default 64: at 1 MiB each, the memory that uploads take.
    pub max_jobs: usize,
    /// Jobs of one peer under way at a time. Default 2: one is read while the other is sent.
    pub max_jobs_per_peer: usize,
    /// Transfers of one peer that may wait. Default 512: as many small artifacts as it may ask for at once.
    pub max_transfers_per_peer: usize,
    /// Transfers that may wait in all. Default 16384.
    pub max_transfers: usize,
    /// The most bytes of one job. Default 1 MiB; a chunk larger than that is a job of its own.
    pub max_job_bytes: u64,
    /// What a refused peer is told to wait, in milliseconds. Default 500.
    pub retry_after_ms: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_jobs: 64,
            max_jobs_per_peer: 2,
            max_transfers_per_peer: 512,
            max_transfers: 16384,
            max_job_bytes: 1 << 20,
            retry_after_ms: 500,
        }
    }
}

/// Names a transfer; the caller chooses it, and uses it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferKey(pub u64);

/// Names a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u64);

/// A run of adjacent chunks to read and send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// For [`UploadQueue::complete`].
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

/// Transfers of a peer among which the one to go first is sought.
const LOOKAHEAD: usize = 64;
/// Artifacts of which it is remembered what has been sent: the last ones that were asked for.
const MAX_REMEMBERED: usize = 64;
/// Chunks that these may have together, a single artifact excepted: as many bytes of memory.
const MAX_REMEMBERED_CHUNKS: usize = 1 << 20;

/// What is left of a transfer.
struct Transfer {
    peer: PeerKey,
    index: Arc<ArtifactIndex>,
    ranges: VecDeque<ChunkRange>,
}

/// A peer that has transfers waiting or jobs under way.
#[derive(Default)]
struct Peer {
    waiting: VecDeque<TransferKey>,
    under_way: usize,
    /// Bytes it may send before the next one's turn.
    deficit: u64,
}

/// Requests of all peers, and whose turn it is.
pub struct UploadQueue {
    config: Config,
    transfers: BTreeMap<TransferKey, Transfer>,
    peers: BTreeMap<PeerKey, Peer>,
    /// Peers with transfers waiting, the next one first.
    turns: VecDeque<PeerKey>,
    jobs: BTreeMap<JobId, PeerKey>,
    next_job: u64,
    sent: Sent,
}

impl UploadQueue {
    /// An empty queue.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            transfers: BTreeMap::new(),
            peers: BTreeMap::new(),
            turns: VecDeque::new(),
            jobs: BTreeMap::new(),
            next_job: 0,
            sent: Sent::default(),
        }
    }

    /// Takes in a request for chunks of the artifact of `index`.
    ///
    /// # Errors
    /// `Busy` beyond a bound, `Malformed` for ranges that the artifact does not have.
    pub fn push(
        &mut self,
        peer: PeerKey,
        transfer: TransferKey,
        index: Arc<ArtifactIndex>,
        ranges: Vec<ChunkRange>,
    ) -> Result<(), Refusal> {
        if ranges.is_empty() || ranges.iter().any(|range| range.end > index.len()) {
            return Err(Refusal::Malformed);
        }
        let waiting = self.peers.get(&peer).map_or(0, |peer| peer.waiting.len());
        if waiting >= self.config.max_transfers_per_peer || self.transfers.len() >= self.config.max_transfers {
            return Err(Refusal::Busy { retry_after_ms: self.config.retry_after_ms });
        }
        self.sent.remember(&index);
        self.transfers.insert(transfer, Transfer { peer, index, ranges: ranges.into() });
        if waiting == 0 {
            self.turns.push_back(peer);
        }
        self.peers.entry(peer).or_default().waiting.push_back(transfer);
        Ok(())
    }

    /// Drops what is left of a transfer. Jobs of it that are under way stay so. Returns whether anything was left.
    pub fn cancel(&mut self, transfer: TransferKey) -> bool {
        let Some(Transfer { peer, .. }) = self.transfers.remove(&transfer) else { return false };
        if let Some(state) = self.peers.get_mut(&peer) {
            state.waiting.retain(|waiting| *waiting != transfer);
        }
        self.tidy(peer);
        true
    }

    /// Drops everything of a peer except its jobs under way.
    pub fn peer_lost(&mut self, peer: PeerKey) {
        let waiting = self.peers.get_mut(&peer).map(|state| std::mem::take(&mut state.waiting)).unwrap_or_default();
        for transfer in waiting {
            self.transfers.remove(&transfer);
        }
        self.tidy(peer);
    }

    /// The next job, if there is one and it is within the bounds.
    pub fn pop(&mut self) -> Option<Job> {
        if self.jobs.len() >= self.config.max_jobs {
            return None;
        }
        // A peer at its bound is passed over once; one with too little deficit gets more and is passed over too. One
        // grant covers any job, so two rounds find a job if there is one.
        for _ in 0..2 * self.turns.len() {
            let peer = *self.turns.front()?;
            let state = self.peers.get(&peer)?;
            if state.under_way < self.config.max_jobs_per_peer {
                let (transfer, run) = self.first_of(state)?;
                let bytes = self.transfers[&transfer].bytes(run);
                if state.deficit >= bytes {
                    return Some(self.take(peer, transfer, run, bytes));
                }
            }
            self.pass(peer);
        }
        None
    }

    /// A job has ended: its chunks were sent, or never will be.
    pub fn complete(&mut self, job: JobId) {
        if let Some(peer) = self.jobs.remove(&job) {
            if let Some(state) = self.peers.get_mut(&peer) {
                state.under_way -= 1;
            }
            self.tidy(peer);
        }
    }

    /// Moves a peer to the end of the line, with a fresh grant unless it has one it cannot use now.
    fn pass(&mut self, peer: PeerKey) {
        let grant = self.config.max_job_bytes.max(u64::from(phase_core::MAX_CHUNK_LEN));
        if let Some(state) = self.peers.get_mut(&peer)
            && state.under_way < self.config.max_jobs_per_peer
        {
            state.deficit += grant;
        }
        self.turns.rotate_left(1);
    }

    fn take(&mut self, peer: PeerKey, transfer: TransferKey, run: ChunkRange, bytes: u64) -> Job {
        let id = JobId(self.next_job);
        self.next_job += 1;
        self.jobs.insert(id, peer);
        let sent = &mut self.sent;
        let last = self.transfers.get_mut(&transfer).is_some_and(|left| {
            sent.count(&left.index, run);
            left.advance(run)
        });
        if let Some(state) = self.peers.get_mut(&peer) {
            state.deficit -= bytes;
            state.under_way += 1;
            if last {
                state.waiting.retain(|waiting| *waiting != transfer);
            }
        }
        if last {
            self.transfers.remove(&transfer);
        }
        self.tidy(peer);
        Job { id, transfer, peer, run, bytes, last }
    }

    /// The transfer of a peer to go first, and what to send of it.
    fn first_of(&self, peer: &Peer) -> Option<(TransferKey, ChunkRange)> {
        let runs = peer.waiting.iter().take(LOOKAHEAD).map(|key| (*key, self.next_run(&self.transfers[key])));
        // The first one of the least.
        runs.min_by_key(|(key, run)| self.sent.times(&self.transfers[key].index, *run))
    }

    /// The first chunks of what is left, as many as fit in a job.
    fn next_run(&self, transfer: &Transfer) -> ChunkRange {
        let range = transfer.ranges[0];
        let mut bytes = 0;
        let fits = range.iter().take_while(|index| {
            bytes += transfer.index.chunk(*index).map_or(0, |chunk| u64::from(chunk.len));
            bytes <= self.config.max_job_bytes
        });
        let count = u32::try_from(fits.count()).expect("not more than the range has").max(1);
        ChunkRange { start: range.start, end: range.start + count }
    }

    /// Takes a peer out of the line when it has nothing waiting, and forgets it when nothing is under way either.
    fn tidy(&mut self, peer: PeerKey) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if state.waiting.is_empty() {
            // Credit is not saved up for later.
            state.deficit = 0;
            self.turns.retain(|turn| *turn != peer);
            if state.under_way == 0 {
                self.peers.remove(&peer);
            }
        }
    }
}

impl Transfer {
    fn bytes(&self, run: ChunkRange) -> u64 {
        run.iter().filter_map(|index| self.index.chunk(index)).map(|chunk| u64::from(chunk.len)).sum()
    }

    /// Takes `run` off the front; returns whether nothing is left.
    fn advance(&mut self, run: ChunkRange) -> bool {
        if let Some(first) = self.ranges.front_mut() {
            first.start = run.end;
            if first.start >= first.end {
                self.ranges.pop_front();
            }
        }
        self.ranges.is_empty()
    }
}

/// How many times each chunk of some artifacts has been sent.
#[derive(Default)]
struct Sent {
    /// By the hash of the artifact.
    artifacts: BTreeMap<Digest, Vec<u8>>,
    /// In the order in which they were first asked for.
    order: VecDeque<Digest>,
    /// How many chunks they have.
    chunks: usize,
}

impl Sent {
    fn remember(&mut self, index: &ArtifactIndex) {
        if self.artifacts.contains_key(&index.sha256()) {
            return;
        }
        self.order.push_back(index.sha256());
        self.chunks += index.len() as usize;
        while self.order.len() > MAX_REMEMBERED || (self.chunks > MAX_REMEMBERED_CHUNKS && self.order.len() > 1) {
            let oldest = self.order.pop_front().and_then(|oldest| self.artifacts.remove(&oldest));
            self.chunks -= oldest.map_or(0, |times| times.len());
        }
        self.artifacts.insert(index.sha256(), vec![0; index.len() as usize]);
    }

    fn count(&mut self, index: &ArtifactIndex, run: ChunkRange) {
        let Some(times) = self.artifacts.get_mut(&index.sha256()) else { return };
        for chunk in run.iter() {
            if let Some(times) = times.get_mut(chunk.0 as usize) {
                *times = times.saturating_add(1);
            }
        }
    }

    /// How many times the first chunk of a run has been sent; 0 if that is forgotten.
    fn times(&self, index: &ArtifactIndex, run: ChunkRange) -> u8 {
        let times = self.artifacts.get(&index.sha256()).and_then(|times| times.get(run.start as usize));
        times.copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phase_core::index::ChunkEntry;
    use phase_core::{ChunkerParams, HashAlgorithm};

    fn index(lens: &[u32]) -> Arc<ArtifactIndex> {
        let digest = Digest::new([0; 32]);
        let chunks = lens.iter().map(|&len| ChunkEntry { digest, len }).collect();
        Arc::new(ArtifactIndex::new(ChunkerParams::default(), HashAlgorithm::Blake3, digest, chunks).unwrap())
    }

    fn range(start: u32, end: u32) -> ChunkRange {
        ChunkRange::new(start, end).unwrap()
    }

    fn small() -> Config {
        Config {
            max_jobs: 4,
            max_jobs_per_peer: 2,
            max_job_bytes: 256 << 10,
            max_transfers_per_peer: 8,
            ..Config::default()
        }
    }

    #[test]
    fn a_transfer_is_cut_into_jobs_in_order_and_the_last_says_so() {
        let mut queue = UploadQueue::new(small());
        let index = index(&[128 << 10; 5]);
        queue.push(PeerKey(1), TransferKey(1), index, vec![range(0, 3), range(4, 5)]).unwrap();
        let mut runs = Vec::new();
        while let Some(job) = queue.pop() {
            runs.push((job.run, job.last));
            queue.complete(job.id);
        }
        assert_eq!(runs, [(range(0, 2), false), (range(2, 3), false), (range(4, 5), true)]);
        assert!(queue.peers.is_empty() && queue.turns.is_empty() && queue.transfers.is_empty());
    }

    #[test]
    fn peers_share_by_bytes_whatever_they_ask_for() {
        let mut queue = UploadQueue::new(Config { max_jobs: 1, max_transfers_per_peer: 1000, ..small() });
        let (large, tiny) = (index(&[512 << 10; 64]), index(&[32 << 10; 1000]));
        queue.push(PeerKey(1), TransferKey(0), large, vec![range(0, 64)]).unwrap();
        for position in 0..1000 {
            let one = vec![range(position, position + 1)];
            queue.push(PeerKey(2), TransferKey(1 + u64::from(position)), tiny.clone(), one).unwrap();
        }
        let mut sent = BTreeMap::new();
        for _ in 0..200 {
            let job = queue.pop().unwrap();
            *sent.entry(job.peer).or_insert(0) += job.bytes;
            queue.complete(job.id);
        }
        let (first, second) = (sent[&PeerKey(1)], sent[&PeerKey(2)]);
        assert!(first.abs_diff(second) <= 2 << 20, "{first} against {second}");
    }

    #[test]
    fn what_nobody_has_got_yet_goes_first() {
        let mut queue = UploadQueue::new(Config { max_jobs: 1, ..small() });
        let index = index(&[128 << 10; 4]);
        let mut next = 0;
        let mut ask = |queue: &mut UploadQueue, peer, chunk| {
            next += 1;
            queue.push(PeerKey(peer), TransferKey(next), index.clone(), vec![range(chunk, chunk + 1)]).unwrap();
        };
        let send = |queue: &mut UploadQueue| {
            let job = queue.pop().unwrap();
            queue.complete(job.id);
            job.run.start
        };
        ask(&mut queue, 1, 2);
        assert_eq!(send(&mut queue), 2);
        for chunk in [2, 0, 3] {
            ask(&mut queue, 2, chunk);
        }
        assert_eq!([send(&mut queue), send(&mut queue), send(&mut queue)], [0, 3, 2]);
    }

    #[test]
    fn what_has_been_sent_is_remembered_of_few_artifacts() {
        let mut sent = Sent::default();
        let index = |n: u8| {
            let chunks = vec![ChunkEntry { digest: Digest::new([0; 32]), len: 1 }];
            ArtifactIndex::new(ChunkerParams::default(), HashAlgorithm::Blake3, Digest::new([n; 32]), chunks).unwrap()
        };
        for n in 0..=u8::MAX {
            sent.remember(&index(n));
            sent.count(&index(n), range(0, 1));
        }
        assert_eq!((sent.artifacts.len(), sent.order.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
        assert_eq!((sent.times(&index(0), range(0, 1)), sent.times(&index(255), range(0, 1))), (0, 1));
    }

    #[test]
    fn no_peer_holds_more_than_its_jobs_and_nobody_waits_for_it() {
        let mut queue = UploadQueue::new(small());
        let index = index(&[256 << 10; 8]);
        queue.push(PeerKey(1), TransferKey(1), index.clone(), vec![range(0, 8)]).unwrap();
        let held: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(held.len(), 2);
        queue.push(PeerKey(2), TransferKey(2), index, vec![range(0, 8)]).unwrap();
        assert_eq!(queue.pop().unwrap().peer, PeerKey(2));
        assert_eq!(queue.pop().unwrap().peer, PeerKey(2));
        assert_eq!(queue.pop(), None);
        queue.complete(held[0].id);
        assert_eq!(queue.pop().unwrap().peer, PeerKey(1));
    }

    #[test]
    fn bounds_are_answered_with_busy_and_nonsense_with_malformed() {
        let mut queue = UploadQueue::new(small());
        let index = index(&[32 << 10; 4]);
        for key in 0..8 {
            queue.push(PeerKey(1), TransferKey(key), index.clone(), vec![range(0, 1)]).unwrap();
        }
        let more = queue.push(PeerKey(1), TransferKey(8), index.clone(), vec![range(0, 1)]);
        assert!(matches!(more, Err(Refusal::Busy { .. })));
        queue.push(PeerKey(2), TransferKey(9), index.clone(), vec![range(0, 1)]).unwrap();
        assert_eq!(queue.push(PeerKey(3), TransferKey(10), index.clone(), vec![range(0, 5)]), Err(Refusal::Malformed));
        assert_eq!(queue.push(PeerKey(3), TransferKey(11), index, vec![]), Err(Refusal::Malformed));
    }

    #[test]
    fn what_is_cancelled_or_lost_is_not_sent() {
        let mut queue = UploadQueue::new(small());
        let index = index(&[256 << 10; 4]);
        queue.push(PeerKey(1), TransferKey(1), index.clone(), vec![range(0, 4)]).unwrap();
        queue.push(PeerKey(2), TransferKey(2), index, vec![range(0, 4)]).unwrap();
        let job = queue.pop().unwrap();
        assert!(queue.cancel(TransferKey(1)));
        assert!(!queue.cancel(TransferKey(1)));
        queue.peer_lost(PeerKey(2));
        assert_eq!(queue.pop(), None);
        queue.complete(job.id);
        assert!(queue.peers.is_empty() && queue.jobs.is_empty());
    }
}
