//! The messages of the protocol, and the checks that refuse values beyond the limits.

use std::fmt;

use phase_core::{ChunkIndex, ChunkRange, ChunkSet, Cid, Name};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::request_id::RequestId;
use crate::wire::error::WireError;
use crate::wire::limits::{
    MAX_ADDR_LEN, MAX_ADDRS, MAX_PAYLOAD_LEN, MAX_PEER_LEN, MAX_PEERS, MAX_RANGES, MAX_RETRY_AFTER_MS,
};

/// The header of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestHeader {
    /// The id of the request. Every reply to it repeats this id.
    pub id: RequestId,
    /// The kind of the request and its arguments.
    pub body: Request,
}

/// The body of a request: its kind and its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Asks for the current release of a name, which is a channel and an architecture.
    #[serde(rename = "head")]
    Head {
        /// The channel and architecture of the release.
        name: Name,
    },
    /// Asks for a block.
    #[serde(rename = "block")]
    Block {
        /// The CID of the block.
        cid: Cid,
    },
    /// Asks which chunks of an artifact the provider has, and for have updates, which say which chunks the provider
    /// gains later.
    #[serde(rename = "have")]
    Have {
        /// The CID of the artifact.
        artifact: Cid,
    },
    /// Asks for chunks of an artifact.
    #[serde(rename = "chunks")]
    Chunks {
        /// The CID of the artifact.
        artifact: Cid,
        /// The requested chunks, as ranges in ascending order and without overlap. There is at least 1 range, and there
        /// are at most [`MAX_RANGES`].
        ranges: Vec<ChunkRange>,
    },
    /// Asks for peers that have an artifact or some of it.
    #[serde(rename = "peers")]
    Peers {
        /// The CID of the artifact.
        artifact: Cid,
    },
    /// Cancels an earlier request on the same stream.
    #[serde(rename = "cancel")]
    Cancel {
        /// The id of the request to cancel.
        request: RequestId,
    },
}

impl Request {
    pub(super) fn check(&self) -> Result<(), WireError> {
        match self {
            Self::Chunks { ranges, .. } => check_ranges(ranges),
            _ => Ok(()),
        }
    }
}

/// The header of a reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplyHeader {
    /// The id of the request that this reply answers.
    pub id: RequestId,
    /// The length, in bytes, of the payload that follows the header.
    pub len: u32,
    /// The kind of the reply and its values.
    pub body: Reply,
}

/// The body of a reply: its kind and its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The current release of a name. The payload is the envelope of the pointer, followed by the envelope of the
    /// manifest.
    #[serde(rename = "head")]
    Head {
        /// The length of the pointer's envelope, in bytes.
        pointer_len: u32,
    },
    /// The requested block. The payload is the block.
    #[serde(rename = "block")]
    Block,
    /// The chunks of an artifact that the provider has. The payload is the bitmap of these chunks, encoded as by
    /// [`ChunkSet::to_bytes`]. If `full` is set, there is no payload.
    #[serde(rename = "have")]
    Have {
        /// The number of chunks of the whole artifact.
        chunks: u32,
        /// Whether the provider has all chunks of the artifact.
        full: bool,
    },
    /// A have update, which says which chunks the provider has gained.
    #[serde(rename = "delta")]
    HaveDelta {
        /// The gained chunks, as ranges in ascending order and without overlap. There is at least 1 range, and there
        /// are at most [`MAX_RANGES`].
        ranges: Vec<ChunkRange>,
    },
    /// A requested chunk. The payload is the bytes of the chunk.
    #[serde(rename = "chunk")]
    Chunk {
        /// The position of the chunk within its artifact.
        index: ChunkIndex,
        /// The encoding of the payload. The only defined value is 0, which means that the payload is not encoded.
        encoding: u8,
    },
    /// The end of a request. No further reply to the request follows.
    #[serde(rename = "done")]
    Done,
    /// Peers that have the artifact, or are fetching it.
    #[serde(rename = "peers")]
    Peers {
        /// The peers and their addresses. There are at most [`MAX_PEERS`] peers.
        peers: Vec<PeerAddrs>,
    },
    /// The request is refused for this reason, and has ended.
    #[serde(rename = "refused")]
    Refused(Refusal),
}

