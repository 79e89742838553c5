//! How much of a list of first peers is read.

/// Bootstrap peers that are used of one list; more add nothing but dials.
pub(crate) const MAX_PEERS: usize = 64;
/// The longest list that is read, in bytes, from a file or from the network: [`MAX_PEERS`] need a tenth of it.
pub(crate) const MAX_LIST_LEN: u64 = 256 * 1024;
