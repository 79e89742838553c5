//! Tests of the guarantees that the scheduler gives to a fetch, one test for each guarantee.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use phase_core::index::ChunkEntry;
use phase_core::{ArtifactIndex, ChunkIndex, ChunkRange, ChunkSet, ChunkerParams, Digest, HashAlgorithm};
use phase_protocol::PeerKey;
use phase_protocol::scheduler::{
    Action, Arrival, ArtifactSlot, ChunkResult, Config, End, Event, HaveUpdate, RequestId, Scheduler, Sequential,
};
use phase_protocol::wire::Refusal;

const SLOT: ArtifactSlot = ArtifactSlot(0);
const CHUNK: u32 = 128 << 10;
const A: PeerKey = PeerKey(1);
const B: PeerKey = PeerKey(2);
const C: PeerKey = PeerKey(3);

/// A scheduler, a clock that only the test advances, and the actions and events that the scheduler has returned.
struct Rig {
    scheduler: Scheduler,
    now: Instant,
    /// The open requests, with the chunks that have not been delivered.
    asked: BTreeMap<RequestId, (PeerKey, ArtifactSlot, Vec<ChunkIndex>)>,
    cancelled: Vec<RequestId>,
    banned: Vec<PeerKey>,
    dropped: Vec<PeerKey>,
    events: Vec<Event>,
}

impl Rig {
    fn new(scheduler: Scheduler) -> Self {
        let now = start();
        Self {
            scheduler,
            now,
            asked: BTreeMap::new(),
            cancelled: vec![],
            banned: vec![],
            dropped: vec![],
            events: vec![],
        }
    }

    /// Creates a rig with one artifact and the given peers. All chunks are missing, and each peer has all of them.
    fn with_peers(chunks: u32, peers: &[PeerKey]) -> Self {
        let mut rig = Self::new(Scheduler::new(Config::default(), 1));
        rig.scheduler.handle_artifact(SLOT, index(chunks), &ChunkSet::new(chunks), 0);
        for peer in peers {
            rig.connect(*peer, HaveUpdate::Full);
        }
        rig.drain();
        rig
    }

    fn connect(&mut self, peer: PeerKey, have: HaveUpdate) {
        self.scheduler.handle_peer(self.now, peer);
        self.scheduler.handle_have(peer, SLOT, have);
    }

    fn drain(&mut self) {
        while let Some(action) = self.scheduler.poll_action(self.now) {
            match action {
                Action::Request { id, peer, slot, ranges } => {
                    let chunks = ranges.iter().flat_map(ChunkRange::iter).collect();
                    self.asked.insert(id, (peer, slot, chunks));
                }
                Action::Cancel { id, .. } => {
                    self.asked.remove(&id);
                    self.cancelled.push(id);
                }
                Action::Drop { peer } => self.dropped.push(peer),
                Action::Ban { peer, .. } => {
                    self.asked.retain(|_, (of, ..)| *of != peer);
                    self.banned.push(peer);
                }
            }
        }
        self.events.extend(std::iter::from_fn(|| self.scheduler.poll_event()));
        // The check inspects every chunk, so it would be too slow after each call.
        if self.events.len().is_multiple_of(50) {
            self.scheduler.check();
        }
    }

    /// Returns the chunks that are requested from a peer and not delivered yet.
    fn chunks_of(&self, peer: PeerKey) -> BTreeSet<ChunkIndex> {
        self.asked.values().filter(|(of, ..)| *of == peer).flat_map(|(.., chunks)| chunks.clone()).collect()
    }

    /// Returns the length, in bytes, of the chunks that are requested from a peer and not delivered yet.
    fn bytes_of(&self, peer: PeerKey) -> u64 {
        self.chunks_of(peer).len() as u64 * u64::from(CHUNK)
    }

