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

mod artifact;
mod decode;
mod encode;
mod error;
mod range;
#[cfg(test)]
mod tests;

pub use artifact::{ArtifactIndex, Chunk, ChunkEntry};
pub use decode::IndexDecoder;
pub use encode::EncodedIndex;
pub use error::{IndexError, MAX_BLOCK_LEN, MAX_CHUNKS};
pub use range::{ByteRange, ChunkIndex, ChunkRange, EmptyRange};
