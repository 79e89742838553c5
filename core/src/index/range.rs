//! Positions and runs of chunks, and runs of bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The position of a chunk in its artifact, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChunkIndex(pub u32);

impl fmt::Display for ChunkIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The bytes `start..end` of an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteRange {
    /// The first byte.
    pub start: u64,
    /// The byte after the last.
    pub end: u64,
}

impl ByteRange {
    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The chunks `start..end`, at least one. Encoded as `[start, end]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u32, u32)", into = "(u32, u32)")]
pub struct ChunkRange {
    /// The position of the first chunk.
    pub start: u32,
    /// The position after the last chunk.
    pub end: u32,
}

impl ChunkRange {
    /// The run `start..end`.
    ///
    /// # Errors
    /// If it has no chunk.
    pub fn new(start: u32, end: u32) -> Result<Self, EmptyRange> {
        if start < end { Ok(Self { start, end }) } else { Err(EmptyRange { start, end }) }
    }

    /// How many chunks there are.
    pub fn count(&self) -> u32 {
        self.end.saturating_sub(self.start)
    }

    /// Whether `index` is among them.
    pub fn contains(&self, index: ChunkIndex) -> bool {
        (self.start..self.end).contains(&index.0)
    }

    /// The positions, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = ChunkIndex> + use<> {
        (self.start..self.end).map(ChunkIndex)
    }
}

impl TryFrom<(u32, u32)> for ChunkRange {
    type Error = EmptyRange;

    fn try_from((start, end): (u32, u32)) -> Result<Self, EmptyRange> {
        Self::new(start, end)
    }
}

impl From<ChunkRange> for (u32, u32) {
    fn from(range: ChunkRange) -> Self {
        (range.start, range.end)
    }
}

/// A run of chunks that has none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("chunks {start}..{end} are no range: the start must be below the end")]
pub struct EmptyRange {
    start: u32,
    end: u32,
}
