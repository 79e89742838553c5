//! Listens to the local network, and tells it what we serve.

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use tokio_util::sync::CancellationToken;

use crate::discovery::local_network::dns_sd::{DnsSd, DnsSdError, Interfaces, LocalRelease, MAX_ADVERTS};
use crate::discovery::local_network::releases::{Advert, LocalReleases};

/// The node that listens and tells.
pub(crate) trait Host: Send + Sync {
    /// Its peer id.
    fn peer_id(&self) -> PeerId;
    /// The addresses that it is bound to.
    fn listening(&self) -> impl Future<Output = Vec<Multiaddr>> + Send;
    /// A peer has said where it is.
    fn handle_discovered(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> impl Future<Output = ()> + Send;
}

/// The conversation of a node with the local network.
pub(crate) struct LocalNetwork<H> {
    pub(crate) host: H,
    /// What is said there.
    pub(crate) releases: LocalReleases,
    /// Whether it is told nothing.
    pub(crate) is_private: bool,
}

impl<H: Host> LocalNetwork<H> {
    /// Listens and tells until `stop`; then says goodbye.
    pub(crate) async fn run(self, stop: CancellationToken) {
        if let Err(error) = self.talk(&stop).await {
            tracing::warn!(%error, "releases of the local network are not seen, nor ours told");
        }
    }

    async fn talk(&self, stop: &CancellationToken) -> Result<(), DnsSdError> {
        let mut dns_sd = DnsSd::start(self.host.peer_id(), Interfaces::AllButLoopback).await?;
        let mut found = dns_sd.browse().await?;
        let mut adverts = self.releases.adverts.subscribe();
        adverts.mark_changed();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Ok(()) = adverts.changed(), if !self.is_private => {
                    let wanted = adverts.borrow_and_update().clone();
                    self.advertise(&mut dns_sd, wanted).await;
                }
                Some(LocalRelease { peer, addresses, name, .. }) = found.recv() => {
                    self.releases.note(name, peer);
                    self.host.handle_discovered(peer, addresses).await;
                }
            }
        }
        dns_sd.stop().await;
        Ok(())
    }

    async fn advertise(&self, dns_sd: &mut DnsSd, mut wanted: Vec<Advert>) {
        if wanted.len() > MAX_ADVERTS {
            tracing::warn!(names = wanted.len(), "the local network is told of {MAX_ADVERTS} names alone");
            wanted.truncate(MAX_ADVERTS);
        }
        match (tcp_port(&self.host.listening().await), wanted.is_empty()) {
            (Some(port), _) => {
                if let Err(error) = dns_sd.advertise(port, &wanted).await {
                    tracing::warn!(%error, "the local network is not told of everything");
                }
            }
            (None, false) => tracing::warn!("the local network is not told what is served: no TCP port"),
            (None, true) => {}
        }
    }
}

/// The port that others dial.
fn tcp_port(addresses: &[Multiaddr]) -> Option<u16> {
    addresses.iter().flatten().find_map(|part| match part {
        Protocol::Tcp(port) => Some(port),
        _ => None,
    })
}
