//! For any sequence of events, the scheduler keeps its contract, and the fetch can be completed by one honest peer that
//! has all chunks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use phase_core::index::ChunkEntry;
use phase_core::{ArtifactIndex, ChunkIndex, ChunkRange, ChunkSet, ChunkerParams, Digest, HashAlgorithm};
use phase_protocol::PeerKey;
use phase_protocol::scheduler::{
    Action, Arrival, ArtifactSlot, ChunkResult, Config, End, Event, HaveUpdate, Order, RequestId, Scheduler,
};
use phase_protocol::wire::Refusal;
use proptest::prelude::*;

const PEERS: u64 = 5;
const SLOTS: u32 = 3;
/// The honest peer. It connects at the end of each test case, has all chunks and delivers them.
const HONEST: PeerKey = PeerKey(100);

/// An event that the test driver reports to the scheduler. A number that selects a request or a chunk is taken modulo
/// the number of requests or chunks.
#[derive(Clone, Debug)]
enum Op {
    Artifact { slot: u32, lens: Vec<u32>, have: u64, priority: u8 },
    Peer(u64),
    Lost(u64),
    HaveFull(u64, u32),
    HaveSet(u64, u32, u64),
    HaveAdd(u64, u32, u32, u32),
    Deliver { request: usize, chunk: usize, result: ChunkResult },
    Done(usize),
    Refused(usize, Refusal),
    Wait(u64),
}

fn any_op() -> impl Strategy<Value = Op> {
    let peer = 0..PEERS;
    let slot = 0..SLOTS;
    let lens = proptest::collection::vec(32 * 1024u32..=512 * 1024, 0..40);
    let refusal = prop_oneof![
        Just(Refusal::NotFound),
        Just(Refusal::Missing),
        (0u32..60_000).prop_map(|retry_after_ms| Refusal::Busy { retry_after_ms }),
        Just(Refusal::Forbidden),
    ];
    let result = prop_oneof![40 => Just(ChunkResult::Verified), 1 => Just(ChunkResult::Corrupt)];
    prop_oneof![
        2 => (slot.clone(), lens, any::<u64>(), 0u8..3)
            .prop_map(|(slot, lens, have, priority)| Op::Artifact { slot, lens, have, priority }),
        3 => peer.clone().prop_map(Op::Peer),
        1 => peer.clone().prop_map(Op::Lost),
        2 => (peer.clone(), slot.clone()).prop_map(|(peer, slot)| Op::HaveFull(peer, slot)),
        4 => (peer.clone(), slot.clone(), any::<u64>()).prop_map(|(peer, slot, set)| Op::HaveSet(peer, slot, set)),
        4 => (peer, slot, 0u32..50, 1u32..20).prop_map(|(peer, slot, start, len)| Op::HaveAdd(peer, slot, start, len)),
        30 => (any::<usize>(), any::<usize>(), result)
            .prop_map(|(request, chunk, result)| Op::Deliver { request, chunk, result }),
        4 => any::<usize>().prop_map(Op::Done),
        2 => (any::<usize>(), refusal).prop_map(|(request, refusal)| Op::Refused(request, refusal)),
        4 => (0u64..8000).prop_map(Op::Wait),
    ]
}

/// An open request in the driver's model.
struct Asked {
    peer: PeerKey,
    slot: ArtifactSlot,
    /// The chunks that have not been delivered.
    left: BTreeSet<ChunkIndex>,
    cancelled: bool,
}

/// A driver without a network. It keeps a model of the scheduler's state, and asserts that the model permits each
/// action.
struct Driver {
    scheduler: Scheduler,
    /// The order window of the scheduler, and whether its policy is ordered.
    max_ahead: Option<u64>,
    is_ordered: bool,
    priorities: BTreeMap<ArtifactSlot, u8>,
    now: Instant,
    indexes: BTreeMap<ArtifactSlot, Arc<ArtifactIndex>>,
    verified: BTreeSet<(ArtifactSlot, ChunkIndex)>,
    complete: BTreeSet<ArtifactSlot>,
    /// The chunks that each connected peer has announced and does not lack.
    announced: BTreeMap<PeerKey, BTreeSet<(ArtifactSlot, ChunkIndex)>>,
    banned: BTreeSet<PeerKey>,
    asked: BTreeMap<RequestId, Asked>,
}

impl Driver {
    fn new(seed: u64) -> Self {
        Self::with(seed, None, Order::RarestFirst)
    }