    /// Lets a peer answer its oldest request with one chunk, and with `Done` after the last chunk. Returns whether
    /// there was a request.
    fn answer(&mut self, peer: PeerKey, result: ChunkResult) -> bool {
        let Some((&id, (_, slot, chunks))) = self.asked.iter_mut().find(|(_, (of, ..))| *of == peer) else {
            return false;
        };
        let (slot, chunk) = (*slot, chunks.remove(0));
        let is_over = chunks.is_empty();
        assert_eq!(self.scheduler.handle_arrival(peer, id, chunk), Arrival::Owed(slot));
        self.scheduler.handle_chunk(self.now, peer, id, slot, chunk, result);
        if is_over {
            self.asked.remove(&id);
            self.scheduler.handle_end(self.now, peer, id, End::Done);
        }
        self.drain();
        true
    }

    /// Lets peers deliver chunks for some time, each at its own rate in chunks per second.
    fn run(&mut self, peers: &[(PeerKey, u32)], time: Duration) {
        let end = self.now + time;
        let mut next: Vec<_> = peers.iter().map(|(_, rate)| self.now + Duration::from_secs(1) / *rate).collect();
        while let Some((turn, at)) =
            next.iter().copied().enumerate().min_by_key(|(_, at)| *at).filter(|(_, at)| *at <= end)
        {
            self.wake_until(at);
            let (peer, rate) = peers[turn];
            self.answer(peer, ChunkResult::Verified);
            next[turn] = at + Duration::from_secs(1) / rate;
        }
        self.wake_until(end);
    }

    /// Lets time pass until `end`, and calls `handle_timeout` at each time that `poll_timeout` returns.
    fn wake_until(&mut self, end: Instant) {
        while let Some(at) = self.scheduler.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.scheduler.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
        self.drain();
    }

    fn is_complete(&self) -> bool {
        self.events.contains(&Event::Complete)
    }
}

fn index(chunks: u32) -> Arc<ArtifactIndex> {
    let digest = Digest::new([0; 32]);
    let chunks = vec![ChunkEntry { digest, len: CHUNK }; chunks as usize];
    Arc::new(ArtifactIndex::new(ChunkerParams::default(), HashAlgorithm::Blake3, digest, chunks).unwrap())
}

