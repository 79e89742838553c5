//! The download scheduler. It decides which chunk is requested from which peer.
//!
//! It does no I/O and reads no clock. The caller passes in the time (`now`) and an RNG seed. So the same inputs always
//! give the same requests, and any run can be replayed.
//!
//! # How it works
//! The driver, which is the code that calls the scheduler and does the I/O, adds the artifacts to fetch. It reports the
//! connected peers and the chunks that they announce. The scheduler then keeps every peer busy:
//!
//! - **Window.** Each peer has a *window*, which is the limit on the bytes inflight from the peer. The window starts at
//!   one average chunk and grows with every chunk that the peer delivers. It is at most twice the bytes that the peer
//!   delivers within its horizon (see [`Config::horizon`]), so it shrinks when the peer becomes slower. A request asks
//!   for a run of adjacent chunks that fills about a sixteenth of the window.
//! - **Choice.** While a peer's window has space, the peer is asked for missing chunks that it has. Artifacts of the
//!   most urgent priority class come first. Within an artifact, a [`Policy`] ranks the missing chunks. The default
//!   policy requests the rarest chunks first.
//! - **Stealing.** A peer that has none of the missing chunks takes over a request from a *victim peer* that would need
//!   at least twice as long. First the request is *recalled*: it is cancelled, but its chunks still count as inflight.
//!   When the victim peer ends the request, the chunks that it has not sent are missing again. They are requested from
//!   faster peers, so no chunk is received twice. If the victim peer does not end the request in time, the request is
//!   *given up*.
//! - **Endgame.** When no chunk is missing, a few inflight chunks are *duplicated*, which means that they are requested
//!   from a second peer.
//! - **Order window.** With [`Config::max_ahead`], only chunks near the first chunk that is not verified are requested, for
//!   a consumer that reads the content in order. The first chunk is always in the window, so the window moves when that
//!   chunk is verified. If its peer is slow, idle peers steal the request as in any download.
//! - **Failures.** A peer that sends no bytes for longer than its timeout has *stalled*, and its requests are given up.
//!   A peer gets a *penalty point* and is paused if it stalls, or if it ends a request without chunks that it
//!   announced. The pause is longer if the peer has more points. Points decay, and each delivered chunk halves them. A
//!   peer that answers `Busy` is paused for the time that the answer states. A peer that sends a corrupt chunk is
//!   banned.
//!
//! # Contract
//! Report what happens with the `handle_` methods, at any time and in any order. After each call:
//!
//! 1. drain [`poll_action`](Scheduler::poll_action) and carry out every action;
//! 2. drain [`poll_event`](Scheduler::poll_event);
//! 3. call [`handle_timeout`](Scheduler::handle_timeout) at the time that [`poll_timeout`](Scheduler::poll_timeout)
//!    returns.
//!
//! Each chunk is reported twice. Call [`handle_arrival`](Scheduler::handle_arrival) when the chunk arrives. The result
//! states whether the peer owed the chunk. Call [`handle_chunk`](Scheduler::handle_chunk) when the chunk is
//! *processed*, for instance verified and stored. Report the end of a request when it arrives. The end takes effect
//! when every chunk that arrived before it is processed.
//!
//! # Invariants
//! [`Scheduler::check`] asserts most of them.
//!
//! - Every chunk is missing, inflight in one or two requests, or verified.
//! - A chunk is requested only from a peer that has announced it, and not from the same peer a second time while the
//!   first request is open.
//! - A request is sent only if the bytes inflight are within [`Config::max_inflight`], and the bytes inflight from its
//!   peer are within the peer's window. There are two exceptions. Every peer may have one request, and a request may
//!   have one chunk of any length.
//! - When the actions are drained, every peer that has a missing chunk in the order window and is not paused has an open
//!   request.

mod choice;
mod chunks;
mod config;
mod haves;
mod message;
mod peer;
mod penalties;
mod policy;
mod requests;

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
use penalties::Penalties;
pub use policy::{Order, OrderError, Policy, Random, RarestFirst, Sequential};
use requests::{GivenUp, Requests};

