use phase_core::index::ChunkEntry;
use phase_core::{ChunkerParams, Digest, HashAlgorithm};

use crate::upload::*;

const SECOND: Duration = Duration::from_secs(1);

/// Returns a configuration with a slot time of one second, and with a limit on waiting bytes that no test reaches.
fn large_bounds() -> Config {
    let plenty = 8 << 30;
    Config {
        slots: 16,
        slot_time: SECOND,
        min_waiting_bytes: plenty,
        max_waiting_bytes: plenty,
        max_job_bytes: 128 << 10,
        ..Config::default()
    }
}

#[expect(clippy::disallowed_methods, reason = "a start time: an `Instant` cannot be made from a number")]
pub(super) fn start() -> Instant {
    Instant::now()
}

fn index(lens: &[u32]) -> Arc<ArtifactIndex> {
    index_of(0, lens)
}

/// Returns the index of an artifact. `number` is part of the artifact's digest, so different numbers give different
/// artifacts.
fn index_of(number: u8, lens: &[u32]) -> Arc<ArtifactIndex> {
    let digest = Digest::new([number; 32]);
    let chunks = lens.iter().map(|&len| ChunkEntry { digest, len }).collect();
    Arc::new(ArtifactIndex::new(ChunkerParams::default(), HashAlgorithm::Blake3, digest, chunks).unwrap())
}

fn range(start: u32, end: u32) -> ChunkRange {
    ChunkRange::new(start, end).unwrap()
}

/// An upload queue, and a clock that only the test advances. The invariants are checked after each call of the queue.
struct Rig {
    queue: UploadQueue,
    now: Instant,
    index: Arc<ArtifactIndex>,
    next: u64,
}

impl Rig {
    /// Creates an empty queue. All requests are for one artifact with 512 chunks of 128 KiB.
    fn new(config: Config) -> Self {
        Self { queue: UploadQueue::new(config), now: start(), index: index(&[128 << 10; 512]), next: 0 }
    }

    /// Requests the first `chunks` chunks of the artifact for a peer.
    fn ask(&mut self, peer: u64, chunks: u32) -> Result<TransferKey, Refusal> {
        let (key, index) = (TransferKey(self.next), self.index.clone());
        self.next += 1;
        let pushed = self.queue.push(self.now, PeerKey(peer), key, index, vec![range(0, chunks)]);
        self.queue.check();
        pushed.map(|()| key)
    }

    fn pop(&mut self) -> Option<Job> {
        let job = self.queue.pop(self.now);
        self.queue.check();
        job
    }

    /// Takes all jobs that can start now. Returns the peer and id of each.
    fn pop_all(&mut self) -> Vec<(u64, JobId)> {
        std::iter::from_fn(|| self.pop()).map(|job| (job.peer.0, job.id)).collect()
    }

    fn complete(&mut self, job: JobId) {
        self.queue.complete(self.now, job);
        self.queue.check();
    }

    fn evict(&mut self) -> Option<Eviction> {
        let eviction = self.queue.poll_eviction(self.now);
        self.queue.check();
        eviction
    }
}

fn peers(jobs: &[(u64, JobId)]) -> Vec<u64> {
    jobs.iter().map(|(peer, _)| *peer).collect()
}

fn retry_ms(refusal: Refusal) -> u32 {
    let Refusal::Busy { retry_after_ms } = refusal else { panic!("{refusal:?}") };
    retry_after_ms
}

fn small_bounds() -> Config {
    Config {
        max_jobs: 4,
        max_jobs_per_peer: 2,
        max_job_bytes: 256 << 10,
        max_transfers_per_peer: 8,
        ..Config::default()
    }
}

#[test]
fn a_transfer_is_cut_into_jobs_in_order_and_the_last_one_is_marked() {
    let (mut queue, now) = (UploadQueue::new(small_bounds()), start());
    let index = index(&[128 << 10; 5]);
    queue.push(now, PeerKey(1), TransferKey(1), index, vec![range(0, 3), range(4, 5)]).unwrap();
    let mut runs = Vec::new();
    while let Some(job) = queue.pop(now) {
        runs.push((job.run, job.last));
        queue.complete(now, job.id);
    }
    assert_eq!(runs, [(range(0, 2), false), (range(2, 3), false), (range(4, 5), true)]);
    assert!(queue.peers.is_empty() && queue.queue.is_empty() && queue.transfers.is_empty());
}

