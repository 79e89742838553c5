//! Tests that the upload queue sends every chunk once and in order, keeps its limits, starts a job whenever it may, and
//! gives equal numbers of bytes to all waiting peers. This must hold for any sequence of requests, cancellations, slow
//! jobs and evictions.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use phase_core::index::ChunkEntry;
use phase_core::{ArtifactIndex, ChunkIndex, ChunkRange, ChunkerParams, Digest, HashAlgorithm, MAX_CHUNK_LEN};
use phase_protocol::PeerKey;
use phase_protocol::upload::{Config, Eviction, Job, TransferKey, UploadQueue};
use proptest::prelude::*;

const PEERS: u64 = 4;

/// A call of the upload queue, or a wait. A number that selects a transfer or a job is taken modulo the number of
/// transfers or jobs.
#[derive(Clone, Debug)]
enum Op {
    Push(u64, Vec<(u32, u32)>),
    Cancel(usize),
    Lost(u64),
    Pop,
    Complete(usize),
    /// This many milliseconds pass.
    Wait(u64),
}

/// Generates any operation. A wait takes at most `longest_wait` milliseconds.
fn any_op(longest_wait: u64) -> impl Strategy<Value = Op> {
    let ranges = proptest::collection::vec((0u32..90, 1u32..20), 1..4);
    prop_oneof![
        6 => (0..PEERS, ranges).prop_map(|(peer, ranges)| Op::Push(peer, ranges)),
        1 => any::<usize>().prop_map(Op::Cancel),
        1 => (0..PEERS).prop_map(Op::Lost),
        10 => Just(Op::Pop),
        8 => any::<usize>().prop_map(Op::Complete),
        3 => (0..=longest_wait).prop_map(Op::Wait),
    ]
}

/// An upload queue, and a model of its state that is built only from the calls and their results.
struct Model {
    config: Config,
    queue: UploadQueue,
    begin: Instant,
    now: Instant,
    index: Arc<ArtifactIndex>,
    next: u64,
    /// The chunks of each transfer that are not in a job yet, in order.
    left: BTreeMap<TransferKey, (PeerKey, Vec<ChunkIndex>)>,
    /// The running jobs, with their start times.
    jobs: Vec<(Job, Instant)>,
    evicted: Option<Eviction>,
    /// The start time of every job so far, and its length in bytes.
    sent: Vec<(Instant, u64)>,
}

