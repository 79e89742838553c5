//! The number that identifies a peer in the scheduler and in the upload queue.

use std::fmt;

/// The number that identifies a peer in the scheduler and in the upload queue, chosen by their caller. The transfer
/// code assigns a number to each libp2p peer id. The simulator uses the number of the simulated node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey(pub u64);

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {}", self.0)
    }
}