    fn with(seed: u64, max_ahead: Option<u64>, order: Order) -> Self {
        Self {
            scheduler: Scheduler::with_policy(Config { max_ahead, ..config() }, seed, order.policy(seed)),
            max_ahead,
            is_ordered: order == Order::Sequential,
            priorities: BTreeMap::new(),
            now: start(),
            indexes: BTreeMap::new(),
            verified: BTreeSet::new(),
            complete: BTreeSet::new(),
            announced: BTreeMap::new(),
            banned: BTreeSet::new(),
            asked: BTreeMap::new(),
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Artifact { slot, lens, have, priority } => self.artifact(ArtifactSlot(slot), &lens, have, priority),
            Op::Peer(peer) => self.connect(PeerKey(peer)),
            Op::Lost(peer) => self.lose(PeerKey(peer)),
            Op::HaveFull(peer, slot) => self.have(PeerKey(peer), ArtifactSlot(slot), HaveUpdate::Full),
            Op::HaveSet(peer, slot, bits) => {
                if let Some(index) = self.indexes.get(&ArtifactSlot(slot)) {
                    self.have(PeerKey(peer), ArtifactSlot(slot), HaveUpdate::Set(set_of(index.len(), bits)));
                }
            }
            Op::HaveAdd(peer, slot, start, len) => {
                let ranges = vec![ChunkRange { start, end: start + len }];
                self.have(PeerKey(peer), ArtifactSlot(slot), HaveUpdate::Add(ranges));
            }
            Op::Deliver { request, chunk, result } => {
                if let Some(id) = self.nth_request(request) {
                    let left: Vec<_> = self.asked[&id].left.iter().copied().collect();
                    if let Some(chunk) = left.get(chunk % left.len().max(1)) {
                        self.deliver(id, *chunk, result);
                    }
                }
            }
            Op::Done(request) => {
                if let Some(id) = self.nth_request(request) {
                    let peer = self.end(id, Refusal::Missing);
                    self.scheduler.handle_end(self.now, peer, id, End::Done);
                }
            }
            Op::Refused(request, refusal) => {
                if let Some(id) = self.nth_request(request) {
                    let peer = self.end(id, refusal);
                    self.scheduler.handle_end(self.now, peer, id, End::Refused(refusal));
                }
            }
            Op::Wait(ms) => self.wait(Duration::from_millis(ms)),
        }
        self.drain();
    }

    fn artifact(&mut self, slot: ArtifactSlot, lens: &[u32], have: u64, priority: u8) {
        if self.indexes.contains_key(&slot) {
            return;
        }
        let index = index_of(lens);
        let have = set_of(index.len(), have);
        self.verified.extend(have.iter().map(|chunk| (slot, chunk)));
        self.indexes.insert(slot, index.clone());
        self.priorities.insert(slot, priority);
        self.scheduler.handle_artifact(slot, index, &have, priority);
    }

    fn connect(&mut self, peer: PeerKey) {
        if !self.banned.contains(&peer) {
            self.announced.entry(peer).or_default();
        }
        self.scheduler.handle_peer(self.now, peer);
    }

    fn lose(&mut self, peer: PeerKey) {
        self.announced.remove(&peer);
        self.asked.retain(|_, asked| asked.peer != peer);
        self.scheduler.handle_peer_lost(peer);
    }

    fn have(&mut self, peer: PeerKey, slot: ArtifactSlot, update: HaveUpdate) {
        if let (Some(announced), Some(index)) = (self.announced.get_mut(&peer), self.indexes.get(&slot)) {
            let chunks: Vec<_> = match &update {
                HaveUpdate::Full => (0..index.len()).map(ChunkIndex).collect(),
                HaveUpdate::Set(set) => set.iter().collect(),
                HaveUpdate::Add(ranges) => ranges.iter().flat_map(ChunkRange::iter).collect(),
            };
            if !matches!(update, HaveUpdate::Add(_)) {
                announced.retain(|(of, _)| *of != slot);
            }
            announced.extend(chunks.into_iter().map(|chunk| (slot, chunk)));
        }
        self.scheduler.handle_have(peer, slot, update);
    }

    fn deliver(&mut self, id: RequestId, chunk: ChunkIndex, result: ChunkResult) {
        let asked = self.asked.get_mut(&id).unwrap();
        asked.left.remove(&chunk);
        let (peer, slot) = (asked.peer, asked.slot);
        let is_new = result == ChunkResult::Verified && self.verified.insert((slot, chunk));
        assert_eq!(self.scheduler.handle_arrival(peer, id, chunk), Arrival::Owed(slot));
        assert_eq!(self.scheduler.handle_arrival(peer, id, chunk), Arrival::NotOwed, "a chunk is owed once");
        let fresh = self.scheduler.handle_chunk(self.now, peer, id, slot, chunk, result);
        assert_eq!(fresh, is_new, "chunk {chunk} of {slot:?}, {result:?}");
        if result == ChunkResult::Corrupt {
            self.banned.insert(peer);
            self.announced.remove(&peer);
            self.asked.retain(|_, asked| asked.peer != peer);
        }
    }