fn set(len: u32, chunks: impl IntoIterator<Item = u32>) -> ChunkSet {
    let mut set = ChunkSet::new(len);
    chunks.into_iter().for_each(|chunk| {
        set.insert(ChunkIndex(chunk));
    });
    set
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[expect(clippy::disallowed_methods, reason = "a start time: an `Instant` cannot be made from a number")]
fn start() -> Instant {
    Instant::now()
}

#[test]
fn several_peers_are_used_at_once_for_different_chunks() {
    let rig = Rig::with_peers(100, &[A, B, C]);
    let asked = [A, B, C].map(|peer| rig.chunks_of(peer));
    assert!(asked.iter().all(|chunks| !chunks.is_empty()));
    let all: BTreeSet<_> = asked.iter().flatten().collect();
    assert_eq!(all.len(), asked.iter().map(BTreeSet::len).sum::<usize>(), "{asked:?}");
}

#[test]
fn a_fast_peer_gets_a_large_window_and_a_slow_peer_a_small_one() {
    let mut rig = Rig::with_peers(6000, &[A, B]);
    rig.run(&[(A, 2000), (B, 4)], Duration::from_secs(2));
    // Peer `A` delivers 2000 chunks per second, which are 250 MiB/s. Its horizon is at least 250 ms. The bytes that it
    // delivers in this time exceed the maximum window, so its window is the maximum.
    let largest = Config::default().max_window;
    assert!(rig.bytes_of(A) > largest - (1 << 20) && rig.bytes_of(A) <= largest, "{}", rig.bytes_of(A));
    assert!(rig.bytes_of(B) <= 512 << 10, "{}", rig.bytes_of(B));
    let longest = rig.asked.values().map(|(.., chunks)| chunks.len()).max().unwrap();
    assert_eq!(longest as u64 * u64::from(CHUNK), Config::default().max_request);
    assert!(
        rig.asked.values().all(|(of, _, chunks)| *of == A || chunks.len() == 1),
        "a peer with a small window is asked for single chunks"
    );
}

#[test]
fn a_new_peer_is_asked_although_the_limit_for_all_peers_is_reached() {
    let mut rig = Rig::new(Scheduler::new(Config { max_inflight: 8 << 20, ..Config::default() }, 1));
    rig.scheduler.handle_artifact(SLOT, index(4000), &ChunkSet::new(4000), 0);
    rig.connect(A, HaveUpdate::Full);
    rig.drain();
    rig.run(&[(A, 1000)], Duration::from_secs(2));
    assert!(rig.bytes_of(A) <= 8 << 20 && rig.bytes_of(A) >= 7 << 20, "{}", rig.bytes_of(A));
    rig.connect(B, HaveUpdate::Full);
    rig.drain();
    assert!(!rig.chunks_of(B).is_empty());
}

#[test]
fn every_peer_has_a_request_even_if_the_limit_is_very_low() {
    let mut rig = Rig::new(Scheduler::new(Config { max_inflight: 1, ..Config::default() }, 1));
    rig.scheduler.handle_artifact(SLOT, index(20), &ChunkSet::new(20), 0);
    for peer in [A, B, C] {
        rig.connect(peer, HaveUpdate::Full);
    }
    rig.drain();
    assert!([A, B, C].iter().all(|peer| rig.chunks_of(*peer).len() == 1));
}

#[test]
fn the_chunks_of_a_lost_peer_are_requested_from_another_and_counted() {
    let mut rig = Rig::with_peers(100, &[A, B]);
    let lost = rig.chunks_of(A);
    rig.scheduler.handle_peer_lost(A);
    rig.asked.retain(|_, (of, ..)| *of != A);
    rig.drain();
    rig.run(&[(B, 100)], Duration::from_secs(2));
    assert!(rig.is_complete());
    assert_eq!(rig.scheduler.stats().reassigned, lost.len() as u64);
}

#[test]
fn the_chunks_of_a_stalled_peer_are_requested_from_another_in_time() {
    let mut rig = Rig::with_peers(400, &[A, B]);
    rig.run(&[(A, 50), (B, 50)], Duration::from_secs(1));
    let stuck = rig.chunks_of(A);
    assert!(!stuck.is_empty());
    // From here on, only peer `B` answers. The chunks of peer `A` must be requested from peer `B` after the timeout of
    // peer `A`, which is at least 2 s.
    rig.run(&[(B, 50)], ms(1500));
    assert_eq!(rig.chunks_of(A), stuck, "the requests to A are given up too early");
    rig.run(&[(B, 50)], Duration::from_secs(14));
    assert!(rig.is_complete(), "{} chunks are missing", 400 - rig.events.len());
    // The number may be higher, because further requests may have been sent to peer `A` in the meantime.
    assert!(rig.scheduler.stats().reassigned >= stuck.len() as u64);
}

#[test]
fn a_peer_that_stalls_repeatedly_is_asked_less_and_less_often() {
    let mut rig = Rig::with_peers(2000, &[A]);
    let mut stalls = Vec::new();
    let begin = rig.now;
    while rig.now - begin < Duration::from_secs(200) {
        let before = rig.scheduler.stats().stalls;
        rig.wake_until(rig.now + ms(250));
        if rig.scheduler.stats().stalls > before {
            stalls.push(rig.now - begin);
        }
    }
    let gaps: Vec<_> = stalls.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.windows(2).all(|pair| pair[0] <= pair[1] + ms(500)), "{gaps:?}");
    assert!(gaps.last().unwrap() > &(gaps[0] * 3) && *gaps.last().unwrap() < Duration::from_secs(60), "{gaps:?}");
    // Each chunk that peer `A` delivers halves its penalty points, so that its next pause is as short as its first.
    rig.run(&[(A, 10)], Duration::from_secs(40));
    assert!(rig.events.len() > 50);
    let before = rig.scheduler.stats().stalls;
    rig.wake_until(rig.now + Duration::from_secs(10));
    assert!(rig.scheduler.stats().stalls > before + 1, "the peer is asked again soon");
}

