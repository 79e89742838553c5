//! The chunks of one artifact and the one state each of them is in.
//!
//! Invariant: a chunk is missing, in flight in one or two requests, or verified. Only this type changes that; `missing`
//! holds exactly the missing ones.

use std::sync::Arc;

use phase_core::{ArtifactIndex, ChunkIndex, ChunkRange, ChunkSet};

use crate::peer::PeerKey;
use crate::scheduler::haves::Haves;
use crate::scheduler::policy::{self, Policy};
use crate::scheduler::{ArtifactSlot, HaveUpdate, RequestId};

/// Where a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Missing,
    Inflight { first: RequestId, second: Option<RequestId> },
    Verified,
}

/// What became of the other request for a chunk that was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verified {
    /// It was verified before.
    Again,
    /// It is new; these requests had it in flight.
    New { inflight: [Option<RequestId>; 2] },
}

/// The chunks of one artifact.
pub(super) struct Chunks {
    slot: ArtifactSlot,
    index: Arc<ArtifactIndex>,
    states: Vec<State>,
    missing: ChunkSet,
    haves: Haves,
    verified: u32,
    /// Chunks in flight in two requests.
    seconded: u32,
}

impl Chunks {
    pub(super) fn new(slot: ArtifactSlot, index: Arc<ArtifactIndex>, have: &ChunkSet) -> Self {
        let len = index.len();
        let mut states = vec![State::Verified; len as usize];
        let mut missing = ChunkSet::new(len);
        for chunk in (0..len).map(ChunkIndex).filter(|chunk| !have.contains(*chunk)) {
            states[chunk.0 as usize] = State::Missing;
            missing.insert(chunk);
        }
        let verified = len - missing.count();
        Self { slot, index, states, missing, haves: Haves::new(len), verified, seconded: 0 }
    }

    pub(super) fn len(&self) -> u32 {
        self.index.len()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.verified == self.len()
    }

    pub(super) fn has_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// How many chunks are in flight in two requests.
    pub(super) fn seconded(&self) -> u32 {
        self.seconded
    }

    /// The length of a chunk in bytes; 0 for one that does not exist.
    pub(super) fn chunk_len(&self, chunk: ChunkIndex) -> u64 {
        self.index.chunk(chunk).map_or(0, |chunk| u64::from(chunk.len))
    }

    /// A peer has said what it has.
    pub(super) fn handle_have(&mut self, peer: PeerKey, update: HaveUpdate) {
        self.haves.update(peer, update, &self.missing);
    }

    /// A peer has said that it has a chunk, and does not deliver it. Not asked for it again until it says so again.
    pub(super) fn handle_lack(&mut self, peer: PeerKey, chunk: ChunkIndex) {
        self.haves.withdraw(peer, chunk);
    }

    /// A peer has gone.
    pub(super) fn handle_peer_lost(&mut self, peer: PeerKey) {
        self.haves.forget(peer);
    }

    /// The run of missing chunks to ask a peer for: the one to ask for first of those that it has, as far as a sample
    /// from `start` on tells, and those after it, up to `bytes`.
    pub(super) fn pick(&self, peer: PeerKey, bytes: u64, policy: &dyn Policy, start: u32) -> Option<ChunkRange> {
        let useful = self.haves.useful(peer)?;
        let rank = |chunk: &ChunkIndex| (policy.rank(self.slot, *chunk, self.haves.count(*chunk)), *chunk);
        let first = policy::sample(useful, start).min_by_key(rank)?;
        self.run_from(peer, first, bytes)
    }