impl Model {
    fn new(config: Config) -> Self {
        let lens: Vec<u32> = (0..100u32).map(|i| (32 << 10) + i * 4800).collect();
        Self {
            queue: UploadQueue::new(config.clone()),
            config,
            begin: start(),
            now: start(),
            index: index_of(&lens),
            next: 0,
            left: BTreeMap::new(),
            jobs: vec![],
            evicted: None,
            sent: vec![],
        }
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
                    let (job, _) = self.jobs.swap_remove(n % self.jobs.len());
                    self.complete(&job);
                }
            }
            Op::Wait(millis) => self.wait(Duration::from_millis(millis)),
        }
        self.queue.check();
    }

    fn push(&mut self, peer: PeerKey, ranges: &[(u32, u32)]) {
        let key = TransferKey(self.next);
        self.next += 1;
        let ranges: Vec<_> = ranges.iter().map(|&(start, len)| ChunkRange { start, end: start + len }).collect();
        let is_possible = ranges.iter().all(|range| range.end <= self.index.len());
        let waiting = self.left.values().filter(|(of, _)| *of == peer).count();
        let is_within_bounds =
            waiting < self.config.max_transfers_per_peer && self.left.len() < self.config.max_transfers;
        let pushed = self.queue.push(self.now, peer, key, self.index.clone(), ranges.clone());
        assert_eq!(pushed.is_ok(), is_possible && is_within_bounds);
        if pushed.is_ok() {
            self.left.insert(key, (peer, ranges.iter().flat_map(ChunkRange::iter).collect()));
        }
    }

    fn pop(&mut self) -> bool {
        let Some(job) = self.queue.pop(self.now) else { return false };
        let of_peer = self.jobs.iter().filter(|(other, _)| other.peer == job.peer).count();
        assert!(self.jobs.len() < self.config.max_jobs && of_peer < self.config.max_jobs_per_peer);
        let (peer, left) = self.left.get_mut(&job.transfer).expect("only waiting transfers are sent");
        assert_eq!(*peer, job.peer);
        let run: Vec<_> = job.run.iter().collect();
        assert_eq!(left.drain(..run.len()).collect::<Vec<_>>(), run);
        assert_eq!(job.last, left.is_empty());
        if left.is_empty() {
            self.left.remove(&job.transfer);
        }
        let bytes = self.index.byte_range(job.run).map_or(0, |range| range.len());
        assert!(bytes == job.bytes && (run.len() == 1 || bytes <= self.config.max_job_bytes));
        self.sent.push((self.now, bytes));
        self.jobs.push((job, self.now));
        true
    }

    fn complete(&mut self, job: &Job) {
        self.queue.complete(self.now, job.id);
        if self.evicted.is_some_and(|evicted| evicted.job == job.id) {
            self.evicted = None;
        }
    }

    /// Returns whether a peer waits and may have a further job.
    fn waits(&self) -> bool {
        let of_peer = |peer: PeerKey| self.jobs.iter().filter(|(job, _)| job.peer == peer).count();
        self.left.values().any(|(peer, _)| of_peer(*peer) < self.config.max_jobs_per_peer)
    }

    /// Lets time pass, and calls the queue as a driver does. All jobs are taken at once, and again at each time that
    /// `poll_timeout` returns.
    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            while self.pop() {}
            self.evict();
            let at = self.queue.poll_timeout(self.now);
            let next = at.unwrap_or(until).clamp(self.now, until);
            // Just before its timeout, the queue returns neither a job nor an eviction.
            if let Some(before) = next.checked_sub(Duration::from_nanos(1)).filter(|before| *before > self.now) {
                assert_eq!(self.queue.pop(before), None);
                assert_eq!(self.queue.poll_eviction(before), None);
            }
            assert!(next > self.now || next == until, "the timeout is not in the future");
            self.now = next;
            if next == until {
                return;
            }
        }
    }

    fn evict(&mut self) {
        let Some(eviction) = self.queue.poll_eviction(self.now) else { return };
        assert!(self.evicted.is_none() && self.waits(), "one job is evicted at a time, and only if a peer waits");
        let (job, started) =
            self.jobs.iter().find(|(job, _)| job.id == eviction.job).expect("the evicted job is running");
        assert_eq!((job.peer, job.transfer), (eviction.peer, eviction.transfer));
        assert!(self.now - *started >= self.config.evict_after);
        let reserved = self.config.slots.min(self.config.max_jobs / 2);
        assert!(self.jobs.len() + reserved >= self.config.max_jobs, "no job is left to start");
        self.evicted = Some(eviction);
    }

    /// Asserts the rate limit for the interval between any two jobs. The bytes that are sent in the interval must not
    /// exceed one burst plus the bytes that the rate limit permits in this time.
    fn assert_rate_limit(&self, rate: u64, burst: u64) {
        for (first, (from, _)) in self.sent.iter().enumerate() {
            let mut bytes = 0;
            for (at, more) in &self.sent[first..] {
                bytes += more;
                let earned = (*at - *from).as_nanos() * u128::from(rate) / 1_000_000_000;
                assert!(u128::from(bytes) <= u128::from(burst) + earned, "{bytes} bytes in {:?}", *at - *from);
            }
        }
    }

    /// Serves all waiting transfers to the end.
    fn serve_all(&mut self) {
        while !self.left.is_empty() || !self.jobs.is_empty() {
            let was = (self.now, self.sent.len(), self.jobs.len());
            while self.pop() {}
            self.evict();
            if !self.jobs.is_empty() {
                self.apply(Op::Complete(0));
            } else if let Some(at) = self.queue.poll_timeout(self.now) {
                self.now = at;
            }
            assert_ne!(
                was,
                (self.now, self.sent.len(), self.jobs.len()),
                "neither time passes nor a job starts or ends"
            );
        }
    }
}