#[test]
fn a_verified_chunk_counts_although_its_request_was_given_up() {
    let mut rig = Rig::with_peers(3, &[A]);
    let (id, (_, _, chunks)) = rig.asked.iter().next().map(|(id, asked)| (*id, asked.clone())).unwrap();
    rig.wake_until(rig.now + Duration::from_secs(6));
    assert!(rig.cancelled.contains(&id), "the request is given up");
    assert!(rig.scheduler.handle_chunk(rig.now, A, id, SLOT, chunks[0], ChunkResult::Verified));
    rig.drain();
    assert!(rig.events.contains(&Event::Verified { slot: SLOT, index: chunks[0], peer: A }));
}

#[test]
fn a_request_ends_when_all_chunks_that_arrived_for_it_are_processed() {
    let mut rig = Rig::with_peers(1, &[A]);
    let (id, chunk) = rig.asked.pop_first().map(|(id, (.., chunks))| (id, chunks[0])).unwrap();
    assert_eq!(rig.scheduler.handle_arrival(A, id, chunk), Arrival::Owed(SLOT));
    rig.scheduler.handle_end(rig.now, A, id, End::Done);
    rig.drain();
    assert!(rig.asked.is_empty(), "a chunk that has arrived is not requested again");
    assert!(rig.scheduler.handle_chunk(rig.now, A, id, SLOT, chunk, ChunkResult::Verified));
    rig.drain();
    assert!(rig.is_complete());
    assert_eq!(rig.scheduler.stats().reassigned, 0);
}

#[test]
fn a_delayed_end_makes_the_unsent_chunks_missing_again() {
    let mut rig = Rig::with_peers(1000, &[A]);
    rig.run(&[(A, 200)], Duration::from_secs(1));
    let (id, (_, _, chunks)) = rig.asked.iter().find(|(_, (.., chunks))| chunks.len() > 1).unwrap();
    let (id, chunks) = (*id, chunks.clone());
    assert_eq!(rig.scheduler.handle_arrival(A, id, chunks[0]), Arrival::Owed(SLOT));
    rig.scheduler.handle_end(rig.now, A, id, End::Done);
    assert_eq!(rig.scheduler.stats().reassigned, 0);
    rig.scheduler.handle_chunk(rig.now, A, id, SLOT, chunks[0], ChunkResult::Verified);
    assert_eq!(rig.scheduler.stats().reassigned, chunks.len() as u64 - 1);
}

#[test]
fn a_peer_owes_each_requested_chunk_once_and_no_other_chunk() {
    let mut rig = Rig::with_peers(100, &[A, B]);
    let (id, chunk) =
        rig.asked.iter().find(|(_, (of, ..))| *of == A).map(|(id, (.., chunks))| (*id, chunks[0])).unwrap();
    assert_eq!(rig.scheduler.handle_arrival(B, id, chunk), Arrival::NotOwed, "the request was sent to another peer");
    assert_eq!(
        rig.scheduler.handle_arrival(A, id, ChunkIndex(chunk.0 + 50)),
        Arrival::NotOwed,
        "the chunk is not in the request"
    );
    assert_eq!(
        rig.scheduler.handle_arrival(A, RequestId(id.0 + 4000), chunk),
        Arrival::NotOwed,
        "there is no such request"
    );
    assert_eq!(rig.scheduler.handle_arrival(A, id, chunk), Arrival::Owed(SLOT));
    assert_eq!(rig.scheduler.handle_arrival(A, id, chunk), Arrival::NotOwed, "the chunk has arrived before");
    rig.scheduler.handle_peer_lost(A);
    rig.connect(A, HaveUpdate::Full);
    assert_eq!(
        rig.scheduler.handle_arrival(A, id, chunk),
        Arrival::Late,
        "the request was sent before the peer disconnected"
    );
}

