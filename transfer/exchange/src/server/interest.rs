//! Which peers have asked about which artifact: the answer to a request for peers.
//!
//! Whoever subscribes to an artifact is fetching it, and a Phase node that fetches also serves.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use libp2p::PeerId;
use phase_core::Cid;

/// Artifacts for which peers are remembered.
const MAX_ARTIFACTS: usize = 4096;
/// Peers remembered for one artifact.
const MAX_PEERS: usize = 256;

/// Peers by artifact, each with the number of its subscriptions.
#[derive(Default)]
pub(super) struct Interest {
    artifacts: Mutex<BTreeMap<Cid, BTreeMap<PeerId, usize>>>,
}

impl Interest {
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

    /// Up to `most` peers other than `asking`, a different selection for each asking peer: those whose id follows it.
    pub(super) fn peers(&self, artifact: &Cid, asking: &PeerId, most: usize) -> Vec<PeerId> {
        use std::ops::Bound::{Excluded, Unbounded};
        let artifacts = self.lock();
        let Some(peers) = artifacts.get(artifact) else { return Vec::new() };
        let after = peers.range((Excluded(*asking), Unbounded));
        let before = peers.range((Unbounded, Excluded(*asking)));
        after.chain(before).map(|(peer, _)| *peer).take(most).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Cid, BTreeMap<PeerId, usize>>> {
        self.artifacts.lock().expect("no code panics while it holds the table")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_stays_until_its_last_subscription_ends_and_is_not_told_of_itself() {
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
    fn the_table_is_bounded() {
        let interest = Interest::default();
        let artifact = Cid::of_block(b"artifact");
        for _ in 0..2 * MAX_PEERS {
            interest.add(artifact, PeerId::random());
        }
        assert_eq!(interest.peers(&artifact, &PeerId::random(), usize::MAX).len(), MAX_PEERS);
    }
}
