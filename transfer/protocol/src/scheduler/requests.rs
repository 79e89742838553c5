//! Keeps the state of every request until it ends.
//!
//! A chunk of a request is *pending* until it is delivered (verified and stored). It is *owed* until it arrives. An
//! arrived chunk is *processed* when the driver has reported the result of its verification.
//!
//! Invariants:
//! - a request is *open* until it is given up. Its pending chunks count as inflight only while it is open. A request
//!   that is *given up* is kept until its peer ends it;
//! - `inflight` is the sum of the pending bytes of all open requests;
//! - the end of a request takes effect when every chunk that arrived for it is processed.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use phase_core::ChunkIndex;

use crate::peer::PeerKey;
use crate::request_id::RequestId;
use crate::scheduler::message::{Arrival, ArtifactSlot, End};

/// The maximum number of ended requests that are remembered, so that a peer is not blamed for a chunk that arrives
/// after the end of its request. Beyond this limit, the request that ended first is forgotten.
const MAX_ENDED: usize = 4096;
/// The maximum number of requests that are given up and not yet ended by their peers. Beyond this limit, the oldest of
/// these requests counts as ended. Chunks that still arrive for it are dropped, and its peer is not blamed for them.
const MAX_GIVEN_UP: usize = 4096;

/// A request that was sent to a peer and has not ended.
pub(super) struct Request {
    pub(super) peer: PeerKey,
    pub(super) slot: ArtifactSlot,
    /// The chunks that have not been delivered, with their lengths in bytes. Empty after the request is given up.
    pub(super) pending: Vec<(ChunkIndex, u64)>,
    /// The requested chunks that have not arrived. The peer may still send them.
    owed: Vec<ChunkIndex>,
    /// The number of chunks that have arrived and have not been processed.
    unprocessed: u32,
    /// How the peer has ended the request. It is kept until all arrived chunks are processed.
    end: Option<End>,
    is_given_up: bool,
    /// The time at which the request was sent.
    sent: Instant,
    /// The bytes that were inflight from the peer before this request was sent.
    ahead: u64,
    /// Whether no chunk of the request has been delivered.
    is_fresh: bool,
    /// The time at which the request was recalled; `None` if it was not.
    recalled: Option<Instant>,
}

impl Request {
    /// Returns when the request was recalled; `None` if it was not.
    pub(super) fn recalled(&self) -> Option<Instant> {
        self.recalled
    }

    /// Returns the length of all pending chunks, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.pending.iter().map(|(_, len)| len).sum()
    }

    /// Returns whether a chunk is pending in this request.
    pub(super) fn has(&self, chunk: ChunkIndex) -> bool {
        self.pending.iter().any(|(pending, _)| *pending == chunk)
    }
}

/// A chunk that a request has delivered.
pub(super) struct Delivery {
    pub(super) peer: PeerKey,
    /// The length of the chunk, in bytes.
    pub(super) bytes: u64,
    /// Only for the first chunk that the request delivers: the time since the request was sent, and the bytes that were
    /// inflight from the peer before.
    pub(super) first_after: Option<(Duration, u64)>,
}

/// A request that has been given up.
pub(super) struct GivenUp {
    pub(super) peer: PeerKey,
    pub(super) slot: ArtifactSlot,
    /// The chunks that were pending when the request was given up, with their lengths in bytes.
    pub(super) pending: Vec<(ChunkIndex, u64)>,
}

/// All requests that have not ended, and the most recently ended requests.
pub(super) struct Requests {
    by_id: BTreeMap<RequestId, Request>,
    /// The most recently ended requests, with their peers.
    ended: BTreeMap<RequestId, PeerKey>,
    /// The requests of `ended` in the order in which they ended.
    ends: VecDeque<RequestId>,
    next: RequestId,
    /// The length of the pending chunks of all open requests, in bytes.
    inflight: u64,
    /// The number of requests in `by_id` that are given up.
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
    /// Returns the length of the pending chunks of all open requests, in bytes.
    pub(super) fn inflight(&self) -> u64 {
        self.inflight
    }

    /// Returns a request if it is open.
    pub(super) fn get(&self, id: RequestId) -> Option<&Request> {
        self.by_id.get(&id).filter(|request| !request.is_given_up)
    }

