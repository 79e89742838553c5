use phase_core::index::ChunkEntry;
use phase_core::{ChunkerParams, Digest, HashAlgorithm};

use crate::upload::*;

const SECOND: Duration = Duration::from_secs(1);

/// A queue in which a job may take a second, and as much may wait as the test likes.
fn roomy() -> Config {
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

#[expect(clippy::disallowed_methods, reason = "some instant to begin at: an `Instant` cannot be made from a number")]
pub(super) fn start() -> Instant {
    Instant::now()
}

fn index(lens: &[u32]) -> Arc<ArtifactIndex> {
    index_of(0, lens)
}

/// The index of the artifact of that number.
fn index_of(number: u8, lens: &[u32]) -> Arc<ArtifactIndex> {
    let digest = Digest::new([number; 32]);
    let chunks = lens.iter().map(|&len| ChunkEntry { digest, len }).collect();
    Arc::new(ArtifactIndex::new(ChunkerParams::default(), HashAlgorithm::Blake3, digest, chunks).unwrap())
}

fn range(start: u32, end: u32) -> ChunkRange {
    ChunkRange::new(start, end).unwrap()
}

/// A queue, and what is asked of it at a time that only the test moves.
struct Bench {
    queue: UploadQueue,
    now: Instant,
    index: Arc<ArtifactIndex>,
    next: u64,
}

impl Bench {
    /// Everything that is asked for is of one artifact, whose chunks have 128 KiB.
    fn new(config: Config) -> Self {
        Self { queue: UploadQueue::new(config), now: start(), index: index(&[128 << 10; 512]), next: 0 }
    }

    /// Asks for so many chunks.
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

    /// Whose jobs can be had now.
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
    let (mut queue, now) = (UploadQueue::new(small()), start());
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
fn peers_share_by_bytes_whatever_they_ask_for() {
    let mut queue = UploadQueue::new(Config { max_jobs: 1, max_transfers_per_peer: 1000, ..small() });
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
fn who_comes_back_after_each_job_gets_no_more_and_no_less_than_who_stays() {
    let mut bench = Bench::new(Config { max_jobs: 1, max_job_bytes: 128 << 10, ..Config::default() });
    bench.ask(1, 512).unwrap();
    let mut sent = [0; 3];
    for _ in 0..300 {
        // Nothing of it waits, nor is anything under way, when it asks again.
        if bench.queue.peers.len() == 1 {
            bench.ask(2, 1).unwrap();
        }
        let job = bench.pop().unwrap();
        sent[job.peer.0 as usize] += 1;
        bench.complete(job.id);
    }
    assert!(sent[1] >= 140 && sent[2] >= 140, "{sent:?}");
}

#[test]
fn who_has_not_taken_its_turns_gets_one_of_them_back() {
    let mut bench = Bench::new(Config { max_jobs: 3, ..roomy() });
    bench.ask(1, 512).unwrap();
    let mut jobs: std::collections::VecDeque<_> = bench.pop_all().into();
    // Of another artifact: neither waits for what has been sent more often.
    bench.index = index_of(1, &[128 << 10; 512]);
    bench.ask(2, 512).unwrap();
    for _ in 0..100 {
        let job = bench.pop().unwrap();
        assert_eq!(job.peer, PeerKey(2));
        bench.complete(job.id);
    }
    // Two of three jobs at a time are all that it can have.
    let mut sent = [0; 3];
    for _ in 0..90 {
        let (_, job) = jobs.pop_front().unwrap();
        bench.complete(job);
        let begun = bench.pop_all();
        begun.iter().for_each(|(peer, _)| sent[*peer as usize] += 1);
        jobs.extend(begun);
    }
    assert!(sent[1] > sent[2] && sent[1] <= sent[2] + 10, "{sent:?}: a turn is 8 jobs");
}

#[test]
fn what_nobody_has_got_yet_goes_first() {
    let mut queue = UploadQueue::new(Config { max_jobs: 1, ..small() });
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
fn too_much_is_refused_with_busy_and_nonsense_with_malformed() {
    let mut bench = Bench::new(small());
    for _ in 0..8 {
        bench.ask(1, 1).unwrap();
    }
    assert!(matches!(bench.ask(1, 1), Err(Refusal::Busy { .. })));
    bench.ask(2, 1).unwrap();
    assert_eq!(bench.ask(3, 513), Err(Refusal::Malformed));
    let (now, index) = (bench.now, bench.index.clone());
    assert_eq!(bench.queue.push(now, PeerKey(3), TransferKey(100), index, vec![]), Err(Refusal::Malformed));
}

#[test]
fn what_is_cancelled_or_lost_is_not_sent() {
    let mut bench = Bench::new(small());
    let (first, _) = (bench.ask(1, 4).unwrap(), bench.ask(2, 4).unwrap());
    let job = bench.pop().unwrap();
    assert_eq!(job.transfer, first);
    assert!(bench.queue.cancel(first));
    assert!(!bench.queue.cancel(first));
    bench.queue.peer_lost(PeerKey(2));
    bench.queue.check();
    assert_eq!(bench.pop(), None);
    bench.complete(job.id);
    assert!(bench.queue.peers.is_empty() && bench.queue.jobs.len() == 0);
}

#[test]
fn few_jobs_are_under_way_at_a_time_and_one_peer_alone_has_them_all() {
    let mut bench = Bench::new(Config { slots: 2, ..roomy() });
    bench.ask(1, 100).unwrap();
    let alone = bench.pop_all();
    assert_eq!(peers(&alone), [1, 1]);
    (2..=5).for_each(|peer| assert!(bench.ask(peer, 100).is_ok()));
    assert!(bench.pop_all().is_empty());
    // Each that ends makes room for one.
    for (_, job) in alone {
        bench.complete(job);
        assert_eq!(bench.pop_all().len(), 1);
    }
}

#[test]
fn who_stalls_holds_its_slot_for_a_moment_and_never_again() {
    let mut bench = Bench::new(Config { slots: 4, ..roomy() });
    (1..=2).for_each(|stalled| assert!(bench.ask(stalled, 100).is_ok()));
    let stalled = bench.pop_all();
    // The second one of the first brings what nobody has been sent.
    assert_eq!(peers(&stalled), [1, 1, 2, 2]);
    bench.ask(3, 3).unwrap();
    bench.now += SECOND - Duration::from_nanos(1);
    assert!(bench.pop_all().is_empty());
    assert_eq!(bench.queue.poll_timeout(bench.now), Some(bench.now + Duration::from_nanos(1)));
    bench.now += Duration::from_nanos(1);
    let quick = bench.pop_all();
    assert_eq!(peers(&quick), [3, 3]);
    // Once it has taken in what it had, it gets one job, and no slot for it.
    stalled.iter().filter(|(peer, _)| *peer == 1).for_each(|(_, job)| bench.complete(*job));
    assert_eq!((peers(&bench.pop_all()), bench.queue.slots), (vec![1], 2));
    // That is quick, so it is like everybody else.
    let job = *bench.queue.jobs.check().keys().next().unwrap();
    assert_eq!(job, PeerKey(1));
    quick.iter().for_each(|(_, job)| bench.complete(*job));
    assert_eq!(peers(&bench.pop_all()), [3]);
}

#[test]
fn who_has_been_quick_again_has_a_slot_again() {
    let mut bench = Bench::new(Config { slots: 2, ..roomy() });
    bench.ask(1, 100).unwrap();
    let late = bench.pop_all();
    bench.now += 2 * SECOND;
    late.iter().for_each(|(_, job)| bench.complete(*job));
    let quick = bench.pop_all();
    assert_eq!((quick.len(), bench.queue.slots), (1, 0));
    bench.complete(quick[0].1);
    assert_eq!((bench.pop_all().len(), bench.queue.slots), (2, 2));
}

#[test]
fn slow_peers_leave_places_to_the_others() {
    let mut bench = Bench::new(Config { max_jobs: 8, slots: 2, max_slot_time: SECOND, ..roomy() });
    // Everybody is late once.
    for peer in 1..=20 {
        bench.ask(peer, 100).unwrap();
        let jobs = bench.pop_all();
        bench.now += SECOND;
        jobs.iter().for_each(|(_, job)| bench.complete(*job));
    }
    bench.pop_all();
    assert_eq!(bench.queue.jobs.len(), 6, "two places are left");
    bench.ask(50, 100).unwrap();
    assert_eq!(peers(&bench.pop_all()), [50, 50]);
}

#[test]
fn where_everything_is_slow_nobody_is() {
    // At 1 MiB/s a chunk for each of 16 takes 2 s.
    let mut bench = Bench::new(roomy());
    (0..100).for_each(|peer| assert!(bench.ask(peer, 50).is_ok()));
    let mut jobs = std::collections::VecDeque::new();
    for turn in 0..400 {
        jobs.extend(bench.pop_all());
        assert!(turn < 50 || jobs.len() == 16, "{} are under way", jobs.len());
        bench.now += SECOND / 8;
        let (_, oldest) = jobs.pop_front().unwrap();
        bench.complete(oldest);
    }
}

#[test]
fn the_oldest_job_is_given_up_when_others_need_its_place() {
    let config = Config { max_jobs: 2, slots: 2, max_job_bytes: 128 << 10, ..Config::default() };
    let mut bench = Bench::new(config);
    let oldest = bench.ask(1, 1).unwrap();
    let first = bench.pop_all();
    bench.now += SECOND / 2;
    bench.ask(2, 1).unwrap();
    bench.pop_all();
    bench.now += 20 * SECOND;
    assert_eq!(bench.evict(), None, "nobody waits");
    assert_eq!(bench.queue.poll_timeout(bench.now), None);
    bench.now -= 19 * SECOND;
    bench.ask(3, 1).unwrap();
    assert_eq!((bench.pop(), bench.evict()), (None, None), "not yet");
    let due = bench.now + SECOND * 27 / 2;
    bench.now = due - Duration::from_nanos(1);
    assert_eq!(bench.evict(), None);
    assert!(bench.queue.poll_timeout(bench.now).is_some_and(|at| at <= due));
    bench.now = due;
    let eviction = Eviction { job: first[0].1, transfer: oldest, peer: PeerKey(1) };
    assert_eq!((bench.evict(), bench.evict()), (Some(eviction), None), "once");
    assert_eq!(bench.pop(), None, "the place is free when the job is over");
    bench.complete(first[0].1);
    assert_eq!(peers(&bench.pop_all()), [3]);
    assert_eq!(bench.evict(), None, "nobody waits any more");
}

#[test]
fn the_starved_go_first_and_who_has_waited_longest_before_them() {
    let mut bench = Bench::new(Config { max_jobs: 1, ..roomy() });
    bench.ask(1, 1).unwrap();
    let job = bench.pop().unwrap();
    // By bytes the last one would be first: it asks for less.
    let begin = bench.now;
    bench.ask(2, 8).unwrap();
    bench.now += SECOND;
    bench.ask(3, 8).unwrap();
    bench.now += SECOND;
    bench.ask(4, 1).unwrap();
    bench.now = begin + 10 * SECOND;
    bench.complete(job.id);
    let mut served = Vec::new();
    for seconds in [10, 11, 11] {
        bench.now = begin + seconds * SECOND;
        let job = bench.pop().unwrap();
        served.push(job.peer.0);
        bench.complete(job.id);
    }
    // Whoever has got something has waited only since then. The last one is not starved yet, and asks for what all were sent.
    assert_eq!(served, [2, 3, 2]);
}

#[test]
fn who_is_about_to_starve_is_told_of_in_time() {
    let config = Config { slots: 1, slot_time: 60 * SECOND, max_slot_time: 60 * SECOND, ..roomy() };
    let mut bench = Bench::new(config);
    bench.ask(1, 1).unwrap();
    let job = bench.pop().unwrap();
    bench.ask(1, 100).unwrap();
    // It asks for less and would be the next one.
    bench.ask(2, 1).unwrap();
    assert_eq!(bench.pop(), None);
    let at = bench.now + 10 * SECOND;
    assert_eq!(bench.queue.poll_timeout(bench.now), Some(at));
    bench.now = at;
    bench.complete(job.id);
    assert_eq!(bench.pop().map(|next| next.peer), Some(job.peer));
}

#[test]
fn a_cap_holds_from_the_first_burst_on_and_says_when_there_is_more() {
    const RATE: u64 = 1 << 20;
    let mut bench = Bench::new(Config { max_rate: Some(RATE), ..Config::default() });
    (0..4).for_each(|peer| assert!(bench.ask(peer, 512).is_ok()));
    let (begin, mut sent) = (bench.now, 0);
    while bench.now < begin + 60 * SECOND {
        match bench.pop() {
            Some(job) => {
                sent += job.bytes;
                bench.complete(job.id);
            }
            None => {
                let at = bench.queue.poll_timeout(bench.now).unwrap();
                assert!(at > bench.now);
                bench.now = at;
            }
        }
        let earned = (bench.now - begin).as_nanos() * u128::from(RATE) / 1_000_000_000;
        assert!(u128::from(sent) <= earned + (1 << 20), "{sent} when {earned} were allowed");
    }
    assert!(sent >= 60 * RATE, "{sent}: what is allowed is sent");
}

#[test]
fn the_time_to_wait_is_that_of_a_turn_of_everybody_in_line() {
    let config = Config { max_jobs: 1, max_waiting_bytes: 8 << 20, max_retry: 3 * SECOND, ..Config::default() };
    let mut bench = Bench::new(config);
    bench.ask(0, 512).unwrap();
    // 1 MiB/s.
    for _ in 0..20 {
        let job = bench.pop().unwrap();
        bench.now += SECOND;
        bench.complete(job.id);
    }
    // One turn waits. That is 1 MiB of much more.
    assert_eq!(retry_ms(bench.queue.busy()), 1000);
    bench.ask(1, 8).unwrap();
    assert_eq!(retry_ms(bench.queue.busy()), 2000);
    (2..6).for_each(|peer| assert!(bench.ask(peer, 8).is_ok()));
    assert_eq!(retry_ms(bench.queue.busy()), 3000, "never longer than that");
    bench.queue.peer_lost(PeerKey(0));
    (1..6).for_each(|peer| bench.queue.peer_lost(PeerKey(peer)));
    assert_eq!(retry_ms(bench.queue.busy()), 100, "never shorter than that");
}

#[test]
fn where_half_of_what_may_wait_does_each_has_one_transfer_and_nobody_more_than_all() {
    let mut bench = Bench::new(Config { max_waiting_bytes: 4 << 20, ..Config::default() });
    // However much one asks for, it is one turn that others wait.
    (0..3).for_each(|_| assert!(bench.ask(0, 512).is_ok()));
    bench.ask(1, 8).unwrap();
    assert!(bench.ask(0, 8).is_err() && bench.ask(1, 8).is_err());
    bench.ask(2, 8).unwrap();
    bench.ask(3, 8).unwrap();
    assert!(bench.ask(4, 8).is_err());
    bench.queue.peer_lost(PeerKey(2));
    bench.ask(4, 8).unwrap();
}
