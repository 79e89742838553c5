//! The error from decoding a frame.

use phase_core::codec::DecodeError;

use crate::wire::limits::MAX_HEADER_LEN;

/// An error from decoding a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The length of the header, in bytes, is 0 or greater than [`MAX_HEADER_LEN`](crate::wire::MAX_HEADER_LEN).
    #[error("header of {0} bytes: a header has 1 to {MAX_HEADER_LEN} bytes")]
    HeaderLength(u32),
    /// The bytes are not the canonical encoding of a header.
    #[error("header cannot be read")]
    Decode(#[from] DecodeError),
    /// A list in the message has more entries than permitted, or has none where at least one is required.
    #[error("message with {count} {what}: this number is not permitted")]
    Count {
        /// What the list contains, as a plural noun for the message.
        what: &'static str,
        /// The number of entries in the list.
        count: usize,
    },
    /// The payload is longer than permitted for a reply of this kind.
    #[error("payload of {len} bytes: a reply of this kind has at most {cap}")]
    PayloadLength {
        /// The length of the payload, in bytes.
        len: u32,
        /// The maximum length of the payload, in bytes.
        cap: u32,
    },
    /// A value is not permitted. The text names the value and the reason.
    #[error("{0}")]
    Range(&'static str),
}