#[test]
fn peers_get_equal_bytes_whatever_the_sizes_of_their_requests() {
    let mut queue = UploadQueue::new(Config { max_jobs: 1, max_transfers_per_peer: 1000, ..small_bounds() });
    let now = start();
    let (large, tiny) = (index(&[512 << 10; 64]), index(&[32 << 10; 1000]));
    queue.push(now, PeerKey(1), TransferKey(0), large, vec![range(0, 64)]).unwrap();
    for position in 0..1000 {
        let one = vec![range(position, position + 1)];
        queue.push(now, PeerKey(2), TransferKey(1 + u64::from(position)), tiny.clone(), one).unwrap();
    }
    let mut sent = BTreeMap::new();
    for _ in 0..200 {
        let job = queue.pop(now).unwrap();
        *sent.entry(job.peer).or_insert(0) += job.bytes;
        queue.complete(now, job.id);
    }
    let (first, second) = (sent[&PeerKey(1)], sent[&PeerKey(2)]);
    assert!(first.abs_diff(second) <= 2 << 20, "{first} against {second}");
}

#[test]
fn a_peer_that_leaves_after_each_job_gets_as_much_as_one_that_stays() {
    let mut rig = Rig::new(Config { max_jobs: 1, max_job_bytes: 128 << 10, ..Config::default() });
    rig.ask(1, 512).unwrap();
    let mut sent = [0; 3];
    for _ in 0..300 {
        // Peer 2 has no waiting transfer and no running job when it sends its next request.
        if rig.queue.peers.len() == 1 {
            rig.ask(2, 1).unwrap();
        }
        let job = rig.pop().unwrap();
        sent[job.peer.0 as usize] += 1;
        rig.complete(job.id);
    }
    assert!(sent[1] >= 140 && sent[2] >= 140, "{sent:?}");
}

#[test]
fn a_peer_that_missed_turns_gets_only_one_turn_back() {
    let mut rig = Rig::new(Config { max_jobs: 3, ..large_bounds() });
    rig.ask(1, 512).unwrap();
    let mut jobs: std::collections::VecDeque<_> = rig.pop_all().into();
    // Peer 2 requests another artifact, so that neither peer waits for rarer chunks than the other.
    rig.index = index_of(1, &[128 << 10; 512]);
    rig.ask(2, 512).unwrap();
    for _ in 0..100 {
        let job = rig.pop().unwrap();
        assert_eq!(job.peer, PeerKey(2));
        rig.complete(job.id);
    }
    // Now both peers compete for the three jobs. Each peer can have at most two jobs at a time.
    let mut sent = [0; 3];
    for _ in 0..90 {
        let (_, job) = jobs.pop_front().unwrap();
        rig.complete(job);
        let begun = rig.pop_all();
        begun.iter().for_each(|(peer, _)| sent[*peer as usize] += 1);
        jobs.extend(begun);
    }
    assert!(sent[1] > sent[2] && sent[1] <= sent[2] + 10, "{sent:?}: one turn is 8 jobs");
}

