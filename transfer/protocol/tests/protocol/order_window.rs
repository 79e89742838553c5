//! Simulated downloads with an order window: they complete whatever their peers do, keep the window, and are not slower
//! on an undisturbed network.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use phase_core::index::ChunkEntry;
use phase_core::{ArtifactIndex, ChunkIndex, ChunkRange, ChunkSet, ChunkerParams, Digest, HashAlgorithm};
use phase_protocol::PeerKey;
use phase_protocol::scheduler::{
    Action, Arrival, ArtifactSlot, ChunkResult, Config, End, Event, HaveUpdate, Order, RequestId, Scheduler,
};
use proptest::prelude::*;

const CHUNK: u64 = 128 << 10;
const STEP: Duration = Duration::from_millis(2);

/// A simulated peer.
#[derive(Clone, Debug)]
struct Peer {
    /// The rate in bytes per second.
    rate: u64,
    /// The time from a request to the first byte of its reply.
    delay: Duration,
    /// When the peer disconnects; `None` if it stays.
    lost_at: Option<Duration>,
    /// When the peer stops to send, without disconnecting.
    silent_at: Option<Duration>,
}

impl Peer {
    fn steady(rate: u64, delay_ms: u64) -> Self {
        Self { rate, delay: Duration::from_millis(delay_ms), lost_at: None, silent_at: None }
    }
}

/// A request at a simulated peer.
struct Open {
    id: RequestId,
    slot: ArtifactSlot,
    left: Vec<ChunkIndex>,
    not_before: Instant,
}

/// A simulated download, with a clock that advances in steps.
struct Simulation {
    scheduler: Scheduler,
    max_ahead: Option<u64>,
    index: Arc<ArtifactIndex>,
    peers: Vec<Peer>,
    /// The requests at each peer, in the order in which they arrived, and the bytes that the peer may send now.
    open: BTreeMap<PeerKey, (Vec<Open>, f64)>,
    verified: BTreeSet<(ArtifactSlot, ChunkIndex)>,
    slots: u32,
    begin: Instant,
    now: Instant,
    sent: u64,
    is_complete: bool,
}

impl Simulation {
    /// Makes a download of `slots` artifacts with `chunks` chunks each. All peers have everything.
    fn new(slots: u32, chunks: u32, peers: &[Peer], max_ahead: Option<u64>) -> Self {
        Self::with_haves(slots, chunks, peers, max_ahead, |_, _, _| true)
    }

    /// Makes a download in which a peer has a chunk if `has` returns true for the peer, the artifact and the chunk.
    fn with_haves(
        slots: u32,
        chunks: u32,
        peers: &[Peer],
        max_ahead: Option<u64>,
        has: impl Fn(u64, u32, u32) -> bool,
    ) -> Self {
        let config = Config { max_inflight: 12 << 20, max_ahead, ..Config::default() };
        let mut scheduler = Scheduler::with_policy(config, 1, Order::Sequential.policy(1));
        let digest = Digest::new([0; 32]);
        let entries = vec![ChunkEntry { digest, len: CHUNK as u32 }; chunks as usize];
        let index = ArtifactIndex::new(ChunkerParams::default(), HashAlgorithm::Blake3, digest, entries).unwrap();
        let (index, now) = (Arc::new(index), start());
        for slot in (0..slots).map(ArtifactSlot) {
            scheduler.handle_artifact(slot, index.clone(), &ChunkSet::new(chunks), 0);
        }
        let mut open = BTreeMap::new();
        for key in (0..peers.len() as u64).map(PeerKey) {
            scheduler.handle_peer(now, key);
            for slot in (0..slots).map(ArtifactSlot) {
                let mut set = ChunkSet::new(chunks);
                (0..chunks).filter(|chunk| has(key.0, slot.0, *chunk)).for_each(|chunk| {
                    set.insert(ChunkIndex(chunk));
                });
                scheduler.handle_have(key, slot, HaveUpdate::Set(set));
            }
            open.insert(key, (Vec::new(), 0.0));
        }
        let (peers, verified) = (peers.to_vec(), BTreeSet::new());
        Self { scheduler, max_ahead, index, peers, open, verified, slots, begin: now, now, sent: 0, is_complete: false }
    }