    /// Ends a request in the model, and returns the peer of the request. If the peer refused the request and is not
    /// just busy, it lacks the chunks that it has not delivered. If it refused the whole artifact, it lacks all chunks
    /// of the artifact. It may announce them again later. A cancelled request changes nothing.
    fn end(&mut self, id: RequestId, refusal: Refusal) -> PeerKey {
        let asked = self.asked.remove(&id).unwrap();
        let Some(announced) = self.announced.get_mut(&asked.peer) else { return asked.peer };
        match refusal {
            Refusal::Busy { .. } => {}
            Refusal::Missing if asked.cancelled => {}
            Refusal::Missing => announced.retain(|(slot, chunk)| *slot != asked.slot || !asked.left.contains(chunk)),
            _ if asked.cancelled => {}
            _ => announced.retain(|(slot, _)| *slot != asked.slot),
        }
        asked.peer
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        if self.scheduler.poll_timeout().is_some_and(|at| at <= self.now) {
            self.scheduler.handle_timeout(self.now);
        }
    }

    fn nth_request(&self, n: usize) -> Option<RequestId> {
        self.asked.keys().nth(n.checked_rem(self.asked.len())?).copied()
    }

    fn drain(&mut self) {
        self.scheduler.check();
        while let Some(action) = self.scheduler.poll_action(self.now) {
            match action {
                Action::Request { id, peer, slot, ranges } => self.check_request(id, peer, slot, &ranges),
                Action::Cancel { id, peer } => {
                    // The request is unknown here if it has ended or its peer has disconnected.
                    if let Some(asked) = self.asked.get_mut(&id) {
                        assert_eq!(asked.peer, peer);
                        asked.cancelled = true;
                    }
                }
                Action::Drop { peer } => panic!("{peer} is dropped although there are fewer than `max_peers`"),
                Action::Ban { peer, .. } => {
                    assert!(self.banned.contains(&peer), "{peer} is banned and sent no corrupt chunk")
                }
            }
        }
        while let Some(event) = self.scheduler.poll_event() {
            match event {
                Event::Verified { slot, index, .. } => assert!(self.verified.contains(&(slot, index))),
                Event::ArtifactComplete { slot } => {
                    let len = self.indexes[&slot].len();
                    assert!((0..len).all(|chunk| self.verified.contains(&(slot, ChunkIndex(chunk)))));
                    assert!(self.complete.insert(slot), "{slot:?} is reported complete twice");
                }
                Event::Complete => assert_eq!(self.complete.len(), self.indexes.len()),
                Event::Stalled { .. } => {}
            }
        }
        self.scheduler.check();
    }

    fn check_request(&mut self, id: RequestId, peer: PeerKey, slot: ArtifactSlot, ranges: &[ChunkRange]) {
        let index = &self.indexes[&slot];
        let chunks: BTreeSet<_> = ranges.iter().flat_map(ChunkRange::iter).collect();
        let announced = self.announced.get(&peer).expect("only connected peers are sent requests");
        let bytes: u64 = chunks.iter().map(|chunk| u64::from(index.chunk(*chunk).unwrap().len)).sum();
        assert!(!chunks.is_empty() && (chunks.len() == 1 || bytes <= config().max_request));
        for chunk in &chunks {
            assert!(announced.contains(&(slot, *chunk)), "{peer} has not announced chunk {chunk} of {slot:?}");
            assert!(!self.verified.contains(&(slot, *chunk)), "chunk {chunk} of {slot:?} is verified already");
            let copies = || self.asked.values().filter(|a| a.slot == slot && !a.cancelled && a.left.contains(chunk));
            assert!(copies().count() < 2, "chunk {chunk} of {slot:?} is inflight twice already");
            assert!(
                copies().all(|asked| asked.peer != peer),
                "chunk {chunk} of {slot:?} is inflight from {peer} already"
            );
        }
        if let Some(max_ahead) = self.max_ahead {
            self.check_window(slot, *chunks.last().unwrap(), max_ahead);
        }
        let replaced = self.asked.insert(id, Asked { peer, slot, left: chunks, cancelled: false });
        assert!(replaced.is_none(), "{id:?} is used twice");
    }

