//! What each peer is asked for next: what is missing, and when it has nothing of that, what others are too slow for.
//!
//! Stealing takes two steps. The slow peer's request is recalled: cancelled, but still counted as under way. When the slow peer
//! says that it has ended, what it did not bring is missing again, and others are asked. So nothing comes twice. A peer that
//! does not say so in time loses the request all the same, to the one that wanted it. Two copies of a chunk are on their way
//! on purpose only in the endgame, when nothing is missing any more.

use std::time::{Duration, Instant};

use phase_core::{ChunkIndex, ChunkRange};

use crate::peer::PeerKey;
use crate::scheduler::peer::Peer;
use crate::scheduler::requests::Request;
use crate::scheduler::{Action, ArtifactSlot, RequestId, Scheduler};

/// A peer with nothing else to do takes over what another one would take so many times as long for.
const STEAL_FACTOR: u32 = 2;
/// The same for a peer that could do something less urgent.
const URGENT_STEAL_FACTOR: u32 = 10;
/// What will be here within this time is left where it is.
const MIN_LATE: Duration = Duration::from_millis(200);
/// Chunks that are on their way twice at a time: the endgame brings the last ones early, and must not cost much.
const MAX_SECONDED: u32 = 2;
/// The time between two looks at what idle peers could take over.
const RELIEF_INTERVAL: Duration = Duration::from_millis(25);

/// What became of an attempt to ask a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// It was asked; perhaps there is more.
    Yes,
    /// It has enough to do, or has to rest.
    Full,
    /// Too much is in flight in all.
    Capped,
    /// It has nothing that is missing.
    Idle,
}

impl Scheduler {
    /// Asks every peer that has room for something, in random order, until nothing more can be asked for.
    pub(super) fn make_requests(&mut self, now: Instant) {
        let mut keys: Vec<_> = std::mem::take(&mut self.hungry).into_iter().collect();
        self.rng.shuffle(&mut keys);
        // What was taken back from a slow peer goes to others first.
        keys.sort_by_key(|key| self.peers.get(key).is_some_and(|peer| !peer.may_steal()));
        while !keys.is_empty() {
            keys.retain(|key| {
                self.idle.remove(key);
                let asked = self.ask(now, *key);
                match asked {
                    Asked::Idle => self.idle.insert(*key),
                    Asked::Capped => self.hungry.insert(*key),
                    Asked::Yes | Asked::Full => false,
                };
                asked == Asked::Yes
            });
        }
        self.relieve(now);
    }

    /// When idle peers should be looked at again.
    pub(super) fn relief_at(&self) -> Option<Instant> {
        let is_due = !self.idle.is_empty() && self.requests.inflight() > 0;
        self.relieved.filter(|_| is_due).map(|at| at + RELIEF_INTERVAL)
    }

    /// Makes one request to a peer, if it can.
    fn ask(&mut self, now: Instant, key: PeerKey) -> Asked {
        let Some(peer) = self.peers.get(&key) else { return Asked::Full };
        let room = peer.room(now, &self.config);
        if room == 0 {
            return Asked::Full;
        }
        // Every peer may have one request, so that a low limit does not leave one without anything.
        if self.requests.inflight() + room > self.config.max_inflight && peer.inflight > 0 {
            return Asked::Capped;
        }
        let start = self.rng.u32(..);
        let last = self.classes.last_key_value().map(|(priority, _)| *priority);
        for priority in self.classes.keys().copied().collect::<Vec<_>>() {
            if let Some((slot, range)) = self.pick_missing(priority, key, room, start) {
                self.send(now, key, slot, range);
                return Asked::Yes;
            }
            if Some(priority) != last && self.steal_urgent(now, key, priority) {
                return Asked::Yes;
            }
        }
        Asked::Idle
    }

    /// Missing chunks of one class that a peer has. Of several artifacts the first one from a random one on is chosen that
    /// has any, so that clients do not all fetch the same ones first.
    fn pick_missing(&self, priority: u8, key: PeerKey, room: u64, start: u32) -> Option<(ArtifactSlot, ChunkRange)> {
        let class = self.classes.get(&priority)?;
        let from = match (self.policy.is_ordered(), class.last()) {
            (false, Some(last)) => ArtifactSlot(start.checked_rem(last.0 + 1).unwrap_or(0)),
            _ => ArtifactSlot(0),
        };
        class.range(from..).chain(class.range(..from)).find_map(|slot| {
            let (_, chunks) = self.slots.get(slot).filter(|(_, chunks)| chunks.has_missing())?;
            Some((*slot, chunks.pick(key, room, self.policy.as_ref(), start)?))
        })
    }

    /// Asks a peer for chunks.
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

