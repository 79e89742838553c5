//! The index of an artifact: the ordered list of its chunks.
//!
//! The CID of the root block is the artifact CID. The root block of an index with up to about 26,000 chunks lists the
//! chunks itself. A longer index has leaf blocks, each of which lists as many chunks as fit into a block:
//!
//! ```text
//! root  {v: 1, size, chunker: {min, avg, max}, hash, sha256, count, chunks: [[digest, len], …]}
//! or    {v: 1, size, chunker: {min, avg, max}, hash, sha256, count, leaves: [leaf CID, …]}
//! leaf  {v: 1, chunks: [[digest, len], …]}
//! ```
//!
//! Invariant: an index has exactly one encoding and therefore one CID, because `count` alone decides how the chunks are
//! divided into blocks, and the blocks are canonical DAG-CBOR.

mod artifact;
mod decode;
mod encode;
mod entry;
mod error;
mod range;
mod repeats;
#[cfg(test)]
mod tests;

pub use artifact::ArtifactIndex;
pub use decode::IndexDecoder;
pub use encode::EncodedIndex;
pub use entry::{Chunk, ChunkEntry};
pub use error::{IndexError, MAX_BLOCK_LEN, MAX_CHUNKS};
pub use range::{ByteRange, ChunkIndex, ChunkRange, EmptyRange};
pub use repeats::Repeats;
