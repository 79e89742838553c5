//! The state of each chunk of one artifact.
//!
//! Invariant: a chunk is missing, inflight in one or two requests, or verified. Only [`Chunks`] changes the state of a
//! chunk; its field `missing` holds exactly the missing chunks.

use std::sync::Arc;

use phase_core::{ArtifactIndex, ChunkIndex, ChunkRange, ChunkSet};

use crate::peer::PeerKey;
use crate::scheduler::haves::Haves;
use crate::scheduler::policy::{self, Policy};
use crate::scheduler::{ArtifactSlot, HaveUpdate, RequestId};

/// The state of a chunk in a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Missing,
    Inflight { first: RequestId, second: Option<RequestId> },
    Verified,
}

/// The result of [`Chunks::verify`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verified {
    /// The chunk was verified before.
    Again,
    /// The chunk is verified for the first time.
    New {
        /// The requests in which the chunk was inflight until now.
        inflight: [Option<RequestId>; 2],
        /// Whether the order window has moved, so that more chunks may be requested than before.
        is_wider: bool,
    },
}

/// The state of each chunk of one artifact, and the chunks that each peer has announced.
pub(super) struct Chunks {
    slot: ArtifactSlot,
    index: Arc<ArtifactIndex>,
    states: Vec<State>,
    missing: ChunkSet,
    haves: Haves,
    verified: u32,
    /// The number of chunks that are inflight in two requests.
    duplicated: u32,
    ahead: Option<Ahead>,
}

/// The order window of one artifact (see [`Config::max_ahead`](crate::scheduler::Config::max_ahead)).
struct Ahead {
    /// The length of the window in bytes.
    max: u64,
    /// The first chunk that is not verified, or the number of chunks if all are verified.
    first: u32,
    /// The exclusive end of the chunks that may be requested. It only grows.
    end: u32,
}

impl Chunks {
    /// `max_ahead` is the length of the order window, in bytes.
    pub(super) fn new(slot: ArtifactSlot, index: Arc<ArtifactIndex>, have: &ChunkSet, max_ahead: Option<u64>) -> Self {
        let len = index.len();
        let mut states = vec![State::Verified; len as usize];
        let mut missing = ChunkSet::new(len);
        for chunk in (0..len).map(ChunkIndex).filter(|chunk| !have.contains(*chunk)) {
            states[chunk.0 as usize] = State::Missing;
            missing.insert(chunk);
        }
        let verified = len - missing.count();
        let ahead = max_ahead.map(|max| Ahead { max, first: 0, end: 0 });
        let mut chunks = Self { slot, index, states, missing, haves: Haves::new(len), verified, duplicated: 0, ahead };
        chunks.advance();
        chunks
    }

    pub(super) fn len(&self) -> u32 {
        self.index.len()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.verified == self.len()
    }

    /// Returns whether a chunk is missing that may be requested now.
    pub(super) fn has_missing(&self) -> bool {
        match &self.ahead {
            None => !self.missing.is_empty(),
            Some(ahead) => self.missing.iter().next().is_some_and(|chunk| chunk.0 < ahead.end),
        }
    }

    /// Moves the order window to the first chunk that is not verified. Returns whether more chunks may be requested than
    /// before.
    fn advance(&mut self) -> bool {
        let Some(ahead) = &mut self.ahead else { return false };
        let verified = self.states[ahead.first as usize..].iter().take_while(|state| **state == State::Verified);
        ahead.first += u32::try_from(verified.count()).expect("an index has fewer than 2^32 chunks");
        let Some(first) = self.index.chunk(ChunkIndex(ahead.first)) else {
            return std::mem::replace(&mut ahead.end, ahead.first) < ahead.first;
        };
        let limit = first.offset.saturating_add(u64::from(first.len)).saturating_add(ahead.max);
        // The last chunk of the window is the one that contains the byte at the limit, because it does not begin after it.
        let end = self.index.chunk_at(limit).map_or(self.index.len(), |chunk| chunk.0 + 1);
        std::mem::replace(&mut ahead.end, end) < end
    }

    /// Returns how many chunks are inflight in two requests.
    pub(super) fn duplicated(&self) -> u32 {
        self.duplicated
    }

    /// Returns the length of a chunk in bytes; 0 if the artifact has no such chunk.
    pub(super) fn chunk_len(&self, chunk: ChunkIndex) -> u64 {
        self.index.chunk(chunk).map_or(0, |chunk| u64::from(chunk.len))
    }

    /// Handles an announcement of the chunks that a peer has.
    pub(super) fn handle_have(&mut self, peer: PeerKey, update: HaveUpdate) {
        self.haves.update(peer, update, &self.missing);
    }

    /// Notes that a peer lacks a chunk that it announced. The chunk is not requested from the peer until the peer
    /// announces it again.
    pub(super) fn handle_lack(&mut self, peer: PeerKey, chunk: ChunkIndex) {
        self.haves.remove_chunk(peer, chunk);
    }

    /// Forgets which chunks a peer has, because the peer has disconnected.
    pub(super) fn handle_peer_lost(&mut self, peer: PeerKey) {
        self.haves.forget(peer);
    }

    /// Returns the run of adjacent missing chunks to request from a peer. The run has up to `bytes` bytes, but at least
    /// one chunk. It begins with the chunk of the lowest rank among the missing chunks that the peer has. If the peer
    /// has many missing chunks, only a [sample](policy::sample) from chunk index `start` on is ranked.
    pub(super) fn pick(&self, peer: PeerKey, bytes: u64, policy: &dyn Policy, start: u32) -> Option<ChunkRange> {
        let useful = self.haves.useful(peer)?;
        let rank = |chunk: &ChunkIndex| (policy.rank(self.slot, *chunk, self.haves.count(*chunk)), *chunk);
        let first = match &self.ahead {
            None => policy::sample(useful, start).min_by_key(rank)?,
            Some(ahead) => policy::first(useful, ahead.end).min_by_key(rank)?,
        };
        self.run_from(peer, first, bytes)
    }