    /// Gives peers that have nothing to do what others are too slow for.
    fn relieve(&mut self, now: Instant) {
        let is_early = self.relieved.is_some_and(|last| now < last + RELIEF_INTERVAL);
        if is_early || self.idle.is_empty() || self.requests.inflight() == 0 {
            return;
        }
        self.relieved = Some(now);
        let late = self.late(now, |_| true);
        let mut idle: Vec<_> = self.idle.iter().copied().collect();
        self.rng.shuffle(&mut idle);
        for key in idle {
            // Each step either takes a request from a peer or gives it to this one.
            while self.has_room(now, key)
                && let Some(id) = self.find_late(now, key, &late, STEAL_FACTOR)
            {
                self.steal(now, key, id);
            }
            if self.slots.values().all(|(_, chunks)| !chunks.has_missing()) {
                self.duplicate(now, key, &late);
            }
        }
    }

    /// Takes over something of a class from a peer that is much slower.
    fn steal_urgent(&mut self, now: Instant, key: PeerKey, priority: u8) -> bool {
        let Some(class) = self.classes.get(&priority) else { return false };
        let late = self.late(now, |request| class.contains(&request.slot));
        let found = self.find_late(now, key, &late, URGENT_STEAL_FACTOR);
        found.is_some_and(|id| self.steal(now, key, id))
    }

    fn has_room(&self, now: Instant, key: PeerKey) -> bool {
        let Some(peer) = self.peers.get(&key) else { return false };
        let room = peer.room(now, &self.config);
        room > 0 && (peer.inflight == 0 || self.requests.inflight() + room <= self.config.max_inflight)
    }

    /// Requests and the times until they will have been answered, the last one first.
    fn late(&self, now: Instant, which: impl Fn(&Request) -> bool) -> Vec<(Duration, RequestId)> {
        let mut late = Vec::new();
        for peer in self.peers.values() {
            let mut ahead = 0;
            for id in &peer.requests {
                let Some(request) = self.requests.get(*id) else { continue };
                ahead += request.bytes();
                if which(request) {
                    late.push((peer.expect(now, ahead), *id));
                }
            }
        }
        late.sort_unstable_by(|one, other| other.cmp(one));
        late
    }

    /// The request furthest from its end of which a peer has something, if the peer would be `factor` times as fast.
    fn find_late(&self, now: Instant, key: PeerKey, late: &[(Duration, RequestId)], factor: u32) -> Option<RequestId> {
        let thief = self.peers.get(&key).filter(|peer| peer.may_steal())?;
        let least = (thief.expect(now, thief.inflight) * factor).max(MIN_LATE);
        late.iter().take_while(|(expected, _)| *expected >= least).find_map(|(expected, id)| {
            let request = self.requests.get(*id).filter(|request| request.peer != key)?;
            let patience = self.peers.get(&request.peer).map_or(Duration::ZERO, Peer::recall_patience);
            if request.recalled().is_some_and(|at| now < at + patience) {
                return None;
            }
            let (_, bytes) = self.first_seconded(request, key)?;
            let own = thief.expect(now, thief.inflight + bytes);
            (*expected >= own * factor).then_some(*id)
        })
    }

    /// The first chunk of a request that a peer could bring as well.
    fn first_seconded(&self, request: &Request, key: PeerKey) -> Option<(ChunkIndex, u64)> {
        let (_, chunks) = self.slots.get(&request.slot)?;
        request.pending.iter().copied().find(|(chunk, _)| chunks.can_second(key, *chunk))
    }

    /// Takes a request back from its peer, or, if it was and has not ended since, gives it to `key`.
    fn steal(&mut self, now: Instant, key: PeerKey, id: RequestId) -> bool {
        let Some(request) = self.requests.get(id) else { return false };
        let (victim, slot) = (request.peer, request.slot);
        let Some((first, _)) = self.first_seconded(request, key) else { return false };
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
        self.stats.stolen += u64::from(self.take_back(id));
        let room = self.peers.get(&key).map_or(0, |peer| peer.room(now, &self.config));
        let range = self.slots.get(&slot).and_then(|(_, chunks)| chunks.run_from(key, first, room));
        range.inspect(|range| self.send(now, key, slot, *range)).is_some()
    }

    /// Endgame: a peer with nothing at all to do gets a second copy of what will arrive last, if it would be faster.
    fn duplicate(&mut self, now: Instant, key: PeerKey, late: &[(Duration, RequestId)]) {
        if self.slots.values().map(|(_, chunks)| chunks.seconded()).sum::<u32>() >= MAX_SECONDED {
            return;
        }
        let Some(peer) = self.peers.get(&key).filter(|peer| peer.inflight == 0 && peer.may_steal()) else { return };
        if peer.room(now, &self.config) == 0 {
            return;
        }
        let found = late.iter().take_while(|(expected, _)| *expected >= MIN_LATE).find_map(|(expected, id)| {
            let request = self.requests.get(*id).filter(|request| request.peer != key)?;
            let (ChunkIndex(chunk), bytes) = self.first_seconded(request, key)?;
            let range = ChunkRange { start: chunk, end: chunk + 1 };
            (*expected > peer.expect(now, bytes)).then_some((request.slot, range))
        });
        if let Some((slot, range)) = found {
            self.send(now, key, slot, range);
        }
    }
}
