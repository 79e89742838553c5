//! The entry of one chunk in an index.

use serde::{Deserialize, Serialize};

use crate::cid::Digest;

/// The entry of one chunk in an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(Digest, u32)", into = "(Digest, u32)")]
pub struct ChunkEntry {
    /// The digest of the chunk. Its hash function is [`ArtifactIndex::hash`](crate::index::ArtifactIndex::hash).
    pub digest: Digest,
    /// The length of the chunk in bytes.
    pub len: u32,
}

impl From<(Digest, u32)> for ChunkEntry {
    fn from((digest, len): (Digest, u32)) -> Self {
        Self { digest, len }
    }
}

impl From<ChunkEntry> for (Digest, u32) {
    fn from(entry: ChunkEntry) -> Self {
        (entry.digest, entry.len)
    }
}

/// The entry of one chunk, with the position of the chunk in the artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The digest of the chunk. Its hash function is [`ArtifactIndex::hash`](crate::index::ArtifactIndex::hash).
    pub digest: Digest,
    /// The length of the chunk in bytes.
    pub len: u32,
    /// The position of the chunk's first byte in the artifact.
    pub offset: u64,
}
