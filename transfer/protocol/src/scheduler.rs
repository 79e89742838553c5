//! Decides what to ask of whom. No I/O, no clock: `now` is passed in, randomness comes from a seed, so any run can be
//! replayed.
//!
//! # Contract
//! Tell the [`Scheduler`] what happens with the `handle_` methods, at any time and in any order. After each, drain
//! [`poll_action`](Scheduler::poll_action) and carry the actions out, drain [`poll_event`](Scheduler::poll_event), and
//! call [`handle_timeout`](Scheduler::handle_timeout) when [`poll_timeout`](Scheduler::poll_timeout) says so.
//!
//! A chunk is reported twice: with [`handle_arrival`](Scheduler::handle_arrival) when it comes, which says whether it was owed,
//! and with [`handle_chunk`](Scheduler::handle_chunk) once it has been verified and stored, or found to be corrupt. The end of
//! a request is reported when it comes, and takes effect after all chunks that came before it were looked at.
//!
//! Invariants, see [`Scheduler::check`]:
//! - every chunk is missing, in flight in one or two requests, or verified;
//! - no chunk is asked of a peer that has not said that it has it, nor twice of one peer at a time;
//! - no more than [`Config::max_inflight`] bytes are in flight, nor of a peer more than its window, apart from the one
//!   request that every peer may have;
//! - while a peer that is not resting has a missing chunk and there is room, a request is under way.

mod choice;
mod chunks;
mod config;
mod haves;
mod message;
mod peer;
mod policy;
mod requests;
mod score;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use phase_core::{ArtifactIndex, ChunkIndex, ChunkSet};

pub use crate::have_update::HaveUpdate;
use crate::peer::PeerKey;
pub use crate::request_id::RequestId;
use crate::wire::{MAX_RETRY_AFTER_MS, Refusal};
use chunks::{Chunks, Verified};
pub use config::Config;
pub use message::{Action, Arrival, ArtifactSlot, BanReason, ChunkResult, End, Event, Stats};
use peer::Peer;
pub use policy::{Order, OrderError, Policy, Random, RarestFirst, Sequential};
use requests::{GivenUp, Requests};
use score::Scores;

/// Decides what to ask of whom; see the [module](self).
pub struct Scheduler {
    config: Config,
    policy: Box<dyn Policy>,
    rng: fastrand::Rng,
    /// Artifacts that are not complete.
    slots: BTreeMap<ArtifactSlot, (u8, Chunks)>,
    /// The same, the most urgent class first.
    classes: BTreeMap<u8, BTreeSet<ArtifactSlot>>,
    peers: BTreeMap<PeerKey, Peer>,
    scores: Scores,
    banned: BTreeSet<PeerKey>,
    requests: Requests,
    /// Peers for which there may be something to ask: something has changed since it was last looked for.
    hungry: BTreeSet<PeerKey>,
    /// Peers that could deliver more, and have nothing that is missing.
    idle: BTreeSet<PeerKey>,
    /// When the first peer stalls or has rested, or earlier.
    due: Option<Instant>,
    /// When idle peers were last given what others are too slow for.
    relieved: Option<Instant>,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
    stats: Stats,
}

impl Scheduler {
    /// A scheduler that asks for the rarest chunks first.
    pub fn new(config: Config, seed: u64) -> Self {
        Self::with_policy(config, seed, Order::RarestFirst.policy(seed))
    }

