//! The wire protocol `/phase/transfer/1.0.0`, without I/O.
//!
//! A client opens a stream to a provider and writes requests. The provider writes replies on the same stream, in any
//! order, and each reply carries the id of its request.
//!
//! ```text
//! frame  = length of header (u32, big endian) | header (DAG-CBOR) | payload (as many bytes as the header says)
//! ```
//!
//! - A request has no payload. [`Reply`] states which kinds of reply have a payload.
//! - A `Head`, `Block` or `Peers` request gets one reply. A `Have` request gets one `Have` reply, any number of
//!   `HaveDelta` replies, and `Done`. A `Chunks` request gets one `Chunk` reply for each chunk, and `Done`. Any request
//!   can end early with `Refused`. A request that has ended gets no further reply.
//! - A `Cancel` request gets no reply. The cancelled request ends with `Done`, unless it has ended already.
//! - A frame that cannot be decoded ends the stream.
//!
//! Invariant: no length that this module accepts exceeds its limit, so a reader may allocate a buffer of an accepted
//! length.

mod error;
mod limits;
mod message;

use bytes::{BufMut as _, Bytes, BytesMut};
use phase_core::codec::{from_dag_cbor_exact, to_dag_cbor};

pub use crate::request_id::RequestId;
pub use error::WireError;
pub use limits::{
    MAX_ADDR_LEN, MAX_ADDRS, MAX_HEADER_LEN, MAX_PAYLOAD_LEN, MAX_PEER_LEN, MAX_PEERS, MAX_RANGES, MAX_RETRY_AFTER_MS,
};
pub use message::{PeerAddrs, Refusal, Reply, ReplyHeader, Request, RequestHeader};

/// Reads the length of a header, in bytes, from the four bytes that precede the header.
///
/// # Errors
/// [`WireError::HeaderLength`] if the length is 0 or greater than [`MAX_HEADER_LEN`].
pub fn header_len(prefix: [u8; 4]) -> Result<usize, WireError> {
    let len = u32::from_be_bytes(prefix);
    match usize::try_from(len) {
        Ok(len) if (1..=MAX_HEADER_LEN).contains(&len) => Ok(len),
        _ => Err(WireError::HeaderLength(len)),
    }
}

/// Encodes a request as a whole frame.
pub fn encode_request(header: &RequestHeader) -> Bytes {
    frame(&to_dag_cbor(header))
}

/// Encodes a reply as a frame without its payload. The caller must write the payload, which has `header.len` bytes,
/// directly after it.
pub fn encode_reply(header: &ReplyHeader) -> Bytes {
    frame(&to_dag_cbor(header))
}

/// Decodes the header of a request.
///
/// # Errors
/// [`WireError`] if the bytes are not the canonical encoding of a header, or if a value in it exceeds its limit.
pub fn decode_request(header: &[u8]) -> Result<RequestHeader, WireError> {
    let header: RequestHeader = from_dag_cbor_exact(header)?;
    header.body.check()?;
    Ok(header)
}

/// Decodes the header of a reply.
///
/// # Errors
/// [`WireError`] if the bytes are not the canonical encoding of a header, if a value in it exceeds its limit, or if a
/// reply of this kind cannot have a payload of this length.
pub fn decode_reply(header: &[u8]) -> Result<ReplyHeader, WireError> {
    let header: ReplyHeader = from_dag_cbor_exact(header)?;
    header.check()?;
    Ok(header)
}

fn frame(header: &[u8]) -> Bytes {
    let len = u32::try_from(header.len()).expect("a header whose values are within their limits is shorter than 4 GiB");
    let mut frame = BytesMut::with_capacity(4 + header.len());
    frame.put_u32(len);
    frame.put_slice(header);
    frame.freeze()
}