/// The scheduler of a download, which decides which chunk is requested from which peer. See the [module](self) for how
/// it works and how to drive it.
pub struct Scheduler {
    config: Config,
    policy: Box<dyn Policy>,
    rng: fastrand::Rng,
    /// The incomplete artifacts by artifact slot, with their priority classes.
    slots: BTreeMap<ArtifactSlot, (u8, Chunks)>,
    /// The artifact slots of the incomplete artifacts, by priority class. The class with the lowest number is the most
    /// urgent.
    classes: BTreeMap<u8, BTreeSet<ArtifactSlot>>,
    peers: BTreeMap<PeerKey, Peer>,
    penalties: Penalties,
    banned: BTreeSet<PeerKey>,
    requests: Requests,
    /// The peers to ask for chunks in the next call of [`Scheduler::poll_action`]. Their state or the set of missing
    /// chunks may have changed since they were last asked.
    to_ask: BTreeSet<PeerKey>,
    /// Peers that could be sent a request but have none of the missing chunks.
    idle: BTreeSet<PeerKey>,
    /// The time at which the next peer stalls or the next pause ends. It may be too early, because bytes that arrive
    /// postpone a stall and do not change this field.
    due: Option<Instant>,
    /// The time of the last search for requests that idle peers could steal.
    last_steal_pass: Option<Instant>,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
    stats: Stats,
}

impl Scheduler {
    /// Creates a scheduler that requests the rarest chunks first. `seed` is the RNG seed.
    pub fn new(config: Config, seed: u64) -> Self {
        Self::with_policy(config, seed, Order::RarestFirst.policy(seed))
    }

    /// Creates a scheduler with the given policy for the order of chunks. `seed` is the RNG seed.
    pub fn with_policy(config: Config, seed: u64, policy: Box<dyn Policy>) -> Self {
        Self {
            config,
            policy,
            rng: fastrand::Rng::with_seed(seed),
            slots: BTreeMap::new(),
            classes: BTreeMap::new(),
            peers: BTreeMap::new(),
            penalties: Penalties::default(),
            banned: BTreeSet::new(),
            requests: Requests::default(),
            to_ask: BTreeSet::new(),
            idle: BTreeSet::new(),
            due: None,
            last_steal_pass: None,
            actions: VecDeque::new(),
            events: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// Adds an artifact to fetch. The chunks in `have` are stored already. Artifacts with the lowest `priority` are
    /// fetched first.
    pub fn handle_artifact(&mut self, slot: ArtifactSlot, index: Arc<ArtifactIndex>, have: &ChunkSet, priority: u8) {
        let chunks = Chunks::new(slot, index, have, self.config.max_ahead);
        self.slots.insert(slot, (priority, chunks));
        self.classes.entry(priority).or_default().insert(slot);
        self.finish_if_complete(slot);
    }

    /// Adds a peer that has connected. If [`Config::max_peers`] peers are in use already, the scheduler drops one peer.
    /// It drops the peer with the most penalty points if that peer has more points than the new peer, and otherwise the
    /// new peer.
    pub fn handle_peer(&mut self, now: Instant, peer: PeerKey) {
        if self.banned.contains(&peer) || self.peers.contains_key(&peer) {
            return;
        }
        if self.peers.len() >= self.config.max_peers {
            let points = |key: &PeerKey| self.penalties.points(now, *key);
            let worst = self.peers.keys().copied().max_by(|one, other| points(one).total_cmp(&points(other)));
            let Some(worst) = worst.filter(|worst| points(worst) > points(&peer)) else {
                self.actions.push_back(Action::Drop { peer });
                return;
            };
            self.handle_peer_lost(worst);
            self.actions.push_back(Action::Drop { peer: worst });
        }
        self.peers.insert(peer, Peer::new(now, &self.config));
        self.to_ask.insert(peer);
    }

    /// Handles the announcement of the chunks that `peer` has of the artifact in `slot`.
    pub fn handle_have(&mut self, peer: PeerKey, slot: ArtifactSlot, update: HaveUpdate) {
        let (true, Some((_, chunks))) = (self.peers.contains_key(&peer), self.slots.get_mut(&slot)) else { return };
        chunks.handle_have(peer, update);
        self.to_ask.insert(peer);
    }

    /// Removes a peer that has disconnected, and gives up its requests, so that their chunks are requested from other
    /// peers.
    pub fn handle_peer_lost(&mut self, peer: PeerKey) {
        let Some(state) = self.peers.remove(&peer) else { return };
        self.to_ask.remove(&peer);
        self.idle.remove(&peer);
        for request in state.requests {
            self.give_up(request);
        }
        self.requests.forget_peer(peer);
        self.slots.values_mut().for_each(|(_, chunks)| chunks.handle_peer_lost(peer));
    }

    /// Handles the arrival of bytes from a peer. `total` is the number of bytes of the peer's replies since the peer
    /// connected, verified or not. Call this method before [`handle_timeout`](Self::handle_timeout) if a chunk can take
    /// longer than a timeout. Otherwise a peer that slowly sends a long chunk counts as stalled.
    pub fn handle_received(&mut self, now: Instant, peer: PeerKey, total: u64) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.handle_received(now, total);
        }
    }

