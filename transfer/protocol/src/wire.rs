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
