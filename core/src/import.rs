//! Turning a file into an artifact: read once, cut, hashed, and copied along the way where a copy is wanted.
//!
//! [`Store::import`](crate::store::Store::import) is the way in; here is what all stores share. Memory is bounded, whatever
//! the size of the file, apart from the index itself (about 45 bytes per chunk).

use crate::chunker::ChunkerParams;
use crate::cid::HashAlgorithm;

mod pipeline;

pub(crate) use pipeline::{ScanError, scan};

/// Whether the store gets its own copy of an imported file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImportMode {
    /// The store has its own file. Where the file system can share the content between two files, that is done
    /// instead of copying.
    #[default]
    Copy,
    /// The store refers to the file where it is, which must not be changed from then on: once it is, the artifact
    /// is not served any more.
    Reference,
}

/// How a file becomes an artifact.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ImportOptions {
    /// Whether the store gets its own copy. Default: it does.
    pub mode: ImportMode,
    /// The chunk sizes. They decide the artifact's CID, and which data it shares with others.
    pub chunker: ChunkerParams,
    /// The hash of chunks and index. Default: BLAKE3.
    pub hash: HashAlgorithm,
}

impl ImportOptions {
    /// Another mode.
    #[must_use]
    pub fn with_mode(self, mode: ImportMode) -> Self {
        Self { mode, ..self }
    }

    /// Other chunk sizes.
    #[must_use]
    pub fn with_chunker(self, chunker: ChunkerParams) -> Self {
        Self { chunker, ..self }
    }

    /// Another hash.
    #[must_use]
    pub fn with_hash(self, hash: HashAlgorithm) -> Self {
        Self { hash, ..self }
    }
}
