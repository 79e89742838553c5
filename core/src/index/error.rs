//! The limits of an index, and the errors for an index that violates them.

use super::range::ChunkIndex;
use crate::cid::{Cid, CidError};
use crate::codec::DecodeError;
use crate::failure::{Fails, Failure};

/// The maximum length of a block, in bytes. A peer must be able to buffer a block of this length.
pub const MAX_BLOCK_LEN: usize = 1 << 20;
/// The maximum number of chunks of an artifact. At the default chunk size, such an artifact has 512 GiB. The maximum
/// limits the memory of an index (about 45 bytes per chunk) and prevents overflow of chunk indexes.
pub const MAX_CHUNKS: u32 = 1 << 22;

/// An error from making, decoding or using an index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The artifact has more chunks than [`MAX_CHUNKS`].
    #[error("artifact has {0} chunks, more than the maximum of {MAX_CHUNKS}: use larger chunks")]
    TooManyChunks(u64),
    /// A chunk is empty, or its length is outside the limits of the chunker.
    #[error("chunk {index} has {len} bytes, which its chunker cannot produce")]
    ChunkLen {
        /// The index of the chunk.
        index: ChunkIndex,
        /// The length of the chunk in bytes.
        len: u32,
    },
    /// The chunk index is past the last chunk of the artifact.
    #[error("chunk {index} does not exist: the number of chunks is {len}")]
    NoSuchChunk {
        /// The requested chunk index.
        index: ChunkIndex,
        /// The number of chunks of the artifact.
        len: u32,
    },
    /// The bytes of a chunk do not match the chunk's digest in the index.
    #[error("the bytes of chunk {0} do not match its digest in the index")]
    CorruptChunk(ChunkIndex),
    /// A block is longer than [`MAX_BLOCK_LEN`].
    #[error("index block {cid} has {len} bytes, more than the maximum of {MAX_BLOCK_LEN}")]
    BlockTooLarge {
        /// The CID of the block.
        cid: Cid,
        /// The length of the block in bytes.
        len: usize,
    },
    /// The block is not one of the missing blocks of this index.
    #[error("block {0} is not a missing block of this index")]
    Unwanted(Cid),
    /// The bytes of a block do not match its CID.
    #[error("index block is corrupt")]
    Corrupt(#[source] CidError),
    /// A block is not the canonical encoding of an index block.
    #[error("block {cid} cannot be decoded as an index block")]
    Decode {
        /// The CID of the block.
        cid: Cid,
        /// The error from decoding the block.
        #[source]
        source: DecodeError,
    },
    /// The artifact is larger than the signed manifest permits.
    #[error("the artifact has {size} bytes according to its index, but the signed manifest permits only {max}")]
    TooLarge {
        /// The artifact's size in the index, in bytes.
        size: u64,
        /// The artifact's size in the signed manifest, in bytes.
        max: u64,
    },
    /// Fields of the index contradict each other, for instance the size and the number of chunks.
    #[error("index {cid} contradicts itself: {what}")]
    Inconsistent {
        /// The CID of the index block in which the error was found.
        cid: Cid,
        /// What is wrong, for instance `its number of chunks does not fit its size`.
        what: &'static str,
    },
    /// [`IndexDecoder::finish`](super::IndexDecoder::finish) was called before all blocks were added.
    #[error("the index is incomplete: {0} of its blocks missing")]
    Incomplete(usize),
}

impl Fails for IndexError {
    fn failure(&self) -> Failure {
        Failure::Untrusted
    }
}