    /// Runs the download. Returns the time that it took.
    ///
    /// # Panics
    /// If it does not end within `limit`.
    fn run(mut self, limit: Duration) -> (Duration, u64) {
        self.drain();
        while !self.is_complete {
            self.now += STEP;
            assert!(self.now - self.begin < limit, "{} chunks after {limit:?}", self.verified.len());
            for number in 0..self.peers.len() {
                self.advance(number);
            }
            if self.scheduler.poll_timeout().is_some_and(|at| at <= self.now) {
                self.scheduler.handle_timeout(self.now);
            }
            self.drain();
        }
        assert_eq!(self.verified.len(), (self.slots * self.index.len()) as usize);
        (self.now - self.begin, self.sent)
    }

    /// Lets a peer send what it can send in one step.
    fn advance(&mut self, number: usize) {
        let (key, peer, passed) = (PeerKey(number as u64), self.peers[number].clone(), self.now - self.begin);
        if peer.lost_at.is_some_and(|at| passed >= at) {
            if self.open.remove(&key).is_some() {
                self.scheduler.handle_peer_lost(key);
            }
            return;
        }
        if peer.silent_at.is_some_and(|at| passed >= at) {
            return;
        }
        let now = self.now;
        let mut events = Vec::new();
        let (requests, credit) = self.open.get_mut(&key).unwrap();
        let due = requests.first().is_some_and(|request| request.not_before <= now);
        *credit = if due { *credit + peer.rate as f64 * STEP.as_secs_f64() } else { 0.0 };
        while *credit >= CHUNK as f64
            && let Some(request) = requests.first_mut().filter(|request| request.not_before <= now)
        {
            let chunk = request.left.remove(0);
            *credit -= CHUNK as f64;
            events.push((request.id, request.slot, chunk, request.left.is_empty()));
            if request.left.is_empty() {
                requests.remove(0);
            }
        }
        for (id, slot, chunk, is_last) in events {
            self.sent += CHUNK;
            if let Arrival::Owed(_) = self.scheduler.handle_arrival(key, id, chunk) {
                self.scheduler.handle_chunk(now, key, id, slot, chunk, ChunkResult::Verified);
                self.verified.insert((slot, chunk));
            }
            if is_last {
                self.scheduler.handle_end(now, key, id, End::Done);
            }
        }
    }

    fn drain(&mut self) {
        while let Some(action) = self.scheduler.poll_action(self.now) {
            match action {
                Action::Request { id, peer, slot, ranges } => {
                    let left: Vec<_> = ranges.iter().flat_map(ChunkRange::iter).collect();
                    self.check(slot, *left.last().unwrap());
                    let not_before = self.now + self.peers[peer.0 as usize].delay;
                    self.open.get_mut(&peer).unwrap().0.push(Open { id, slot, left, not_before });
                }
                Action::Cancel { id, peer } => {
                    let is_silent = |at: Duration| self.now - self.begin >= at;
                    let answers = !self.peers[peer.0 as usize].silent_at.is_some_and(is_silent);
                    let Some((requests, _)) = self.open.get_mut(&peer) else { continue };
                    let before = requests.len();
                    requests.retain(|request| request.id != id);
                    if requests.len() < before && answers {
                        self.scheduler.handle_end(self.now, peer, id, End::Done);
                    }
                }
                Action::Drop { peer } | Action::Ban { peer, .. } => panic!("{peer} is dropped"),
            }
        }
        while let Some(event) = self.scheduler.poll_event() {
            self.is_complete |= event == Event::Complete;
        }
    }

    /// Asserts that a requested chunk is in the order window.
    fn check(&self, slot: ArtifactSlot, requested: ChunkIndex) {
        let Some(max_ahead) = self.max_ahead else { return };
        let missing = |slot| move |n: &u32| !self.verified.contains(&(slot, ChunkIndex(*n)));
        let first = (0..self.index.len()).find(missing(slot)).unwrap();
        assert!(u64::from(requested.0) * CHUNK <= u64::from(first + 1) * CHUNK + max_ahead);
        let before = (0..slot.0).map(ArtifactSlot);
        assert!(before.flat_map(|slot| (0..self.index.len()).find(missing(slot))).next().is_none());
    }
}

