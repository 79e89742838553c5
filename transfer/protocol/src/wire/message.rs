//! The messages, and what is permitted in each.

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
    /// Repeated in every reply.
    pub id: RequestId,
    /// What is wanted.
    pub body: Request,
}

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The current release of a name.
    #[serde(rename = "head")]
    Head {
        /// The name.
        name: Name,
    },
    /// A small block.
    #[serde(rename = "block")]
    Block {
        /// Its CID.
        cid: Cid,
    },
    /// Which chunks of an artifact are there, now and as they are added.
    #[serde(rename = "have")]
    Have {
        /// The artifact.
        artifact: Cid,
    },
    /// Chunks of an artifact.
    #[serde(rename = "chunks")]
    Chunks {
        /// The artifact.
        artifact: Cid,
        /// Which; 1 to [`MAX_RANGES`], ascending and without overlap.
        ranges: Vec<ChunkRange>,
    },
    /// Other peers that have some of an artifact.
    #[serde(rename = "peers")]
    Peers {
        /// The artifact.
        artifact: Cid,
    },
    /// Nothing further for a request.
    #[serde(rename = "cancel")]
    Cancel {
        /// The request.
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
    /// The request it answers.
    pub id: RequestId,
    /// The length of the payload, in bytes.
    pub len: u32,
    /// The answer.
    pub body: Reply,
}

/// What can be answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The payload is the pointer's envelope, then the manifest's.
    #[serde(rename = "head")]
    Head {
        /// The length of the pointer's envelope, in bytes.
        pointer_len: u32,
    },
    /// The payload is the block.
    #[serde(rename = "block")]
    Block,
    /// What is there. Unless `full`, the payload is a bitmap, see [`ChunkSet::to_bytes`].
    #[serde(rename = "have")]
    Have {
        /// Chunks of the whole artifact.
        chunks: u32,
        /// Whether all of it is there.
        full: bool,
    },
    /// What has been added.
    #[serde(rename = "delta")]
    HaveDelta {
        /// Which; 1 to [`MAX_RANGES`], ascending and without overlap.
        ranges: Vec<ChunkRange>,
    },
    /// The payload is a chunk.
    #[serde(rename = "chunk")]
    Chunk {
        /// Its position.
        index: ChunkIndex,
        /// How the payload is encoded. 0: as it is. Others are not defined.
        encoding: u8,
    },
    /// Nothing follows for this request.
    #[serde(rename = "done")]
    Done,
    /// Peers that have, or are fetching, some of it.
    #[serde(rename = "peers")]
    Peers {
        /// At most [`MAX_PEERS`].
        peers: Vec<PeerAddrs>,
    },
    /// No, and why.
    #[serde(rename = "refused")]
    Refused(Refusal),
}

impl ReplyHeader {
    pub(super) fn check(&self) -> Result<(), WireError> {
        let cap = match &self.body {
            Reply::Head { pointer_len } if *pointer_len > self.len => {
                return Err(WireError::Range("length of pointer"));
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
            Reply::Chunk { encoding: 1.., .. } => Err(WireError::Range("encoding of chunk")),
            Reply::Peers { peers } => check_peers(peers),
            Reply::Refused(Refusal::Busy { retry_after_ms: MAX_RETRY_AFTER_MS.. }) => {
                Err(WireError::Range("retry time"))
            }
            _ => Ok(()),
        }
    }
}

fn check_ranges(ranges: &[ChunkRange]) -> Result<(), WireError> {
    match ranges.len() {
        // Overlapping ranges would let a few bytes cost the work of millions of chunks.
        1..=MAX_RANGES if ranges.windows(2).any(|pair| pair[1].start < pair[0].end) => {
            Err(WireError::Range("order of ranges"))
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
            return Err(WireError::Range("length of a peer id or address"));
        }
    }
    Ok(())
}

/// A peer and where it can be dialled, both in libp2p's binary forms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerAddrs {
    /// The peer id; at most [`MAX_PEER_LEN`] bytes.
    pub peer: ByteBuf,
    /// Multiaddrs; at most [`MAX_ADDRS`] of at most [`MAX_ADDR_LEN`] bytes.
    pub addrs: Vec<ByteBuf>,
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Nothing is known of it here.
    #[serde(rename = "not-found")]
    NotFound,
    /// It is known here, but not, or no longer, to be had.
    #[serde(rename = "missing")]
    Missing,
    /// Too much is asked for at this time.
    #[serde(rename = "busy")]
    Busy {
        /// When to ask again, in milliseconds from now; below [`MAX_RETRY_AFTER_MS`].
        retry_after_ms: u32,
    },
    /// The answer would exceed a cap.
    #[serde(rename = "too-large")]
    TooLarge,
    /// Not for this peer.
    #[serde(rename = "forbidden")]
    Forbidden,
    /// The request makes no sense.
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
