//! Decides what to ask of whom. No I/O, no clock: `now` is passed in, randomness comes from a seed, so any run can be
//! replayed.
//!
//! # Contract
//! Tell the [`Scheduler`] what happens with the `handle_` methods, at any time and in any order. After each, drain
//! [`poll_action`](Scheduler::poll_action) and carry the actions out, drain [`poll_event`](Scheduler::poll_event), and
//! call [`handle_timeout`](Scheduler::handle_timeout) when [`poll_timeout`](Scheduler::poll_timeout) says so.
//!
//! A chunk is reported with [`handle_chunk`](Scheduler::handle_chunk) once it has been verified and stored, or found to be
//! corrupt; the end of a request only after all of its chunks were.
//!
//! Invariants, see [`Scheduler::check`]:
//! - every chunk is missing, in flight in one or two requests, or verified;
//! - no chunk is asked of a peer that has not said that it has it, nor twice of one peer at a time;
//! - no more than [`Config::max_inflight`] bytes are in flight, nor of a peer more than its window, apart from the one
//!   request that every peer may have;
//! - while a peer that is not resting has a missing chunk and there is room, a request is under way.

mod chunks;
mod config;
mod haves;
mod message;
mod peers;
mod policy;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use phase_core::{ArtifactIndex, ChunkIndex, ChunkRange, ChunkSet};

use crate::peer::PeerKey;
use crate::wire::{MAX_RETRY_AFTER_MS, Refusal};
use chunks::{Chunks, Verified};
pub use config::Config;
pub use message::{Action, ArtifactSlot, BanReason, ChunkResult, Event, HaveUpdate, RequestId, Stats};
use peers::Peer;
pub use policy::{Order, Policy, RarestFirst, Sequential};

/// A request until its end.
struct Request {
    peer: PeerKey,
    slot: ArtifactSlot,
    sent: Instant,
    /// Chunks that have not been reported.
    pending: BTreeSet<ChunkIndex>,
    /// Nothing of it has been reported yet.
    is_fresh: bool,
}

/// Requests that were given up and whose chunks still count if they arrive.
const MAX_LATE: usize = 4096;

/// In the endgame, what a peer will have delivered within this time is not asked for again.
const MIN_BACKLOG_MS: u64 = 100;

/// Decides what to ask of whom; see the [module](self).
pub struct Scheduler {
    config: Config,
    policy: Box<dyn Policy>,
    rng: fastrand::Rng,
    /// Artifacts that are not complete, by priority.
    slots: BTreeMap<ArtifactSlot, (u8, Chunks)>,
    order: BTreeSet<(u8, ArtifactSlot)>,
    peers: BTreeMap<PeerKey, Peer>,
    banned: BTreeSet<PeerKey>,
    requests: BTreeMap<RequestId, Request>,
    late: VecDeque<(RequestId, PeerKey)>,
    next_request: u64,
    inflight: u64,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
    stats: Stats,
    /// Whether anything has changed since requests were last made.
    dirty: bool,
}

impl Scheduler {
    /// A scheduler that asks for the rarest chunks first.
    pub fn new(config: Config, seed: u64) -> Self {
        Self::with_policy(config, seed, Box::new(RarestFirst { seed }))
    }

    /// A scheduler with an order of its own.
    pub fn with_policy(config: Config, seed: u64, policy: Box<dyn Policy>) -> Self {
        Self {
            config,
            policy,
            rng: fastrand::Rng::with_seed(seed),
            slots: BTreeMap::new(),
            order: BTreeSet::new(),
            peers: BTreeMap::new(),
            banned: BTreeSet::new(),
            requests: BTreeMap::new(),
            late: VecDeque::new(),
            next_request: 0,
            inflight: 0,
            actions: VecDeque::new(),
            events: VecDeque::new(),
            stats: Stats::default(),
            dirty: false,
        }
    }

    /// An artifact to fetch, of which `have` is there already. A lower `priority` goes first.
    pub fn handle_artifact(&mut self, slot: ArtifactSlot, index: Arc<ArtifactIndex>, have: &ChunkSet, priority: u8) {
        let chunks = Chunks::new(slot, index, have);
        self.slots.insert(slot, (priority, chunks));
        self.order.insert((priority, slot));
        self.dirty = true;
        self.settle(slot);
    }

