//! The task that announces the releases of this node on the local network and collects the releases that peers
//! announce.

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use tokio_util::sync::CancellationToken;

use crate::discovery::local_network::dns_sd::{DnsSd, DnsSdError, Interfaces, LocalRelease, MAX_ADVERTS};
use crate::discovery::local_network::releases::{Advert, LocalReleases};

/// The methods of the node that [`LocalNetwork`] needs.
pub(crate) trait Host: Send + Sync {
    /// Returns the peer id of the node.
    fn peer_id(&self) -> PeerId;
    /// Returns the listen addresses of the node.
    fn listening(&self) -> impl Future<Output = Vec<Multiaddr>> + Send;
    /// Reports to the node that `peer` has announced `addresses` on the local network.
    fn handle_discovered(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> impl Future<Output = ()> + Send;
}

/// The task that exchanges announcements between this node and the local network.
pub(crate) struct LocalNetwork<H> {
    pub(crate) host: H,
    /// The releases that peers announce, and the adverts of this node.
    pub(crate) releases: LocalReleases,
    /// Whether the node is a private node, which announces no advert.
    pub(crate) is_private: bool,
}

impl<H: Host> LocalNetwork<H> {
    /// Announces the adverts of this node and collects the releases of peers, until `stop` is cancelled. Then withdraws
    /// the adverts.
    pub(crate) async fn run(self, stop: CancellationToken) {
        if let Err(error) = self.exchange(&stop).await {
            tracing::warn!(%error, "no releases are announced or found on the local network");
        }
    }

    async fn exchange(&self, stop: &CancellationToken) -> Result<(), DnsSdError> {
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
                    self.releases.add(name, peer);
                    self.host.handle_discovered(peer, addresses).await;
                }
            }
        }
        dns_sd.stop().await;
        Ok(())
    }

    async fn advertise(&self, dns_sd: &mut DnsSd, mut wanted: Vec<Advert>) {
        if wanted.len() > MAX_ADVERTS {
            tracing::warn!(
                names = wanted.len(),
                "only the first {MAX_ADVERTS} names are announced on the local network"
            );
            wanted.truncate(MAX_ADVERTS);
        }
        match (tcp_port(&self.host.listening().await), wanted.is_empty()) {
            (Some(port), _) => {
                if let Err(error) = dns_sd.advertise(port, &wanted).await {
                    tracing::warn!(%error, "some names are not announced on the local network");
                }
            }
            (None, false) => {
                tracing::warn!("no names are announced on the local network: this node listens on no TCP port")
            }
            (None, true) => {}
        }
    }
}

/// Returns the TCP port of the first listen address that has one.
fn tcp_port(addresses: &[Multiaddr]) -> Option<u16> {
    addresses.iter().flatten().find_map(|part| match part {
        Protocol::Tcp(port) => Some(port),
        _ => None,
    })
}
