//! Import: makes an artifact from a file. The file is read only once. It is cut, hashed and, if the store needs a copy,
//! copied during that read.
//!
//! Callers use [`Store::import`](crate::store::Store::import). This module contains the part that all stores share.
//! Memory is bounded for files of every size, except for the index (about 45 bytes per chunk).

use crate::chunker::ChunkerParams;
use crate::cid::HashAlgorithm;

mod pipeline;

pub(crate) use pipeline::{ScanError, scan};

/// The mode of an import: whether the store makes its own copy of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImportMode {
    /// The store makes its own file. If the file system supports it, the new file shares its content with the original
    /// by reflink instead of a copy.
    #[default]
    Copy,
    /// The store refers to the original file, which must not be changed afterwards. If the file is changed, the store
    /// no longer serves the artifact.
    Reference,
}

/// The options of an import.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ImportOptions {
    /// Whether the store makes its own copy of the file. By default, it does.
    pub mode: ImportMode,
    /// The lengths of the chunks. They affect the artifact CID, and which chunks the artifact has in common with other
    /// artifacts.
    pub chunker: ChunkerParams,
    /// The hash function of the chunks and of the index blocks. The default is BLAKE3.
    pub hash: HashAlgorithm,
}

impl ImportOptions {
    /// Sets the import mode.
    #[must_use]
    pub fn with_mode(self, mode: ImportMode) -> Self {
        Self { mode, ..self }
    }

    /// Sets the lengths of the chunks.
    #[must_use]
    pub fn with_chunker(self, chunker: ChunkerParams) -> Self {
        Self { chunker, ..self }
    }

    /// Sets the hash function of the chunks and of the index blocks.
    #[must_use]
    pub fn with_hash(self, hash: HashAlgorithm) -> Self {
        Self { hash, ..self }
    }
}
