//! What a peer says it has of an artifact.

use phase_core::{ChunkRange, ChunkSet};

/// What a peer says it has of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HaveUpdate {
    /// All of it.
    Full,
    /// These chunks and no others.
    Set(ChunkSet),
    /// These chunks too.
    Add(Vec<ChunkRange>),
}