/// A limit on waiting bytes that is never reached in these tests.
const PLENTY: u64 = 8 << 30;

/// Returns a configuration with low limits on jobs and transfers, which are reached in these tests.
fn tight() -> Config {
    Config {
        max_jobs: 5,
        max_transfers_per_peer: 6,
        max_transfers: 15,
        slots: 5,
        min_waiting_bytes: PLENTY,
        max_waiting_bytes: PLENTY,
        ..Config::default()
    }
}

#[expect(clippy::disallowed_methods, reason = "a start time: an `Instant` cannot be made from a number")]
fn start() -> Instant {
    Instant::now()
}

fn index_of(lens: &[u32]) -> Arc<ArtifactIndex> {
    let digest = Digest::new([0; 32]);
    let chunks = lens.iter().map(|&len| ChunkEntry { digest, len }).collect();
    let params = ChunkerParams::new(1024, 32 << 10, MAX_CHUNK_LEN).unwrap();
    Arc::new(ArtifactIndex::new(params, HashAlgorithm::Blake3, digest, chunks).unwrap())
}

/// Returns the bytes that each peer has been sent after `jobs` jobs. `parallel` jobs run at a time and end in the order
/// in which they started. `wishes` states, for each peer, the length of the chunks that it requests and the number of
/// chunks in each of its requests. Each peer sends as many requests as the queue accepts.
fn shares(wishes: &[(u32, u32)], parallel: usize, slots: usize, jobs: usize) -> Vec<u64> {
    let config = Config {
        max_jobs: parallel,
        slots,
        max_transfers_per_peer: 4,
        min_waiting_bytes: PLENTY,
        max_waiting_bytes: PLENTY,
        ..Config::default()
    };
    let (mut queue, now) = (UploadQueue::new(config), start());
    let indexes: Vec<_> = wishes.iter().map(|&(len, _)| index_of(&vec![len; 1024])).collect();
    let mut next = 0;
    let mut sent = vec![0; wishes.len()];
    let mut running = VecDeque::new();
    for _ in 0..jobs {
        for (peer, &(_, range)) in wishes.iter().enumerate() {
            let (key, ranges) = (PeerKey(peer as u64), vec![ChunkRange { start: 0, end: range }]);
            while queue.push(now, key, TransferKey(next), indexes[peer].clone(), ranges.clone()).is_ok() {
                next += 1;
            }
        }
        while let Some(job) = queue.pop(now) {
            running.push_back(job);
        }
        let job = running.pop_front().unwrap();
        sent[job.peer.0 as usize] += job.bytes;
        queue.complete(now, job.id);
    }
    sent
}

/// The maximum difference, in bytes, between the totals that two peers may have been sent. A turn is 1 MiB. One peer
/// may have had one turn more than another. In addition, a peer may get 1 MiB ahead because it waits for rarer chunks.
const MOST_UNFAIR: u64 = 3 << 20;

