//! The decoded index: the chunks of one artifact, in order.

use std::sync::OnceLock;

use super::entry::{Chunk, ChunkEntry};
use super::error::{IndexError, MAX_CHUNKS};
use super::range::{ByteRange, ChunkIndex, ChunkRange};
use super::repeats::Repeats;
use crate::chunker::ChunkerParams;
use crate::cid::{Digest, HashAlgorithm};

/// The index of one artifact.
///
/// Invariant: no chunk is empty or longer than the chunker's maximum, only the last chunk may be shorter than the
/// minimum, and there are at most [`MAX_CHUNKS`] chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactIndex {
    chunker: ChunkerParams,
    hash: HashAlgorithm,
    sha256: Digest,
    chunks: Vec<ChunkEntry>,
    /// The position of the first byte of each chunk, followed by the size of the artifact.
    offsets: Vec<u64>,
    repeats: FoundRepeats,
}

/// The repeats of an index, once they were needed. They follow from the chunks, so they are ignored where indexes are
/// compared.
#[derive(Clone, Debug, Default)]
struct FoundRepeats(OnceLock<Box<Repeats>>);

impl PartialEq for FoundRepeats {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for FoundRepeats {}

impl ArtifactIndex {
    /// Makes the index of an artifact with these chunks. `sha256` is the SHA-256 of the whole artifact.
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
        Ok(Self { chunker, hash, sha256, chunks, offsets, repeats: FoundRepeats::default() })
    }

    /// Returns the size of the artifact in bytes.
    pub fn size(&self) -> u64 {
        *self.offsets.last().expect("offsets end with the size")
    }

    /// Returns the parameters with which the chunker cut the artifact.
    pub fn chunker(&self) -> ChunkerParams {
        self.chunker
    }

    /// Returns the hash function of the chunks and of the index blocks.
    pub fn hash(&self) -> HashAlgorithm {
        self.hash
    }

    /// Returns the SHA-256 of the whole artifact.
    pub fn sha256(&self) -> Digest {
        self.sha256
    }

    /// Returns the number of chunks.
    pub fn len(&self) -> u32 {
        self.chunks.len() as u32
    }

    /// Returns whether the artifact is an empty file.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Returns the entries of all chunks, in order.
    pub(super) fn entries(&self) -> &[ChunkEntry] {
        &self.chunks
    }

    /// Returns the chunk at `index`, or `None` if `index` is past the end.
    pub fn chunk(&self, index: ChunkIndex) -> Option<Chunk> {
        let ChunkEntry { digest, len } = *self.chunks.get(index.0 as usize)?;
        Some(Chunk { digest, len, offset: self.offsets[index.0 as usize] })
    }

    /// Returns all chunks in order.
    pub fn chunks(&self) -> impl ExactSizeIterator<Item = Chunk> + '_ {
        self.chunks.iter().zip(&self.offsets).map(|(&ChunkEntry { digest, len }, &offset)| Chunk {
            digest,
            len,
            offset,
        })
    }

    /// Returns the chunks that are zeros or equal to an earlier chunk. The first call finds them, which takes about a
    /// second for each two million chunks.
    pub fn repeats(&self) -> &Repeats {
        self.repeats.0.get_or_init(|| Box::new(Repeats::of(self.chunker, self.hash, &self.chunks)))
    }

    /// Returns the chunk that contains the byte at `offset`, or `None` if `offset` is outside the artifact.
    pub fn chunk_at(&self, offset: u64) -> Option<ChunkIndex> {
        let after = self.offsets.partition_point(|&start| start <= offset);
        (offset < self.size()).then(|| ChunkIndex(after as u32 - 1))
    }

    /// Returns the byte range of the chunks in `range`, or `None` if a chunk in `range` does not exist.
    pub fn byte_range(&self, range: ChunkRange) -> Option<ByteRange> {
        let start = *self.offsets.get(range.start as usize)?;
        let end = *self.offsets.get(range.end as usize)?;
        Some(ByteRange { start, end })
    }

    /// Returns the chunks that have bytes in `range`, or `None` if `range` is empty or not inside the artifact.
    pub fn covering(&self, range: ByteRange) -> Option<ChunkRange> {
        let first = self.chunk_at(range.start)?;
        let last = self.chunk_at(range.end.checked_sub(1)?)?;
        ChunkRange::new(first.0, last.0 + 1).ok()
    }

    /// Checks that `bytes` are the content of the chunk at `index`.
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
}