    /// A scheduler with an order of its own.
    pub fn with_policy(config: Config, seed: u64, policy: Box<dyn Policy>) -> Self {
        Self {
            config,
            policy,
            rng: fastrand::Rng::with_seed(seed),
            slots: BTreeMap::new(),
            classes: BTreeMap::new(),
            peers: BTreeMap::new(),
            scores: Scores::default(),
            banned: BTreeSet::new(),
            requests: Requests::default(),
            hungry: BTreeSet::new(),
            idle: BTreeSet::new(),
            due: None,
            relieved: None,
            actions: VecDeque::new(),
            events: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// An artifact to fetch, of which `have` is there already. A lower `priority` goes first.
    pub fn handle_artifact(&mut self, slot: ArtifactSlot, index: Arc<ArtifactIndex>, have: &ChunkSet, priority: u8) {
        let chunks = Chunks::new(slot, index, have);
        self.slots.insert(slot, (priority, chunks));
        self.classes.entry(priority).or_default().insert(slot);
        self.settle(slot);
    }

    /// A peer has connected. Beyond [`Config::max_peers`] it takes the place of the one that has disappointed most, or is
    /// dropped if none has disappointed more than it.
    pub fn handle_peer(&mut self, now: Instant, peer: PeerKey) {
        if self.banned.contains(&peer) || self.peers.contains_key(&peer) {
            return;
        }
        if self.peers.len() >= self.config.max_peers {
            let points = |key: &PeerKey| self.scores.points(now, *key);
            let worst = self.peers.keys().copied().max_by(|one, other| points(one).total_cmp(&points(other)));
            let Some(worst) = worst.filter(|worst| points(worst) > points(&peer)) else {
                self.actions.push_back(Action::Drop { peer });
                return;
            };
            self.handle_peer_lost(worst);
            self.actions.push_back(Action::Drop { peer: worst });
        }
        self.peers.insert(peer, Peer::new(now, &self.config));
        self.hungry.insert(peer);
    }

    /// A peer has said what it has.
    pub fn handle_have(&mut self, peer: PeerKey, slot: ArtifactSlot, update: HaveUpdate) {
        let (true, Some((_, chunks))) = (self.peers.contains_key(&peer), self.slots.get_mut(&slot)) else { return };
        chunks.handle_have(peer, update);
        self.hungry.insert(peer);
    }

    /// A peer has gone.
    pub fn handle_peer_lost(&mut self, peer: PeerKey) {
        let Some(state) = self.peers.remove(&peer) else { return };
        self.hungry.remove(&peer);
        self.idle.remove(&peer);
        for request in state.requests {
            self.take_back(request);
        }
        self.requests.forget_peer(peer);
        self.slots.values_mut().for_each(|(_, chunks)| chunks.handle_peer_lost(peer));
    }

    /// So many bytes of a peer's replies have come since it connected, verified or not. To be told before
    /// [`handle_timeout`](Self::handle_timeout) where chunks may take longer than timeouts: a peer is silent when it
    /// delivers no bytes, not when it completes no chunk.
    pub fn handle_received(&mut self, now: Instant, peer: PeerKey, total: u64) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.handle_received(now, total);
        }
    }

    /// A chunk has arrived from `peer`, and will be verified if it was owed. A peer that sends what it does not owe breaks the
    /// protocol.
    pub fn handle_arrival(&mut self, peer: PeerKey, request: RequestId, index: ChunkIndex) -> Arrival {
        self.requests.arrive(peer, request, index)
    }

    /// A chunk that [arrived](Self::handle_arrival) from `peer` has been looked at. Returns whether it is a new verified one. If it
    /// is corrupt, its peer is banned, also if that peer was lost meanwhile.
    pub fn handle_chunk(
        &mut self,
        now: Instant,
        peer: PeerKey,
        request: RequestId,
        slot: ArtifactSlot,
        index: ChunkIndex,
        result: ChunkResult,
    ) -> bool {
        let is_new = match result {
            ChunkResult::Corrupt => {
                self.ban(peer, BanReason::Corrupt { slot, chunk: index });
                false
            }
            ChunkResult::Verified => self.accept(now, peer, request, slot, index),
            ChunkResult::Unneeded => {
                self.discard(now, request, slot, index);
                false
            }
        };
        if let Some(end) = self.requests.looked_at(request) {
            self.end(now, request, end);
        }
        is_new
    }

    /// A chunk of an artifact that is complete was not looked at. While the artifact is not complete, the chunk counts as not
    /// delivered, since it was not verified.
    fn discard(&mut self, now: Instant, request: RequestId, slot: ArtifactSlot, index: ChunkIndex) {
        if !self.slots.contains_key(&slot) {
            self.delivered(now, request, index);
            self.stats.duplicates += 1;
        }
    }

    /// A chunk is verified and stored. Returns whether it is a new one.
    fn accept(
        &mut self,
        now: Instant,
        peer: PeerKey,
        request: RequestId,
        slot: ArtifactSlot,
        index: ChunkIndex,
    ) -> bool {
        self.delivered(now, request, index);
        let Some((_, chunks)) = self.slots.get_mut(&slot) else {
            self.stats.duplicates += 1;
            return false;
        };
        match chunks.verify(index) {
            Verified::Again => {
                self.stats.duplicates += 1;
                false
            }
            Verified::New { inflight } => {
                for other in inflight.into_iter().flatten().filter(|other| *other != request) {
                    self.drop_copy(other, index);
                }
                self.events.push_back(Event::Verified { slot, index, peer });
                self.settle(slot);
                true
            }
        }
    }

