//! An announcement of the chunks of an artifact that a peer has.

use phase_core::{ChunkRange, ChunkSet};

/// An announcement of the chunks of an artifact that a peer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HaveUpdate {
    /// The peer has all chunks of the artifact.
    Full,
    /// The peer has exactly these chunks. They replace the chunks that the peer announced before.
    Set(ChunkSet),
    /// The peer has these chunks in addition to the chunks that it announced before.
    Add(Vec<ChunkRange>),
}
