//! The releases of the local network: those that nodes there say they serve, and those that we say we do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use libp2p::PeerId;
use phase_core::Name;
use tokio::sync::watch;

/// Releases that are remembered; more than there are in any network that one broadcast reaches.
#[cfg(feature = "mdns")]
const MAX_RELEASES: usize = 1024;

/// A release that a node serves, as the local network is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// What it is published under.
    pub name: Name,
    /// The version of its manifest.
    pub version: u64,
    /// The TCP port of the HTTP endpoint, if there is one.
    pub http_port: Option<u16>,
}

/// What is said in the local network.
#[derive(Clone, Default)]
pub(crate) struct LocalReleases {
    /// Who serves what, as they say.
    served: Arc<Mutex<BTreeMap<Name, BTreeSet<PeerId>>>>,
    /// What we serve.
    pub(crate) adverts: watch::Sender<Vec<Advert>>,
}

impl LocalReleases {
    /// Who says that they serve a name.
    pub(crate) fn providers(&self, name: &Name) -> Vec<PeerId> {
        let served = self.served.lock().expect("no code panics while it holds the releases");
        served.get(name).map(|peers| peers.iter().copied().collect()).unwrap_or_default()
    }

    #[cfg(feature = "mdns")]
    pub(crate) fn note(&self, name: Name, peer: PeerId) {
        let mut served = self.served.lock().expect("no code panics while it holds the releases");
        let held: usize = served.values().map(BTreeSet::len).sum();
        if held >= MAX_RELEASES {
            // Everybody says it again, and those who have gone do not.
            served.clear();
        }
        served.entry(name).or_default().insert(peer);
    }
}