#[test]
fn chunks_of_a_request_that_was_given_up_are_owed_until_it_ends() {
    let mut rig = Rig::with_peers(3, &[A]);
    let (id, chunk) = rig.asked.iter().next().map(|(id, (.., chunks))| (*id, chunks[0])).unwrap();
    rig.wake_until(rig.now + Duration::from_secs(6));
    assert!(rig.cancelled.contains(&id), "the request is given up");
    assert_eq!(rig.scheduler.handle_arrival(A, id, chunk), Arrival::Owed(SLOT));
    rig.scheduler.handle_chunk(rig.now, A, id, SLOT, chunk, ChunkResult::Verified);
    rig.scheduler.handle_end(rig.now, A, id, End::Done);
    assert_eq!(rig.scheduler.handle_arrival(A, id, chunk), Arrival::Late);
}

#[test]
fn a_corrupt_chunk_bans_its_peer_and_is_fetched_from_another() {
    let mut rig = Rig::with_peers(50, &[A, B]);
    let mut of_a = rig.asked.iter().filter(|(_, (of, ..))| *of == A);
    let (before, chunk) = of_a.next_back().map(|(id, (.., chunks))| (*id, chunks[0])).unwrap();
    rig.answer(A, ChunkResult::Corrupt);
    assert_eq!(rig.banned, [A]);
    // Peer `A` sent another corrupt chunk before its ban. This chunk is processed only now.
    rig.scheduler.handle_chunk(rig.now, A, before, SLOT, chunk, ChunkResult::Corrupt);
    rig.drain();
    assert_eq!(rig.banned, [A], "A is banned once");
    rig.scheduler.handle_peer_lost(A);
    rig.connect(A, HaveUpdate::Full);
    rig.drain();
    assert!(rig.chunks_of(A).is_empty());
    rig.run(&[(B, 100)], Duration::from_secs(1));
    assert!(rig.is_complete());
}

#[test]
fn a_chunk_that_was_reported_as_unneeded_is_not_verified() {
    let mut rig = Rig::with_peers(1, &[A]);
    let (id, chunk) = rig.asked.pop_first().map(|(id, (.., chunks))| (id, chunks[0])).unwrap();
    assert_eq!(rig.scheduler.handle_arrival(A, id, chunk), Arrival::Owed(SLOT));
    assert!(!rig.scheduler.handle_chunk(rig.now, A, id, SLOT, chunk, ChunkResult::Unneeded));
    rig.scheduler.handle_end(rig.now, A, id, End::Done);
    rig.drain();
    assert!(!rig.is_complete() && !rig.events.iter().any(|event| matches!(event, Event::Verified { .. })));
    rig.connect(B, HaveUpdate::Full);
    rig.drain();
    assert_eq!(rig.chunks_of(B), BTreeSet::from([chunk]), "the chunk is requested from another peer");
}

#[test]
fn a_peer_cannot_end_a_request_that_was_sent_to_another_peer() {
    let mut rig = Rig::with_peers(1, &[A]);
    let (id, chunk) = rig.asked.pop_first().map(|(id, (.., chunks))| (id, chunks[0])).unwrap();
    rig.scheduler.handle_peer(rig.now, B);
    rig.scheduler.handle_end(rig.now, B, id, End::Done);
    assert_eq!(rig.scheduler.handle_arrival(A, id, chunk), Arrival::Owed(SLOT));
}

#[test]
fn a_corrupt_chunk_bans_a_peer_that_has_disconnected_too() {
    let mut rig = Rig::with_peers(10, &[A]);
    let (id, chunk) = rig.asked.iter().next().map(|(id, (.., chunks))| (*id, chunks[0])).unwrap();
    assert_eq!(rig.scheduler.handle_arrival(A, id, chunk), Arrival::Owed(SLOT));
    rig.scheduler.handle_peer_lost(A);
    rig.scheduler.handle_chunk(rig.now, A, id, SLOT, chunk, ChunkResult::Corrupt);
    rig.drain();
    assert_eq!(rig.banned, [A]);
}

