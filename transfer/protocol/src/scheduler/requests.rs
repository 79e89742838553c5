//! Requests until their end, and for some time after.
//!
//! Invariant: `inflight` is what all open requests have pending.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use phase_core::ChunkIndex;

use crate::peer::PeerKey;
use crate::scheduler::{ArtifactSlot, RequestId};

/// Requests that were given up and whose chunks still count if they arrive.
const MAX_LATE: usize = 4096;

/// A request until its end.
pub(super) struct Request {
    pub(super) peer: PeerKey,
    pub(super) slot: ArtifactSlot,
    /// Chunks that have not been reported, and their lengths.
    pub(super) pending: Vec<(ChunkIndex, u64)>,
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
pub(super) struct Arrival {
    pub(super) peer: PeerKey,
    /// Its length.
    pub(super) bytes: u64,
    /// If it is the request's first chunk: the time from the request, and the bytes that its peer had to bring before it.
    pub(super) first_after: Option<(Duration, u64)>,
}

/// All requests by their id.
#[derive(Default)]
pub(super) struct Requests {
    open: BTreeMap<RequestId, Request>,
    /// Whom those were sent to that were given up.
    late: BTreeMap<RequestId, PeerKey>,
    next: u64,
    inflight: u64,
}

impl Requests {
    /// Bytes in flight in all.
    pub(super) fn inflight(&self) -> u64 {
        self.inflight
    }

    pub(super) fn get(&self, id: RequestId) -> Option<&Request> {
        self.open.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (RequestId, &Request)> {
        self.open.iter().map(|(id, request)| (*id, request))
    }

    /// Who was asked with a request, if that is still known.
    pub(super) fn peer_of(&self, id: RequestId) -> Option<PeerKey> {
        self.open.get(&id).map(|request| request.peer).or_else(|| self.late.get(&id).copied())
    }

    /// The id that the next request will have.
    pub(super) fn next_id(&self) -> RequestId {
        RequestId(self.next)
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
        let id = self.next_id();
        self.next += 1;
        let request = Request { peer, slot, pending, sent: now, ahead, is_fresh: true, recalled: None };
        self.inflight += request.bytes();
        self.open.insert(id, request);
    }

    /// The request is taken back: it will end.
    pub(super) fn recall(&mut self, now: Instant, id: RequestId) {
        if let Some(request) = self.open.get_mut(&id) {
            request.recalled = Some(now);
        }
    }

    /// A chunk has come; `None` if it is not pending.
    pub(super) fn arrive(&mut self, now: Instant, id: RequestId, chunk: ChunkIndex) -> Option<Arrival> {
        let request = self.open.get_mut(&id)?;
        let bytes = take(&mut request.pending, chunk)?;
        self.inflight -= bytes;
        let is_first = std::mem::take(&mut request.is_fresh);
        let first_after = is_first.then(|| (now.saturating_duration_since(request.sent), request.ahead));
        Some(Arrival { peer: request.peer, bytes, first_after })
    }

    /// A chunk need not come any more. Returns its length, and whether nothing is pending any more with that; `None` if
    /// it was not pending.
    pub(super) fn drop_chunk(&mut self, id: RequestId, chunk: ChunkIndex) -> Option<(u64, bool)> {
        let request = self.open.get_mut(&id)?;
        let bytes = take(&mut request.pending, chunk)?;
        self.inflight -= bytes;
        Some((bytes, request.pending.is_empty()))
    }

    /// The request is over, or given up.
    pub(super) fn remove(&mut self, id: RequestId) -> Option<Request> {
        let request = self.open.remove(&id)?;
        self.inflight -= request.bytes();
        if self.late.len() >= MAX_LATE {
            self.late.pop_first();
        }
        self.late.insert(id, request.peer);
        Some(request)
    }
}

fn take(pending: &mut Vec<(ChunkIndex, u64)>, chunk: ChunkIndex) -> Option<u64> {
    let position = pending.iter().position(|(of, _)| *of == chunk)?;
    Some(pending.remove(position).1)
}
