//! The inputs of a scheduler, and its actions, events and counters.

use std::fmt;

use phase_core::{ChunkIndex, ChunkRange};

use crate::peer::PeerKey;
use crate::request_id::RequestId;
use crate::wire::Refusal;

/// An artifact slot: the number of an artifact within a download. The caller of the scheduler chooses the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtifactSlot(pub u32);

/// The arrival of a chunk: whether the peer that sent it owed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The peer owed the chunk. The field is the artifact that the chunk belongs to. The driver verifies the chunk and
    /// reports the result with [`handle_chunk`](crate::scheduler::Scheduler::handle_chunk).
    Owed(ArtifactSlot),
    /// The chunk arrived after its request had ended, for example because the peer disconnected and connected again.
    /// The driver drops the chunk.
    Late,
    /// The chunk was not requested from this peer, or has arrived from this peer before. The peer breaks the protocol.
    NotOwed,
}

/// The result of processing a chunk that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkResult {
    /// The chunk has the digest that the index states, and is stored.
    Verified,
    /// The chunk does not have the digest that the index states. It is dropped.
    Corrupt,
    /// The chunk was not verified, because its artifact is complete already.
    Unneeded,
}

/// How a peer ends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer sends no further chunk for the request.
    Done,
    /// The peer does not serve the request, or does not serve all of it.
    Refused(Refusal),
}

/// An action that the driver (the caller of the scheduler) must carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Request chunks from a peer.
    Request {
        /// The id of the new request.
        id: RequestId,
        /// The peer to send the request to.
        peer: PeerKey,
        /// The artifact that the chunks belong to.
        slot: ArtifactSlot,
        /// The chunks to request.
        ranges: Vec<ChunkRange>,
    },
    /// Cancel a request.
    Cancel {
        /// The id of the request to cancel.
        id: RequestId,
        /// The peer that the request was sent to.
        peer: PeerKey,
    },
    /// Disconnect a peer, because the scheduler has enough other peers. The peer may connect again.
    Drop {
        /// The peer to disconnect.
        peer: PeerKey,
    },
    /// Ban a peer for the rest of this run.
    Ban {
        /// The peer to ban.
        peer: PeerKey,
        /// The reason for the ban.
        reason: BanReason,
    },
}

/// The reason why a peer is banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BanReason {
    /// The peer sent a chunk that did not verify.
    Corrupt {
        /// The artifact that the chunk belongs to.
        slot: ArtifactSlot,
        /// The index of the corrupt chunk.
        chunk: ChunkIndex,
    },
}

impl fmt::Display for BanReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt { chunk, .. } => write!(f, "sent chunk {chunk} with bytes that do not match its digest"),
        }
    }
}

/// An event that the application may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A chunk has been verified for the first time.
    Verified {
        /// The artifact that the chunk belongs to.
        slot: ArtifactSlot,
        /// The index of the verified chunk.
        index: ChunkIndex,
        /// The peer that sent the chunk.
        peer: PeerKey,
    },
    /// All chunks of an artifact are verified.
    ArtifactComplete {
        /// The complete artifact.
        slot: ArtifactSlot,
    },
    /// All artifacts that were added so far are complete.
    Complete,
    /// A peer stalled, which means that it sent no bytes for longer than its timeout. Its requests are given up.
    Stalled {
        /// The peer that stalled.
        peer: PeerKey,
        /// The number of chunks that are missing again and may be requested from other peers.
        chunks: u32,
    },
}

/// Counters since the scheduler was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The number of chunks that became missing again because their request was given up, or ended without delivering
    /// them. Requests are given up when the peer disconnects, stalls, is banned, or loses the request to a faster peer.
    pub reassigned: u64,
    /// The number of received chunks that had been verified already.
    pub duplicates: u64,
    /// The number of times that a peer stalled.
    pub stalls: u64,
    /// The number of chunks that became missing again because their request was recalled from a slow peer. They are
    /// included in `reassigned`.
    pub stolen: u64,
}
