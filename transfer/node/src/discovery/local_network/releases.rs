//! The releases that peers announce on the local network, and the releases that this node announces there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use libp2p::PeerId;
use phase_core::Name;
use tokio::sync::watch;

/// The maximum number of stored pairs of a release name and a peer. A real local network has fewer.
#[cfg(feature = "mdns")]
const MAX_RELEASES: usize = 1024;

/// An advert: a release that this node serves and announces on the local network, as one service instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// The name of the release.
    pub name: Name,
    /// The version of the release.
    pub version: u64,
    /// The TCP port of this node's HTTP endpoint, if it has one.
    pub http_port: Option<u16>,
}

/// The releases that peers announce on the local network, and the adverts of this node. All clones share the same data.
#[derive(Clone, Default)]
pub(crate) struct LocalReleases {
    /// For each release name, the peers that announce it. Their announcements are not verified.
    served: Arc<Mutex<BTreeMap<Name, BTreeSet<PeerId>>>>,
    /// The adverts that this node announces.
    pub(crate) adverts: watch::Sender<Vec<Advert>>,
}

impl LocalReleases {
    /// Returns the peers that announce the release `name`. Their announcements are not verified.
    pub(crate) fn providers(&self, name: &Name) -> Vec<PeerId> {
        let served = self.served.lock().expect("no code panics while it holds the lock");
        served.get(name).map(|peers| peers.iter().copied().collect()).unwrap_or_default()
    }

    /// Adds `peer` to the peers that announce the release `name`.
    #[cfg(feature = "mdns")]
    pub(crate) fn add(&self, name: Name, peer: PeerId) {
        let mut served = self.served.lock().expect("no code panics while it holds the lock");
        let held: usize = served.values().map(BTreeSet::len).sum();
        if held >= MAX_RELEASES {
            // The full table may contain peers that have left, so clear it. A peer that is still present is added when
            // the browser reports its release again, after a change or a return.
            served.clear();
        }
        served.entry(name).or_default().insert(peer);
    }
}
