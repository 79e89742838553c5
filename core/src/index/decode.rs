//! The index decoder, which accepts blocks from untrusted peers.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::artifact::ArtifactIndex;
use super::encode::{Leaf, Root, Shape};
use super::entry::ChunkEntry;
use super::error::{IndexError, MAX_BLOCK_LEN, MAX_CHUNKS};
use crate::cid::{Cid, Codec};
use crate::codec::from_dag_cbor_exact;

/// A decoder that assembles an index from its blocks, which may be added in any order.
///
/// Fetch the blocks that [`wanted`](Self::wanted) returns and pass each to [`handle_block`](Self::handle_block), until
/// `wanted` returns an empty list. Then call [`finish`](Self::finish).
///
/// The size in the signed manifest limits the memory. An index is refused if it lists more chunks than an artifact of
/// that size can have, or more than [`MAX_CHUNKS`]. A block is decoded only if it is wanted.
#[derive(Debug)]
pub struct IndexDecoder {
    root: Cid,
    max_size: u64,
    block_len: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The initial state, in which the root block is missing.
    Start,
    /// The root block was decoded. Leaf blocks may be missing.
    Rooted(Box<Rooted>),
}

#[derive(Debug)]
struct Rooted {
    root: Root,
    shape: Shape,
    /// The missing leaf blocks with their positions. One CID can have several positions, because equal leaf blocks have
    /// the same CID.
    missing: BTreeMap<Cid, Vec<usize>>,
    /// The chunks of each leaf block, or of the root block if there are no leaf blocks.
    parts: Vec<Vec<ChunkEntry>>,
}

impl IndexDecoder {
    /// Returns a decoder for the index whose root block has the CID `root`. An index of an artifact that is larger than
    /// `max_size` bytes is refused. `max_size` is the size in the signed manifest, or `u64::MAX` without a manifest.
    pub fn new(root: Cid, max_size: u64) -> Self {
        Self::with_block_len(root, max_size, MAX_BLOCK_LEN)
    }

    pub(super) fn with_block_len(root: Cid, max_size: u64, block_len: usize) -> Self {
        Self { root, max_size, block_len, state: State::Start }
    }

    /// Returns the CIDs of the blocks to fetch next: the root block, or the missing leaf blocks once the root block was
    /// added. The list is empty if the index is complete.
    pub fn wanted(&self) -> Vec<Cid> {
        match &self.state {
            State::Start => vec![self.root],
            State::Rooted(rooted) => rooted.missing.keys().copied().collect(),
        }
    }

    /// Checks one block and adds it to the index.
    ///
    /// # Errors
    /// [`IndexError::Unwanted`], [`IndexError::BlockTooLarge`] and [`IndexError::Corrupt`] are the fault of the peer
    /// that sent the block. The decoder is unchanged then, and another peer can be asked for the block. Every other
    /// error means that the index itself is invalid.
    pub fn handle_block(&mut self, cid: &Cid, bytes: &[u8]) -> Result<(), IndexError> {
        if !self.wants(cid) {
            return Err(IndexError::Unwanted(*cid));
        }
        if bytes.len() > self.block_len {
            return Err(IndexError::BlockTooLarge { cid: *cid, len: bytes.len() });
        }
        cid.verify(bytes).map_err(IndexError::Corrupt)?;
        match &mut self.state {
            State::Start => self.state = State::Rooted(Box::new(self.handle_root(bytes)?)),
            State::Rooted(rooted) => rooted.handle_leaf(cid, bytes)?,
        }
        Ok(())
    }

    /// Returns the whole index.
    ///
    /// # Errors
    /// [`IndexError::Incomplete`] if blocks are missing, or another error if the index itself is invalid.
    pub fn finish(self) -> Result<ArtifactIndex, IndexError> {
        let cid = self.root;
        let State::Rooted(rooted) = self.state else {
            return Err(IndexError::Incomplete(1));
        };
        let Rooted { root, missing, parts, .. } = *rooted;
        if !missing.is_empty() {
            return Err(IndexError::Incomplete(missing.len()));
        }
        let index = ArtifactIndex::new(root.chunker, root.hash, root.sha256, parts.concat())?;
        if index.size() != root.size {
            return Err(IndexError::Inconsistent { cid, what: "its size is not the sum of the lengths of its chunks" });
        }
        Ok(index)
    }

