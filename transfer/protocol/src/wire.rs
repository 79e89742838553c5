//! The wire protocol `/phase/transfer/1.0.0`, without I/O.
//!
//! Whoever wants something opens a stream and writes requests; the answers come back on the same stream, in any order,
//! each with the id of its request.
//!
//! ```text
//! frame  = length of header (u32, big endian) | header (DAG-CBOR) | payload (as many bytes as the header says)
//! ```
//!
//! - Requests have no payload. Replies have one where [`Reply`] says so.
//! - `Head`, `Block` and `Peers` are answered by one reply. `Have` is answered by `Have`, any number of `HaveDelta`, and
//!   `Done`; `Chunks` by `Chunk`s and `Done`. `Refused` ends any request. After the end nothing follows for it.
//! - `Cancel` is not answered itself: the request it names ends with `Done`, unless it had ended.
//! - A frame that cannot be decoded ends the stream.
//!
//! Invariant: no length is accepted here that is beyond its cap, so a reader may allocate what it is told.

mod message;

use bytes::{BufMut as _, Bytes, BytesMut};
use phase_core::codec::{DecodeError, from_dag_cbor_exact, to_dag_cbor};

pub use message::{PeerAddrs, Refusal, Reply, ReplyHeader, Request, RequestHeader, RequestId};

/// The longest header, in bytes: room for 256 ranges, or 32 peers with 8 addresses of 128 bytes each.
pub const MAX_HEADER_LEN: usize = 48 * 1024;
/// The longest payload, in bytes: a block or a chunk.
pub const MAX_PAYLOAD_LEN: u32 = 1 << 20;
/// Ranges in a request for chunks or a report of new ones.
pub const MAX_RANGES: usize = 256;
/// Peers in an answer.
pub const MAX_PEERS: usize = 32;
/// Addresses of one peer.
pub const MAX_ADDRS: usize = 8;
/// The longest address, in bytes.
pub const MAX_ADDR_LEN: usize = 128;
/// The longest peer id, in bytes. An Ed25519 one takes 38.
pub const MAX_PEER_LEN: usize = 64;
/// The longest wait that `Busy` can ask for, in milliseconds.
pub const MAX_RETRY_AFTER_MS: u32 = 60_000;

/// The length of the header that follows these four bytes.
///
/// # Errors
/// [`WireError::HeaderLength`] if it is 0 or beyond [`MAX_HEADER_LEN`].
pub fn header_len(prefix: [u8; 4]) -> Result<usize, WireError> {
    let len = u32::from_be_bytes(prefix);
    match usize::try_from(len) {
        Ok(len) if (1..=MAX_HEADER_LEN).contains(&len) => Ok(len),
        _ => Err(WireError::HeaderLength(len)),
    }
}

/// A request as a whole frame.
pub fn encode_request(header: &RequestHeader) -> Bytes {
    frame(&to_dag_cbor(header))
}

/// A reply as a frame without its payload of `header.len` bytes, which the caller writes next.
pub fn encode_reply(header: &ReplyHeader) -> Bytes {
    frame(&to_dag_cbor(header))
}

/// Reads the header of a request.
///
/// # Errors
/// [`WireError`], also for what is well formed but beyond a cap.
pub fn decode_request(header: &[u8]) -> Result<RequestHeader, WireError> {
    let header: RequestHeader = from_dag_cbor_exact(header)?;
    header.body.check()?;
    Ok(header)
}

/// Reads the header of a reply.
///
/// # Errors
/// [`WireError`], also for what is well formed but beyond a cap, and for a payload that this kind of reply cannot have.
pub fn decode_reply(header: &[u8]) -> Result<ReplyHeader, WireError> {
    let header: ReplyHeader = from_dag_cbor_exact(header)?;
    header.check()?;
    Ok(header)
}

fn frame(header: &[u8]) -> Bytes {
    let len = u32::try_from(header.len()).expect("headers are made from values within their caps");
    let mut frame = BytesMut::with_capacity(4 + header.len());
    frame.put_u32(len);
    frame.put_slice(header);
    frame.freeze()
}

/// Why a frame is not one of this protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
