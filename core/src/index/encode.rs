//! The encoding of an index as blocks, and the number of chunks in each block.

use serde::{Deserialize, Serialize};

use super::artifact::ArtifactIndex;
use super::entry::ChunkEntry;
use super::error::MAX_BLOCK_LEN;
use crate::chunker::ChunkerParams;
use crate::cid::{Cid, Codec, Digest, HashAlgorithm};
use crate::codec::{V1, to_dag_cbor};

/// The maximum length of an encoded chunk entry, in bytes: 1 for the list, 34 for the digest and 5 for the chunk
/// length.
const MAX_ENTRY_LEN: usize = 40;
/// The number of bytes reserved in a root block for the fields other than the chunks. These fields need about 130
/// bytes.
const ROOT_OVERHEAD: usize = 256;
/// The number of bytes reserved in a leaf block for the fields other than the chunks. These fields need at most 16
/// bytes.
const LEAF_OVERHEAD: usize = 32;

/// An index, encoded as blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedIndex {
    /// The CID of the root block, which is the artifact CID.
    pub root: Cid,
    /// The root block, followed by the leaf blocks, each with its CID. No block is longer than [`MAX_BLOCK_LEN`].
    pub blocks: Vec<(Cid, Vec<u8>)>,
}

/// The fields of a root block.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Root {
    pub(super) v: V1,
    pub(super) size: u64,
    pub(super) chunker: ChunkerParams,
    pub(super) hash: HashAlgorithm,
    pub(super) sha256: Digest,
    pub(super) count: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) chunks: Option<Vec<ChunkEntry>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) leaves: Option<Vec<Cid>>,
}

/// The fields of a leaf block.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Leaf {
    pub(super) v: V1,
    pub(super) chunks: Vec<ChunkEntry>,
}

/// The number of blocks of an index, and the number of chunks in each block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    count: u32,
    per_leaf: u32,
    /// The number of leaf blocks, or 0 if the root block lists the chunks itself.
    leaves: u32,
}

impl Shape {
    /// Divides an index with `count` chunks into blocks of at most `block_len` bytes.
    pub(super) fn new(count: u32, block_len: usize) -> Self {
        let in_root = ((block_len - ROOT_OVERHEAD) / MAX_ENTRY_LEN) as u32;
        let per_leaf = ((block_len - LEAF_OVERHEAD) / MAX_ENTRY_LEN) as u32;
        let leaves = if count <= in_root { 0 } else { count.div_ceil(per_leaf) };
        Self { count, per_leaf, leaves }
    }

    pub(super) fn leaves(&self) -> usize {
        self.leaves as usize
    }

    /// Returns the number of chunks in the leaf block at `position`.
    pub(super) fn chunks_in_leaf(&self, position: usize) -> usize {
        self.per_leaf.min(self.count - self.per_leaf * position as u32) as usize
    }
}

impl ArtifactIndex {
    /// Returns the blocks of the index: the root block, followed by the leaf blocks in order.
    pub fn encode(&self) -> EncodedIndex {
        encode(self, MAX_BLOCK_LEN)
    }
}

/// Returns the blocks of `index`, each of at most `block_len` bytes.
pub(super) fn encode(index: &ArtifactIndex, block_len: usize) -> EncodedIndex {
    let shape = Shape::new(index.len(), block_len);
    let leaves = leaf_blocks(index, shape);
    let in_root = leaves.is_empty();
    let root = block(
        index.hash(),
        &Root {
            v: V1,
            size: index.size(),
            chunker: index.chunker(),
            hash: index.hash(),
            sha256: index.sha256(),
            count: index.len(),
            chunks: in_root.then(|| index.entries().to_vec()),
            leaves: (!in_root).then(|| leaves.iter().map(|(cid, _)| *cid).collect()),
        },
    );
    EncodedIndex { root: root.0, blocks: std::iter::once(root).chain(leaves).collect() }
}

fn leaf_blocks(index: &ArtifactIndex, shape: Shape) -> Vec<(Cid, Vec<u8>)> {
    if shape.leaves == 0 {
        return Vec::new();
    }
    let leaf = |chunks: &[ChunkEntry]| block(index.hash(), &Leaf { v: V1, chunks: chunks.to_vec() });
    index.entries().chunks(shape.per_leaf as usize).map(leaf).collect()
}

fn block<T: Serialize>(hash: HashAlgorithm, value: &T) -> (Cid, Vec<u8>) {
    let bytes = to_dag_cbor(value);
    (Cid::new(Codec::DagCbor, hash, hash.digest(&bytes)), bytes)
}