    /// A peer has connected.
    pub fn handle_peer(&mut self, now: Instant, peer: PeerKey) {
        if !self.banned.contains(&peer) {
            let config = &self.config;
            self.peers.entry(peer).or_insert_with(|| Peer::new(now, config));
        }
    }

    /// A peer has said what it has.
    pub fn handle_have(&mut self, peer: PeerKey, slot: ArtifactSlot, update: HaveUpdate) {
        let (true, Some((_, chunks))) = (self.peers.contains_key(&peer), self.slots.get_mut(&slot)) else { return };
        chunks.handle_have(peer, update);
        self.dirty = true;
    }

    /// A peer has gone.
    pub fn handle_peer_lost(&mut self, peer: PeerKey) {
        let Some(mut state) = self.peers.remove(&peer) else { return };
        for request in std::mem::take(&mut state.requests) {
            self.inflight_down(request);
            self.take_back(request);
        }
        self.slots.values_mut().for_each(|(_, chunks)| chunks.handle_peer_lost(peer));
        self.dirty = true;
    }

    /// A chunk has arrived and been looked at. Returns whether it is a new verified one.
    pub fn handle_chunk(
        &mut self,
        now: Instant,
        request: RequestId,
        slot: ArtifactSlot,
        index: ChunkIndex,
        result: ChunkResult,
    ) -> bool {
        self.dirty = true;
        let from = self.peer_of(request);
        if result == ChunkResult::Corrupt {
            if let Some(peer) = from {
                self.ban(peer, BanReason::Corrupt { slot, chunk: index });
            }
            return false;
        }
        self.arrived(now, request, index);
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
                self.events.push_back(Event::Verified { slot, index, peer: from });
                self.settle(slot);
                true
            }
        }
    }

    /// A peer has nothing further to send for a request.
    pub fn handle_done(&mut self, request: RequestId) {
        self.end(request, |_| true);
    }

    /// A peer will not serve a request, or not all of it.
    pub fn handle_refused(&mut self, now: Instant, request: RequestId, refusal: Refusal) {
        let asked = self.requests.get(&request).map(|request| (request.peer, request.slot));
        self.end(request, |peer| match refusal {
            Refusal::Busy { retry_after_ms } => {
                let wait = retry_after_ms.clamp(1, MAX_RETRY_AFTER_MS);
                peer.rest(now + Duration::from_millis(wait.into()));
                false
            }
            _ => true,
        });
        if let (Some((peer, slot)), false) = (asked, matches!(refusal, Refusal::Busy { .. } | Refusal::Missing)) {
            // It will not serve the artifact at all.
            let none = self.slots.get(&slot).map_or(0, |(_, chunks)| chunks.len());
            self.handle_have(peer, slot, HaveUpdate::Set(ChunkSet::new(none)));
        }
    }

    /// Time has passed: peers that deliver nothing lose what they were asked for.
    pub fn handle_timeout(&mut self, now: Instant) {
        let late = |peer: &Peer| peer.stalls_at(&self.config).is_some_and(|at| at <= now);
        let stalled: Vec<_> = self.peers.iter().filter(|(_, peer)| late(peer)).map(|(key, _)| *key).collect();
        for key in stalled {
            let Some(peer) = self.peers.get_mut(&key) else { continue };
            peer.handle_stall(now, &self.config);
            let mut chunks = 0;
            for request in std::mem::take(&mut peer.requests) {
                self.inflight_down(request);
                chunks += self.take_back(request);
                self.actions.push_back(Action::Cancel { id: request, peer: key });
            }
            self.stats.stalls += 1;
            self.events.push_back(Event::Stalled { peer: key, chunks });
        }
        self.dirty = true;
    }

    /// What to do next. Call until it gives nothing.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if self.actions.is_empty() && std::mem::take(&mut self.dirty) {
            self.make_requests(now);
        }
        self.actions.pop_front()
    }

    /// What has happened. Call until it gives nothing.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let stalls = self.peers.values().filter_map(|peer| peer.stalls_at(&self.config));
        let rests = self.peers.values().filter_map(|peer| peer.rests_until(now));
        stalls.chain(rests).min()
    }

    /// Who was asked with a request, if that is still known.
    pub fn peer_of(&self, request: RequestId) -> Option<PeerKey> {
        let late = || self.late.iter().find(|(id, _)| *id == request).map(|(_, peer)| *peer);
        self.requests.get(&request).map(|request| request.peer).or_else(late)
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
        self.inflight
    }

    /// Asserts the invariants; for tests and simulations.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self) {
        for (_, chunks) in self.slots.values() {
            chunks.check(|request, chunk| self.requests.get(&request).is_some_and(|r| r.pending.contains(&chunk)));
        }
        let bytes = |request: &Request| -> u64 {
            let chunks = self.slots.get(&request.slot).map(|(_, chunks)| chunks);
            request.pending.iter().map(|chunk| chunks.map_or(0, |chunks| chunks.chunk_len(*chunk))).sum()
        };
        for (key, peer) in &self.peers {
            let of_peer = || peer.requests.iter().filter_map(|id| self.requests.get(id));
            assert!(of_peer().all(|request| request.peer == *key));
            assert_eq!(of_peer().map(bytes).sum::<u64>(), peer.inflight, "bytes in flight of {key}");
        }
        assert_eq!(self.requests.values().map(bytes).sum::<u64>(), self.inflight, "bytes in flight");
        let allowance = self.peers.len() as u64 * self.config.max_request;
        assert!(self.inflight <= self.config.max_inflight + allowance, "too much is in flight");
        assert!(self.banned.iter().all(|peer| !self.peers.contains_key(peer)));
    }

    /// Asks every peer that has room for something, in random order, until nothing more can be asked for.
    fn make_requests(&mut self, now: Instant) {
        let mut keys: Vec<_> = self.peers.keys().copied().collect();
        self.rng.shuffle(&mut keys);
        while !keys.is_empty() {
            keys.retain(|key| self.request_of(now, *key));
        }
    }

    /// Makes one request to a peer. Returns whether there may be a further one.
    fn request_of(&mut self, now: Instant, key: PeerKey) -> bool {
        let Some(peer) = self.peers.get(&key) else { return false };
        let room = peer.room(now, &self.config);
        // Every peer may have one request, so that a low limit does not leave one without anything.
        if room == 0 || (self.inflight + room > self.config.max_inflight && peer.inflight > 0) {
            return false;
        }
        let start = self.rng.u32(..);
        let choice = self.pick_missing(key, room, start).or_else(|| self.pick_duplicate(key, peer));
        let Some((slot, range)) = choice else { return false };
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let (Some((_, chunks)), Some(peer)) = (self.slots.get_mut(&slot), self.peers.get_mut(&key)) else {
            return false;
        };
        let bytes = range.iter().map(|chunk| chunks.chunk_len(chunk)).sum();
        range.iter().for_each(|chunk| chunks.send(chunk, id));
        peer.handle_sent(now, id, bytes);
        self.inflight += bytes;
        let pending = range.iter().collect();
        self.requests.insert(id, Request { peer: key, slot, sent: now, pending, is_fresh: true });
        self.actions.push_back(Action::Request { id, peer: key, slot, ranges: vec![range] });
        true
    }

    fn pick_missing(&self, key: PeerKey, room: u64, start: u32) -> Option<(ArtifactSlot, ChunkRange)> {
        let slots = self.order.iter().filter_map(|(_, slot)| Some((*slot, &self.slots.get(slot)?.1)));
        let mut wanted = slots.filter(|(_, chunks)| chunks.has_missing());
        wanted.find_map(|(slot, chunks)| Some((slot, chunks.pick(key, room, self.policy.as_ref(), start)?)))
    }

    /// Endgame: when nothing is missing any more, a peer with nothing to do gets a second copy of what will arrive last.
    fn pick_duplicate(&self, key: PeerKey, peer: &Peer) -> Option<(ArtifactSlot, ChunkRange)> {
        if peer.inflight > 0 || self.slots.values().any(|(_, chunks)| chunks.has_missing()) {
            return None;
        }
        let late = |request: RequestId| {
            let other = self.requests.get(&request)?.peer;
            let backlog = self.peers.get(&other).map_or(u64::MAX, Peer::backlog_ms);
            (other != key && backlog >= MIN_BACKLOG_MS).then_some(backlog)
        };
        self.order.iter().find_map(|(_, slot)| {
            let (_, chunks) = self.slots.get(slot)?;
            let ChunkIndex(chunk) = chunks.pick_duplicate(key, late)?;
            Some((*slot, ChunkRange { start: chunk, end: chunk + 1 }))
        })
    }

    /// Accounts for a chunk of a request that has come.
    fn arrived(&mut self, now: Instant, id: RequestId, index: ChunkIndex) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        if !request.pending.remove(&index) {
            return;
        }
        let first_after = std::mem::take(&mut request.is_fresh).then(|| now.saturating_duration_since(request.sent));
        let (key, slot) = (request.peer, request.slot);
        let bytes = self.slots.get(&slot).map_or(0, |(_, chunks)| chunks.chunk_len(index));
        self.inflight -= bytes;
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.inflight -= bytes;
            peer.handle_bytes(now, bytes, first_after, &self.config);
        }
    }

    /// A chunk has come from elsewhere: the other request need not bring it.
    fn drop_copy(&mut self, id: RequestId, index: ChunkIndex) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        if !request.pending.remove(&index) {
            return;
        }
        let (key, slot, is_over) = (request.peer, request.slot, request.pending.is_empty());
        let bytes = self.slots.get(&slot).map_or(0, |(_, chunks)| chunks.chunk_len(index));
        self.inflight -= bytes;
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.inflight -= bytes;
        }
        if is_over {
            self.actions.push_back(Action::Cancel { id, peer: key });
        }
    }

    /// A request has ended: chunks that have not come are missing. If `judge` says so, its peer lacks them.
    fn end(&mut self, id: RequestId, judge: impl FnOnce(&mut Peer) -> bool) {
        self.dirty = true;
        self.inflight_down(id);
        let Some(request) = self.requests.get(&id) else { return };
        if let Some(peer) = self.peers.get_mut(&request.peer) {
            peer.requests.remove(&id);
            if judge(peer)
                && let Some((_, chunks)) = self.slots.get_mut(&request.slot)
            {
                request.pending.iter().for_each(|chunk| chunks.handle_lack(request.peer, *chunk));
            }
        }
        self.take_back(id);
    }

    /// Takes the bytes of a request out of the accounts.
    fn inflight_down(&mut self, id: RequestId) {
        let Some(request) = self.requests.get(&id) else { return };
        let Some((_, chunks)) = self.slots.get(&request.slot) else { return };
        let bytes: u64 = request.pending.iter().map(|chunk| chunks.chunk_len(*chunk)).sum();
        self.inflight -= bytes;
        if let Some(peer) = self.peers.get_mut(&request.peer) {
            peer.inflight -= bytes;
        }
    }

    /// Forgets a request; what it had in flight is missing, unless another request has it too. Returns how many
    /// chunks are missing because of that.
    fn take_back(&mut self, id: RequestId) -> u32 {
        let Some(request) = self.requests.remove(&id) else { return 0 };
        let mut missing = 0;
        if let Some((_, chunks)) = self.slots.get_mut(&request.slot) {
            for chunk in request.pending {
                missing += u32::from(chunks.give_up(chunk, id));
            }
        }
        self.stats.reassigned += u64::from(missing);
        if self.late.len() >= MAX_LATE {
            self.late.pop_front();
        }
        self.late.push_back((id, request.peer));
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
        self.order.remove(&(*priority, slot));
        self.slots.remove(&slot);
        self.events.push_back(Event::ArtifactComplete { slot });
        if self.slots.is_empty() {
            self.events.push_back(Event::Complete);
        }
    }
}