proptest! {
    #[test]
    fn any_calls_keep_the_limits_and_send_every_transfer(ops in proptest::collection::vec(any_op(0), 1..300)) {
        let mut model = Model::new(tight());
        for op in ops {
            let expected = model.jobs.len() < model.config.max_jobs && model.waits();
            let jobs = model.jobs.len();
            let pops = matches!(op, Op::Pop);
            model.apply(op);
            let has_started = model.jobs.len() > jobs;
            prop_assert!(!pops || has_started == expected, "a job starts exactly if a peer waits and a job may start");
        }
        model.serve_all();
        prop_assert!(model.left.is_empty(), "every transfer is sent in the end");
    }

    #[test]
    fn the_limits_hold_with_few_slots_slow_peers_and_a_rate_limit(
        ops in proptest::collection::vec(any_op(4000), 1..300),
        slots in 1usize..4,
        max_jobs in 1usize..6,
        max_rate in proptest::option::of(50_000u64..20_000_000),
    ) {
        let evict_after = Duration::from_secs(5);
        let mut model = Model::new(Config { slots, max_jobs, max_rate, evict_after, ..tight() });
        for op in ops {
            model.apply(op);
            let with_jobs = model.jobs.iter().filter(|(_, started)| model.now - *started < model.config.slot_time);
            prop_assert!(with_jobs.count() <= model.config.max_jobs);
        }
        model.serve_all();
        if let Some(rate) = max_rate {
            model.assert_rate_limit(rate, (rate / 10).max(u64::from(MAX_CHUNK_LEN)));
            let total: u64 = model.sent.iter().map(|(_, bytes)| bytes).sum();
            let earned = (model.now - model.begin).as_nanos() * u128::from(rate) / 1_000_000_000;
            prop_assert!(u128::from(total) <= earned + u128::from((rate / 10).max(u64::from(MAX_CHUNK_LEN))));
        }
    }

    #[test]
    fn peers_get_equal_bytes_whatever_they_request(
        wishes in proptest::collection::vec((1024u32..=MAX_CHUNK_LEN, 1u32..200), 2..6)
    ) {
        let shares = shares(&wishes, 1, 1, 400);
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        prop_assert!(most - least <= MOST_UNFAIR, "bytes {:?} for wishes {:?}", shares, wishes);
    }

    #[test]
    fn peers_get_equal_bytes_with_few_slots(
        // With chunks of at least 256 KiB, two jobs at a time are enough for a peer to get its fair share.
        wishes in proptest::collection::vec((262144u32..=MAX_CHUNK_LEN, 1u32..200), 6..12),
        slots in 2usize..4,
    ) {
        let shares = shares(&wishes, 2 * slots, slots, 600);
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        prop_assert!(most - least <= MOST_UNFAIR, "bytes {:?} for wishes {:?} with {} slots", shares, wishes, slots);
    }
}

/// Serves 10,000 peers that wait at the same time, one job after the other.
#[test]
fn each_peer_of_a_crowd_is_served_before_any_is_served_twice() {
    const CROWD: u64 = 10_000;
    let config =
        Config { min_waiting_bytes: PLENTY, max_waiting_bytes: PLENTY, max_transfers: 20_000, ..Config::default() };
    let (mut queue, now, index) = (UploadQueue::new(config), start(), index_of(&[128 << 10; 8]));
    for peer in 0..CROWD {
        let ranges = vec![ChunkRange { start: 0, end: 1 }];
        for copy in 0..2 {
            let key = TransferKey(2 * peer + copy);
            queue.push(now, PeerKey(peer), key, index.clone(), ranges.clone()).unwrap();
        }
    }
    let mut served = BTreeMap::new();
    for turn in 0..2 * CROWD {
        let job = queue.pop(now).unwrap();
        let times = served.entry(job.peer).or_insert(0);
        assert_eq!(*times, turn / CROWD, "{} at turn {turn}", job.peer);
        *times += 1;
        queue.complete(now, job.id);
    }
    queue.check();
}

/// The second peer requests only the chunk that has been sent most often. So all other peers are served before the
/// second peer, but only until they are 1 MiB ahead.
#[test]
fn a_peer_that_waits_for_frequent_chunks_does_not_fall_far_behind() {
    let wishes = [(256 << 10, 4), (256 << 10, 1), (256 << 10, 4), (256 << 10, 3), (422_154, 5), (266_116, 8)];
    for jobs in [600, 6000] {
        let shares = shares(&wishes, 6, 3, jobs);
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        assert!(most - least <= MOST_UNFAIR, "{shares:?} after {jobs} jobs");
    }
}
