//! The local network: what others there say they serve, and what we say.
//!
//! libp2p's mDNS finds peers; DNS-SD says what they serve, for browsers too. Without feature `mdns`, or with it
//! switched off, nobody is found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use libp2p::PeerId;
use phase_core::Name;
use tokio::sync::watch;
#[cfg(not(feature = "mdns"))]
use tokio_util::sync::CancellationToken;

#[cfg(not(feature = "mdns"))]
use crate::handle::NodeHandle;

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
pub(crate) struct LocalNetwork {
    /// Who serves what, as they say.
    served: Arc<Mutex<BTreeMap<Name, BTreeSet<PeerId>>>>,
    /// What we serve.
    pub(crate) adverts: watch::Sender<Vec<Advert>>,
}

impl LocalNetwork {
    /// Who says that they serve a name.
    pub(crate) fn providers(&self, name: &Name) -> Vec<PeerId> {
        let served = self.served.lock().expect("no code panics while it holds the releases");
        served.get(name).map(|peers| peers.iter().copied().collect()).unwrap_or_default()
    }

    #[cfg(feature = "mdns")]
    fn note(&self, name: Name, peer: PeerId) {
        let mut served = self.served.lock().expect("no code panics while it holds the releases");
        let held: usize = served.values().map(BTreeSet::len).sum();
        if held >= MAX_RELEASES {
            // Everybody says it again, and those who have gone do not.
            served.clear();
        }
        served.entry(name).or_default().insert(peer);
    }
}

#[cfg(feature = "mdns")]
pub(crate) use running::run;

/// Without feature `mdns` there is nobody to hear.
#[cfg(not(feature = "mdns"))]
pub(crate) async fn run(_: NodeHandle, _: LocalNetwork, _: bool, _: CancellationToken) {}

#[cfg(feature = "mdns")]
mod running {
    use libp2p::Multiaddr;
    use libp2p::multiaddr::Protocol;
    use tokio_util::sync::CancellationToken;

    use super::LocalNetwork;
    use crate::discovery::dns_sd::{DnsSd, DnsSdError, Interfaces, MAX_ADVERTS};
    use crate::handle::NodeHandle;
    use crate::peer_table::Source;

    /// Listens to the local network, and tells it what we serve, until `stop`; then says goodbye. `is_private`: tells
    /// nothing.
    pub(crate) async fn run(node: NodeHandle, local: LocalNetwork, is_private: bool, stop: CancellationToken) {
        if let Err(error) = talk(&node, &local, is_private, &stop).await {
            tracing::warn!(%error, "releases of the local network are not seen, nor ours told");
        }
    }

    async fn talk(
        node: &NodeHandle,
        local: &LocalNetwork,
        is_private: bool,
        stop: &CancellationToken,
    ) -> Result<(), DnsSdError> {
        let mut dns_sd = DnsSd::start(node.peer_id(), Interfaces::AllButLoopback).await?;
        let mut releases = dns_sd.browse().await?;
        let mut adverts = local.adverts.subscribe();
        adverts.mark_changed();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Ok(()) = adverts.changed(), if !is_private => {
                    let mut wanted = adverts.borrow_and_update().clone();
                    if wanted.len() > MAX_ADVERTS {
                        tracing::warn!(names = wanted.len(), "the local network is told of {MAX_ADVERTS} names alone");
                        wanted.truncate(MAX_ADVERTS);
                    }
                    let port = tcp_port(&node.listen_addresses().await);
                    match (port, wanted.is_empty()) {
                        (Some(port), _) => {
                            if let Err(error) = dns_sd.advertise(port, &wanted).await {
                                tracing::warn!(%error, "the local network is not told of everything");
                            }
                        }
                        (None, false) => tracing::warn!("the local network is not told what is served: no TCP port"),
                        (None, true) => {}
                    }
                }
                Some(release) = releases.recv() => {
                    local.note(release.name, release.peer);
                    node.discovered(release.peer, release.addresses, Source::LocalNetwork).await;
                }
            }
        }
        dns_sd.stop().await;
        Ok(())
    }

    /// The port that others dial.
    fn tcp_port(addresses: &[Multiaddr]) -> Option<u16> {
        addresses.iter().flatten().find_map(|part| match part {
            Protocol::Tcp(port) => Some(port),
            _ => None,
        })
    }
}
