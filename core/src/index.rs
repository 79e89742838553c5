//! The artifact index: which chunks an artifact consists of, in order.
//!
//! The CID of its root block is the artifact's CID. Up to some 26,000 chunks the root block lists
//! them itself; a longer index has leaves, each with as many chunks as fit into a block:
//!
//! ```text
//! root  {v: 1, size, chunker: {min, avg, max}, hash, sha256, count, chunks: [[digest, len], …]}
//! or    {v: 1, size, chunker: {min, avg, max}, hash, sha256, count, leaves: [leaf CID, …]}
//! leaf  {v: 1, chunks: [[digest, len], …]}
//! ```
//!
//! Invariant: `count` alone decides the shape, and blocks are canonical DAG-CBOR, so one artifact
//! has one index and one CID.

mod decode;
mod encode;
mod range;
#[cfg(test)]
mod tests;

pub use decode::IndexDecoder;
pub use encode::EncodedIndex;
pub use range::{ByteRange, ChunkIndex, ChunkRange, EmptyRange};

use serde::{Deserialize, Serialize};

use crate::chunker::ChunkerParams;
use crate::cid::{Cid, CidError, Digest, HashAlgorithm};
use crate::codec::DecodeError;

/// The most bytes of any block: what a peer must be ready to buffer for one.
pub const MAX_BLOCK_LEN: usize = 1 << 20;
/// The most chunks of an artifact: 512 GiB at the default chunk size. It bounds the memory of an
/// index (about 45 bytes per chunk) and keeps positions far from overflow.
pub const MAX_CHUNKS: u32 = 1 << 22;

/// A chunk as the index lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(Digest, u32)", into = "(Digest, u32)")]
pub struct ChunkEntry {
    /// Its hash, by [`ArtifactIndex::hash`].
    pub digest: Digest,
    /// Its length in bytes.
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

/// A chunk with its place in the artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its hash, by [`ArtifactIndex::hash`].
    pub digest: Digest,
    /// Its length in bytes.
    pub len: u32,
    /// Where it begins in the artifact, in bytes.
    pub offset: u64,
}

/// The chunks of one artifact, checked: no chunk is empty or longer than the chunker's maximum, none
/// but the last is shorter than its minimum, and there are at most [`MAX_CHUNKS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactIndex {
    chunker: ChunkerParams,
    hash: HashAlgorithm,
    sha256: Digest,
    chunks: Vec<ChunkEntry>,
    /// Where each chunk begins, and at last the size of the artifact.
    offsets: Vec<u64>,
}

impl ArtifactIndex {
    /// The index of an artifact with these chunks, whose bytes have this SHA-256 all together.
    ///
    /// # Errors
    /// [`IndexError::TooManyChunks`] or [`IndexError::ChunkLen`].
    pub fn new(
        chunker: ChunkerParams,
        hash: HashAlgorithm,
        sha256: Digest,
        chunks: Vec<ChunkEntry>,
    ) -> Result<Self, IndexError> {
        if chunks.len() > MAX_CHUNKS as usize {
            return Err(IndexError::TooManyChunks(chunks.len() as u64));
        }
        let mut offsets = Vec::with_capacity(chunks.len() + 1);
        let mut offset = 0;
        for (position, entry) in chunks.iter().enumerate() {
            let is_last = position + 1 == chunks.len();
            if entry.len == 0 || entry.len > chunker.max() || (entry.len < chunker.min() && !is_last) {
                return Err(IndexError::ChunkLen { index: ChunkIndex(position as u32), len: entry.len });
            }
            offsets.push(offset);
            offset += u64::from(entry.len);
        }
        offsets.push(offset);
        Ok(Self { chunker, hash, sha256, chunks, offsets })
    }

    /// The size of the artifact in bytes.
    pub fn size(&self) -> u64 {
        *self.offsets.last().expect("offsets end with the size")
    }

    /// The chunk sizes it was cut with.
    pub fn chunker(&self) -> ChunkerParams {
        self.chunker
    }

    /// The hash function of the chunks and of the index blocks.
    pub fn hash(&self) -> HashAlgorithm {
        self.hash
    }

    /// SHA-256 over the whole artifact.
    pub fn sha256(&self) -> Digest {
        self.sha256
    }

    /// How many chunks it has.
    pub fn len(&self) -> u32 {
        self.chunks.len() as u32
    }

