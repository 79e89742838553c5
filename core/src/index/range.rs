//! Chunk indexes, ranges of chunks and ranges of bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The position of a chunk within its artifact, counted from 0.
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
    /// The position of the first byte of the range.
    pub start: u64,
    /// The exclusive end of the byte range.
    pub end: u64,
}

impl ByteRange {
    /// Returns the number of bytes in the range.
    pub fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Returns whether the range has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The chunks `start..end` of an artifact, encoded as `[start, end]`. [`ChunkRange::new`] and the decoder refuse an
/// empty range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u32, u32)", into = "(u32, u32)")]
pub struct ChunkRange {
    /// The index of the first chunk of the range.
    pub start: u32,
    /// The exclusive end of the chunk range.
    pub end: u32,
}

impl ChunkRange {
    /// Makes the range `start..end`.
    ///
    /// # Errors
    /// If the range has no chunk.
    pub fn new(start: u32, end: u32) -> Result<Self, EmptyRange> {
        if start < end { Ok(Self { start, end }) } else { Err(EmptyRange { start, end }) }
    }

    /// Returns the number of chunks in the range.
    pub fn count(&self) -> u32 {
        self.end.saturating_sub(self.start)
    }

    /// Returns whether the range contains `index`.
    pub fn contains(&self, index: ChunkIndex) -> bool {
        (self.start..self.end).contains(&index.0)
    }

    /// Returns the chunk indexes of the range, in ascending order.
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

/// The error for a chunk range that has no chunk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("chunk range {start}..{end} is empty: the start must be below the end")]
pub struct EmptyRange {
    start: u32,
    end: u32,
}