#[test]
fn chunks_that_have_not_been_sent_to_any_peer_go_first() {
    let mut queue = UploadQueue::new(Config { max_jobs: 1, ..small_bounds() });
    let (index, now) = (index(&[128 << 10; 4]), start());
    let mut next = 0;
    let mut ask = |queue: &mut UploadQueue, peer, chunk| {
        next += 1;
        queue.push(now, PeerKey(peer), TransferKey(next), index.clone(), vec![range(chunk, chunk + 1)]).unwrap();
    };
    let send = |queue: &mut UploadQueue| {
        let job = queue.pop(now).unwrap();
        queue.complete(now, job.id);
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
fn excess_requests_are_refused_as_busy_and_invalid_ones_as_malformed() {
    let mut rig = Rig::new(small_bounds());
    for _ in 0..8 {
        rig.ask(1, 1).unwrap();
    }
    assert!(matches!(rig.ask(1, 1), Err(Refusal::Busy { .. })));
    rig.ask(2, 1).unwrap();
    assert_eq!(rig.ask(3, 513), Err(Refusal::Malformed));
    let (now, index) = (rig.now, rig.index.clone());
    assert_eq!(rig.queue.push(now, PeerKey(3), TransferKey(100), index, vec![]), Err(Refusal::Malformed));
}

#[test]
fn cancelled_transfers_and_transfers_of_a_lost_peer_are_not_sent() {
    let mut rig = Rig::new(small_bounds());
    let (first, _) = (rig.ask(1, 4).unwrap(), rig.ask(2, 4).unwrap());
    let job = rig.pop().unwrap();
    assert_eq!(job.transfer, first);
    assert!(rig.queue.cancel(first));
    assert!(!rig.queue.cancel(first));
    rig.queue.peer_lost(PeerKey(2));
    rig.queue.check();
    assert_eq!(rig.pop(), None);
    rig.complete(job.id);
    assert!(rig.queue.peers.is_empty() && rig.queue.jobs.len() == 0);
}

#[test]
fn no_more_jobs_than_slots_run_and_one_peer_may_have_all_slots() {
    let mut rig = Rig::new(Config { slots: 2, ..large_bounds() });
    rig.ask(1, 100).unwrap();
    let alone = rig.pop_all();
    assert_eq!(peers(&alone), [1, 1]);
    (2..=5).for_each(|peer| assert!(rig.ask(peer, 100).is_ok()));
    assert!(rig.pop_all().is_empty());
    // Each job that ends frees a slot for another job.
    for (_, job) in alone {
        rig.complete(job);
        assert_eq!(rig.pop_all().len(), 1);
    }
}

#[test]
fn a_peer_that_stalls_loses_its_slot_and_gets_none_for_further_jobs() {
    let mut rig = Rig::new(Config { slots: 4, ..large_bounds() });
    (1..=2).for_each(|stalled| assert!(rig.ask(stalled, 100).is_ok()));
    let stalled = rig.pop_all();
    // Peer 1 gets its second job before peer 2 gets a job, because the next chunk of peer 1 has not been sent to any
    // peer.
    assert_eq!(peers(&stalled), [1, 1, 2, 2]);
    rig.ask(3, 3).unwrap();
    rig.now += SECOND - Duration::from_nanos(1);
    assert!(rig.pop_all().is_empty());
    assert_eq!(rig.queue.poll_timeout(rig.now), Some(rig.now + Duration::from_nanos(1)));
    rig.now += Duration::from_nanos(1);
    let quick = rig.pop_all();
    assert_eq!(peers(&quick), [3, 3]);
    // When both jobs of peer 1 are complete, peer 1 gets one job outside the slots.
    stalled.iter().filter(|(peer, _)| *peer == 1).for_each(|(_, job)| rig.complete(*job));
    assert_eq!((peers(&rig.pop_all()), rig.queue.used_slots), (vec![1], 2));
    // While this job of peer 1 is running, the free slots go to peer 3.
    let with_job = *rig.queue.jobs.check().keys().next().unwrap();
    assert_eq!(with_job, PeerKey(1));
    quick.iter().for_each(|(_, job)| rig.complete(*job));
    assert_eq!(peers(&rig.pop_all()), [3]);
}

#[test]
fn a_slow_peer_that_completes_a_job_quickly_gets_slots_again() {
    let mut rig = Rig::new(Config { slots: 2, ..large_bounds() });
    rig.ask(1, 100).unwrap();
    let late = rig.pop_all();
    rig.now += 2 * SECOND;
    late.iter().for_each(|(_, job)| rig.complete(*job));
    let quick = rig.pop_all();
    assert_eq!((quick.len(), rig.queue.used_slots), (1, 0));
    rig.complete(quick[0].1);
    assert_eq!((rig.pop_all().len(), rig.queue.used_slots), (2, 2));
}

#[test]
fn slow_peers_leave_jobs_to_quick_peers() {
    let mut rig = Rig::new(Config { max_jobs: 8, slots: 2, max_slot_time: SECOND, ..large_bounds() });
    // Each of the 20 peers takes too long for a job once, so that all of them are slow.
    for peer in 1..=20 {
        rig.ask(peer, 100).unwrap();
        let jobs = rig.pop_all();
        rig.now += SECOND;
        jobs.iter().for_each(|(_, job)| rig.complete(*job));
    }
    rig.pop_all();
    assert_eq!(rig.queue.jobs.len(), 6, "two jobs are left to quick peers");
    rig.ask(50, 100).unwrap();
    assert_eq!(peers(&rig.pop_all()), [50, 50]);
}

#[test]
fn no_peer_counts_as_slow_when_the_uplink_is_slow() {
    // At 1 MiB/s, it takes 2 s to send one chunk to each of 16 peers. This is longer than the configured slot time, but
    // no peer becomes slow.
    let mut rig = Rig::new(large_bounds());
    (0..100).for_each(|peer| assert!(rig.ask(peer, 50).is_ok()));
    let mut jobs = std::collections::VecDeque::new();
    for turn in 0..400 {
        jobs.extend(rig.pop_all());
        assert!(turn < 50 || jobs.len() == 16, "{} jobs are running", jobs.len());
        rig.now += SECOND / 8;
        let (_, oldest) = jobs.pop_front().unwrap();
        rig.complete(oldest);
    }
}

#[test]
fn the_oldest_job_is_evicted_when_a_peer_waits_for_its_end() {
    let config = Config { max_jobs: 2, slots: 2, max_job_bytes: 128 << 10, ..Config::default() };
    let mut rig = Rig::new(config);
    let oldest = rig.ask(1, 1).unwrap();
    let first = rig.pop_all();
    rig.now += SECOND / 2;
    rig.ask(2, 1).unwrap();
    rig.pop_all();
    rig.now += 20 * SECOND;
    assert_eq!(rig.evict(), None, "no peer waits");
    assert_eq!(rig.queue.poll_timeout(rig.now), None);
    rig.now -= 19 * SECOND;
    rig.ask(3, 1).unwrap();
    assert_eq!((rig.pop(), rig.evict()), (None, None), "too early");
    let due = rig.now + SECOND * 27 / 2;
    rig.now = due - Duration::from_nanos(1);
    assert_eq!(rig.evict(), None);
    assert!(rig.queue.poll_timeout(rig.now).is_some_and(|at| at <= due));
    rig.now = due;
    let eviction = Eviction { job: first[0].1, transfer: oldest, peer: PeerKey(1) };
    assert_eq!((rig.evict(), rig.evict()), (Some(eviction), None), "a job is evicted only once");
    assert_eq!(rig.pop(), None, "the next job starts when the evicted one is complete");
    rig.complete(first[0].1);
    assert_eq!(peers(&rig.pop_all()), [3]);
    assert_eq!(rig.evict(), None, "no peer waits");
}

#[test]
fn starved_peers_are_served_first_in_the_order_of_their_waits() {
    let mut rig = Rig::new(Config { max_jobs: 1, ..large_bounds() });
    rig.ask(1, 1).unwrap();
    let job = rig.pop().unwrap();
    // Without the rule for starved peers, peer 4 would be served first, because it requests the fewest bytes.
    let begin = rig.now;
    rig.ask(2, 8).unwrap();
    rig.now += SECOND;
    rig.ask(3, 8).unwrap();
    rig.now += SECOND;
    rig.ask(4, 1).unwrap();
    rig.now = begin + 10 * SECOND;
    rig.complete(job.id);
    let mut served = Vec::new();
    for seconds in [10, 11, 11] {
        rig.now = begin + seconds * SECOND;
        let job = rig.pop().unwrap();
        served.push(job.peer.0);
        rig.complete(job.id);
    }
    // At the third turn no peer is starved, because each job restarts the wait of its peer. Peer 2 is next, because its
    // next chunk has not been sent to any peer. The chunk of peer 4 has been sent to three peers.
    assert_eq!(served, [2, 3, 2]);
}

#[test]
fn the_timeout_is_early_enough_for_a_peer_that_is_about_to_starve() {
    let config = Config { slots: 1, slot_time: 60 * SECOND, max_slot_time: 60 * SECOND, ..large_bounds() };
    let mut rig = Rig::new(config);
    rig.ask(1, 1).unwrap();
    let job = rig.pop().unwrap();
    rig.ask(1, 100).unwrap();
    // Without the rule for starved peers, peer 2 would be served next, because it requests fewer bytes.
    rig.ask(2, 1).unwrap();
    assert_eq!(rig.pop(), None);
    let at = rig.now + 10 * SECOND;
    assert_eq!(rig.queue.poll_timeout(rig.now), Some(at));
    rig.now = at;
    rig.complete(job.id);
    assert_eq!(rig.pop().map(|next| next.peer), Some(job.peer));
}

#[test]
fn uploads_use_the_whole_rate_limit_and_exceed_it_by_at_most_one_burst() {
    const RATE: u64 = 1 << 20;
    let mut rig = Rig::new(Config { max_rate: Some(RATE), ..Config::default() });
    (0..4).for_each(|peer| assert!(rig.ask(peer, 512).is_ok()));
    let (begin, mut sent) = (rig.now, 0);
    while rig.now < begin + 60 * SECOND {
        match rig.pop() {
            Some(job) => {
                sent += job.bytes;
                rig.complete(job.id);
            }
            None => {
                let at = rig.queue.poll_timeout(rig.now).unwrap();
                assert!(at > rig.now);
                rig.now = at;
            }
        }
        let earned = (rig.now - begin).as_nanos() * u128::from(RATE) / 1_000_000_000;
        assert!(u128::from(sent) <= earned + (1 << 20), "{sent} bytes were sent and {earned} permitted");
    }
    assert!(sent >= 60 * RATE, "only {sent} bytes were sent");
}

#[test]
fn the_retry_time_covers_one_turn_of_each_waiting_peer() {
    let config = Config { max_jobs: 1, max_waiting_bytes: 8 << 20, max_retry: 3 * SECOND, ..Config::default() };
    let mut rig = Rig::new(config);
    rig.ask(0, 512).unwrap();
    // Each job of 1 MiB takes 1 s, so the measured rate is 1 MiB/s.
    for _ in 0..20 {
        let job = rig.pop().unwrap();
        rig.now += SECOND;
        rig.complete(job.id);
    }
    // Peer 0 waits for much more than 1 MiB, but only one turn of 1 MiB counts.
    assert_eq!(retry_ms(rig.queue.busy()), 1000);
    rig.ask(1, 8).unwrap();
    assert_eq!(retry_ms(rig.queue.busy()), 2000);
    (2..6).for_each(|peer| assert!(rig.ask(peer, 8).is_ok()));
    assert_eq!(retry_ms(rig.queue.busy()), 3000, "not longer than `max_retry`");
    rig.queue.peer_lost(PeerKey(0));
    (1..6).for_each(|peer| rig.queue.peer_lost(PeerKey(peer)));
    assert_eq!(retry_ms(rig.queue.busy()), 100, "not shorter than `min_retry`");
}

#[test]
fn beyond_half_of_the_limit_each_peer_may_have_one_waiting_transfer() {
    let mut rig = Rig::new(Config { max_waiting_bytes: 4 << 20, ..Config::default() });
    // Only one turn of peer 0 counts, however many bytes the peer requests.
    (0..3).for_each(|_| assert!(rig.ask(0, 512).is_ok()));
    rig.ask(1, 8).unwrap();
    assert!(rig.ask(0, 8).is_err() && rig.ask(1, 8).is_err());
    rig.ask(2, 8).unwrap();
    rig.ask(3, 8).unwrap();
    assert!(rig.ask(4, 8).is_err());
    rig.queue.peer_lost(PeerKey(2));
    rig.ask(4, 8).unwrap();
}
