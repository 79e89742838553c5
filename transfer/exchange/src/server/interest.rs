//! Notes which peers fetch which artifact, in order to answer `Peers` requests.
//!
//! A peer that sends a `Have` request for an artifact fetches this artifact. It is useful to other peers, because a
//! Phase node serves the chunks that it has fetched.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use libp2p::PeerId;
use phase_core::Cid;

/// The limit on artifacts in [`Interest`].
const MAX_ARTIFACTS: usize = 4096;
/// The limit on peers of one artifact in [`Interest`].
const MAX_PEERS: usize = 256;

/// The interest in artifacts: which peers fetch which artifact. For each peer, it counts the `Have` requests for the
/// artifact on the peer's open streams.
#[derive(Default)]
pub(super) struct Interest {
    artifacts: Mutex<BTreeMap<Cid, BTreeMap<PeerId, usize>>>,
}

impl Interest {
    /// Counts one more `Have` request of `peer` for `artifact`. Does nothing if a limit is reached.
    pub(super) fn add(&self, artifact: Cid, peer: PeerId) {
        let mut artifacts = self.lock();
        if artifacts.len() >= MAX_ARTIFACTS && !artifacts.contains_key(&artifact) {
            return;
        }
        let peers = artifacts.entry(artifact).or_default();
        if peers.len() < MAX_PEERS || peers.contains_key(&peer) {
            *peers.entry(peer).or_default() += 1;
        }
    }

    /// Reverts one call of [`add`](Self::add).
    pub(super) fn remove(&self, artifact: &Cid, peer: &PeerId) {
        let mut artifacts = self.lock();
        let Some(peers) = artifacts.get_mut(artifact) else { return };
        if let Some(count) = peers.get_mut(peer) {
            *count -= 1;
            if *count == 0 {
                peers.remove(peer);
            }
        }
        if peers.is_empty() {
            artifacts.remove(artifact);
        }
    }

    /// Returns up to `most` peers that fetch `artifact`, without the peer `asking`. The list is in the order of the
    /// peer ids, starts after `asking` and wraps around. So different asking peers get different selections.
    pub(super) fn peers(&self, artifact: &Cid, asking: &PeerId, most: usize) -> Vec<PeerId> {
        use std::ops::Bound::{Excluded, Unbounded};
        let artifacts = self.lock();
        let Some(peers) = artifacts.get(artifact) else { return Vec::new() };
        let after = peers.range((Excluded(*asking), Unbounded));
        let before = peers.range((Unbounded, Excluded(*asking)));
        after.chain(before).map(|(peer, _)| *peer).take(most).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Cid, BTreeMap<PeerId, usize>>> {
        self.artifacts.lock().expect("no code panics while it holds the lock on the peers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_listed_until_its_last_request_ends_but_never_to_itself() {
        let interest = Interest::default();
        let artifact = Cid::of_block(b"artifact");
        let (ours, other) = (PeerId::random(), PeerId::random());
        interest.add(artifact, ours);
        interest.add(artifact, other);
        interest.add(artifact, other);
        interest.remove(&artifact, &other);
        assert_eq!(interest.peers(&artifact, &ours, 8), [other]);
        interest.remove(&artifact, &other);
        assert_eq!(interest.peers(&artifact, &ours, 8), []);
        interest.remove(&artifact, &ours);
        assert!(interest.lock().is_empty());
    }

    #[test]
    fn the_number_of_peers_of_one_artifact_is_bounded() {
        let interest = Interest::default();
        let artifact = Cid::of_block(b"artifact");
        for _ in 0..2 * MAX_PEERS {
            interest.add(artifact, PeerId::random());
        }
        assert_eq!(interest.peers(&artifact, &PeerId::random(), usize::MAX).len(), MAX_PEERS);
    }
}
