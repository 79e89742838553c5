//! Decides which chunks are requested from each peer next. Usually these are missing chunks. A peer that has none of
//! the missing chunks may get chunks that are inflight from slower peers.
//!
//! Stealing takes up to two steps. First the victim peer's request is recalled: it is cancelled, but its chunks still
//! count as inflight. When the victim peer ends the request, the chunks that it has not sent are missing again and are
//! requested from other peers. So no chunk is received twice. The second step follows only if the victim peer does not
//! end the request within its [recall timeout](Peer::recall_timeout). The request is then given up, and the faster peer
//! is asked for the chunks.
//!
//! A chunk is duplicated (requested from two peers on purpose) only in the endgame.

use std::time::{Duration, Instant};

use phase_core::{ChunkIndex, ChunkRange};

use crate::peer::PeerKey;
use crate::scheduler::peer::Peer;
use crate::scheduler::requests::Request;
use crate::scheduler::{Action, ArtifactSlot, RequestId, Scheduler};

/// An idle peer steals a request if the victim peer would need at least this many times as long to deliver the chunks.
const STEAL_FACTOR: u32 = 2;
/// Like [`STEAL_FACTOR`], for a peer that need not be idle. The factor is higher because the peer may find missing
/// chunks in less urgent artifacts.
const URGENT_STEAL_FACTOR: u32 = 10;
/// A request that is expected to end within this time is neither stolen nor duplicated.
const MIN_STEAL_TIME: Duration = Duration::from_millis(200);
/// The maximum number of chunks that are duplicated (requested from two peers) at a time. It is low so that the endgame
/// wastes few bytes.
const MAX_DUPLICATED: u32 = 2;
/// The minimum time between two searches for requests that idle peers could steal.
const STEAL_PASS_INTERVAL: Duration = Duration::from_millis(25);

/// The result of an attempt to send a request to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// A request was sent to the peer, or a slower peer's request was recalled for it. The peer can be asked again at
    /// once.
    Yes,
    /// No request was sent, because the window of the peer is full, or because the peer is paused or not connected.
    Full,
    /// No request was sent, because the bytes inflight from all peers together have reached their limit.
    Capped,
    /// No request was sent, because the peer has none of the missing chunks.
    Idle,
}

impl Scheduler {
    /// Sends requests to the peers in `to_ask`, in rounds. In each round, every peer gets at most one request, in
    /// random order. The rounds end when no peer can be sent another request. Then idle peers steal requests.
    pub(super) fn make_requests(&mut self, now: Instant) {
        let mut keys: Vec<_> = std::mem::take(&mut self.to_ask).into_iter().collect();
        self.rng.shuffle(&mut keys);
        // Suspects come last, so that the chunks of their stalled or recalled requests go to other peers.
        keys.sort_by_key(|key| self.peers.get(key).is_some_and(|peer| !peer.may_steal()));
        while !keys.is_empty() {
            keys.retain(|key| {
                self.idle.remove(key);
                let asked = self.ask(now, *key);
                match asked {
                    Asked::Idle => self.idle.insert(*key),
                    Asked::Capped => self.to_ask.insert(*key),
                    Asked::Yes | Asked::Full => false,
                };
                asked == Asked::Yes
            });
        }
        self.steal_for_idle_peers(now);
    }

    /// Returns when to search again for requests that idle peers could steal; `None` if no search is needed.
    pub(super) fn next_steal_pass(&self) -> Option<Instant> {
        let is_due = !self.idle.is_empty() && self.requests.inflight() > 0;
        self.last_steal_pass.filter(|_| is_due).map(|at| at + STEAL_PASS_INTERVAL)
    }

    /// Sends one request to a peer, if possible.
    fn ask(&mut self, now: Instant, key: PeerKey) -> Asked {
        let Some(peer) = self.peers.get(&key) else { return Asked::Full };
        let budget = peer.request_budget(now, &self.config);
        if budget == 0 {
            return Asked::Full;
        }
        // Every peer may have one request even if the limit is reached, so that a low limit leaves no peer unused.
        if self.requests.inflight() + budget > self.config.max_inflight && peer.inflight > 0 {
            return Asked::Capped;
        }
        let start = self.rng.u32(..);
        let last = self.classes.last_key_value().map(|(priority, _)| *priority);
        let classes = if self.is_in_order() { 1 } else { self.classes.len() };
        for priority in self.classes.keys().copied().take(classes).collect::<Vec<_>>() {
            if let Some((slot, range)) = self.pick_missing(priority, key, budget, start) {
                self.send(now, key, slot, range);
                return Asked::Yes;
            }
            if Some(priority) != last && self.steal_urgent(now, key, priority) {
                return Asked::Yes;
            }
        }
        Asked::Idle
    }

