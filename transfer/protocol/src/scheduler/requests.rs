//! Every request from its sending to its end: the one record of it.
//!
//! Invariants:
//! - a request is *open* while its chunks count as in flight, and *given up* after that, until its peer ends it;
//! - `inflight` is what all open requests have pending;
//! - the end of a request takes effect after all chunks that arrived for it were looked at.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use phase_core::ChunkIndex;

use crate::peer::PeerKey;
use crate::request_id::RequestId;
use crate::scheduler::message::{Arrival, ArtifactSlot, End};

/// Requests that have ended and are remembered, so that a peer is not blamed for a chunk which arrived before the end, or before
/// the peer was lost. Of more, the one that ended first is forgotten.
const MAX_ENDED: usize = 4096;
/// Requests that were given up and whose peers have not ended them. Of more, the oldest is taken for ended: its chunks are then
/// of no use, and its peer is not blamed for them.
const MAX_GIVEN_UP: usize = 4096;

/// A request until its peer ends it.
pub(super) struct Request {
    pub(super) peer: PeerKey,
    pub(super) slot: ArtifactSlot,
    /// Chunks that have not been reported, and their lengths; none once the request is given up.
    pub(super) pending: Vec<(ChunkIndex, u64)>,
    /// Chunks that the peer may still send.
    owed: Vec<ChunkIndex>,
    /// Chunks that have arrived and have not been looked at.
    unverified: u32,
    /// How the peer has ended it, while chunks are unverified.
    end: Option<End>,
    is_given_up: bool,
    sent: Instant,
    /// What its peer had to bring before it, in bytes.
    ahead: u64,
    /// Nothing of it has been reported yet.
    is_fresh: bool,
    /// When it was taken back, if it was and has not ended yet.
    recalled: Option<Instant>,
}

impl Request {
    /// When it was taken back, if it was.
    pub(super) fn recalled(&self) -> Option<Instant> {
        self.recalled
    }

    /// Bytes that are pending.
    pub(super) fn bytes(&self) -> u64 {
        self.pending.iter().map(|(_, len)| len).sum()
    }

    pub(super) fn has(&self, chunk: ChunkIndex) -> bool {
        self.pending.iter().any(|(pending, _)| *pending == chunk)
    }
}

/// A chunk that came for a request.
pub(super) struct Delivery {
    pub(super) peer: PeerKey,
    /// Its length.
    pub(super) bytes: u64,
    /// If it is the request's first chunk: the time from the request, and the bytes that its peer had to bring before it.
    pub(super) first_after: Option<(Duration, u64)>,
}

/// What a request that was given up leaves.
pub(super) struct GivenUp {
    pub(super) peer: PeerKey,
    pub(super) slot: ArtifactSlot,
    /// Chunks that were pending, and their lengths.
    pub(super) pending: Vec<(ChunkIndex, u64)>,
}

/// All requests by their id.
pub(super) struct Requests {
    by_id: BTreeMap<RequestId, Request>,
    /// The peers of requests that have ended, and these requests in the order of their ends.
    ended: BTreeMap<RequestId, PeerKey>,
    ends: VecDeque<RequestId>,
    next: RequestId,
    inflight: u64,
    given_up: usize,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            by_id: BTreeMap::new(),
            ended: BTreeMap::new(),
            ends: VecDeque::new(),
            next: RequestId::FIRST_SCHEDULED,
            inflight: 0,
            given_up: 0,
        }
    }
}

impl Requests {
    /// Bytes in flight in all.
    pub(super) fn inflight(&self) -> u64 {
        self.inflight
    }

    /// An open request.
    pub(super) fn get(&self, id: RequestId) -> Option<&Request> {
        self.by_id.get(&id).filter(|request| !request.is_given_up)
    }