    /// Handles the arrival of a chunk from `peer`. Returns whether the peer owed the chunk. The driver processes an
    /// owed chunk (see [`Self::handle_chunk`]) and drops any other chunk. A peer that sends a chunk that is
    /// [`Arrival::NotOwed`] breaks the protocol.
    pub fn handle_arrival(&mut self, peer: PeerKey, request: RequestId, index: ChunkIndex) -> Arrival {
        self.requests.arrive(peer, request, index)
    }

    /// Handles the result of processing a chunk that [arrived](Self::handle_arrival) from `peer`. Returns whether the
    /// chunk is verified for the first time. A corrupt chunk bans the peer, even a peer that is no longer connected.
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
        if let Some(end) = self.requests.processed(request) {
            self.end(now, request, end);
        }
        is_new
    }

    /// Counts a chunk that the driver did not verify. If the artifact is complete, the chunk counts as delivered and as
    /// a duplicate. Otherwise it stays pending.
    fn discard(&mut self, now: Instant, request: RequestId, slot: ArtifactSlot, index: ChunkIndex) {
        if !self.slots.contains_key(&slot) {
            self.delivered(now, request, index);
            self.stats.duplicates += 1;
        }
    }

    /// Marks a chunk as verified. Returns whether this is the first time.
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
            Verified::New { inflight, is_wider } => {
                for other in inflight.into_iter().flatten().filter(|other| *other != request) {
                    self.drop_copy(other, index);
                }
                self.events.push_back(Event::Verified { slot, index, peer });
                let is_complete = self.finish_if_complete(slot);
                if is_wider || (is_complete && self.is_in_order()) {
                    self.to_ask.extend(&self.idle);
                }
                true
            }
        }
    }

    /// Handles the reply with which `peer` ends a request. The end takes effect when every chunk that arrived for the
    /// request is processed, because the scheduler then knows which chunks were not sent. Has no effect if the request
    /// was sent to another peer.
    pub fn handle_end(&mut self, now: Instant, peer: PeerKey, request: RequestId, end: End) {
        if let Some(end) = self.requests.record_end(peer, request, end) {
            self.end(now, request, end);
        }
    }

    /// Gives up the requests to peers that have stalled, and resumes peers whose pause has ended.
    pub fn handle_timeout(&mut self, now: Instant) {
        let has_stalled = |peer: &Peer| peer.stalls_at(&self.config).is_some_and(|at| at <= now);
        let stalled: Vec<_> = self.peers.iter().filter(|(_, peer)| has_stalled(peer)).map(|(key, _)| *key).collect();
        for key in stalled {
            let points = self.penalties.add(now, key);
            let Some(peer) = self.peers.get_mut(&key) else { continue };
            peer.handle_stall(&self.config);
            peer.penalise(now, points);
            let mut chunks = 0;
            for request in std::mem::take(&mut peer.requests) {
                chunks += self.give_up(request);
                self.actions.push_back(Action::Cancel { id: request, peer: key });
            }
            self.stats.stalls += 1;
            self.events.push_back(Event::Stalled { peer: key, chunks });
        }
        let resumed = self.peers.iter_mut().filter_map(|(key, peer)| peer.take_ended_pause(now).then_some(*key));
        self.to_ask.extend(resumed);
        let stalls = self.peers.values().filter_map(|peer| peer.stalls_at(&self.config));
        let pauses = self.peers.values().filter_map(|peer| peer.pause_end(now));
        self.due = stalls.chain(pauses).min();
    }

    /// Returns the next action to carry out. Call this method until it returns `None`.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if self.actions.is_empty() {
            self.make_requests(now);
        }
        self.actions.pop_front()
    }

    /// Returns the next event. Call this method until it returns `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout). The returned time may be too early, so the call
    /// may have no effect.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.into_iter().chain(self.next_steal_pass()).min()
    }

    /// Returns the counters since the scheduler was created.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Returns the measured rate at which a peer delivers chunks, in bytes per second; `None` before the first
    /// measurement, or if the peer is not connected.
    pub fn rate(&self, peer: PeerKey) -> Option<f64> {
        self.peers.get(&peer)?.rate()
    }

    /// Returns the bytes that are inflight from all peers together.
    pub fn inflight(&self) -> u64 {
        self.requests.inflight()
    }

    /// Asserts the invariants, for tests and simulations.
    ///
    /// # Panics
    /// If an invariant does not hold.
    pub fn check(&self) {
        for (slot, (priority, chunks)) in &self.slots {
            assert!(self.classes[priority].contains(slot));
            chunks.check(|request, chunk| self.requests.get(request).is_some_and(|request| request.has(chunk)));
        }
        assert_eq!(self.classes.values().map(BTreeSet::len).sum::<usize>(), self.slots.len());
        for (key, peer) in &self.peers {
            let of_peer = || peer.requests.iter().filter_map(|id| self.requests.get(*id));
            assert!(of_peer().all(|request| request.peer == *key));
            assert_eq!(of_peer().map(|request| request.bytes()).sum::<u64>(), peer.inflight, "inflight from {key}");
        }
        let inflight = self.requests.inflight();
        assert_eq!(self.requests.iter().map(|(_, request)| request.bytes()).sum::<u64>(), inflight, "bytes inflight");
        let allowance = self.peers.len() as u64 * self.config.max_request;
        assert!(inflight <= self.config.max_inflight + allowance, "more bytes are inflight than permitted");
        assert!(self.peers.len() <= self.config.max_peers);
        assert!(self.banned.iter().all(|peer| !self.peers.contains_key(peer)));
        assert!(self.to_ask.iter().chain(&self.idle).all(|peer| self.peers.contains_key(peer)));
    }

    /// Updates the request, its peer and the peer's penalty points after a chunk has been delivered.
    fn delivered(&mut self, now: Instant, id: RequestId, index: ChunkIndex) {
        let Some(delivery) = self.requests.deliver(now, id, index) else { return };
        if let Some(peer) = self.peers.get_mut(&delivery.peer) {
            peer.handle_bytes(now, delivery.bytes, delivery.first_after, &self.config);
            self.penalties.forgive(delivery.peer);
            self.to_ask.insert(delivery.peer);
        }
    }

    /// Removes a chunk from a request because another request has delivered it. Cancels the request if no chunk
    /// remains.
    fn drop_copy(&mut self, id: RequestId, index: ChunkIndex) {
        let Some(key) = self.requests.get(id).map(|request| request.peer) else { return };
        let Some((bytes, is_over)) = self.requests.drop_chunk(id, index) else { return };
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.inflight -= bytes;
            self.to_ask.insert(key);
        }
        if is_over {
            self.actions.push_back(Action::Cancel { id, peer: key });
        }
    }

    /// Ends a request after all chunks that arrived for it have been processed.
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

    /// Closes a request that its peer has ended. The pending chunks become missing again, except duplicated chunks. A
    /// peer that refused the request as [`Refusal::Busy`] is paused. After any other end, the peer is at fault if
    /// chunks are pending and the request was not recalled. It then gets a penalty point and a pause, and counts as
    /// lacking these chunks.
    fn close(&mut self, now: Instant, id: RequestId, refusal: Refusal) {
        let Some(request) = self.requests.get(id) else { return };
        let (key, is_recalled) = (request.peer, request.recalled().is_some());
        let has_no_fault = request.pending.is_empty() || is_recalled;
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.requests.remove(&id);
            match refusal {
                Refusal::Busy { retry_after_ms } => {
                    let wait = retry_after_ms.clamp(1, MAX_RETRY_AFTER_MS);
                    let until = now + Duration::from_millis(wait.into());
                    peer.pause(until);
                    self.due = self.due.into_iter().chain([until]).min();
                }
                _ if has_no_fault => {}
                _ => {
                    if let Some((_, chunks)) = self.slots.get_mut(&request.slot) {
                        request.pending.iter().for_each(|(chunk, _)| chunks.handle_lack(key, *chunk));
                    }
                    let until = peer.penalise(now, self.penalties.add(now, key));
                    self.due = self.due.into_iter().chain([until]).min();
                }
            }
            self.to_ask.insert(key);
        }
        let missing = self.give_up(id);
        self.stats.stolen += if is_recalled { u64::from(missing) } else { 0 };
    }

    /// Gives up a request. Its pending chunks are missing again, except duplicated chunks, which are still inflight
    /// from another peer. Returns the number of chunks that have become missing.
    fn give_up(&mut self, id: RequestId) -> u32 {
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
            self.to_ask.extend(self.peers.keys());
        }
        missing
    }

    fn ban(&mut self, peer: PeerKey, reason: BanReason) {
        if self.banned.insert(peer) {
            self.handle_peer_lost(peer);
            self.actions.push_back(Action::Ban { peer, reason });
        }
    }

    /// If the artifact is complete, adds the event that reports this, and forgets the artifact. Returns whether it is.
    fn finish_if_complete(&mut self, slot: ArtifactSlot) -> bool {
        let Some((priority, chunks)) = self.slots.get(&slot) else { return false };
        if !chunks.is_complete() {
            return false;
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
        true
    }
}
