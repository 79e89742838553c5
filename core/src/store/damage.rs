//! The kinds of damage that the store detects in its files.

use std::io;

use super::denied::User;
use crate::cid::Cid;
use crate::envelope::EnvelopeError;
use crate::index::ChunkIndex;
use crate::name::Name;

/// The damage to a file of the store, or to a file that was imported by reference. The message names the next step, if
/// there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// A block, ref or other small file is longer than permitted.
    #[error("it has {len} bytes, more than the maximum of {cap}")]
    TooLong {
        /// The length of the file in bytes.
        len: u64,
        /// The maximum length of such a file in bytes.
        cap: usize,
    },
    /// The bytes of a block do not match its CID.
    #[error("its bytes do not match the CID that is its file name; publish or fetch the release again")]
    OtherBytes,
    /// A folder, a link or a device is in the place of a file.
    #[error("it is not a regular file")]
    NotAFile,
    /// The payload of an envelope has a later version.
    #[error("its payload has format version {v}, only version 1 is supported; use a newer version of Phase")]
    LaterPayload {
        /// The version of the payload.
        v: u64,
    },
    /// A ref or a pin leads to content that the store does not have.
    #[error(
        "it leads to {0}, which is not in the store; run `phase store repair`, publish or fetch the release again, or \
         unpin what is pinned"
    )]
    Dangling(Cid),
    /// The bitmap of a partial artifact lists a chunk whose bytes are wrong, or cannot be decoded.
    #[error("it lists chunks that are not stored; the next fetch finds and replaces them")]
    Bitmap,
    /// The store does not have an artifact that a current or pinned release needs.
    #[error("it is missing; run `phase store repair`, or fetch the release again")]
    NotStored,
    /// A seal cannot be decoded.
    #[error("it is not a seal; the artifact is hashed again when it is opened, and gets a new seal")]
    Seal,
    /// A block of an artifact's index is missing.
    #[error("this index block is missing; publish or fetch the artifact again")]
    NoIndexBlock,
    /// The size of an artifact differs from the size in its index.
    #[error("it has {len} bytes instead of {expected}; it is not served; publish or fetch the artifact again")]
    Length {
        /// The length of the file in bytes.
        len: u64,
        /// The artifact's size in the index, in bytes.
        expected: u64,
    },
    /// The bytes of a chunk do not match the chunk's digest in the index.
    #[error(
        "chunk {0} does not match its digest in the index; the file is not served; publish or fetch the artifact again"
    )]
    Chunk(ChunkIndex),
    /// The file of an artifact was changed, removed or replaced after it was verified.
    #[error("it was changed, removed or replaced after it was verified; it is not served")]
    Changed,
    /// A file that was imported by reference cannot be opened.
    #[error("it was imported by reference and cannot be opened: {0}")]
    ReferenceGone(#[source] io::Error),
    /// A file of the store is a symbolic link, a folder or another kind of file that the store never creates.
    #[error("it is a symbolic link or no regular file; remove it, and publish or fetch the release again")]
    NotRegular,
    /// A file that was imported by reference belongs to another user than the reference, which is not trusted.
    #[error(
        "it was imported by reference by {}, who is not its owner, {}, and is not trusted by this process; import it \
         again, as the user that runs this process",
        User(*importer),
        User(*owner)
    )]
    ForeignReference {
        /// The user id of the owner of the reference.
        importer: u32,
        /// The user id of the owner of the file.
        owner: u32,
    },
    /// A file that was imported by reference has changed.
    #[error("it was imported by reference and has changed since; restore the file, or publish it again")]
    ReferenceChanged,
    /// A ref cannot be decoded as an envelope.
    #[error("{error}; publish or fetch {name} again")]
    RefBytes {
        /// The name to which the ref belongs.
        name: Name,
        /// The error from decoding the envelope.
        error: EnvelopeError,
    },
    /// A ref is not a pointer record for its name.
    #[error("not a pointer record for {name}: {problem}; publish or fetch {name} again")]
    Ref {
        /// The name to which the ref belongs.
        name: Name,
        /// The reason why the envelope cannot be the ref.
        problem: RefProblem,
    },
}

/// The reason why an envelope cannot be the ref of a name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefProblem {
    /// The envelope does not contain a pointer record.
    #[error("{0}")]
    Envelope(EnvelopeError),
    /// The pointer record is for another name.
    #[error("it is for {0}")]
    OtherName(Name),
    /// The pointer record contains URLs but no manifest CID, because it is for clients without the DHT.
    #[error("it has no manifest, only URLs, but a ref must lead to a manifest")]
    NoManifest,
}