    /// All open requests.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RequestId, &Request)> {
        self.by_id.iter().filter(|(_, request)| !request.is_given_up).map(|(id, request)| (*id, request))
    }

    /// The id that the next request will have.
    pub(super) fn next_id(&self) -> RequestId {
        self.next
    }

    /// A new request, under [`next_id`](Self::next_id).
    ///
    /// `ahead`: what the peer has to bring before it, in bytes.
    pub(super) fn add(
        &mut self,
        now: Instant,
        peer: PeerKey,
        slot: ArtifactSlot,
        pending: Vec<(ChunkIndex, u64)>,
        ahead: u64,
    ) {
        let id = self.next;
        self.next = id.next();
        while self.by_id.contains_key(&self.next) {
            // The series has begun again, and a request of its first round has not ended.
            self.next = self.next.next();
        }
        let request = Request {
            peer,
            slot,
            owed: pending.iter().map(|(chunk, _)| *chunk).collect(),
            pending,
            unverified: 0,
            end: None,
            is_given_up: false,
            sent: now,
            ahead,
            is_fresh: true,
            recalled: None,
        };
        self.inflight += request.bytes();
        self.by_id.insert(id, request);
    }

    /// The request is taken back: it will end.
    pub(super) fn recall(&mut self, now: Instant, id: RequestId) {
        if let Some(request) = self.by_id.get_mut(&id) {
            request.recalled = Some(now);
        }
    }

    /// A chunk has come from `peer` and is about to be verified, if it was owed.
    pub(super) fn arrive(&mut self, peer: PeerKey, id: RequestId, chunk: ChunkIndex) -> Arrival {
        let Some(request) = self.by_id.get_mut(&id).filter(|request| request.peer == peer) else {
            let is_known = self.ended.get(&id) == Some(&peer);
            return if is_known { Arrival::Late } else { Arrival::NotOwed };
        };
        let Some(position) = request.owed.iter().position(|owed| *owed == chunk) else { return Arrival::NotOwed };
        request.owed.swap_remove(position);
        request.unverified += 1;
        Arrival::Owed(request.slot)
    }

    /// A chunk that had [arrived](Self::arrive) was looked at. Returns how the request ended, if that can take effect now.
    pub(super) fn looked_at(&mut self, id: RequestId) -> Option<End> {
        let request = self.by_id.get_mut(&id)?;
        request.unverified = request.unverified.saturating_sub(1);
        request.end.take_if(|_| request.unverified == 0)
    }

    /// The peer has ended a request. Returns the end if it can take effect now, otherwise it waits for
    /// [`looked_at`](Self::looked_at).
    pub(super) fn ended(&mut self, peer: PeerKey, id: RequestId, end: End) -> Option<End> {
        let request = self.by_id.get_mut(&id).filter(|request| request.peer == peer)?;
        if request.unverified == 0 {
            return Some(end);
        }
        request.end = Some(end);
        None
    }

    /// A chunk has been reported; `None` if it is not pending.
    pub(super) fn deliver(&mut self, now: Instant, id: RequestId, chunk: ChunkIndex) -> Option<Delivery> {
        let request = self.by_id.get_mut(&id)?;
        let bytes = take(&mut request.pending, chunk)?;
        self.inflight -= bytes;
        let is_first = std::mem::take(&mut request.is_fresh);
        let first_after = is_first.then(|| (now.saturating_duration_since(request.sent), request.ahead));
        Some(Delivery { peer: request.peer, bytes, first_after })
    }

    /// A chunk need not come any more. Returns its length, and whether nothing is pending any more with that; `None` if
    /// it was not pending.
    pub(super) fn drop_chunk(&mut self, id: RequestId, chunk: ChunkIndex) -> Option<(u64, bool)> {
        let request = self.by_id.get_mut(&id)?;
        let bytes = take(&mut request.pending, chunk)?;
        self.inflight -= bytes;
        Some((bytes, request.pending.is_empty()))
    }

    /// Nothing is expected of a request any more, but its peer has not ended it. `None` if it is not open.
    pub(super) fn give_up(&mut self, id: RequestId) -> Option<GivenUp> {
        let request = self.by_id.get_mut(&id).filter(|request| !request.is_given_up)?;
        request.is_given_up = true;
        self.inflight -= request.bytes();
        let (peer, slot, pending) = (request.peer, request.slot, std::mem::take(&mut request.pending));
        self.given_up += 1;
        if self.given_up > MAX_GIVEN_UP {
            let oldest = self.by_id.iter().find(|(_, request)| request.is_given_up).map(|(id, _)| *id);
            oldest.into_iter().for_each(|id| self.forget(id));
        }
        Some(GivenUp { peer, slot, pending })
    }

    /// Forgets a request that was given up: its peer has ended it, or has gone.
    pub(super) fn forget(&mut self, id: RequestId) {
        let Some(request) = self.by_id.remove(&id) else { return };
        debug_assert!(request.is_given_up, "what is in flight is given up first");
        self.given_up -= 1;
        if self.ended.insert(id, request.peer).is_none() {
            self.ends.push_back(id);
        }
        if self.ends.len() > MAX_ENDED
            && let Some(first) = self.ends.pop_front()
        {
            self.ended.remove(&first);
        }
    }

    /// Forgets all requests of a peer that was lost; those that are open are to be [given up](Self::give_up) first.
    pub(super) fn forget_peer(&mut self, peer: PeerKey) {
        let of_peer: Vec<_> =
            self.by_id.iter().filter(|(_, request)| request.peer == peer).map(|(id, _)| *id).collect();
        of_peer.into_iter().for_each(|id| self.forget(id));
    }
}

fn take(pending: &mut Vec<(ChunkIndex, u64)>, chunk: ChunkIndex) -> Option<u64> {
    let position = pending.iter().position(|(of, _)| *of == chunk)?;
    Some(pending.remove(position).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: ArtifactSlot = ArtifactSlot(0);
    const CHUNK: ChunkIndex = ChunkIndex(7);

    #[expect(clippy::disallowed_methods, reason = "time has to begin somewhere")]
    fn start() -> Instant {
        Instant::now()
    }

    fn sent(requests: &mut Requests, peer: PeerKey) -> RequestId {
        let id = requests.next_id();
        requests.add(start(), peer, SLOT, vec![(CHUNK, 100)], 0);
        id
    }

    fn end(requests: &mut Requests, id: RequestId) {
        requests.give_up(id);
        requests.forget(id);
    }

    #[test]
    fn the_request_that_ended_first_is_forgotten_first() {
        let mut requests = Requests::default();
        let (one, other) = (PeerKey(1), PeerKey(2));
        let early = sent(&mut requests, one);
        let first = sent(&mut requests, other);
        end(&mut requests, first);
        for _ in 1..MAX_ENDED {
            let id = sent(&mut requests, other);
            end(&mut requests, id);
        }
        // It was sent before all others and ends after them.
        end(&mut requests, early);
        assert_eq!(requests.arrive(one, early, CHUNK), Arrival::Late);
        assert_eq!(requests.arrive(other, first, CHUNK), Arrival::NotOwed, "it is forgotten");
        assert_eq!((requests.ended.len(), requests.ends.len()), (MAX_ENDED, MAX_ENDED));
    }
}
