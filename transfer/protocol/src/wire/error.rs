//! Why bytes are not a message of this protocol.

use phase_core::codec::DecodeError;

use crate::wire::limits::MAX_HEADER_LEN;

/// Why a frame is not one of this protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A header of no or too great length.
    #[error("header of {0} bytes: 1 to {MAX_HEADER_LEN} are permitted")]
    HeaderLength(u32),
    /// Not a header.
    #[error("header cannot be read")]
    Decode(#[from] DecodeError),
    /// A list with more entries than permitted, or none where there must be one.
    #[error("{what}: {count} are not permitted")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
    },
    /// A payload longer than permitted for this kind of reply.
    #[error("payload of {len} bytes: this reply has {cap} at most")]
    PayloadLength {
        /// Its length.
        len: u32,
        /// The most that is permitted.
        cap: u32,
    },
    /// A value out of range.
    #[error("{0} is out of range")]
    Range(&'static str),
}