    /// Returns a run of missing chunks that a peer has, from an artifact of one priority class. The search begins at a
    /// random artifact (`start`), so that clients do not all fetch the same artifact first. If the policy is ordered,
    /// the search begins at the first artifact, and with an order window it ends there.
    fn pick_missing(&self, priority: u8, key: PeerKey, budget: u64, start: u32) -> Option<(ArtifactSlot, ChunkRange)> {
        let class = self.classes.get(&priority)?;
        let from = match (self.policy.is_ordered(), class.last()) {
            (false, Some(last)) => ArtifactSlot(start.checked_rem(last.0 + 1).unwrap_or(0)),
            _ => ArtifactSlot(0),
        };
        let searched = if self.is_in_order() { 1 } else { class.len() };
        class.range(from..).chain(class.range(..from)).take(searched).find_map(|slot| {
            let (_, chunks) = self.slots.get(slot).filter(|(_, chunks)| chunks.has_missing())?;
            Some((*slot, chunks.pick(key, budget, self.policy.as_ref(), start)?))
        })
    }

    /// Returns whether artifacts are requested strictly one after the other.
    pub(super) fn is_in_order(&self) -> bool {
        self.config.max_ahead.is_some() && self.policy.is_ordered()
    }

    /// Returns whether chunks of the artifact may be requested now. If artifacts are requested one after the other, only
    /// those of the first incomplete one may.
    fn is_turn_of(&self, slot: ArtifactSlot) -> bool {
        !self.is_in_order() || self.classes.values().flatten().next() == Some(&slot)
    }

    /// Returns whether a chunk is missing that may be requested now.
    fn has_missing(&self) -> bool {
        self.slots.iter().any(|(slot, (_, chunks))| chunks.has_missing() && self.is_turn_of(*slot))
    }

    /// Sends a request for `range` to a peer.
    fn send(&mut self, now: Instant, key: PeerKey, slot: ArtifactSlot, range: ChunkRange) {
        let (Some((_, chunks)), Some(peer)) = (self.slots.get_mut(&slot), self.peers.get_mut(&key)) else { return };
        let id = self.requests.next_id();
        let pending: Vec<_> = range.iter().map(|chunk| (chunk, chunks.chunk_len(chunk))).collect();
        range.iter().for_each(|chunk| chunks.send(chunk, id));
        let ahead = peer.inflight;
        peer.handle_sent(now, id, pending.iter().map(|(_, len)| len).sum());
        self.due = self.due.into_iter().chain(peer.stalls_at(&self.config)).min();
        self.requests.add(now, key, slot, pending, ahead);
        self.actions.push_back(Action::Request { id, peer: key, slot, ranges: vec![range] });
    }

    /// Lets each idle peer steal requests from slower peers. In the endgame, lets it duplicate a chunk of a slower
    /// peer.
    fn steal_for_idle_peers(&mut self, now: Instant) {
        let is_early = self.last_steal_pass.is_some_and(|last| now < last + STEAL_PASS_INTERVAL);
        if is_early || self.idle.is_empty() || self.requests.inflight() == 0 {
            return;
        }
        self.last_steal_pass = Some(now);
        let slowest = self.by_expected_end(now, |_| true);
        let mut idle: Vec<_> = self.idle.iter().copied().collect();
        self.rng.shuffle(&mut idle);
        for key in idle {
            // Each iteration recalls a request, or requests the chunks of a recalled request from this peer.
            while self.can_take_request(now, key)
                && let Some(id) = self.find_stealable(now, key, &slowest, STEAL_FACTOR)
            {
                self.steal(now, key, id);
            }
            if !self.has_missing() {
                self.duplicate(now, key, &slowest);
            }
        }
    }

    /// Lets a peer steal a request of one priority class from a much slower peer. Returns whether a request was
    /// recalled or stolen.
    fn steal_urgent(&mut self, now: Instant, key: PeerKey, priority: u8) -> bool {
        let Some(class) = self.classes.get(&priority) else { return false };
        let slowest = self.by_expected_end(now, |request| class.contains(&request.slot));
        let found = self.find_stealable(now, key, &slowest, URGENT_STEAL_FACTOR);
        found.is_some_and(|id| self.steal(now, key, id))
    }

    /// Returns whether a request may be sent to a peer now.
    fn can_take_request(&self, now: Instant, key: PeerKey) -> bool {
        let Some(peer) = self.peers.get(&key) else { return false };
        let budget = peer.request_budget(now, &self.config);
        budget > 0 && (peer.inflight == 0 || self.requests.inflight() + budget <= self.config.max_inflight)
    }