#[expect(clippy::disallowed_methods, reason = "a start time: an `Instant` cannot be made from a number")]
fn start() -> Instant {
    Instant::now()
}

#[test]
fn a_slow_peer_that_has_the_first_chunk_does_not_hold_up_the_window() {
    let peers = [Peer::steady(100 << 10, 5), Peer::steady(20 << 20, 5)];
    let (time, _) = Simulation::new(1, 800, &peers, Some(1 << 20)).run(Duration::from_secs(60));
    // 100 MiB at 20 MiB/s take 5 s. The slow peer needs more than a second for each chunk.
    println!("a fast peer and one that is 200 times slower: {time:?}");
    assert!(time < Duration::from_secs(20), "{time:?}");
}

#[test]
fn a_peer_that_waits_for_the_window_is_asked_when_the_window_moves() {
    let peers = [Peer::steady(10 << 20, 5), Peer::steady(10 << 20, 50)];
    // Each chunk is at one peer only, and the window has one chunk and the next one.
    let odd_and_even = |peer, _, chunk| u64::from(chunk % 2) == peer;
    Simulation::with_haves(1, 100, &peers, Some(0), odd_and_even).run(Duration::from_secs(60));
    // Each artifact is at one peer only.
    let odd_and_even = |peer, slot, _| u64::from(slot % 2) == peer;
    Simulation::with_haves(4, 20, &peers, Some(16 << 20), odd_and_even).run(Duration::from_secs(60));
}

#[test]
fn artifacts_are_fetched_one_after_the_other() {
    let peers = [Peer::steady(10 << 20, 5), Peer::steady(10 << 20, 50)];
    // `Simulation::check` asserts the order.
    Simulation::new(4, 100, &peers, Some(0)).run(Duration::from_secs(300));
}

/// The figures are printed with `--nocapture`.
#[test]
fn a_window_of_16_mib_costs_nothing_on_an_undisturbed_network() {
    let networks = [
        ("one peer, 100 MiB/s, 1 ms", vec![Peer::steady(100 << 20, 1)]),
        ("one peer, 12 MiB/s, 100 ms", vec![Peer::steady(12 << 20, 100)]),
        ("four peers, 12 MiB/s, 5 ms", vec![Peer::steady(12 << 20, 5); 4]),
        ("four peers, 1 to 24 MiB/s", [1, 6, 12, 24].map(|rate| Peer::steady(rate << 20, 20)).to_vec()),
    ];
    for (name, peers) in networks {
        let [free, ordered] = [None, Some(16 << 20)].map(|max_ahead| {
            let (time, sent) = Simulation::new(1, 2000, &peers, max_ahead).run(Duration::from_secs(600));
            (time.as_secs_f64(), sent as f64 / (2000 * CHUNK) as f64)
        });
        println!(
            "{name}: {:.2} s and {:.3} times the bytes without a window, {:.2} s and {:.3} with it",
            free.0, free.1, ordered.0, ordered.1
        );
        assert!(ordered.0 <= free.0 * 1.1, "the window made the download slower: {free:?}, {ordered:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_download_in_order_completes_although_peers_are_slow_silent_or_lost(
        peers in proptest::collection::vec(
            (1u64..64, 0u64..200, prop::option::of(0u64..6_000), prop::option::of(0u64..6_000)), 0..5
        ),
        max_ahead in prop_oneof![Just(0), 0..16u64 << 20],
        slots in 1u32..4,
    ) {
        let peer = |&(rate, delay, lost, silent): &(u64, u64, Option<u64>, Option<u64>)| Peer {
            lost_at: lost.map(Duration::from_millis),
            silent_at: silent.map(Duration::from_millis),
            ..Peer::steady(rate * (256 << 10), delay)
        };
        let mut peers: Vec<_> = peers.iter().map(peer).collect();
        // One peer stays and is fast enough.
        peers.push(Peer::steady(4 << 20, 20));
        let (time, _) = Simulation::new(slots, 150, &peers, Some(max_ahead)).run(Duration::from_secs(600));
        prop_assert!(time < Duration::from_secs(600));
    }
}
