//! What a scheduler is told, and what it says.

use std::fmt;

use phase_core::{ChunkIndex, ChunkRange};

use crate::peer::PeerKey;
use crate::request_id::RequestId;
use crate::wire::Refusal;

/// An artifact among those that are fetched together; the driver numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtifactSlot(pub u32);

/// Whether a chunk that arrived was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The peer owed this chunk of this artifact: it is to be verified, and the result reported with
    /// [`handle_chunk`](crate::scheduler::Scheduler::handle_chunk).
    Owed(ArtifactSlot),
    /// The request is over, for instance because the peer was lost and came back: the chunk is of no use.
    Late,
    /// Never asked for, or delivered before: no honest peer sends it.
    NotOwed,
}

/// What became of a chunk that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkResult {
    /// It is what the index says, and stored.
    Verified,
    /// It is something else, and thrown away.
    Corrupt,
    /// It was not looked at: its artifact is complete already.
    Unneeded,
}

/// How a peer ended a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer has nothing further to send.
    Done,
    /// The peer will not serve the request, or not all of it.
    Refused(Refusal),
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask a peer for chunks.
    Request {
        /// Names the request from now on.
        id: RequestId,
        /// Whom.
        peer: PeerKey,
        /// Of which artifact.
        slot: ArtifactSlot,
        /// For what.
        ranges: Vec<ChunkRange>,
    },
    /// Tell a peer that nothing further is wanted of a request.
    Cancel {
        /// The request.
        id: RequestId,
        /// Whom.
        peer: PeerKey,
    },
    /// Let go of a peer: there are enough others. It may come back.
    Drop {
        /// Whom.
        peer: PeerKey,
    },
    /// Have nothing more to do with a peer in this run.
    Ban {
        /// Whom.
        peer: PeerKey,
        /// Why.
        reason: BanReason,
    },
}

/// Why a peer is banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BanReason {
    /// It sent a chunk that did not verify.
    Corrupt {
        /// The artifact.
        slot: ArtifactSlot,
        /// The chunk.
        chunk: ChunkIndex,
    },
}

impl fmt::Display for BanReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt { chunk, .. } => write!(f, "sent chunk {chunk} with bytes that do not verify"),
        }
    }
}

/// Something worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A chunk is verified.
    Verified {
        /// The artifact.
        slot: ArtifactSlot,
        /// The chunk.
        index: ChunkIndex,
        /// The peer that sent it.
        peer: PeerKey,
    },
    /// All chunks of an artifact are.
    ArtifactComplete {
        /// The artifact.
        slot: ArtifactSlot,
    },
    /// All artifacts so far are complete.
    Complete,
    /// A peer delivered nothing for its timeout; what it was asked for goes to others.
    Stalled {
        /// Who.
        peer: PeerKey,
        /// Chunks that go to others.
        chunks: u32,
    },
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Chunks taken back from a peer that was lost, stalled, refused or banned.
    pub reassigned: u64,
    /// Chunks that came although they had been verified before.
    pub duplicates: u64,
    /// Times that a peer stalled.
    pub stalls: u64,
    /// Chunks that were asked of a slow peer and went to a faster one.
    pub stolen: u64,
}
