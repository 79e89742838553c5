//! The limits on the lengths and numbers in a message.

/// The maximum length of a header, in bytes. It is enough for 256 ranges, or for 32 peers with 8 addresses of 128 bytes
/// each.
pub const MAX_HEADER_LEN: usize = 48 * 1024;
/// The maximum length of a payload, in bytes. No block and no chunk is longer.
pub const MAX_PAYLOAD_LEN: u32 = 1 << 20;
/// The maximum number of chunk ranges in a request for chunks or in a have update.
pub const MAX_RANGES: usize = 256;
/// The maximum number of peers in a reply.
pub const MAX_PEERS: usize = 32;
/// The maximum number of addresses of one peer in a reply.
pub const MAX_ADDRS: usize = 8;
/// The maximum length of an address, in bytes.
pub const MAX_ADDR_LEN: usize = 128;
/// The maximum length of a peer id, in bytes. The peer id of an Ed25519 key has 38 bytes.
pub const MAX_PEER_LEN: usize = 64;
/// The limit on the time that a `Busy` reply asks a client to wait, in milliseconds. The time must be less than this
/// limit.
pub const MAX_RETRY_AFTER_MS: u32 = 60_000;