impl ReplyHeader {
    pub(super) fn check(&self) -> Result<(), WireError> {
        let cap = match &self.body {
            Reply::Head { pointer_len } if *pointer_len > self.len => {
                return Err(WireError::Range("pointer is longer than the payload that contains it"));
            }
            Reply::Head { .. } | Reply::Block | Reply::Chunk { .. } => MAX_PAYLOAD_LEN,
            Reply::Have { full: false, chunks } => {
                let bitmap = u32::try_from(ChunkSet::byte_len(*chunks)).unwrap_or(u32::MAX);
                bitmap.min(MAX_PAYLOAD_LEN)
            }
            Reply::Have { full: true, .. } | Reply::HaveDelta { .. } | Reply::Done => 0,
            Reply::Peers { .. } | Reply::Refused(_) => 0,
        };
        if self.len > cap {
            return Err(WireError::PayloadLength { len: self.len, cap });
        }
        match &self.body {
            Reply::HaveDelta { ranges } => check_ranges(ranges),
            Reply::Chunk { encoding: 1.., .. } => Err(WireError::Range("encoding of a chunk is unknown")),
            Reply::Peers { peers } => check_peers(peers),
            Reply::Refused(Refusal::Busy { retry_after_ms: MAX_RETRY_AFTER_MS.. }) => {
                Err(WireError::Range("time until a retry is too long"))
            }
            _ => Ok(()),
        }
    }
}

fn check_ranges(ranges: &[ChunkRange]) -> Result<(), WireError> {
    match ranges.len() {
        // Overlapping ranges are refused because, with them, a request of a few bytes could make a provider send
        // millions of chunks.
        1..=MAX_RANGES if ranges.windows(2).any(|pair| pair[1].start < pair[0].end) => {
            Err(WireError::Range("ranges overlap or are not in ascending order"))
        }
        1..=MAX_RANGES => Ok(()),
        count => Err(WireError::Count { what: "ranges", count }),
    }
}

fn check_peers(peers: &[PeerAddrs]) -> Result<(), WireError> {
    if peers.len() > MAX_PEERS {
        return Err(WireError::Count { what: "peers", count: peers.len() });
    }
    for peer in peers {
        if peer.addrs.len() > MAX_ADDRS {
            return Err(WireError::Count { what: "addresses of a peer", count: peer.addrs.len() });
        }
        if peer.peer.len() > MAX_PEER_LEN || peer.addrs.iter().any(|addr| addr.len() > MAX_ADDR_LEN) {
            return Err(WireError::Range("peer id or address is too long"));
        }
    }
    Ok(())
}

/// A peer and the addresses at which it can be dialled, both in libp2p's binary encoding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerAddrs {
    /// The peer id, which has at most [`MAX_PEER_LEN`] bytes.
    pub peer: ByteBuf,
    /// The addresses. There are at most [`MAX_ADDRS`], and each has at most [`MAX_ADDR_LEN`] bytes.
    pub addrs: Vec<ByteBuf>,
}

/// The reason why a provider refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The provider does not know the name, block or artifact.
    #[serde(rename = "not-found")]
    NotFound,
    /// The provider cannot serve the content now. For instance, it lacks a requested chunk, or its store cannot be
    /// read.
    #[serde(rename = "missing")]
    Missing,
    /// The provider has too many requests now.
    #[serde(rename = "busy")]
    Busy {
        /// The time after which to send the request again, in milliseconds. It is less than [`MAX_RETRY_AFTER_MS`].
        retry_after_ms: u32,
    },
    /// The reply would exceed a limit.
    #[serde(rename = "too-large")]
    TooLarge,
    /// The provider does not permit the client to have the content.
    #[serde(rename = "forbidden")]
    Forbidden,
    /// The request is invalid, for example because the artifact does not have the requested chunks.
    #[serde(rename = "malformed")]
    Malformed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("not found"),
            Self::Missing => f.write_str("missing"),
            Self::Busy { retry_after_ms } => write!(f, "busy, retry after {retry_after_ms} ms"),
            Self::TooLarge => f.write_str("too large"),
            Self::Forbidden => f.write_str("forbidden"),
            Self::Malformed => f.write_str("malformed"),
        }
    }
}