    /// Whether the artifact is an empty file.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The chunk at a position, if there is one.
    pub fn chunk(&self, index: ChunkIndex) -> Option<Chunk> {
        let ChunkEntry { digest, len } = *self.chunks.get(index.0 as usize)?;
        Some(Chunk { digest, len, offset: self.offsets[index.0 as usize] })
    }

    /// All chunks in order.
    pub fn chunks(&self) -> impl ExactSizeIterator<Item = Chunk> + '_ {
        self.chunks.iter().zip(&self.offsets).map(|(&ChunkEntry { digest, len }, &offset)| Chunk {
            digest,
            len,
            offset,
        })
    }

    /// The chunk that contains the byte at `offset`, if that is inside the artifact.
    pub fn chunk_at(&self, offset: u64) -> Option<ChunkIndex> {
        let after = self.offsets.partition_point(|&start| start <= offset);
        (offset < self.size()).then(|| ChunkIndex(after as u32 - 1))
    }

    /// The bytes that a run of chunks covers, if all of them exist.
    pub fn byte_range(&self, range: ChunkRange) -> Option<ByteRange> {
        let start = *self.offsets.get(range.start as usize)?;
        let end = *self.offsets.get(range.end as usize)?;
        Some(ByteRange { start, end })
    }

    /// The chunks that have bytes in `range`, which must be inside the artifact and not empty.
    pub fn covering(&self, range: ByteRange) -> Option<ChunkRange> {
        let first = self.chunk_at(range.start)?;
        let last = self.chunk_at(range.end.checked_sub(1)?)?;
        ChunkRange::new(first.0, last.0 + 1).ok()
    }

    /// Checks that `bytes` are the chunk at `index`.
    ///
    /// # Errors
    /// [`IndexError::NoSuchChunk`] or [`IndexError::CorruptChunk`].
    pub fn verify_chunk(&self, index: ChunkIndex, bytes: &[u8]) -> Result<(), IndexError> {
        let chunk = self.chunk(index).ok_or(IndexError::NoSuchChunk { index, len: self.len() })?;
        if bytes.len() != chunk.len as usize || self.hash.digest(bytes) != chunk.digest {
            return Err(IndexError::CorruptChunk(index));
        }
        Ok(())
    }

    /// The blocks of the index. Their order is fixed: the root, then the leaves.
    pub fn encode(&self) -> EncodedIndex {
        encode::encode(self, MAX_BLOCK_LEN)
    }
}

/// Why an index or a part of it cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// More chunks than [`MAX_CHUNKS`].
    #[error("artifact of {0} chunks is too large: at most {MAX_CHUNKS}; use larger chunks")]
    TooManyChunks(u64),
    /// An empty chunk, or one outside the chunker's bounds.
    #[error("chunk {index} has {len} bytes, which its chunker cannot produce")]
    ChunkLen {
        /// The position of the chunk.
        index: ChunkIndex,
        /// Its length in bytes.
        len: u32,
    },
    /// A position past the end.
    #[error("there is no chunk {index}: the artifact has {len}")]
    NoSuchChunk {
        /// The position asked for.
        index: ChunkIndex,
        /// How many chunks there are.
        len: u32,
    },
    /// The bytes of a chunk are not those that the index lists.
    #[error("the bytes of chunk {0} do not match its hash")]
    CorruptChunk(ChunkIndex),
    /// A block longer than [`MAX_BLOCK_LEN`].
    #[error("index block {cid} has {len} bytes: at most {MAX_BLOCK_LEN}")]
    BlockTooLarge {
        /// The block.
        cid: Cid,
        /// Its length in bytes.
        len: usize,
    },
    /// A block that nobody asked for.
    #[error("block {0} is not a missing part of this index")]
    Unwanted(Cid),
    /// A block whose bytes do not match its CID.
    #[error("index block is corrupt")]
    Corrupt(#[source] CidError),
    /// A block that is not the canonical encoding of an index block.
    #[error("block {cid} cannot be read as an index")]
    Decode {
        /// The block.
        cid: Cid,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The artifact is larger than what was signed.
    #[error("artifact of {size} bytes exceeds the {max} bytes of its signed entry")]
    TooLarge {
        /// What the index says, in bytes.
        size: u64,
        /// What was signed, in bytes.
        max: u64,
    },
    /// Parts of the index contradict each other.
    #[error("index {cid} contradicts itself: {what}")]
    Inconsistent {
        /// The block.
        cid: Cid,
        /// Which parts.
        what: &'static str,
    },
    /// The index was asked for before all its blocks were there.
    #[error("{0} blocks of the index are missing")]
    Incomplete(usize),
}