    /// `peer` has ended a request. That takes effect once all chunks that arrived for it were looked at: what came before
    /// the end is not missing. The end of a request that another peer was asked for has no effect.
    pub fn handle_end(&mut self, now: Instant, peer: PeerKey, request: RequestId, end: End) {
        if let Some(end) = self.requests.ended(peer, request, end) {
            self.end(now, request, end);
        }
    }

    /// Time has passed: peers that deliver nothing lose what they were asked for, and those that had to rest may be asked.
    pub fn handle_timeout(&mut self, now: Instant) {
        let late = |peer: &Peer| peer.stalls_at(&self.config).is_some_and(|at| at <= now);
        let stalled: Vec<_> = self.peers.iter().filter(|(_, peer)| late(peer)).map(|(key, _)| *key).collect();
        for key in stalled {
            let points = self.scores.add(now, key);
            let Some(peer) = self.peers.get_mut(&key) else { continue };
            peer.handle_stall(&self.config);
            peer.punish(now, points);
            let mut chunks = 0;
            for request in std::mem::take(&mut peer.requests) {
                chunks += self.take_back(request);
                self.actions.push_back(Action::Cancel { id: request, peer: key });
            }
            self.stats.stalls += 1;
            self.events.push_back(Event::Stalled { peer: key, chunks });
        }
        let rested = self.peers.iter_mut().filter_map(|(key, peer)| peer.take_rested(now).then_some(*key));
        self.hungry.extend(rested);
        let stalls = self.peers.values().filter_map(|peer| peer.stalls_at(&self.config));
        let rests = self.peers.values().filter_map(|peer| peer.rests_until(now));
        self.due = stalls.chain(rests).min();
    }

