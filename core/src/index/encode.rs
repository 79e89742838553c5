//! The blocks of an index, and how many chunks go into each.

use serde::{Deserialize, Serialize};

use super::artifact::{ArtifactIndex, ChunkEntry};
use super::error::MAX_BLOCK_LEN;
use crate::chunker::ChunkerParams;
use crate::cid::{Cid, Codec, Digest, HashAlgorithm};
use crate::codec::{V1, to_dag_cbor};

/// The most bytes of a chunk's entry: a list of two (1), a byte string of 32 (34), a length (5).
const MAX_ENTRY_LEN: usize = 40;
/// The most bytes of a root block without its chunks; some 130 are used.
const ROOT_OVERHEAD: usize = 256;
/// The most bytes of a leaf without its chunks; 16 are used.
const LEAF_OVERHEAD: usize = 32;

/// An index as blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedIndex {
    /// The CID of the first block: the artifact's CID.
    pub root: Cid,
    /// The root and then the leaves, each of at most [`MAX_BLOCK_LEN`] bytes.
    pub blocks: Vec<(Cid, Vec<u8>)>,
}

/// A root block.
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

/// A leaf block.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Leaf {
    pub(super) v: V1,
    pub(super) chunks: Vec<ChunkEntry>,
}

/// How the chunks of an index are spread over its blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    count: u32,
    per_leaf: u32,
    /// 0 if the root lists the chunks itself.
    leaves: u32,
}

impl Shape {
    /// The shape of an index of `count` chunks in blocks of at most `block_len` bytes.
    pub(super) fn new(count: u32, block_len: usize) -> Self {
        let in_root = ((block_len - ROOT_OVERHEAD) / MAX_ENTRY_LEN) as u32;
        let per_leaf = ((block_len - LEAF_OVERHEAD) / MAX_ENTRY_LEN) as u32;
        let leaves = if count <= in_root { 0 } else { count.div_ceil(per_leaf) };
        Self { count, per_leaf, leaves }
    }

    pub(super) fn leaves(&self) -> usize {
        self.leaves as usize
    }

    /// How many chunks the leaf at `position` has.
    pub(super) fn chunks_in_leaf(&self, position: usize) -> usize {
        self.per_leaf.min(self.count - self.per_leaf * position as u32) as usize
    }
}

impl ArtifactIndex {
    /// The blocks of the index. Their order is fixed: the root, then the leaves.
    pub fn encode(&self) -> EncodedIndex {
        encode(self, MAX_BLOCK_LEN)
    }
}

/// The blocks of `index`, none of more than `block_len` bytes.
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