#[test]
fn a_corrupt_chunk_of_a_request_that_was_given_up_bans_its_peer() {
    let mut rig = Rig::with_peers(3, &[A]);
    let (id, chunk) = rig.asked.iter().next().map(|(id, (.., chunks))| (*id, chunks[0])).unwrap();
    rig.wake_until(rig.now + Duration::from_secs(6));
    rig.scheduler.handle_chunk(rig.now, A, id, SLOT, chunk, ChunkResult::Corrupt);
    rig.drain();
    assert_eq!(rig.banned, [A]);
}

#[test]
fn a_busy_peer_is_not_asked_before_the_time_that_it_states() {
    let mut rig = Rig::with_peers(100, &[A]);
    for id in std::mem::take(&mut rig.asked).into_keys() {
        rig.scheduler.handle_end(rig.now, A, id, End::Refused(Refusal::Busy { retry_after_ms: 700 }));
    }
    rig.wake_until(rig.now + ms(690));
    assert!(rig.chunks_of(A).is_empty());
    rig.wake_until(rig.now + ms(20));
    assert!(!rig.chunks_of(A).is_empty());
}

#[test]
fn a_chunk_that_a_peer_lacks_is_not_requested_until_announced_again() {
    let mut rig = Rig::with_peers(2, &[A]);
    for id in std::mem::take(&mut rig.asked).into_keys() {
        rig.scheduler.handle_end(rig.now, A, id, End::Refused(Refusal::Missing));
    }
    rig.wake_until(rig.now + Duration::from_secs(20));
    for id in std::mem::take(&mut rig.asked).into_keys() {
        rig.scheduler.handle_end(rig.now, A, id, End::Refused(Refusal::Missing));
    }
    rig.wake_until(rig.now + Duration::from_secs(20));
    assert!(rig.asked.is_empty(), "the peer lacks both chunks");
    rig.scheduler.handle_have(A, SLOT, HaveUpdate::Add(vec![ChunkRange { start: 1, end: 2 }]));
    rig.drain();
    assert_eq!(rig.chunks_of(A), BTreeSet::from([ChunkIndex(1)]));
}

#[test]
fn a_request_that_ends_without_chunks_is_not_repeated_for_ever() {
    let mut rig = Rig::with_peers(50, &[A]);
    for _ in 0..50 {
        for id in std::mem::take(&mut rig.asked).into_keys() {
            rig.scheduler.handle_end(rig.now, A, id, End::Done);
        }
        rig.drain();
    }
    assert!(rig.asked.is_empty(), "the peer announced every chunk and delivered none");
}

#[test]
fn in_the_endgame_a_chunk_is_duplicated_and_the_slow_copy_cancelled() {
    let mut rig = Rig::with_peers(40, &[A]);
    // Peer `A` delivers slowly. At the end of this step, all remaining chunks are inflight from it, so the endgame
    // begins.
    rig.run(&[(A, 4)], Duration::from_secs(7));
    while rig.chunks_of(A).len() + rig.events.len() < 40 {
        rig.answer(A, ChunkResult::Verified);
    }
    let last = rig.chunks_of(A);
    assert!(!last.is_empty());
    rig.connect(B, HaveUpdate::Full);
    rig.connect(C, HaveUpdate::Full);
    rig.drain();
    let copies = [B, C].map(|peer| rig.chunks_of(peer));
    assert!(copies.iter().all(|chunks| chunks.len() == 1 && chunks.is_subset(&last)), "{copies:?} of {last:?}");
    assert_ne!(copies[0], copies[1], "no chunk is requested three times");
    let before = rig.cancelled.len();
    rig.run(&[(B, 50), (C, 50)], Duration::from_secs(5));
    assert!(rig.is_complete());
    assert!(rig.cancelled.len() > before, "the request to A is cancelled");
}

