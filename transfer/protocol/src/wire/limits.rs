//! How much a message may hold.

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