    /// A chunk that is missing and that a peer has, and those after it for which that holds too, up to `bytes`.
    pub(super) fn run_from(&self, peer: PeerKey, first: ChunkIndex, bytes: u64) -> Option<ChunkRange> {
        let useful = self.haves.useful(peer).filter(|useful| useful.contains(first))?;
        let mut room = bytes.saturating_sub(self.chunk_len(first));
        let more = (first.0 + 1..self.len()).map(ChunkIndex).take_while(|chunk| {
            let len = self.chunk_len(*chunk);
            let fits = useful.contains(*chunk) && len <= room;
            room = room.saturating_sub(len);
            fits
        });
        let end = first.0 + 1 + u32::try_from(more.count()).expect("no more than the artifact has");
        Some(ChunkRange { start: first.0, end })
    }

    /// Whether `peer` may be asked for a chunk that is on its way from somebody else: it has it, and nobody else was asked as
    /// well.
    pub(super) fn can_second(&self, peer: PeerKey, chunk: ChunkIndex) -> bool {
        let state = self.states.get(chunk.0 as usize);
        matches!(state, Some(State::Inflight { second: None, .. })) && self.haves.has(peer, chunk)
    }

    /// The first missing chunks go in flight, others get a second request. Not for verified ones, nor for a third.
    pub(super) fn send(&mut self, chunk: ChunkIndex, request: RequestId) {
        let position = chunk.0 as usize;
        match self.states[position] {
            State::Missing => {
                self.set_missing(chunk, false);
                self.states[position] = State::Inflight { first: request, second: None };
            }
            State::Inflight { first, second: None } => {
                self.states[position] = State::Inflight { first, second: Some(request) };
                self.seconded += 1;
            }
            state => debug_assert!(false, "{chunk} was sent while {state:?}"),
        }
    }

    /// A request will not bring `chunk` any more. Returns whether it is missing because of that.
    pub(super) fn give_up(&mut self, chunk: ChunkIndex, request: RequestId) -> bool {
        let position = chunk.0 as usize;
        match self.states.get(position) {
            Some(&State::Inflight { first, second: Some(second) }) if first == request || second == request => {
                let rest = if first == request { second } else { first };
                self.states[position] = State::Inflight { first: rest, second: None };
                self.seconded -= 1;
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

    /// `chunk` is verified and stored, whoever brought it.
    pub(super) fn verify(&mut self, chunk: ChunkIndex) -> Verified {
        let position = chunk.0 as usize;
        let Some(state) = self.states.get_mut(position) else { return Verified::Again };
        let inflight = match std::mem::replace(state, State::Verified) {
            State::Verified => return Verified::Again,
            State::Missing => {
                // From a request that had been given up.
                self.set_missing(chunk, false);
                [None, None]
            }
            State::Inflight { first, second } => {
                self.seconded -= u32::from(second.is_some());
                [Some(first), second]
            }
        };
        self.verified += 1;
        Verified::New { inflight }
    }

    fn set_missing(&mut self, chunk: ChunkIndex, missing: bool) {
        if missing {
            self.missing.insert(chunk);
        } else {
            self.missing.remove(chunk);
        }
        self.haves.set_missing(chunk, missing);
    }

    /// Checks the invariants against what the requests say; for tests.
    pub(super) fn check(&self, pending: impl Fn(RequestId, ChunkIndex) -> bool) {
        let (mut verified, mut missing, mut seconded) = (0, 0, 0);
        for (position, state) in self.states.iter().enumerate() {
            let chunk = ChunkIndex(u32::try_from(position).expect("checked when built"));
            match *state {
                State::Missing => {
                    assert!(self.missing.contains(chunk), "{chunk} is missing and not listed");
                    missing += 1;
                }
                State::Verified => verified += 1,
                State::Inflight { first, second } => {
                    assert!(pending(first, chunk), "{chunk} is in flight in a request that does not have it");
                    assert!(second.is_none_or(|second| second != first && pending(second, chunk)));
                    seconded += u32::from(second.is_some());
                }
            }
        }
        assert_eq!((verified, seconded), (self.verified, self.seconded));
        assert_eq!(missing, self.missing.count(), "exactly the missing chunks are listed");
        self.haves.check(&self.missing);
    }
}