    /// Returns the open requests that `which` selects, each with the expected time until it is answered. The longest
    /// time comes first.
    fn by_expected_end(&self, now: Instant, which: impl Fn(&Request) -> bool) -> Vec<(Duration, RequestId)> {
        let mut slowest = Vec::new();
        for peer in self.peers.values() {
            let mut ahead = 0;
            for id in &peer.requests {
                let Some(request) = self.requests.get(*id) else { continue };
                ahead += request.bytes();
                if which(request) {
                    slowest.push((peer.expected_time(now, ahead), *id));
                }
            }
        }
        slowest.sort_unstable_by(|one, other| other.cmp(one));
        slowest
    }

    /// Returns the request with the longest expected time that the peer `key` can steal. The peer must have a chunk of
    /// the request, and must be expected to deliver the chunk at least `factor` times faster. A recalled request can be
    /// stolen only after its recall timeout. `slowest` holds the requests to choose from, with the longest expected
    /// time first.
    fn find_stealable(
        &self,
        now: Instant,
        key: PeerKey,
        slowest: &[(Duration, RequestId)],
        factor: u32,
    ) -> Option<RequestId> {
        let thief = self.peers.get(&key).filter(|peer| peer.may_steal())?;
        let least = (thief.expected_time(now, thief.inflight) * factor).max(MIN_STEAL_TIME);
        slowest.iter().take_while(|(expected, _)| *expected >= least).find_map(|(expected, id)| {
            let request =
                self.requests.get(*id).filter(|request| request.peer != key && self.is_turn_of(request.slot))?;
            let timeout = self.peers.get(&request.peer).map_or(Duration::ZERO, Peer::recall_timeout);
            if request.recalled().is_some_and(|at| now < at + timeout) {
                return None;
            }
            let (_, bytes) = self.first_available(request, key)?;
            let time = thief.expected_time(now, thief.inflight + bytes);
            (*expected >= time * factor).then_some(*id)
        })
    }

    /// Finds the first pending chunk of `request` that the peer `key` may be asked for too. Returns the chunk and its
    /// length in bytes.
    fn first_available(&self, request: &Request, key: PeerKey) -> Option<(ChunkIndex, u64)> {
        let (_, chunks) = self.slots.get(&request.slot)?;
        request.pending.iter().copied().find(|(chunk, _)| chunks.can_duplicate(key, *chunk))
    }

    /// Recalls a request from its peer. If the request was recalled before, gives it up and requests its chunks from
    /// the peer `key`. Returns whether the request was recalled or its chunks were requested.
    fn steal(&mut self, now: Instant, key: PeerKey, id: RequestId) -> bool {
        let Some(request) = self.requests.get(id) else { return false };
        let (victim, slot) = (request.peer, request.slot);
        let Some((first, _)) = self.first_available(request, key) else { return false };
        if request.recalled().is_none() {
            self.requests.recall(now, id);
            self.actions.push_back(Action::Cancel { id, peer: victim });
            if let Some(peer) = self.peers.get_mut(&victim) {
                peer.handle_steal();
            }
            return true;
        }
        if let Some(peer) = self.peers.get_mut(&victim) {
            peer.requests.remove(&id);
        }
        self.stats.stolen += u64::from(self.give_up(id));
        let budget = self.peers.get(&key).map_or(0, |peer| peer.request_budget(now, &self.config));
        let range = self.slots.get(&slot).and_then(|(_, chunks)| chunks.run_from(key, first, budget));
        range.inspect(|range| self.send(now, key, slot, *range)).is_some()
    }

    /// In the endgame, requests an inflight chunk from a second peer, `key`. The chunk is taken from the request with
    /// the longest expected time. Nothing is sent if bytes are inflight from `key`, or if `key` is not expected to
    /// deliver the chunk first.
    fn duplicate(&mut self, now: Instant, key: PeerKey, slowest: &[(Duration, RequestId)]) {
        if self.slots.values().map(|(_, chunks)| chunks.duplicated()).sum::<u32>() >= MAX_DUPLICATED {
            return;
        }
        let Some(peer) = self.peers.get(&key).filter(|peer| peer.inflight == 0 && peer.may_steal()) else { return };
        if peer.request_budget(now, &self.config) == 0 {
            return;
        }
        let found =
            slowest.iter().take_while(|(expected, _)| *expected >= MIN_STEAL_TIME).find_map(|(expected, id)| {
                let request =
                    self.requests.get(*id).filter(|request| request.peer != key && self.is_turn_of(request.slot))?;
                let (ChunkIndex(chunk), bytes) = self.first_available(request, key)?;
                let range = ChunkRange { start: chunk, end: chunk + 1 };
                (*expected > peer.expected_time(now, bytes)).then_some((request.slot, range))
            });
        if let Some((slot, range)) = found {
            self.send(now, key, slot, range);
        }
    }
}
