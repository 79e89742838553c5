//! Hashing what a file contains, chunk by chunk.

use std::io;

use crate::chunkset::ChunkSet;
use crate::index::{ArtifactIndex, ChunkIndex};
use crate::store::backend::BackendFile;

/// A verified chunk, with its position in the artifact.
pub(super) struct Chunk<'a> {
    pub(super) offset: u64,
    pub(super) bytes: &'a [u8],
}

/// Returns the chunks whose bytes in the file match the index. A file that ends early lacks the chunks after its end.
pub(super) fn matching(file: &dyn BackendFile, index: &ArtifactIndex) -> io::Result<ChunkSet> {
    let mut have = ChunkSet::new(index.len());
    let mut buf = vec![0; index.chunker().max() as usize];
    for (chunk, position) in index.chunks().zip(0..) {
        let bytes = &mut buf[..chunk.len as usize];
        match file.read_exact_at(bytes, chunk.offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            other => other?,
        }
        if index.hash().digest(bytes) == chunk.digest {
            have.insert(ChunkIndex(position));
        }
    }
    Ok(have)
}

/// Returns the first chunk of the file that does not match the index, or `None` if all chunks match.
pub(super) fn first_wrong(file: &dyn BackendFile, index: &ArtifactIndex) -> io::Result<Option<ChunkIndex>> {
    Ok(matching(file, index)?.iter_missing().next())
}