#[test]
fn the_rarest_chunks_go_first() {
    let mut rig = Rig::new(Scheduler::new(Config { max_window: 256 << 10, ..Config::default() }, 1));
    rig.scheduler.handle_artifact(SLOT, index(100), &ChunkSet::new(100), 0);
    // All peers have the chunks 0..90, and only peer `A` also has the chunks 90..100.
    for peer in 10..20 {
        rig.connect(PeerKey(peer), HaveUpdate::Set(set(100, 0..90)));
    }
    // The other peers answer `Busy`, so that only peer `A` can be asked.
    rig.drain();
    for (id, (peer, ..)) in rig.asked.clone() {
        assert_ne!(peer, A);
        rig.scheduler.handle_end(rig.now, peer, id, End::Refused(Refusal::Busy { retry_after_ms: 50_000 }));
    }
    rig.asked.clear();
    rig.connect(A, HaveUpdate::Set(set(100, 0..100)));
    rig.drain();
    let mut order = Vec::new();
    while order.len() < 20 {
        order.extend(rig.asked.values().find(|(of, ..)| *of == A).map(|(.., chunks)| chunks[0].0));
        rig.answer(A, ChunkResult::Verified);
    }
    assert!(order[..10].iter().all(|chunk| *chunk >= 90), "{order:?}");
    assert!(
        order.windows(2).any(|pair| pair[1] != pair[0] + 1),
        "the chunks are in the order of their indices: {order:?}"
    );
}

#[test]
fn clients_with_different_rng_seeds_begin_with_different_chunks() {
    let first = |seed| {
        let mut rig = Rig::new(Scheduler::new(Config::default(), seed));
        rig.scheduler.handle_artifact(SLOT, index(1000), &ChunkSet::new(1000), 0);
        rig.connect(A, HaveUpdate::Full);
        rig.drain();
        rig.chunks_of(A).first().copied().unwrap()
    };
    let firsts: BTreeSet<_> = (0..20).map(first).collect();
    assert!(firsts.len() > 15, "{firsts:?}");
}

#[test]
fn the_sequential_policy_requests_chunks_in_order() {
    let mut rig = Rig::new(Scheduler::with_policy(Config::default(), 1, Box::new(Sequential)));
    rig.scheduler.handle_artifact(SLOT, index(3000), &ChunkSet::new(3000), 0);
    rig.connect(A, HaveUpdate::Full);
    rig.drain();
    rig.run(&[(A, 1000)], Duration::from_secs(1));
    let asked = rig.chunks_of(A);
    let (first, last) = (asked.first().unwrap().0, asked.last().unwrap().0);
    assert_eq!(asked.len() as u32, last - first + 1, "the requested chunks have no gaps");
}

#[test]
fn urgent_artifacts_go_first_and_every_artifact_is_reported_once() {
    let mut rig = Rig::new(Scheduler::new(Config { first_window: 256 << 10, ..Config::default() }, 1));
    rig.connect(A, HaveUpdate::Full);
    for (slot, priority, chunks) in [(0, 9, 5), (1, 1, 5), (2, 5, 0), (3, 1, 1)] {
        let slot = ArtifactSlot(slot);
        rig.scheduler.handle_artifact(slot, index(chunks), &ChunkSet::new(chunks), priority);
        rig.scheduler.handle_have(A, slot, HaveUpdate::Full);
    }
    rig.drain();
    while rig.answer(A, ChunkResult::Verified) {}
    let complete = rig.events.iter().filter_map(|event| match event {
        Event::ArtifactComplete { slot } => Some(slot.0),
        _ => None,
    });
    // Artifact 2 has no chunks, so it is complete from the start.
    let complete: Vec<_> = complete.collect();
    assert!(complete == [2, 1, 3, 0] || complete == [2, 3, 1, 0], "{complete:?}");
    assert_eq!(rig.events.last(), Some(&Event::Complete));
}

#[test]
fn stored_chunks_are_not_fetched_again() {
    let mut rig = Rig::new(Scheduler::new(Config::default(), 1));
    rig.scheduler.handle_artifact(SLOT, index(100), &set(100, (0..100).filter(|chunk| *chunk != 42)), 0);
    rig.connect(A, HaveUpdate::Full);
    rig.drain();
    assert_eq!(rig.chunks_of(A), BTreeSet::from([ChunkIndex(42)]));
    rig.answer(A, ChunkResult::Verified);
    assert!(rig.is_complete());
}