    /// Returns the run of missing chunks that begins with `first` and that a peer has. The run has up to `bytes` bytes,
    /// but at least one chunk. Returns `None` if `first` is not missing or the peer does not have it.
    pub(super) fn run_from(&self, peer: PeerKey, first: ChunkIndex, bytes: u64) -> Option<ChunkRange> {
        let useful = self.haves.useful(peer).filter(|useful| useful.contains(first))?;
        let mut budget = bytes.saturating_sub(self.chunk_len(first));
        let end = self.ahead.as_ref().map_or(self.len(), |ahead| ahead.end);
        let more = (first.0 + 1..end).map(ChunkIndex).take_while(|chunk| {
            let len = self.chunk_len(*chunk);
            let fits = useful.contains(*chunk) && len <= budget;
            budget = budget.saturating_sub(len);
            fits
        });
        let end = first.0 + 1 + u32::try_from(more.count()).expect("a run has no more chunks than the artifact");
        Some(ChunkRange { start: first.0, end })
    }

    /// Returns whether a chunk may be duplicated by a request to `peer`. The chunk must be inflight in only one
    /// request, and `peer` must have it.
    pub(super) fn can_duplicate(&self, peer: PeerKey, chunk: ChunkIndex) -> bool {
        let state = self.states.get(chunk.0 as usize);
        matches!(state, Some(State::Inflight { second: None, .. })) && self.haves.has(peer, chunk)
    }

    /// Marks `chunk` as requested. A missing chunk becomes inflight, and an inflight chunk becomes duplicated. The
    /// chunk must not be verified or duplicated already.
    pub(super) fn send(&mut self, chunk: ChunkIndex, request: RequestId) {
        let position = chunk.0 as usize;
        match self.states[position] {
            State::Missing => {
                self.set_missing(chunk, false);
                self.states[position] = State::Inflight { first: request, second: None };
            }
            State::Inflight { first, second: None } => {
                self.states[position] = State::Inflight { first, second: Some(request) };
                self.duplicated += 1;
            }
            state => debug_assert!(false, "chunk {chunk} was requested in state {state:?}"),
        }
    }

    /// Removes `chunk` from `request`, which will not deliver it. Returns whether the chunk is missing again.
    pub(super) fn give_up(&mut self, chunk: ChunkIndex, request: RequestId) -> bool {
        let position = chunk.0 as usize;
        match self.states.get(position) {
            Some(&State::Inflight { first, second: Some(second) }) if first == request || second == request => {
                let other = if first == request { second } else { first };
                self.states[position] = State::Inflight { first: other, second: None };
                self.duplicated -= 1;
                false
            }
            Some(&State::Inflight { first, second: None }) if first == request => {
                self.states[position] = State::Missing;
                self.set_missing(chunk, true);
                true
            }
            _ => false,
        }
    }

    /// Marks `chunk` as verified. The chunk need not be inflight.
    pub(super) fn verify(&mut self, chunk: ChunkIndex) -> Verified {
        let position = chunk.0 as usize;
        let Some(state) = self.states.get_mut(position) else { return Verified::Again };
        let inflight = match std::mem::replace(state, State::Verified) {
            State::Verified => return Verified::Again,
            State::Missing => {
                // The chunk was delivered by a request that had been given up.
                self.set_missing(chunk, false);
                [None, None]
            }
            State::Inflight { first, second } => {
                self.duplicated -= u32::from(second.is_some());
                [Some(first), second]
            }
        };
        self.verified += 1;
        Verified::New { inflight, is_wider: self.advance() }
    }

    fn set_missing(&mut self, chunk: ChunkIndex, missing: bool) {
        if missing {
            self.missing.insert(chunk);
        } else {
            self.missing.remove(chunk);
        }
        self.haves.set_missing(chunk, missing);
    }

    /// Asserts the invariants. `pending` returns whether a chunk is pending in a request.
    pub(super) fn check(&self, pending: impl Fn(RequestId, ChunkIndex) -> bool) {
        let (mut verified, mut missing, mut duplicated) = (0, 0, 0);
        for (position, state) in self.states.iter().enumerate() {
            let chunk = ChunkIndex(u32::try_from(position).expect("an index has fewer than 2^32 chunks"));
            match *state {
                State::Missing => {
                    assert!(
                        self.missing.contains(chunk),
                        "chunk {chunk} is missing and not in the set of missing chunks"
                    );
                    missing += 1;
                }
                State::Verified => verified += 1,
                State::Inflight { first, second } => {
                    assert!(pending(first, chunk), "chunk {chunk} is inflight in a request that does not have it");
                    assert!(second.is_none_or(|second| second != first && pending(second, chunk)));
                    duplicated += u32::from(second.is_some());
                }
            }
        }
        assert_eq!((verified, duplicated), (self.verified, self.duplicated));
        assert_eq!(missing, self.missing.count(), "the number of missing chunks");
        if let Some(ahead) = &self.ahead {
            let first = self.states.iter().position(|state| *state != State::Verified).unwrap_or(self.states.len());
            assert_eq!(ahead.first as usize, first, "the first chunk that is not verified");
            assert!(ahead.end > ahead.first || self.is_complete(), "the first chunk may always be requested");
            let after = &self.states[ahead.end as usize..];
            assert!(after.iter().all(|state| !matches!(state, State::Inflight { .. })), "a chunk after the window");
        }
        self.haves.check(&self.missing);
    }
}