    fn wants(&self, cid: &Cid) -> bool {
        match &self.state {
            State::Start => *cid == self.root,
            State::Rooted(rooted) => rooted.missing.contains_key(cid),
        }
    }

    fn handle_root(&self, bytes: &[u8]) -> Result<Rooted, IndexError> {
        let cid = self.root;
        let root: Root = decode(&cid, bytes)?;
        if root.size > self.max_size {
            return Err(IndexError::TooLarge { size: root.size, max: self.max_size });
        }
        if root.count > MAX_CHUNKS {
            return Err(IndexError::TooManyChunks(root.count.into()));
        }
        let shape = Shape::new(root.count, self.block_len);
        if let Some(what) = contradiction(&cid, &root, shape) {
            return Err(IndexError::Inconsistent { cid, what });
        }
        Ok(Rooted::new(root, shape))
    }
}

impl Rooted {
    fn new(mut root: Root, shape: Shape) -> Self {
        let mut missing = BTreeMap::<Cid, Vec<usize>>::new();
        for (position, leaf) in root.leaves.take().into_iter().flatten().enumerate() {
            missing.entry(leaf).or_default().push(position);
        }
        let parts = root.chunks.take().map_or_else(|| vec![Vec::new(); shape.leaves()], |chunks| vec![chunks]);
        Self { root, shape, missing, parts }
    }

    fn handle_leaf(&mut self, cid: &Cid, bytes: &[u8]) -> Result<(), IndexError> {
        let leaf: Leaf = decode(cid, bytes)?;
        let positions = &self.missing[cid];
        if positions.iter().any(|&position| leaf.chunks.len() != self.shape.chunks_in_leaf(position)) {
            return Err(IndexError::Inconsistent { cid: *cid, what: "a leaf block has the wrong number of chunks" });
        }
        for position in self.missing.remove(cid).expect("every missing leaf block has positions") {
            self.parts[position].clone_from(&leaf.chunks);
        }
        Ok(())
    }
}

/// Describes the first contradiction in a root block, or returns `None` if the block is consistent.
fn contradiction(cid: &Cid, root: &Root, shape: Shape) -> Option<&'static str> {
    let count = u64::from(root.count);
    let fewest = root.size.div_ceil(root.chunker.max().into());
    let most = root.size.div_ceil(root.chunker.min().into());
    let listed = root.chunks.as_ref().map(Vec::len);
    let leaves = root.leaves.as_ref();
    let shape_fits = match shape.leaves() {
        0 => listed == Some(root.count as usize) && leaves.is_none(),
        expected => listed.is_none() && leaves.is_some_and(|leaves| leaves.len() == expected),
    };
    let is_sibling = |leaf: &Cid| leaf.codec() == Codec::DagCbor && leaf.hash() == root.hash;
    [
        (cid.codec() == Codec::DagCbor && cid.hash() == root.hash, "its CID has the wrong codec or hash function"),
        ((fewest..=most).contains(&count), "its number of chunks does not fit its size"),
        (shape_fits, "it does not list as many chunks or leaf blocks as its count requires"),
        (leaves.into_iter().flatten().all(is_sibling), "the CID of a leaf block has the wrong codec or hash function"),
    ]
    .into_iter()
    .find_map(|(holds, what)| (!holds).then_some(what))
}

fn decode<T: Serialize + DeserializeOwned>(cid: &Cid, bytes: &[u8]) -> Result<T, IndexError> {
    from_dag_cbor_exact(bytes).map_err(|source| IndexError::Decode { cid: *cid, source })
}
