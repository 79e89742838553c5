//! The bounds of an index, and what is wrong with one that does not keep them.

use super::range::ChunkIndex;
use crate::cid::{Cid, CidError};
use crate::codec::DecodeError;
use crate::failure::{Fails, Failure};

/// The most bytes of any block: what a peer must be ready to buffer for one.
pub const MAX_BLOCK_LEN: usize = 1 << 20;
/// The most chunks of an artifact: 512 GiB at the default chunk size. It bounds the memory of an
/// index (about 45 bytes per chunk) and keeps positions far from overflow.
pub const MAX_CHUNKS: u32 = 1 << 22;

/// Why an index or a part of it cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
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

impl Fails for IndexError {
    fn failure(&self) -> Failure {
        Failure::Untrusted
    }
}
