//! What can be wrong with a file that the store has verified before.

use std::io;

use crate::envelope::EnvelopeError;
use crate::index::ChunkIndex;
use crate::name::Name;

/// How a file of the store, or one it refers to, differs from what was verified. Each text says the next step, where
/// there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// A small file is longer than any of its kind.
    #[error("it has {len} bytes, at most {cap} are possible")]
    TooLong {
        /// Its length in bytes.
        len: u64,
        /// The most that is possible.
        cap: usize,
    },
    /// A block that is not what its name says.
    #[error("its bytes do not match its name; publish or fetch it again")]
    OtherBytes,
    /// A block of an artifact's index is gone.
    #[error("this index block is missing; publish or fetch it again")]
    NoIndexBlock,
    /// An artifact of another size than its index says.
    #[error("it has {len} bytes instead of {expected}; it is not served; publish or fetch it again")]
    Length {
        /// Its length in bytes.
        len: u64,
        /// What the index says.
        expected: u64,
    },
    /// A chunk of an artifact that is not what the index says.
    #[error("chunk {0} does not match its hash; it is not served; publish or fetch it again")]
    Chunk(ChunkIndex),
    /// An artifact that is not in the state in which it was verified.
    #[error("it was changed, removed or replaced after it was verified; it is not served")]
    Changed,
    /// A file elsewhere that cannot be opened any more.
    #[error("it was imported in place and cannot be opened: {0}")]
    ReferenceGone(#[source] io::Error),
    /// A file elsewhere that is not what it was.
    #[error("it was imported in place and has changed since; publish it again")]
    ReferenceChanged,
    /// A ref that cannot be read as an envelope.
    #[error("{error}; publish or fetch {name} again")]
    RefBytes {
        /// The name.
        name: Name,
        /// What is wrong with the bytes.
        error: EnvelopeError,
    },
    /// A ref that is not a pointer record for its name.
    #[error("not a pointer record for {name}: {problem}; publish or fetch {name} again")]
    Ref {
        /// The name.
        name: Name,
        /// What is wrong with the record.
        problem: RefProblem,
    },
}

/// Why an envelope cannot be the ref of a name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefProblem {
    /// Not a pointer record.
    #[error("{0}")]
    Envelope(EnvelopeError),
    /// A pointer record for another name.
    #[error("it is for {0}")]
    OtherName(Name),
    /// A pointer record for clients without the DHT alone.
    #[error("it has no manifest, only urls, and a store serves what a manifest lists")]
    NoManifest,
}