    /// Returns all open requests.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RequestId, &Request)> {
        self.by_id.iter().filter(|(_, request)| !request.is_given_up).map(|(id, request)| (*id, request))
    }

    /// Returns the id that the next request will get.
    pub(super) fn next_id(&self) -> RequestId {
        self.next
    }

    /// Adds a sent request. Its id is the result of the last [`next_id`](Self::next_id). `ahead` is the number of bytes
    /// that are inflight from the peer already.
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
            // The ids have wrapped around, and an earlier request with this id has not ended.
            self.next = self.next.next();
        }
        let request = Request {
            peer,
            slot,
            owed: pending.iter().map(|(chunk, _)| *chunk).collect(),
            pending,
            unprocessed: 0,
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

    /// Marks a request as recalled. The request stays open until its peer ends it or it is given up.
    pub(super) fn recall(&mut self, now: Instant, id: RequestId) {
        if let Some(request) = self.by_id.get_mut(&id) {
            request.recalled = Some(now);
        }
    }

    /// Marks a chunk from `peer` as arrived. Returns whether the peer owed the chunk.
    pub(super) fn arrive(&mut self, peer: PeerKey, id: RequestId, chunk: ChunkIndex) -> Arrival {
        let Some(request) = self.by_id.get_mut(&id).filter(|request| request.peer == peer) else {
            let is_known = self.ended.get(&id) == Some(&peer);
            return if is_known { Arrival::Late } else { Arrival::NotOwed };
        };
        let Some(position) = request.owed.iter().position(|owed| *owed == chunk) else { return Arrival::NotOwed };
        request.owed.swap_remove(position);
        request.unprocessed += 1;
        Arrival::Owed(request.slot)
    }

    /// Marks a chunk that had [arrived](Self::arrive) as processed. Returns how the request ended, if its end takes
    /// effect now.
    pub(super) fn processed(&mut self, id: RequestId) -> Option<End> {
        let request = self.by_id.get_mut(&id)?;
        request.unprocessed = request.unprocessed.saturating_sub(1);
        request.end.take_if(|_| request.unprocessed == 0)
    }

    /// Notes how a peer has ended a request. Returns the end if it takes effect now. Otherwise, a later call of
    /// [`processed`](Self::processed) returns the end.
    pub(super) fn record_end(&mut self, peer: PeerKey, id: RequestId, end: End) -> Option<End> {
        let request = self.by_id.get_mut(&id).filter(|request| request.peer == peer)?;
        if request.unprocessed == 0 {
            return Some(end);
        }
        request.end = Some(end);
        None
    }

    /// Removes a delivered chunk from the pending chunks of its request. Returns `None` if the chunk is not pending.
    pub(super) fn deliver(&mut self, now: Instant, id: RequestId, chunk: ChunkIndex) -> Option<Delivery> {
        let request = self.by_id.get_mut(&id)?;
        let bytes = take(&mut request.pending, chunk)?;
        self.inflight -= bytes;
        let is_first = std::mem::take(&mut request.is_fresh);
        let first_after = is_first.then(|| (now.saturating_duration_since(request.sent), request.ahead));
        Some(Delivery { peer: request.peer, bytes, first_after })
    }

    /// Removes a chunk from the pending chunks of a request without delivery. Returns the length of the chunk, and
    /// whether no other chunk is pending. Returns `None` if the chunk is not pending.
    pub(super) fn drop_chunk(&mut self, id: RequestId, chunk: ChunkIndex) -> Option<(u64, bool)> {
        let request = self.by_id.get_mut(&id)?;
        let bytes = take(&mut request.pending, chunk)?;
        self.inflight -= bytes;
        Some((bytes, request.pending.is_empty()))
    }

    /// Gives up a request, so that its chunks no longer count as inflight. Returns `None` if the request is not open.
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

    /// Removes a request that is given up, and remembers it as ended.
    pub(super) fn forget(&mut self, id: RequestId) {
        let Some(request) = self.by_id.remove(&id) else { return };
        debug_assert!(request.is_given_up, "an open request is given up before it is forgotten");
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

    /// Ends all requests of a peer that has disconnected. Open requests must be [given up](Self::give_up) first.
    pub(super) fn forget_peer(&mut self, peer: PeerKey) {
        let of_peer: Vec<_> =
            self.by_id.iter().filter(|(_, request)| request.peer == peer).map(|(id, _)| *id).collect();
        of_peer.into_iter().for_each(|id| self.forget(id));
    }
}

/// Removes a chunk from `pending`. Returns the length of the chunk, or `None` if it is not pending.
fn take(pending: &mut Vec<(ChunkIndex, u64)>, chunk: ChunkIndex) -> Option<u64> {
    let position = pending.iter().position(|(of, _)| *of == chunk)?;
    Some(pending.remove(position).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: ArtifactSlot = ArtifactSlot(0);
    const CHUNK: ChunkIndex = ChunkIndex(7);

    #[expect(clippy::disallowed_methods, reason = "a start time: an `Instant` cannot be made from a number")]
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
        // The request `early` was sent first and ends last, so it is still remembered.
        end(&mut requests, early);
        assert_eq!(requests.arrive(one, early, CHUNK), Arrival::Late);
        assert_eq!(requests.arrive(other, first, CHUNK), Arrival::NotOwed, "the request that ended first is forgotten");
        assert_eq!((requests.ended.len(), requests.ends.len()), (MAX_ENDED, MAX_ENDED));
    }
}