    /// What to do next. Call until it gives nothing.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if self.actions.is_empty() {
            self.make_requests(now);
        }
        self.actions.pop_front()
    }

    /// What has happened. Call until it gives nothing.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout). Nothing may have come of it by then.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.into_iter().chain(self.relief_at()).min()
    }

    /// Counters since the start.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Bytes per second of a peer, as last measured.
    pub fn rate(&self, peer: PeerKey) -> Option<f64> {
        self.peers.get(&peer)?.rate()
    }

    /// Bytes in flight.
    pub fn inflight(&self) -> u64 {
        self.requests.inflight()
    }

    /// Asserts the invariants; for tests and simulations.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self) {
        for (slot, (priority, chunks)) in &self.slots {
            assert!(self.classes[priority].contains(slot));
            chunks.check(|request, chunk| self.requests.get(request).is_some_and(|request| request.has(chunk)));
        }
        assert_eq!(self.classes.values().map(BTreeSet::len).sum::<usize>(), self.slots.len());
        for (key, peer) in &self.peers {
            let of_peer = || peer.requests.iter().filter_map(|id| self.requests.get(*id));
            assert!(of_peer().all(|request| request.peer == *key));
            assert_eq!(of_peer().map(|request| request.bytes()).sum::<u64>(), peer.inflight, "in flight of {key}");
        }
        let inflight = self.requests.inflight();
        assert_eq!(self.requests.iter().map(|(_, request)| request.bytes()).sum::<u64>(), inflight, "in flight");
        let allowance = self.peers.len() as u64 * self.config.max_request;
        assert!(inflight <= self.config.max_inflight + allowance, "too much is in flight");
        assert!(self.peers.len() <= self.config.max_peers);
        assert!(self.banned.iter().all(|peer| !self.peers.contains_key(peer)));
        assert!(self.hungry.iter().chain(&self.idle).all(|peer| self.peers.contains_key(peer)));
    }

    /// Accounts for a chunk of a request that has been delivered.
    fn delivered(&mut self, now: Instant, id: RequestId, index: ChunkIndex) {
        let Some(delivery) = self.requests.deliver(now, id, index) else { return };
        if let Some(peer) = self.peers.get_mut(&delivery.peer) {
            peer.handle_bytes(now, delivery.bytes, delivery.first_after, &self.config);
            self.scores.forgive(delivery.peer);
            self.hungry.insert(delivery.peer);
        }
    }

    /// A chunk has come from elsewhere: the other request need not bring it.
    fn drop_copy(&mut self, id: RequestId, index: ChunkIndex) {
        let Some(key) = self.requests.get(id).map(|request| request.peer) else { return };
        let Some((bytes, is_over)) = self.requests.drop_chunk(id, index) else { return };
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.inflight -= bytes;
            self.hungry.insert(key);
        }
        if is_over {
            self.actions.push_back(Action::Cancel { id, peer: key });
        }
    }

    /// A request has ended, and everything that came for it was looked at.
    fn end(&mut self, now: Instant, id: RequestId, end: End) {
        let asked = self.requests.get(id).map(|request| (request.peer, request.slot));
        let (refusal, refuses_artifact) = match end {
            End::Done => (Refusal::Missing, false),
            End::Refused(refusal) => (refusal, !matches!(refusal, Refusal::Busy { .. } | Refusal::Missing)),
        };
        self.close(now, id, refusal);
        self.requests.forget(id);
        if let Some((peer, slot)) = asked.filter(|_| refuses_artifact) {
            let none = self.slots.get(&slot).map_or(0, |(_, chunks)| chunks.len());
            self.handle_have(peer, slot, HaveUpdate::Set(ChunkSet::new(none)));
        }
    }

    /// Chunks of a request that have not come are missing. Unless its peer is busy it lacks them.
    fn close(&mut self, now: Instant, id: RequestId, refusal: Refusal) {
        let Some(request) = self.requests.get(id) else { return };
        let (key, is_recalled) = (request.peer, request.recalled().is_some());
        let is_well = request.pending.is_empty() || is_recalled;
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.requests.remove(&id);
            match refusal {
                Refusal::Busy { retry_after_ms } => {
                    let wait = retry_after_ms.clamp(1, MAX_RETRY_AFTER_MS);
                    let until = now + Duration::from_millis(wait.into());
                    peer.rest(until);
                    self.due = self.due.into_iter().chain([until]).min();
                }
                _ if is_well => {}
                _ => {
                    if let Some((_, chunks)) = self.slots.get_mut(&request.slot) {
                        request.pending.iter().for_each(|(chunk, _)| chunks.handle_lack(key, *chunk));
                    }
                    let until = peer.punish(now, self.scores.add(now, key));
                    self.due = self.due.into_iter().chain([until]).min();
                }
            }
            self.hungry.insert(key);
        }
        let missing = self.take_back(id);
        self.stats.stolen += if is_recalled { u64::from(missing) } else { 0 };
    }

    /// Gives a request up; what it had in flight is missing, unless another request has it too. Returns how many
    /// chunks are missing because of that.
    fn take_back(&mut self, id: RequestId) -> u32 {
        let Some(GivenUp { peer, slot, pending }) = self.requests.give_up(id) else { return 0 };
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.inflight -= pending.iter().map(|(_, len)| len).sum::<u64>();
        }
        let mut missing = 0;
        if let Some((_, chunks)) = self.slots.get_mut(&slot) {
            for (chunk, _) in pending {
                missing += u32::from(chunks.give_up(chunk, id));
            }
        }
        self.stats.reassigned += u64::from(missing);
        if missing > 0 {
            self.hungry.extend(self.peers.keys());
        }
        missing
    }

    fn ban(&mut self, peer: PeerKey, reason: BanReason) {
        if self.banned.insert(peer) {
            self.handle_peer_lost(peer);
            self.actions.push_back(Action::Ban { peer, reason });
        }
    }

    /// Reports an artifact that has become complete, and forgets it.
    fn settle(&mut self, slot: ArtifactSlot) {
        let Some((priority, chunks)) = self.slots.get(&slot) else { return };
        if !chunks.is_complete() {
            return;
        }
        if let Some(class) = self.classes.get_mut(priority) {
            class.remove(&slot);
            if class.is_empty() {
                self.classes.remove(priority);
            }
        }
        self.slots.remove(&slot);
        self.events.push_back(Event::ArtifactComplete { slot });
        if self.slots.is_empty() {
            self.events.push_back(Event::Complete);
        }
    }
}
