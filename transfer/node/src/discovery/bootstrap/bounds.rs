//! Bounds on the lists of bootstrap peers that a node reads.

/// The maximum number of bootstrap peers that a node uses from one list. The node dials each of them.
pub(crate) const MAX_PEERS: usize = 64;
/// The maximum size in bytes of a list that is read from a file or fetched from a URL. A list with [`MAX_PEERS`] peers
/// needs about a tenth of this size.
pub(crate) const MAX_LIST_LEN: u64 = 256 * 1024;