    /// Asserts that a requested chunk is in the order window.
    fn check_window(&self, slot: ArtifactSlot, requested: ChunkIndex, max_ahead: u64) {
        let index = &self.indexes[&slot];
        let first = (0..index.len()).map(ChunkIndex).find(|chunk| !self.verified.contains(&(slot, *chunk))).unwrap();
        let first = index.chunk(first).unwrap();
        let limit = first.offset + u64::from(first.len) + max_ahead;
        assert!(index.chunk(requested).unwrap().offset <= limit, "chunk {requested} of {slot:?} is past the window");
        if self.is_ordered {
            let turn = |slot: &ArtifactSlot| (self.priorities[slot], *slot);
            let next = self.indexes.keys().filter(|slot| !self.is_complete(**slot)).min_by_key(|slot| turn(slot));
            assert_eq!(next, Some(&slot), "an artifact before {slot:?} is incomplete");
        }
    }

    fn is_complete(&self, slot: ArtifactSlot) -> bool {
        (0..self.indexes[&slot].len()).all(|chunk| self.verified.contains(&(slot, ChunkIndex(chunk))))
    }

    /// Completes the fetch. The honest peer connects and delivers all chunks, and the other peers send nothing.
    fn finish(&mut self) {
        self.connect(HONEST);
        for slot in self.indexes.keys().copied().collect::<Vec<_>>() {
            self.have(HONEST, slot, HaveUpdate::Full);
        }
        self.drain();
        let missing = |driver: &Self| {
            driver.indexes.values().map(|index| index.len() as usize).sum::<usize>() - driver.verified.len()
        };
        let mut idle = 0;
        while missing(self) > 0 {
            let of_honest = |asked: &&Asked| asked.peer == HONEST && !asked.left.is_empty();
            let next = self
                .asked
                .iter()
                .find(|(_, asked)| of_honest(asked))
                .map(|(id, asked)| (*id, asked.left.first().copied().unwrap()));
            if let Some((id, chunk)) = next {
                self.now += Duration::from_millis(1);
                self.deliver(id, chunk, ChunkResult::Verified);
                idle = 0;
            } else {
                // The honest peer gets the chunks of the silent peers only after the silent peers have stalled. Silent
                // peers may stall several times, because they are asked again after each pause.
                self.wait(Duration::from_millis(500));
                idle += 1;
                assert!(idle < 400, "{} missing chunks, and no request to the honest peer for 200 s", missing(self));
            }
            self.drain();
        }
        assert_eq!(self.complete.len(), self.indexes.len());
    }
}

fn config() -> Config {
    Config { max_inflight: 4 << 20, max_window: 2 << 20, ..Config::default() }
}

fn index_of(lens: &[u32]) -> Arc<ArtifactIndex> {
    let digest = Digest::new([0; 32]);
    let chunks = lens.iter().map(|&len| ChunkEntry { digest, len }).collect();
    Arc::new(ArtifactIndex::new(ChunkerParams::default(), HashAlgorithm::Blake3, digest, chunks).unwrap())
}

/// Returns the chunk indices below `len` whose bit is set in `bits`. The 64 bits are repeated for longer sets.
fn set_of(len: u32, bits: u64) -> ChunkSet {
    let mut set = ChunkSet::new(len);
    (0..len).filter(|position| bits >> (position % 64) & 1 == 1).for_each(|position| {
        set.insert(ChunkIndex(position));
    });
    set
}

#[expect(clippy::disallowed_methods, reason = "a start time: an `Instant` cannot be made from a number")]
fn start() -> Instant {
    Instant::now()
}

/// The number of event sequences that each property test tries.
const CASES: u32 = 50_000;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn after_any_events_the_contract_holds_and_the_fetch_can_complete(
        seed in any::<u64>(), ops in proptest::collection::vec(any_op(), 1..200)
    ) {
        let mut driver = Driver::new(seed);
        for op in ops {
            driver.apply(op);
        }
        driver.finish();
    }

    #[test]
    fn the_same_rng_seed_and_events_give_the_same_requests(
        seed in any::<u64>(), ops in proptest::collection::vec(any_op(), 1..100)
    ) {
        let run = || {
            let mut driver = Driver::new(seed);
            ops.iter().cloned().for_each(|op| driver.apply(op));
            driver.asked.iter().map(|(id, asked)| (*id, asked.peer, asked.slot, asked.left.clone())).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(), run());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES / 5))]

    #[test]
    fn with_an_order_window_nothing_past_it_is_requested_and_the_fetch_can_complete(
        seed in any::<u64>(),
        max_ahead in prop_oneof![Just(0u64), Just(1), 0..8u64 << 20],
        order in prop_oneof![Just(Order::Sequential), Just(Order::RarestFirst), Just(Order::Random)],
        ops in proptest::collection::vec(any_op(), 1..200),
    ) {
        let mut driver = Driver::with(seed, Some(max_ahead), order);
        for op in ops {
            driver.apply(op);
        }
        driver.finish();
    }
}
