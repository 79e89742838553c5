//! Whatever is asked and cancelled, every chunk is sent once and in order, within the bounds, and peers that want
//! something get the same.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeMap;
use std::sync::Arc;

use phase_core::index::ChunkEntry;
use phase_core::{ArtifactIndex, ChunkIndex, ChunkRange, ChunkerParams, Digest, HashAlgorithm, MAX_CHUNK_LEN};
use phase_transfer::peer::PeerKey;
use phase_transfer::upload::{Config, Job, TransferKey, UploadQueue};
use proptest::prelude::*;

const PEERS: u64 = 4;

#[derive(Clone, Debug)]
enum Op {
    Push(u64, Vec<(u32, u32)>),
    Cancel(usize),
    Lost(u64),
    Pop,
    Complete(usize),
}

fn any_op() -> impl Strategy<Value = Op> {
    let ranges = proptest::collection::vec((0u32..90, 1u32..20), 1..4);
    prop_oneof![
        6 => (0..PEERS, ranges).prop_map(|(peer, ranges)| Op::Push(peer, ranges)),
        1 => any::<usize>().prop_map(Op::Cancel),
        1 => (0..PEERS).prop_map(Op::Lost),
        10 => Just(Op::Pop),
        8 => any::<usize>().prop_map(Op::Complete),
    ]
}

/// What is known of the queue from outside.
struct Model {
    queue: UploadQueue,
    index: Arc<ArtifactIndex>,
    next: u64,
    /// Chunks that are in no job yet, in order.
    left: BTreeMap<TransferKey, (PeerKey, Vec<ChunkIndex>)>,
    jobs: Vec<Job>,
}

impl Model {
    fn new() -> Self {
        let lens: Vec<u32> = (0..100u32).map(|i| (32 << 10) + i * 4800).collect();
        Self { queue: UploadQueue::new(config()), index: index_of(&lens), next: 0, left: BTreeMap::new(), jobs: vec![] }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Push(peer, ranges) => self.push(PeerKey(peer), &ranges),
            Op::Cancel(n) => {
                if let Some(key) = self.left.keys().nth(n.checked_rem(self.left.len()).unwrap_or(0)).copied() {
                    self.left.remove(&key);
                    self.queue.cancel(key);
                }
            }
            Op::Lost(peer) => {
                self.left.retain(|_, (of, _)| *of != PeerKey(peer));
                self.queue.peer_lost(PeerKey(peer));
            }
            Op::Pop => {
                self.pop();
            }
            Op::Complete(n) => {
                if !self.jobs.is_empty() {
                    let job = self.jobs.swap_remove(n % self.jobs.len());
                    self.queue.complete(job.id);
                }
            }
        }
    }

    fn push(&mut self, peer: PeerKey, ranges: &[(u32, u32)]) {
        let key = TransferKey(self.next);
        self.next += 1;
        let ranges: Vec<_> = ranges.iter().map(|&(start, len)| ChunkRange { start, end: start + len }).collect();
        let is_possible = ranges.iter().all(|range| range.end <= self.index.len());
        let waiting = self.left.values().filter(|(of, _)| *of == peer).count();
        let has_room = waiting < config().max_transfers_per_peer && self.left.len() < config().max_transfers;
        let pushed = self.queue.push(peer, key, self.index.clone(), ranges.clone());
        assert_eq!(pushed.is_ok(), is_possible && has_room);
        if pushed.is_ok() {
            self.left.insert(key, (peer, ranges.iter().flat_map(ChunkRange::iter).collect()));
        }
    }

    fn pop(&mut self) -> bool {
        let of_peer = |peer: PeerKey| self.jobs.iter().filter(|job| job.peer == peer).count();
        let may = |peer: PeerKey| of_peer(peer) < config().max_jobs_per_peer;
        let expected = self.jobs.len() < config().max_jobs && self.left.values().any(|(peer, _)| may(*peer));
        let Some(job) = self.queue.pop() else {
            assert!(!expected, "somebody waits, and there is room");
            return false;
        };
        assert!(expected && may(job.peer));
        let (peer, left) = self.left.get_mut(&job.transfer).expect("only what waits is sent");
        assert_eq!(*peer, job.peer);
        let run: Vec<_> = job.run.iter().collect();
        assert_eq!(left.drain(..run.len()).collect::<Vec<_>>(), run);
        assert_eq!(job.last, left.is_empty());
        if left.is_empty() {
            self.left.remove(&job.transfer);
        }
        let bytes = self.index.byte_range(job.run).map_or(0, |range| range.len());
        assert!(bytes == job.bytes && (run.len() == 1 || bytes <= config().max_job_bytes));
        self.jobs.push(job);
        true
    }
}

fn config() -> Config {
    Config { max_jobs: 5, max_transfers_per_peer: 6, max_transfers: 15, ..Config::default() }
}

fn index_of(lens: &[u32]) -> Arc<ArtifactIndex> {
    let digest = Digest::new([0; 32]);
    let chunks = lens.iter().map(|&len| ChunkEntry { digest, len }).collect();
    let params = ChunkerParams::new(1024, 32 << 10, MAX_CHUNK_LEN).unwrap();
    Arc::new(ArtifactIndex::new(params, HashAlgorithm::Blake3, digest, chunks).unwrap())
}

/// Bytes per peer after a number of jobs, one at a time; the peers ask for chunks of these lengths in ranges of these
/// sizes and never run out.
fn shares(wishes: &[(u32, u32)], jobs: usize) -> Vec<u64> {
    let mut queue = UploadQueue::new(Config { max_transfers_per_peer: 4, max_transfers: 1000, ..Config::default() });
    let indexes: Vec<_> = wishes.iter().map(|&(len, _)| index_of(&vec![len; 1024])).collect();
    let mut next = 0;
    let mut sent = vec![0; wishes.len()];
    for _ in 0..jobs {
        for (peer, &(_, range)) in wishes.iter().enumerate() {
            let ranges = vec![ChunkRange { start: 0, end: range }];
            while queue.push(PeerKey(peer as u64), TransferKey(next), indexes[peer].clone(), ranges.clone()).is_ok() {
                next += 1;
            }
        }
        let job = queue.pop().unwrap();
        sent[job.peer.0 as usize] += job.bytes;
        queue.complete(job.id);
    }
    sent
}

proptest! {
    #[test]
    fn any_sequence_of_calls_keeps_the_contract_and_runs_dry(ops in proptest::collection::vec(any_op(), 1..300)) {
        let mut model = Model::new();
        ops.into_iter().for_each(|op| model.apply(op));
        while model.pop() || !model.jobs.is_empty() {
            model.apply(Op::Complete(0));
        }
        prop_assert!(model.left.is_empty(), "everything is sent in the end");
    }

    #[test]
    fn peers_get_the_same_whatever_they_ask_for(
        wishes in proptest::collection::vec((1024u32..=MAX_CHUNK_LEN, 1u32..200), 2..6)
    ) {
        let shares = shares(&wishes, 400);
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        // A turn is 1 MiB; what is left of one may be added to the next.
        prop_assert!(most - least <= 3 << 20, "{:?} of {:?}", shares, wishes);
    }
}
